"""Conversions of quantized tensors, and activations that only cut, as the reference kernels of LiteRT compute them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.build import GraphBuilder
from synap_core.tensors import QuantParams
from tests.support.npu_program import all_integers, compiled, conforms, quantized
from tests.support.single_operator import FEW, QUANTIZED, SEEDS, Tensor

EXPONENTS = st.floats(-9, 1)
RATIOS = st.one_of(st.floats(-6, 6), st.integers(-3, 3).map(float))
"""Of two steps, as a power of two: whole ones make ties."""

PAIRS = [(one, other) for one in QUANTIZED for other in QUANTIZED if (one, other) != ("int16", "uint8")]
"""Types that QUANTIZE converts."""


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=[" ".join(pair) for pair in PAIRS])
@FEW
@given(exponent=EXPONENTS, ratio=RATIOS, seed=SEEDS)
def test_every_integer_is_rescaled_as_by_the_kernel(
    *, source: str, target: str, tmp_path: Path, exponent: float, ratio: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = all_integers(source)
    x, y = quantized(rng, array.shape, source, exponent), quantized(rng, array.shape, target, exponent + ratio)
    same = (x.dtype, x.scale, x.zero_point) == (y.dtype, y.scale, y.zero_point)
    conforms(tmp_path, "QUANTIZE", [x], y, [array], types=None if same else ["Convert"])


@pytest.mark.parametrize("dtype", QUANTIZED)
@FEW
@given(exponent=EXPONENTS, seed=SEEDS)
def test_real_numbers_become_the_integers_of_the_kernel(
    *, dtype: str, tmp_path: Path, exponent: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y = quantized(rng, [1, 4000], dtype, exponent - 8 * (dtype == "int16"))
    assert isinstance(y.scale, float)
    step = np.float32(y.scale)
    array = rng.normal(0, 100 * (256 if dtype == "int16" else 1), (1, 4000)).astype(np.float32) * step
    halves = (rng.integers(-200, 200, 1000) + np.float32(0.5)).astype(np.float32) * step
    array[0, :1000] = halves
    array[0, 1000:2000] = np.nextafter(halves, np.float32(0))
    conforms(tmp_path, "QUANTIZE", [Tensor(shape=[1, 4000])], y, [array], types=["Convert"])


@pytest.mark.parametrize("dtype", QUANTIZED)
@FEW
@given(exponent=EXPONENTS, seed=SEEDS)
def test_integers_become_the_real_numbers_of_the_kernel(
    *, dtype: str, tmp_path: Path, exponent: float, seed: int
) -> None:
    array = all_integers(dtype)
    x = quantized(np.random.default_rng(seed), array.shape, dtype, exponent)
    conforms(tmp_path, "DEQUANTIZE", [x], Tensor(shape=array.shape), [array], types=["Convert"], version=2)


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("name", ["RELU", "RELU6", "RELU_N1_TO_1"])
@FEW
@given(exponent=EXPONENTS, ratio=RATIOS.map(lambda ratio: ratio / 2), seed=SEEDS)
def test_a_cut_rescales_every_integer_as_the_kernel(
    *, name: str, dtype: str, tmp_path: Path, exponent: float, ratio: float, seed: int
) -> None:
    if (name, dtype) == ("RELU_N1_TO_1", "int16"):
        return  # LiteRT has no kernel
    rng = np.random.default_rng(seed)
    array = all_integers(dtype)
    x, y = quantized(rng, array.shape, dtype, exponent), quantized(rng, array.shape, dtype, exponent + ratio)
    conforms(tmp_path, name, [x], y, [array], types=["Relu"])


def identity(x: QuantParams | None, y: QuantParams | None, op_type: str = "Identity") -> ir.Model:
    build = GraphBuilder("one")
    value = build.input("x", ir.DataType.FLOAT, [1, 256], quant=x)
    return build.finish([build.name_value(build.emit(op_type, [value]), "y", "y", y)])


def affine(dtype: str, scale: float, zero_point: int = 0) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="asymmetric_affine", scale=(scale,), zero_point=(zero_point,))


HALF = QuantParams(dtype="float16", scheme="float16")
INT8 = affine("int8", 0.1, 3)


def test_half_floats_come_from_integers_and_become_integers() -> None:
    array = all_integers("int8")
    there, back = compiled(identity(INT8, HALF)), compiled(identity(HALF, INT8))
    (halves,) = there([array])
    assert (there.types, back.types) == (["Convert"], ["Convert"])
    real = (array.astype(np.float32) - 3) * np.float32(0.1)
    np.testing.assert_array_equal(halves, real.astype(np.float16))
    np.testing.assert_array_equal(back([halves])[0], array)


def test_half_floats_are_rounded_floats(rng: np.random.Generator) -> None:
    array = rng.normal(size=(1, 256)).astype(np.float32)
    there, back = compiled(identity(None, HALF)), compiled(identity(HALF, None))
    (halves,) = there([array])
    assert (there.types, back.types) == (["Convert"], ["Convert"])
    np.testing.assert_array_equal(halves, array.astype(np.float16))
    np.testing.assert_array_equal(back([halves])[0], halves.astype(np.float32))


@pytest.mark.parametrize("quant", [INT8, HALF, None], ids=["int8", "float16", "float32"])
def test_nothing_is_converted_where_nothing_changes(quant: QuantParams | None) -> None:
    assert "Convert" not in compiled(identity(quant, quant)).types


def test_real_numbers_beyond_all_integers_are_cut() -> None:
    array = np.zeros((1, 256), np.float32)
    array[0, :4] = [np.inf, -np.inf, 3e38, -3e38]
    (found,) = compiled(identity(None, INT8))([array])
    assert found[0, :5].tolist() == [127, -128, 127, -128, 3]


@pytest.mark.parametrize("bits", [(4, 6), (6, 4), (7, 7)])
@pytest.mark.parametrize("op_type", ["Identity", "Relu"])
def test_fixed_point_is_rescaled_within_a_unit(op_type: str, bits: tuple[int, int]) -> None:
    x, y = (
        QuantParams(dtype=d, scheme="dynamic_fixed_point", fractional_length=b)
        for d, b in zip(("int8", "int16"), bits, strict=True)
    )
    array = all_integers("int8")
    (found,) = compiled(identity(x, y, op_type))([array])
    real = array * 2.0 ** (bits[1] - bits[0])
    expected = np.maximum(real, 0) if op_type == "Relu" else real
    assert np.abs(found - expected).max() <= 0.5
