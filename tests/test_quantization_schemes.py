"""Scales, zero points and integers, against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from synap_core.quantization.interface import QuantSpec, Range
from synap_core.quantization.schemes import integer_limits, params_of, quantize
from synap_core.tensors import QuantParams

Real = NDArray[np.float32]

U8 = QuantSpec(dtype="uint8", scheme="asymmetric_affine")
I8 = QuantSpec(dtype="int8", scheme="asymmetric_affine")
FIXED8 = QuantSpec(dtype="int8", scheme="dynamic_fixed_point")
FIXED16 = QuantSpec(dtype="int16", scheme="dynamic_fixed_point")
CHANNELS = QuantSpec(dtype="int8", scheme="perchannel_symmetric_affine", axis=0)
WHOLE = (U8, I8, FIXED8, FIXED16)
ALL = (*WHOLE, CHANNELS)

IDS = [f"{spec.dtype}-{spec.scheme}" for spec in ALL]

numbers = st.floats(-(2.0**100), 2.0**100, width=32)
arrays = st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=3).map(
    lambda rows: np.asarray(rows, np.float32)
)


def range_of(values: Real, spec: QuantSpec) -> Range:
    axes = None if spec.axis is None else tuple(axis for axis in range(values.ndim) if axis != spec.axis)
    return Range(low=np.float64(values.min(axis=axes)), high=np.float64(values.max(axis=axes)))


def ends(low: float, high: float) -> Range:
    return Range(low=np.asarray(low), high=np.asarray(high))


def step_and_zero(quant: QuantParams, channel: int = 0) -> tuple[Fraction, int]:
    if quant.fractional_length is not None:
        return Fraction(2) ** -quant.fractional_length, 0
    return Fraction(quant.scale[channel]), quant.zero_point[channel]


@pytest.mark.parametrize("spec", ALL, ids=IDS)
@given(values=arrays)
def test_error_is_at_most_half_a_step_inside_the_range(spec: QuantSpec, values: Real) -> None:
    quant = params_of(spec, range_of(values, spec))
    for row, (reals, integers) in enumerate(zip(values, quantize(values, quant), strict=True)):
        step, zero = step_and_zero(quant, row if spec.axis is not None else 0)
        for real, integer in zip(reals.tolist(), integers.tolist(), strict=True):
            error = abs(Fraction(real) - step * (integer - zero))
            # The scale is rounded to float32: 255 steps may be short by 255 * 2**-24 of one.
            assert error <= step / 2 + step * Fraction(255, 2**24)


@pytest.mark.parametrize("spec", ALL, ids=IDS)
@given(values=arrays)
def test_zero_is_represented_exactly(spec: QuantSpec, values: Real) -> None:
    quant = params_of(spec, range_of(values, spec))
    expected = 0 if quant.fractional_length is not None else np.reshape(quant.zero_point, (-1, 1))
    np.testing.assert_array_equal(quantize(np.zeros_like(values), quant), np.broadcast_to(expected, values.shape))


@pytest.mark.parametrize("spec", ALL, ids=IDS)
@given(values=arrays, wide=st.floats(0, 4))
def test_integers_are_the_nearest_ones_halves_to_even(spec: QuantSpec, values: Real, wide: float) -> None:
    quant = params_of(spec, range_of(values, spec))
    low, high = integer_limits(spec.dtype, spec.scheme)
    shown = (values * np.float32(wide)).astype(np.float32)  # a part of it beyond the range
    for row, (reals, integers) in enumerate(zip(shown, quantize(shown, quant), strict=True)):
        step, zero = step_and_zero(quant, row if spec.axis is not None else 0)
        exact = [min(max(round(Fraction(real) / step) + zero, low), high) for real in reals.tolist()]
        assert integers.tolist() == exact


def test_halves_go_to_the_even_integer() -> None:
    quant = QuantParams(dtype="int8", scheme="dynamic_fixed_point", fractional_length=1)
    values = np.array([0.25, 0.75, -0.25, -0.75, 1.25], np.float32)
    assert quantize(values, quant).tolist() == [0, 2, 0, -2, 2]


@pytest.mark.parametrize("spec", ALL, ids=IDS)
def test_one_channel_gets_the_parameters_of_a_whole_tensor(spec: QuantSpec, rng: np.random.Generator) -> None:
    values = rng.normal(size=(1, 50)).astype(np.float32)
    whole = QuantSpec(dtype=spec.dtype, scheme=spec.scheme)
    single = QuantSpec(dtype=spec.dtype, scheme=spec.scheme, axis=0)
    quant, per_channel = params_of(whole, range_of(values, whole)), params_of(single, range_of(values, single))
    assert (quant.scale, quant.zero_point, quant.fractional_length) == (
        per_channel.scale,
        per_channel.zero_point,
        per_channel.fractional_length,
    )
    np.testing.assert_array_equal(quantize(values, quant), quantize(values, per_channel))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_channel_is_quantized_by_itself(axis: int, rng: np.random.Generator) -> None:
    # More items than are converted at a time.
    values = (rng.normal(size=(70, 40, 50)) * 4).astype(np.float32)
    spec = QuantSpec(dtype="int8", scheme="perchannel_symmetric_affine", axis=axis)
    quant = params_of(spec, range_of(values, spec))
    whole = QuantSpec(dtype="int8", scheme="perchannel_symmetric_affine")
    integers = quantize(values, quant)
    for channel in range(values.shape[axis]):
        alone = values.take(channel, axis)
        expected = params_of(whole, range_of(alone, whole))
        assert quant.scale[channel] == expected.scale[0] == np.float32(np.abs(alone).max().astype(np.float64) / 127)
        np.testing.assert_array_equal(integers.take(channel, axis), quantize(alone, expected))


@given(low=st.floats(-100, 100), width=st.floats(2.0**-10, 100))
def test_no_other_zero_point_represents_both_ends_better(low: float, width: float) -> None:
    low, high = min(low, 0.0), max(low + width, 0.0)
    quant = params_of(U8, ends(low, high))
    scale = quant.scale[0]

    def worst(zero: int) -> float:
        return max(abs(min(max(round(end / scale), -zero), 255 - zero) * scale - end) for end in (low, high))

    best = min(worst(zero) for zero in range(256))
    # Two zero points are as good when the exact one lies halfway.
    assert worst(quant.zero_point[0]) <= best + scale * 2**-12


def test_range_is_widened_to_zero() -> None:
    assert params_of(U8, ends(2.0, 51.0)) == QuantParams(
        dtype="uint8", scheme="asymmetric_affine", scale=(float(np.float32(0.2)),), zero_point=(0,)
    )
    assert params_of(I8, ends(-51.0, -2.0)).zero_point == (127,)


@pytest.mark.parametrize("spec", [FIXED8, FIXED16], ids=["int8", "int16"])
@given(low=st.floats(-(2.0**60), 0), high=st.floats(0, 2.0**60))
def test_fractional_length_is_the_largest_that_keeps_both_ends_to_half_a_step(
    spec: QuantSpec, low: float, high: float
) -> None:
    smallest, largest = integer_limits(spec.dtype, spec.scheme)

    def fits(length: int) -> bool:
        step = Fraction(2) ** -length
        nearest = [min(max(round(Fraction(end) / step), smallest), largest) * step for end in (low, high)]
        return all(abs(number - Fraction(end)) <= step / 2 for number, end in zip(nearest, (low, high), strict=True))

    longest = largest.bit_length() if low == high == 0 else max(filter(fits, range(-80, 127)))
    assert params_of(spec, ends(low, high)).fractional_length == longest


@pytest.mark.parametrize(
    ("low", "high", "length"), [(-1, 0.9, 7), (-1, 1, 6), (0, 0.49, 8), (0, 6, 4), (-1000, 3, -3), (0, 0, 7)]
)
def test_fractional_length_of_known_ranges(low: float, high: float, length: int) -> None:
    assert params_of(FIXED8, ends(low, high)).fractional_length == length


@pytest.mark.parametrize("spec", ALL, ids=IDS)
@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 0), (0, 1e-45), (-1e-45, 0), (0, 3e38), (-3.4028234663852886e38, 3.4028234663852886e38), (-1e300, 1e300)],
)
def test_scales_are_normal_float32_and_all_numbers_finite(spec: QuantSpec, low: float, high: float) -> None:
    found = ends(low, high) if spec.axis is None else Range(low=np.asarray([low]), high=np.asarray([high]))
    quant = params_of(spec, found)
    step, zero = step_and_zero(quant)
    assert np.finfo(np.float32).smallest_normal <= step <= np.finfo(np.float32).max
    assert Fraction(float(np.float32(step))) == step
    numbers = [step * (integer - zero) for integer in integer_limits(spec.dtype, spec.scheme)]
    assert all(abs(number) <= Fraction(float(np.finfo(np.float32).max)) for number in numbers)


def test_constant_tensor_is_represented_exactly_to_rounding_of_the_scale() -> None:
    for constant in (3.7, -0.01, 1e-30):
        values = np.full((2, 2), constant, np.float32)
        quant = params_of(U8, range_of(values, U8))
        real = (quantize(values, quant).astype(np.int64) - quant.zero_point[0]) * quant.scale[0]
        np.testing.assert_allclose(real, values, rtol=2**-23)


def test_all_zeros_get_scale_one() -> None:
    assert (params_of(U8, ends(0, 0)).scale, params_of(U8, ends(0, 0)).zero_point) == ((1.0,), (0,))
    assert params_of(I8, ends(0, 0)).zero_point == (0,)
    assert params_of(CHANNELS, Range(low=np.zeros(2), high=np.zeros(2))).scale == (1.0, 1.0)


def test_channel_of_zeros_gets_the_scale_of_a_typical_one() -> None:
    found = Range(low=np.array([-127.0, 0.0, 0.0, -1.0]), high=np.array([1.0, 254.0, 0.0, 508.0]))
    assert params_of(CHANNELS, found).scale == (1.0, 2.0, 2.0, 4.0)


def test_symmetric_integers_leave_out_the_lowest() -> None:
    assert integer_limits("int8", "perchannel_symmetric_affine") == (-127, 127)
    assert integer_limits("int8", "asymmetric_affine") == (-128, 127)
    assert integer_limits("uint8", "asymmetric_affine") == (0, 255)


def test_float16_has_no_scale_and_no_integers() -> None:
    quant = params_of(QuantSpec(dtype="float16", scheme="float16"), ends(-1, 1))
    assert quant == QuantParams(dtype="float16", scheme="float16")
    with pytest.raises(ValueError, match="not stored as integers"):
        quantize(np.zeros(1, np.float32), quant)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (Range(low=np.zeros(2), high=np.zeros(2)), "does not fit axis None"),
        (ends(np.nan, 1), "not a range"),
        (ends(-np.inf, 1), "not a range"),
        (ends(2, 1), "not a range"),
    ],
    ids=["channels", "nan", "infinite", "turned"],
)
def test_what_is_no_range_is_refused(found: Range, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        params_of(U8, found)


def test_scalar_and_empty_tensors_keep_their_shape() -> None:
    quant = params_of(U8, ends(-1, 1))
    assert quantize(np.asarray(0.0, np.float32), quant).shape == ()
    assert quantize(np.zeros((0, 3), np.float32), quant).shape == (0, 3)
    per_channel = params_of(CHANNELS, Range(low=-np.ones(3), high=np.ones(3)))
    assert quantize(np.zeros((3, 0), np.float32), per_channel).shape == (3, 0)
