"""Rescaling of sums: definitions against whole numbers of any size, and formulas against definitions."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap_delegate_npu.arithmetic.multiplier import Multiplier, Rounding, multiplier_of, wide_multiplier_of
from synap_delegate_npu.arithmetic.rescaling import (
    MOST_POINTS,
    Sums,
    Window,
    floors,
    is_exact,
    lower_integer_rescaling,
    lower_real_rescaling,
    lower_rescaling,
)
from synap_delegate_npu.operators.products import lower_sums
from synap_delegate_npu.program.body import Body
from tests.support.npu_products import run_body

FEW = settings(derandomize=True, max_examples=40, deadline=None)

FIXED = (Rounding.TWICE, Rounding.ONCE, Rounding.SHORT)

REALS = st.one_of(
    st.floats(2.0**-33, 2.0**5, exclude_min=True),
    st.floats(-33, 5).map(lambda exponent: 2.0**exponent),
    st.integers(-33, 5).map(lambda exponent: 2.0**exponent),
    st.integers(1, 1 << 12).map(lambda number: number / 4096),
)
"""Multipliers, those of many ties included."""

WINDOWS = (
    st.lists(st.integers(-128, 127), min_size=3, max_size=3)
    .map(sorted)
    .map(lambda ends: Window(low=ends[0], zero_point=ends[1], high=ends[2]))
)


def half_away(number: Fraction) -> int:
    return floor(number + Fraction(1, 2)) if number >= 0 else -floor(-number + Fraction(1, 2))


def twice(value: int, multiplier: int, shift: int) -> int:
    """The reference kernels in words: a doubled high product, and a rounding shift to the right."""
    high = floor(Fraction((value << max(shift, 0)) * multiplier, 1 << 31) + Fraction(1, 2))
    return half_away(Fraction(high, 1 << max(-shift, 0)))


def once(value: int, multiplier: int, shift: int) -> int:
    return floor(Fraction(value * multiplier) * Fraction(2) ** (shift - 31) + Fraction(1, 2))


def short(value: int, multiplier: int, shift: int) -> int:
    reduced = min((multiplier + (1 << 15)) >> 16, 0x7FFF)
    return floor(Fraction(value * reduced) * Fraction(2) ** (shift - 15) + Fraction(1, 2))


WORDS = {Rounding.TWICE: twice, Rounding.ONCE: once, Rounding.SHORT: short}


@pytest.mark.parametrize("rounding", FIXED)
@FEW
@given(real=REALS, values=st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=40))
def test_definitions_are_those_of_whole_numbers(rounding: Rounding, real: float, values: list[int]) -> None:
    by = multiplier_of(real)
    inside = [value >> max(int(by.shift), 0) for value in values]
    expected = [WORDS[rounding](value, int(by.multiplier), int(by.shift)) for value in inside]
    assert rounding.define(np.array(inside), by).tolist() == expected


@FEW
@given(values=st.lists(st.integers(-(1 << 46), 1 << 46), min_size=1, max_size=40), real=st.floats(2.0**-30, 2.0**-9))
def test_short_definition_takes_sums_of_47_bits(values: list[int], real: float) -> None:
    by = multiplier_of(real)
    expected = [short(value, int(by.multiplier), int(by.shift)) for value in values]
    assert Rounding.SHORT.define(np.array(values), by).tolist() == expected


@FEW
@given(values=st.lists(st.integers(-(1 << 40), 1 << 40), min_size=1, max_size=40), real=REALS)
def test_real_definition_rounds_the_product_of_float64(values: list[int], real: float) -> None:
    expected = [half_away(Fraction(float(value) * real)) for value in values]
    assert Rounding.REAL.define(np.array(values), wide_multiplier_of(real)).tolist() == expected


@pytest.mark.parametrize("number", [0.5, np.nextafter(0.5, 0), 1.5, np.nextafter(1.5, 0), 126.5])
def test_real_definition_breaks_ties_away_from_zero_and_nothing_else(number: float) -> None:
    by, expected = wide_multiplier_of(number), half_away(Fraction(number))
    assert Rounding.REAL.define(np.array([1, -1]), by).tolist() == [expected, -expected]


@FEW
@given(real=st.floats(2.0**-60, 2.0**60))
def test_wide_multiplier_is_the_number(real: float) -> None:
    assert float(wide_multiplier_of(real).real) == real


@FEW
@given(real=st.floats(2.0**-31, 2.0**30))
def test_multiplier_is_the_nearest_of_31_bits(real: float) -> None:
    by = multiplier_of(real)
    assert 1 << 30 <= by.multiplier < 1 << 31
    assert abs(Fraction(float(by.real)) / Fraction(real) - 1) <= Fraction(1, 1 << 31)


def test_multiplier_that_rounds_up_to_a_power_is_that_power() -> None:
    by = multiplier_of(1 - 2.0**-40)
    assert (int(by.multiplier), int(by.shift), float(by.real)) == (1 << 30, 1, 1.0)


def test_multipliers_that_are_almost_zero_are_zero() -> None:
    by = multiplier_of(np.array([2.0**-33, 2.0**-32]))
    assert by.multiplier.tolist() == [0, 1 << 30]


def windows_sums(by: Multiplier, window: Window, count: int = 4000) -> np.ndarray:
    """Sums in steps of one around zero, where a window begins and ends, and around steps between."""
    low, high = window.relative
    with np.errstate(divide="ignore"):
        places = (np.arange(low - 2, high + 3) + 0.5) / by.real
    bound = (1 << 31) >> max(int(by.shift), 0)
    around = np.clip(places, -bound, bound).astype(np.int64)[:, None] + np.arange(-4, 5)
    sums = np.concatenate([around.reshape(-1), np.arange(-count, count + 1)])
    return np.clip(sums, -bound, bound)


@pytest.mark.parametrize("rounding", FIXED)
@FEW
@given(real=REALS, window=WINDOWS)
def test_formula_that_is_said_to_be_exact_is(rounding: Rounding, real: float, window: Window) -> None:
    by = multiplier_of(real)
    formula = floors(by, window, rounding)
    sums = windows_sums(by, window)
    low, high = window.relative
    same = np.array_equal(np.clip(formula(sums), low, high), np.clip(rounding.define(sums, by), low, high))
    assert same or not is_exact(formula, by, window, rounding)


@FEW
@given(real=st.floats(2.0**-6, 2.0**4), window=WINDOWS, rounding=st.sampled_from(FIXED))
def test_proof_holds_for_every_sum_of_a_window(real: float, window: Window, rounding: Rounding) -> None:
    by, (low, high) = multiplier_of(real), window.relative
    sums = np.arange(int((low - 2) / real) - 2, int((high + 2) / real) + 3)
    formula = floors(by, window, rounding)
    assert is_exact(formula, by, window, rounding)
    np.testing.assert_array_equal(np.clip(formula(sums), low, high), np.clip(rounding.define(sums, by), low, high))


@pytest.mark.parametrize("rounding", FIXED)
def test_formulas_of_usual_layers_are_proved(rounding: Rounding, rng: np.random.Generator) -> None:
    by = multiplier_of(2.0 ** rng.uniform(-15, 1, 200))
    for window in (Window(zero_point=-128, low=-128, high=127), Window(zero_point=3, low=-128, high=127)):
        assert is_exact(floors(by, window, rounding), by, window, rounding)


def test_wrong_formula_is_found_out() -> None:
    """Rounding twice is not rounding once: without its ties, a formula misses steps."""
    by, window = multiplier_of(2.0 ** np.linspace(-20, -16, 50)), Window(zero_point=0, low=-128, high=127)
    plain = floors(by, window, Rounding.ONCE)
    assert not is_exact(plain, by, window, Rounding.TWICE)
    assert is_exact(plain, by, window, Rounding.ONCE)


def test_one_wrong_channel_of_many_is_found_out(rng: np.random.Generator) -> None:
    by, window = multiplier_of(2.0 ** rng.uniform(-20, -16, 30)), Window(zero_point=0, low=0, high=255)
    formula = floors(by, window, Rounding.TWICE)
    formula.plus[17] += 1e-3
    assert not is_exact(formula, by, window, Rounding.TWICE)


def test_zero_multiplier_gives_zero() -> None:
    by, window = multiplier_of(np.array([2.0**-40, 2.0**-7])), Window(zero_point=0, low=-128, high=127)
    assert is_exact(floors(by, window, Rounding.TWICE), by, window, Rounding.TWICE)
    assert Rounding.TWICE.define(np.array([1 << 30, 0]), by).tolist() == [0, 0]


def test_int16_of_many_channels_is_proved_by_the_bound_of_its_sums(rng: np.random.Generator) -> None:
    window = Window(zero_point=0, low=-(1 << 15), high=(1 << 15) - 1)
    by = multiplier_of(2.0 ** rng.uniform(-30, -22, 1 + MOST_POINTS // (1 << 16)))
    formula = floors(by, window, Rounding.SHORT)
    assert not is_exact(formula, by, window, Rounding.SHORT)
    assert is_exact(formula, by, window, Rounding.SHORT, 1 << 37)
    sums = rng.integers(-(1 << 37), 1 << 37, (5000, 1))
    np.testing.assert_array_equal(formula(sums), Rounding.SHORT.define(sums, by))


@pytest.mark.parametrize("rounding", [*FIXED, Rounding.REAL])
@settings(FEW, max_examples=10)
@given(reals=st.lists(REALS, min_size=1, max_size=4), window=WINDOWS)
def test_all_lowerings_equal_the_definition(rounding: Rounding, reals: list[float], window: Window) -> None:
    by = (wide_multiplier_of if rounding is Rounding.REAL else multiplier_of)(np.array(reals))
    one = [windows_sums(Multiplier(m, s, by.bits), window, 300) for m, s in zip(by.multiplier, by.shift, strict=True)]
    sums = np.stack(one, axis=1)
    low, high = window.relative
    expected = np.clip(rounding.define(sums, by), low, high)
    for lower in lowerings(by, window, rounding, int(np.abs(sums).max())):
        found = run_body(lambda body, total, lower=lower: lower(body, total), sums.astype(np.float64))
        np.testing.assert_array_equal(found, expected)


def lowerings(by: Multiplier, window: Window, rounding: Rounding, largest: int) -> list:
    """The ways to lower: the one that is taken for small and large sums, and the slow or the fast one."""
    bound = 1 << 46
    found = [
        lambda body, total, sums=sums: lower_sums(body, total, by, window, sums, rounding)
        for sums in (Sums(largest=largest), Sums(largest=bound))
    ]
    if rounding is Rounding.REAL:
        return [*found, lambda body, total: lower_real_rescaling(body, total, by, window, Sums())]
    found.append(lambda body, total: lower_integer_rescaling(body, total, by, window, 0, rounding))
    formula = floors(by, window, rounding)
    if is_exact(formula, by, window, rounding):
        found.append(lambda body, total: lower_rescaling(body, total, formula, window, Sums()))
    return found


@pytest.mark.parametrize(
    ("largest", "low", "operator"), [(1000, 0, "Cast"), (1 << 45, 0, "Floor"), (1000, -1, "Floor")]
)
def test_results_are_cut_to_int32_only_where_they_fit_and_none_below_zero_counts(
    largest: int, low: int, operator: str
) -> None:
    body = Body(1)
    window = Window(zero_point=0, low=low, high=255)
    lower_sums(body, body.inputs[0], multiplier_of(np.array([0.3])), window, Sums(largest=largest), Rounding.ONCE)
    rounding = [node.op_type for node in body._nodes if node.op_type not in ("Constant", "Mul", "Add", "Clip")]
    assert rounding == [operator, "Cast"]


def test_integer_lowering_cuts_sums_whose_products_leave_64_bits() -> None:
    by, window = multiplier_of(np.array([20.0, 2.0**-9])), Window(zero_point=0, low=-128, high=127)
    sums = np.array([[2.0**31 - 1, 2.0**31 - 1], [-(2.0**31), -(2.0**31)], [3.0, 3000.0]])
    found = run_body(lambda body, total: lower_integer_rescaling(body, total, by, window, 0, Rounding.TWICE), sums)
    assert found.tolist() == [[127, 127], [-128, -128], [60, 6]]
