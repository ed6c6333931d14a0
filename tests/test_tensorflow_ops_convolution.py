"""Convolutions of TensorFlow graphs in the canonical graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.annotations import Twin, origins_of, quant_of, twin_of
from synap_core.graph.groups import group
from synap_core.graph.passes import normalise
from synap_core.graph.quantized import QuantizedTensor
from synap_core.tensors import QuantParams
from tests.support.canonical import run
from tests.support.single_operator import FEW, SEEDS, constant, options, tensor
from tests.support.tensorflow_models import GraphComposer, canonical
from tests.support.tensorflow_operator import (
    Fixed,
    Inner,
    Window,
    agrees,
    agrees_with_litert,
    agrees_with_opencv,
    convolution,
    refusal,
    single,
    transposed_convolution,
    windows,
    zeros,
)

CHANNELS = st.tuples(st.integers(1, 4), st.integers(1, 4))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def second(x: np.ndarray) -> np.ndarray:
    """Channels second."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


@FEW
@given(window=windows(), channels=CHANNELS, seed=SEEDS)
def test_convolution(window: Window, channels: tuple[int, int], seed: int) -> None:
    x, weights = normal(seed, 1, *window.sizes, channels[0]), Fixed(normal(seed, *window.kernel, *channels))
    agrees_with_opencv(single("Conv2D", x, weights, **window.attributes()))


@FEW
@given(window=windows(furthest=3), channels=CHANNELS, seed=SEEDS)
def test_dilated_convolution(window: Window, channels: tuple[int, int], seed: int) -> None:
    # OpenCV takes dilations from SpaceToBatchND alone, not from the attribute.
    x, weights = normal(seed, 1, *window.sizes, channels[0]), normal(seed, *window.kernel, *channels)
    made = options(
        "Conv2D",
        padding=int(window.padding == "VALID"),
        strideH=window.strides[0],
        strideW=window.strides[1],
        dilationHFactor=window.dilations[0],
        dilationWFactor=window.dilations[1],
    )
    operands = [tensor(x.shape), constant(np.ascontiguousarray(weights.transpose(3, 0, 1, 2))), zeros(channels[1])]
    agrees_with_litert(single("Conv2D", x, Fixed(weights), **window.attributes()), "CONV_2D", operands, made)


@FEW
@given(window=windows(paddings=["EXPLICIT"]), channels=CHANNELS, seed=SEEDS)
def test_explicitly_padded_convolution(window: Window, channels: tuple[int, int], seed: int) -> None:
    x, weights = normal(seed, 1, *window.sizes, channels[0]), Fixed(normal(seed, *window.kernel, *channels))
    agrees_with_opencv(single("Conv2D", x, weights, **window.attributes()))


@FEW
@given(window=windows(), groups=st.integers(2, 3), inner=st.integers(1, 2), outer=st.integers(1, 2), seed=SEEDS)
def test_grouped_convolution(window: Window, groups: int, inner: int, outer: int, seed: int) -> None:
    x = normal(seed, 1, *window.sizes, groups * inner)
    weights = Fixed(normal(seed, *window.kernel, inner, groups * outer))
    agrees_with_opencv(single("Conv2D", x, weights, **window.attributes()))


@FEW
@given(window=windows(paddings=["SAME", "VALID", "EXPLICIT"]), channels=CHANNELS, seed=SEEDS)
def test_convolution_of_channels_second(window: Window, channels: tuple[int, int], seed: int) -> None:
    x, weights = normal(seed, 1, channels[0], *window.sizes), Fixed(normal(seed, *window.kernel, *channels))
    made = single("Conv2D", x, weights, **window.attributes("NCHW"))
    assert [node.op_type for node in made.model.graph] == ["Conv"]
    agrees_with_opencv(made, "NCHW")


@FEW
@given(
    window=windows(paddings=["SAME", "VALID", "EXPLICIT"], furthest=2),
    channels=CHANNELS,
    groups=st.integers(1, 2),
    last=st.booleans(),
    seed=SEEDS,
)
def test_convolution_by_its_definition(
    *, window: Window, channels: tuple[int, int], groups: int, last: bool, seed: int
) -> None:
    x = normal(seed, 1, *window.sizes, channels[0] * groups)
    weights = normal(seed, *window.kernel, channels[0], channels[1] * groups)
    expected = convolution(x, weights, window).astype(np.float32)
    image, wanted = (x, expected) if last else (second(x), second(expected))
    agrees(single("Conv2D", image, Fixed(weights), **window.attributes("NHWC" if last else "NCHW")), wanted)


