"""Searched ranges and divergences, against brute force over single bins."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synap_core.api import QuantSpec, Range, params_of, quantize
from synap_quantization_ptq.distribution import Distribution
from synap_quantization_ptq.grids import ENDS, Grids, affine_grids, even_grids, fixed_point_grids
from synap_quantization_ptq.histogram import Histogram
from synap_quantization_ptq.search import (
    divergence_of,
    divergences,
    find_range,
    least_divergence,
    least_error,
    percentile_range,
    squared_errors,
)

Real = NDArray[np.float32]

U8 = QuantSpec(dtype="uint8", scheme="asymmetric_affine")
I8 = QuantSpec(dtype="int8", scheme="asymmetric_affine")
FIXED8 = QuantSpec(dtype="int8", scheme="dynamic_fixed_point")
FIXED16 = QuantSpec(dtype="int16", scheme="dynamic_fixed_point")
STEPS = 7

small = st.lists(st.integers(0, 30), min_size=2, max_size=40).filter(any)


def seen_in(values: Real, bins: int = 2048, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Distribution:
    histogram = Histogram(bins)
    histogram.update(values)
    return Distribution.of(histogram, bounds)


def small_distribution(counts: list[int], below: int) -> Distribution:
    """Bins one wide, some of them below zero, the outermost ones not empty."""
    items = np.asarray(counts, np.float64)
    items[[0, -1]] += 1
    edges = np.arange(len(counts) + 1, dtype=np.float64) - min(below, len(counts))
    return Distribution(counts=items, edges=edges, zeros=9.0, low=edges[0] + 0.25, high=edges[-1] - 0.25)


def without_ties(grids: Grids) -> Grids:
    """Steps a little longer, so that no bin is halfway between two levels and its level a matter of rounding."""
    step = grids.step * (1 + math.pi / 1000)
    return replace(grids, step=step, first=np.rint(grids.first / grids.step) * step)


def level_of(centre: float, grid: Grids, index: int) -> int:
    """Level next to a number, the upper one of two, as if there were more of them at either end."""
    return math.floor((centre - grid.first[index]) / grid.step[index] + 0.5)


def brute_error(seen: Distribution, grid: Grids, index: int) -> float:
    total = 0.0
    for count, centre in zip(seen.counts, seen.centres, strict=True):
        level = min(max(level_of(centre, grid, index), 0), grid.steps)
        total += count * (grid.first[index] + level * grid.step[index] - centre) ** 2
    return total


def brute_divergence(seen: Distribution, grid: Grids, index: int) -> float:
    """``sum(p * ln(p / q))`` with what is cut in the outermost bins that are left, bin by bin."""
    levels = [level_of(centre, grid, index) for centre in seen.centres]
    kept = [place for place, level in enumerate(levels) if 0 <= level <= grid.steps]
    clipped = dict.fromkeys(kept, 0.0)
    for place, count in enumerate(seen.counts):
        clipped[min(max(place, kept[0]), kept[-1])] += count
    result = 0.0
    for level in range(grid.steps + 1):
        members = [clipped[place] for place in kept if levels[place] == level and clipped[place] > 0]
        result += sum(count * math.log(count / (sum(members) / len(members))) for count in members)
    return result / seen.counts.sum()


@given(counts=small, below=st.integers(0, 40))
@settings(deadline=None, max_examples=50)
def test_threshold_of_least_divergence_is_that_of_a_brute_force_search(counts: list[int], below: int) -> None:
    seen = small_distribution(counts, below)
    grids = without_ties(even_grids(seen, STEPS))
    every = range(len(grids.low))
    errors, found = (np.array([of(seen, grids, index) for index in every]) for of in (brute_error, brute_divergence))
    np.testing.assert_allclose(squared_errors(seen, grids), errors, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(divergences(seen, grids), found, rtol=1e-9, atol=1e-12)
    chosen = least_divergence(seen, grids)
    # Errors and divergences that differ by rounding alone may be taken for either.
    allowed = (grids.step >= 2) & (errors <= errors[0] * (1 - 1e-9))
    assert chosen == 0 or (grids.step[chosen] >= 2 and errors[chosen] <= errors[0] * (1 + 1e-9))
    assert found[chosen] <= min([found[0], *found[allowed]]) + 1e-12


@given(counts=small, below=st.integers(0, 40))
@settings(deadline=None, max_examples=50)
def test_ends_of_least_error_are_those_of_a_brute_force_search(counts: list[int], below: int) -> None:
    seen = small_distribution(counts, below)
    grids = even_grids(seen, STEPS)
    errors = [brute_error(seen, grids, index) for index in range(len(grids.low))]
    assert errors[least_error(seen, grids)] <= min(errors) * (1 + 1e-9) + 1e-6


def test_every_pair_of_edges_is_tried_in_a_small_histogram() -> None:
    seen = small_distribution([1, 0, 2, 3, 1], 2)
    grids = even_grids(seen, STEPS)
    pairs = {(low, high) for low in (-1.75, -1.0) for high in (1.0, 2.0, 2.75)}
    assert set(zip(grids.low.tolist(), grids.high.tolist(), strict=True)) == pairs
    assert (grids.low[0], grids.high[0]) == (-1.75, 2.75)


def test_number_of_candidates_is_limited_and_covers_the_range(rng: np.random.Generator) -> None:
    seen = seen_in(rng.normal(size=10_000).astype(np.float32), 8192)
    grids = affine_grids(seen, U8)
    assert len(grids.low) <= ENDS**2
    assert (grids.low[0], grids.high[0]) == (seen.low, seen.high)
    assert np.abs(np.diff(np.unique(grids.high))).max() <= 2 * seen.high / ENDS


def test_candidates_are_the_numbers_that_their_ranges_lead_to(rng: np.random.Generator) -> None:
    seen = seen_in(rng.normal(size=10_000).astype(np.float32))
    for spec, grids in ((I8, affine_grids(seen, I8)), (FIXED8, fixed_point_grids(seen, FIXED8))):
        for index in range(0, len(grids.low), 97) if spec is I8 else range(len(grids.low)):
            found = Range(low=np.asarray(grids.low[index]), high=np.asarray(grids.high[index]))
            quant = params_of(spec, found)
            scale = quant.scale[0] if quant.scale else 2.0 ** -(quant.fractional_length or 0)
            zero = quant.zero_point[0] if quant.zero_point else 0
            np.testing.assert_allclose(grids.step[index], scale, rtol=2**-23)
            np.testing.assert_allclose(grids.first[index], (-128 - zero) * scale, rtol=2**-22, atol=1e-12)


@pytest.mark.parametrize("spec", [U8, I8, FIXED8], ids=["uint8", "int8", "fixed"])
@pytest.mark.parametrize("kind", ["mse", "kl"])
@pytest.mark.parametrize("shape", ["normal", "laplace", "student", "relu", "relu6", "outliers"])
def test_searched_ranges_have_hardly_more_error_than_min_max(
    spec: QuantSpec, kind: str, shape: str, rng: np.random.Generator
) -> None:
    normal = rng.normal(size=50_000)
    values = {
        "normal": normal,
        "laplace": rng.laplace(size=50_000),
        "student": rng.standard_t(3, size=50_000),
        "relu": np.maximum(normal, 0),
        "relu6": np.clip(normal * 5, 0, 6),
        "outliers": np.append(normal, [60.0, -45.0]),
    }[shape].astype(np.float32)

    def error(low: float, high: float) -> float:
        quant = params_of(spec, Range(low=np.asarray(low), high=np.asarray(high)))
        scale = quant.scale[0] if quant.scale else 2.0 ** -(quant.fractional_length or 0)
        zero = quant.zero_point[0] if quant.zero_point else 0
        real = (quantize(values, quant).astype(np.float64) - zero) * scale
        return float(np.square(real - values).mean())

    low, high = find_range(seen_in(values, 8192), spec, kind, 100)
    # Bins are up to half a step wide, and so blur the error by a few percent.
    assert error(low, high) <= error(values.min(), values.max()) * 1.05


def test_least_error_is_that_of_a_search_on_the_numbers_themselves(rng: np.random.Generator) -> None:
    values = rng.standard_t(3, size=20_000).astype(np.float32)

    def error(low: float, high: float) -> float:
        quant = params_of(U8, Range(low=np.asarray(low), high=np.asarray(high)))
        real = (quantize(values, quant).astype(np.float64) - quant.zero_point[0]) * quant.scale[0]
        return float(np.square(real - values).mean())

    parts = np.linspace(0.1, 1, 30)
    best = min(error(values.min() * low, values.max() * high) for low in parts for high in parts)
    low, high = find_range(seen_in(values, 8192), U8, "mse", 100)
    assert error(low, high) <= best * 1.01
    assert best < error(values.min(), values.max())


def test_zeros_do_not_change_the_threshold(rng: np.random.Generator) -> None:
    values = np.abs(rng.laplace(size=20_000)).astype(np.float32)
    dense, sparse = (seen_in(v, 8192) for v in (values, np.append(values, np.zeros(10**6, np.float32))))
    for kind in ("kl", "mse"):
        assert find_range(dense, U8, kind, 100)[1] == find_range(sparse, U8, kind, 100)[1]


def test_coarse_histograms_are_not_cut_for_their_divergence(rng: np.random.Generator) -> None:
    values = np.abs(rng.laplace(size=20_000)).astype(np.float32)
    assert find_range(seen_in(values, 256), U8, "kl", 100) == (values.min(), values.max())


@pytest.mark.parametrize("kind", ["mse", "kl"])
def test_sixteen_bits_cover_everything(kind: str, rng: np.random.Generator) -> None:
    values = np.append(rng.normal(size=1000), 50).astype(np.float32)
    assert find_range(seen_in(values), FIXED16, kind, 100) == (values.min(), values.max())


@pytest.mark.parametrize("percentile", [60, 90, 99, 99.9, 100])
def test_percentile_is_that_of_numpy_to_a_bin(percentile: float, rng: np.random.Generator) -> None:
    normal = rng.normal(size=10**6)  # so many that the outermost items are less than a bin apart
    for values in (normal, np.maximum(normal, 0), -rng.random(20_000) - 1):
        items = values.astype(np.float32)
        seen = seen_in(items)
        left_out = (100 - percentile) / 2
        expected = np.percentile(items, [left_out, 100 - left_out])
        np.testing.assert_allclose(percentile_range(seen, percentile), expected, atol=seen.width)


def test_kind_that_a_histogram_does_not_tell_is_refused() -> None:
    with pytest.raises(ValueError, match="does not tell the range 'moving_average'"):
        find_range(seen_in(np.ones(3, np.float32)), U8, "moving_average", 100)


def brute_jensen_shannon(seen: Distribution, levels: int, low: float, high: float) -> float:
    """Over dictionaries of bins; the range begins or ends at zero, so its levels need no rounding."""
    step = (high - low) / levels
    groups: dict[int, list[int]] = {}
    mass: dict[int, float] = {}
    for place, (count, centre) in enumerate(zip(seen.counts, seen.centres, strict=True)):
        level = math.floor((centre - low) / step + 0.5)
        end = min(max(level, 0), levels)
        mass[end] = mass.get(end, 0) + count
        if level == end and count:
            groups.setdefault(end, []).append(place)
    copy = np.zeros_like(seen.counts)
    for level, places in groups.items():
        copy[places] = mass[level] / len(places)
    result = 0.0
    total = seen.counts.sum() + seen.zeros
    for p, q in zip([*seen.counts, seen.zeros], [*copy, seen.zeros], strict=True):
        for share in (p, q):
            result += share / total * math.log2(2 * share / (p + q)) / 2 if share else 0
    return result


@pytest.mark.parametrize("high", [1.0, 2.5, 9.0])
def test_divergence_is_that_of_jensen_and_shannon(high: float, rng: np.random.Generator) -> None:
    values = np.maximum(rng.normal(size=5000) * 2, 0).astype(np.float32)
    seen = seen_in(values, 4096)
    expected = brute_jensen_shannon(seen, 255, 0, high)
    assert 0 < expected < 1
    # The scale is a float32, so a bin at a border may belong to the next level.
    np.testing.assert_allclose(divergence_of(seen, U8, 0, high), expected, rtol=0.02)


def test_divergence_tells_good_ranges_from_bad_ones(rng: np.random.Generator) -> None:
    seen = seen_in(rng.normal(size=50_000).astype(np.float32))
    whole, cut, wide = (divergence_of(seen, U8, -end, end) for end in (4.0, 0.5, 4000.0))
    assert whole < 0.02
    assert 0.2 < cut < 1
    assert 0.1 < wide < 1
    assert divergence_of(seen, FIXED16, seen.low, seen.high) < 1e-12


@given(
    items=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20),
    low=st.floats(-50, 0),
    high=st.floats(0, 50),
)
def test_divergence_is_between_zero_and_one(items: list[float], low: float, high: float) -> None:
    seen = seen_in(np.asarray(items, np.float32), 256)
    for spec in (U8, FIXED8, FIXED16, QuantSpec(dtype="int8", scheme="perchannel_symmetric_affine")):
        assert 0 <= divergence_of(seen, spec, low, high) <= 1


@given(
    items=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=30),
    low=st.integers(-10, 0),
    high=st.integers(0, 10),
)
def test_distribution_counts_what_is_beyond_the_bounds_at_the_bounds(items: list[float], low: int, high: int) -> None:
    values = np.asarray(items, np.float32)
    seen = seen_in(values, 1024, (low, high))
    clipped = np.clip(values, low, high)
    assert (seen.low, seen.high) == (clipped.min(), clipped.max())
    assert seen.total == len(values)
    assert seen.zeros == np.count_nonzero(clipped == 0)
    counts = np.zeros_like(seen.counts)
    for item, kept in zip(values.astype(np.float64), clipped.astype(np.float64), strict=True):
        if kept:
            at = kept / seen.width
            place = math.ceil(at) - 1 if item > high else math.floor(at)
            counts[place - round(seen.edges[0] / seen.width)] += 1
    np.testing.assert_array_equal(seen.counts, counts)


def test_bins_in_use_include_the_border_at_zero() -> None:
    for values in ([3.0, 4.0], [-3.0, -4.0], [0.0], [-1.0, 2.0]):
        assert 0 in seen_in(np.asarray(values, np.float32)).edges
    with_zeros = replace(seen_in(np.asarray([3.0], np.float32)), zeros=5.0)
    assert percentile_range(with_zeros, 60)[0] == 3.0
