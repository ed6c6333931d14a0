"""Rescaling in floating point, with the proof that it equals the integer definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from synap_delegate_npu.arithmetic.multiplier import BELOW_HALF, Integers, Multiplier, Reals, Rounding, shortened
from synap_delegate_npu.program.body import Body

FLOAT64_BITS = 53

INT32_NUMBERS = 1 << 31

MOST_POINTS = 1 << 22
"""Steps to be checked one by one, at the most."""


Numbers = TypeVar("Numbers", Integers, Reals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Integers that a result is cut to.

    Attributes:
        zero_point: What stands for zero.
        low: The least, not above ``zero_point``.
        high: The largest.
    """

    zero_point: int
    low: int
    high: int

    @property
    def relative(self) -> tuple[int, int]:
        """The ends, counted from the zero point."""
        return self.low - self.zero_point, self.high - self.zero_point


@dataclass(frozen=True, slots=True)
class Floors:
    """``floor(acc * factor + plus + sign(acc) * tie)`` in float64, one value each or one per channel."""

    factor: Reals
    plus: Reals
    tie: Reals

    def __call__(self, values: Integers) -> Reals:
        """Evaluate as the operators do: one rounding for each of them."""
        reals = values.astype(np.float64)
        return np.asarray(np.floor(reals * self.factor + (np.sign(reals) * self.tie + self.plus)))


def floors(by: Multiplier, window: Window, rounding: Rounding) -> Floors:
    """The formula that equals a rescaling within a window.

    Rounding twice to the nearest is one floor: with ``e = right`` bits to the right of at least 1 the first rounding
    moves the ties of the second by ``2**-(e + 1)`` away from zero. Where everything below zero is cut off anyway, the
    sign does not matter.
    """
    if rounding is Rounding.SHORT:
        reduced, shift = shortened(by)
        factor = np.ldexp(reduced.astype(np.float64), -shift)
    else:
        factor = by.real
    half, none = np.full_like(factor, 0.5), np.zeros_like(factor)
    if rounding is not Rounding.TWICE:
        return Floors(factor, half, none)
    extra = np.where(by.right > 0, np.ldexp(1.0, -by.right - 1), 0.0)
    return Floors(factor, half + extra, none) if window.relative[0] >= 0 else Floors(factor, half, extra)


def is_exact(
    formula: Floors, by: Multiplier, window: Window, rounding: Rounding, largest_sum: int | None = None
) -> bool:
    """Whether a formula in float64 equals its integer definition for every sum, once both are cut to a window.

    Either all of its arguments are exact: within the window they have at most 53 bits between that of the largest
    result and the last one behind the point. Or, as both grow with the sum, it is enough that they agree on both sides
    of every step of the definition.

    Args:
        formula: The formula.
        by: What it multiplies by.
        window: Where results are cut.
        rounding: Which definition it is to equal; not `Rounding.REAL`, which is one in float64.
        largest_sum: Bound of all sums where there is one.
    """
    low, high = window.relative
    flat = Multiplier(by.multiplier.reshape(-1), by.shift.reshape(-1))
    doubtful = _bits_of_arguments(flat, window, rounding, largest_sum) > FLOAT64_BITS
    number = int(np.count_nonzero(doubtful))
    if number == 0:
        return True
    if (high - low) * number > MOST_POINTS:
        return False
    few = Multiplier(flat.multiplier[doubtful], flat.shift[doubtful])
    factor, plus, tie = (array.reshape(-1)[doubtful] for array in (formula.factor, formula.plus, formula.tie))
    steps = np.arange(low + 1, high + 1)[:, None]
    same, first = Floors(factor, plus, tie), _first_sums(few, steps, rounding)
    return all(
        np.array_equal(np.clip(same(sums), low, high), np.clip(rounding.define(sums, few), low, high))
        for sums in (first - 1, first)
    )


def has_exact_arguments(by: Multiplier, window: Window, rounding: Rounding, largest_sum: int | None) -> bool:
    """Whether all arguments of a formula are exact in float64; its result is then the same however it is computed."""
    flat = Multiplier(by.multiplier.reshape(-1), by.shift.reshape(-1))
    return bool(np.all(_bits_of_arguments(flat, window, rounding, largest_sum) <= FLOAT64_BITS))


