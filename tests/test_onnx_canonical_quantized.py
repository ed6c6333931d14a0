"""Quantized ``.onnx`` models in the canonical graph: real numbers with annotations, against ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from synap_core.api import QuantizedTensor, QuantParams, Slice, quant_of, to_qdq
from tests.support.canonical import checked_proto, opaque_reasons, stored, whole
from tests.support.onnx_models import F32, Oracle, model, node, open_made, quantized, value

FLOAT, UINT8, INT8, INT16, INT4 = (
    TensorProto.FLOAT,
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT4,
)
MICROSOFT = "com.microsoft"
X, Y = [value("x", [1, 4])], [value("y", [1, 4])]
STEPS = {"s": np.array(0.1, F32), "z": np.array(3, np.int8)}
QUANT = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(float(np.float32(0.1)),), zero_point=(3,))


def canonical(folder: Path, made: onnx.ModelProto) -> ir.Model:
    opened = open_made(folder, made)
    graph = opened.canonical(whole(opened))
    assert opaque_reasons(graph) == []
    return graph


def annotations(graph: ir.Model) -> dict[str, str]:
    """Integer type of each value that has one."""
    values = [*graph.graph.inputs, *(v for item in graph.graph for v in item.outputs)]
    return {str(v.name): quant.dtype for v in values if (quant := quant_of(v)) is not None}


def results(made: onnx.ModelProto, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return Oracle(made)(arrays)


def written(graph: ir.Model) -> onnx.ModelProto:
    """The graph with its annotations as operators again."""
    return checked_proto(to_qdq(graph))


def network(rng: np.random.Generator) -> onnx.ModelProto:
    """A network with the operators that the quantizer of ONNX Runtime knows."""
    nodes = [
        node("Conv", "x w1 b1", "a", pads=[1] * 4),
        node("Relu", "a", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p w2 b2", "c", pads=[1] * 4),
        node("Sigmoid", "c", "g"),
        node("Mul", "c g", "m"),
        node("Add", "m p", "d"),
        node("Concat", "d p", "cc", axis=1),
        node("Resize", "cc - up", "u", mode="nearest"),
        node("AveragePool", "u", "v", kernel_shape=[2, 2], strides=[2, 2]),
        node("LeakyRelu", "v", "l"),
        node("Transpose", "l", "t", perm=[0, 2, 3, 1]),
        node("Transpose", "t", "b", perm=[0, 3, 1, 2]),
        node("GlobalAveragePool", "b", "h"),
        node("Flatten", "h", "f"),
        node("Gemm", "f w3 b3", "e", transB=1),
        node("Softmax", "e", "y", axis=1),
    ]
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 4, 3, 3), "b2": (4,), "w3": (5, 8), "b3": (5,)}
    weights = {name: rng.normal(size=shape).astype(F32) for name, shape in shapes.items()}
    weights["up"] = np.array([1, 1, 2, 2], F32)
    return model(nodes, [value("x", [1, 3, 8, 8])], [value("y", [1, 5])], weights)


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # the runtime's package has no types
    """Some samples of normal noise."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._samples: Iterator[Mapping[str, np.ndarray]] = iter(
            [{"x": rng.normal(size=(1, 3, 8, 8)).astype(F32)} for _ in range(4)]
        )

    def get_next(self) -> Any:
        return next(self._samples, None)


