"""Functions of int16 as the recurrent kernels of integers compute them: polynomials in fixed point, no real numbers.

A number has some bits in front of the binary point and the rest of its 15 behind it. Results have none in front.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

BITS = 15
LEAST, LARGEST = -(1 << BITS), (1 << BITS) - 1
"""Ends of int16; the larger one stands for 1 where there are no bits in front of the point."""

MOST_INTEGER_BITS = 6
"""Bits in front of the point of what the kernel knows the hyperbolic tangent of."""

EXPONENTIALS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""``exp(-2**k)`` for k from -2, with 31 bits behind the point."""

EXP_OF_EIGHTH, THIRD = 1895147668, 715827883
"""``exp(-1/8)`` and 1/3, with 31 bits behind the point."""

FIRST_GUESS, GUESS_SLOPE = 1515870810, -1010580540
"""48/17 and -32/17, with 29 bits behind the point."""

NEWTON_STEPS = 3


@functools.cache
def table(function: str, integer_bits: int) -> NDArray[np.int16]:
    """Results for all integers, ``(65536,)``: item ``x`` is that for ``x``, counted from the end for ``x < 0``.

    Args:
        function: ``Sigmoid`` or ``Tanh``.
        integer_bits: Bits in front of the point of the operand, 0 to 6.

    Source: TFLite ``PortableApplySigmoid`` and ``PortableApplyTanh`` (kernels/internal/reference/
    portable_tensor_utils.cc), which call gemmlowp's ``logistic`` and ``tanh`` (fixedpoint/fixedpoint.h).
    """
    compute = {"Sigmoid": _sigmoid, "Tanh": _tanh}[function]
    numbers = np.arange(1 << 16).astype(np.int16).astype(np.int64)
    found = compute(numbers, integer_bits).astype(np.int16)
    found.setflags(write=False)
    return found


def second_shift(ratio: float) -> int:
    """Bits by which the kernels shift a product to the right, and round it again, after they rounded it once.

    Args:
        ratio: What integers are multiplied by, above 0.

    Source: TFLite ``QuantizeMultiplier`` (kernels/internal/quantization_util.cc).
    """
    fraction, exponent = math.frexp(ratio)
    return max(-exponent - (round(fraction * 2**31) >> 31), 0)


def _sigmoid(x: Integers, bits: int) -> Integers:
    # -32768 has no opposite: it stays what it is.
    above = _doubled(_reciprocal(_exp(_wrapped(-np.abs(x)), bits)), 1)
    return np.where(x == 0, 1 << (BITS - 1), np.where(x > 0, above, LARGEST - above))


def _tanh(x: Integers, bits: int) -> Integers:
    # (1 - e) / (1 + e) of e = exp(-2|x|), which the same bits are with one more in front of the point.
    below = _doubled(_reciprocal(_exp(-np.abs(x), bits + 1)) - (1 << (BITS - 2)), 2)
    return np.where(x == 0, 0, np.where(x < 0, -below, below))


def _exp(x: Integers, bits: int) -> Integers:
    """``exp(x)`` for ``x <= 0``: of what is left of a quarter, times one constant for each bit of the rest."""
    quarter = 1 << (BITS - bits - 2)
    rest = (x & (quarter - 1)) - quarter
    result = _exp_of_quarter(_doubled(rest, bits))
    whole = rest - x
    for exponent, constant in enumerate(EXPONENTIALS, -2):
        if exponent < bits:
            is_set = whole >> (BITS - bits + exponent) & 1
            result = np.where(is_set != 0, _times(result, _constant(constant)), result)
    if bits > 5:
        result = np.where(x < -(1 << (BITS - bits + 5)), 0, result)
    return np.where(x == 0, LARGEST, result)


def _exp_of_quarter(x: Integers) -> Integers:
    """``exp(x)`` for -1/4 to 0: four terms of the series around -1/8."""
    x = x + (1 << (BITS - 3))
    square = _times(x, x)
    cube, fourth = _times(square, x), _times(square, square)
    higher = _halved(_times(_halved(fourth, 2) + cube, _constant(THIRD)) + square, 1)
    factor = _constant(EXP_OF_EIGHTH)
    return _saturated(factor + _times(x + higher, factor))


def _reciprocal(x: Integers) -> Integers:
    """``2 / (1 + x)`` for 0 to 1, with two bits in front of the point: three steps of Newton's from a line."""
    half = (x + LARGEST + 1) // 2
    result = _constant(FIRST_GUESS) + _times(half, _constant(GUESS_SLOPE))
    for _ in range(NEWTON_STEPS):
        left = (1 << (BITS - 2)) - _times(half, result)
        result = result + _doubled(_times(result, left), 2)
    return result


def _times(one: Integers, other: Integers) -> Integers:
    """High half of the doubled product, to the nearest; ties away from zero above it, towards it below."""
    product = one * other
    nudge = np.where(product >= 0, 1 << (BITS - 1), 1 - (1 << (BITS - 1)))
    return np.minimum(_truncated(product + nudge, BITS), LARGEST)


def _truncated(x: Integers, bits: int) -> Integers:
    return np.asarray(np.sign(x) * (np.abs(x) >> bits), np.int64)


def _halved(x: Integers, times: int) -> Integers:
    """Divided by a power of two, to the nearest, ties away from zero."""
    return np.asarray(np.sign(x) * ((np.abs(x) + (1 << (times - 1))) >> times), np.int64)


def _doubled(x: Integers, times: int) -> Integers:
    return _saturated(x << times)


def _saturated(x: Integers) -> Integers:
    return np.asarray(np.clip(x, LEAST, LARGEST), np.int64)


def _wrapped(x: Integers) -> Integers:
    return x.astype(np.int16).astype(np.int64)


def _constant(bits: int) -> Integers:
    """A constant of 32 bits as one of 16."""
    return _halved(np.asarray(bits, np.int64), 16)