@FEW
@given(
    window=windows(paddings=["SAME", "VALID", "EXPLICIT"]),
    channels=st.integers(1, 4),
    multiplier=st.integers(1, 3),
    data_format=st.sampled_from(["NHWC", "NCHW"]),
    seed=SEEDS,
)
def test_depthwise_convolution(window: Window, channels: int, multiplier: int, data_format: str, seed: int) -> None:
    x = normal(seed, 1, *window.sizes, channels)
    weights = Fixed(normal(seed, *window.kernel, channels, multiplier))
    image = x if data_format == "NHWC" else second(x)
    agrees_with_opencv(single("DepthwiseConv2dNative", image, weights, **window.attributes(data_format)), data_format)


@FEW
@given(window=windows(furthest=3), channels=st.integers(1, 4), multiplier=st.integers(1, 3), seed=SEEDS)
def test_dilated_depthwise_convolution(window: Window, channels: int, multiplier: int, seed: int) -> None:
    x, weights = normal(seed, 1, *window.sizes, channels), normal(seed, *window.kernel, channels, multiplier)
    made = options(
        "DepthwiseConv2D",
        padding=int(window.padding == "VALID"),
        strideH=window.strides[0],
        strideW=window.strides[1],
        dilationHFactor=window.dilations[0],
        dilationWFactor=window.dilations[1],
        depthMultiplier=multiplier,
    )
    out = channels * multiplier
    operands = [tensor(x.shape), constant(weights.reshape(1, *window.kernel, out)), zeros(out)]
    graph = single("DepthwiseConv2dNative", x, Fixed(weights), **window.attributes())
    agrees_with_litert(graph, "DEPTHWISE_CONV_2D", operands, made)


def sizes(window: Window, channels: int) -> Fixed:
    """The batch is that of the model's export, whatever the input has."""
    return Fixed(np.array([8, *window.sizes, channels], np.int32))


@FEW
@given(window=windows(), channels=CHANNELS, seed=SEEDS)
def test_transposed_convolution(window: Window, channels: tuple[int, int], seed: int) -> None:
    x, weights = normal(seed, 1, *window.places(), channels[0]), normal(seed, *window.kernel, *channels[::-1])
    shape = np.array([1, *window.sizes, channels[1]], np.int32)
    operands = [constant(shape), constant(np.ascontiguousarray(weights.transpose(2, 0, 1, 3))), tensor(x.shape)]
    made = options(
        "TransposeConv",
        padding=int(window.padding == "VALID"),
        strideH=window.strides[0],
        strideW=window.strides[1],
    )
    graph = single("Conv2DBackpropInput", sizes(window, channels[1]), Fixed(weights), x, **window.attributes())
    agrees_with_litert(graph, "TRANSPOSE_CONV", operands, made)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [2, 3])
def test_transposed_convolution_as_opencv_has_it(padding: str, stride: int, kernel: int) -> None:
    # Of the sizes that a stride allows OpenCV takes the largest with SAME, the smallest with VALID.
    places = (4, 5)
    goal = [n * stride if padding == "SAME" else (n - 1) * stride + kernel for n in places]
    window = Window(
        sizes=tuple(goal), kernel=(kernel, kernel), strides=(stride, stride), dilations=(1, 1), padding=padding
    )
    x, weights = normal(1, 1, *places, 3), Fixed(normal(2, kernel, kernel, 2, 3))
    shape = Fixed(np.array([1, *goal, 2], np.int32))
    agrees_with_opencv(single("Conv2DBackpropInput", shape, weights, x, **window.attributes()))