@pytest.fixture
def quantize(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Quantize the network with the quantizer of ONNX Runtime."""
    monkeypatch.setattr(logging, "warning", lambda *_: None)  # it recommends a preprocessing

    def run(layout: QuantFormat, activations: str, weights: str, *, channels: bool) -> onnx.ModelProto:
        source, target = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
        source.write_bytes(network(rng).SerializeToString())
        quantize_static(
            source,
            target,
            Calibration(rng),
            quant_format=layout,
            activation_type=QuantType[activations],
            weight_type=QuantType[weights],
            per_channel=channels,
        )
        return onnx.load(target)

    return run


@pytest.mark.parametrize(
    ("activations", "weights", "channels"),
    [("QUInt8", "QInt8", False), ("QInt8", "QInt8", True), ("QUInt8", "QUInt8", True), ("QInt16", "QInt8", True)],
    ids=["u8 i8", "i8 per channel", "u8 per channel", "i16"],
)
def test_model_with_nodes_between_integers_and_real_numbers_is_exactly_the_same(
    tmp_path: Path, rng: np.random.Generator, quantize: Any, activations: str, weights: str, channels: bool
) -> None:
    made = quantize(QuantFormat.QDQ, activations, weights, channels=channels)
    graph = canonical(tmp_path, made)
    assert not {item.op_type for item in graph.graph} & {"QuantizeLinear", "DequantizeLinear"}
    constants = [v.const_value for v in graph.graph.initializers.values()]
    assert len([tensor for tensor in constants if isinstance(tensor, QuantizedTensor)]) == 6
    ours, theirs = Oracle(written(graph)), Oracle(made)
    for _ in range(5):
        x = rng.normal(size=(1, 3, 8, 8)).astype(F32)
        np.testing.assert_array_equal(ours([x])[0], theirs([x])[0])


@pytest.mark.parametrize(
    ("activations", "weights", "channels"),
    [("QUInt8", "QInt8", False), ("QInt8", "QInt8", True)],
    ids=["u8", "i8 per channel"],
)
def test_model_of_operators_on_integers_is_the_same_but_for_a_step(
    tmp_path: Path, rng: np.random.Generator, quantize: Any, activations: str, weights: str, channels: bool
) -> None:
    made = quantize(QuantFormat.QOperator, activations, weights, channels=channels)
    graph = canonical(tmp_path, made)
    assert {item.op_type for item in graph.graph} == {
        "Add", "AveragePool", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "Identity", "LeakyRelu",
        "MaxPool", "Mul", "Resize", "Sigmoid", "Softmax", "Transpose",
    }  # fmt: skip
    step = quant_of(graph.graph.outputs[0].producer().inputs[0]).scale[0]
    ours, theirs = Oracle(written(graph)), Oracle(made)
    for _ in range(5):
        x = rng.normal(size=(1, 3, 8, 8)).astype(F32)
        # The kernels round sums of integers, the graph sums of real numbers.
        assert np.abs(ours([x])[0] - theirs([x])[0]).max() <= 1.01 * step


def test_annotations_say_which_tensors_are_integers(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = canonical(tmp_path, quantized(rng))
    # Inputs and outputs of real numbers have none; of the rest, what is rounded has one.
    assert annotations(graph) == {"xq": "uint8", "xd": "uint8", "c": "uint8", "cq": "uint8"}
    (weights,) = [v.const_value for v in graph.graph.initializers.values()]
    assert isinstance(weights, QuantizedTensor)
    assert (weights.quant.axis, weights.quant.dtype, weights.integers.shape) == (0, "int8", (4, 3, 1, 1))
    assert [v.name for v in graph.graph.outputs] == ["y"]


def test_value_that_is_also_read_unrounded_gets_no_annotation(tmp_path: Path) -> None:
    nodes = [
        node("Relu", "x", "r"),
        node("QuantizeLinear", "r s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("Add", "r d", "y"),
    ]
    made = model(nodes, X, Y, STEPS)
    graph = canonical(tmp_path, made)
    assert annotations(graph) == {"q": "int8", "d": "int8"}
    x = np.linspace(-1, 1, 4, dtype=F32).reshape(1, 4)
    np.testing.assert_array_equal(Oracle(written(graph))([x])[0], results(made, [x])[0])


def test_integers_at_the_boundary_are_annotated_real_numbers(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [node("DequantizeLinear", "x s z", "d"), node("Neg", "d", "n"), node("QuantizeLinear", "n s z", "y")]
    made = model(nodes, [value("x", [1, 4], INT8)], [value("y", [1, 4], INT8)], STEPS)
    graph = canonical(tmp_path, made)
    assert [(v.dtype, quant_of(v)) for v in (*graph.graph.inputs, *graph.graph.outputs)] == [
        (ir.DataType.FLOAT, QUANT)
    ] * 2
    x = rng.integers(-128, 128, size=(1, 4)).astype(np.int8)
    np.testing.assert_array_equal(Oracle(written(graph))([x])[0], results(made, [x])[0])


def test_cut_between_integers_and_real_numbers_is_annotated_on_both_sides(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    made = quantized(rng)
    opened = open_made(tmp_path, made)
    layers = [layer for layer in opened.layers if layer.index is not None]
    ends = {layer.name for layer in layers} - {"q"}
    first = opened.canonical(Slice(layers=(layers[0],), inputs=("x",), outputs=("xq",)))
    second = opened.canonical(
        Slice(layers=tuple(layer for layer in layers if layer.name in ends), inputs=("xq",), outputs=("y",))
    )
    assert annotations(first) == {"xq": "uint8"}
    assert quant_of(second.graph.inputs[0]) == quant_of(first.graph.outputs[0])
    x = rng.normal(size=(1, 3, 4, 4)).astype(F32)
    (middle,) = Oracle(written(first))([x])
    assert middle.dtype == np.uint8
    np.testing.assert_array_equal(Oracle(written(second))([middle])[0], results(made, [x])[0])


INTEGER_READERS: Mapping[str, tuple[Sequence[onnx.NodeProto], list[str]]] = {
    "integers alone": ([node("Cast", "q", "y", to=FLOAT)], ["QuantizeLinear", "Cast"]),
    "both": (
        [node("DequantizeLinear", "q s z", "d"), node("Cast", "q", "i", to=FLOAT), node("Add", "d i", "y")],
        ["Identity", "Identity", "QuantizeLinear", "Cast", "Add"],
    ),
    "another scale": (
        [node("DequantizeLinear", "q s2 z", "y")],
        ["Identity", "QuantizeLinear", "DequantizeLinear"],
    ),
    "twice": (
        [
            node("Cast", "q", "i", to=FLOAT),
            node("Sign", "q", "j"),
            node("Cast", "j", "k", to=FLOAT),
            node("Add", "i k", "l"),
            node("DequantizeLinear", "q s z", "d"),
            node("Add", "d l", "y"),
        ],
        ["Identity", "QuantizeLinear", "Cast", "Sign", "Cast", "Add", "Identity", "Add"],
    ),
}


@pytest.mark.parametrize(("nodes", "operators"), INTEGER_READERS.values(), ids=INTEGER_READERS)
def test_integers_that_are_read_as_such_are_computed(
    tmp_path: Path, rng: np.random.Generator, nodes: Sequence[onnx.NodeProto], operators: list[str]
) -> None:
    constants = {**STEPS, "s2": np.array(0.2, F32)}
    made = model([node("QuantizeLinear", "x s z", "q"), *nodes], X, Y, constants)
    graph = canonical(tmp_path, made)
    assert [item.op_type for item in graph.graph] == operators
    x = rng.normal(size=(1, 4)).astype(F32) * 5
    np.testing.assert_array_equal(Oracle(written(graph))([x])[0], results(made, [x])[0])


def test_integers_of_16_bits_that_are_read_as_such_are_computed(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("Cast", "q", "i", to=FLOAT),
        node("DequantizeLinear", "q s z", "d"),
        node("Add", "i d", "y"),
    ]
    made = model(nodes, X, Y, {"s": np.array(1e-3, F32), "z": np.array(-5, np.int16)}, opset=21, ir=10)
    graph = canonical(tmp_path, made)
    x = np.array([[0.5005, -50, 50, 1e-3]], F32)
    # The annotated part and the part of integers are in one model of the newer operator set.
    np.testing.assert_array_equal(Oracle(written(graph))([x])[0], results(made, [x])[0])


def test_scale_that_is_computed_leaves_the_operators_as_they_are(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [node("QuantizeLinear", "x t z", "q"), node("DequantizeLinear", "q t z", "y")]
    made = model(nodes, [*X, value("t", [])], Y, {"z": STEPS["z"]})
    graph = canonical(tmp_path, made)
    assert [item.op_type for item in graph.graph] == ["QuantizeLinear", "DequantizeLinear"]
    arrays = [rng.normal(size=(1, 4)).astype(F32), np.array(0.05, F32)]
    np.testing.assert_array_equal(Oracle(checked_proto(graph))(arrays)[0], results(made, arrays)[0])


def test_float_weights_that_are_quantized_in_the_model_are_stored_as_integers(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    constants = {"w": rng.normal(size=(4, 4)).astype(F32), "sw": np.full(4, 0.01, F32), "zw": np.zeros(4, np.int8)}
    nodes = [
        node("QuantizeLinear", "w sw zw", "wq", axis=0),
        node("DequantizeLinear", "wq sw zw", "wd", axis=0),
        node("MatMul", "x wd", "y"),
    ]
    graph = canonical(tmp_path, model(nodes, X, Y, constants))
    (tensor,) = [v.const_value for v in graph.graph.initializers.values()]
    assert isinstance(tensor, QuantizedTensor)
    np.testing.assert_array_equal(tensor.integers, stored(constants["w"], tensor.quant))
    assert np.abs(tensor.integers).max() == 127 or tensor.integers.min() == -128


def packed(array: np.ndarray, name: str, kind: int = INT4) -> onnx.TensorProto:
    return helper.make_tensor(name, kind, array.shape, array.reshape(-1))


@pytest.mark.parametrize("blocks", [False, True], ids=["per channel", "in blocks"])
def test_weights_of_4_bits(tmp_path: Path, rng: np.random.Generator, blocks: bool) -> None:
    integers = rng.integers(-8, 8, size=(4, 4))
    scale = rng.uniform(0.1, 1, size=(2, 4) if blocks else 4).astype(F32)
    options = {"axis": 0, "block_size": 2} if blocks else {"axis": 1}
    nodes = [node("DequantizeLinear", "w s", "d", **options), node("MatMul", "x d", "y")]
    made = model(nodes, X, Y, {"s": scale}, opset=21, ir=10)
    made.graph.initializer.append(packed(integers, "w"))
    graph = canonical(tmp_path, made)
    (constant,) = graph.graph.initializers.values()
    # A scale that changes along an axis, too, is more than an annotation can say.
    assert isinstance(constant.const_value, QuantizedTensor) != blocks
    np.testing.assert_array_equal(
        constant.const_value.numpy(), integers.astype(F32) * (np.repeat(scale, 2, axis=0) if blocks else scale)
    )


def test_computed_integers_in_blocks_are_written_out(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        node("QuantizeLinear", "x s z", "q", axis=1, block_size=2),
        node("DequantizeLinear", "q s z", "y", axis=1, block_size=2),
    ]
    constants = {"s": np.array([[0.1, 0.5]], F32), "z": np.array([[3, -7]], np.int8)}
    made = model(nodes, X, Y, constants, opset=21, ir=10)
    x = rng.normal(size=(1, 4)).astype(F32) * 20
    got = Oracle(checked_proto(canonical(tmp_path, made)))([x])[0]
    scale, zero = (np.repeat(constants[name].astype(F32), 2, axis=1) for name in "sz")
    np.testing.assert_array_equal(got, (np.clip(np.rint(x / scale) + zero, -128, 127) - zero) * scale)


def steps(name: str, scale: float, zero: int = 0, kind: Any = np.uint8) -> dict[str, np.ndarray]:
    return {f"{name}s": np.array(scale, F32), f"{name}z": np.array(zero, kind)}


A, B, C = steps("a", 0.05, 120), steps("b", 0.1, 3), steps("c", 0.2, 60)
IMAGE = [1, 2, 4, 4]

ON_INTEGERS: Mapping[str, tuple[onnx.NodeProto, str]] = {
    "QLinearAdd": (node("QLinearAdd", "a as az b bs bz cs cz", "c", domain=MICROSOFT), "Add"),
    "QLinearMul": (node("QLinearMul", "a as az b bs bz cs cz", "c", domain=MICROSOFT), "Mul"),
    "QLinearMatMul": (node("QLinearMatMul", "a as az b bs bz cs cz", "c"), "MatMul"),
    "QLinearConcat": (node("QLinearConcat", "cs cz a as az b bs bz", "c", domain=MICROSOFT, axis=1), "Concat"),
    "QLinearSigmoid": (node("QLinearSigmoid", "a as az cs cz", "c", domain=MICROSOFT), "Sigmoid"),
    "QLinearLeakyRelu": (node("QLinearLeakyRelu", "a as az cs cz", "c", domain=MICROSOFT, alpha=0.25), "LeakyRelu"),
    "QLinearSoftmax": (node("QLinearSoftmax", "a as az cs cz", "c", domain=MICROSOFT, axis=1, opset=13), "Softmax"),
    "QLinearSoftmax old": (node("QLinearSoftmax", "a as az cs cz", "c", domain=MICROSOFT, axis=1, opset=12), "Softmax"),
    "QLinearAveragePool": (
        node("QLinearAveragePool", "a as az cs cz", "c", domain=MICROSOFT, kernel_shape=[2, 2]),
        "AveragePool",
    ),
    "QLinearGlobalAveragePool": (
        node("QLinearGlobalAveragePool", "a as az cs cz", "c", domain=MICROSOFT, channels_last=0),
        "GlobalAveragePool",
    ),
}


@pytest.mark.parametrize(("last", "operator"), ON_INTEGERS.values(), ids=ON_INTEGERS)
def test_operator_on_integers_is_one_on_real_numbers(
    tmp_path: Path, rng: np.random.Generator, last: onnx.NodeProto, operator: str
) -> None:
    inputs = [value(name, IMAGE, UINT8) for name in "ab" if name in last.input]
    made = model([last], inputs, [value("c", None, UINT8)], {**A, **B, **C}, imports={MICROSOFT: 1})
    graph = canonical(tmp_path, made)
    assert operator in {item.op_type for item in graph.graph} <= {operator, "Reshape"}
    assert {quant_of(v).dtype for v in (*graph.graph.inputs, *graph.graph.outputs)} == {"uint8"}
    arrays = [rng.integers(0, 256, size=IMAGE).astype(np.uint8) for _ in inputs]
    got, expected = Oracle(written(graph))(arrays)[0], results(made, arrays)[0]
    # The kernels compute in integers or with tables.
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1


MOVING: Mapping[str, tuple[onnx.NodeProto, Mapping[str, Any]]] = {
    "Reshape": (node("Reshape", "a k", "m"), {"k": np.array([1, 32])}),
    "Pad": (node("Pad", "a k", "m"), {"k": np.array([0, 0, 1, 0, 0, 0, 0, 1])}),
    "Pad value": (node("Pad", "a k v", "m"), {"k": np.array([0, 0, 1, 0, 0, 0, 0, 1]), "v": np.array(77, np.uint8)}),
    "MaxPool": (node("MaxPool", "a", "m", kernel_shape=[2, 2]), {}),
    "Concat constant": (node("Concat", "a v", "m", axis=3), {"v": np.full((1, 2, 4, 1), 9, np.uint8)}),
    "Where": (node("Where", "k a v", "m"), {"k": np.eye(4, dtype=bool), "v": np.array(200, np.uint8)}),
    "Gather": (node("Gather", "a k", "m", axis=2), {"k": np.array([3, 0])}),
}


@pytest.mark.parametrize(("middle", "constants"), MOVING.values(), ids=MOVING)
def test_operator_that_moves_integers_moves_real_numbers(
    tmp_path: Path, rng: np.random.Generator, middle: onnx.NodeProto, constants: Mapping[str, Any]
) -> None:
    nodes = [middle, node("DequantizeLinear", "m as az", "y")]
    first = node("DequantizeLinear", "a as az", "first")
    outputs = [value("y", None), value("first", IMAGE)]
    made = model([first, *nodes], [value("a", IMAGE, UINT8)], outputs, {**A, **constants})
    graph = canonical(tmp_path, made)
    assert annotations(graph)["m"] == "uint8"
    assert middle.op_type in {item.op_type for item in graph.graph}
    a = rng.integers(0, 256, size=IMAGE).astype(np.uint8)
    for got, expected in zip(Oracle(written(graph))([a]), results(made, [a]), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "last",
    [node("MatMulInteger", "a b az bz", "c"), node("ConvInteger", "a w az", "c")],
    ids=["MatMulInteger", "ConvInteger"],
)
def test_sums_of_integers_stay_what_they_are(tmp_path: Path, rng: np.random.Generator, last: onnx.NodeProto) -> None:
    inputs = [value(name, IMAGE, UINT8) for name in "ab" if name in last.input]
    constants = {**A, **B, "w": rng.integers(0, 256, size=(2, 2, 3, 3)).astype(np.uint8)}
    made = model([last], inputs, [value("c", None, TensorProto.INT32)], constants)
    graph = canonical(tmp_path, made)
    arrays = [rng.integers(0, 256, size=IMAGE).astype(np.uint8) for _ in inputs]
    np.testing.assert_array_equal(Oracle(checked_proto(graph))(arrays)[0], results(made, arrays)[0])


@pytest.mark.parametrize(
    ("scale", "zero"),
    [(np.array(-0.1, F32), np.array(3, np.int8)), (np.array(np.nan, F32), np.array(3, np.int8))],
    ids=["negative", "none"],
)
def test_scale_that_no_annotation_holds_leaves_the_operators_as_they_are(
    tmp_path: Path, scale: np.ndarray, zero: np.ndarray
) -> None:
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    graph = canonical(tmp_path, model(nodes, X, Y, {"s": scale, "z": zero}))
    assert [item.op_type for item in graph.graph] == ["QuantizeLinear", "DequantizeLinear"]
