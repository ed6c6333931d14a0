"""Activations with a slope below zero, as the reference kernels of LiteRT compute them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.build import GraphBuilder
from synap_core.tensors import QuantParams
from synap_delegate_npu.operators import slopes
from tests.support.npu_program import all_integers, compiled, conforms, quantized
from tests.support.single_operator import FEW, QUANTIZED, SEEDS, options, sample

EXPONENTS = st.floats(-8, 1)
RATIOS = st.one_of(st.floats(-3, 3), st.integers(-2, 2).map(float))
ALPHAS = st.one_of(st.floats(-0.5, 1.5), st.sampled_from([0.25, 0.5, 1.0, -1.0, 0.125]))


@pytest.mark.parametrize("dtype", QUANTIZED)
@FEW
@given(exponent=EXPONENTS, ratio=RATIOS, alpha=ALPHAS.filter(lambda alpha: abs(alpha) > 1e-6), seed=SEEDS)
def test_one_slope_rescales_every_integer_as_the_kernel(
    *, dtype: str, tmp_path: Path, exponent: float, ratio: float, alpha: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = all_integers(dtype)
    x, y = quantized(rng, array.shape, dtype, exponent), quantized(rng, array.shape, dtype, exponent + ratio)
    made = options("LeakyRelu", alpha=alpha)
    conforms(tmp_path, "LEAKY_RELU", [x], y, [array], given=made, types=["LeakyRelu"])


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("shape", [[1, 1, 4], [4], [16, 16, 4], [1, 1, 1]], ids=str)
@FEW
@given(exponent=EXPONENTS, ratio=RATIOS, seed=SEEDS)
def test_slopes_broadcast_and_rescale_every_integer_as_the_kernel(
    *, dtype: str, shape: list[int], tmp_path: Path, exponent: float, ratio: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = np.repeat(all_integers(dtype)[0], 4).reshape(1, 16, 16, 4)
    x, y = quantized(rng, array.shape, dtype, exponent), quantized(rng, array.shape, dtype, exponent + ratio)
    slope = quantized(rng, shape, dtype, -7)
    slope = slope.filled(sample(rng, slope))
    conforms(tmp_path, "PRELU", [x, slope], y, [array], types=["Prelu"])


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("alpha", [0.3, -0.4, 0.5])
def test_both_sides_apart_give_the_same(
    dtype: str, alpha: float, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slopes.Bend, "fitted", lambda *_: None)
    array = all_integers(dtype)
    x, y = quantized(rng, array.shape, dtype, -4), quantized(rng, array.shape, dtype, -3.7)
    conforms(tmp_path, "LEAKY_RELU", [x], y, [array], given=options("LeakyRelu", alpha=alpha), types=["LeakyRelu"])


def test_both_sides_apart_give_the_same_for_many_slopes(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slopes.Bend, "fitted", lambda *_: None)
    array = np.repeat(all_integers("int8")[0], 4).reshape(1, 16, 16, 4)
    x, y = quantized(rng, array.shape, "int8", -4), quantized(rng, array.shape, "int8", -3.7)
    slope = quantized(rng, [1, 1, 4], "int8", -7)
    slope = slope.filled(sample(rng, slope))
    conforms(tmp_path, "PRELU", [x, slope], y, [array], types=["Prelu"])


def fixed_point(dtype: str, bits: int) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="dynamic_fixed_point", fractional_length=bits)


@FEW
@given(bits=st.tuples(st.integers(4, 12), st.integers(4, 12), st.integers(5, 9)), seed=SEEDS)
def test_slopes_of_int16_are_within_a_unit_of_real_numbers(*, bits: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    build = GraphBuilder("one")
    x = build.input("x", ir.DataType.FLOAT, [1, 8, 8192], quant=fixed_point("int16", bits[0]))
    levels = rng.integers(-100, 100, (8, 1)).astype(np.int8)
    slope = build.quantized_constant(levels, fixed_point("int8", bits[2]))
    y = build.name_value(build.emit("PRelu", [x, slope]), "y", "y", fixed_point("int16", bits[1]))
    program = compiled(build.finish([y]))
    array = all_integers("int16").reshape(1, 8, 8192)
    (found,) = program([array])
    real = array.astype(np.float64) * 2.0 ** -bits[0]
    steps = np.where(real < 0, real * levels * 2.0 ** -bits[2], real) * 2.0 ** bits[1]
    assert np.abs(found - np.clip(np.rint(steps), -32768, 32767)).max() <= 1


def test_a_slope_of_zero_is_a_table() -> None:
    build = GraphBuilder("one")
    quant = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.1,), zero_point=(3,))
    x = build.input("x", ir.DataType.FLOAT, [1, 256], quant=quant)
    y = build.name_value(build.emit("LeakyRelu", [x], {"alpha": 0.0}), "y", "y", quant)
    program = compiled(build.finish([y]))
    array = all_integers("int8")
    assert program.types == ["Lookup"]
    np.testing.assert_array_equal(program([array])[0], np.maximum(array, 3))