@FEW
@given(
    window=windows(paddings=["SAME", "VALID", "EXPLICIT"], furthest=2),
    channels=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.integers(1, 2),
    data_format=st.sampled_from(["NHWC", "NCHW"]),
    seed=SEEDS,
)
def test_transposed_convolution_is_the_transposed_map(
    window: Window, channels: tuple[int, int], groups: int, data_format: str, seed: int
) -> None:
    # Neither of the other two has groups, dilations and explicit paddings.
    inner, outer = channels
    x = normal(seed, 1, *window.places(), inner * groups)
    weights = normal(seed, *window.kernel, outer, inner * groups)
    expected = transposed_convolution(x, weights, window, outer * groups).astype(np.float32)
    shape = np.array([1, *window.sizes, outer * groups], np.int32)
    if data_format == "NCHW":
        x, expected, shape = second(x), second(expected), shape[[0, 3, 1, 2]]
    graph = single("Conv2DBackpropInput", Fixed(shape), Fixed(weights), x, **window.attributes(data_format))
    agrees(graph, expected)


@FEW
@given(window=windows(furthest=2), channels=st.integers(1, 2), multiplier=st.integers(1, 2), seed=SEEDS)
def test_transposed_depthwise_convolution(window: Window, channels: int, multiplier: int, seed: int) -> None:
    weights = normal(seed, *window.kernel, channels, multiplier)
    x = normal(seed, 1, *window.places(), channels * multiplier)
    # The convolution of groups whose weights ``[..., 1, channels * multiplier]`` are these.
    grouped = weights.reshape(*window.kernel, 1, -1)
    expected = transposed_convolution(x, grouped, window, channels).astype(np.float32)
    shape = sizes(window, channels)
    graph = single("DepthwiseConv2dNativeBackpropInput", shape, Fixed(weights), x, **window.attributes())
    agrees(graph, expected)


@FEW
@given(
    window=windows(dimensions=3, furthest=2),
    channels=CHANNELS,
    data_format=st.sampled_from(["NDHWC", "NCDHW"]),
    seed=SEEDS,
)
def test_convolution_in_three_dimensions(
    window: Window, channels: tuple[int, int], data_format: str, seed: int
) -> None:
    x, weights = normal(seed, 1, *window.sizes, channels[0]), normal(seed, *window.kernel, *channels)
    expected = convolution(x, weights, window).astype(np.float32)
    image, wanted = (x, expected) if data_format == "NDHWC" else (second(x), second(expected))
    agrees(single("Conv3D", image, Fixed(weights), **window.attributes(data_format)), wanted)


@FEW
@given(window=windows(dimensions=3, longest=2), channels=st.tuples(st.integers(1, 2), st.integers(1, 2)), seed=SEEDS)
def test_transposed_convolution_in_three_dimensions(window: Window, channels: tuple[int, int], seed: int) -> None:
    x, weights = normal(seed, 1, *window.places(), channels[0]), normal(seed, *window.kernel, *channels[::-1])
    expected = transposed_convolution(x, weights, window, channels[1]).astype(np.float32)
    shape = sizes(window, channels[1])
    graph = single("Conv3DBackpropInputV2", shape, Fixed(weights), x, **window.attributes("NDHWC"))
    agrees(graph, expected)


PLAIN = {"strides": [1, 1, 1, 1], "padding": "VALID"}


@pytest.mark.parametrize("op", ["Conv2D", "DepthwiseConv2dNative"])
def test_computed_weights_are_transposed_in_the_graph(op: str) -> None:
    x, weights = normal(1, 1, 4, 4, 3), normal(2, 2, 2, 3, 2)
    window = Window(sizes=(4, 4), kernel=(2, 2), strides=(1, 1), dilations=(1, 1), padding="VALID")
    plain = weights if op == "Conv2D" else weights.reshape(2, 2, 1, 6)
    agrees(single(op, x, Inner(weights), **PLAIN), convolution(x, plain, window).astype(np.float32))


def test_weights_computed_from_constants_are_constant() -> None:
    composer = GraphComposer()
    composer.placeholder("x", [1, 4, 4, 1])
    flat = composer.node("Reshape", [composer.constant(np.ones(8, np.float32)), composer.constant([2, 2, 1, 2])])
    weights = composer.node("Mul", [flat, composer.constant(0.5)])
    composer.node("Conv2D", ["x", weights], "y", **PLAIN)
    model = canonical(composer.serialize(), {"x": [1, 4, 4, 1]}, ["y"])
    (conv,) = [node for node in model.graph if node.op_type == "Conv"]
    assert conv.inputs[1] is not None
    assert conv.inputs[1].const_value is not None
    np.testing.assert_array_equal(conv.inputs[1].const_value.numpy(), np.full((2, 1, 2, 2), 0.5))


