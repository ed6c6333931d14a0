"""Attention masks: ranges in front of a Softmax leave out what is masked, and nothing else changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import yaml

from synap_core import Network
from synap_core.api import GraphBuilder
from synap_core.quantization.masks import DEPTH, Masking, find_maskings, floors_of
from tests.support.cli import Result, Synap
from tests.support.onnx_models import F32, Oracle, model, node, value

LENGTH, WIDTH = 6, 16
LOWEST = float(np.finfo(F32).min)
FUTURE = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
Feeds = dict[str, np.ndarray]
Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Arrangement:
    """How scores ``s`` [1,6,6] become what the Softmax reads, ``t``."""

    nodes: Sequence[onnx.NodeProto]
    constants: Mapping[str, Any]
    mask: Draw | None = None


def padding(low: float) -> Draw:
    """Draw a mask [1,1,6] that leaves the first two to six keys."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        return np.where(np.arange(LENGTH)[None, None] < rng.integers(2, LENGTH + 1), 0, low).astype(F32)

    return draw


def kept(rng: np.random.Generator) -> np.ndarray:
    """A mask [1,1,6] of ones and zeros."""
    return 1 + padding(-1)(rng)


def left_padding(rng: np.random.Generator) -> np.ndarray:
    """A causal mask [1,6,6] of which the first keys, and so the first rows, are masked as a whole."""
    return np.where(FUTURE | (np.arange(LENGTH) < rng.integers(0, 4)), LOWEST, 0).astype(F32)[None]


def causal(low: float) -> np.ndarray:
    return np.where(FUTURE, low, 0).astype(F32)


BIAS = np.random.default_rng(7).normal(0, 3, (1, LENGTH, LENGTH)).astype(F32)

ARRANGEMENTS = {
    "constant": Arrangement([node("Add", "s c", "t", "masked")], {"c": causal(LOWEST)}),
    "infinite": Arrangement([node("Add", "s c", "t", "masked")], {"c": causal(-np.inf)}),
    "few": Arrangement([node("Add", "s c", "t", "masked")], {"c": causal(-100)}),
    "input": Arrangement([node("Add", "s mask", "t", "masked")], {}, padding(LOWEST)),
    "left": Arrangement([node("Add", "s mask", "t", "masked")], {}, left_padding),
    "computed": Arrangement(
        [node("Sub", "one mask", "o"), node("Mul", "o low", "m"), node("Add", "s m", "t", "masked")],
        {"one": F32(1), "low": F32(-1e4)},
        kept,
    ),
    "chosen": Arrangement([node("Where", "f low s", "t", "masked")], {"f": FUTURE, "low": F32(-1e4)}),
    "infinite choice": Arrangement([node("Where", "f low s", "t", "masked")], {"f": FUTURE, "low": F32(-np.inf)}),
    "two": Arrangement(
        [node("Where", "f low s", "u"), node("Add", "u mask", "t", "masked")],
        {"f": FUTURE, "low": F32(-1e9)},
        padding(-1e9),
    ),
    "with a bias": Arrangement(
        [node("Add", "bias mask", "b", "bias"), node("Add", "s b", "t", "masked")], {"bias": BIAS}, padding(LOWEST)
    ),
    "limited": Arrangement(
        [node("Add", "s mask", "u"), node("Max", "u low", "t")], {"low": F32(LOWEST)}, padding(LOWEST)
    ),
    "scaled": Arrangement(
        [node("Add", "s mask", "u"), node("Mul", "half u", "t")], {"half": F32(0.5)}, padding(LOWEST)
    ),
    "subtracted": Arrangement(
        [node("Sub", "one mask", "o"), node("Mul", "o big", "m"), node("Sub", "s m", "t", "masked")],
        {"one": F32(1), "big": F32(1e4)},
        kept,
    ),
    "reshaped": Arrangement(
        [
            node("Reshape", "s four", "s4"),
            node("Unsqueeze", "mask second", "m4"),
            node("Add", "s4 m4", "t4"),
            node("Reshape", "t4 three", "t"),
        ],
        {"four": np.array([1, 1, 6, 6]), "three": np.array([1, 6, 6]), "second": np.array([1])},
        padding(-65504.0),
    ),
}


