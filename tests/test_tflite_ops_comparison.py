"""Comparisons and logic of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from tests.support.canonical import imported, run
from tests.support.single_operator import (
    FEW,
    QUANTIZED,
    SEEDS,
    Tensor,
    agrees,
    options,
    refusal,
    sample,
    single,
    tensor,
)

NAMES = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
CASES = [
    *((name, dtype) for name in NAMES for dtype in ("float32", "int32", "int64", *QUANTIZED)),
    *((name, "bool") for name in NAMES[:2]),
]


def kind(name: str) -> str:
    return name.title().replace("_", "")


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=[" ".join(case) for case in CASES])
@FEW
@given(seed=SEEDS)
def test_comparison(name: str, dtype: str, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # The kernels compare in steps of 1/256, hence a larger scale for int16.
    scale = 5.0 if dtype == "int16" else 0.05
    a, b = tensor([1, 6, 20], dtype, scale, 3), tensor([1, 1, 20], dtype, scale, 3)
    # Few different numbers, so that many are equal.
    arrays = [sample(rng, one) if dtype == "bool" else sample(rng, one, 0, 4) for one in (a, b)]
    if dtype == "float32":
        arrays = [np.rint(array) for array in arrays]
    agrees(tmp_path, name, [a, b], tensor([1, 6, 20], "bool"), options(kind(name)), arrays=arrays)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_tensors_of_different_quantization_are_compared_as_real_numbers(name: str, dtype: str, tmp_path: Path) -> None:
    # Both scales are powers of two, so that equal numbers are equal in the kernel, too.
    a, b = tensor([1, 400], dtype, 0.25, 10), tensor([1, 400], dtype, 0.5, -20)
    agrees(tmp_path, name, [a, b], tensor([1, 400], "bool"), options(kind(name)), version=2)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("name", ["EQUAL", "NOT_EQUAL"])
def test_narrow_integers_without_quantization_are_compared(
    name: str, dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    x = Tensor(shape=[1, 300], dtype=dtype)
    a, b = (sample(rng, x, 0, 5) for _ in range(2))
    # The kernel takes them for quantized ones and aborts the process for want of a scale.
    model, _ = imported(single(name, [x, x], [tensor([1, 300], "bool")], options(kind(name))), tmp_path)
    np.testing.assert_array_equal(run(model, [a, b])[0], (a == b) if name == "EQUAL" else (a != b))


@pytest.mark.parametrize("name", ["LOGICAL_AND", "LOGICAL_OR"])
@pytest.mark.parametrize("shape", [[1, 3, 8], [1, 1, 8]], ids=str)
def test_logic_of_two(name: str, shape: list[int], tmp_path: Path) -> None:
    x = tensor([1, 3, 8], "bool")
    agrees(tmp_path, name, [x, tensor(shape, "bool")], x, options(kind(name)))


def test_opposite(tmp_path: Path) -> None:
    x = tensor([1, 30], "bool")
    agrees(tmp_path, "LOGICAL_NOT", [x], x, options("LogicalNot"))


@pytest.mark.parametrize(("name", "dtype"), [("LESS", "bool"), ("LOGICAL_OR", "int32"), ("LOGICAL_NOT", "float32")])
def test_operands_of_other_types_are_refused(name: str, dtype: str, tmp_path: Path) -> None:
    x = tensor([1, 4], dtype)
    reason = refusal(tmp_path, name, [x] * (1 if name == "LOGICAL_NOT" else 2), tensor([1, 4], "bool"))
    assert reason.startswith(f"{name}: operands of ")


@pytest.mark.parametrize("name", [*NAMES, "LOGICAL_AND"])
def test_comparison_without_a_second_operand_says_so(name: str, tmp_path: Path) -> None:
    x = tensor([1, 4], "bool")
    assert refusal(tmp_path, name, [x], x, options(kind(name))) == f"{name}: it has no operand 1"
