"""Statistics of tensors, and the ranges that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from synap_core.api import Observer, QuantSpec, Range
from synap_quantization_ptq.distribution import Distribution
from synap_quantization_ptq.histogram import Histogram
from synap_quantization_ptq.search import divergence_of, find_range

Real = NDArray[np.float32]
Ends = NDArray[np.float64]

Kind = Literal["min_max", "percentile", "mse", "kl", "moving_average"]
"""Ways to find a range."""

NO_DATA = "a range was asked for before there was any data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How the range of a tensor is found.

    Attributes:
        kind: The way.
        percentile: Part of the items inside the range, in percent, for ``percentile``.
        bins: Bins of the histogram, if there is one; a power of two.
        decay: Weight of earlier samples, for ``moving_average``.
        histogram: Whether there is a histogram even if the way needs none.
        divergence: Whether ranges tell how much they change the distribution.
    """

    kind: Kind
    percentile: float = 99.99
    bins: int = 2048
    decay: float = 0.9
    histogram: bool = False
    divergence: bool = False

    def with_divergence(self, bins: int) -> Choice:
        """The same choice, with ranges that tell how much they change the distribution."""
        return replace(self, bins=bins, divergence=True)


def make_observer(choice: Choice, spec: QuantSpec) -> Observer:
    """Make an empty observer.

    Args:
        choice: How the range is found; with an axis, only ``min_max``.
        spec: How the tensor is to be quantized.
    """
    if spec.axis is not None:
        return ChannelObserver(choice, spec) if choice.divergence else MinMaxObserver(spec)
    if choice.kind == "moving_average":
        return MovingAverageObserver(choice, spec)
    if choice.kind == "min_max" and not (choice.histogram or choice.divergence):
        return MinMaxObserver(spec)
    return HistogramObserver(choice, spec)


class MinMaxObserver:
    """Smallest and largest item, of the tensor or of each channel."""

    def __init__(self, spec: QuantSpec) -> None:
        self._spec = spec
        self._low: Ends | None = None
        self._high: Ends | None = None

    def update(self, values: Real) -> None:
        """Take the items of the tensor for one sample."""
        if values.size:
            others = _other_axes(values.ndim, self._spec.axis)
            self._take(np.asarray(values.min(axis=others), np.float64), np.asarray(values.max(axis=others), np.float64))

    def merge(self, other: Self) -> None:
        """Take what another observer saw; exact, and in any order."""
        if other._low is not None and other._high is not None:
            self._take(other._low, other._high)

    def range(self) -> Range:
        """Range of all that was seen.

        Raises:
            ValueError: There was no data.
        """
        if self._low is None or self._high is None:
            raise ValueError(NO_DATA)
        return _trimmed(Range(low=self._low, high=self._high), self._spec)

    def _take(self, low: Ends, high: Ends) -> None:
        self._low = low if self._low is None else np.asarray(np.minimum(self._low, low))
        self._high = high if self._high is None else np.asarray(np.maximum(self._high, high))


class MovingAverageObserver:
    """Averages of the smallest and of the largest item of each sample, the latest counting most.

    After samples 1 to n with decay d, an end is ``sum((1 - d) * d**(n - i) * x[i]) / (1 - d**n)``, the average of Adam
    (Kingma and Ba, 2015, algorithm 1) with its correction for the beginning. The sum and ``d**n`` are what is kept:
    of two halves, the sum of the first times ``d**n`` of the second is added to that of the second.
    """

    def __init__(self, choice: Choice, spec: QuantSpec) -> None:
        self._decay = choice.decay
        self._spec = spec
        self._sums = np.zeros(2)
        self._left = 1.0

    def update(self, values: Real) -> None:
        """Take the items of the tensor for one sample."""
        if values.size:
            ends = np.asarray([values.min(), values.max()], np.float64)
            self._sums = self._decay * self._sums + (1 - self._decay) * ends
            self._left *= self._decay

    def merge(self, other: Self) -> None:
        """Take what another observer saw after what this one saw; the same to rounding as one observer for all."""
        self._sums = other._left * self._sums + other._sums
        self._left *= other._left

    def range(self) -> Range:
        """Range between the averages.

        Raises:
            ValueError: There was no data.
        """
        if self._left == 1:
            raise ValueError(NO_DATA)
        low, high = self._sums / (1 - self._left)
        return _trimmed(Range(low=np.asarray(low), high=np.asarray(max(low, high))), self._spec)


class HistogramObserver:
    """Histogram of a tensor, for ranges that leave out some of the items."""

    def __init__(self, choice: Choice, spec: QuantSpec) -> None:
        self._choice = choice
        self._spec = spec
        self._histogram = Histogram(choice.bins)

    def update(self, values: Real) -> None:
        """Take the items of the tensor for one sample."""
        self._histogram.update(values)

    def merge(self, other: Self) -> None:
        """Take what another observer saw; exact, and in any order."""
        self._histogram.merge(other._histogram)

    def range(self) -> Range:
        """Range of the kind that was chosen.

        Raises:
            ValueError: There was no data.
        """
        return self.range_of(self._choice.kind)

    def range_of(self, kind: Kind, percentile: float | None = None) -> Range:
        """Range of any kind but ``moving_average``.

        Args:
            kind: The kind.
            percentile: Part of the items inside the range, in percent; the chosen one by default.

        Raises:
            ValueError: There was no data, or a histogram does not tell such a range.
        """
        if self._histogram.low > self._histogram.high:
            raise ValueError(NO_DATA)
        seen = Distribution.of(self._histogram, self._spec.bounds)
        low, high = find_range(seen, self._spec, kind, percentile or self._choice.percentile)
        divergence = divergence_of(seen, self._spec, low, high) if self._choice.divergence else None
        return Range(low=np.asarray(low), high=np.asarray(high), divergence=divergence)


class ChannelObserver(MinMaxObserver):
    """Smallest and largest item of each channel, and how much quantizing changes the tensor.

    The channels are counted together, each divided by its largest magnitude: they then have the same steps. This needs
    the whole tensor at once, as weights are shown.
    """

    def __init__(self, choice: Choice, spec: QuantSpec) -> None:
        super().__init__(spec)
        self._histogram = Histogram(choice.bins)

    def update(self, values: Real) -> None:
        """Take the whole tensor."""
        super().update(values)
        if values.size:
            others = _other_axes(values.ndim, self._spec.axis)
            largest = np.maximum(values.max(axis=others, keepdims=True), -values.min(axis=others, keepdims=True))
            self._histogram.update((values / np.where(largest > 0, largest, 1)).astype(np.float32, copy=False))

    def merge(self, other: Self) -> None:
        """Take what another observer saw."""
        super().merge(other)
        self._histogram.merge(other._histogram)

    def range(self) -> Range:
        """Range of each channel.

        Raises:
            ValueError: There was no data.
        """
        found = super().range()
        whole = replace(self._spec, axis=None)
        return replace(found, divergence=divergence_of(Distribution.of(self._histogram), whole, -1.0, 1.0))


def _other_axes(rank: int, axis: int | None) -> tuple[int, ...]:
    return tuple(other for other in range(rank) if axis is None or other != axis % rank)


def _trimmed(found: Range, spec: QuantSpec) -> Range:
    """The part of a range that has an effect; nothing is left of a range that has none."""
    low, high = np.clip(found.low, *spec.bounds), np.clip(found.high, *spec.bounds)
    return replace(found, low=np.asarray(low), high=np.asarray(high))
