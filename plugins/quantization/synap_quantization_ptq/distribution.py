"""What a histogram tells about the numbers of a tensor that matter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from synap_quantization_ptq.histogram import Histogram

Reals = NDArray[np.float64]

EVERYTHING = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distribution:
    """Numbers of items in bins of equal width.

    Attributes:
        counts: ``(n,) float64``; zeros are left out.
        edges: Borders of the bins, ``(n + 1,)``, zero among them.
        zeros: Number of items that are exactly zero.
        low: Smallest item.
        high: Largest item.
    """

    counts: Reals
    edges: Reals
    zeros: float
    low: float
    high: float

    @classmethod
    def of(cls, histogram: Histogram, bounds: tuple[float, float] = EVERYTHING) -> Self:
        """Take the bins in use.

        Args:
            histogram: The histogram; not without items.
            bounds: Items beyond these have the same effect as these, and are counted there.
        """
        counts, edges, half = histogram.counts.astype(np.float64), histogram.edges, len(histogram.counts) // 2
        low, high = (min(max(end, bounds[0]), bounds[1]) for end in (histogram.low, histogram.high))
        zeros = float(histogram.zeros)
        if low > histogram.low:
            start = min(math.floor(low / histogram.width) + half, len(counts) - 1)
            zeros += _fold(counts, slice(0, start), start, low)
        if high < histogram.high:
            stop = max(math.ceil(high / histogram.width) + half, 1)
            zeros += _fold(counts, slice(stop, None), stop - 1, high)
        used = np.flatnonzero(counts)
        first, last = (min(used[0], half), max(used[-1] + 1, half)) if used.size else (half, half)
        return cls(counts=counts[first:last], edges=edges[first : last + 1], zeros=zeros, low=low, high=high)

    @property
    def width(self) -> float:
        """Width of a bin; 0 when there is none."""
        return float(self.edges[1] - self.edges[0]) if self.counts.size else 0.0

    @property
    def centres(self) -> Reals:
        """Middle of each bin, ``(n,)``."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    @property
    def total(self) -> float:
        """Number of items."""
        return float(self.counts.sum()) + self.zeros


def _fold(counts: Reals, outside: slice, at: int, bound: float) -> float:
    """Move the items beyond a bound to the bin at the bound; return how many become zeros instead."""
    moved = float(counts[outside].sum())
    counts[outside] = 0.0
    if bound == 0:
        return moved
    counts[at] += moved
    return 0.0
