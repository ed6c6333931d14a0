"""Rounding that graphs are trained with: annotations, and what is written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import quant_of
from synap_core.graph.passes import normalise
from synap_core.graph.qdq import to_qdq
from synap_core.graph.quantized import QuantizedTensor
from synap_core.network import Network
from tests.support.canonical import run
from tests.support.cli import Synap
from tests.support.tensorflow_models import GraphComposer, canonical, reason

RANGES = [(-1.3, 2.7), (0.0, 6.0), (0.5, 3.0), (-3.0, -0.5), (-0.02, 5.0)]


def fake_quantized(x: np.ndarray, low: float, high: float, bits: int = 8, *, narrow: bool = False) -> np.ndarray:
    """The documented formula, in float32: the range is moved so that zero is one of its steps."""
    first, last = np.float32(narrow), np.float32((1 << bits) - 1)
    scale = (np.float32(high) - np.float32(low)) / (last - first)
    point = first - np.float32(low) / scale
    point = np.clip(np.floor(point + np.float32(0.5)), first, last)
    least, most = (first - point) * scale, (last - point) * scale
    return np.asarray(np.floor((np.clip(x, least, most) - least) / scale + np.float32(0.5)) * scale + least)


def rounded(
    graph: GraphComposer, source: str, limits: tuple[object, object], name: str, bits: int = 8, *, narrow: bool = False
) -> str:
    ends = [graph.constant(np.asarray(end, np.float32)) for end in limits]
    kind = "FakeQuantWithMinMaxVars" + ("PerChannel" if np.ndim(limits[0]) else "")
    return graph.node(kind, [source, *ends], name=name, num_bits=bits, narrow_range=narrow, T=None)


@pytest.mark.parametrize("last", [True, False], ids=["output", "inside"])
@pytest.mark.parametrize("narrow", [True, False], ids=["narrow", "whole"])
@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("limits", RANGES, ids=str)
def test_rounding_is_that_of_the_documentation(
    limits: tuple[float, float], bits: int, *, narrow: bool, last: bool, rng: np.random.Generator
) -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1, 4, 4, 8])
    graph.node("Relu6", ["x"], name="r")
    rounded(graph, "r", limits, "q", bits, narrow=narrow)
    graph.node("Neg", ["q"], name="y")
    x = rng.normal(size=(1, 4, 4, 8), scale=3).astype(np.float32)
    model = canonical(graph.serialize(), {"x": x.shape}, ["q" if last else "y"])
    normalise(model)
    (found,) = run(to_qdq(model), [x])
    expected = fake_quantized(np.clip(x, 0, 6), *limits, bits, narrow=narrow)
    # The sums of the formula are rounded on the way; a step is at least six hundred times larger.
    np.testing.assert_allclose(found if last else -found, expected, atol=2e-6)


def test_eight_bits_are_an_annotation_of_the_value_itself() -> None:
    graph = GraphComposer()
    graph.node("Relu6", [graph.placeholder("x", [1, 4])], name="r")
    rounded(graph, "r", (0.0, 6.0), "q")
    graph.node("Reshape", ["q", graph.constant([4, 1])], name="s", Tshape=np.int32)
    graph.node("Neg", ["s"], name="y")
    model = canonical(graph.serialize(), {"x": [1, 4]}, ["y"])
    quants = {str(value.name): quant_of(value) for node in model.graph for value in node.outputs}
    assert quants["r"] == quants["q"] == quants["s"]
    found = quants["q"]
    assert found is not None
    assert (found.dtype, found.scheme, found.zero_point) == ("uint8", "asymmetric_affine", (0,))
    assert found.scale == (float(np.float32(6) / np.float32(255)),)
    assert quants["y"] is None
    assert "Round" not in {node.op_type for node in model.graph}


def test_a_value_that_is_read_without_rounding_too_is_not_annotated() -> None:
    graph = GraphComposer()
    graph.node("Relu6", [graph.placeholder("x", [1, 4])], name="r")
    rounded(graph, "r", (0.0, 6.0), "q")
    graph.node("Sub", ["q", "r"], name="y")
    model = canonical(graph.serialize(), {"x": [1, 4]}, ["y"])
    quants = {str(value.name): quant_of(value) for node in model.graph for value in node.outputs}
    assert quants["r"] is None
    assert quants["q"] is not None


@pytest.mark.parametrize("channels", [None, 3], ids=["tensor", "channel"])
def test_constants_are_rounded_at_once_and_keep_their_integers(channels: int | None, rng: np.random.Generator) -> None:
    weights = rng.normal(size=(4, 3)).astype(np.float32)
    low, high = (-1.0, 0.8) if channels is None else (np.array([-1, -0.5, -2]), np.array([0.8, 1, 1.5]))
    graph = GraphComposer()
    graph.placeholder("x", [1, 3])
    rounded(graph, graph.constant(weights), (low, high), "w", narrow=True)
    graph.node("Mul", ["x", "w"], name="y")
    model = canonical(graph.serialize(), {"x": [1, 3]}, ["y"])
    (constant,) = model.graph.initializers.values()
    assert isinstance(constant.const_value, QuantizedTensor)
    assert constant.const_value.integers.min() >= 1
    if channels is None:
        expected = fake_quantized(weights, -1.0, 0.8, narrow=True)
    else:
        columns = zip(weights.T, np.atleast_1d(low), np.atleast_1d(high), strict=True)
        expected = np.stack([fake_quantized(w, a, b, narrow=True) for w, a, b in columns], -1)
    np.testing.assert_allclose(constant.const_value.numpy(), expected, atol=1e-6)


def test_computed_values_with_a_range_per_channel_are_written_out(rng: np.random.Generator) -> None:
    low, high = np.array([-1.0, -0.5]), np.array([0.8, 1.0])
    graph = GraphComposer()
    rounded(graph, graph.placeholder("x", [1, 3, 3, 2]), (low, high), "y")
    x = rng.normal(size=(1, 3, 3, 2)).astype(np.float32)
    (found,) = run(canonical(graph.serialize(), {"x": x.shape}, ["y"]), [x])
    for channel in range(2):
        expected = fake_quantized(x[..., channel], low[channel], high[channel])
        np.testing.assert_allclose(found[..., channel], expected, atol=2e-6)


@pytest.mark.parametrize(
    ("given", "limits"), [({"min": -2.0, "max": 1.0}, (-2, 1)), ({}, (-6, 6))], ids=["given", "default"]
)
def test_the_range_may_be_a_pair_of_attributes(
    given: dict[str, float], limits: tuple[float, float], rng: np.random.Generator
) -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1, 50])
    graph.node("FakeQuantWithMinMaxArgs", ["x"], name="y", T=None, **given)
    x = rng.normal(size=(1, 50)).astype(np.float32)
    (found,) = run(to_qdq(canonical(graph.serialize(), {"x": x.shape}, ["y"])), [x])
    np.testing.assert_allclose(found, fake_quantized(x, *limits), atol=2e-6)


@pytest.mark.parametrize(
    ("limits", "bits", "message"),
    [
        ((1.0, 1.0), 8, "a range without extent, or without ends"),
        ((2.0, 1.0), 8, "a range without extent, or without ends"),
        ((-np.inf, 1.0), 8, "a range without extent, or without ends"),
        ((-3e38, 3e38), 8, "a range without extent, or without ends"),
        ((0.0, 1.0), 1 << 40, "1099511627776 bits and ranges of the shapes [1] and [1]"),
        ((0.0, 1.0), 17, "17 bits and ranges of the shapes [1] and [1]"),
        ((0.0, 1.0), -1, "-1 bits and ranges of the shapes [1] and [1]"),
        ((np.zeros(3), np.ones(3)), 8, "8 bits and ranges of the shapes [3] and [3]"),
        (("x", "x"), 8, "its operand 1 is computed; only a constant can be imported"),
    ],
    ids=["empty", "reversed", "infinite", "too wide", "absurd bits", "many bits", "no bits", "channels", "computed"],
)
def test_ranges_that_make_no_sense_are_refused(limits: tuple[object, object], bits: int, message: str) -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1, 4])
    if isinstance(limits[0], str):
        graph.node("FakeQuantWithMinMaxVars", ["x", *map(str, limits)], name="q", T=None)
    else:
        rounded(graph, "x", limits, "q", bits)
    assert reason(graph.serialize(), {"x": [1, 4]}, ["q"]) == message


def trained(rng: np.random.Generator) -> bytes:
    """A small network as quantization-aware training leaves it: biases and the output are not rounded."""
    graph = GraphComposer()
    last = rounded(graph, graph.placeholder("x", [-1, 8, 8, 3]), (-1.0, 1.0), "qx")
    for name, channels in (("a", 3), ("b", 8)):
        weights = graph.constant(rng.normal(size=(3, 3, channels, 8), scale=0.2).astype(np.float32))
        quantized = rounded(graph, weights, (-0.5, 0.5), f"q{name}/w", narrow=True)
        graph.node("Conv2D", [last, quantized], name=name, strides=[1, 1, 1, 1], padding="SAME", data_format="NHWC")
        graph.node("BiasAdd", [name, graph.constant(rng.normal(size=8).astype(np.float32))], name=f"{name}/bias")
        graph.node("Relu6", [f"{name}/bias"], name=f"{name}/relu")
        last = rounded(graph, f"{name}/relu", (0.0, 6.0), f"q{name}")
        if name == "a":
            last = graph.node("MaxPool", [last], ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
    graph.node("Mean", [last, graph.constant([1, 2])], name="y", keep_dims=False, Tidx=np.int32)
    return graph.serialize()


def test_a_trained_network_runs_in_integers_and_agrees_with_the_rounded_floats(
    synap: Synap, out: Path, rng: np.random.Generator
) -> None:
    model, meta = out.parent / "net.pb", out.parent / "meta.yaml"
    model.write_bytes(trained(rng))
    meta.write_text("inputs: [{name: x, shape: [1, 8, 8, 3]}]\noutputs: [{name: y}]\n")
    networks = []
    for target, delegate in (("SL1620", "cpu"), ("VS680", "npu")):
        folder = out.parent / target
        result = synap("convert", "--model", model, "--meta", meta, "--target", target, "--out-dir", folder)
        assert result.code == 0, result.err
        assert f"on {delegate}" in result.out
        networks.append(Network(folder / "model.synap"))
    floats, integers = networks
    assert integers.inputs[0].dtype == "uint8"
    steps = rng.integers(0, 255, (1, 8, 8, 3))
    quant = integers.inputs[0].quant
    assert quant is not None
    x = ((steps - quant.zero_point[0]) * quant.scale[0]).astype(np.float32)
    (expected,) = floats.predict([x])
    (found,) = integers.predict([steps.astype(np.uint8)])
    # Biases become multiples of the step of sums, and means are rounded once more: a few steps of the output.
    np.testing.assert_allclose(found.astype(np.float32), expected, atol=3 * 6 / 255)


def test_the_canonical_graph_without_its_annotations_does_not_round(rng: np.random.Generator) -> None:
    graph = GraphComposer()
    rounded(graph, graph.placeholder("x", [1, 50]), (-1.0, 1.0), "q")
    graph.node("Neg", ["q"], name="y")
    x = rng.uniform(-1, 1, (1, 50)).astype(np.float32)
    model: ir.Model = canonical(graph.serialize(), {"x": x.shape}, ["y"])
    np.testing.assert_array_equal(run(model, [x])[0], -x)