def test_half_floats_stay_half_floats() -> None:
    x, weights = normal(1, 1, 4, 4, 3).astype(np.float16), normal(2, 2, 2, 3, 2).astype(np.float16)
    window = Window(sizes=(4, 4), kernel=(2, 2), strides=(1, 1), dilations=(1, 1), padding="VALID")
    expected = convolution(x, weights, window).astype(np.float16)
    agrees(single("Conv2D", x, Fixed(weights), **PLAIN), expected, tolerance=1e-3)


@pytest.mark.parametrize(
    ("op", "sides", "strides", "order"),
    [("Conv2D", 2, [1, 1, 1, 1], (0, 3, 1, 2)), ("Conv3D", 3, [1, 1, 1, 1, 1], (0, 4, 1, 2, 3))],
)
def test_result_of_channels_last_notes_its_twin(op: str, sides: int, strides: list[int], order: Sequence[int]) -> None:
    x, weights = normal(1, 1, *[4] * sides, 3), Fixed(normal(2, *[2] * sides, 3, 2))
    conv = next(
        node for node in single(op, x, weights, strides=strides, padding="VALID").model.graph if node.op_type == "Conv"
    )
    assert twin_of(conv.outputs[0]) == Twin("y", tuple(order))


def trained(op: str, weights: np.ndarray, *, per_channel: bool) -> GraphComposer:
    """Two convolutions of values and weights that are rounded to the steps of a quantization."""
    composer = GraphComposer()
    value = composer.placeholder("x", [1, 6, 6, 4])
    for _ in range(2):
        limits = [composer.constant(np.float32(end)) for end in (-1, 3)]
        value = composer.node("FakeQuantWithMinMaxVars", [value, *limits])
        kind, ends = "FakeQuantWithMinMaxVars", [np.float32(-2), np.float32(2)]
        if per_channel:
            kind = "FakeQuantWithMinMaxVarsPerChannel"
            ends = [np.arange(1, 1 + weights.shape[-1], dtype=np.float32) * sign for sign in (-1, 1)]
        limits = [composer.constant(end) for end in ends]
        kept = composer.node(kind, [composer.constant(weights), *limits], narrow_range=True)
        value = composer.node(op, [value, kept], **PLAIN)
        value = composer.node("BiasAdd", [value, composer.constant(np.zeros(4, np.float32))])
        value = composer.node("Relu6", [value])
    composer.node("Identity", [value], "y")
    return composer


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("op", "shape"), [("Conv2D", (2, 2, 4, 4)), ("DepthwiseConv2dNative", (2, 2, 4, 1))])
def test_rounded_weights_keep_their_integers_and_layouts_cancel_across_rounded_values(
    op: str, shape: tuple[int, ...], per_channel: bool
) -> None:
    weights = np.random.default_rng(5).uniform(-1, 1, shape).astype(np.float32)
    model = canonical(trained(op, weights, per_channel=per_channel).serialize(), {"x": [1, 6, 6, 4]}, ["y"])
    given = QuantParams(
        dtype="uint8", scheme="asymmetric_affine", scale=(float(np.float32(4 / 255)),), zero_point=(64,)
    )
    for _ in range(2):
        convolutions = [node for node in model.graph if node.op_type == "Conv"]
        assert len(convolutions) == 2
        for x, kept in (node.inputs[:2] for node in convolutions):
            assert x is not None
            assert kept is not None
            assert quant_of(x) == given
            assert isinstance(kept.const_value, QuantizedTensor)
            assert kept.const_value.quant.axis == (0 if per_channel else None)
        normalise(model)
    assert [node.op_type for node in model.graph].count("Transpose") == 2


def test_steps_of_depthwise_weights_are_those_of_the_channels_they_make() -> None:
    weights = np.random.default_rng(5).uniform(-1, 1, (2, 2, 3, 2)).astype(np.float32)
    composer = GraphComposer()
    composer.placeholder("x", [1, 4, 4, 3])
    limits = [composer.constant(np.array(ends, np.float32)) for ends in ([-1, -2], [1, 2])]
    kept = composer.node("FakeQuantWithMinMaxVarsPerChannel", [composer.constant(weights), *limits])
    composer.node("DepthwiseConv2dNative", ["x", kept], "y", **PLAIN)
    model = canonical(composer.serialize(), {"x": [1, 4, 4, 3]}, ["y"])
    conv = next(node for node in model.graph if node.op_type == "Conv")
    assert conv.inputs[1] is not None
    tensor = conv.inputs[1].const_value
    assert isinstance(tensor, QuantizedTensor)
    np.testing.assert_allclose(tensor.quant.scale, [2 / 255, 4 / 255] * 3, rtol=1e-6)
    assert tensor.quant.axis == 0
    expected = weights.transpose(2, 3, 0, 1).reshape(6, 1, 2, 2)
    np.testing.assert_allclose(tensor.numpy(), expected, atol=2 / 255)


