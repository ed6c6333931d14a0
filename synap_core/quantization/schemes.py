"""From ranges of real numbers to the parameters of each scheme, and from real numbers to integers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from synap_core.quantization.interface import QuantSpec, Range
from synap_core.tensors import ASYMMETRIC_AFFINE, DYNAMIC_FIXED_POINT, QuantParams

Reals = NDArray[np.float64]
Integers = NDArray[np.integer]

PERCHANNEL_SYMMETRIC_AFFINE = "perchannel_symmetric_affine"
FLOAT16 = "float16"

BLOCK = 65_536
"""Items that are converted at a time: what is computed in float64 stays in the cache."""

FLOAT32 = np.finfo(np.float32)
SMALLEST_SCALE = float(FLOAT32.smallest_normal)
LARGEST_END = float(FLOAT32.max) * 255 / 256
"""Ends of a range are kept within this, so that a step of rounding beyond it is still a float32."""

LARGEST_FRACTIONAL_LENGTH = 126
"""``2**-126`` is the smallest normal float32."""


def integer_limits(dtype: str, scheme: str) -> tuple[int, int]:
    """Smallest and largest integer of a data type under a scheme.

    Symmetric weights leave out the lowest integer: negating a channel then never saturates.
    """
    limits = np.iinfo(dtype)
    low = -limits.max if scheme == PERCHANNEL_SYMMETRIC_AFFINE else limits.min
    return int(low), int(limits.max)


def params_of(spec: QuantSpec, found: Range) -> QuantParams:
    """Parameters that cover a range; zero is always one of the numbers they represent.

    Every scale is a normal float32, whatever the range: it is stored and multiplied as one.

    Args:
        spec: How the tensor is to be quantized.
        found: Range of the tensor, or of each channel when ``spec`` has an axis; ignored for float16.

    Raises:
        ValueError: The range is not finite, or has not the shape that ``spec`` asks for.
    """
    if spec.scheme == FLOAT16:
        return QuantParams(dtype=spec.dtype, scheme=FLOAT16)
    low, high = _ends(spec, found)
    if spec.scheme == DYNAMIC_FIXED_POINT:
        length = _fractional_length(float(low.min()), float(high.max()), *integer_limits(spec.dtype, spec.scheme))
        return QuantParams(dtype=spec.dtype, scheme=spec.scheme, fractional_length=length)
    if spec.scheme == ASYMMETRIC_AFFINE:
        scale, zero_point = _affine(low, high, *integer_limits(spec.dtype, spec.scheme))
    else:
        scale = _symmetric(np.maximum(-low, high), integer_limits(spec.dtype, spec.scheme)[1])
        zero_point = np.zeros(scale.shape, np.int64)
    return QuantParams(
        dtype=spec.dtype,
        scheme=spec.scheme,
        scale=tuple(scale.tolist()),
        zero_point=tuple(zero_point.tolist()),
        axis=spec.axis,
    )


def quantize(values: NDArray[np.floating], quant: QuantParams) -> Integers:
    """Nearest integers, halves to even, saturated: what ONNX ``QuantizeLinear`` computes with an exact quotient.

    Args:
        values: Finite, of any shape that has the axis of the parameters.
        quant: Parameters of a scheme of integers.

    Returns:
        As many integers, of the type ``quant`` names.

    Raises:
        ValueError: The parameters are those of float16, which has no integers.
    """
    if quant.scheme == FLOAT16:
        msg = "float16 numbers are not stored as integers"
        raise ValueError(msg)
    low, high = integer_limits(quant.dtype, quant.scheme)
    integers = np.empty(values.shape, quant.dtype)
    for source, target, scale, zero_point in _blocks(values, integers, quant):
        quotient = np.rint(source / scale)
        quotient += zero_point
        target[...] = np.clip(quotient, low, high)
    return integers


def _ends(spec: QuantSpec, found: Range) -> tuple[Reals, Reals]:
    """Both ends as vectors, one item per set of parameters, widened to contain zero."""
    low, high = np.asarray(found.low, np.float64), np.asarray(found.high, np.float64)
    if low.shape != high.shape or low.ndim != (spec.axis is not None):
        msg = f"a range of shape {low.shape} and {high.shape} does not fit axis {spec.axis}"
        raise ValueError(msg)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        msg = f"from {low} to {high} is not a range"
        raise ValueError(msg)
    low, high = np.atleast_1d(low), np.atleast_1d(high)
    return np.clip(low, -LARGEST_END, 0.0), np.clip(high, 0.0, LARGEST_END)


def _affine(low: Reals, high: Reals, smallest: int, largest: int) -> tuple[Reals, NDArray[np.int64]]:
    """Scale and zero point of ranges that contain zero.

    The exact zero point, ``smallest - low / scale``, is rounded, which shifts the represented range by at most half a
    step, so both ends are still represented to half a step. A range that begins or ends at zero is not shifted.
    """
    scale = _stored((high - low) / (largest - smallest))
    from_low, from_high = smallest - low / scale, largest - high / scale
    # Measured from the nearer end: its quotient is the smaller one, and so has the smaller rounding error.
    zero_point = np.rint(np.where(-low <= high, from_low, from_high))
    empty = low == high
    scale[empty] = 1.0
    zero_point[empty] = 0.0
    return scale, np.clip(zero_point, smallest, largest).astype(np.int64)


def _symmetric(largest: Reals, steps: int) -> Reals:
    """Scale of each channel, so that its largest magnitude takes all steps.

    A channel of zeros may have any scale; with that of a typical other one, its bias, which is counted in steps of the
    product, neither overflows nor loses its precision.
    """
    scale = _stored(largest / steps)
    zeros = largest == 0
    if zeros.any():
        scale[zeros] = 1.0 if zeros.all() else _stored(np.atleast_1d(np.median(scale[~zeros])))
    return scale


def _stored(scale: Reals) -> Reals:
    """The nearest normal float32, as float64."""
    return np.maximum(scale, SMALLEST_SCALE).astype(np.float32).astype(np.float64)


def _fractional_length(low: float, high: float, smallest: int, largest: int) -> int:
    """Most bits behind the binary point with which both ends are represented to half a step.

    That is ``high * 2**n <= largest + 1/2`` and ``-low * 2**n <= -smallest + 1/2``: the ends may saturate, but not by
    more than rounding would change them. So weights down to exactly -1 keep seven bits in int8. Without data there
    are as many bits as the type has besides the sign.
    """
    bits = largest.bit_length()
    if low == high == 0:
        return bits
    lengths = [_most_bits(end, limit + 0.5) for end, limit in ((high, largest), (-low, -smallest)) if end > 0]
    # 2**127 is the largest power of two in float32, and `smallest` steps must not pass it.
    return max(min(*lengths, LARGEST_FRACTIONAL_LENGTH), bits - 127)


def _most_bits(end: float, limit: float) -> int:
    """Largest ``n`` with ``end * 2**n <= limit``; both positive."""
    (fraction, exponent), (limit_fraction, limit_exponent) = math.frexp(end), math.frexp(limit)
    return limit_exponent - exponent - (fraction > limit_fraction)


def _blocks(
    values: NDArray[np.floating], integers: Integers, quant: QuantParams
) -> Iterator[tuple[NDArray[np.floating], Integers, float | Reals, int | NDArray[np.int64]]]:
    """Parts of both arrays of some `BLOCK` items, with the scale and the zero point that hold for them."""
    if quant.axis is None:
        fixed = quant.fractional_length
        scale = quant.scale[0] if fixed is None else math.ldexp(1.0, -fixed)
        zero_point = quant.zero_point[0] if fixed is None else 0
        source, target = values.reshape(-1), integers.reshape(-1)
        for start in range(0, source.size, BLOCK):
            part = slice(start, start + BLOCK)
            yield source[part].astype(np.float64), target[part], scale, zero_point
        return
    source, target = np.moveaxis(values, quant.axis, 0), np.moveaxis(integers, quant.axis, 0)
    shape = (-1,) + (1,) * (values.ndim - 1)
    scales, zero_points = np.reshape(quant.scale, shape), np.reshape(quant.zero_point, shape)
    step = max(BLOCK * len(source) // max(source.size, 1), 1)
    for start in range(0, len(source), step):
        part = slice(start, start + step)
        yield source[part].astype(np.float64), target[part], scales[part], zero_points[part]
