"""Ranges that leave out some of the items of a histogram, and what quantizing does to a distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synap_core.api import QuantSpec, Range
from synap_quantization_ptq.distribution import Distribution
from synap_quantization_ptq.grids import Grids, affine_grids, fixed_point_grids, grid_of

Reals = NDArray[np.float64]
Indices = NDArray[np.int64]

BLOCK = 128
"""Grids that are compared at a time."""

LEAST_BINS = 2
"""Bins that a step must be wide for divergences to mean something."""


def find_range(seen: Distribution, spec: QuantSpec, kind: str, percentile: float) -> tuple[float, float]:
    """Range of a kind.

    Integers of 16 bits cover everything, but for ``percentile``: their steps are finer than the bins, and nothing is
    gained by cutting.

    Args:
        seen: The distribution.
        spec: How the tensor is to be quantized.
        kind: ``min_max``, ``percentile``, ``mse`` or ``kl``.
        percentile: Part of the items inside the range, in percent.

    Raises:
        ValueError: Histograms do not tell ranges of this kind.
    """
    if kind not in ("min_max", "percentile", "mse", "kl"):
        msg = f"a histogram does not tell the range {kind!r}"
        raise ValueError(msg)
    if kind == "percentile":
        return percentile_range(seen, percentile)
    if kind == "min_max" or spec.dtype == "int16" or not seen.counts.size:
        return seen.low, seen.high
    grids = fixed_point_grids(seen, spec) if spec.scheme == "dynamic_fixed_point" else affine_grids(seen, spec)
    chosen = least_error(seen, grids) if kind == "mse" else least_divergence(seen, grids)
    return float(grids.low[chosen]), float(grids.high[chosen])


def percentile_range(seen: Distribution, percentile: float) -> tuple[float, float]:
    """Range that leaves out as many items at either end, and ``100 - percentile`` percent in all.

    Items are taken to be spread evenly within a bin.
    """
    zero = int(np.searchsorted(seen.edges, 0.0))
    below = np.concatenate([[0.0], np.cumsum(seen.counts)])
    # All zeros are at one point.
    positions = np.insert(seen.edges, zero, 0.0)
    below = np.concatenate([below[: zero + 1], below[zero:] + seen.zeros])
    left_out = below[-1] * (100 - percentile) / 200
    low, high = np.interp([left_out, below[-1] - left_out], below, positions)
    return float(np.clip(low, seen.low, seen.high)), float(np.clip(high, seen.low, seen.high))


def least_error(seen: Distribution, grids: Grids) -> int:
    """Index of the grid with the least squared error; the first one of equals."""
    return int(np.argmin(squared_errors(seen, grids)))


def least_divergence(seen: Distribution, grids: Grids) -> int:
    """Index of the grid that changes the distribution least, among those that do not add to the squared error.

    The divergence is that of Kullback and Leibler, from the clipped distribution, whose ends hold what is cut, to one
    that has, in all bins of a step that are not empty, the mean of that step: the search of NVIDIA's "8-bit inference
    with TensorRT" (Migacz, 2017). As it is usually written it cuts nearly everything off, for two reasons that are
    ruled out here. A grid with steps of hardly a bin leaves each bin as it is, which passes for a perfect copy: steps
    must be `LEAST_BINS` bins wide. And the divergence does not know how far the items that are cut are moved: a grid
    with more squared error than the first is refused. Zeros, which a ReLU makes by the million, are left out, because
    they are exact in every grid.

    Args:
        seen: The distribution.
        grids: The whole range first.
    """
    sums = _Sums.of(seen)
    errors = sums.errors(grids)
    allowed = (errors <= errors[0]) & (grids.step >= LEAST_BINS * seen.width)
    allowed[0] = True
    candidates = np.flatnonzero(allowed)
    return int(candidates[np.argmin(sums.divergences(grids.take(candidates)))])


def squared_errors(seen: Distribution, grids: Grids) -> Reals:
    """Sum of the squared errors of all items, for each grid, with every item in the middle of its bin."""
    return _Sums.of(seen).errors(grids)


def divergences(seen: Distribution, grids: Grids) -> Reals:
    """Divergence that `least_divergence` compares, in nats, for each grid; steps must be at least a bin wide."""
    return _Sums.of(seen).divergences(grids)


def divergence_of(seen: Distribution, spec: QuantSpec, low: float, high: float) -> float:
    """How much quantizing changes a distribution, from 0 (not at all) to 1.

    It is the Jensen-Shannon divergence with binary logarithms (Lin, 1991, "Divergence measures based on the Shannon
    entropy"), between the bins as they are and with all items of a step spread evenly over the bins of this step that
    are not empty. What is cut is spread over the last step. Zeros are a bin of their own, which quantizing keeps.

    Args:
        seen: The distribution.
        spec: How the tensor is quantized.
        low: Lower end of the range that it is quantized with.
        high: Upper end.
    """
    if not seen.counts.size:
        return 0.0
    grid = grid_of(spec, Range(low=np.asarray(low), high=np.asarray(high)))
    position = (seen.centres - grid.first[0]) / grid.step[0]
    level = np.clip(np.floor(position + 0.5), 0, grid.steps)
    inside = (position >= -0.5) & (position < grid.steps + 0.5)
    holds = (seen.counts > 0) & inside
    levels, index = np.unique(level, return_inverse=True)
    mass = np.bincount(index, weights=seen.counts, minlength=len(levels))
    bins = np.bincount(index, weights=holds, minlength=len(levels))
    copy = np.where(holds, (mass / np.maximum(bins, 1))[index], 0.0)
    # Where a step has nothing but items that are cut, the copy is where the original has nothing.
    moved = max(seen.counts.sum() - copy.sum(), 0.0)
    return _jensen_shannon(np.append(seen.counts, [seen.zeros, 0.0]), np.append(copy, [seen.zeros, moved]))


def _jensen_shannon(first: Reals, second: Reals) -> float:
    """Divergence of two sets of counts, in bits."""
    first, second = first / first.sum(), second / second.sum()
    middle = (first + second) / 2
    bits = (_entropy_terms(first) + _entropy_terms(second)) / 2 - _entropy_terms(middle)
    return float(np.clip(bits.sum() / np.log(2), 0.0, 1.0))


def _entropy_terms(mass: Reals) -> Reals:
    """``mass * ln(mass)``, with its limit at zero."""
    return mass * np.log(np.where(mass > 0, mass, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sums:
    """Sums over the first bins of a distribution, ``(n + 1,)`` each: those over any bins in a row are differences.

    Attributes:
        seen: The distribution.
        items: Number of items.
        first: Sum of the items.
        second: Sum of their squares.
        entropy: Sum of ``count * ln(count)``.
        occupied: Number of bins that are not empty.
    """

    seen: Distribution
    items: Reals
    first: Reals
    second: Reals
    entropy: Reals
    occupied: Reals

    @classmethod
    def of(cls, seen: Distribution) -> _Sums:
        counts, centres = seen.counts, seen.centres
        return cls(
            seen=seen,
            items=_running(counts),
            first=_running(counts * centres),
            second=_running(counts * centres**2),
            entropy=_running(_entropy_terms(counts)),
            occupied=_running(counts > 0),
        )

    def errors(self, grids: Grids) -> Reals:
        """Squared error of each grid: ``sum((x - q)**2)`` over all levels ``q`` and the items ``x`` next to each."""
        found = [self._errors(part) for part in grids.parts(BLOCK)]
        return np.concatenate(found)

    def divergences(self, grids: Grids) -> Reals:
        """Divergence of each grid: ``sum(p * ln(p / q))`` over the bins of the clipped distribution ``p``."""
        found = [self._divergences(part) for part in grids.parts(BLOCK)]
        return np.concatenate(found)

    def _errors(self, grids: Grids) -> Reals:
        borders = self._borders(grids)
        borders[:, 0], borders[:, -1] = 0, len(self.seen.counts)
        items, first, second = (np.diff(total[borders]) for total in (self.items, self.first, self.second))
        levels = grids.levels
        return np.asarray((second - 2 * levels * first + levels**2 * items).sum(axis=1))

    def _divergences(self, grids: Grids) -> Reals:
        borders = self._borders(grids)
        start, stop = borders[:, 0], borders[:, -1]
        mass, bins = np.diff(self.items[borders]), np.diff(self.occupied[borders])
        entropy = self.entropy[stop] - self.entropy[start]
        rows = np.arange(len(borders))
        for cut, at in ((self.items[start], start), (self.items[-1] - self.items[stop], stop - 1)):
            level = np.argmax((borders[:, 1:] > at[:, None]) & (borders[:, :-1] <= at[:, None]), axis=1)
            held = self.seen.counts[at]
            bins[rows, level] += (held == 0) & (cut > 0)
            mass[rows, level] += cut
            entropy += _entropy_terms(held + cut) - _entropy_terms(held)
        spread = mass * np.log(np.where(mass > 0, mass / np.maximum(bins, 1), 1.0))
        return np.asarray((entropy - spread.sum(axis=1)) / self.items[-1])

    def _borders(self, grids: Grids) -> Indices:
        """First bin of each level, and the bin after the last one, ``(k, steps + 2)``.

        A bin belongs to the level next to its centre, the upper one of two, and to none beyond half a step from the
        last levels.
        """
        seen = self.seen
        centre = (seen.edges[0] + seen.edges[1]) / 2
        halfway = grids.first[:, None] + (np.arange(grids.steps + 2) - 0.5) * grids.step[:, None]
        indices = np.ceil((halfway - centre) / seen.width)
        clipped: Reals = np.clip(indices, 0, len(seen.counts))
        return clipped.astype(np.int64)


def _running(values: NDArray[np.generic]) -> Reals:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