def attention(arrangement: Arrangement, *, more: Sequence[str] = ()) -> onnx.ModelProto:
    """One head of attention: ``x`` [1,6,16] and perhaps ``mask`` -> ``y`` [1,6,8]."""
    rng = np.random.default_rng(3)
    constants: dict[str, Any] = dict(arrangement.constants)
    nodes = []
    for name in "qkv":
        constants[f"w{name}"] = rng.normal(0, 0.3, (WIDTH, WIDTH)).astype(F32)
        constants[f"b{name}"] = rng.normal(0, 0.2, WIDTH).astype(F32)
        nodes += [node("MatMul", f"x w{name}", f"{name}0"), node("Add", f"{name}0 b{name}", name, f"dense_{name}")]
    constants["wy"] = rng.normal(0, 0.3, (WIDTH, 8)).astype(F32)
    nodes += [node("Transpose", "k", "kt", perm=[0, 2, 1]), node("MatMul", "q kt", "s", "scores")]
    nodes += [*arrangement.nodes, node("Softmax", "t", "p", "softmax", axis=-1)]
    nodes += [node("MatMul", "p v", "a"), node("MatMul", "a wy", "y", "out")]
    inputs = [value("x", [1, LENGTH, WIDTH])]
    if arrangement.mask is not None:
        inputs.append(value("mask", list(arrangement.mask(rng).shape)))
    outputs = [value("y", [1, LENGTH, 8]), *(value(name, None) for name in more)]
    return model(nodes, inputs, outputs, constants)


def drawn(arrangement: Arrangement, count: int, seed: int) -> list[Feeds]:
    rng = np.random.default_rng(seed)
    found: list[Feeds] = []
    for _ in range(count):
        feeds: Feeds = {"x": rng.normal(size=(1, LENGTH, WIDTH)).astype(F32)}
        if arrangement.mask is not None:
            feeds["mask"] = arrangement.mask(rng)
        found.append(feeds)
    return found


def computed(made: onnx.ModelProto, samples: Sequence[Feeds], position: int = 0) -> np.ndarray:
    """An output for all samples, by ONNX Runtime without optimisations."""
    oracle = Oracle(made)
    return np.stack([oracle(list(feeds.values()))[position] for feeds in samples]).astype(np.float64)


