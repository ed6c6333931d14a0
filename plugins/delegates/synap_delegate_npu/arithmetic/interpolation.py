"""Functions of 16-bit integers by interpolation between 513 samples, and the softmax that is made of two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.integers import Scaling, lower_scaled
from synap_delegate_npu.arithmetic.multiplier import Integers
from synap_delegate_npu.arithmetic.pairs import cut_to
from synap_delegate_npu.arithmetic.rescaling import Window
from synap_delegate_npu.arithmetic.tables import looked_up
from synap_delegate_npu.program.body import Body

SEGMENTS = 512
ITEMS = 128
"""Integers between two samples."""

RANGE = (1 << 16) - 1
LIMIT = 1 << 15

LEAST_EXPONENT = -10.0
"""Exponentials of what is lower are taken for that of this number."""

UNIT_BITS = 15
"""Bits behind the point of exponentials and of the result."""


@dataclass(frozen=True, slots=True)
class Samples:
    """A function of int16 numbers ``x``: ``base[x >> 7] + ((slope[x >> 7] * (x & 127) + 64) >> 7)``.

    Attributes:
        base: Samples, from the least ``x`` on; int64, 512.
        slope: Differences of successive ones.
    """

    base: Integers
    slope: Integers

    def lower(self, body: Body, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
        """Compute it for float32 integers of some shape; float32."""
        segment = body.op("Floor", body.op("Mul", value, body.constant(1 / ITEMS, np.float32)))
        within = body.op("Sub", value, body.op("Mul", segment, body.constant(ITEMS, np.float32)))
        place = body.op("Add", segment, body.constant(SEGMENTS // 2, np.float32))
        base, slope = (looked_up(body, body.constant(table, np.float32), place, shape) for table in self.tables)
        # Halves are whole numbers here: the product is less than 2**24, and 128 is a power of two.
        rise = body.op("Mul", body.op("Mul", slope, within), body.constant(1 / ITEMS, np.float32))
        return body.op("Add", base, body.op("Floor", body.op("Add", rise, body.constant(0.5, np.float32))))

    @property
    def tables(self) -> tuple[Integers, Integers]:
        """Both tables."""
        return self.base, self.slope


def sampled(function: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> Samples:
    """Samples of a function between two numbers, in steps of ``2**-15``.

    Each is moved by half of what the interpolation is off in the middle of its segment.

    Source: TFLite ``LUTPopulateInt16`` (kernels/internal/common.h), which computes in double and keeps float32.
    """
    step = (high - low) / SEGMENTS
    starts = low + np.arange(SEGMENTS) * step
    now, middle, following = (function(x).astype(np.float32) for x in (starts, starts + step / 2, starts + step))
    scale = np.float64(LIMIT)
    sample = _round(now * scale)
    between = _round((following * scale + sample) / 2)
    bias = _round((between - _round(middle * scale)) / 2)
    last = _round(function(np.asarray([high])).astype(np.float32) * scale)
    whole = np.clip(np.concatenate([sample - bias, last]), -LIMIT, LIMIT - 1).astype(np.int64)
    return Samples(whole[:-1], np.diff(whole))


def lower_softmax(body: Body, value: ir.Value, scaling: Scaling, axis: int, shape: tuple[int, ...]) -> ir.Value:
    """Softmax of int16 numbers, 15 bits behind the point of the result.

    Args:
        body: Where the operators go.
        value: The integers, float32.
        scaling: What rescales differences so that ``-65535`` is an exponent of -10.
        axis: Axis of the sum, from the front.
        shape: Shape of the tensor.

    Returns:
        Results, float32.

    Source: TFLite ``SoftmaxInt16`` (kernels/internal/reference/softmax.h).
    """
    differences = np.arange(-RANGE, 1, dtype=np.int64)
    axes = body.constant([axis], np.int64)
    below = body.op("Sub", value, body.op("ReduceMax", value, axes, keepdims=1))
    exponent = lower_scaled(body, below, differences, scaling, Window(zero_point=0, low=-RANGE, high=0))
    centred = body.op("Add", exponent, body.constant(LIMIT - 1, np.float32))
    shares = body.cast(sampled(np.exp, LEAST_EXPONENT, 0.0).lower(body, centred, shape), np.float64)
    total = body.op("ReduceSum", shares, axes, keepdims=1)
    rows = (*shape[:axis], 1, *shape[axis + 1 :])
    lead = _leading_bit(body, total, rows)
    normal = body.op("Mul", body.op("Mul", total, lead), body.constant(2 * LIMIT, np.float64))
    rounded = body.op("Floor", body.op("Add", normal, body.constant(0.5, np.float64)))
    beyond = body.op("Sub", body.cast(rounded, np.float32), body.constant(3 * LIMIT, np.float32))
    place = cut_to(body, beyond, Window(zero_point=0, low=-LIMIT, high=LIMIT - 1))
    inverse = body.cast(sampled(lambda x: 1 / (1 + x), 0.0, 1.0).lower(body, place, rows), np.float64)
    scaled = body.op("Mul", shares, body.op("Mul", inverse, lead))
    result = body.op("Floor", body.op("Add", scaled, body.constant(0.5, np.float64)))
    return cut_to(body, body.cast(result, np.float32), Window(zero_point=0, low=0, high=LIMIT - 1))


def _leading_bit(body: Body, total: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    """One divided by the largest power of two that is not above a sum of exponentials; float64.

    The largest exponential is 32767, so the sum is not below ``2**14``.
    """
    powers = 2.0 ** np.arange(UNIT_BITS, 31)
    column = body.op("Unsqueeze", total, body.constant([-1], np.int64))
    reached = body.cast(body.op("GreaterOrEqual", column, body.constant(powers, np.float64)), np.float32)
    count = body.op("ReduceSum", reached, body.constant([-1], np.int64), keepdims=0)
    inverse = 0.5 ** np.arange(UNIT_BITS - 1, 31)
    return looked_up(body, body.constant(inverse, np.float64), count, shape)


def _round(numbers: np.ndarray) -> np.ndarray:
    """Nearest integers, ties away from zero."""
    return np.asarray(np.sign(numbers) * np.floor(np.abs(numbers) + 0.5))
