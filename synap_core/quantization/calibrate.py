"""Calibration: every sample runs once through the graph of real numbers, and observers see what it computes.

Samples are worked on in shards of a fixed size, whose observers are merged in order. So the result does not depend on
how many threads or machines did the work.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from synap_core.errors import InputError
from synap_core.quantization.dataset import in_order
from synap_core.quantization.interface import ACTIVATION, Algorithm, Observer, QuantSpec, Session
from synap_core.quantization.masks import Masking, floors_of
from synap_core.quantization.plan import Plan
from synap_core.quantization.runner import GraphRunner

SHARD_SIZE = 8
"""Samples whose observers are merged as one: few enough to keep all threads busy with 100 samples."""

FLOAT16 = "float16"
"""Type that needs no range."""

NO_FLOORS: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Values that one observer sees, sample by sample.

    Attributes:
        key: Key of the slot.
        spec: How it is to be quantized.
        values: Names of the values.
    """

    key: str
    spec: QuantSpec
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What of a graph is observed.

    Attributes:
        targets: What has observers.
        others: Names of the values of which nothing but the smallest and the largest number matters.
        maskings: Where attention masks may be.
    """

    targets: tuple[Target, ...]
    others: tuple[str, ...] = ()
    maskings: tuple[Masking, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values that are observed, each once."""
        return tuple(dict.fromkeys([*(name for target in self.targets for name in target.values), *self.others]))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values that the graph must give, each once."""
        return tuple(dict.fromkeys([*self.values, *(name for masking in self.maskings for name in masking.reads())]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What some samples showed.

    Attributes:
        observers: Observer of each target, by its key.
        extents: Smallest and largest number of each value, by its name.
        floors: Number below which all numbers of a value or constant have the same effect, by its name; -inf where all
            matter.
    """

    observers: Mapping[str, Observer]
    extents: Mapping[str, tuple[float, float]]
    floors: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What all samples and the constants showed.

    Attributes:
        observers: Observer of each slot that needs a range from samples, and of each weight and constant, by its key;
            what is in float16 needs none.
        extents: Smallest and largest number of each value that was observed, by its name.
    """

    observers: Mapping[str, Observer]
    extents: Mapping[str, tuple[float, float]]


class NotFiniteError(ValueError):
    """A value of some sample holds infinity or NaN.

    Args:
        value: Name of the value.
        sample: Number of the sample.
    """

    def __init__(self, value: str, sample: int) -> None:
        super().__init__(value, sample)
        self.value = value
        self.sample = sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is observed, whoever does it.

    Attributes:
        plan: The plan; its graph is the one to run.
        algorithm: Makes the observers.
        runner: Has the samples, and runs graphs on this machine.
        watched: What is observed.
    """

    plan: Plan
    algorithm: Algorithm
    runner: GraphRunner
    watched: Watched

    def shards(self) -> Iterator[range]:
        """Numbers of the samples of each shard, in order."""
        count = self.runner.count
        return (range(start, min(start + SHARD_SIZE, count)) for start in range(0, count, SHARD_SIZE))


class Executor(Protocol):
    """Does the work of a calibration somewhere."""

    def observe(self, work: Work) -> Iterator[Observed]:
        """Observe the shards; gives what each showed, in order.

        Raises:
            NotFiniteError: A value of some sample is not finite.
            InputError: The work cannot be done.
        """
        ...


class LocalShards:
    """Observes shards on the threads of this process, which share one session."""

    def observe(self, work: Work) -> Iterator[Observed]:
        """Observe the shards, as many at a time as the runner has jobs."""
        session = work.runner.open(work.plan.graph, work.watched.outputs)

        def observed(shard: range) -> Observed:
            samples = work.runner.samples(shard)
            return observe_shard(session, zip(shard, samples, strict=True), work.watched, work.algorithm)

        jobs = work.runner.jobs
        return in_order(observed, work.shards(), threads=jobs, ahead=jobs)


def calibrate(plan: Plan, algorithm: Algorithm, runner: GraphRunner, executor: Executor | None = None) -> Calibration:
    """Show samples and constants to the observers of an algorithm.

    Args:
        plan: What needs ranges: constants, and slots without a range of their own whose type is not float16.
        algorithm: Makes the observers.
        runner: Runs the plan's graph on the samples.
        executor: Does the work; the threads of this process by default.

    Raises:
        InputError: A constant, or a value of some sample, is infinite or NaN; names layer and sample.
    """
    targets = tuple(
        Target(key=key, spec=slot.spec, values=slot.observed)
        for key, slot in plan.slots.items()
        if slot.spec.dtype != FLOAT16 and slot.fixed is None and slot.observed
    )
    # Of what is kept in float16 nothing but the largest magnitude matters.
    halves = tuple(name for slot in plan.slots.values() if slot.spec.dtype == FLOAT16 for name in slot.observed)
    floored = {name for masking in plan.maskings for name in masking.floored()}
    others = _of_constants(plan, plan.constants.keys() - floored, algorithm)
    watched = Watched(targets=targets, others=halves, maskings=plan.maskings)
    work = Work(plan=plan, algorithm=algorithm, runner=runner, watched=watched)
    try:
        merged = _merged((executor or LocalShards()).observe(work) if watched.outputs else iter(()))
    except NotFiniteError as error:
        msg = f"layer {layer_of(plan, error.value)} computes infinity or NaN for this sample"
        hint = "check 'means' and 'scale', or leave the sample out"
        raise InputError(msg, where=runner.describe(error.sample), hint=hint) from error
    masks = _of_constants(plan, floored, algorithm, merged.floors)
    return Calibration(observers={**merged.observers, **others, **masks}, extents=merged.extents)


