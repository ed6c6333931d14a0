"""Softmax and its logarithm, as the reference kernels of LiteRT compute them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.build import GraphBuilder
from synap_core.tensors import QuantParams
from tests.support.npu_program import compiled, conforms, quantized
from tests.support.single_operator import FEW, SEEDS, Tensor, options, sample

RESULTS = {"uint8": (1 / 256, 0), "int8": (1 / 256, -128), "int16": (1 / 32768, 0)}
LOGARITHMS = {"uint8": (16 / 256, 255), "int8": (16 / 256, 127)}


def numbers(rng: np.random.Generator, x: Tensor, *, narrow: bool) -> np.ndarray:
    """Items of the whole type, or near the zero point, where results are less alike."""
    if not narrow:
        return sample(rng, x)
    limits = np.iinfo(x.dtype)
    spread = (limits.max - limits.min) / 32
    return np.clip(rng.normal(x.zero_point, spread, x.shape), limits.min, limits.max).astype(x.dtype)


@pytest.mark.parametrize(("dtype", "units"), [("uint8", 1), ("int8", 1), ("int16", 0)])
@FEW
@given(items=st.integers(1, 400), exponent=st.floats(-10, 1), narrow=st.booleans(), seed=SEEDS)
def test_softmax_is_that_of_the_kernel(
    *, dtype: str, units: int, tmp_path: Path, items: int, exponent: float, narrow: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = quantized(rng, [1, 3, items], dtype, exponent - 8 * (dtype == "int16"))
    scale, zero_point = RESULTS[dtype]
    y = replace(x, scale=scale, zero_point=zero_point)
    array = numbers(rng, x, narrow=narrow)
    types = ["Softmax"] if dtype == "int16" else None
    conforms(tmp_path, "SOFTMAX", [x], y, [array], given=options("Softmax", beta=1.0), units=units, types=types)


@pytest.mark.parametrize("dtype", LOGARITHMS)
@FEW
@given(items=st.integers(1, 400), exponent=st.floats(-10, 0), narrow=st.booleans(), seed=SEEDS)
def test_logarithms_of_softmax_are_within_a_unit_of_the_kernel(
    *, dtype: str, tmp_path: Path, items: int, exponent: float, narrow: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = quantized(rng, [1, 3, items], dtype, exponent)
    scale, zero_point = LOGARITHMS[dtype]
    y = replace(x, scale=scale, zero_point=zero_point)
    array = numbers(rng, x, narrow=narrow)
    conforms(tmp_path, "LOG_SOFTMAX", [x], y, [array], given=options("LogSoftmax"), units=1, version=2)


def softmax(x: QuantParams, y: QuantParams, axis: int, shape: list[int]) -> ir.Model:
    build = GraphBuilder("one")
    value = build.input("x", ir.DataType.FLOAT, shape, quant=x)
    found = build.emit("Softmax", [value], {"axis": axis})
    return build.finish([build.name_value(found, "y", "y", y)])


def affine(scale: float) -> QuantParams:
    return QuantParams(dtype="int16", scheme="asymmetric_affine", scale=(scale,), zero_point=(0,))


def test_the_axis_of_a_softmax_of_int16_may_be_any(rng: np.random.Generator) -> None:
    array = rng.integers(-2000, 2000, (1, 5, 3, 4)).astype(np.int16)
    inner = compiled(softmax(affine(2**-9), affine(2**-15), -1, [1, 4, 3, 5]))
    outer = compiled(softmax(affine(2**-9), affine(2**-15), 1, [1, 5, 3, 4]))
    (expected,) = inner([np.ascontiguousarray(array.transpose(0, 3, 2, 1))])
    assert outer.types == ["Softmax"]
    np.testing.assert_array_equal(outer([array])[0], expected.transpose(0, 3, 2, 1))


def test_a_softmax_of_fixed_point_is_within_a_unit_of_real_numbers(rng: np.random.Generator) -> None:
    x, y = (QuantParams(dtype="int16", scheme="dynamic_fixed_point", fractional_length=bits) for bits in (9, 15))
    array = rng.integers(-32768, 32768, (4, 300)).astype(np.int16)
    (found,) = compiled(softmax(x, y, -1, [4, 300]))([array])
    powers = np.exp((array - array.max(axis=1, keepdims=True).astype(np.float64)) / 512)
    wanted = np.minimum(np.rint(powers / powers.sum(axis=1, keepdims=True) * 32768), 32767)
    assert np.abs(found - wanted).max() <= 1
