"""Fully connected layers in programs: bit for bit what the reference kernels compute."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap_delegate_npu.operators.families import REGISTRY
from tests.support.canonical import imported
from tests.support.npu_products import Scaling, data, operands, result, scalings
from tests.support.npu_program import compiled, conforms
from tests.support.single_operator import ACTIVATIONS, FEW, SEEDS, Tensor, options, sample, single

LITTLE = settings(FEW, max_examples=10)


@dataclass(frozen=True)
class Kind:
    """Types that a kernel takes together."""

    x: str
    weights: str
    per_channel: bool
    bias: str


KINDS = {
    "uint8": Kind("uint8", "uint8", per_channel=False, bias="int32"),
    "int8": Kind("int8", "int8", per_channel=False, bias="int32"),
    "int8-per-channel": Kind("int8", "int8", per_channel=True, bias="int32"),
    "int4-weights": Kind("int8", "int4", per_channel=False, bias="int32"),
    "int16": Kind("int16", "int8", per_channel=False, bias="int64"),
    "int16-per-channel": Kind("int16", "int8", per_channel=True, bias="int64"),
    "int16-narrow-bias": Kind("int16", "int8", per_channel=False, bias="int32"),
}


@pytest.mark.parametrize("kind", KINDS)
@LITTLE
@given(
    data_=st.data(),
    shape=st.lists(st.integers(1, 4), max_size=3),
    inner=st.integers(1, 40),
    units=st.integers(1, 9),
    keep=st.booleans(),
    biased=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    seed=SEEDS,
)
def test_fully_connected(
    *,
    kind: str,
    tmp_path: Path,
    data_: st.DataObject,
    shape: list[int],
    inner: int,
    units: int,
    keep: bool,
    biased: bool,
    activation: int,
    seed: int,
) -> None:
    types, rng = KINDS[kind], np.random.default_rng(seed)
    x = data(rng, [1, *shape, inner * 2], types.x)
    scaling = data_.draw(scalings([types.bias if biased else None], [types.per_channel]))
    weights, bias, step = operands(rng, x, [units, inner * 2], 0, scaling, types.weights)
    y = result(rng, [1, *shape, units] if keep else [math.prod(shape), units], types.x, step)
    made = options(
        "FullyConnected",
        keepNumDims=keep,
        fusedActivationFunction=activation,
        quantizedBiasType={"int32": 2, "int64": 4}[types.bias],
    )
    inputs = [x, weights, bias]
    conforms(tmp_path, "FULLY_CONNECTED", inputs, y, [sample(rng, x)], given=made, version=12)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("exponent", [-1, -3, -6])
def test_ties_are_rounded_away_from_zero(dtype: str, exponent: int, tmp_path: Path) -> None:
    """Each integer of 8 bits by one weight of one: multiples of the step, many of them in the middle of two results."""
    x = Tensor(shape=[1, 256, 1], dtype=dtype, scale=0.5, zero_point=0)
    array = np.arange(-128, 128).astype(dtype).reshape(1, 256, 1)
    weights = Tensor(shape=[1, 1], dtype="int8", scale=2.0**exponent, zero_point=0, data=np.ones((1, 1), np.int8))
    y = Tensor(shape=[256, 1], dtype=dtype, scale=0.5, zero_point=0)
    content = single("FULLY_CONNECTED", [x, weights, None], [y], options("FullyConnected"), 12)
    (found,) = compiled(imported(content, tmp_path)[0])([array])
    real = array[0] * 2.0**exponent
    np.testing.assert_array_equal(found, np.sign(real) * np.floor(np.abs(real) + 0.5))
    conforms(tmp_path, "FULLY_CONNECTED", [x, weights, None], y, [array], given=options("FullyConnected"), version=12)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16"])
@pytest.mark.parametrize("inner", [700, 5000])
def test_sums_of_many_products(kind: str, inner: int, tmp_path: Path, rng: np.random.Generator) -> None:
    types = KINDS[kind]
    x = data(rng, [1, 3, inner], types.x)
    scaling = Scaling(exponent=-17.0 if types.x == "int16" else -12.0, per_channel=False, bias=types.bias)
    weights, bias, step = operands(rng, x, [4, inner], 0, scaling, types.weights)
    y = result(rng, [3, 4], types.x, step)
    made = options("FullyConnected", quantizedBiasType={"int32": 2, "int64": 4}[types.bias])
    conforms(
        tmp_path,
        "FULLY_CONNECTED",
        [x, weights, bias],
        y,
        [sample(rng, x)],
        given=made,
        version=12,
    )


def test_weights_that_are_computed_are_multiplied_as_integers(tmp_path: Path, rng: np.random.Generator) -> None:
    x, weights = data(rng, [1, 3, 20], "int8"), replace(data(rng, [1, 20], "int8"), zero_point=0)
    assert isinstance(x.scale, float)
    assert isinstance(weights.scale, float)
    y = result(rng, [3, 1], "int8", x.scale * weights.scale * 300)
    arrays = [sample(rng, x), sample(rng, weights)]
    conforms(tmp_path, "FULLY_CONNECTED", [x, weights, None], y, arrays, given=options("FullyConnected"), version=12)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@LITTLE
@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    sizes=st.tuples(st.integers(1, 5), st.sampled_from([1, 5, 40, 300, 1500]), st.integers(1, 5)),
    turned=st.tuples(st.booleans(), st.booleans()),
    spread=st.booleans(),
    fixed=st.booleans(),
    exponents=st.tuples(st.floats(-8, 0), st.floats(-8, 0), st.floats(-1, 3)),
    seed=SEEDS,
)
def test_product_of_two_tensors(
    *,
    dtype: str,
    tmp_path: Path,
    batch: list[int],
    sizes: tuple[int, int, int],
    turned: tuple[bool, bool],
    spread: bool,
    fixed: bool,
    exponents: tuple[float, float, float],
    seed: int,
) -> None:
    rng, (rows, inner, columns) = np.random.default_rng(seed), sizes
    left = data(rng, [1, *batch, *((inner, rows) if turned[0] else (rows, inner))], dtype)
    right = data(
        rng,
        [1, *([1] * len(batch) if spread else batch), *((columns, inner) if turned[1] else (inner, columns))],
        dtype,
    )
    one, other = (float(np.float32(2.0**exponent)) for exponent in exponents[:2])
    left, right = replace(left, scale=one), replace(right, scale=other)
    size = {"int8": 74**2 / 60, "int16": 18918**2 / 20000}[dtype] * math.sqrt(inner)
    y = result(rng, [1, *batch, rows, columns], dtype, one * other * size * 2.0 ** exponents[2])
    arrays = [sample(rng, left), sample(rng, right)]
    operand = right.filled(arrays[1]) if fixed else right
    made = options("BatchMatMul", adjX=turned[0], adjY=turned[1])
    version = 3 if dtype == "int16" else 2
    content = single("BATCH_MATMUL", [left, operand], [y], made, version)
    assert not {"MatMul", "(MatMul)"} & set(compiled(imported(content, tmp_path)[0]).types)
    conforms(tmp_path, "BATCH_MATMUL", [left, operand], y, arrays[: 1 if fixed else 2], given=made, version=version)


def test_products_say_how_they_round() -> None:
    for name in ("Convolution", "Deconvolution", "FullyConnected", "MatrixMultiply"):
        assert "rounding" in REGISTRY.operators[name].attributes
    words = REGISTRY.operators["Convolution"].definition
    assert all(f"``{word}``" in words for word in ("once", "twice", "short", "real"))