NORMALISED = {
    "BiasAdd": lambda channels: [normal(3, channels)],
    "FusedBatchNorm": lambda channels: [*(normal(n, channels) for n in (3, 4, 5)), np.abs(normal(6, channels)) + 0.1],
}


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("second_op", list(NORMALISED))
@pytest.mark.parametrize("activation", [None, "Relu", "Relu6", "Elu"])
@pytest.mark.parametrize(("product", "channels"), [("Conv2D", 4), ("DepthwiseConv2dNative", 12)])
def test_product_fused_by_the_optimiser_is_what_it_was_before(
    data_format: str, second_op: str, activation: str | None, product: str, channels: int
) -> None:
    x, weights = normal(1, 1, 5, 6, 3), normal(2, 3, 2, 3, 4)
    image = x if data_format == "NHWC" else second(x)
    steps = {"strides": [1, 1, 1, 1], "padding": "SAME", "data_format": data_format}
    values = NORMALISED[second_op](channels)
    names = [second_op, *([activation] if activation else [])]
    more = {"fused_ops": names, "epsilon": 0.01, "num_args": 1}
    fused = single(f"_Fused{product}", image, Fixed(weights), *map(Fixed, values), **more, **steps)
    composer = GraphComposer()
    composer.placeholder("x0", image.shape)
    composer.node(product, ["x0", composer.constant(weights)], "conv", **steps)
    more = {} if second_op == "BiasAdd" else {"epsilon": 0.01, "is_training": False}
    last = composer.node(second_op, ["conv", *map(composer.constant, values)], "sum", data_format=data_format, **more)
    if activation:
        last = composer.node(activation, ["sum"], "end")
    model = canonical(composer.serialize(), {"x0": image.shape}, [last])
    agrees(fused, *run(model, [image]))


@pytest.mark.parametrize(
    ("names", "operands", "message"),
    [
        (["BiasAdd", "Selu", "Relu"], 1, "a product fused with BiasAdd and Selu and Relu of 1 operands"),
        (["BiasAdd"], 2, "a product fused with BiasAdd of 2 operands"),
        (["Squeeze"], 1, "a product fused with Squeeze of 1 operands"),
        (None, 1, "a product fused with  of 1 operands"),
        (["BiasAdd", "Cosh"], 1, "the activation function Cosh"),
    ],
)
def test_unknown_fusion_is_refused(names: list[str] | None, operands: int, message: str) -> None:
    more = [Fixed(np.zeros(2, np.float32))] * operands
    found = refusal(
        "_FusedConv2D",
        np.zeros((1, 4, 4, 3), np.float32),
        Fixed(np.zeros((1, 1, 3, 2), np.float32)),
        *more,
        fused_ops=names,
        **PLAIN,
    )
    assert found == message


