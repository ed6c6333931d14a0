"""A histogram that grows with its data and is the same however the data is split."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

CHUNK = 32_768
"""Items that are counted at a time: what is computed from them stays in the cache."""

SMALLEST_EXPONENT = -100
"""Histograms of smaller numbers are not made finer: the number of bins in one must be a float32."""


class Histogram:
    """Counts of numbers in bins of equal width, as many below zero as above it.

    The bins cover ``[-2**exponent, 2**exponent)``, the least power of two that contains all numbers. When a larger one
    comes, pairs of bins are joined until it fits. Edges are multiples of a power of two, so a number ends up in the
    same bin whichever came before it: merging is exact and does not depend on the order.

    Attributes:
        counts: ``(bins,) int64``; zeros are left out.
        zeros: Number of items that are exactly zero: many after a ReLU, and quantized without error.
        exponent: Binary logarithm of the upper end; None until a number other than zero comes.
        low: Smallest item; infinite when there is none.
        high: Largest item; minus infinity when there is none.
    """

    def __init__(self, bins: int) -> None:
        self.counts: Counts = np.zeros(bins, np.int64)
        self.zeros = 0
        self.exponent: int | None = None
        self.low = math.inf
        self.high = -math.inf

    @property
    def width(self) -> float:
        """Width of a bin; that of the smallest histogram when there is no number but zero."""
        exponent = SMALLEST_EXPONENT if self.exponent is None else self.exponent
        return math.ldexp(2.0, exponent) / len(self.counts)

    @property
    def edges(self) -> NDArray[np.float64]:
        """Borders of the bins, ``(bins + 1,)``."""
        half = len(self.counts) // 2
        return np.arange(-half, half + 1, dtype=np.float64) * self.width

    def update(self, values: NDArray[np.float32]) -> None:
        """Count the items of an array of any shape; all are finite."""
        flat = values.reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        if largest > 0:
            self._grow(max(math.frexp(largest)[1], SMALLEST_EXPONENT))
            self.zeros += self._count(flat)
        else:
            self.zeros += flat.size

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram with as many bins; it is left as it is."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.zeros += other.zeros
        if other.exponent is None:
            return
        self._grow(other.exponent)
        shift = 0 if self.exponent is None else self.exponent - other.exponent
        self.counts += _joined(other.counts, shift)

    def _grow(self, exponent: int) -> None:
        if self.exponent is None:
            self.exponent = exponent
        elif exponent > self.exponent:
            self.counts = _joined(self.counts, exponent - self.exponent)
            self.exponent = exponent

    def _count(self, flat: NDArray[np.float32]) -> int:
        """Count all items but zeros, and return the number of these."""
        half, bins, per_unit = len(self.counts) // 2, len(self.counts), 1 / self.width
        zeros = 0
        # Multiplying by less than 1, float32 might round tiny negative numbers up to zero, and so into the next bin.
        exact = np.float32 if per_unit >= 1 else np.float64
        scaled, indices = np.empty(min(CHUNK, flat.size), exact), np.empty(min(CHUNK, flat.size), np.int32)
        for start in range(0, flat.size, CHUNK):
            chunk = flat[start : start + CHUNK]
            part, index = scaled[: chunk.size], indices[: chunk.size]
            np.multiply(chunk, exact(per_unit), out=part)
            np.floor(part, out=part)
            np.add(part, half, out=index, casting="unsafe")
            self.counts += np.bincount(index, minlength=bins)
            zeros += int(np.count_nonzero(chunk == 0))
        self.counts[half] -= zeros
        return zeros


def _joined(counts: Counts, shift: int) -> Counts:
    """Counts in bins that are ``2**shift`` as wide, around the same zero."""
    if not shift:
        return counts
    half = len(counts) // 2
    # All bins of one sign are one bin from some shift on; Python's integers are not limited, NumPy's are.
    targets = (np.arange(-half, half) >> min(shift, 62)) + half
    joined = np.zeros_like(counts)
    np.add.at(joined, targets, counts)
    return joined
