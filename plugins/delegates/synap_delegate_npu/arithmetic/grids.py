"""Places in a tensor that the items of a resized one are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synap_delegate_npu.arithmetic.multiplier import Integers, Reals

UNIT = 1 << 10
"""Steps of an item that the reference kernels of int8 and int16 count places in."""

FINE_UNITS = {1: 1 << 14, 2: 1 << 17}
"""Steps for types of one and two bytes where that is too coarse: results are off by less than half a step then."""

EXACT_UNIT = 1 << 14
"""Products of 8 bits and weights counted in this, and the sum of four of them, are exact in float32."""

COORDINATES = frozenset({"half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"})
"""Modes of the standard operator Resize that are known here."""

LITERT_COORDINATES = frozenset({"half_pixel", "align_corners", "asymmetric"})
"""Modes that LiteRT has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An axis that is resized.

    Attributes:
        axis: The axis.
        before: Its items before.
        after: And after.
        scale: Items after for each one before.
        mode: How places are computed, as the standard operator Resize names it.
    """

    axis: int
    before: int
    after: int
    scale: float
    mode: str

    @property
    def is_litert(self) -> bool:
        """Whether LiteRT may have the same."""
        return self.mode in LITERT_COORDINATES and self.scale == self.after / self.before

    @property
    def _lengths(self) -> tuple[int, int]:
        """Numerator and denominator of the step from one place to the next."""
        if self.mode == "align_corners":
            return (self.before - 1, self.after - 1) if self.after > 1 else (self.before, 1)
        return self.before, self.after

    @property
    def _is_centred(self) -> bool:
        return "half_pixel" in self.mode

    def exact(self) -> Reals:
        """Places, float64, within the tensor. Source: ONNX, operator Resize."""
        numbers = np.arange(self.after, dtype=np.float64)
        if self.mode == "align_corners":
            places = numbers * (self.before - 1) / max(self.after - 1, 1)
        elif self.mode == "asymmetric":
            places = numbers / self.scale
        elif self.mode == "pytorch_half_pixel" and self.after == 1:
            places = np.zeros(1)
        else:
            places = (numbers + 0.5) / self.scale - 0.5
        if self.mode == "half_pixel_symmetric":
            places += self.before / 2 * (1 - self.after / (self.scale * self.before))
        return np.clip(places, 0, self.before - 1)

    def counted(self) -> Reals:
        """Places as the reference kernels of int8 and int16 count them: multiples of ``1 / UNIT``.

        Source: TFLite ``ComputeInterpolationValuesInteger`` (kernels/internal/reference/resize_bilinear.h).
        """
        length, count = self._lengths
        step = (UNIT * length + count // 2) // count
        start = step // 2 - UNIT // 2 if self._is_centred else 0
        return np.asarray(np.clip((np.arange(self.after) * step + start) / UNIT, 0, self.before - 1))

    def single(self) -> NDArray[np.float32]:
        """Places as the reference kernel of uint8 computes them, float32; they may lie outside of the tensor.

        Source: TFLite ``ComputeInterpolationValues`` (kernels/internal/reference/resize_bilinear.h).
        """
        length, count = self._lengths
        step, half = np.float32(length) / np.float32(count), np.float32(0.5)
        numbers = np.arange(self.after, dtype=np.float32)
        places = (numbers + half) * step - half if self._is_centred else numbers * step
        return np.asarray(places, np.float32)

    def deviation(self) -> float:
        """By how many items the counted places are off at most."""
        return float(np.abs(self.counted() - self.exact()).max(initial=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Places along one axis, as neighbours and weights.

    Attributes:
        axis: The axis.
        lower: The item at or in front of each place.
        upper: The one behind it; the same at the end.
        weight: Weight of the upper one, counted in ``1 / unit``.
        unit: A power of two.
    """

    axis: int
    lower: Integers
    upper: Integers
    weight: Integers
    unit: int


def grid_of(side: Side, places: Reals, unit: int) -> Grid:
    """Neighbours of places and their weights.

    Args:
        side: The axis.
        places: Within the tensor; rounded to multiples of ``1 / unit``.
        unit: A power of two; that of the grid is the least that the rounded places need.
    """
    steps = np.rint(places * unit).astype(np.int64)
    lower = steps // unit
    weight = steps - lower * unit
    shared = int(np.gcd.reduce(np.append(weight, unit)))
    return Grid(
        axis=side.axis,
        lower=lower,
        upper=np.minimum(lower + 1, side.before - 1),
        weight=weight // shared,
        unit=unit // shared,
    )


def grids_for(sides: list[Side], dtype: str) -> list[Grid]:
    """Places that integers are interpolated at, coarse ones only where no result changes by more than half a step."""
    info = np.iinfo(dtype)
    span = int(info.max) - int(info.min)
    counts = all(side.is_litert for side in sides) and sum(side.deviation() for side in sides) * (span - 1) <= 0.5
    unit = UNIT if counts else FINE_UNITS[np.dtype(dtype).itemsize]
    return [grid_of(side, side.counted() if counts else side.exact(), unit) for side in sides]


def float32_grids(sides: list[Side]) -> list[Grid] | None:
    """Places that float32 has exactly and interpolates 8 bits at without any rounding; None where there are others."""
    grids = []
    for side in sides:
        places = side.single().astype(np.float64)
        if np.any(places * EXACT_UNIT % 1):
            return None
        grids.append(grid_of(side, np.clip(places, 0, side.before - 1), EXACT_UNIT))
    return grids if np.prod([grid.unit for grid in grids]) <= EXACT_UNIT else None
