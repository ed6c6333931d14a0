"""Convolutions in programs: bit for bit what the reference kernels compute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.canonical import Reference, imported
from tests.support.npu_products import Scaling, data, operands, result, scalings
from tests.support.npu_program import compiled
from tests.support.single_operator import ACTIVATIONS, FEW, SEEDS, Tensor, constant, options, sample, single

LITTLE = settings(FEW, max_examples=8)

BIAS_TYPES = {"int32": 2, "int64": 4}
"""Numbers that the schema has for them."""


@dataclass(frozen=True)
class Kind:
    """Types that a kernel takes together."""

    x: str
    weights: str
    per_channel: bool
    bias: str

    @property
    def scalings(self) -> st.SearchStrategy[Scaling]:
        return scalings([self.bias], [self.per_channel])


KINDS = {
    "uint8": Kind("uint8", "uint8", per_channel=False, bias="int32"),
    "int8": Kind("int8", "int8", per_channel=True, bias="int32"),
    "int8-one-step": Kind("int8", "int8", per_channel=False, bias="int32"),
    "int4-weights": Kind("int8", "int4", per_channel=True, bias="int32"),
    "int16": Kind("int16", "int8", per_channel=True, bias="int64"),
    "int16-one-step": Kind("int16", "int8", per_channel=False, bias="int64"),
    "int16-narrow-bias": Kind("int16", "int8", per_channel=True, bias="int32"),
}


@dataclass(frozen=True)
class Window:
    """How a kernel moves over an image."""

    sizes: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    same: bool

    @property
    def result(self) -> tuple[int, ...]:
        reach = [0 if self.same else (k - 1) * d for k, d in zip(self.kernel, self.dilations, strict=True)]
        return tuple(-(-(n - r) // s) for n, r, s in zip(self.sizes, reach, self.strides, strict=True))

    def options(self, kind: str, activation: int, **more: Any) -> Any:
        if kind != "TransposeConv":
            more |= {"dilationHFactor": self.dilations[0], "dilationWFactor": self.dilations[1]}
        strides = {"strideH": self.strides[0], "strideW": self.strides[1]}
        return options(kind, padding=0 if self.same else 1, fusedActivationFunction=activation, **strides, **more)


@st.composite
def windows(draw: st.DrawFn, furthest: int = 2) -> Window:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, strides = draw(pair), draw(pair)
    dilations = draw(st.tuples(st.integers(1, furthest), st.integers(1, furthest)))
    same = draw(st.booleans())
    least = [1 if same else (k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = draw(st.tuples(*(st.integers(n, n + 6) for n in least)))
    return Window(sizes, kernel, strides, dilations, same)


def differing(
    folder: Path, name: str, inputs: list[Tensor], y: Tensor, given_options: Any, version: int, *, operator: str
) -> int:
    """Number of items that a program computes in another way than the reference kernel."""
    (x,) = (one for one in inputs if one.data is None)
    array = sample(np.random.default_rng(0), x)
    content = single(name, inputs, [y], given_options, version)
    program = compiled(imported(content, folder)[0])
    assert operator in program.types
    (found,), (expected,) = program([array]), Reference(content)([array])
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    return int(np.count_nonzero(found != expected))


@pytest.mark.parametrize("kind", KINDS)
@LITTLE
@given(
    data_=st.data(),
    window=windows(),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 6)),
    activation=st.sampled_from(ACTIVATIONS),
    seed=SEEDS,
)
def test_convolution(
    *,
    kind: str,
    tmp_path: Path,
    data_: st.DataObject,
    window: Window,
    channels: tuple[int, int],
    activation: int,
    seed: int,
) -> None:
    types, rng = KINDS[kind], np.random.default_rng(seed)
    x = data(rng, [1, *window.sizes, channels[0]], types.x)
    scaling = data_.draw(types.scalings)
    weights, bias, step = operands(rng, x, [channels[1], *window.kernel, channels[0]], 0, scaling, types.weights)
    assert bias is not None
    y = result(rng, [1, *window.result, channels[1]], types.x, step)
    made = window.options("Conv2D", activation, quantizedBiasType=BIAS_TYPES[types.bias])
    assert differing(tmp_path, "CONV_2D", [x, weights, bias], y, made, 8, operator="Convolution") == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "int16-narrow-bias"])
@LITTLE
@given(
    data_=st.data(),
    window=windows(),
    channels=st.integers(1, 9),
    multiplier=st.integers(1, 3),
    activation=st.sampled_from(ACTIVATIONS),
    seed=SEEDS,
)
def test_depthwise_convolution(
    *,
    kind: str,
    tmp_path: Path,
    data_: st.DataObject,
    window: Window,
    channels: int,
    multiplier: int,
    activation: int,
    seed: int,
) -> None:
    types, rng, out = KINDS[kind], np.random.default_rng(seed), channels * multiplier
    x = data(rng, [1, *window.sizes, channels], types.x)
    weights, bias, step = operands(rng, x, [1, *window.kernel, out], 3, data_.draw(types.scalings), types.weights)
    y = result(rng, [1, *window.result, out], types.x, step)
    made = window.options("DepthwiseConv2D", activation, depthMultiplier=multiplier)
    inputs = [x, weights, *([] if bias is None else [bias])]
    assert differing(tmp_path, "DEPTHWISE_CONV_2D", inputs, y, made, 3, operator="Convolution") == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "int4-weights"])
@LITTLE
@given(
    data_=st.data(),
    window=windows(furthest=1),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    activation=st.sampled_from(ACTIVATIONS),
    biased=st.booleans(),
    seed=SEEDS,
)
def test_transposed_convolution(
    *,
    kind: str,
    tmp_path: Path,
    data_: st.DataObject,
    window: Window,
    channels: tuple[int, int],
    activation: int,
    biased: bool,
    seed: int,
) -> None:
    types, rng = KINDS[kind], np.random.default_rng(seed)
    x = data(rng, [1, *window.result, channels[0]], types.x)
    scaling = data_.draw(types.scalings)
    shape = [channels[1], *window.kernel, channels[0]]
    # Without a bias the kernel adds up in 64 bits whatever the option says.
    kept = types.bias if biased or types.x != "int16" else "int64"
    weights, bias, step = operands(rng, x, shape, 0, replace(scaling, bias=kept if biased else None), types.weights)
    y = result(rng, [1, *window.sizes, channels[1]], types.x, step)
    inputs = [constant(np.array(y.shape, np.int32)), weights, x, *([] if bias is None else [bias])]
    made = window.options("TransposeConv", activation, quantizedBiasType=BIAS_TYPES[kept])
    assert differing(tmp_path, "TRANSPOSE_CONV", inputs, y, made, 5, operator="Deconvolution") == 0


@pytest.mark.parametrize("kind", ["int8", "int16"])
@LITTLE
@given(
    data_=st.data(),
    window=windows(),
    groups=st.integers(2, 3),
    inner=st.integers(1, 3),
    outer=st.integers(1, 3),
    seed=SEEDS,
)
def test_grouped_convolution(
    *, kind: str, tmp_path: Path, data_: st.DataObject, window: Window, groups: int, inner: int, outer: int, seed: int
) -> None:
    types, rng, out = KINDS[kind], np.random.default_rng(seed), groups * outer
    x = data(rng, [1, *window.sizes, groups * inner], types.x)
    weights, bias, step = operands(rng, x, [out, *window.kernel, inner], 0, data_.draw(types.scalings), types.weights)
    assert bias is not None
    y = result(rng, [1, *window.result, out], types.x, step)
    made = window.options("Conv2D", 0, quantizedBiasType=BIAS_TYPES[types.bias])
    assert differing(tmp_path, "CONV_2D", [x, weights, bias], y, made, 8, operator="Convolution") == 0


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16"])
@pytest.mark.parametrize("channels", [64, 600, 4000])
def test_sums_of_many_products(kind: str, channels: int, tmp_path: Path, rng: np.random.Generator) -> None:
    """Those of 4000 products of 8 bits do not fit in the integers that float32 holds."""
    types = KINDS[kind]
    x = data(rng, [1, 2, 3, channels], types.x)
    scaling = Scaling(exponent=-17.0 if types.x == "int16" else -12.0, per_channel=types.per_channel, bias=types.bias)
    weights, bias, step = operands(rng, x, [5, 1, 1, channels], 0, scaling, types.weights)
    assert bias is not None
    y = result(rng, [1, 2, 3, 5], types.x, step)
    made = options("Conv2D", padding=1, strideH=1, strideW=1, quantizedBiasType=BIAS_TYPES[types.bias])
    assert differing(tmp_path, "CONV_2D", [x, weights, bias], y, made, 8, operator="Convolution") == 0
