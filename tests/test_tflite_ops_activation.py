"""Activation functions of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.single_operator import (
    FEW,
    QUANTIZED,
    SEEDS,
    Tensor,
    agrees,
    agrees_with_fast_kernel,
    options,
    refusal,
    sample,
    tensor,
)

TYPES = ("float32", *QUANTIZED)


def result(shape: list[int], dtype: str, scale: float, zero_point: int) -> Tensor:
    """Result of a kernel that wants one quantization of it: that of int8, and the same range of another type."""
    if dtype == "int16":
        return Tensor(shape=shape, dtype=dtype, scale=2.0**-15)
    return tensor(shape, dtype, scale, zero_point)


CLAMPS = [(name, dtype) for name in ("RELU", "RELU6") for dtype in TYPES]
CLAMPS += [(name, dtype) for name in ("RELU_N1_TO_1", "RELU_0_TO_1") for dtype in TYPES if dtype != "int16"]


@pytest.mark.parametrize(("name", "dtype"), CLAMPS, ids=[" ".join(case) for case in CLAMPS])
def test_clamps(name: str, dtype: str, tmp_path: Path) -> None:
    x, y = tensor([1, 3, 400], dtype, 0.08, 20), tensor([1, 3, 400], dtype, 0.06, -30)
    # Quantized numbers are scaled with a fixed-point number.
    agrees(tmp_path, name, [x], y, units=1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("name", "scale", "zero_point"), [("LOGISTIC", 1 / 256, -128), ("TANH", 1 / 128, 0)])
def test_sigmoid_and_tangent(name: str, scale: float, zero_point: int, dtype: str, tmp_path: Path) -> None:
    x, y = tensor([1, 3000], dtype, 0.04, 8), result([1, 3000], dtype, scale, zero_point)
    # The int16 kernels interpolate in a table of 256 places.
    agrees(tmp_path, name, [x], y, units=2 if dtype == "int16" else 0, version=2)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_hard_swish(dtype: str, tmp_path: Path) -> None:
    x, y = tensor([1, 3000], dtype, 0.07, 11), tensor([1, 3000], dtype, 0.05, -100)
    # The kernel computes with 16 bits.
    agrees(tmp_path, "HARD_SWISH", [x], y, units=1)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_elu(dtype: str, tmp_path: Path) -> None:
    x, y = tensor([1, 300], dtype, 0.05, 30), tensor([1, 300], dtype, 0.04, -60)
    # The kernel looks into a table that is rounded once more.
    agrees_with_fast_kernel(tmp_path, "ELU", x, y, units=1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("approximate", [False, True], ids=["exact", "approximate"])
def test_gelu(approximate: bool, dtype: str, tmp_path: Path) -> None:
    x, y = tensor([1, 3000], dtype, 0.04, 15), tensor([1, 3000], dtype, 0.03, -90)
    made = options("Gelu", approximate=approximate)
    # The int16 kernel interpolates in a table.
    agrees(tmp_path, "GELU", [x], y, made, units=2 if dtype == "int16" else 0, relative=1e-6, version=2)


@pytest.mark.parametrize("dtype", TYPES)
@FEW
@given(alpha=st.floats(-1.5, 1.5, width=32), points=st.tuples(st.integers(-40, 40), st.integers(-40, 40)), seed=SEEDS)
def test_leaky_relu(dtype: str, tmp_path: Path, alpha: float, points: tuple[int, int], seed: int) -> None:
    x, y = tensor([1, 90], dtype, 0.05, points[0]), tensor([1, 90], dtype, 0.07, points[1])
    # Quantized numbers are scaled with a fixed-point number.
    agrees(tmp_path, "LEAKY_RELU", [x], y, options("LeakyRelu", alpha=alpha), seed=seed, units=1, version=2)


@pytest.mark.parametrize("fixed", [True, False], ids=["constant", "computed"])
@pytest.mark.parametrize("slopes", [[1, 1, 6], [1, 5, 1], [6], [1]], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])  # the int16 kernel gets negative numbers wrong
def test_prelu(dtype: str, slopes: list[int], fixed: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    x, y, alpha = tensor([1, 5, 6], dtype), tensor([1, 5, 6], dtype, 0.07, 9), tensor(slopes, dtype, 0.01, 3)
    if fixed or slopes[0] != 1:
        alpha = alpha.filled(sample(rng, alpha))
    # Products are scaled with a fixed-point number.
    agrees(tmp_path, "PRELU", [x, alpha], y, units=1)


@pytest.mark.parametrize("dtype", TYPES)
@FEW
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    beta=st.sampled_from([1.0, 0.5, 2.0, 0.1]),
    point=st.integers(-40, 40),
    seed=SEEDS,
)
def test_softmax(dtype: str, tmp_path: Path, shape: list[int], beta: float, point: int, seed: int) -> None:
    x, y = tensor([1, *shape], dtype, 0.05, point), result([1, *shape], dtype, 1 / 256, -128)
    # The int16 kernel takes exponentials and the reciprocal of their sum from tables: up to 14 of its 32768 units were
    # seen. The others have a fixed-point exponential.
    units = 16 if dtype == "int16" else 1
    agrees(tmp_path, "SOFTMAX", [x], y, options("Softmax", beta=beta), seed=seed, units=units, version=3)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@FEW
@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), point=st.integers(-40, 40), seed=SEEDS)
def test_log_softmax(dtype: str, tmp_path: Path, shape: list[int], point: int, seed: int) -> None:
    x, y = tensor([1, *shape], dtype, 0.05, point), tensor([1, *shape], dtype, 1 / 16, 127)
    agrees(tmp_path, "LOG_SOFTMAX", [x], y, seed=seed, units=0, version=2)


@pytest.mark.parametrize(
    ("name", "made", "lacks"),
    [
        ("SOFTMAX", None, "beta"),
        ("LEAKY_RELU", options("Softmax"), "alpha"),
        ("GELU", options("Pow"), "approximate"),
    ],
)
def test_function_without_its_options_says_what_it_lacks(name: str, made: Any, lacks: str, tmp_path: Path) -> None:
    x = tensor([1, 4])
    assert refusal(tmp_path, name, [x], x, made) == f"{name}: it lacks the option {lacks}"


def test_slopes_with_more_dimensions_than_the_input_are_refused(tmp_path: Path) -> None:
    x = tensor([1, 4])
    found = refusal(tmp_path, "PRELU", [x, replace(x, shape=[1, 1, 4])], x)
    assert found == "PRELU: slopes of shape [1, 1, 4] for an input of shape [1, 4]"
