"""Statistics of tensors, against NumPy on all the data at once."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synap_core.api import Observer, QuantSpec, Range, params_of
from synap_quantization_ptq.histogram import CHUNK, Histogram
from synap_quantization_ptq.observers import (
    ChannelObserver,
    Choice,
    HistogramObserver,
    MinMaxObserver,
    MovingAverageObserver,
    make_observer,
)

Real = NDArray[np.float32]

U8 = QuantSpec(dtype="uint8", scheme="asymmetric_affine")
FIXED8 = QuantSpec(dtype="int8", scheme="dynamic_fixed_point")
FIXED16 = QuantSpec(dtype="int16", scheme="dynamic_fixed_point")
CHANNELS = QuantSpec(dtype="int8", scheme="perchannel_symmetric_affine", axis=1)

MIN_MAX, MSE, KL = Choice(kind="min_max"), Choice(kind="mse"), Choice(kind="kl", divergence=True)
MOVING = Choice(kind="moving_average", decay=0.75)
EVERY = [(MIN_MAX, U8), (MIN_MAX, CHANNELS), (MSE, FIXED8), (KL, U8), (KL, CHANNELS), (MOVING, U8)]
IDS = ["min_max", "min_max-channels", "mse", "kl", "kl-channels", "moving_average"]

samples = st.lists(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=6).map(
        lambda items: np.asarray(items, np.float32)
    ),
    min_size=1,
    max_size=6,
)


def histogram_of(parts: Sequence[Real], bins: int = 256) -> Histogram:
    made = Histogram(bins)
    for part in parts:
        made.update(part)
    return made


def merged(first: Histogram, second: Histogram) -> Histogram:
    first.merge(second)
    return first


def assert_same_histogram(found: Histogram, expected: Histogram) -> None:
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert (found.zeros, found.exponent, found.low, found.high) == (
        expected.zeros,
        expected.exponent,
        expected.low,
        expected.high,
    )


def seen_by(observer: Observer, parts: Sequence[Real]) -> Observer:
    for part in parts:
        observer.update(part)
    return observer


def assert_same_range(found: Range, expected: Range) -> None:
    np.testing.assert_array_equal(found.low, expected.low)
    np.testing.assert_array_equal(found.high, expected.high)
    assert found.divergence == expected.divergence


@given(parts=samples, cut=st.integers(0, 6))
@settings(max_examples=200)
def test_histograms_of_any_split_merge_to_that_of_one_pass(parts: list[Real], cut: int) -> None:
    assert_same_histogram(merged(histogram_of(parts[:cut]), histogram_of(parts[cut:])), histogram_of(parts))


@given(parts=samples)
def test_histogram_does_not_depend_on_order_or_grouping(parts: list[Real]) -> None:
    alone = [histogram_of([part]) for part in reversed(parts)]
    assert_same_histogram(reduce(merged, alone), histogram_of([np.concatenate(parts)]))


@given(parts=samples)
def test_histogram_counts_what_numpy_counts_between_its_edges(parts: list[Real]) -> None:
    histogram, items = histogram_of(parts), np.concatenate(parts).astype(np.float64)
    expected, _ = np.histogram(items[items != 0], histogram.edges)
    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.zeros == np.count_nonzero(items == 0)


def test_histogram_of_many_items_matches_numpy(rng: np.random.Generator) -> None:
    for factor in (0.001, 1.0, 1e6):
        items = np.maximum(rng.laplace(size=3 * CHUNK + 5) * factor, -2 * factor).astype(np.float32)
        histogram = histogram_of([items], 2048)
        np.testing.assert_array_equal(histogram.counts, np.histogram(items.astype(np.float64), histogram.edges)[0])


def test_histogram_covers_the_least_power_of_two() -> None:
    for largest, exponent in ((1.0, 1), (0.999, 0), (-4.0, 3), (5.0, 3)):
        assert histogram_of([np.array([largest], np.float32)]).exponent == exponent


def test_tiny_negative_numbers_stay_below_zero_in_a_wide_histogram() -> None:
    histogram = histogram_of([np.array([-1e-45, 1e-45, 3e38], np.float32)])
    assert histogram.counts[127] == histogram.counts[128] == 1


@pytest.mark.parametrize(("choice", "spec"), EVERY, ids=IDS)
def test_observers_survive_pickling(choice: Choice, spec: QuantSpec, rng: np.random.Generator) -> None:
    values = rng.normal(size=(3, 4, 5)).astype(np.float32)
    observer = seen_by(make_observer(choice, spec), [values])
    copy = pickle.loads(pickle.dumps(observer))  # noqa: S301 - what was just written
    assert_same_range(copy.range(), observer.range())
    copy.update(values * 2)
    observer.update(values * 2)
    assert_same_range(copy.range(), observer.range())


@pytest.mark.parametrize(("choice", "spec"), EVERY, ids=IDS)
def test_range_without_data_is_refused(choice: Choice, spec: QuantSpec) -> None:
    observer = make_observer(choice, spec)
    with pytest.raises(ValueError, match="before there was any data"):
        observer.range()
    observer.update(np.zeros((0, 3), np.float32))
    observer.merge(make_observer(choice, spec))
    with pytest.raises(ValueError, match="before there was any data"):
        observer.range()


@pytest.mark.parametrize(("choice", "spec"), EVERY[:-1], ids=IDS[:-1])
@pytest.mark.parametrize("cut", [0, 1, 4, 7])
def test_any_split_gives_the_range_of_one_pass(
    choice: Choice, spec: QuantSpec, cut: int, rng: np.random.Generator
) -> None:
    parts = [(rng.laplace(size=(2, 3, 50)) * 2**place).astype(np.float32) for place in range(7)]
    halves = [seen_by(make_observer(choice, spec), part) for part in (parts[:cut], parts[cut:])]
    halves[0].merge(halves[1])
    assert_same_range(halves[0].range(), seen_by(make_observer(choice, spec), parts).range())


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_min_max_is_that_of_numpy(axis: int | None, rng: np.random.Generator) -> None:
    parts = [rng.normal(size=(2, 3, 4)).astype(np.float32) for _ in range(4)]
    found = seen_by(MinMaxObserver(replace(CHANNELS, axis=axis)), parts).range()
    whole = np.stack(parts)
    others = None if axis is None else tuple(other for other in range(4) if other != (axis + 1 if axis >= 0 else 3))
    np.testing.assert_array_equal(found.low, whole.min(axis=others))
    np.testing.assert_array_equal(found.high, whole.max(axis=others))
    assert found.low.dtype == found.high.dtype == np.float64


@given(
    ends=st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 100)), min_size=1, max_size=12),
    cut=st.integers(0, 12),
    decay=st.floats(0.05, 0.99),
)
def test_moving_average_is_the_weighted_mean_of_the_ends_however_it_is_split(
    ends: list[tuple[float, float]], cut: int, decay: float
) -> None:
    parts = [np.array([low, low + width], np.float32) for low, width in ends]
    choice = Choice(kind="moving_average", decay=decay)
    first, second = (seen_by(MovingAverageObserver(choice, U8), part) for part in (parts[:cut], parts[cut:]))
    first.merge(second)
    weights = decay ** np.arange(len(parts) - 1, -1, -1, dtype=np.float64)
    low, high = np.average(np.stack(parts).astype(np.float64), axis=0, weights=weights)
    np.testing.assert_allclose([first.range().low, first.range().high], [low, high], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("choice", "spec"), [(MIN_MAX, U8), (MSE, U8), (KL, U8), (MOVING, U8)])
def test_range_is_cut_at_the_bounds_of_the_readers(choice: Choice, spec: QuantSpec, rng: np.random.Generator) -> None:
    values = (rng.normal(size=10_000) * 20).astype(np.float32)
    found = seen_by(make_observer(choice, replace(spec, bounds=(-3.0, np.inf))), [values]).range()
    assert found.low == -3
    assert found.high > 30
    nothing = seen_by(make_observer(choice, replace(spec, bounds=(-3.0, 3.0))), [np.full(9, 7, np.float32)]).range()
    assert nothing.low == nothing.high == 3


def test_numbers_beyond_the_bounds_do_not_widen_what_is_searched(rng: np.random.Generator) -> None:
    values = rng.normal(size=10_000).astype(np.float32)
    far = np.concatenate([values, np.full(3000, -500, np.float32)])
    near = np.concatenate([values, np.full(3000, -3, np.float32)])
    spec = replace(U8, bounds=(-3.0, np.inf))
    choice = Choice(kind="percentile", percentile=90, bins=2**16)
    found, expected = (seen_by(HistogramObserver(choice, spec), [seen]).range() for seen in (far, near))
    # Bins are wider where numbers are: 512 by 2**15.
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], atol=512 / 2**15)


def test_one_channel_has_the_statistics_of_a_whole_tensor(rng: np.random.Generator) -> None:
    values = rng.normal(size=(7, 1, 5)).astype(np.float32)
    whole = seen_by(make_observer(MIN_MAX, replace(CHANNELS, axis=None)), [values]).range()
    channel = seen_by(make_observer(MIN_MAX, CHANNELS), [values]).range()
    assert (channel.low.shape, channel.low[0], channel.high[0]) == ((1,), whole.low, whole.high)
    symmetric = HistogramObserver(Choice(kind="min_max", divergence=True), replace(CHANNELS, axis=None))
    values /= np.abs(values).max()
    divergences = [
        seen_by(observer, [values]).range().divergence
        for observer in (symmetric, ChannelObserver(replace(MIN_MAX, divergence=True), CHANNELS))
    ]
    assert divergences[0] == divergences[1]


def test_zero_tensors_have_an_empty_range_and_lose_nothing() -> None:
    for choice, spec in EVERY:
        found = seen_by(make_observer(choice, spec), [np.zeros((2, 3), np.float32)] * 2).range()
        assert np.all(found.low == 0)
        assert np.all(found.high == 0)
        assert found.divergence in (None, 0.0)


@pytest.mark.parametrize("constant", [5.0, -0.3, 1e-40, 3e38])
def test_constant_tensors_are_covered_whatever_the_way(constant: float) -> None:
    values = np.full((2, 3), constant, np.float32)
    for choice in (MIN_MAX, MSE, KL, Choice(kind="percentile"), MOVING):
        for spec in (U8, FIXED8, FIXED16):
            found = seen_by(make_observer(choice, spec), [values]).range()
            np.testing.assert_allclose([found.low, found.high], np.float64(values[0, 0]), rtol=0.02)
            params_of(spec, found)


def test_least_error_in_fixed_point_takes_the_power_of_two_that_numpy_finds(rng: np.random.Generator) -> None:
    values = np.append(rng.normal(size=100_000), [-20.0, 33.0]).astype(np.float32)
    found = seen_by(make_observer(MSE, FIXED8), [values]).range()
    errors = {
        length: np.square(np.clip(np.rint(values * 2.0**length), -128, 127) / 2.0**length - values).sum()
        for length in range(-2, 10)
    }
    assert params_of(FIXED8, found).fractional_length == min(errors, key=lambda length: errors[length])
