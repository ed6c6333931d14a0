"""Layers that the importer writes out in several nodes, converted as a whole: each is one operation of the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canonical import Reference
from tests.support.npu_files import programs, session
from tests.support.npu_program import all_pairs, quantized
from tests.support.single_operator import FEW, QUANTIZED, SEEDS, Tensor, constant, options, sample, single

ACTIVATIONS = (1, 2, 3)
"""Fused activation functions that cut: RELU, RELU_N1_TO_1, RELU6."""

MODES = {"asymmetric": {}, "align corners": {"alignCorners": True}, "half pixel": {"halfPixelCenters": True}}

MOVEMENTS = ("Permute", "Reshape")
"""Operations around that of a layer."""


def operand(rng: np.random.Generator, shape: Sequence[int], dtype: str, exponent: float = -4) -> Tensor:
    """A tensor with any parameters that the unit takes: powers of two for int16."""
    return quantized(rng, shape, dtype, round(exponent) if dtype == "int16" else exponent)


def converted(
    folder: Path,
    name: str,
    inputs: Sequence[Tensor],
    output: Tensor,
    arrays: Sequence[np.ndarray],
    given: Any,
    *,
    units: int = 0,
    version: int = 1,
    where: np.ndarray | bool = True,
) -> list[str]:
    """Convert a model of one operator, run its program, and compare with the reference kernel.

    Args:
        folder: For the file.
        name: The operator.
        inputs: Its operands.
        output: Its result.
        arrays: Items of the operands that are not constant.
        given: Options of the schema.
        units: Steps by which results may differ.
        version: Of the operator.
        where: Items to compare; they broadcast.

    Returns:
        The operators of the program, but for movements.
    """
    content = single(name, inputs, [output], given, version)
    path = folder / "model.tflite"
    path.write_bytes(content)
    (made,) = programs(path)
    program = session(made)
    names = [value.name for value in program.get_inputs()]
    (found,) = program.run(None, dict(zip(names, arrays, strict=True)))
    (expected,) = Reference(content)(arrays)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.max(np.abs(found.astype(np.int64) - expected), initial=0, where=where) <= units
    types = [node.op_type for node in onnx.load_from_string(made).graph.node]
    return [word for word in types if word not in MOVEMENTS]


@pytest.mark.parametrize("mode", MODES.values(), ids=list(MODES))
@pytest.mark.parametrize("dtype", QUANTIZED)
@FEW
@given(before=st.tuples(*[st.integers(1, 13)] * 2), after=st.tuples(*[st.integers(1, 13)] * 2), seed=SEEDS)
def test_interpolated_images_are_those_of_the_kernel(
    *, mode: dict[str, bool], dtype: str, tmp_path: Path, before: tuple[int, int], after: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = operand(rng, [1, *before, 3], dtype)
    y = replace(x, shape=[1, *after, 3])
    inputs = [x, constant(np.asarray(after, np.int32))]
    given_options = options("ResizeBilinear", **mode)
    types = converted(tmp_path, "RESIZE_BILINEAR", inputs, y, [sample(rng, x)], given_options, version=3)
    assert types == ["Resize"] or before == after


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", QUANTIZED)
@FEW
@given(exponent=st.floats(-7, -2), seed=SEEDS)
def test_products_that_are_cut_are_those_of_the_kernel(
    *, dtype: str, activation: int, tmp_path: Path, exponent: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    low = 8 * (dtype == "int16")
    a, b = operand(rng, [1, 65536], dtype, exponent - low), operand(rng, [1, 65536], dtype, -4 - low)
    y = operand(rng, [1, 65536], dtype, exponent - low)
    arrays = [sample(rng, a), sample(rng, b)] if dtype == "int16" else all_pairs(dtype)
    given_options = options("Mul", fusedActivationFunction=activation)
    assert converted(tmp_path, "MUL", [a, b], y, arrays, given_options, version=2) == ["Multiply"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@FEW
@given(exponent=st.floats(-7, -2), seed=SEEDS)
def test_quotients_that_are_cut_are_within_a_unit_of_the_kernel(
    *, activation: int, tmp_path: Path, exponent: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b, y = (operand(rng, [1, 65536], "uint8", power) for power in (exponent, -4, exponent))
    one, other = all_pairs("uint8")
    other = np.where(other == b.zero_point, b.zero_point ^ 1, other).astype(np.uint8)
    # The kernel shifts by more bits than a number has where a quotient is far below a step: it gives any number.
    dividend, divisor = one.astype(int) - a.zero_point, other.astype(int) - b.zero_point
    steps = np.abs(dividend / divisor) * np.asarray(a.scale) / (np.asarray(b.scale) * np.asarray(y.scale))
    clear = (steps >= 0.5) | (dividend == 0)
    given_options = options("Div", fusedActivationFunction=activation)
    types = converted(tmp_path, "DIV", [a, b], y, [one, other], given_options, units=1, where=clear)
    assert types == ["Divide"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", QUANTIZED)
@FEW
@given(exponent=st.floats(-7, -2), kernel=st.integers(1, 5), seed=SEEDS)
def test_means_that_are_cut_are_those_of_the_kernel(
    *, dtype: str, activation: int, tmp_path: Path, exponent: float, kernel: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = operand(rng, [1, 6, 8, 3], dtype, exponent - 8 * (dtype == "int16"))
    y = replace(x, shape=[1, 7 - kernel, 9 - kernel, 3])
    window = {"filterWidth": kernel, "filterHeight": kernel, "strideW": 1, "strideH": 1, "padding": 1}
    given_options = options("Pool2D", fusedActivationFunction=activation, **window)
    assert converted(tmp_path, "AVERAGE_POOL_2D", [x], y, [sample(rng, x)], given_options, version=2) == ["Pool"]


@pytest.mark.parametrize(("dtype", "units"), [("uint8", 1), ("int8", 1), ("int16", 0)])
@FEW
@given(items=st.integers(1, 400), exponent=st.floats(-10, 1), beta=st.floats(0.01, 30), seed=SEEDS)
def test_softmax_with_a_factor_is_that_of_the_kernel(
    *, dtype: str, units: int, tmp_path: Path, items: int, exponent: float, beta: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = operand(rng, [1, 3, items], dtype, exponent - 8 * (dtype == "int16"))
    scale, zero_point = {"uint8": (1 / 256, 0), "int8": (1 / 256, -128), "int16": (1 / 32768, 0)}[dtype]
    y = replace(x, scale=scale, zero_point=zero_point)
    given_options = options("Softmax", beta=beta)
    assert converted(tmp_path, "SOFTMAX", [x], y, [sample(rng, x)], given_options, units=units) == ["Softmax"]
