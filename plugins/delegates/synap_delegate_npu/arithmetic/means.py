"""Means of integers, rounded to integers: formulas in floating point that are exact for a bounded number of items."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.multiplier import Integers
from synap_delegate_npu.program.body import Body

MEAN_BOUND = 1 << 20
"""Product of the number of items and the largest of them below which `rounded_mean` is exact."""


def mean_is_exact(items: int, largest: int) -> bool:
    """Whether `rounded_mean` is exact for a number of integers up to a size.

    The sum is exact, division and the two additions behind it are off by less than ``largest * 2**-22`` together, and
    a mean that is no tie is at least ``1 / (2 * items)`` away from one. A quarter of ``1 / items``, by which the
    formula moves the ties to where they belong, lies in the middle.
    """
    return items * largest < MEAN_BOUND


def rounded_mean(body: Body, mean: ir.Value, items: int, zero_point: int, low: int) -> ir.Value:
    """Round means to the nearest, ties of the stored number away from zero.

    Args:
        body: Where the operators go.
        mean: Means in float32 of numbers counted from a zero point, at most two roundings from the exact ones.
        items: The largest number of items of a mean; `mean_is_exact` holds.
        zero_point: The zero point.
        low: The least stored number.

    Returns:
        The rounded means, counted from the zero point, float32.
    """
    tie = 1 / (4 * items)
    if low >= 0:
        return body.op("Floor", body.op("Add", mean, body.constant(0.5 + tie, np.float32)))
    raw = body.op("Add", mean, body.constant(zero_point, np.float32)) if zero_point else mean
    signed = body.op("Clip", raw, body.constant(-tie, np.float32), body.constant(tie, np.float32))
    return body.op("Floor", body.op("Add", mean, body.op("Add", signed, body.constant(0.5, np.float32))))


def rounded_quotient(body: Body, total: ir.Value, items: Integers, zero_point: int) -> ir.Value:
    """Divide sums by the numbers of their items; as `rounded_mean`, for any number of them.

    Args:
        body: Where the operators go.
        total: Sums of numbers counted from the zero point, float64.
        items: Numbers of items; they broadcast.
        zero_point: The zero point.
    """
    raw = body.op("Add", total, body.constant(items * zero_point, np.float64)) if zero_point else total
    # A quarter never completes a whole number: sums and halves of them are multiples of a half.
    tie = body.op("Clip", raw, body.constant(-0.25, np.float64), body.constant(0.25, np.float64))
    moved = body.op("Add", body.op("Add", total, body.constant(items / 2, np.float64)), tie)
    quotient = body.op("Floor", body.op("Div", moved, body.constant(items, np.float64)))
    return body.cast(quotient, np.float32)
