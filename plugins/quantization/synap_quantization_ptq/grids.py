"""Sets of evenly spaced numbers that integers can stand for, to be compared with each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synap_core.api import QuantSpec, Range, integer_limits, params_of
from synap_quantization_ptq.distribution import Distribution

Reals = NDArray[np.float64]

ENDS = 64
"""Most ends that are tried on either side of zero."""

HALVINGS = 8
"""Powers of two that are tried below the one that covers everything."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grids:
    """Candidates, the one that covers everything first.

    Attributes:
        low: Lower end of the range that leads to each, ``(k,)``.
        high: Upper end, ``(k,)``.
        first: Smallest number of each, ``(k,)``.
        step: Distance of its numbers, ``(k,)``.
        steps: Number of steps, which is one less than that of the numbers.
    """

    low: Reals
    high: Reals
    first: Reals
    step: Reals
    steps: int

    @property
    def levels(self) -> Reals:
        """All numbers, ``(k, steps + 1)``."""
        return self.first[:, None] + np.arange(self.steps + 1) * self.step[:, None]

    def take(self, indices: NDArray[np.int64] | slice) -> Grids:
        """Some of the candidates."""
        return replace(
            self, low=self.low[indices], high=self.high[indices], first=self.first[indices], step=self.step[indices]
        )

    def parts(self, size: int) -> Iterator[Grids]:
        """All of them, a number at a time."""
        for start in range(0, len(self.low), size):
            yield self.take(slice(start, start + size))


def grid_of(spec: QuantSpec, found: Range) -> Grids:
    """The numbers that a range leads to."""
    quant = params_of(spec, found)
    smallest, largest = integer_limits(spec.dtype, spec.scheme)
    step = quant.scale[0] if quant.fractional_length is None else 2.0**-quant.fractional_length
    zero_point = quant.zero_point[0] if quant.fractional_length is None else 0
    return Grids(
        low=np.atleast_1d(found.low),
        high=np.atleast_1d(found.high),
        first=np.asarray([(smallest - zero_point) * step]),
        step=np.asarray([step]),
        steps=largest - smallest,
    )


def affine_grids(seen: Distribution, spec: QuantSpec) -> Grids:
    """Candidates with ends at borders of bins, `ENDS` at most on either side of zero, the wider ones first."""
    smallest, largest = integer_limits(spec.dtype, spec.scheme)
    return even_grids(seen, largest - smallest)


def even_grids(seen: Distribution, steps: int) -> Grids:
    """Candidates of a number of steps."""
    lows, highs = -_ends(-seen.edges[::-1], -seen.low), _ends(seen.edges, seen.high)
    low, high = (side.reshape(-1) for side in np.meshgrid(lows, highs, indexing="ij"))
    order = np.argsort(low - high, kind="stable")
    low, high = low[order], high[order]
    step = (np.maximum(high, 0) - np.minimum(low, 0)) / steps
    first = np.rint(np.minimum(low, 0) / step) * step
    return Grids(low=low, high=high, first=first, step=step, steps=steps)


def fixed_point_grids(seen: Distribution, spec: QuantSpec) -> Grids:
    """Candidates with the step that covers everything and some halves, quarters and so on of it."""
    smallest, largest = integer_limits(spec.dtype, spec.scheme)
    whole = grid_of(spec, Range(low=np.asarray(seen.low), high=np.asarray(seen.high)))
    step = np.maximum(whole.step[0] * 0.5 ** np.arange(HALVINGS), np.finfo(np.float32).smallest_normal)
    low, high = np.maximum(seen.low, smallest * step), np.minimum(seen.high, largest * step)
    low[0], high[0] = seen.low, seen.high  # up to half a step may be beyond the last number
    return Grids(
        low=low,
        high=high,
        first=smallest * step,
        step=step,
        steps=whole.steps,
    )


def _ends(edges: Reals, end: float) -> Reals:
    """Upper ends to try: the end itself, and some of the edges between it and zero, evenly spaced."""
    between = edges[(edges > 0) & (edges < end)][::-1]
    if len(between) >= ENDS:
        between = between[np.linspace(0, len(between) - 1, ENDS - 1).round().astype(np.int64)]
    return np.append(end, between)
