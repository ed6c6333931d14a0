"""Scales, shifts and paddings that become part of the layer beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import quant_of
from synap_core.graph.build import Attribute
from synap_core.graph.passes.pads import FoldPad
from synap_core.graph.passes.scales import FoldScale
from synap_core.graph.types import TensorType, shape_of
from synap_core.tensors import QuantParams
from tests.support.passes import (
    FLOAT,
    Net,
    annotated,
    applied,
    by_channel,
    int8,
    normalised,
    op_types,
    origins,
    reasons,
)


def norm(net: Net, x: ir.Value, channels: int, **attributes: Attribute) -> ir.Value:
    variance = net.build.constant(net.rng.uniform(0.5, 2, channels).astype(np.float32))
    parameters = [*(net.weights(channels) for _ in range(3)), variance]
    return net("BatchNormalization", x, *parameters, **attributes)


def deconv(net: Net, x: ir.Value, channels: int, group: int, *, bias: bool) -> ir.Value:
    operands = [x, net.weights(4, channels // group, 3, 3), *([net.weights(channels)] if bias else [])]
    return net("ConvTranspose", *operands, group=group, strides=(2, 2))


LAYERS: dict[str, Callable[[Net], ir.Value]] = {
    "conv": lambda net: net.conv(net.input(1, 4, 5, 5), 6, 3),
    "conv-without-bias": lambda net: net.conv(net.input(1, 4, 5, 5), 6, 3, bias=False),
    "conv-in-groups": lambda net: net.conv(net.input(1, 4, 5, 5), 6, 3, group=2),
    "conv-by-channel": lambda net: net.conv(net.input(1, 6, 5, 5), 6, 3, group=6, bias=False),
    "conv-1d": lambda net: net("Conv", net.input(1, 4, 9), net.weights(6, 4, 3)),
    "deconv": lambda net: deconv(net, net.input(1, 4, 3, 3), 6, 1, bias=True),
    "deconv-in-groups": lambda net: deconv(net, net.input(1, 4, 3, 3), 6, 2, bias=False),
    "deconv-by-channel": lambda net: deconv(net, net.input(1, 4, 3, 3), 8, 4, bias=True),
    "gemm": lambda net: net("Gemm", net.input(2, 4), net.weights(4, 6), net.weights(6), alpha=0.5, beta=3.0),
    "gemm-of-transposed-weights": lambda net: net("Gemm", net.input(2, 4), net.weights(6, 4), transB=1),
    "gemm-with-a-bias-per-row": lambda net: net("Gemm", net.input(2, 4), net.weights(4, 6), net.weights(2, 1)),
    "matmul": lambda net: net("MatMul", net.input(2, 4), net.weights(4, 6)),
    "batch-norm": lambda net: norm(net, net.input(1, 6, 3, 3), 6),
    "layer-norm": lambda net: net("LayerNormalization", net.input(2, 3, 6), net.weights(6), net.weights(6)),
    "layer-norm-without-bias": lambda net: net("LayerNormalization", net.input(2, 3, 6), net.weights(6)),
}


def columns(net: Net, x: ir.Value) -> Callable[[], ir.Value]:
    """Makes constants with one number per channel: dimension 1, or the last one for products and LayerNormalization."""
    shape = shape_of(x)
    last = x.producer().op_type in ("Gemm", "MatMul", "LayerNormalization")  # type: ignore[union-attr]
    sizes = shape[-1:] if last else (shape[1], *[1] * (len(shape) - 2))
    return lambda: net.weights(*sizes)


Columns = Callable[[], ir.Value]

ARITHMETIC: dict[str, Callable[[Net, ir.Value, Columns], ir.Value]] = {
    "mul": lambda net, x, c: net("Mul", x, c()),
    "mul-by-x": lambda net, x, c: net("Mul", c(), x),
    "mul-by-number": lambda net, x, _: net("Mul", x, net.build.constant(1.7)),
    "div": lambda net, x, c: net("Div", x, c()),
    "add": lambda net, x, c: net("Add", x, c()),
    "add-number": lambda net, x, _: net("Add", net.number(0.3, *[1] * len(shape_of(x))), x),
    "sub": lambda net, x, c: net("Sub", x, c()),
    "sub-x": lambda net, x, c: net("Sub", c(), x),
    "several": lambda net, x, c: net("Sub", c(), net("Mul", net("Add", x, c()), c())),
}


@pytest.mark.parametrize("arithmetic", ARITHMETIC.values(), ids=ARITHMETIC)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_arithmetic_becomes_part_of_the_weights(
    layer: Callable[[Net], ir.Value], arithmetic: Callable[[Net, ir.Value, Columns], ir.Value]
) -> None:
    net = Net()
    x = layer(net)
    first = x.producer().op_type  # type: ignore[union-attr]
    model = net.model(arithmetic(net, x, columns(net, x)))
    folded = len(model.graph) - 1
    report = normalised(model, FoldScale)
    assert report.applied == {"fold-scale": folded}
    assert op_types(model) in ([first], ["Gemm"])
    assert len(origins(model)[0]) == 1 + folded


@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith("layer-norm")])
def test_batch_normalisation_becomes_part_of_the_weights(name: str) -> None:
    net = Net()
    x = LAYERS[name](net)
    model = net.model(norm(net, x, shape_of(x)[1], epsilon=0.01))
    normalised(model, FoldScale)
    assert len(model.graph) == 1


def test_product_of_more_dimensions_takes_a_scale() -> None:
    net = Net()
    product = net("MatMul", net.input(2, 3, 4), net.weights(4, 6))
    model = net.model(net("Mul", product, net.weights(6)))
    normalised(model, FoldScale)
    assert op_types(model) == ["MatMul"]


def test_half_precision_is_rounded_once() -> None:
    """Weights of 1/3 times 3 are 1 when the product is rounded, and not when its factors are."""
    build = Net().build
    x = build.input("x", ir.DataType.FLOAT16, (1, 1, 2, 2))
    weights = build.constant(np.full((1, 1, 1, 1), 0.1, np.float16))
    y = build.emit("Mul", [build.emit("Conv", [x, weights]), build.constant(np.float16(0.3))])
    model = build.finish([y])
    normalised(model, FoldScale, relative=2**-10)
    folded = model.graph[0].inputs[1].const_value.numpy()  # type: ignore[union-attr]
    assert folded.dtype == np.float16
    assert folded.item() == np.float16(float(np.float16(0.1)) * float(np.float16(0.3)))


def test_shift_alone_leaves_the_weights_as_they_are() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 5, 5), 6)
    model = net.model(net("Add", x, net.weights(6, 1, 1)))
    weights = model.graph[0].inputs[1]
    normalised(model, FoldScale)
    assert model.graph[0].inputs[1] is weights


def test_quantization_of_the_result_stays() -> None:
    net = Net()
    model = net.model(net("Relu", annotated(norm(net, net.conv(net.input(1, 4, 5, 5), 6), 6), int8())))
    normalised(model, FoldScale)
    assert quant_of(model.graph[0].outputs[0]) == int8()


def layer(net: Net, quant: QuantParams | None = None) -> ir.Value:
    return annotated(net.conv(net.input(1, 4, 5, 5), 4), quant)


def scaled(net: Net, *operands: ir.Value) -> ir.Value:
    return net("Mul", net("Conv", net.input(1, 4, 5, 5), *operands), net.weights(4, 1, 1))


SPOILED: dict[str, tuple[Callable[[Net], ir.Value], str]] = {
    "computed weights": (lambda net: scaled(net, net.input(4, 4, 1, 1, name="w")), "weights are computed"),
    "quantized weights": (
        lambda net: scaled(net, net.quantized(4, 4, 1, 1, quant=by_channel(4, axis=0))),
        "weights are quantized",
    ),
    "quantized bias": (
        lambda net: scaled(net, net.weights(4, 4, 1, 1), net.quantized(4, quant=int8())),
        "weights are quantized",
    ),
    "quantized": (lambda net: net("Mul", layer(net, int8()), net.weights(4, 1, 1)), "is quantized"),
    "quantized constant": (
        lambda net: net("Mul", layer(net), net.quantized(4, 1, 1, quant=int8())),
        "constant is quantized",
    ),
    "scale by place": (lambda net: net("Mul", layer(net), net.weights(5)), "not one number per channel"),
    "larger": (lambda net: net("Mul", layer(net), net.weights(2, 1, 1, 1)), "result larger"),
    "quotient": (lambda net: net("Div", net.weights(4, 1, 1), layer(net)), "divided by the value"),
    "division by zero": (lambda net: net("Div", layer(net), net.number(0)), "leaves the range"),
    "computed parameters": (
        lambda net: net("BatchNormalization", layer(net), *(net.input(4, name=name) for name in "abcd")),
        "parameters are computed",
    ),
}


@pytest.mark.parametrize(("emit", "reason"), SPOILED.values(), ids=SPOILED)
def test_arithmetic_stays(emit: Callable[[Net], ir.Value], reason: str) -> None:
    net = Net()
    model = net.model(emit(net))
    before = op_types(model)
    report = normalised(model, FoldScale)
    assert op_types(model) == before
    assert [reason in given for given in reasons(report, FoldScale)] == [True]


@pytest.mark.parametrize(
    ("need", "reason"), [("used", ["used elsewhere"]), ("output", ["output or a cut"]), ("cut", [])]
)
def test_result_of_the_layer_that_is_needed_keeps_the_arithmetic(need: str, reason: list[str]) -> None:
    net = Net()
    y = layer(net)
    z = net("Mul", y, net.weights(4, 1, 1))
    model = net.model(z, *([net("Neg", y)] if need == "used" else [y] if need == "output" else []))
    report = normalised(model, FoldScale, keep=[y] if need == "cut" else [])
    assert op_types(model)[:2] == ["Conv", "Mul"]
    assert [given in found for given, found in zip(reason, reasons(report, FoldScale), strict=True)] == [True] * len(
        reason
    )


def test_weights_that_would_leave_the_range_stay() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 5, 5), 4)
    model = net.model(net("Mul", net("Mul", x, net.number(1e-30)), net.number(1e38)), net("Mul", x, net.number(1e30)))
    assert normalised(model, FoldScale).applied == {}


def test_training_batch_normalisation_stays() -> None:
    from synap_core.graph.passes.values import integer_of

    net = Net()
    x = net.conv(net.input(1, 4, 5, 5), 4)
    model = net.model(norm(net, x, 4))
    node = model.graph[1]
    node.attributes.add(ir.AttrInt64("training_mode", 1))
    assert integer_of(node, "training_mode", 0) == 1
    report = applied(model, FoldScale)
    assert op_types(model) == ["Conv", "BatchNormalization"]
    assert reasons(report, FoldScale) == ["it trains"]


@pytest.mark.parametrize("op_type", ["Add", "BatchNormalization"])
def test_product_of_more_dimensions_takes_no_shift(op_type: str) -> None:
    net = Net()
    product = net("MatMul", net.input(2, 6, 4), net.weights(4, 6))
    model = net.model(norm(net, product, 6) if op_type == "BatchNormalization" else net("Add", product, net.weights(6)))
    report = normalised(model, FoldScale)
    assert op_types(model) == ["MatMul", op_type]
    assert len(reasons(report, FoldScale)) == 1


def test_batch_normalisation_alone_stays() -> None:
    net = Net()
    model = net.model(norm(net, net("Relu", net.input(1, 4, 5, 5)), 4))
    normalised(model)
    assert op_types(model) == ["Relu", "BatchNormalization"]


def padded(net: Net, x: ir.Value, *pads: int, number: float | None = 0.0, mode: str = "constant") -> ir.Value:
    constant = None if number is None else net.build.constant(number)
    return net("Pad", x, net.integers(*pads), constant, mode=mode)


PADDED: dict[str, Callable[[Net, ir.Value], ir.Value]] = {
    "conv": lambda net, x: net.conv(padded(net, x, 0, 0, 1, 2, 0, 0, 0, 1), 3, 3),
    "conv-that-pads": lambda net, x: net.conv(padded(net, x, 0, 0, 1, 2, 0, 0, 0, 1), 3, 3, pads=(1, 0, 1, 2)),
    "conv-with-strides": lambda net, x: net.conv(
        padded(net, x, 0, 0, 0, 0, 0, 0, 1, 1, number=None), 3, 3, strides=(2, 2), dilations=(2, 2), auto_pad="VALID"
    ),
    "conv-some-axes": lambda net, x: net.conv(
        net("Pad", x, net.integers(2, 1, 0, 3), None, net.integers(-1, 2)), 3, 3
    ),
    "average-pool": lambda net, x: net(
        "AveragePool", padded(net, x, 0, 0, 1, 1, 0, 0, 1, 0), kernel_shape=(3, 3), count_include_pad=0
    ),
    "average-pool-that-pads": lambda net, x: net(
        "AveragePool", padded(net, x, 0, 0, 1, 1, 0, 0, 1, 0), kernel_shape=(3, 3), pads=(1, 1, 0, 0),
        count_include_pad=1,
    ),
    "max-pool": lambda net, x: net(
        "MaxPool", padded(net, x, 0, 0, 1, 1, 0, 0, 1, 0, number=-np.inf), kernel_shape=(3, 3), strides=(2, 1)
    ),
    "max-pool-of-what-is-not-negative": lambda net, x: net(
        "MaxPool", padded(net, net("Concat", net("Relu", x), net("Clip", x, net.build.constant(0.5)), axis=1),
                          0, 0, 1, 1, 0, 0, 1, 0), kernel_shape=(2, 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("emit", PADDED.values(), ids=PADDED)
def test_padding_becomes_part_of_the_operator(emit: Callable[[Net, ir.Value], ir.Value]) -> None:
    net = Net()
    model = net.model(emit(net, net.input(1, 2, 7, 8)))
    normalised(model, FoldPad)
    assert "Pad" not in op_types(model)


def test_padding_in_front_of_a_transpose_becomes_part_of_the_convolution() -> None:
    net = Net()
    x = net.input(1, 7, 8, 2, quant=int8())
    turned = annotated(net.to_nchw(annotated(padded(net, x, 0, 1, 2, 0, 0, 0, 1, 0), int8())), int8())
    model = net.model(net.conv(turned, 3, 3))
    normalised(model, FoldPad)
    assert op_types(model) == ["Transpose", "Conv"]
    assert list(model.graph[1].attributes["pads"].as_ints()) == [1, 2, 0, 1]
    assert quant_of(model.graph[0].outputs[0]) == int8()


def test_padding_for_two_convolutions_becomes_part_of_both() -> None:
    net = Net()
    y = padded(net, net.input(1, 2, 7, 8), 0, 0, 1, 1, 0, 0, 1, 1)
    model = net.model(net.conv(y, 3, 3), net.conv(y, 2, 3))
    normalised(model, FoldPad)
    assert op_types(model) == ["Conv", "Conv"]


ONES = (0, 0, 1, 1, 0, 0, 1, 1)


def image(net: Net, quant: QuantParams | None = None) -> ir.Value:
    return annotated(net("Neg", net.input(1, 2, 7, 8)), quant)


def turned(net: Net, quant: QuantParams | None = None) -> ir.Value:
    """A padded value behind a transpose."""
    x = net.input(1, 7, 8, 2, name="y", quant=quant)
    return net.to_nchw(padded(net, x, 0, 1, 1, 0, 0, 1, 1, 0))


def computed_pads(net: Net) -> ir.Value:
    pads = net("Mul", net.build.input("p", ir.DataType.INT64, (8,)), net.integers(0))
    return net.many("Pad", image(net), pads, results=[TensorType(FLOAT, (1, 2, 7, 8))])[0]


def pool(net: Net, op_type: str = "AveragePool", kernel: int = 3, **attributes: Attribute) -> ir.Value:
    return net(op_type, padded(net, image(net), *ONES), kernel_shape=(kernel, kernel), **attributes)


UNPADDED: dict[str, tuple[Callable[[Net], ir.Value], str]] = {
    "channels": (lambda net: net.conv(padded(net, image(net), 0, 1, 0, 0, 0, 0, 0, 0), 3, 3), "batch or channels"),
    "cropped": (lambda net: net.conv(padded(net, image(net), 0, 0, 1, 1, 0, 0, -1, 1), 3, 3), "cropped"),
    "computed": (lambda net: net.conv(computed_pads(net), 3, 3), "computed"),
    "reflected": (lambda net: net.conv(padded(net, image(net), *ONES, mode="reflect"), 3, 3), "no constant"),
    "ones": (lambda net: net.conv(padded(net, image(net), *ONES, number=1.0), 3, 3), "it pads with 1"),
    "computed number": (
        lambda net: net.conv(net("Pad", image(net), net.integers(*ONES), net.input(name="number")), 3, 3),
        "is computed",
    ),
    "automatic": (lambda net: net.conv(padded(net, image(net), *ONES), 3, 3, auto_pad="SAME_UPPER"), "automatically"),
    "requantized": (
        lambda net: net.conv(annotated(padded(net, image(net, int8(0.5)), *ONES), int8(0.25)), 3, 3),
        "another way",
    ),
    "quantized": (lambda net: net.conv(annotated(padded(net, image(net), *ONES), int8()), 3, 3), "another way"),
    "turned requantized": (lambda net: net.conv(annotated(turned(net, int8()), int8(0.25)), 3, 3), "another way"),
    "negative": (lambda net: pool(net, "MaxPool"), "could be the largest"),
    "not known": (
        lambda net: net("MaxPool", padded(net, net.input(1, 2, 7, 8), *ONES), kernel_shape=(3, 3)),
        "could be the largest",
    ),
    "ceiling": (lambda net: pool(net, ceil_mode=1, strides=(2, 2)), "rounds its size up"),
    "own": (lambda net: pool(net, pads=(1, 1, 1, 1)), "does not count"),
    "dilated": (lambda net: pool(net, dilations=(2, 2)), "dilated"),
    "all padding": (lambda net: pool(net, kernel=1), "all padding"),
}


@pytest.mark.parametrize(("emit", "reason"), UNPADDED.values(), ids=UNPADDED)
def test_padding_stays(emit: Callable[[Net], ir.Value], reason: str) -> None:
    net = Net()
    model = net.model(emit(net))
    before = op_types(model)
    report = normalised(model, FoldPad)
    assert op_types(model) == before
    assert [reason in given for given in reasons(report, FoldPad)] == [True]


def test_transposed_padded_value_that_others_read_keeps_the_padding() -> None:
    net = Net()
    y = turned(net)
    model = net.model(net.conv(y, 3, 3), net("Neg", y))
    report = normalised(model, FoldPad)
    assert op_types(model) == ["Pad", "Transpose", "Conv", "Neg"]
    assert ["used elsewhere" in reason for reason in reasons(report, FoldPad)] == [True]


def test_padded_value_that_is_a_cut_keeps_the_padding() -> None:
    net = Net()
    cut = padded(net, image(net), *ONES)
    model = net.model(net.conv(cut, 3, 3))
    normalised(model, FoldPad, keep=[cut])
    assert op_types(model) == ["Neg", "Pad", "Conv"]
