"""Sums, products and extremes of two tensors of integers, as the reference kernels of LiteRT compute them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.build import GraphBuilder
from synap_core.graph.types import TensorType
from synap_core.tensors import QuantParams
from tests.support.npu_program import all_pairs, compiled, conforms, only, quantized
from tests.support.single_operator import ACTIVATIONS, FEW, QUANTIZED, SEEDS, options, sample

NAMES = {"ADD": "Add", "SUB": "Subtract", "MUL": "Multiply"}
SUMS = ("ADD", "SUB")
CASES = [(name, dtype) for name in NAMES for dtype in QUANTIZED]
IDS = [" ".join(case) for case in CASES]

SHAPES = st.sampled_from(
    [([1, 2, 3, 5], [1, 2, 3, 5]), ([1, 4, 5], [5]), ([5], [1, 4, 5]), ([1, 3, 1, 4], [1, 1, 2, 4]), ([1, 6], [])]
)
"""Shapes of two operands that broadcast."""

EXPONENTS = st.floats(-9, 0)
"""Of the step of the first operand, as a power of two."""


def given_options(name: str, activation: int = 0) -> object:
    """Options without the kernel that shifts int16 operands: it rounds one operand by itself."""
    flag = {} if name == "MUL" else {"potScaleInt16": False}
    return options(name.title(), fusedActivationFunction=activation, **flag)


def operand_steps(name: str, first: float, ratio: float, scale: float) -> tuple[float, float]:
    """Exponents of the steps of the second operand and of the result; ``scale`` from 0 to 1 spans the useful ones."""
    if name == "MUL":
        return -ratio - 4, first - ratio - 4 + scale * 8
    return first + ratio, first - 2 + scale * 7


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=IDS)
@FEW
@given(exponent=EXPONENTS, ratio=st.floats(-4, 4), scale=st.floats(0, 1), seed=SEEDS)
def test_every_pair_gives_the_integer_of_the_kernel(
    *, name: str, dtype: str, tmp_path: Path, exponent: float, ratio: float, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    second, result = operand_steps(name, exponent, ratio, scale)
    if name == "MUL" and dtype == "int16":
        result += 8
    a, b, y = (quantized(rng, [1, 65536], dtype, step) for step in (exponent, second, result))
    arrays = [sample(rng, a), sample(rng, b)] if dtype == "int16" else all_pairs(dtype)
    conforms(tmp_path, name, [a, b], y, arrays, given=given_options(name), version=2, types=[NAMES[name]])


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=IDS)
@FEW
@given(shapes=SHAPES, exponent=EXPONENTS, ratio=st.floats(-4, 4), seed=SEEDS)
def test_operands_broadcast_and_may_be_constant(
    *,
    name: str,
    dtype: str,
    tmp_path: Path,
    shapes: tuple[list[int], list[int]],
    exponent: float,
    ratio: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    second, result = operand_steps(name, exponent, ratio, 0.8)
    a, b = quantized(rng, shapes[0], dtype, exponent), quantized(rng, shapes[1], dtype, second)
    y = quantized(rng, np.broadcast_shapes(*shapes), dtype, result + 8 * (name == "MUL" and dtype == "int16"))
    arrays = [sample(rng, a), sample(rng, b)]
    if len(shapes[1]) < 2:
        b = b.filled(arrays.pop())
    conforms(tmp_path, name, [a, b], y, arrays, given=given_options(name), version=2, types=[NAMES[name]])


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("name", SUMS)
@FEW
@given(activation=st.sampled_from(ACTIVATIONS), exponent=EXPONENTS, ratio=st.floats(-2, 2), seed=SEEDS)
def test_a_sum_and_the_activation_behind_it_are_one_operation(
    *, name: str, dtype: str, tmp_path: Path, activation: int, exponent: float, ratio: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    exponent -= 8 * (dtype == "int16")
    a, b, y = (quantized(rng, [1, 65536], dtype, step) for step in (exponent, exponent + ratio, exponent + 1))
    arrays = [sample(rng, a), sample(rng, b)] if dtype == "int16" else all_pairs(dtype)
    made = given_options(name, activation)
    conforms(tmp_path, name, [a, b], y, arrays, given=made, version=2, types=[NAMES[name]])


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("name", SUMS)
def test_integers_of_one_step_are_added_without_rounding(
    name: str, dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    x = quantized(rng, [1, 65536], dtype, -5.3)
    arrays = [sample(rng, x), sample(rng, x)] if dtype == "int16" else all_pairs(dtype)
    conforms(tmp_path, name, [x, x], x, arrays, given=given_options(name), version=2, types=[NAMES[name]])


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("shift", [-3, -1, 1, 4])
def test_ties_of_steps_that_are_powers_of_two_go_as_in_the_kernel(
    name: str, dtype: str, shift: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    a = quantized(rng, [1, 65536], dtype, -6)
    b, y = (replace(quantized(rng, [1, 65536], dtype, -6), scale=scale) for scale in (2.0 ** (shift - 6), 2.0**-5))
    arrays = [sample(rng, a), sample(rng, b)] if dtype == "int16" else all_pairs(dtype)
    conforms(tmp_path, name, [a, b], y, arrays, given=given_options(name), version=2, types=[NAMES[name]])


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("name", ["MAXIMUM", "MINIMUM"])
@FEW
@given(shapes=SHAPES, seed=SEEDS)
def test_extremes_of_integers_of_one_step_are_exact(
    *, name: str, dtype: str, tmp_path: Path, shapes: tuple[list[int], list[int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a = quantized(rng, shapes[0], dtype, -4)
    b, y = replace(a, shape=shapes[1]), replace(a, shape=np.broadcast_shapes(*shapes))
    arrays = [sample(rng, a), sample(rng, b)]
    if len(shapes[1]) < 2:
        b = b.filled(arrays.pop())
    made = options("MaximumMinimum")
    # With a number this is a cut, which the importer writes as one.
    types = [name.title()] if shapes[1] else None
    conforms(tmp_path, name, [a, b], y, arrays, given=made, version=2, types=types)


# Without LiteRT, which has no such kernels


def affine(dtype: str, scale: float, zero_point: int = 0) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="asymmetric_affine", scale=(scale,), zero_point=(zero_point,))


def fixed_point(dtype: str, bits: int) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="dynamic_fixed_point", fractional_length=bits)


def binary(op_type: str, quants: tuple[QuantParams, QuantParams, QuantParams], shape: list[int]) -> ir.Model:
    """A graph of one node with two inputs."""
    build = GraphBuilder("one")
    inputs = [build.input(f"x{i}", ir.DataType.FLOAT, shape, quant=quant) for i, quant in enumerate(quants[:2])]
    y = build.emit(op_type, inputs, result=TensorType(ir.DataType.FLOAT, tuple(shape)))
    return build.finish([build.name_value(y, "y", "y", quants[2])])


def steps_of(quant: QuantParams) -> float:
    return quant.scale[0] if quant.scale else 2.0 ** -(quant.fractional_length or 0)


def real_result(
    op_type: str, arrays: list[np.ndarray], quants: tuple[QuantParams, QuantParams, QuantParams]
) -> np.ndarray:
    """The result in real numbers, rounded to a step of the output and cut."""
    compute = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum}[op_type]
    reals = [
        (array.astype(np.float64) - (quant.zero_point or (0,))[0]) * steps_of(quant)
        for array, quant in zip(arrays, quants, strict=False)
    ]
    limits = np.iinfo(quants[2].dtype)
    steps = compute(*reals) / steps_of(quants[2]) + (quants[2].zero_point or (0,))[0]
    return np.clip(np.rint(steps), limits.min, limits.max)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Max", "Min"])
@FEW
@given(
    kinds=st.tuples(*[st.sampled_from(["int8", "int16"])] * 3),
    bits=st.tuples(*[st.integers(-2, 14)] * 3),
    seed=SEEDS,
)
def test_fixed_point_is_within_a_unit_of_real_numbers(
    *, op_type: str, kinds: tuple[str, str, str], bits: tuple[int, int, int], seed: int
) -> None:
    first, second, result = (fixed_point(kind, bit) for kind, bit in zip(kinds, bits, strict=True))
    quants = (first, second, result)
    rng = np.random.default_rng(seed)
    limits = [np.iinfo(kind) for kind in kinds[:2]]
    arrays = [
        rng.integers(limit.min, limit.max + 1, (1, 4000)).astype(kind)
        for limit, kind in zip(limits, kinds, strict=False)
    ]
    arrays[0][0, ::3] //= 64
    arrays[1][0, ::3] //= 64
    (found,) = compiled(binary(op_type, quants, [1, 4000]))(arrays)
    assert np.abs(found - real_result(op_type, arrays, quants)).max() <= 1


def test_a_product_may_have_another_type_than_its_factors(rng: np.random.Generator) -> None:
    quants = (affine("int16", 2**-15), affine("int16", 2**-15), affine("int8", 0.0078, -1))
    program = compiled(binary("Mul", quants, [1, 65536]))
    arrays = [rng.integers(-32768, 32768, (1, 65536)).astype(np.int16) for _ in range(2)]
    (found,) = program(arrays)
    assert program.types == ["Multiply"]
    assert found.dtype == np.int8
    assert np.abs(found - real_result("Mul", arrays, quants)).max() <= 1
    attributes = only(program).form.attributes
    assert [attributes["low"], attributes["high"]] == [-128, 127]


def test_extremes_of_different_steps_are_rescaled_first() -> None:
    quants = (affine("uint8", 0.03, 100), affine("uint8", 0.05, 30), affine("uint8", 0.04, 77))
    program = compiled(binary("Max", quants, [1, 65536]))
    arrays = list(all_pairs("uint8"))
    assert program.types == ["Maximum"]
    assert np.abs(program(arrays)[0] - real_result("Max", arrays, quants)).max() <= 1


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_a_sum_too_coarse_for_its_result_is_computed_in_real_numbers(dtype: str, rng: np.random.Generator) -> None:
    coarse = 2.0 ** (18 if dtype == "int8" else 13)
    quants = (affine(dtype, 1.0), affine(dtype, coarse), affine(dtype, 1.0))
    program = compiled(binary("Add", quants, [1, 500]))
    arrays = [rng.integers(-128, 128, (1, 500)).astype(dtype) for _ in range(2)]
    assert program.types == ["(Add)"]
    assert np.array_equal(program(arrays)[0], real_result("Add", arrays, quants))


def test_a_product_whose_multiplier_overflows_is_computed_in_real_numbers() -> None:
    quants = (affine("int16", 1.0), affine("int16", 1.0), affine("int16", 0.25))
    assert compiled(binary("Mul", quants, [1, 5])).types == ["(Mul)"]


def test_the_square_of_a_tensor_reads_it_twice() -> None:
    build = GraphBuilder("square")
    quant = affine("int8", 0.02, 5)
    x = build.input("x", ir.DataType.FLOAT, [1, 256], quant=quant)
    y = build.name_value(build.emit("Mul", [x, x]), "y", "y", affine("int8", 0.05, -128))
    program = compiled(build.finish([y]))
    array = np.arange(-128, 128).astype(np.int8)[None]
    assert program.types == ["Multiply"]
    expected = real_result("Mul", [array, array], (quant, quant, affine("int8", 0.05, -128)))
    assert np.abs(program([array])[0] - expected).max() <= 1
