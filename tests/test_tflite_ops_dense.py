"""Products of matrices of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.annotations import quant_of
from synap_core.graph.quantized import QuantizedTensor
from tests.support.canonical import Reference, imported, run
from tests.support.single_operator import (
    ACTIVATIONS,
    FEW,
    QUANTIZED,
    SEEDS,
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


@pytest.mark.parametrize("dtype", TYPES)
@FEW
@given(
    shape=st.lists(st.integers(1, 4), max_size=3),
    units=st.integers(1, 6),
    keep=st.booleans(),
    biased=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    seed=SEEDS,
)
def test_fully_connected(
    *, dtype: str, tmp_path: Path, shape: list[int], units: int, keep: bool, biased: bool, activation: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = tensor([1, *shape, 5], dtype, zero_point=11)
    result = [1, *shape, units] if keep else [math.prod(shape), units]
    weights, bias, y = weighted(rng, x, [units, 5], 0, result)
    made = options("FullyConnected", keepNumDims=keep, fusedActivationFunction=activation)
    inputs = [x, weights, bias if biased else None]
    agrees(tmp_path, "FULLY_CONNECTED", inputs, y, made, seed=seed, version=12 if dtype == "int8" else 4)


def test_input_is_cut_into_rows_of_the_weights(tmp_path: Path, rng: np.random.Generator) -> None:
    x = tensor([1, 2, 3, 4], "int8")
    weights, bias, y = weighted(rng, x, [5, 12], 0, [2, 5])
    agrees(tmp_path, "FULLY_CONNECTED", [x, weights, bias], y, options("FullyConnected"), version=4)


def test_computed_weights_and_bias_are_operands(tmp_path: Path) -> None:
    inputs = [tensor([1, 4]), tensor([1, 4]), tensor([1])]
    agrees(tmp_path, "FULLY_CONNECTED", inputs, tensor([1, 1]), options("FullyConnected"))


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_integer_weights_of_a_float_layer_are_just_real_numbers(
    dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    integers = rng.integers(-8, 8, (3, 6)).astype(np.int8)
    packed = integers if dtype == "int8" else (integers[:, ::2] & 15) | (integers[:, 1::2] << 4)
    weights = replace(constant(packed, scale=0.25), shape=[3, 6], dtype=dtype)
    x, y, made = tensor([1, 6]), tensor([1, 3]), options("FullyConnected")
    rows = sample(rng, x)
    model, _ = imported(single("FULLY_CONNECTED", [x, weights], [y], made), tmp_path)
    # The hybrid kernel rounds the input; the float kernel on the same weights is what the graph stands for.
    plain = constant((integers * 0.25).astype(np.float32))
    expected = Reference(single("FULLY_CONNECTED", [x, plain], [y], made))([rows])
    np.testing.assert_allclose(run(model, [rows])[0], expected[0], atol=1e-5)
    kept = next(node for node in model.graph if node.op_type == "Gemm").inputs[1]
    assert kept is not None
    assert isinstance(kept.const_value, QuantizedTensor)
    assert kept.const_value.quant.dtype == dtype


def test_result_in_rows_carries_the_quantization(tmp_path: Path, rng: np.random.Generator) -> None:
    x = tensor([1, 2, 4], "int8")
    weights, bias, y = weighted(rng, x, [3, 4], 0, [1, 2, 3])
    made = options("FullyConnected", keepNumDims=True)
    model, _ = imported(single("FULLY_CONNECTED", [x, weights, bias], [y], made), tmp_path)
    gemm = next(node for node in model.graph if node.op_type == "Gemm")
    assert gemm.inputs[0] is not None
    assert quant_of(gemm.inputs[0]) == quant_of(model.graph.inputs[0])
    assert quant_of(gemm.outputs[0]) == quant_of(model.graph.outputs[0]) is not None


@pytest.mark.parametrize("dtype", ["float32", "int8", "int16"])
@FEW
@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    turned=st.tuples(st.booleans(), st.booleans()),
    fixed=st.booleans(),
    seed=SEEDS,
)
def test_batch_matmul(
    dtype: str,
    tmp_path: Path,
    batch: list[int],
    sizes: tuple[int, int, int],
    turned: tuple[bool, bool],
    fixed: bool,
    seed: int,
) -> None:
    rows, inner, columns = sizes
    left = tensor([1, *batch, *((inner, rows) if turned[0] else (rows, inner))], dtype, zero_point=6)
    right = tensor([1, *batch, *((columns, inner) if turned[1] else (inner, columns))], dtype, zero_point=-6)
    y = tensor([1, *batch, rows, columns], dtype, scale=0.5)
    if fixed:
        right = right.filled(sample(np.random.default_rng(seed), right))
    made = options("BatchMatMul", adjX=turned[0], adjY=turned[1])
    agrees(tmp_path, "BATCH_MATMUL", [left, right], y, made, seed=seed, version=3 if dtype == "int16" else 2)


@pytest.mark.parametrize(
    ("weights", "fields", "reason"),
    [
        ([3, 4], {"weightsFormat": 1}, "weights shuffled for one kind of processor"),
        ([3, 2, 2], {}, "weights of shape [3, 2, 2]; two dimensions are needed"),
        ([3, 5], {}, "an input of shape [1, 4] and weights for rows of 5 items"),
        ([3, 0], {}, "an input of shape [1, 4] and weights for rows of 0 items"),
        ([3, 4], {"fusedActivationFunction": 5}, "the activation function SIGN_BIT"),
        ([2, 4], {}, "its result is FLOAT [1, 2]; the file says FLOAT [1, 3]"),
    ],
)
def test_layer_that_cannot_be_says_why(weights: list[int], fields: dict[str, int], reason: str, tmp_path: Path) -> None:
    inputs = [tensor([1, 4]), constant(np.zeros(weights, np.float32))]
    found = refusal(tmp_path, "FULLY_CONNECTED", inputs, tensor([1, 3]), options("FullyConnected", **fields))
    assert found == f"FULLY_CONNECTED: {reason}"


def test_products_without_what_they_need_say_why(tmp_path: Path) -> None:
    x, y = tensor([1, 4]), tensor([1, 3])
    reason = refusal(tmp_path, "FULLY_CONNECTED", [x, constant(np.zeros((3, 4), np.float32))], y)
    assert reason == "FULLY_CONNECTED: it lacks the option weightsFormat"
    made = options("BatchMatMul", adjX=True)
    assert refusal(tmp_path, "BATCH_MATMUL", [tensor([1]), x], y, made) == "BATCH_MATMUL: a matrix of shape [1]"