def network(kind: str, then: str, activation: str | None, data_format: str = "NHWC") -> GraphComposer:
    """A product, a bias or a batch normalisation and an activation function."""
    composer = GraphComposer()
    composer.placeholder("x", [1, 8, 8, 8] if kind != "MatMul" else [1, 8])
    weights = {
        "Conv2D": (3, 3, 8, 4),
        "DepthwiseConv2dNative": (3, 3, 8, 2),
        "Conv2DBackpropInput": (3, 3, 4, 8),
        "MatMul": (8, 4),
    }[kind]
    channels = 16 if kind.startswith("Depth") else 4
    operands = ["x", composer.constant(normal(1, *weights), "weights")]
    steps: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME", "data_format": data_format}
    if kind == "Conv2DBackpropInput":
        shape = [1, 8, 8, 4] if data_format == "NHWC" else [1, 4, 8, 8]
        operands = [composer.constant(shape), operands[1], "x"]
    composer.node(kind, operands, "product", **({} if kind == "MatMul" else steps))
    values = [composer.constant(value) for value in NORMALISED[then.removesuffix("V3")](channels)]
    more = {} if then == "BiasAdd" else {"is_training": False, "epsilon": 0.01}
    composer.node(then, ["product", *values], "sum", data_format=data_format, **more)
    if activation:
        composer.node(activation, ["sum"], "y")
    return composer


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("activation", ["Relu", "Relu6"])
@pytest.mark.parametrize("then", ["BiasAdd", "FusedBatchNorm", "FusedBatchNormV3"])
@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput"])
def test_bias_or_normalisation_and_activation_behind_a_convolution_are_one_operation(
    kind: str, then: str, activation: str, data_format: str
) -> None:
    data = network(kind, then, activation, data_format).serialize()
    model = canonical(data, {"x": [1, 8, 8, 8]}, ["y"])
    normalise(model)
    products = [one for one in group(model) if any(node.op_type.startswith("Conv") for node in one.nodes)]
    assert [[origin.name for origin in one.origins] for one in products] == [["product", "sum", "y"]]
    assert [node.op_type for node in products[0].nodes][1:] == ["Relu" if activation == "Relu" else "Clip"]
    moved = [node.op_type for one in group(model) if one not in products for node in one.nodes]
    assert moved == (["Transpose", "Transpose"] if data_format == "NHWC" else [])


def test_bias_and_activation_behind_a_matrix_product_are_one_operation() -> None:
    model = canonical(network("MatMul", "BiasAdd", "Relu").serialize(), {"x": [1, 8]}, ["y"])
    normalise(model)
    (found,) = group(model)
    assert [node.op_type for node in found.nodes] == ["Gemm", "Relu"]
    assert [origin.name for origin in origins_of(found.nodes[0])] == ["product", "sum"]


def test_convolutions_in_a_row_keep_their_layout_between_them() -> None:
    composer = GraphComposer()
    composer.placeholder("x", [1, 8, 8, 8])
    value = "x"
    for place in range(3):
        steps = {"strides": [1, 1, 1, 1], "padding": "SAME"}
        value = composer.node("Conv2D", [value, composer.constant(normal(place, 3, 3, 8, 8))], **steps)
        value = composer.node("BiasAdd", [value, composer.constant(normal(place, 8))])
        value = composer.node("Relu", [value])
    model = canonical(composer.serialize(), {"x": [1, 8, 8, 8]}, [value])
    normalise(model)
    assert [node.op_type for node in model.graph] == ["Transpose", *["Conv", "Relu"] * 3, "Transpose"]


IMAGE = np.zeros((1, 4, 4, 2), np.float32)