def observe_shard(
    session: Session,
    samples: Iterable[tuple[int, Mapping[str, np.ndarray]]],
    watched: Watched,
    algorithm: Algorithm,
) -> Observed:
    """Run samples and observe what they compute.

    Args:
        session: The graph, which gives the outputs that are watched, in order.
        samples: Number and inputs of each sample.
        watched: What is observed.
        algorithm: Makes the observers.

    Raises:
        NotFiniteError: A value is infinite or NaN.
    """
    outputs = watched.outputs
    observers = {target.key: algorithm.observer(ACTIVATION, target.spec) for target in watched.targets}
    found = Observed(observers=observers, extents={}, floors={})
    for number, feeds in samples:
        # The values go before the next run, which needs as much memory for its own.
        found = _with_sample(found, dict(zip(outputs, session.run(feeds), strict=True)), number, watched)
    return found


def _with_sample(found: Observed, values: Mapping[str, np.ndarray], number: int, watched: Watched) -> Observed:
    """What was found with the values of one more sample, which are shown to the observers."""
    floors = floors_of(watched.maskings, values)
    seen = {name: _raised(values[name], floors.get(name, -math.inf)) for name in watched.values}
    # Floors are for ranges: what is in float16 stays as it is, and may be infinite where that does not matter.
    floored = [name for name in watched.others if floors.get(name, -math.inf) > -math.inf]
    whole = {name: values[name][values[name] != -math.inf] for name in floored}
    extents = {name: _extent(array) for name, array in (seen | whole).items()}
    for name, ends in extents.items():
        if not all(map(math.isfinite, ends)):
            raise NotFiniteError(name, number)
    for target in watched.targets:
        arrays = [seen[name] for name in target.values]
        # What shares its parameters is one tensor to the observer: it counts samples by its updates.
        items = arrays[0] if len(arrays) == 1 else np.concatenate([array.reshape(-1) for array in arrays])
        found.observers[target.key].update(items.astype(np.float32, copy=False))
    return Observed(
        observers=found.observers, extents=_widened(found.extents, extents), floors=_lowered(found.floors, floors)
    )


def layer_of(plan: Plan, value: str) -> str:
    """Name the layer that computes a value, as in reports: ``@<layer id>``."""
    for group in plan.groups:
        if any(output.name == value for node in group.nodes for output in node.outputs):
            return f"@{group.layer_id}"
    slot = next((slot for slot in plan.slots.values() if value in slot.values), None)
    return repr(value) if slot is None else f"@{slot.layer_id}"


def _merged(shards: Iterator[Observed]) -> Observed:
    observers: dict[str, Observer] = {}
    extents: Mapping[str, tuple[float, float]] = {}
    floors: Mapping[str, float] = {}
    for shard in shards:
        for key, observer in shard.observers.items():
            if key in observers:
                observers[key].merge(observer)
            else:
                observers[key] = observer
        extents, floors = _widened(extents, shard.extents), _lowered(floors, shard.floors)
    return Observed(observers=observers, extents=extents, floors=floors)


def _of_constants(
    plan: Plan, keys: Collection[str], algorithm: Algorithm, floors: Mapping[str, float] = NO_FLOORS
) -> dict[str, Observer]:
    """Observers of some of the constants; those in float16 have none, but are checked, too."""
    found = {}
    for key, slot in plan.constants.items():
        if key not in keys:
            continue
        tensor = plan.graph.graph.initializers[key].const_value
        items = np.asarray(() if tensor is None else tensor.numpy(), np.float32)
        items = _raised(items, floors.get(key, -math.inf))
        if not all(map(math.isfinite, _extent(items))):
            msg = (
                f"the constant {slot.label} of layer @{slot.layer_id} holds infinity or NaN, which cannot be quantized"
            )
            hint = "put finite numbers in their place, such as -10000 for -infinity, or cut the model before this layer"
            raise InputError(msg, hint=hint)
        if slot.spec.dtype != FLOAT16:
            found[key] = algorithm.observer(slot.role, slot.spec)
            found[key].update(items)
    return found


def _raised(array: np.ndarray, floor: float) -> np.ndarray:
    """Items that are not below a floor; NaN stays."""
    return array if floor == -math.inf else np.maximum(array, np.float32(floor))


def _extent(array: np.ndarray) -> tuple[float, float]:
    """Smallest and largest item; NaN when there is one; zeros for an array of no items."""
    return (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)


def _widened(
    extents: Mapping[str, tuple[float, float]], others: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Both of the smaller ends, and both of the larger ones."""
    found = dict(extents)
    for name, (low, high) in others.items():
        old = found.get(name, (low, high))
        found[name] = min(old[0], low), max(old[1], high)
    return found


def _lowered(floors: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    """The lower ones of the floors."""
    return {**floors, **{name: min(floor, floors.get(name, floor)) for name, floor in others.items()}}
