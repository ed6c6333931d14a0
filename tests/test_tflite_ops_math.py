"""Functions of single items of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.canonical import imported, run
from tests.support.single_operator import Tensor, agrees, agrees_with_fast_kernel, refusal, sample, single, tensor

FLOATS = ("ABS", "NEG", "SIGN", "SQUARE", "EXP", "SIN", "COS", "FLOOR")


@pytest.mark.parametrize("name", FLOATS)
def test_function_of_floats(name: str, tmp_path: Path) -> None:
    x = tensor([1, 3, 300])
    agrees(tmp_path, name, [x], x)


@pytest.mark.parametrize("name", ["SQRT", "RSQRT", "LOG"])
def test_function_of_positive_floats(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    x = tensor([1, 3, 300])
    agrees(tmp_path, name, [x], x, arrays=[sample(rng, x, 1e-3, 50)])


@pytest.mark.parametrize("name", ["CEIL", "ROUND"])
def test_function_without_a_reference_kernel(name: str, tmp_path: Path) -> None:
    x = tensor([1, 3, 300])
    agrees_with_fast_kernel(tmp_path, name, x, x)


def test_halves_are_rounded_to_even_numbers(tmp_path: Path) -> None:
    x = tensor([1, 8])
    halves = np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 0.0]], np.float32)
    model, _ = imported(single("ROUND", [x], [x]), tmp_path)
    np.testing.assert_array_equal(run(model, [halves])[0], [[-2, -2, 0, 0, 2, 2, 4, 0]])


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("ABS", "int32"), ("NEG", "int32"), ("NEG", "int64"), ("SIGN", "int32"), ("ZEROS_LIKE", "int32")],
)
def test_function_of_integers(name: str, dtype: str, tmp_path: Path) -> None:
    x = tensor([1, 300], dtype)
    agrees(tmp_path, name, [x], x)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_zeros_do_not_depend_on_the_operand(dtype: str, tmp_path: Path) -> None:
    x = tensor([1, 2, 3], dtype)
    agrees(tmp_path, "ZEROS_LIKE", [x], x)
    numbers = np.full(x.shape, np.nan if dtype == "float32" else 5, dtype)
    agrees(tmp_path, "ZEROS_LIKE", [x], x, arrays=[numbers])


@pytest.mark.parametrize("name", ["ABS", "NEG", "SIGN"])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_narrow_integers_without_quantization_are_computed_as_wide_ones(name: str, dtype: str, tmp_path: Path) -> None:
    # LiteRT wants a quantization of such tensors, so NumPy says what their functions are.
    x = Tensor(shape=[1, 7], dtype=dtype)
    numbers = np.array([[-100, -2, -1, 0, 1, 2, 100]], dtype)
    model, _ = imported(single(name, [x], [x]), tmp_path)
    expected = {"ABS": np.abs, "NEG": np.negative, "SIGN": np.sign}[name](numbers)
    np.testing.assert_array_equal(run(model, [numbers])[0], expected)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize(("name", "scale"), [("ABS", 0.07), ("EXP", 0.4)])
def test_function_of_quantized_numbers(name: str, scale: float, dtype: str, tmp_path: Path) -> None:
    x, y = tensor([1, 2000], dtype, 0.03, 17), tensor([1, 2000], dtype, scale, -90)
    # The int16 kernel of EXP interpolates between 513 places of a table.
    agrees(tmp_path, name, [x], y, units=4 if (name, dtype) == ("EXP", "int16") else 1, version=2)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("name", ["SQRT", "RSQRT", "LOG"])
def test_function_of_positive_quantized_numbers(
    name: str, dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    lowest = -128 if dtype == "int8" else 0
    x, y = replace(tensor([1, 2000], dtype, 0.1), zero_point=lowest), tensor([1, 2000], dtype, 0.1)
    # The kernels look into tables; those of int16 have 513 places, which are too few where the function is steep.
    above = sample(rng, x, lowest + (4 if dtype == "int8" else 4000))
    agrees(tmp_path, name, [x], y, arrays=[above], units=1, version=2)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_logarithm_of_what_has_none_is_the_lowest_number(dtype: str, tmp_path: Path) -> None:
    x, y = tensor([1, 64], dtype, 0.1), tensor([1, 64], dtype, 0.05, 20)
    # The int16 kernel interpolates next to zero.
    numbers = np.linspace(np.iinfo(dtype).min, 0 if dtype == "int8" else -300, 64).reshape(1, -1)
    agrees(tmp_path, "LOG", [x], y, arrays=[numbers.astype(dtype)], version=2)


def test_function_without_an_operand_says_so(tmp_path: Path) -> None:
    x = tensor([1, 3])
    assert refusal(tmp_path, "RSQRT", [None, x], x) == "RSQRT: it has no operand 0"


@pytest.mark.parametrize("dtype", ["bool", "float64", "int32"])
def test_real_function_of_other_types_is_refused(dtype: str, tmp_path: Path) -> None:
    x = tensor([1, 3], dtype)
    found = refusal(tmp_path, "EXP", [x], x)
    assert found.startswith("EXP: operands of ")
    assert found.endswith("; they must be one of FLOAT")
