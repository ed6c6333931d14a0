"""Calibration: every sample runs once through the graph of real numbers, and observers see what it computes.

Samples are worked on in shards of a fixed size, whose observers are merged in order. So the result does not depend on
how many threads or machines did the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from synap_core.errors import InputError
from synap_core.quantization.dataset import in_order
from synap_core.quantization.interface import ACTIVATION, Algorithm, Observer, QuantSpec, Session
from synap_core.quantization.plan import Plan
from synap_core.quantization.runner import GraphRunner

SHARD_SIZE = 8
"""Samples whose observers are merged as one: few enough to keep all threads busy with 100 samples."""

FLOAT16 = "float16"
"""Type that needs no range."""

HALF_LARGEST = 65_504.0


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
class Observed:
    """What some samples showed.

    Attributes:
        observers: Observer of each target, by its key.
        extents: Smallest and largest number of each value, by its name.
    """

    observers: Mapping[str, Observer]
    extents: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What all samples and the constants showed.

    Attributes:
        observers: Observer of each slot that needs a range from samples, and of each weight and constant, by its key.
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
        targets: What is observed.
        outputs: Names of all values of the targets.
    """

    plan: Plan
    algorithm: Algorithm
    runner: GraphRunner
    targets: tuple[Target, ...]
    outputs: tuple[str, ...]

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
        session = work.runner.open(work.plan.graph, work.outputs)

        def observed(shard: range) -> Observed:
            samples = work.runner.samples(shard)
            return observe_shard(session, zip(shard, samples, strict=True), work.targets, work.outputs, work.algorithm)

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
    constants = {key: _of_constant(plan, key, algorithm) for key in plan.constants}
    targets = tuple(
        Target(key=key, spec=slot.spec, values=slot.observed)
        for key, slot in plan.slots.items()
        if slot.spec.dtype != FLOAT16 and slot.fixed is None and slot.observed
    )
    # Of what is kept in float16 nothing but the largest number matters.
    halves = [name for slot in plan.slots.values() if slot.spec.dtype == FLOAT16 for name in slot.observed]
    outputs = tuple(dict.fromkeys([*(name for target in targets for name in target.values), *halves]))
    if not outputs:
        return Calibration(observers=constants, extents={})
    work = Work(plan=plan, algorithm=algorithm, runner=runner, targets=targets, outputs=outputs)
    try:
        merged = _merged((executor or LocalShards()).observe(work))
    except NotFiniteError as error:
        msg = f"layer {layer_of(plan, error.value)} computes infinity or NaN for this sample"
        hint = "check 'means' and 'scale', or leave the sample out"
        raise InputError(msg, where=runner.describe(error.sample), hint=hint) from error
    return Calibration(observers={**merged.observers, **constants}, extents=merged.extents)


def observe_shard(
    session: Session,
    samples: Iterable[tuple[int, Mapping[str, np.ndarray]]],
    targets: Sequence[Target],
    outputs: Sequence[str],
    algorithm: Algorithm,
) -> Observed:
    """Run samples and observe what they compute.

    Args:
        session: The graph, which gives the outputs.
        samples: Number and inputs of each sample.
        targets: What is observed.
        outputs: Names of the session's outputs, in order.
        algorithm: Makes the observers.

    Raises:
        NotFiniteError: A value is infinite or NaN.
    """
    observers = {target.key: algorithm.observer(ACTIVATION, target.spec) for target in targets}
    extents: dict[str, tuple[float, float]] = {}
    for number, feeds in samples:
        # The values go before the next run, which needs as much memory for its own.
        _see(dict(zip(outputs, session.run(feeds), strict=True)), number, targets, observers, extents)
    return Observed(observers=observers, extents=extents)


def _see(
    values: Mapping[str, np.ndarray],
    number: int,
    targets: Sequence[Target],
    observers: Mapping[str, Observer],
    extents: dict[str, tuple[float, float]],
) -> None:
    """Show the values of one sample to the observers."""
    for name, array in values.items():
        low, high = _extent(array)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NotFiniteError(name, number)
        _widen(extents, name, low, high)
    for target in targets:
        arrays = [values[name] for name in target.values]
        # What shares its parameters is one tensor to the observer: it counts samples by its updates.
        items = arrays[0] if len(arrays) == 1 else np.concatenate([array.reshape(-1) for array in arrays])
        observers[target.key].update(items.astype(np.float32, copy=False))


def overflow_warnings(plan: Plan, extents: Mapping[str, tuple[float, float]]) -> list[str]:
    """A line for each layer that is kept in float16 although its numbers are too large for it."""
    lines = []
    for slot in plan.slots.values():
        reached = max(
            (max(-extents[name][0], extents[name][1]) for name in slot.observed if name in extents), default=0
        )
        if slot.spec.dtype == FLOAT16 and reached > HALF_LARGEST:
            lines.append(
                f"layer '@{slot.layer_id}' is kept in float16, whose largest number is {HALF_LARGEST:g}, but reaches "
                f"{reached:g} and becomes infinite; give it another data_type, or use 'mode: full'"
            )
    return lines


def layer_of(plan: Plan, value: str) -> str:
    """Name the layer that computes a value, as in reports: ``@<layer id>``."""
    for group in plan.groups:
        if any(output.name == value for node in group.nodes for output in node.outputs):
            return f"@{group.layer_id}"
    slot = next((slot for slot in plan.slots.values() if value in slot.values), None)
    return repr(value) if slot is None else f"@{slot.layer_id}"


def _merged(shards: Iterator[Observed]) -> Observed:
    observers: dict[str, Observer] = {}
    extents: dict[str, tuple[float, float]] = {}
    for shard in shards:
        for key, observer in shard.observers.items():
            if key in observers:
                observers[key].merge(observer)
            else:
                observers[key] = observer
        for name, (low, high) in shard.extents.items():
            _widen(extents, name, low, high)
    return Observed(observers=observers, extents=extents)


def _of_constant(plan: Plan, key: str, algorithm: Algorithm) -> Observer:
    slot = plan.constants[key]
    tensor = plan.graph.graph.initializers[key].const_value
    items = np.asarray(() if tensor is None else tensor.numpy(), np.float32)
    if not all(map(math.isfinite, _extent(items))):
        msg = f"the constant {slot.label} of layer @{slot.layer_id} holds infinity or NaN, which cannot be quantized"
        raise InputError(msg, hint="repair the model, or cut it in front of this layer")
    observer = algorithm.observer(slot.role, slot.spec)
    observer.update(items)
    return observer


def _extent(array: np.ndarray) -> tuple[float, float]:
    """Smallest and largest item; NaN when there is one; zeros for an array of no items."""
    return (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)


def _widen(extents: dict[str, tuple[float, float]], name: str, low: float, high: float) -> None:
    old = extents.get(name, (low, high))
    extents[name] = min(old[0], low), max(old[1], high)