@pytest.mark.parametrize(
    ("shapes", "fields", "message"),
    [
        ({}, {"padding": "FULL"}, "the padding scheme FULL"),
        ({}, {"padding": None}, "it lacks the attribute padding"),
        ({}, {"strides": [1, 0, 1, 1]}, "strides of [1, 0, 1, 1]; they must be positive, and 1 for samples"),
        ({}, {"strides": [1, 2, 2, 2]}, "strides of [1, 2, 2, 2]; they must be positive, and 1 for samples"),
        ({}, {"strides": [2, 2]}, "strides of [2, 2]; they must be positive"),
        ({}, {"strides": None}, "it lacks the attribute strides"),
        ({}, {"strides": 1}, "its attribute strides has another type than 'list'"),
        ({}, {"dilations": [2, 1, 1, 1]}, "dilations of [2, 1, 1, 1]; they must be positive"),
        ({}, {"strides": [1, 1 << 62, 1, 1]}, "a window of [2, 2] on an image of [4, 4] pixels"),
        ({}, {"dilations": [1, 1 << 62, 1, 1], "padding": "SAME"}, f"a window of [{(1 << 62) + 1}, 2] on an image"),
        ({}, {"dilations": [1, 9, 1, 1]}, "a window of [10, 2] on an image of [4, 4] pixels"),
        ({}, {"data_format": "NCHW_VECT_C"}, "the data format NCHW_VECT_C"),
        ({}, {"data_format": "NDHWC"}, "the data format NDHWC"),
        ({}, {"padding": "EXPLICIT"}, "it lacks the attribute explicit_paddings"),
        ({}, {"padding": "EXPLICIT", "explicit_paddings": [1, 1]}, "explicit paddings of [1, 1]; they must be 8 numb"),
        (
            {},
            {"padding": "EXPLICIT", "explicit_paddings": [0, 0, 1, 1, 1, 1, 0, 1]},
            "explicit paddings of [0, 0, 1, 1, 1, 1, 0, 1]",
        ),
        (
            {},
            {"padding": "EXPLICIT", "explicit_paddings": [0, 0, 1, -1, 1, 1, 0, 0]},
            "explicit paddings of [0, 0, 1, -1, 1, 1, 0, 0]",
        ),
        ({"weights": [2, 2, 4, 3]}, {}, "weights for 4 channels in and 3 out on an input of 2 channels"),
        ({"weights": [2, 2, 0, 3]}, {}, "weights for 0 channels in and 3 out on an input of 2 channels"),
        ({"weights": [2, 2, 2]}, {}, "weights of shape [2, 2, 2]; 4 dimensions are needed"),
        ({"weights": [0, 2, 2, 3]}, {}, "a window of [0, 2] on an image of [4, 4] pixels"),
        ({"x": [1, 4, 2]}, {}, "a tensor of shape [1, 4, 2]; 4 dimensions are needed"),
    ],
)
def test_convolution_that_cannot_be_says_why(
    shapes: dict[str, list[int]], fields: dict[str, Any], message: str
) -> None:
    x = np.zeros(shapes.get("x", IMAGE.shape), np.float32)
    weights = Fixed(np.zeros(shapes.get("weights", [2, 2, 2, 3]), np.float32))
    assert refusal("Conv2D", x, weights, **(PLAIN | fields)).startswith(message)


@pytest.mark.parametrize(
    ("x", "weights", "message"),
    [
        (np.int32, np.int32, "operands of INT32; they must be one of FLOAT, FLOAT16"),
        (np.float64, np.float64, "operands of DOUBLE; they must be one of FLOAT, FLOAT16"),
        (np.float32, np.float16, "operands of FLOAT and FLOAT16; they must be one of FLOAT, FLOAT16"),
    ],
)
def test_convolution_of_other_types_is_refused(x: type, weights: type, message: str) -> None:
    assert refusal("Conv2D", IMAGE.astype(x), Fixed(np.zeros((2, 2, 2, 3), weights)), **PLAIN) == message


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ([1, 9, 5, 3], [2, 2, 3, 2], "an output of [9, 5] pixels, which needs an input of [8, 4] pixels, from one of"),
        ([1, 5, 5, 4], [2, 2, 3, 2], "weights for 2 channels in and 3 out between 2 and 4 channels"),
        ([1, 5, 5, 3], [2, 2, 3, 5], "weights for 5 channels in and 3 out between 2 and 3 channels"),
        ([5, 5], [2, 2, 3, 2], "an output of shape [5, 5]; 4 dimensions are needed"),
        ([1, -1, 5, 3], [2, 2, 3, 2], "an output of shape [1, -1, 5, 3]"),
    ],
)
def test_transposed_convolution_that_cannot_be_says_why(sizes: list[int], weights: list[int], message: str) -> None:
    shape = Fixed(np.array(sizes, np.int32))
    found = refusal("Conv2DBackpropInput", shape, Fixed(np.zeros(weights, np.float32)), IMAGE, **PLAIN)
    assert found.startswith(message)


def test_depthwise_weights_for_other_channels_are_refused() -> None:
    # Six filters could be those of two channels.
    weights = Fixed(np.zeros((2, 2, 3, 2), np.float32))
    message = "weights for 3 channels on an image of 2 channels"
    assert refusal("DepthwiseConv2dNative", IMAGE, weights, **PLAIN) == message
    shape = Fixed(np.array([1, 5, 5, 2], np.int32))
    six = np.zeros((1, 4, 4, 6), np.float32)
    assert refusal("DepthwiseConv2dNativeBackpropInput", shape, weights, six, **PLAIN) == message


def test_transposed_convolution_to_a_computed_size_is_refused() -> None:
    weights = Fixed(np.zeros((2, 2, 3, 2), np.float32))
    found = refusal("Conv2DBackpropInput", np.zeros(4, np.int32), weights, IMAGE, **PLAIN)
    assert found == "its operand 0 is computed; only a constant can be imported"
