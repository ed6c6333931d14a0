"""Multipliers in fixed point: what a rescaling to another step multiplies integers by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]

LEAST_SHIFT = -31
"""Multipliers below ``2**-32`` are taken for zero."""

WIDE_BITS = 53
"""Bits behind the point of multipliers that hold every float64."""

BELOW_HALF = float(np.nextafter(0.5, 0.0))
"""What is added before rounding down so that halves go up: a whole half would lift the number just below it, too."""


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Real multipliers ``multiplier * 2**(shift - bits)``, one or one per channel.

    Attributes:
        multiplier: int64 in [2**(bits - 1), 2**bits), or 0.
        shift: int64; bits to the left.
        bits: Bits behind the point.
    """

    multiplier: Integers
    shift: Integers
    bits: int = 31

    @property
    def real(self) -> Reals:
        """The numbers that they stand for; exact."""
        return np.ldexp(self.multiplier.astype(np.float64), self.shift - self.bits)

    @property
    def right(self) -> Integers:
        """Bits to the right of a rounding shift; 0 where the multiplier is one half or more."""
        return np.maximum(-self.shift, 0)


def multiplier_of(real: float | Reals) -> Multiplier:
    """The fixed-point multipliers nearest to real ones.

    Args:
        real: Positive numbers, of rank 0 or 1.

    Source: TFLite ``QuantizeMultiplier`` (kernels/internal/quantization_util.cc).
    """
    fraction, shift = np.frexp(np.asarray(real, np.float64))
    scaled = np.ldexp(fraction, 31)
    fixed = np.floor(np.abs(scaled) + 0.5).astype(np.int64)
    carried = fixed == 1 << 31
    fixed, shift = np.where(carried, 1 << 30, fixed), shift.astype(np.int64) + carried
    lost = shift < LEAST_SHIFT
    return Multiplier(np.where(lost, 0, fixed), np.where(lost, 0, shift))


def wide_multiplier_of(real: float | Reals) -> Multiplier:
    """The same numbers with as many bits as they have.

    Args:
        real: Positive numbers, of rank 0 or 1.
    """
    fraction, shift = np.frexp(np.asarray(real, np.float64))
    return Multiplier(np.ldexp(fraction, WIDE_BITS).astype(np.int64), shift.astype(np.int64), WIDE_BITS)


def rescale(values: Integers, by: Multiplier) -> Integers:
    """Multiply int32 numbers by a fixed-point multiplier and round to the nearest, ties away from zero.

    The product is rounded twice: to 31 bits behind the point with ties towards plus infinity, then by the shift to the
    right with ties away from zero.

    Args:
        values: Any shape that broadcasts with the multipliers.
        by: The multiplier.

    Source: TFLite ``MultiplyByQuantizedMultiplier`` (kernels/internal/common.h), without the saturation of a product
    of two ``-2**31``, which does not occur.
    """
    shifted = values.astype(np.int64) << np.maximum(by.shift, 0)
    high = (shifted * by.multiplier + (1 << 30)) >> 31
    right = by.right
    half = np.where(right > 0, 1 << np.maximum(right - 1, 0), 0)
    return np.asarray((high + half - ((high < 0) & (right > 0))) >> right)


def rescale_once(values: Integers, by: Multiplier) -> Integers:
    """Multiply int32 numbers by a fixed-point multiplier and round once to the nearest, ties towards plus infinity.

    Source: TFLite ``MultiplyByQuantizedMultiplier`` as it is compiled with ``TFLITE_SINGLE_ROUNDING``
    (kernels/internal/common.h).
    """
    right = 31 - by.shift
    return np.asarray((values.astype(np.int64) * by.multiplier + (1 << (right - 1))) >> right)


def rescale_short(values: Integers, by: Multiplier) -> Integers:
    """Multiply 40-bit numbers by a multiplier of 15 bits and round to the nearest, ties towards plus infinity.

    Source: TFLite ``MultiplyByQuantizedMultiplier`` for int64 (kernels/internal/common.h), which convolutions of int16
    use.
    """
    reduced, shift = shortened(by)
    return np.asarray((values.astype(np.int64) * reduced + (1 << (shift - 1))) >> shift)


def rescale_real(values: Integers, by: Multiplier) -> Integers:
    """Multiply numbers of up to 53 bits in float64 and round the product to the nearest, ties away from zero.

    Source: observed of fully connected layers in LiteRT 2.
    """
    product = values.astype(np.float64) * by.real
    return np.asarray(np.sign(product) * np.floor(np.abs(product) + BELOW_HALF), np.int64)


def shortened(by: Multiplier) -> tuple[Integers, Integers]:
    """Multiplier of 15 bits, and the bits to shift its product to the right by."""
    reduced = np.where(by.multiplier < 0x7FFF0000, (by.multiplier + (1 << 15)) >> 16, 0x7FFF)
    return reduced, 15 - by.shift


class Rounding(Enum):
    """How a rescaling rounds; the value is the word for it in programs."""

    TWICE = "twice"
    ONCE = "once"
    SHORT = "short"
    REAL = "real"

    @property
    def define(self) -> Callable[[Integers, Multiplier], Integers]:
        """The integer definition."""
        return _DEFINITIONS[self]


_DEFINITIONS = {
    Rounding.TWICE: rescale,
    Rounding.ONCE: rescale_once,
    Rounding.SHORT: rescale_short,
    Rounding.REAL: rescale_real,
}
