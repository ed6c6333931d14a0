"""Convolutions of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.annotations import Twin, quant_of, twin_of
from synap_core.graph.quantized import QuantizedTensor
from tests.support.canonical import Reference, imported, run
from tests.support.single_operator import (
    ACTIVATIONS,
    FEW,
    QUANTIZED,
    SEEDS,
    Tensor,
    agrees,
    constant,
    options,
    refusal,
    sample,
    single,
    tensor,
    weighted,
)

TYPES = ("float32", *QUANTIZED)
"""Quantized results may be a unit off: the kernels scale sums with a fixed-point number and round halves up."""


@dataclass(frozen=True)
class Window:
    """How a window moves over an image."""

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    same: bool

    @property
    def result(self) -> tuple[int, ...]:
        """Places of the window, by the definition of the two padding schemes."""
        reach = [0 if self.same else (k - 1) * d for k, d in zip(self.kernel, self.dilations, strict=True)]
        return tuple(-(-(n - r) // s) for n, r, s in zip(self.sizes, reach, self.strides, strict=True))

    def options(self, kind: str, **more: Any) -> Any:
        axes = "DHW"[-len(self.sizes) :]
        steps = {f"stride{axis}": step for axis, step in zip(axes, self.strides, strict=True)}
        steps |= {f"dilation{axis}Factor": step for axis, step in zip(axes, self.dilations, strict=True)}
        steps = {name: step for name, step in steps.items() if kind != "TransposeConv" or "dilation" not in name}
        return options(kind, padding=0 if self.same else 1, **steps, **more)


@st.composite
def windows(draw: st.DrawFn, dimensions: int = 2, furthest: int = 2) -> Window:
    kernel = draw(st.tuples(*[st.integers(1, 3)] * dimensions))
    dilations = draw(st.tuples(*[st.integers(1, furthest)] * dimensions))
    same = draw(st.booleans())
    least = [1 if same else (k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = draw(st.tuples(*(st.integers(n, n + 6) for n in least)))
    return Window(sizes, kernel, draw(st.tuples(*[st.integers(1, 3)] * dimensions)), dilations, same)


@pytest.mark.parametrize("dtype", TYPES)
@FEW
@given(
    window=windows(),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=SEEDS,
    activation=st.sampled_from(ACTIVATIONS),
)
def test_convolution(
    *, dtype: str, tmp_path: Path, window: Window, channels: tuple[int, int], seed: int, activation: int
) -> None:
    rng = np.random.default_rng(seed)
    x = tensor([1, *window.sizes, channels[0]], dtype, zero_point=-7)
    weights, bias, y = weighted(rng, x, [channels[1], *window.kernel, channels[0]], 0, [1, *window.result, channels[1]])
    made = window.options("Conv2D", fusedActivationFunction=activation)
    agrees(tmp_path, "CONV_2D", [x, weights, bias], y, made, seed=seed, version=3)


@pytest.mark.parametrize("dtype", TYPES)
@FEW
@given(
    window=windows(),
    channels=st.integers(1, 4),
    multiplier=st.integers(1, 3),
    seed=SEEDS,
    activation=st.sampled_from(ACTIVATIONS),
)
def test_depthwise_convolution(
    *, dtype: str, tmp_path: Path, window: Window, channels: int, multiplier: int, seed: int, activation: int
) -> None:
    rng = np.random.default_rng(seed)
    x, out = tensor([1, *window.sizes, channels], dtype, zero_point=-7), channels * multiplier
    weights, bias, y = weighted(rng, x, [1, *window.kernel, out], 3, [1, *window.result, out])
    made = window.options("DepthwiseConv2D", fusedActivationFunction=activation, depthMultiplier=multiplier)
    agrees(tmp_path, "DEPTHWISE_CONV_2D", [x, weights, bias], y, made, seed=seed, version=3)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int16"])
@FEW
@given(window=windows(), groups=st.integers(2, 3), inner=st.integers(1, 2), outer=st.integers(1, 2), seed=SEEDS)
def test_grouped_convolution(
    dtype: str, tmp_path: Path, window: Window, groups: int, inner: int, outer: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, out = tensor([1, *window.sizes, groups * inner], dtype, zero_point=3), groups * outer
    weights, bias, y = weighted(rng, x, [out, *window.kernel, inner], 0, [1, *window.result, out])
    agrees(tmp_path, "CONV_2D", [x, weights, bias], y, window.options("Conv2D"), seed=seed, version=6)


@pytest.mark.parametrize("dtype", TYPES)
@FEW
@given(
    window=windows(furthest=1),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=SEEDS,
    biased=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
)
def test_transposed_convolution(
    *, dtype: str, tmp_path: Path, window: Window, channels: tuple[int, int], seed: int, biased: bool, activation: int
) -> None:
    rng = np.random.default_rng(seed)
    x = tensor([1, *window.result, channels[0]], dtype, zero_point=5)
    shape = [1, *window.sizes, channels[1]]
    weights, bias, y = weighted(rng, x, [channels[1], *window.kernel, channels[0]], 0, shape)
    inputs = [constant(np.array(shape, np.int32)), weights, x, *([bias] if biased else [])]
    made = window.options("TransposeConv", fusedActivationFunction=activation)
    agrees(tmp_path, "TRANSPOSE_CONV", inputs, y, made, seed=seed, version=4)


@FEW
@given(window=windows(dimensions=3), channels=st.tuples(st.integers(1, 3), st.integers(1, 3)), seed=SEEDS)
def test_convolution_in_three_dimensions(tmp_path: Path, window: Window, channels: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = tensor([1, *window.sizes, channels[0]])
    weights, bias, y = weighted(rng, x, [*window.kernel, *channels], 4, [1, *window.result, channels[1]])
    agrees(tmp_path, "CONV_3D", [x, weights, bias], y, window.options("Conv3D"), seed=seed)


@FEW
@given(window=windows(dimensions=3, furthest=1), channels=st.tuples(st.integers(1, 3), st.integers(1, 3)), seed=SEEDS)
def test_transposed_convolution_in_three_dimensions(
    tmp_path: Path, window: Window, channels: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = tensor([1, *window.result, channels[0]])
    shape = [1, *window.sizes, channels[1]]
    weights, bias, y = weighted(rng, x, [*window.kernel, *channels[::-1]], 3, shape)
    inputs = [constant(np.array(shape, np.int32)), weights, x, bias]
    agrees(tmp_path, "CONV_3D_TRANSPOSE", inputs, y, window.options("Conv3D"), seed=seed)


def convolution(x: Tensor, weights: Tensor, bias: Tensor, y: Tensor) -> bytes:
    made = options("Conv2D", padding=1, strideH=1, strideW=1)
    return single("CONV_2D", [x, weights, bias], [y], made, version=3)


def test_quantized_constants_keep_their_integers_and_the_result_notes_its_twin(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    x = tensor([1, 3, 3, 2], "int8")
    weights, bias, y = weighted(rng, x, [4, 2, 2, 2], 0, [1, 2, 2, 4])
    model, _ = imported(convolution(x, weights, bias, y), tmp_path)
    conv = next(node for node in model.graph if node.op_type == "Conv")
    tensors = [value.const_value for value in conv.inputs if value is not None and value.const_value is not None]
    assert all(isinstance(one, QuantizedTensor) for one in tensors)
    assert weights.data is not None
    np.testing.assert_array_equal(tensors[0].integers, weights.data.transpose(0, 3, 1, 2))
    assert [one.quant.axis for one in tensors] == [0, 0]
    assert twin_of(conv.outputs[0]) == Twin("3", (0, 3, 1, 2))
    assert quant_of(conv.outputs[0]) == quant_of(model.graph.outputs[0]) is not None


@pytest.mark.parametrize("scale", [None, 0.5], ids=["absent", "wrong"])
def test_scale_of_an_integer_bias_is_that_of_the_products(
    scale: float | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    x = tensor([1, 3, 3, 2], "int8")
    weights, bias, y = weighted(rng, x, [4, 2, 2, 2], 0, [1, 2, 2, 4])
    made = options("Conv2D", padding=1, strideH=1, strideW=1)
    agrees(tmp_path, "CONV_2D", [x, weights, replace(bias, scale=scale)], y, made, version=3)


def test_computed_weights_and_bias_are_transposed_and_scaled_in_the_graph(tmp_path: Path) -> None:
    x, weights, y = tensor([1, 4, 4, 2]), tensor([1, 2, 2, 2]), tensor([1, 3, 3, 1])
    agrees(tmp_path, "CONV_2D", [x, weights, tensor([1])], y, options("Conv2D", padding=1, strideH=1, strideW=1))
    x, weights, y = (tensor(one.shape, "int8", 0.02) for one in (x, weights, y))
    bias = tensor([1], "int32")
    agrees(tmp_path, "CONV_2D", [x, weights, bias], y, options("Conv2D", padding=1, strideH=1, strideW=1), version=3)


def test_integer_weights_of_a_float_convolution_are_just_real_numbers(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = tensor([1, 4, 4, 2]), tensor([1, 3, 3, 5])
    quantized, _, _ = weighted(rng, tensor([1], "int8"), [5, 2, 2, 2], 0, [1])
    assert quantized.data is not None
    bias = constant(rng.normal(size=5).astype(np.float32))
    image = sample(rng, x)
    model, _ = imported(convolution(x, quantized, bias, y), tmp_path)
    # The hybrid kernel rounds the input; the float kernel on the same weights is what the graph stands for.
    plain = quantized.data * np.float32(quantized.scale).reshape(-1, 1, 1, 1)
    expected = Reference(convolution(x, constant(plain.astype(np.float32)), bias, y))([image])
    np.testing.assert_allclose(run(model, [image])[0], expected[0], atol=1e-5)


@pytest.mark.parametrize(
    ("operands", "fields", "reason"),
    [
        ({}, {"padding": 2}, "the padding scheme 2"),
        ({}, {"strideW": 0}, "strides of [1, 0] and dilations of [1, 1]; they must be positive"),
        ({}, {"fusedActivationFunction": 5}, "the activation function SIGN_BIT"),
        ({}, {"fusedActivationFunction": 77}, "the activation function 77"),
        ({"weights": [3, 2, 2, 4]}, {}, "weights for 4 channels in and 3 out on an input of 2 channels"),
        ({"weights": [3, 2, 2]}, {}, "weights of shape [3, 2, 2]; 4 dimensions are needed"),
        ({"x": [1, 4, 2]}, {}, "a tensor of shape [1, 4, 2]; four dimensions are needed"),
        ({"x": [1, 4, 4, 3]}, {}, "weights for 2 channels in and 3 out on an input of 3 channels"),
        ({"y": [1, 4, 4, 3]}, {}, "its result is FLOAT [1, 3, 3, 3]; the file says FLOAT [1, 4, 4, 3]"),
    ],
)
def test_convolution_that_cannot_be_says_why(
    operands: dict[str, list[int]], fields: dict[str, int], reason: str, tmp_path: Path
) -> None:
    shapes = {"x": [1, 4, 4, 2], "weights": [3, 2, 2, 2], "y": [1, 3, 3, 3]} | operands
    weights = constant(np.zeros(shapes["weights"], np.float32))
    made = options("Conv2D", **({"padding": 1, "strideH": 1, "strideW": 1} | fields))
    found = refusal(tmp_path, "CONV_2D", [tensor(shapes["x"]), weights], tensor(shapes["y"]), made)
    assert found == f"CONV_2D: {reason}"


def test_convolution_without_options_or_weights_says_what_it_lacks(tmp_path: Path) -> None:
    x, y = tensor([1, 4, 4, 2]), tensor([1, 4, 4, 2])
    weights = constant(np.zeros((2, 1, 1, 2), np.float32))
    assert refusal(tmp_path, "CONV_2D", [x, weights], y) == "CONV_2D: it lacks the option strideH"
    assert refusal(tmp_path, "CONV_2D", [x, None], y, options("Conv2D")) == "CONV_2D: it has no operand 1"


@pytest.mark.parametrize("integer", [True, False], ids=["integer", "float"])
def test_bias_of_two_dimensions_is_a_row(integer: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    x = tensor([1, 3, 3, 2], "int8" if integer else "float32")
    weights, bias, y = weighted(rng, x, [4, 2, 2, 2], 0, [1, 2, 2, 4])
    assert bias.data is not None
    flat = replace(bias, shape=[1, 4], data=bias.data.reshape(1, 4), axis=1)
    agrees(tmp_path, "CONV_2D", [x, weights, flat], y, options("Conv2D", padding=1, strideH=1, strideW=1), version=3)


def test_bias_and_scales_of_another_number_than_channels_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    x, made = tensor([1, 3, 3, 2], "int8"), options("Conv2D", padding=1, strideH=1, strideW=1)
    weights, bias, y = weighted(rng, x, [4, 2, 2, 2], 0, [1, 2, 2, 4])
    short = constant(np.zeros(3, np.int32))
    found = refusal(tmp_path, "CONV_2D", [x, weights, short], y, made)
    assert found == "CONV_2D: a bias of shape [3] for 4 channels"
    across = replace(weights, axis=1, scale=[0.5, 0.25])
    found = refusal(tmp_path, "CONV_2D", [x, across, replace(bias, scale=None)], y, made)
    assert found == "CONV_2D: weights with 2 scales for 4 channels"


def test_depthwise_weights_of_several_filters_are_refused(tmp_path: Path) -> None:
    inputs = [tensor([1, 4, 4, 2]), constant(np.zeros((2, 1, 1, 2), np.float32))]
    found = refusal(tmp_path, "DEPTHWISE_CONV_2D", inputs, tensor([1, 4, 4, 2]), options("DepthwiseConv2D"))
    assert found == "DEPTHWISE_CONV_2D: weights of shape [2, 1, 1, 2]; the first dimension must be 1"


@pytest.mark.parametrize(("x", "weights"), [("int8", np.int8), ("float32", np.int8), ("float32", np.float16)])
def test_numbers_that_are_not_real_are_refused(x: str, weights: type, tmp_path: Path) -> None:
    inputs = [Tensor(shape=[1, 4, 4, 2], dtype=x), constant(np.zeros((2, 1, 1, 2), weights))]
    reason = refusal(tmp_path, "CONV_2D", inputs, tensor([1, 4, 4, 2]), options("Conv2D", strideH=1, strideW=1))
    assert reason.endswith("; they must be one of FLOAT")


def test_integer_bias_of_a_float_convolution_is_refused(tmp_path: Path) -> None:
    inputs = [tensor([1, 4, 4, 2]), constant(np.zeros((2, 1, 1, 2), np.float32)), constant(np.zeros(2, np.int32))]
    found = refusal(tmp_path, "CONV_2D", inputs, tensor([1, 4, 4, 2]), options("Conv2D", strideH=1, strideW=1))
    assert found == "CONV_2D: a bias of int32 without quantized input and weights"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ([1, 9, 9, 2], "an output of [9, 9] pixels from [4, 4] ones in steps of [1, 1]"),
        ([9, 9, 2], "an output of shape [9, 9, 2]; 4 dimensions are needed"),
    ],
)
def test_transposed_convolution_that_cannot_be_says_why(wanted: list[int], reason: str, tmp_path: Path) -> None:
    inputs = [constant(np.array(wanted, np.int32)), constant(np.zeros((2, 1, 1, 2), np.float32)), tensor([1, 4, 4, 2])]
    made = options("TransposeConv", strideH=1, strideW=1)
    assert refusal(tmp_path, "TRANSPOSE_CONV", inputs, tensor([1, 9, 9, 2]), made) == f"TRANSPOSE_CONV: {reason}"
