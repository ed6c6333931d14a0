"""Which operations the NPU runs, on which engine, and what it says about the others."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.api import Group, QuantParams, Support, group
from synap_core.graph.annotations import set_activation, set_quant
from synap_core.graph.rules.signatures import SIGNATURES
from synap_core.graph.types import TensorType
from synap_delegate_npu.fusion import fuse
from synap_delegate_npu.support import RECORDS, check, check_network, parts_of
from tests.support.passes import Net, by_channel, int8

FLOAT, BOOL, INT64 = ir.DataType.FLOAT, ir.DataType.BOOL, ir.DataType.INT64

Build = Callable[[Net], ir.Value]


def last_group(build: Build) -> Group:
    """The operation that computes what a function builds."""
    net = Net()
    value = build(net)
    return next(found for found in group(net.model(value)) if value.producer() in found.nodes)


def asked(build: Build, dtype: str = "int8") -> Support:
    return check(last_group(build), dtype)


def uint8(scale: float = 0.5) -> QuantParams:
    return QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(scale,), zero_point=(3,))


def int16(scale: float, zero_point: int = 0) -> QuantParams:
    return QuantParams(dtype="int16", scheme="asymmetric_affine", scale=(scale,), zero_point=(zero_point,))


def of(value: ir.Value, quant: QuantParams) -> ir.Value:
    set_quant(value, quant)
    return value


def image(net: Net, channels: int = 4, size: int = 40) -> ir.Value:
    return net.input(1, channels, size, size)


def pooled(op_type: str, kernel: int, stride: int, size: int = 40) -> Build:
    return lambda net: net(op_type, image(net, size=size), kernel_shape=[kernel, kernel], strides=[stride, stride])


def conv(channels: int = 4, kernel: int = 3, size: int = 40, **attributes: object) -> Build:
    return lambda net: net.conv(image(net, size=size), channels, kernel, **attributes)  # type: ignore[arg-type]


def unary(op_type: str, **attributes: object) -> Build:
    return lambda net: net(op_type, image(net), **attributes)  # type: ignore[arg-type]


def silu(net: Net) -> ir.Value:
    x = image(net)
    gate = net("Sigmoid", x)
    y = net("Mul", x, gate)
    set_activation([gate.producer(), y.producer()], "SiLU")  # type: ignore[list-item]
    return y


def squared(net: Net) -> ir.Value:
    x = image(net)
    return net("Mul", x, x)


def clipped(low: float | None, high: float | None) -> Build:
    def build(net: Net) -> ir.Value:
        return net("Clip", image(net), *(None if x is None else net.number(x) for x in (low, high)))

    return build


def with_shift(net: Net) -> ir.Value:
    """A product, normalised and clipped."""
    y = net("Mul", net.conv(image(net), 4, 3), net.weights(4, 1, 1))
    return net(
        "Clip", net("BatchNormalization", y, *(net.number(1, 4) for _ in range(4))), net.number(0), net.number(6)
    )


ENGINES = {
    "conv": (conv(), "int8", "NN", "CONV2D"),
    "conv-int16": (conv(), "int16", "NN", "CONV2D"),
    "conv-float16": (conv(), "float16", "PPU", "CONV2D"),
    "conv-depthwise": (conv(group=4), "uint8", "NN", "GROUPED_CONV2D"),
    "conv-1d": (lambda net: net("Conv", net.input(1, 2, 9), net.weights(4, 2, 3)), "uint8", "NN", "CONV1D"),
    "conv-stride": (conv(strides=[2, 2]), "uint8", "NN+TP", "CONV2D"),
    "conv-stride-of-one-axis": (conv(strides=[1, 2]), "uint8", "NN+TP", "CONV2D"),
    "conv-kernel-of-15": (conv(kernel=15), "uint8", "NN", "CONV2D"),
    "conv-kernel-of-16": (conv(kernel=16), "uint8", "NN+TP", "CONV2D"),
    "conv-dilated-to-15": (conv(dilations=[7, 7]), "uint8", "NN", "CONV2D"),
    "conv-dilated-to-17": (conv(dilations=[8, 8]), "uint8", "NN+TP", "CONV2D"),
    "conv-stride-float16": (conv(strides=[2, 2]), "float16", "PPU", "CONV2D"),
    "conv-normalised-clipped": (with_shift, "int8", "NN", "CONV2D BATCH_NORM MULTIPLY RELUN"),
    "conv-relu": (lambda net: net("Relu", conv()(net)), "int8", "NN", "CONV2D RELU"),
    "conv-tanh": (lambda net: net("Tanh", conv()(net)), "int8", "NN+TP", "CONV2D TANH"),
    "conv-of-one-position": (conv(kernel=1, size=1), "uint8", "TP", "FULLY_CONNECTED"),
    "conv-of-one-position-depthwise": (conv(kernel=1, size=1, group=4), "uint8", "NN", "GROUPED_CONV2D"),
    "conv-of-whole-map": (conv(kernel=3, size=3), "uint8", "NN", "CONV2D"),
    "deconv": (
        lambda net: net("ConvTranspose", image(net), net.weights(4, 2, 3, 3), strides=[2, 2]),
        "int8",
        "NN",
        "DECONVOLUTION",
    ),
    "dense": (
        lambda net: net("Gemm", net.input(1, 8), net.weights(8, 3), net.weights(3)),
        "int8",
        "TP",
        "FULLY_CONNECTED",
    ),
    "dense-matmul": (lambda net: net("MatMul", net.input(1, 5, 8), net.weights(8, 3)), "int8", "TP", "FULLY_CONNECTED"),
    "matmul-by-constants-of-rank-3": (
        lambda net: net("MatMul", net.input(2, 5, 8), net.weights(2, 8, 3)),
        "int8",
        "PPU",
        "MATRIXMUL",
    ),
    "matmul-computed": (
        lambda net: net("MatMul", net.input(4, 4), net("Tanh", net.input(4, 4, name="y"))),
        "int8",
        "PPU",
        "MATRIXMUL",
    ),
    "add": (lambda net: net("Add", image(net), net.weights(4, 1, 1)), "uint8", "NN", "ADD"),
    "add-float16": (lambda net: net("Add", image(net), net.weights(4, 1, 1)), "float16", "PPU", "ADD"),
    "square": (squared, "uint8", "PPU", "SQUARE"),
    "multiply": (lambda net: net("Mul", image(net), net.weights(4, 1, 1)), "uint8", "PPU", "MULTIPLY"),
    "max-pool": (pooled("MaxPool", 2, 2), "uint8", "TP", "POOL"),
    "max-pool-int16": (pooled("MaxPool", 2, 2), "int16", "NN+TP", "POOL"),
    "average-pool": (pooled("AveragePool", 3, 1), "uint8", "NN", "POOL"),
    "average-pool-strided": (pooled("AveragePool", 2, 2), "uint8", "TP", "POOL"),
    "average-pool-of-whole-map": (pooled("AveragePool", 7, 7, size=7), "uint8", "NN", "POOL"),
    "average-pool-float16": (pooled("AveragePool", 3, 1), "float16", "TP", "POOL"),
    "global-pool-of-15": (lambda net: net("GlobalAveragePool", image(net, size=15)), "int8", "NN", "POOL"),
    "global-pool-of-16": (lambda net: net("GlobalAveragePool", image(net, size=16)), "int8", "TP", "POOL"),
    "silu": (silu, "uint8", "TP", "SWISH"),
    "relu6": (clipped(0, 6), "uint8", "TP", "RELUN"),
    "clip": (clipped(-1, 1), "uint8", "TP", "CLIP"),
    "clip-below": (clipped(None, 1), "uint8", "TP", "CLIP"),
    "hard-swish": (unary("HardSwish"), "int16", "TP", "HARD_SWISH"),
    "softmax": (unary("Softmax"), "int8", "PPU", "SOFTMAX"),
    "transpose": (unary("Transpose", perm=(0, 2, 3, 1)), "int16", "TP", "PERMUTE"),
    "convert": (unary("Identity"), "uint8", "TP", "DATACONVERT"),
    "convert-to-float32": (unary("Identity"), "float32", "PPU", "DATACONVERT"),
    "reverse": (
        lambda net: net("Slice", net.input(4), net.integers(-1), net.integers(-9), net.integers(0), net.integers(-1)),
        "uint8",
        "TP",
        "REVERSE",
    ),
    "strided-slice": (
        lambda net: net("Slice", net.input(4), net.integers(0), net.integers(4), net.integers(0), net.integers(2)),
        "uint8",
        "TP",
        "STRIDED_SLICE",
    ),
    "slice": (lambda net: net("Slice", net.input(4), net.integers(0), net.integers(2)), "uint8", "TP", "SLICE"),
    "less": (lambda net: net("Less", image(net), net.number(0)), "uint8", "PPU", "RELATIONAL_OPS"),
    "select": (
        lambda net: net("Where", net("Less", image(net), net.number(0)), net.number(0), net.input(1, name="y")),
        "int16",
        "PPU",
        "SELECT",
    ),
    "argmax": (unary("ArgMax", axis=1), "uint8", "PPU", "ARGMAX"),
    "reshape-of-indices": (
        lambda net: net("Reshape", net("ArgMax", image(net), axis=1), net.integers(-1)),
        "uint8",
        "TP",
        "RESHAPE",
    ),
    "gather": (lambda net: net("Gather", image(net), net.integers(0, 2), axis=1), "uint8", "PPU", "GATHER"),
}


@pytest.mark.parametrize(("build", "dtype", "engine", "operators"), ENGINES.values(), ids=ENGINES)
def test_engine_follows_from_operator_and_data_type(build: Build, dtype: str, engine: str, operators: str) -> None:
    found = last_group(build)
    assert check(found, dtype) == Support(ok=True, engine=engine)
    assert sorted(part.record.name for part in parts_of(found)) == sorted(operators.split())


def resize(mode: str, *, scales: tuple[float, ...] = (1, 1, 2, 2), **attributes: object) -> Build:
    def build(net: Net) -> ir.Value:
        factors = net.build.constant(np.asarray(scales, np.float32))
        return net("Resize", image(net), None, factors, mode=mode, **attributes)  # type: ignore[arg-type]

    return build


def pad(amount: int, mode: str) -> Build:
    return lambda net: net("Pad", image(net), net.integers(0, 0, amount, 0, 0, 0, 0, 0), mode=mode)


def recurrent(op_type: str, gates: int, **attributes: object) -> Build:
    def build(net: Net) -> ir.Value:
        two = 2 if attributes.get("direction") == "bidirectional" else 1
        operands = [net.input(5, 1, 3), net.weights(two, gates * 2, 3), net.weights(two, gates * 2, 2)]
        types = [TensorType(FLOAT, (5, two, 1, 2))]
        return net.many(op_type, *operands, results=types, hidden_size=2, **attributes)[0]  # type: ignore[arg-type]

    return build


def of_type(dtype: ir.DataType, op_type: str, **attributes: object) -> Build:
    return lambda net: net(op_type, net.build.input("i", dtype, (2, 3)), **attributes)  # type: ignore[arg-type]


def quantized_weights(net: Net) -> ir.Value:
    weights = net.quantized(4, 4, 1, 1, quant=by_channel(4, 0))
    return of(net("Conv", of(image(net), uint8()), weights), uint8())


def computed_weights(net: Net) -> ir.Value:
    return net("Conv", image(net), net("Tanh", net.input(4, 4, 3, 3, name="w")))


def mixed_8_bits(net: Net) -> ir.Value:
    return of(net("Relu", of(image(net), uint8())), int8())


def indices(count: int) -> np.ndarray:
    return np.ones((count, 1), np.int64)


def layer_norm_with_mean(net: Net) -> ir.Value:
    types = [TensorType(FLOAT, (1, 4)), TensorType(FLOAT, (1, 1))]
    y, mean = net.many("LayerNormalization", net.input(1, 4), net.weights(4), results=types)
    net("Add", y, mean)
    return y


UNDECIDED = {"Clip", "Conv", "ConvTranspose", "MatMul", "MaxPool", "Mul", "Slice"} | {
    word for record in RECORDS for word in record.canonical
}
"""Operators that are run where their operands allow it; the tests above have one of each kind."""

REFUSALS = {
    "rank": (
        lambda net: net("Transpose", net.input(1, 1, 1, 1, 1, 2, 2)),
        "PERMUTE 'transpose0' needs that its tensors have at most 6 dimensions, got 7 of 'x'",
    ),
    "computed-weights": (computed_weights, "needs that its weights and biases are constants, got the computed 'Tanh"),
    "uint8-by-channel": (quantized_weights, "weights have a scale per channel only for int8 data, got 4 scales"),
    "both-kinds-of-8-bits": (mixed_8_bits, "either all uint8 or all int8, got the uint8 'x' and the int8 'Relu"),
    "3-d": (
        lambda net: net("Conv", net.input(1, 2, 4, 4, 4), net.weights(2, 2, 1, 1, 1)),
        "operator Conv of 'conv0' works along one axis or two, got 3",
    ),
    "3-d-pool": (
        lambda net: net("MaxPool", net.input(1, 2, 4, 4, 4), kernel_shape=[2, 2, 2]),
        "POOL 'maxpool0' needs that the window slides along one axis or two, got 3",
    ),
    "dilated-pool": (
        lambda net: net("MaxPool", image(net), kernel_shape=[2, 2], dilations=[2, 1]),
        "the window has no dilation, got 2x1",
    ),
    "groups-of-deconvolution": (
        lambda net: net("ConvTranspose", image(net), net.weights(4, 2, 1, 1), group=2),
        "its channels are one group, or each a group of its own, got 2 groups of 4 channels",
    ),
    "transposed-data": (
        lambda net: net("Gemm", net.input(8, 1), net.weights(8, 3), transA=1),
        "it neither transposes nor scales its data, got transA 1",
    ),
    "scaled-product": (
        lambda net: net("Gemm", net.input(1, 8), net.weights(8, 3), alpha=0.5),
        "it neither transposes nor scales its data, got alpha 0.5",
    ),
    "reflecting-pad": (pad(1, "reflect"), "PAD 'pad0' needs that it pads with a number, got mode 'reflect'"),
    "cropping-pad": (pad(-1, "constant"), "its paddings are not negative, got -1"),
    "cubic-resize": (resize("cubic"), "it takes the nearest item or interpolates linearly, got mode 'cubic'"),
    "smoothing-resize": (
        resize("linear", antialias=1),
        "it resizes the whole map, without smoothing it, got antialias 1",
    ),
    "resize-of-channels": (
        resize("nearest", scales=(1, 2, 1, 1)),
        "only the axes of the map change, one or two, got 1x4x40x40 to 1x8x40x40",
    ),
    "other-norm": (unary("LpNormalization", p=1), "the norm is the Euclidean one, got p 1"),
    "backward": (recurrent("LSTM", 4, direction="reverse"), "runs forward through the sequence, got 'reverse'"),
    "both-directions": (recurrent("GRU", 3, direction="bidirectional"), "runs forward .* got 'bidirectional'"),
    "other-gates": (
        recurrent("LSTM", 4, activations=["HardSigmoid", "Tanh", "Tanh"]),
        "usual activations, got HardSigmoid, Tanh, Tanh",
    ),
    "clipped-cell": (recurrent("LSTM", 4, clip=3.0), "its cell is not clipped, got clip 3"),
    "computed-limit": (
        lambda net: net("Clip", image(net), net("ReduceMin", net.input(3, name="l"), keepdims=0)),
        "CLIP 'clip1' needs that its limits are constant numbers, got the computed 'ReduceMin",
    ),
    "slope-per-position": (
        lambda net: net("PRelu", image(net), net.weights(40)),
        "its slope is one number, or one for each channel, got 40",
    ),
    "indices-are-no-numbers": (
        of_type(INT64, "Neg"),
        "NEG 'neg0' needs that its tensors hold real numbers, got int64 in 'i'",
    ),
    "double": (of_type(ir.DataType.DOUBLE, "Sqrt"), "its tensors hold real numbers, got double in 'i'"),
    "moved-truth": (
        of_type(BOOL, "Transpose"),
        "PERMUTE 'transpose0' needs that its tensors hold real numbers, got bool",
    ),
    "short-integers": (
        of_type(ir.DataType.INT8, "Flatten"),
        "real numbers, truth values, or integers of 32 or 64 bits, got int8 in 'i'",
    ),
    "equal-indices": (
        lambda net: net("Equal", net.build.input("i", INT64, (3,)), net.integers(1, 2, 3)),
        "RELATIONAL_OPS 'equal0' needs that its operands hold real numbers, got int64 in 'i'",
    ),
    "adding-scatter": (
        lambda net: net("ScatterND", net.input(4), net.build.constant(indices(1)), net.weights(1), reduction="add"),
        "what it scatters replaces what is there, got reduction 'add'",
    ),
    "batches-of-indices": (
        lambda net: net("GatherND", net.input(2, 3), net.build.constant(indices(2)), batch_dims=1),
        "its indices are those of the whole tensor, got batch_dims 1",
    ),
    "mean-of-normalisation": (
        layer_norm_with_mean,
        "LAYER_NORM 'layernormalization0' needs that only the normalised tensor is used, got 'LayerNorm",
    ),
    "whole-numbers-as-truth": (
        lambda net: net("Cast", net.build.input("i", ir.DataType.INT8, (3,)), to=ir.DataType.BOOL.value),
        "integers of 32 or 64 bits, got int8 in 'i'",
    ),
    "unknown-operator": (unary("Selu"), "operator Selu of 'selu0' is not among those of the npu"),
}


@pytest.mark.parametrize(("build", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_refusal_names_the_layer_the_condition_and_the_offending_value(build: Build, reason: str) -> None:
    found = asked(build, "uint8")
    assert not found.ok
    assert found.engine == ""
    assert re.search(reason, found.reason)


def test_every_operator_of_canonical_graphs_is_run_or_refused_by_name() -> None:
    for op_type in SIGNATURES:
        node = ir.Node("", op_type, [], name="n")
        alone = Group(layer_id="n", nodes=(node,), origins=())
        answer = "" if op_type in UNDECIDED else check(alone, "int8").reason
        assert answer in ("", f"operator {op_type} of 'n' is not among those of the npu")


def test_opaque_layer_is_refused_with_its_reason() -> None:
    net = Net()
    (y,) = net.build.opaque("CUSTOM:NMS", [net.input(1, 4)], [TensorType(FLOAT, (1, 4))], "nobody knows it")
    (found,) = group(net.model(y))
    assert check(found, "int8").reason.endswith("cannot be expressed: nobody knows it")


def test_operator_of_another_domain_is_refused_by_name() -> None:
    node = ir.Node("com.maker", "Relu", [], name="n")
    found = check(Group(layer_id="n", nodes=(node,), origins=()), "int8")
    assert found.reason == "operator com.maker.Relu of 'n' is unknown to the npu"


@pytest.mark.parametrize(
    ("build", "dtype", "reason"),
    [
        (conv(), "uint4", "data are uint8, int8, int16 or float16, not uint4"),
        (conv(), "float32", "CONV2D 'conv0' needs data of uint8, int8, int16 or float16, got float32"),
        (unary("Elu"), "float32", "ELU 'elu0' needs data of uint8, int8, int16 or float16, got float32"),
        (recurrent("LSTM", 4), "int16", "LSTM 'lstm0' needs data of uint8, int8 or float16, got int16"),
        (
            lambda net: net("Greater", image(net), net.number(1)),
            "int16",
            "RELATIONAL_OPS 'greater0' needs data of uint8, int8 or float16, got int16",
        ),
    ],
    ids=["unknown", "float32", "float32-in-the-manual", "lstm-int16", "relation-int16"],
)
def test_data_type_that_no_engine_has_is_refused(build: Build, dtype: str, reason: str) -> None:
    assert asked(build, dtype) == Support(ok=False, reason=reason)


@pytest.mark.parametrize(
    ("quant", "ok"),
    [
        (int16(2.0**-12), True),
        (int16(2.0**3), True),
        (int16(0.3), False),
        (int16(0.5, zero_point=1), False),
        (QuantParams(dtype="int16", scheme="dynamic_fixed_point", fractional_length=9), True),
        (int8(0.3), True),
    ],
    ids=["power", "large-power", "other-scale", "zero-point", "fixed-point", "int8"],
)
def test_int16_is_dynamic_fixed_point(quant: QuantParams, ok: bool) -> None:
    found = asked(lambda net: of(net("Tanh", of(image(net), quant)), quant), quant.dtype)
    assert found.ok is ok
    assert ok or "int16 are dynamic fixed point" in found.reason


def test_conversion_between_both_kinds_of_8_bits_runs() -> None:
    assert asked(lambda net: of(net("Identity", of(image(net), uint8())), int8()), "int8").engine == "TP"


def grouped(*values: ir.Value) -> Group:
    """An operation of whatever nodes compute some values."""
    nodes = tuple(node for value in values if (node := value.producer()) is not None)
    return Group(layer_id="together", nodes=nodes, origins=())


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("Relu", "Tanh", "TANH 'tanh1' is no part of RELU"),
        ("Softmax", "Relu", "RELU 'relu1' is no part of SOFTMAX"),
    ],
)
def test_what_does_not_belong_together_is_refused(first: str, second: str, reason: str) -> None:
    net = Net()
    x = net(first, image(net))
    y = net(second, x)
    net.model(y)
    assert check(grouped(x, y), "int8").reason == reason


def test_product_with_a_computed_tensor_is_no_part_of_a_convolution() -> None:
    net = Net()
    x = net.conv(image(net), 4, 1)
    y = net("Mul", x, net.input(1, 4, 1, 1, name="s"))
    net.model(y)
    assert check(grouped(x, y), "int8").reason == "MULTIPLY 'mul1' is no part of CONV2D"


def test_softmax_is_no_part_of_a_convolution() -> None:
    net = Net()
    x = net.conv(image(net), 4, 1)
    y = net("Softmax", x)
    net.model(y)
    assert check(grouped(x, y), "int8").reason == "SOFTMAX 'softmax1' is no part of CONV2D"


@pytest.mark.parametrize(("number", "ok"), [((), True), ((4, 1, 1), False)], ids=["number", "per-channel"])
def test_only_one_number_scales_an_activation(number: tuple[int, ...], ok: bool) -> None:
    net = Net()
    x = net("HardSwish", image(net))
    y = net("Mul", x, net.weights(*number))
    net.model(y)
    assert check(grouped(x, y), "int8").ok is ok


@pytest.mark.parametrize(("dtype", "engine"), [("int8", "NN"), ("float16", "PPU+TP")])
def test_pool_behind_a_convolution_costs_an_engine_only_outside_of_the_cores(dtype: str, engine: str) -> None:
    net = Net()
    y = net("MaxPool", net.conv(image(net), 4, 3), kernel_shape=[2, 2], strides=[2, 2])
    model = net.model(y)
    (found,) = fuse(model, group(model))
    assert check(found, dtype).engine == engine


def test_network_of_both_kinds_of_8_bits_is_refused() -> None:
    types = {"a": "uint8", "b": "int16", "c": "int8"}
    assert check_network(types) == "uint8 and int8 cannot both occur in one network: 'a' is uint8, 'c' int8"
    assert check_network(types, conversions=["c"]) is None
    assert check_network({"a": "uint8", "b": "int16", "c": "float16"}) is None