def values_of(made: onnx.ModelProto, names: Sequence[str], samples: Sequence[Feeds]) -> list[np.ndarray]:
    """Numbers of tensors inside of a model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    del copy.graph.output[:]
    copy.graph.output.extend(value(name, None) for name in names)
    return [computed(copy, samples, position) for position in range(len(names))]


def ratio_db(exact: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(exact**2) / np.sum((exact - found) ** 2)))


@dataclass
class Converter:
    """Converts models with samples of 20 drawings."""

    synap: Synap
    folder: Path

    def run(self, made: onnx.ModelProto, samples: Sequence[Feeds], dtype: str, *arguments: str) -> Result:
        (self.folder / "net.onnx").write_bytes(made.SerializeToString())
        for number, feeds in enumerate(samples):
            for name, array in feeds.items():
                np.save(self.folder / f"{name}_{number:02}.npy", array)
        patterns = [f"{name}_*.npy" for name in samples[0]]
        section = {
            "data_type": yaml.safe_load(dtype),
            "dataset": patterns if len(patterns) > 1 else patterns[0],
            "options": {"rounding": "nearest", "bias_correction": False, "trim": False},
        }
        meta = self.folder / "meta.yaml"
        meta.write_text(yaml.safe_dump({"quantization": section}), encoding="utf-8")
        given = arguments or ("--target", "GENERIC", "--out-format", "onnx")
        fixed = ("convert", "--model", self.folder / "net.onnx", "--meta", meta, "--out-dir", self.folder / "out")
        return self.synap(*fixed, *given)

    def converted(self, made: onnx.ModelProto, samples: Sequence[Feeds], dtype: str = "uint8") -> onnx.ModelProto:
        result = self.run(made, samples, dtype)
        assert result.code == 0, result.err
        return onnx.load(self.folder / "out/model.onnx")

    def info(self) -> dict[str, dict[str, Any]]:
        loaded = yaml.safe_load((self.folder / "out/quantization_info.yaml").read_text(encoding="utf-8"))
        return {key.split("_")[1] + key[key.index(":") :]: entry for key, entry in loaded.items()}


@pytest.fixture
def converter(synap: Synap, tmp_path: Path) -> Converter:
    return Converter(synap, tmp_path)


@pytest.mark.parametrize(("dtype", "least_db"), [("uint8", 20), ("int8", 16), ("int16", 50)])
@pytest.mark.parametrize("kind", ARRANGEMENTS)
def test_masked_attention_is_as_near_as_attention_without_a_mask(
    kind: str, dtype: str, least_db: float, converter: Converter
) -> None:
    """The same head without a mask has 26, 20 and 72 dB; when masks take part in ranges it has 1 to 4."""
    arrangement = ARRANGEMENTS[kind]
    made, others = attention(arrangement), drawn(arrangement, 8, seed=2)
    written = converter.converted(made, drawn(arrangement, 20, seed=1), dtype)
    exact, found = computed(made, others), computed(written, others)
    if kind == "left":  # nothing reads what becomes of rows that are masked as a whole
        rows = np.stack([feeds["mask"].max(axis=-1) == 0 for feeds in others])
        exact, found = exact[rows], found[rows]
    assert ratio_db(exact, found) > least_db


@pytest.mark.parametrize("dtype", ["{'*': uint8, masked: float16}", "{'*': uint8, softmax: int16}", "float16"])
def test_infinite_mask_may_have_another_type_than_what_is_around_it(dtype: str, converter: Converter) -> None:
    made, others = attention(ARRANGEMENTS["infinite"]), drawn(ARRANGEMENTS["infinite"], 8, seed=2)
    written = converter.converted(made, drawn(ARRANGEMENTS["infinite"], 20, seed=1), dtype)
    assert ratio_db(computed(made, others), computed(written, others)) > 20


def test_masked_keys_get_nothing(converter: Converter) -> None:
    arrangement = ARRANGEMENTS["constant"]
    made, others = attention(arrangement, more=["p"]), drawn(arrangement, 8, seed=2)
    written = converter.converted(made, drawn(arrangement, 20, seed=1))
    assert np.all(computed(written, others, 1)[:, 0, FUTURE] == 0)
    assert np.abs(computed(written, others, 1) - computed(made, others, 1)).max() < 0.15


def test_ranges_reach_as_low_as_matters(converter: Converter) -> None:
    """By the definition: what is added ends where it pushes the highest score below the floor of the sum."""
    arrangement = ARRANGEMENTS["with a bias"]
    made, samples = attention(arrangement), drawn(arrangement, 20, seed=1)
    converter.converted(made, samples)
    scores, biased, total = values_of(made, ["s", "b", "t"], samples)
    floors = total.max(axis=-1).reshape(20, -1).min(axis=1) - DEPTH
    added = floors - scores.reshape(20, -1).max(axis=1)
    info = converter.info()
    assert info["masked:out0"]["min"] == pytest.approx(floors.min(), rel=1e-5)
    assert info["masked:out0"]["max"] == pytest.approx(total.max(), rel=1e-5)
    lowest = info["bias:out0"]["min"]
    assert lowest == pytest.approx(added.min(), rel=1e-5)
    assert biased.min() < -1e30
    assert added.max() < 0


def test_constant_mask_ends_where_it_is_low_enough_in_all_samples(converter: Converter) -> None:
    arrangement = ARRANGEMENTS["infinite"]
    made, samples = attention(arrangement), drawn(arrangement, 20, seed=1)
    first = converter.converted(made, samples)
    scores, total = values_of(made, ["s", "t"], samples)
    floors = total.max(axis=-1).reshape(20, -1).min(axis=1) - DEPTH - scores.reshape(20, -1).max(axis=1)
    assert converter.info()["masked:constant0"]["min"] == pytest.approx(floors.min(), rel=1e-5)
    # What was kept is taken up again.
    assert converter.converted(made, samples) == first


UNMASKED = {
    "no mask": Arrangement(
        [node("Mul", "s wide", "t0"), node("Add", "t0 c", "t", "masked")], {"wide": F32(9), "c": BIAS}
    ),
    "one output": Arrangement([node("Add", "s c", "t", "masked")], {"c": causal(-1e4)}),
}


@pytest.mark.parametrize("kind", UNMASKED)
def test_ranges_cover_everything_without_a_mask_or_where_something_else_reads_it(
    kind: str, converter: Converter
) -> None:
    arrangement = UNMASKED[kind]
    made = attention(arrangement, more=["t"] if kind == "one output" else [])
    samples = drawn(arrangement, 20, seed=1)
    converter.converted(made, samples)
    (total,) = values_of(made, ["t"], samples)
    assert total.min() < total.max(axis=-1).min() - 2 * DEPTH
    assert converter.info()["masked:out0"]["min"] == pytest.approx(total.min(), rel=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_infinite_constant_that_feeds_no_softmax_is_refused(dtype: str, converter: Converter) -> None:
    nodes = [node("Add", "x c", "t", "shift"), node("Sigmoid", "t", "y", "sigmoid")]
    made = model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], {"c": np.array([[0, -np.inf, 0, 0]], F32)})
    samples: list[Feeds] = [{"x": np.ones((1, 4), F32)}]
    result = converter.run(made, samples, dtype)
    assert result.code == 1
    assert "of layer @Add_shift_0 holds infinity or NaN, which cannot be quantized; put finite numbers" in result.err


@pytest.mark.parametrize("kind", ["infinite", "infinite choice", "input"])
def test_npu_program_computes_masked_attention(kind: str, converter: Converter) -> None:
    arrangement = ARRANGEMENTS[kind]
    made, others = attention(arrangement), drawn(arrangement, 8, seed=2)
    result = converter.run(made, drawn(arrangement, 20, seed=1), "int16", "--target", "SL1680")
    assert result.code == 0, result.err
    assert "layers on npu" in result.out
    assert "cpu" not in result.out
    network = Network(converter.folder / "out/model.synap")
    quant = network.outputs[0].quant
    assert quant is not None
    assert quant.fractional_length is not None
    found = np.stack([network.predict([feeds[item.name] for item in network.inputs])[0] for feeds in others])
    exact = computed(made, others).reshape(found.shape)
    assert ratio_db(exact, found * 2.0**-quant.fractional_length) > 50


# Floors


def softmax(array: np.ndarray) -> np.ndarray:
    e = np.exp(array - array.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


@dataclass
class Chain:
    """t = where(choose, u, low) + mask, u = scores + bias; with the names that the graph gives them."""

    maskings: tuple[Masking, ...]
    names: Mapping[str, str]


def chain() -> Chain:
    build = GraphBuilder("g")
    shape = (4, LENGTH, LENGTH)
    made = {name: build.input(name, ir.DataType.FLOAT, shape) for name in ("scores", "bias", "mask")}
    choose = build.input("choose", ir.DataType.BOOL, shape)
    made["low"] = build.constant(F32(LOW), "low")
    made["u"] = build.emit("Add", [made["scores"], made["bias"]])
    made["w"] = build.emit("Where", [choose, made["u"], made["low"]])
    made["t"] = build.emit("Add", [made["w"], made["mask"]])
    graph = build.finish([build.emit("Softmax", [made["t"]], {"axis": -1})])
    return Chain(find_maskings(graph.graph), {name: str(item.name) for name, item in made.items()})


LOW = -1e5


def total(parts: Mapping[str, np.ndarray], low: float) -> dict[str, np.ndarray]:
    u = parts["scores"] + parts["bias"]
    w = np.where(FUTURE, low, u)
    return {"u": u, "w": w, "t": w + parts["mask"]}


def test_whatever_is_below_its_floor_changes_no_probability() -> None:
    """Brute force: random scores, biases and masks, with all that is below a floor put at it, or lower."""
    made, rng = chain(), np.random.default_rng(5)
    shape = (4, LENGTH, LENGTH)
    for _ in range(50):
        parts = {"scores": rng.normal(0, rng.uniform(1, 20), shape), "bias": rng.normal(0, rng.uniform(0, 9), shape)}
        parts["mask"] = np.where(rng.random(shape) < 0.3, -rng.choice([1e3, 1e4, 1e9]), 0.0)
        parts["mask"][..., 0] = 0
        values = {**parts, **total(parts, LOW)}
        floors = floors_of(made.maskings, {made.names[name]: array for name, array in values.items()})
        assert floors.keys() == set(made.names.values())
        exact = softmax(values["t"])
        for deeper in (0, rng.uniform(0, 100)):
            low = {name: floors[made.names[name]] for name in made.names}
            cut = {name: np.where(array < low[name], low[name] - deeper, array) for name, array in parts.items()}
            t = total(cut, low["low"] - deeper)["t"]
            t = np.where(t < low["t"], low["t"] - deeper, t)
            assert np.abs(softmax(t) - exact).max() < LENGTH * np.exp(-DEPTH)


def found_in(*nodes: tuple[str, str, str], constants: Mapping[str, Any]) -> tuple[Masking, ...]:
    """Maskings of a graph of (operator, inputs, output); ``x`` is its input and ``y`` its output."""
    build = GraphBuilder("g")
    made = {"x": build.input("x", ir.DataType.FLOAT, (1, LENGTH, LENGTH))}
    made |= {name: build.constant(np.asarray(array, F32), name) for name, array in constants.items()}
    for kind, inputs, output in nodes:
        made[output] = build.emit(kind, [made[name] for name in inputs.split()])
    return find_maskings(build.finish([made["y"]]).graph)


def test_graphs_without_a_possible_mask_have_nothing_to_look_at() -> None:
    bias = {"b": np.linspace(-15, 15, LENGTH), "w": np.eye(LENGTH)}
    dense = [("MatMul", "x w", "d"), ("Add", "d b", "a")]
    assert found_in(*dense, ("Softmax", "a", "y"), constants=bias) == ()
    assert found_in(*dense, ("Sigmoid", "a", "y"), constants=bias) == ()
    assert len(found_in(*dense, ("Softmax", "a", "y"), constants={**bias, "b": causal(-100)})) == 1


@pytest.mark.parametrize("operator", ["Neg", "Relu", "Exp", "Softmax"])
def test_tensor_that_something_else_reads_has_no_floor(operator: str) -> None:
    nodes = [
        ("Add", "x c", "t"),
        ("Softmax", "t", "p"),
        ("Identity", "x", "i"),
        (operator, "i", "o"),
        ("Add", "p o", "y"),
    ]
    maskings = found_in(*nodes, constants={"c": causal(-100)})
    assert {item.floored for item in maskings[0].steps[0].operands if item.name == "x"} == {operator == "Softmax"}


def test_numbers_that_are_spread_evenly_are_no_mask() -> None:
    nodes = [("Relu", "x", "a"), ("Neg", "x", "b"), ("Add", "a b", "t"), ("Softmax", "t", "y")]
    (masking,) = found_in(*nodes, constants={})
    a, b = (item.name for item in masking.steps[0].operands)
    scores, few = np.linspace(-60, 60, LENGTH**2).reshape(1, LENGTH, LENGTH), np.zeros((1, LENGTH, LENGTH))

    def floor(scores: np.ndarray) -> float:
        return floors_of([masking], {a: scores, b: few, masking.source: scores + few})[masking.source]

    assert scores.min() < scores.max(axis=-1).min() - 5
    assert floor(scores.transpose(0, 2, 1)) == -math.inf
    apart = scores.transpose(0, 2, 1).copy()
    apart[apart < apart.max(axis=-1).min() - DEPTH] -= 21
    assert floor(apart) == apart.max(axis=-1).min() - DEPTH


def test_mask_of_two_softmaxes_is_low_enough_for_both() -> None:
    nodes = [("Relu", "x", "a"), ("Neg", "x", "b"), ("Abs", "x", "m"), ("Add", "a m", "t"), ("Add", "b m", "u")]
    nodes += [("Softmax", "t", "p"), ("Softmax", "u", "q"), ("Add", "p q", "y")]
    maskings = found_in(*nodes, constants={})
    a, m = (item.name for item in maskings[0].steps[0].operands)
    b, t, u = maskings[1].steps[0].operands[0].name, maskings[0].source, maskings[1].source
    mask = causal(-1e4)[None]
    three, seven = np.full(mask.shape, 3), np.full(mask.shape, -7)
    floors = floors_of(maskings, {m: mask, a: three, b: seven, t: mask + 3, u: mask - 7})
    # Each sum ends 20 below its only number that counts.
    assert (floors[t], floors[u], floors[m]) == (3 - DEPTH, -7 - DEPTH, -DEPTH)


def test_what_another_softmax_reads_without_a_mask_has_no_floor() -> None:
    """All numbers of x matter to the second one: there is no mask that would tell it from other ranges."""
    nodes = [("Add", "x c", "t"), ("Softmax", "t", "p"), ("Softmax", "x", "q"), ("Add", "p q", "y")]
    maskings = found_in(*nodes, constants={"c": causal(-1e4)})
    scores = np.linspace(-60, 0, LENGTH**2, dtype=F32).reshape(1, LENGTH, LENGTH)
    t = scores + causal(-1e4)
    sources = {masking.source for masking in maskings}
    assert "x" in sources
    floors = floors_of(maskings, {source: scores if source == "x" else t for source in sources})
    assert floors["x"] == -math.inf
    assert all(math.isfinite(floors[source]) for source in sources - {"x"})


def test_rows_that_are_masked_as_a_whole_tell_nothing() -> None:
    (masking,) = found_in(("Add", "x c", "t"), ("Softmax", "t", "y"), constants={"c": causal(-1e4)})
    scores = np.arange(LENGTH**2, dtype=F32).reshape(1, LENGTH, LENGTH)
    for low in (-1e4, -3e38, -np.inf):
        t = (scores + causal(-1e4)).astype(F32)
        t[0, 2:4] = low
        # The first row has one number that counts, 0.
        assert floors_of([masking], {masking.source: t, "x": scores})[masking.source] == -DEPTH


def test_operand_that_is_masked_everywhere_leaves_the_other_as_it_is() -> None:
    made, rng = chain(), np.random.default_rng(8)
    shape = (4, LENGTH, LENGTH)
    parts = {"scores": rng.normal(size=shape), "bias": np.full(shape, -np.inf), "mask": np.where(FUTURE, -1e4, 0.0)}
    values = {**parts, "u": parts["scores"] + parts["bias"], "w": np.zeros(shape), "t": np.zeros(shape) + parts["mask"]}
    floors = floors_of(made.maskings, {made.names[name]: array for name, array in values.items()})
    assert (floors[made.names["scores"]], floors[made.names["t"]]) == (-math.inf, -DEPTH)


@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_floor_hides_no_numbers_that_are_wrong(bad: float) -> None:
    (masking,) = found_in(("Add", "x c", "t"), ("Softmax", "t", "y"), constants={"c": causal(-1e4)})
    t = np.full((1, LENGTH, LENGTH), bad, F32)
    floor = floors_of([masking], {masking.source: t, "x": t})[masking.source]
    assert not np.isfinite(np.maximum(t, F32(floor))).any()
