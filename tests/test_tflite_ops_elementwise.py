"""Arithmetic of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canonical import imported, run
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
)

ARITHMETIC = ("ADD", "SUB", "MUL", "DIV")
CASES = [
    *((name, dtype) for name in ARITHMETIC for dtype in ("float32", *QUANTIZED, "int32")),
    *((name, dtype) for name in ARITHMETIC[:3] for dtype in ("int64",)),
]
IDS = [" ".join(case) for case in CASES]

SHAPES = st.sampled_from(
    [([1, 2, 3, 5], [1, 2, 3, 5]), ([1, 4, 5], [5]), ([5], [1, 4, 5]), ([1, 3, 1, 4], [1, 1, 2, 4]), ([1, 6], [])]
)
"""Shapes of two operands that broadcast."""

POINTS = st.integers(-40, 40)


def nonzero(array: np.ndarray, zero_point: int) -> np.ndarray:
    """Divisors: the kernels refuse zeros."""
    return np.where(array == zero_point, np.asarray(zero_point + 1, array.dtype), array)


def operands(
    shapes: tuple[list[int], list[int]], dtype: str, seed: int, points: tuple[int, int] = (0, 0)
) -> tuple[list[Tensor], list[np.ndarray]]:
    """Two tensors with quantizations of their own, and divisors for the second; a scalar is a constant."""
    rng = np.random.default_rng(seed)
    a, b = tensor(shapes[0], dtype, 0.05, points[0]), tensor(shapes[1], dtype, 0.03, points[1])
    arrays = [sample(rng, a), nonzero(sample(rng, b), b.zero_point)]
    if shapes[1] and shapes[1][0] == 1:
        return [a, b], arrays
    return [a, b.filled(arrays[1])], arrays[:1]


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=IDS)
@FEW
@given(shapes=SHAPES, points=st.tuples(POINTS, POINTS, POINTS), activation=st.sampled_from(ACTIVATIONS), seed=SEEDS)
def test_arithmetic(
    *,
    name: str,
    dtype: str,
    tmp_path: Path,
    shapes: tuple[list[int], list[int]],
    points: tuple[int, int, int],
    activation: int,
    seed: int,
) -> None:
    inputs, arrays = operands(shapes, dtype, seed, points[:2])
    if name == "DIV" and dtype in QUANTIZED:
        # Of quotients far below a unit the kernel makes the lowest number instead of zero.
        point = inputs[0].zero_point
        arrays[0] = np.where(abs(arrays[0].astype(int) - point) < 8, arrays[0].dtype.type(point + 9), arrays[0])
    y = tensor(np.broadcast_shapes(*shapes), dtype, 0.1, points[2])
    made = options(name.title(), fusedActivationFunction=activation)
    # The kernels multiply with a fixed-point number and round halves up.
    agrees(tmp_path, name, inputs, y, made, arrays=arrays, units=1, version=2 if dtype in QUANTIZED else 1)


@pytest.mark.parametrize("name", ["ADD", "SUB"])
def test_scales_that_are_powers_of_two_are_scales_like_others(name: str, tmp_path: Path) -> None:
    a, b, y = (Tensor(shape=[1, 500], dtype="int16", scale=scale) for scale in (2**-12, 2**-13, 2**-12))
    for flag in (True, False):
        # The kernel of such scales shifts the operand of the finer one first and loses a bit of it.
        agrees(tmp_path, name, [a, b], y, options(name.title(), potScaleInt16=flag), units=1, version=3)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("count", [2, 5])
def test_sum_of_many(count: int, dtype: str, tmp_path: Path) -> None:
    agrees(tmp_path, "ADD_N", [tensor([1, 3, 4], dtype)] * count, tensor([1, 3, 4], dtype), options("AddN"))


LIMITS = [(name, dtype) for name in ("MINIMUM", "MAXIMUM") for dtype in ("float32", *QUANTIZED, "int32", "int64")]


@pytest.mark.parametrize(("name", "dtype"), LIMITS, ids=[" ".join(case) for case in LIMITS])
@FEW
@given(shapes=SHAPES, seed=SEEDS)
def test_extremes(name: str, dtype: str, tmp_path: Path, shapes: tuple[list[int], list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    # The kernel compares what is stored, so all three tensors have one quantization.
    a, b, y = (tensor(shape, dtype, zero_point=4) for shape in (*shapes, np.broadcast_shapes(*shapes)))
    if not b.shape or b.shape[0] != 1:
        b = b.filled(sample(rng, b))
    agrees(tmp_path, name, [a, b], y, options("MaximumMinimum"), seed=seed, units=0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_narrow_integers_without_quantization_are_computed_as_wide_ones(dtype: str, tmp_path: Path) -> None:
    plain = Tensor(shape=[1, 200], dtype=dtype)
    agrees(tmp_path, "MAXIMUM", [plain, plain], plain, options("MaximumMinimum"))


@pytest.mark.parametrize("dtype", ["float32", "int8", "int32"])
@FEW
@given(shapes=SHAPES, points=st.tuples(POINTS, POINTS), seed=SEEDS)
def test_squared_difference(
    dtype: str, tmp_path: Path, shapes: tuple[list[int], list[int]], points: tuple[int, int], seed: int
) -> None:
    inputs, arrays = operands(shapes, dtype, seed, points)
    y = tensor(np.broadcast_shapes(*shapes), dtype, 0.5, -100)
    # Squares are scaled with a fixed-point number.
    agrees(tmp_path, "SQUARED_DIFFERENCE", inputs, y, options("SquaredDifference"), arrays=arrays, units=1, version=2)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_power(dtype: str, tmp_path: Path, rng: np.random.Generator) -> None:
    x = tensor([1, 2, 40], dtype)
    arrays = [rng.integers(1, 9, x.shape), rng.integers(0, 7, x.shape)]
    agrees(tmp_path, "POW", [x, x], x, options("Pow"), arrays=[array.astype(dtype) for array in arrays])


FLOORS = [
    *(("FLOOR_DIV", dtype) for dtype in ("float32", "int8", "int16", "int32")),
    *(("FLOOR_MOD", dtype) for dtype in ("float32", "int8", "int16", "int32", "int64")),
]


@pytest.mark.parametrize(("name", "dtype"), FLOORS, ids=[" ".join(case) for case in FLOORS])
@FEW
@given(shapes=SHAPES, seed=SEEDS)
def test_division_rounded_down(
    name: str, dtype: str, tmp_path: Path, shapes: tuple[list[int], list[int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b, y = (Tensor(shape=shape, dtype=dtype) for shape in (*shapes, np.broadcast_shapes(*shapes)))
    small = nonzero(sample(rng, b, -9, 9), 0)
    inputs = [a, b] if shapes[1][:1] == [1] else [a, b.filled(small)]
    arrays = [sample(rng, a), small][: 2 if inputs[1].data is None else 1]
    agrees(tmp_path, name, inputs, y, options(name.title().replace("_", "")), arrays=arrays, version=2)


@pytest.mark.parametrize("name", ["FLOOR_DIV", "FLOOR_MOD"])
def test_division_rounded_down_of_the_limits_of_int32(name: str, tmp_path: Path) -> None:
    lowest, highest = -(2**31), 2**31 - 1
    x = np.array([[lowest, lowest, highest, highest, lowest, -1, 0, 7, -7, 7, -7]], np.int32)
    y = np.array([[3, highest, -2, lowest, 1, highest, -5, 7, 7, -7, -2]], np.int32)
    t = tensor(x.shape, "int32")
    content = single(name, [t, t], [t], options(name.title().replace("_", "")))
    model, _ = imported(content, tmp_path)
    expected = x.astype(object) // y if name == "FLOOR_DIV" else x.astype(object) % y
    np.testing.assert_array_equal(run(model, [x, y])[0], expected.astype(np.int32))


def test_angle_of_points_in_all_quarters_and_on_the_axes(tmp_path: Path) -> None:
    grid = np.linspace(-2, 2, 9, dtype=np.float32)
    y, x = (plane.reshape(1, -1) for plane in np.meshgrid(grid, grid))
    t = tensor(x.shape)
    agrees(tmp_path, "ATAN2", [t, t], t, arrays=[y, x])


WORDS = ("int8", "uint8", "int16", "uint16", "int32", "uint32")


@pytest.mark.parametrize("dtype", WORDS)
def test_exclusive_or_of_bits(dtype: str, tmp_path: Path) -> None:
    x = Tensor(shape=[1, 3, 50], dtype=dtype)
    agrees(tmp_path, "BITWISE_XOR", [x, Tensor(shape=[1, 1, 50], dtype=dtype)], x, options("BitwiseXor"))


@pytest.mark.parametrize("dtype", WORDS)
def test_shift_of_bits_by_any_number_of_places(dtype: str, tmp_path: Path, rng: np.random.Generator) -> None:
    x = Tensor(shape=[1, 300], dtype=dtype)
    limits = np.iinfo(dtype)
    numbers = rng.integers(limits.min, limits.max, x.shape, dtype, endpoint=True)
    places = np.resize(np.array([0, 1, 2, 5, 7, 8, 15, 31, 40, limits.min, limits.max], np.int64), x.shape)
    agrees(tmp_path, "RIGHT_SHIFT", [x, x], x, options("RightShift"), arrays=[numbers, places.astype(dtype)])


@pytest.mark.parametrize(
    ("name", "made", "reason"),
    [
        ("FLOOR_DIV", options("FloorDiv"), "quantized operands, of which the kernel takes the integers as they are"),
        (
            "BITWISE_XOR",
            options("BitwiseXor"),
            "operands of FLOAT; they must be one of INT8, UINT8, INT16, UINT16, INT32",
        ),
        ("ADD", None, "it lacks the option fusedActivationFunction"),
        ("MUL", options("Mul", fusedActivationFunction=5), "the activation function SIGN_BIT"),
        ("SUB", options("Sub", fusedActivationFunction=-1), "the activation function -1"),
    ],
)
def test_arithmetic_that_cannot_be_says_why(name: str, made: Any, reason: str, tmp_path: Path) -> None:
    x = tensor([1, 4], "int8")
    assert refusal(tmp_path, name, [x, x], x, made).startswith(f"{name}: {reason}")


def test_integers_with_an_unknown_activation_say_why(tmp_path: Path) -> None:
    x = tensor([1, 4], "int32")
    reason = refusal(tmp_path, "ADD", [x, constant(np.ones(4, np.int32))], x, options("Add", fusedActivationFunction=5))
    assert reason == "ADD: the activation function SIGN_BIT"


@pytest.mark.parametrize(
    "name", ["ADD", "MAXIMUM", "POW", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD", "ATAN2", "ADD_N"]
)
def test_operands_of_different_types_are_refused(name: str, tmp_path: Path) -> None:
    x = tensor([1, 4])
    reason = refusal(tmp_path, name, [x, tensor([1, 4], "int32")], x, options("Add"))
    assert "operands of FLOAT and INT32; they must be one of FLOAT" in reason


def test_sum_of_nothing_is_refused(tmp_path: Path) -> None:
    x = tensor([1, 4])
    assert refusal(tmp_path, "ADD_N", [], x, options("AddN")) == "ADD_N: it has no operand 0"


@pytest.mark.parametrize(
    ("name", "dtype"), [("ADD", "bool"), ("POW", "float16"), ("RIGHT_SHIFT", "int64"), ("ATAN2", "int32")]
)
def test_types_without_operators_are_refused(name: str, dtype: str, tmp_path: Path) -> None:
    x = Tensor(shape=[1, 4], dtype=dtype)
    assert "they must be one of" in refusal(tmp_path, name, [x, x], x, options("Add"))