def _bits_of_arguments(by: Multiplier, window: Window, rounding: Rounding, largest_sum: int | None) -> Integers:
    """Bits that the arguments of a formula have within one step around a window, for each multiplier."""
    fixed, behind = shortened(by) if rounding is Rounding.SHORT else (by.multiplier, 31 - by.shift)
    _, zeros = np.frexp((fixed & -fixed).astype(np.float64))
    behind = np.maximum(behind - (zeros - 1), 1)
    if rounding is Rounding.TWICE:
        behind = np.maximum(behind, by.right + 1)
    low, high = window.relative
    before = np.full_like(behind, (max(abs(low), abs(high)) + 1).bit_length())
    if largest_sum is not None:
        _, reached = np.frexp(largest_sum * by.real)
        before = np.minimum(before, np.maximum(reached + 1, 1))
    return np.asarray(behind + before, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What is known of the sums that are rescaled.

    Attributes:
        axes: Number of axes behind that of the channels.
        channels: Number of channels; None where it is not known, or arguments are not exact in float64.
        largest: Bound of the sums; None without one.
    """

    axes: int = 0
    channels: int | None = None
    largest: int | None = None

    def bound(self, factor: Reals) -> float:
        """Bound of the sums times a factor, one value or one per channel."""
        return np.inf if self.largest is None else float(np.max(self.largest * factor))


def lower_rescaling(body: Body, total: ir.Value, formula: Floors, window: Window, sums: Sums) -> ir.Value:
    """Rescale sums and cut them to a window.

    Args:
        body: Where the operators go.
        total: The sums, float64.
        formula: The formula.
        window: The window.
        sums: What is known of the sums.

    Returns:
        Results counted from the zero point, float32.
    """
    if np.any(formula.tie):
        tie, plus = (body.constant(_spread(array, sums.axes), np.float64) for array in (formula.tie, formula.plus))
        addend = body.op("Add", body.op("Mul", body.op("Sign", total), tie), plus)
        factor = body.constant(_spread(formula.factor, sums.axes), np.float64)
        scaled = body.op("Add", body.op("Mul", total, factor), addend)
    else:
        scaled = _scaled(body, total, formula.factor, formula.plus, sums)
    result = _floored(body, scaled, window, sums.bound(formula.factor) + 1)
    low, high = window.relative
    return body.op("Clip", result, body.constant(low, np.float32), body.constant(high, np.float32))


def _scaled(body: Body, total: ir.Value, factor: Reals, plus: Reals, sums: Sums) -> ir.Value:
    """Multiply and add in float64: in one operator where there are channels, which halves the memory that it takes.

    That operator may round once where two round twice: channels are given where all arguments are exact.
    """
    if sums.channels is None or sums.axes == 0:
        scaled = body.op("Mul", total, body.constant(_spread(factor, sums.axes), np.float64))
        return body.op("Add", scaled, body.constant(_spread(plus, sums.axes), np.float64))
    channels = sums.channels
    scale, bias, mean, variance = (_for_each(body, array, channels) for array in (factor, plus, 0, 1))
    return body.op("BatchNormalization", total, scale, bias, mean, variance, epsilon=0.0)


def _for_each(body: Body, numbers: ArrayLike, channels: int) -> ir.Value:
    """A number for each channel, float64; where all are the same it is stored once."""
    array = np.broadcast_to(np.asarray(numbers, np.float64).reshape(-1), channels)
    if np.any(array != array[0]):
        return body.constant(array, np.float64)
    return body.op("Expand", body.constant(array[:1], np.float64), body.constant([channels], np.int64))


def _floored(body: Body, scaled: ir.Value, window: Window, largest: float) -> ir.Value:
    """Round down to float32, or towards zero where that is cheaper and all below zero is cut off anyway.

    Args:
        body: Where the operators go.
        scaled: What is rounded, float64.
        window: Where results are cut afterwards.
        largest: Bound of its size.
    """
    if window.relative[0] >= 0 and largest < INT32_NUMBERS:
        return body.cast(body.cast(scaled, np.int32), np.float32)
    return body.cast(body.op("Floor", scaled), np.float32)


def stored(body: Body, value: ir.Value, zero_point: int, dtype: str) -> ir.Value:
    """Put results that are counted from the zero point into memory."""
    shifted = body.op("Add", value, body.constant(zero_point, np.float32)) if zero_point else value
    return body.cast(shifted, dtype)


def loaded(body: Body, value: ir.Value, zero_point: int) -> ir.Value:
    """Integers of a tensor counted from its zero point, float32; exact for up to 16 bits."""
    real = body.cast(value, np.float32)
    return body.op("Sub", real, body.constant(zero_point, np.float32)) if zero_point else real


def lower_integer_rescaling(
    body: Body, total: ir.Value, by: Multiplier, window: Window, axes: int, rounding: Rounding
) -> ir.Value:
    """Rescale sums in 64-bit integers, as the definition says; several times slower than `lower_rescaling`.

    Sums whose products would leave 64 bits are cut: their results are far outside of any window.
    """

    def constant(array: Integers) -> ir.Value:
        return body.constant(_spread(array, axes), np.int64)

    values = body.cast(total, np.int64)
    if np.any(by.shift > 0):
        most = _largest_sum(by, rounding)
        values = body.op("Max", body.op("Min", values, constant(most)), constant(-most))
    if rounding is Rounding.TWICE:
        shifted = body.op("Mul", values, constant(1 << np.maximum(by.shift, 0)))
        product = body.op("Mul", shifted, constant(by.multiplier))
        high = _floor_divided(body, body.op("Add", product, body.constant(1 << 30, np.int64)), np.asarray(1 << 31))
        half = constant(np.where(by.right > 0, 1 << np.maximum(by.right - 1, 0), 0))
        negative = body.cast(body.op("Less", high, body.constant(0, np.int64)), np.int64)
        nudge = body.op("Mul", negative, constant(np.where(by.right > 0, -1, 0)))
        rounded = body.op("Add", high, body.op("Add", nudge, half))
        result = _floor_divided(body, rounded, _spread(1 << by.right, axes))
    else:
        factor, shift = shortened(by) if rounding is Rounding.SHORT else (by.multiplier, 31 - by.shift)
        rounded = body.op("Add", body.op("Mul", values, constant(factor)), constant(1 << (shift - 1)))
        result = _floor_divided(body, rounded, _spread(1 << shift, axes))
    least, largest = window.relative
    cut = body.op("Clip", result, body.constant(least, np.int64), body.constant(largest, np.int64))
    return body.cast(cut, np.float32)


def lower_real_rescaling(body: Body, total: ir.Value, by: Multiplier, window: Window, sums: Sums) -> ir.Value:
    """Rescale sums in float64, as the definition of `Rounding.REAL` says; as `lower_rescaling`."""
    scaled = body.op("Mul", total, body.constant(_spread(by.real, sums.axes), np.float64))
    below_half = body.constant(BELOW_HALF, np.float64)
    low, high = window.relative
    if low >= 0:
        result = _floored(body, body.op("Add", scaled, below_half), window, sums.bound(by.real) + 1)
    else:
        size = body.op("Floor", body.op("Add", body.op("Abs", scaled), below_half))
        result = body.cast(body.op("Mul", body.op("Sign", scaled), size), np.float32)
    return body.op("Clip", result, body.constant(low, np.float32), body.constant(high, np.float32))


def _first_sums(by: Multiplier, steps: Integers, rounding: Rounding) -> Integers:
    """The least sum whose definition reaches a step, for each step and channel.

    Nearly all of them are where, or just before, the real product is half a step below; the others are found by
    bisection between all sums.
    """
    largest = _largest_sum(by, rounding).astype(np.float64)
    with np.errstate(divide="ignore"):
        guess = np.clip(np.ceil((steps - 0.5) / by.real), -largest, largest).astype(np.int64)
    below, before, there = (rounding.define(guess + by_much, by) >= steps for by_much in (-2, -1, 0))
    first = guess + 1 - before - there
    unknown = below | ~there
    if np.any(unknown):
        step, channel = np.broadcast_to(steps, first.shape)[unknown], np.nonzero(unknown)[1]
        first[unknown] = _bisected(Multiplier(by.multiplier[channel], by.shift[channel]), step, rounding)
    return first


def _bisected(by: Multiplier, steps: Integers, rounding: Rounding) -> Integers:
    high = _largest_sum(by, rounding)
    low = -high
    while np.any(high - low > 1):
        middle = (low + high) >> 1
        reached = rounding.define(middle, by) >= steps
        high, low = np.where(reached, middle, high), np.where(reached, low, middle)
    return high


def _largest_sum(by: Multiplier, rounding: Rounding) -> Integers:
    """Bound of the sums that a definition is for; products with the multiplier fit in int64."""
    if rounding is Rounding.SHORT:
        return np.full_like(by.shift, 1 << 46)
    return np.asarray((1 << 31) >> np.maximum(by.shift, 0))


def _spread(array: Numbers, axes: int) -> Numbers:
    return array.reshape(-1, *(1,) * axes) if array.ndim else array


def _floor_divided(body: Body, value: ir.Value, by: Integers) -> ir.Value:
    """Quotient rounded down; the operator rounds towards zero, and its remainder here has the divisor's sign."""
    divisor = body.constant(by, np.int64)
    return body.op("Div", body.op("Sub", value, body.op("Mod", value, divisor)), divisor)
