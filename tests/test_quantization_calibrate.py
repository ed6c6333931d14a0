"""Calibration: what observers see, in which order, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.api import GraphBuilder, InputError, Origin
from synap_core.graph.groups import group
from synap_core.host import PluginHost
from synap_core.quantization.calibrate import SHARD_SIZE, Calibration, calibrate
from synap_core.quantization.interface import Algorithm, Observer, QuantSpec, Range, Real, Session
from synap_core.quantization.plan import ConstantSlot, Plan, Slot
from synap_core.quantization.runner import GraphRunner, find_engine

F32 = np.float32
U8 = QuantSpec(dtype="uint8", scheme="asymmetric_affine")
HALF = QuantSpec(dtype="float16", scheme="float16")


@dataclass
class Recorder:
    """Keeps all it sees; merging keeps the order."""

    role: str
    seen: list[np.ndarray] = field(default_factory=list)

    def update(self, values: Real) -> None:
        self.seen.append(values.copy())

    def merge(self, other: Recorder) -> None:
        self.seen += other.seen

    def range(self) -> Range:
        raise NotImplementedError


class Recording:
    """An algorithm that makes recorders."""

    def prepare(self, *_: object) -> Sequence[str]:
        raise NotImplementedError

    def refine(self, *_: object) -> object:
        raise NotImplementedError

    def observer(self, role: str, spec: QuantSpec) -> Observer:
        assert spec.dtype != "float16"
        return Recorder(role)


class Samples:
    """Samples in memory; remembers how often each was read."""

    def __init__(self, made: Sequence[np.ndarray]) -> None:
        self.made = made
        self.count = len(made)
        self.read: list[int] = []

    def samples(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        for i in indices:
            self.read.append(i)
            yield {"x": self.made[i]}

    def describe(self, index: int) -> str:
        return f"samples/{index}.npy"


def slot(value: ir.Value, *others: ir.Value, spec: QuantSpec = U8, fixed: tuple[float, float] | None = None) -> Slot:
    names = tuple(str(item.name) for item in (value, *others))
    return Slot(key=names[0], spec=spec, values=names, observed=names, fixed=fixed, layer_id=f"of_{names[0]}")


@dataclass
class Toy:
    """x -> MatMul -> Exp -> Sigmoid; x -> Neg; the sum of Exp and Neg is half precision."""

    plan: Plan
    weight: np.ndarray
    names: dict[str, str]


def toy(weight: np.ndarray | None = None) -> Toy:
    weight = np.arange(6, dtype=F32).reshape(3, 2) / 10 if weight is None else weight
    build = GraphBuilder("toy")
    x = build.input("x", ir.DataType.FLOAT, (1, 3))
    made: dict[str, ir.Value] = {"x": x}
    constant = build.constant(weight, "weight")
    for number, (name, op, read) in enumerate(
        [
            ("product", "MatMul", "x"),
            ("exp", "Exp", "product"),
            ("sigmoid", "Sigmoid", "exp"),
            ("neg", "Neg", "product"),
        ]
    ):
        with build.layer(Origin(name, op, number)):
            made[name] = build.emit(op, [made[read], constant] if op == "MatMul" else [made[read]])
    graph = build.finish([made["sigmoid"], made["neg"]])
    slots = [slot(x), slot(made["product"], spec=HALF), slot(made["exp"], made["neg"])]
    slots.append(slot(made["sigmoid"], fixed=(0.0, 1.0)))
    weights = ConstantSlot(
        key="weight", spec=U8, role="weight", layer_id="MatMul_product", label="@MatMul_product:weight"
    )
    plan = Plan(
        graph=graph,
        groups=tuple(group(graph)),
        types={},
        slots={item.key: item for item in slots},
        constants={"weight": weights},
        biases={},
    )
    return Toy(plan, weight, {name: str(value.name) for name, value in made.items()})


def samples(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(i).normal(size=(1, 3)).astype(F32) for i in range(count)]


def run(host: PluginHost, plan: Plan, source: Samples, jobs: int = 2, algorithm: object = None) -> Calibration:
    made: Algorithm = algorithm or Recording()  # type: ignore[assignment]  # what calibration needs of one
    return calibrate(plan, made, GraphRunner(find_engine(host), source, jobs))


def recorded(found: Calibration, key: str) -> Recorder:
    observer = found.observers[key]
    assert isinstance(observer, Recorder)
    return observer


@pytest.mark.parametrize("jobs", [1, 2, 5])
@pytest.mark.parametrize("count", [1, SHARD_SIZE, 3 * SHARD_SIZE + 3])
def test_every_sample_is_run_once_and_seen_in_order(host: PluginHost, count: int, jobs: int) -> None:
    made, source = toy(), Samples(samples(count))
    found = run(host, made.plan, source, jobs)
    assert sorted(source.read) == list(range(count))
    exp = recorded(found, made.names["exp"])
    assert (exp.role, len(exp.seen), len(recorded(found, "x").seen)) == ("activation", count, count)
    for x, seen_x, seen in zip(source.made, recorded(found, "x").seen, exp.seen, strict=True):
        product = x.astype(np.float64) @ made.weight
        np.testing.assert_array_equal(seen_x, x)
        # What shares parameters is shown as one tensor.
        np.testing.assert_allclose(seen, np.concatenate([np.exp(product), -product], 1).reshape(-1), rtol=1e-5)


def test_only_slots_that_need_a_range_are_observed(host: PluginHost) -> None:
    made = toy()
    found = run(host, made.plan, Samples(samples(2)))
    assert set(found.observers) == {"x", made.names["exp"], "weight"}
    half = made.plan.slots[next(key for key, slot in made.plan.slots.items() if slot.spec.dtype == "float16")]
    # Of what is kept in float16 it must be known whether it fits.
    assert set(found.extents) == {"x", made.names["exp"], made.names["neg"], *half.observed}


def test_constants_are_shown_whole_once(host: PluginHost) -> None:
    made = toy()
    weight = recorded(run(host, made.plan, Samples(samples(9))), "weight")
    assert (weight.role, len(weight.seen)) == ("weight", 1)
    np.testing.assert_array_equal(weight.seen[0], made.weight)


def test_extents_are_those_of_each_value(host: PluginHost) -> None:
    made, source = toy(), Samples(samples(20))
    found = run(host, made.plan, source)
    products = np.concatenate([x.astype(np.float64) @ made.weight for x in source.made])
    np.testing.assert_allclose(found.extents[made.names["neg"]], [-products.max(), -products.min()], rtol=1e-5)
    np.testing.assert_allclose(found.extents[made.names["exp"]], np.exp([products.min(), products.max()]), rtol=1e-5)


@pytest.mark.parametrize(("x", "jobs"), [(1000.0, 1), (np.nan, 2), (-np.inf, 2)])
def test_infinite_activation_names_layer_and_sample(host: PluginHost, x: float, jobs: int) -> None:
    made, source = toy(), Samples(samples(30))
    source.made[19][:] = x
    layer = r"Exp_exp\w*" if x == 1000 else "of_x"
    message = rf"samples/19\.npy: layer @{layer} computes infinity or NaN for this sample; check 'means'"
    with pytest.raises(InputError, match=message):
        run(host, made.plan, source, jobs)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_infinite_constant_names_its_layer(host: PluginHost, bad: float) -> None:
    weight = np.ones((3, 2), F32)
    weight[1, 1] = bad
    with pytest.raises(
        InputError, match="constant @MatMul_product:weight of layer @MatMul_product holds infinity or NaN"
    ):
        run(host, toy(weight).plan, Samples(samples(1)))


def test_constant_in_float16_needs_no_observer_but_must_be_finite(host: PluginHost) -> None:
    made = toy()
    weight = replace(made.plan.constants["weight"], spec=HALF)
    found = run(host, replace(made.plan, constants={"weight": weight}), Samples(samples(2)))
    assert set(found.observers) == {"x", made.names["exp"]}
    made = toy(np.full((3, 2), np.inf, F32))
    with pytest.raises(InputError, match="constant @MatMul_product:weight of layer @MatMul_product holds infinity"):
        run(host, replace(made.plan, constants={"weight": weight}), Samples(samples(2)))


def test_plan_without_ranges_to_find_runs_nothing(host: PluginHost) -> None:
    made, source = toy(), Samples(samples(3))
    plan = Plan(graph=made.plan.graph, groups=(), types={}, slots={}, constants=made.plan.constants, biases={})
    found = run(host, plan, source)
    assert (source.read, set(found.observers), dict(found.extents)) == ([], {"weight"}, {})


class Failing(Samples):
    """Cannot read one of its samples."""

    def samples(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        for i in indices:
            if i == 11:
                msg = "damaged"
                raise InputError(msg, where=Path("11.npy"))
            yield from super().samples([i])


def test_sample_that_cannot_be_read_stops_the_work(host: PluginHost) -> None:
    source = Failing(samples(400))
    with pytest.raises(InputError, match="11.npy: damaged"):
        run(host, toy().plan, source)
    assert len(source.read) < 100


def test_shards_under_way_are_few(host: PluginHost) -> None:
    """Memory must not grow with the number of samples: none is read long before its observers are merged."""
    source = Samples(samples(40 * SHARD_SIZE))
    ahead: list[int] = []

    class Watching(Recorder):
        def merge(self, other: Recorder) -> None:
            super().merge(other)
            ahead.append(len(source.read) - len(self.seen))

    class WatchingAlgorithm(Recording):
        def observer(self, role: str, spec: QuantSpec) -> Observer:
            assert spec is not None
            return Watching(role)

    run(host, toy().plan, source, jobs=2, algorithm=WatchingAlgorithm())
    assert max(ahead) <= 4 * SHARD_SIZE


def test_one_session_is_opened(host: PluginHost) -> None:
    opened: list[Session] = []

    def open_graph(model: ir.Model) -> Session:
        opened.append(find_engine(host)(model))
        return opened[-1]

    calibrate(toy().plan, Recording(), GraphRunner(open_graph, Samples(samples(30)), 2))  # type: ignore[arg-type]
    assert len(opened) == 1
