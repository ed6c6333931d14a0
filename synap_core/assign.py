"""Conversion between images, real numbers and the raw items of a tensor.

The formulas are those of the on-board runtime (formats, section 2), in single precision wherever it uses single
precision. Where its behaviour is a defect, the recommended variant is taken: halves round up for negative values,
too, and a single mean holds for all channels.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synap_core.errors import InputError
from synap_core.format_string import FormatString
from synap_core.tensors import ASYMMETRIC_AFFINE, DYNAMIC_FIXED_POINT, TensorMeta, format_shape

Array: TypeAlias = NDArray[Any]  # any item type: that of the tensor
_Float32: TypeAlias = NDArray[np.float32]
_Float64: TypeAlias = NDArray[np.float64]

SOURCE_DTYPES = ("uint8", "int16", "float32")
"""Item types that `assign` takes."""

PLAIN = "none"
"""Quantization scheme of a tensor whose items are plain numbers."""

_ASSIGNABLE = {
    ("uint8", PLAIN),
    ("uint8", ASYMMETRIC_AFFINE),
    ("int8", ASYMMETRIC_AFFINE),
    ("int8", DYNAMIC_FIXED_POINT),
    ("int16", DYNAMIC_FIXED_POINT),
}
_REAL_DTYPES = ("float16", "float32")
_READABLE_DTYPES = ("int8", "uint8", "int16", "int32", *_REAL_DTYPES)

_UNIT_TOLERANCE = 1 / 256
"""How near to 1 a factor counts as 1."""

_MAX_SHIFT = 1000
"""Larger powers of two are zero or infinite in single precision anyhow."""

_FIXED_POINT_ONE = 32768
"""What scalars with a ``tensor_dim`` count as the whole of it."""

_HALF_LARGEST = 0x7BFF
_HALF_SMALLEST_NORMAL = 2.0**-14
_HALF_OVERFLOW = 2.0**16


def raw_dtype(meta: TensorMeta) -> np.dtype[Any]:
    """NumPy type of the raw items of a tensor; ``byte`` items are ``uint8``."""
    return np.dtype("uint8" if meta.dtype == "byte" else meta.dtype)


def effective_normalisation(meta: TensorMeta) -> tuple[tuple[float, ...], float]:
    """Mean and scale that hold for a tensor, given or inferred from its quantization (bundle format, section 5.3).

    Returns:
        One mean or one per channel, and the divisor, which is not zero.
    """
    factor, zero_point, _ = _quantization(meta)
    scale = meta.scale or 1 / factor
    return meta.mean or (float(zero_point),), scale


def assign(values: Array, meta: TensorMeta) -> Array:
    """Normalise image data and convert it to the raw items of a tensor.

    Integers wrap like a C cast where the runtime copies them unchanged; real numbers saturate there, too.

    Args:
        values: ``uint8``, ``int16`` or ``float32``, as many as the tensor has items and in its layout.
        meta: The tensor.

    Returns:
        Raw items, in the tensor's type and shape.

    Raises:
        InputError: Count, type or means do not fit the tensor, its type cannot be assigned, or a value is NaN.

    Source: formats, sections 2.1 to 2.3.
    """
    if values.dtype.name not in SOURCE_DTYPES:
        msg = f"data for tensor {meta.name!r} must be {', '.join(SOURCE_DTYPES)}, not {values.dtype}"
        raise InputError(msg)
    items = _items(values, meta)
    means, scale = effective_normalisation(meta)
    if len(means) > 1 and len(means) != meta.channels:
        msg = f"tensor {meta.name!r} has {len(means)} means for {meta.channels} channels"
        raise InputError(msg)
    scheme = _scheme(meta)
    with np.errstate(all="ignore"):
        if meta.dtype in _REAL_DTYPES:
            real = _divided(items.astype(np.float32) - _per_channel(means, meta), scale)
            return _truncated_to_half(real, meta) if meta.dtype == "float16" else real.reshape(meta.shape)
        if (meta.dtype, scheme) not in _ASSIGNABLE:
            msg = f"tensor {meta.name!r} of type {meta.dtype} with quantization {scheme!r} takes raw data only"
            raise InputError(msg, hint="give a .npy or .bin file of raw items")
        _check_numbers(items, meta)
        if scheme == DYNAMIC_FIXED_POINT:
            return _assign_fixed_point(items, meta, means, scale)
        return _assign_affine(items, meta, means, scale)


def quantize_real(values: Array, meta: TensorMeta) -> Array:
    """Convert real numbers, normalised already, to the raw items of a tensor: to the nearest, halves up, saturated.

    Args:
        values: ``float32``, as many as the tensor has items and in its layout.
        meta: The tensor.

    Returns:
        Raw items, in the tensor's type and shape.

    Raises:
        InputError: The count does not fit, a value is NaN, or the quantization is not one per tensor.
    """
    items = _items(values, meta)
    _check_numbers(items, meta)
    factor, zero_point, fraction = _quantization(meta)
    with np.errstate(all="ignore"):
        if meta.dtype in _REAL_DTYPES:
            return items.astype(raw_dtype(meta)).reshape(meta.shape)
        real = _shifted(items.astype(np.float64) / factor, fraction) + float(zero_point)
        return _saturated(np.floor(real + 0.5), meta)


def dequantize(raw: Array, meta: TensorMeta) -> _Float32:
    """Convert the raw items of a tensor to the real numbers they stand for.

    Returns:
        ``float32`` in the tensor's shape; infinities and NaN of real types are kept.

    Raises:
        InputError: The count does not fit, or the type (``byte``, ``uint16``, ``uint32``) has no real meaning.

    Source: formats, section 2.5.
    """
    if meta.dtype not in _READABLE_DTYPES:
        known = ", ".join(_READABLE_DTYPES)
        msg = f"tensor {meta.name!r} of type {meta.dtype} cannot be read as real numbers, only {known} can"
        raise InputError(msg)
    items = _items(raw, meta)
    factor, zero_point, fraction = _quantization(meta)
    with np.errstate(all="ignore"):
        if meta.dtype in _REAL_DTYPES:
            return items.astype(np.float32).reshape(meta.shape)
        real = _shifted(items.astype(np.float64) - float(zero_point), -fraction) * float(np.float32(factor))
        return real.astype(np.float32).reshape(meta.shape)


def assign_scalar(value: int, meta: TensorMeta) -> Array:
    """Convert a number to the raw item of a scalar tensor, as a share of ``tensor_dim`` when its format has one.

    Returns:
        Raw item of shape ``(1,)``: the low bytes of the number.

    Raises:
        InputError: The tensor's shape is not ``(1,)`` or its type no integer.

    Source: formats, section 2.6.
    """
    if not meta.is_scalar or meta.dtype in _REAL_DTYPES:
        msg = f"tensor {meta.name!r} ({meta.dtype} {format_shape(meta.shape)}) is no integer scalar"
        raise InputError(msg)
    whole = FormatString.parse(meta.data_format).get_int("tensor_dim", 0)
    number = _rounded_quotient(value * _FIXED_POINT_ONE, whole) if whole else value
    size = raw_dtype(meta).itemsize
    low_bytes = (number % (1 << 8 * size)).to_bytes(size, "little")
    return np.frombuffer(low_bytes, raw_dtype(meta).newbyteorder("<")).astype(raw_dtype(meta))


def _items(values: Array, meta: TensorMeta) -> Array:
    """View of the values in the tensor's shape, with rank 1 for a single item, so that arithmetic gives arrays."""
    if values.size != meta.item_count:
        msg = f"tensor {meta.name!r} ({format_shape(meta.shape)}) has {meta.item_count} items, not {values.size}"
        raise InputError(msg)
    return values.reshape(meta.shape or (1,))


def _check_numbers(items: Array, meta: TensorMeta) -> None:
    if items.dtype.kind == "f" and np.isnan(items).any():
        msg = f"the data for tensor {meta.name!r} contains NaN, which cannot be quantized"
        raise InputError(msg)


def _scheme(meta: TensorMeta) -> str:
    return PLAIN if meta.quant is None else meta.quant.scheme


def _quantization(meta: TensorMeta) -> tuple[float, int, int]:
    """Factor (never 0), zero point and fractional length, as far as the scheme has them, else 1, 0 and 0."""
    quant = meta.quant
    if quant is None or quant.scheme == PLAIN:
        return 1.0, 0, 0
    if quant.scheme == DYNAMIC_FIXED_POINT:
        return 1.0, 0, max(-_MAX_SHIFT, min(_MAX_SHIFT, quant.fractional_length or 0))
    if quant.scheme != ASYMMETRIC_AFFINE or len(quant.scale) > 1:
        msg = f"tensor {meta.name!r} has the quantization {quant.scheme!r}, which is not one for the whole tensor"
        raise InputError(msg)
    factor = quant.scale[0] if quant.scale else 0.0
    return factor or 1.0, quant.zero_point[0] if quant.zero_point else 0, 0


def _per_channel(means: tuple[float, ...], meta: TensorMeta) -> _Float32:
    """Means in a shape that broadcasts over the items."""
    column = np.array(means, np.float64).astype(np.float32)
    return column.reshape(-1, 1, 1) if len(means) > 1 and meta.layout == "nchw" else column


def _divided(values: NDArray[Any], divisor: float) -> _Float32:
    quotient: _Float32 = values.astype(np.float32) / np.float32(divisor)
    return quotient


def _rounded(values: _Float32) -> _Float32:
    rounded: _Float32 = np.floor(values + np.float32(0.5))
    return rounded


def _shifted(values: _Float64, bits: int) -> _Float64:
    return np.ldexp(values, bits)


def _saturated(values: NDArray[Any], meta: TensorMeta) -> Array:
    """Whole numbers as items of an integer tensor; NaN, which only absurd parameters produce, becomes 0."""
    dtype = raw_dtype(meta)
    limits = np.iinfo(dtype)
    limited: _Float64 = np.nan_to_num(values.astype(np.float64).clip(limits.min, limits.max))
    return limited.astype(dtype).reshape(meta.shape)


def _plainly_cast(items: Array, meta: TensorMeta) -> Array:
    if items.dtype.kind == "f":
        return _saturated(np.trunc(items), meta)
    return items.astype(raw_dtype(meta)).reshape(meta.shape)


def _whole_means(means: tuple[float, ...], meta: TensorMeta) -> tuple[_Float64, bool]:
    """Means of an integer tensor, broadcastable, and whether any differs from the integer part of the first."""
    whole = tuple(float(math.trunc(mean)) for mean in means)
    return _per_channel(whole, meta).astype(np.float64), any(mean != whole[0] for mean in means)


def _assign_affine(items: Array, meta: TensorMeta, means: tuple[float, ...], scale: float) -> Array:
    factor, zero_point, _ = _quantization(meta)
    whole, differ = _whole_means(means, meta)
    step = np.float32(scale) * np.float32(factor)
    if not abs(step - 1) < _UNIT_TOLERANCE:
        normalised = _divided(items.astype(np.float64) - whole, float(step))
        return _saturated(_rounded(normalised + np.float32(float(zero_point))), meta)
    offset = whole - float(zero_point)
    if not differ and offset[0] == 0:
        return _plainly_cast(items, meta)
    return _saturated(np.trunc(items.astype(np.float64) - offset), meta)


def _assign_fixed_point(items: Array, meta: TensorMeta, means: tuple[float, ...], scale: float) -> Array:
    fraction = _quantization(meta)[2]
    whole, differ = _whole_means(means, meta)
    if not differ and scale == 1 and fraction == 0 and whole[0] == 0:
        return _plainly_cast(items, meta)
    shifted = _shifted(items.astype(np.float64) - whole, fraction)
    if items.dtype.kind != "f":
        shifted = np.floor(shifted)
    if not differ and scale == 1:
        return _saturated(np.trunc(shifted), meta)
    normalised = _divided(shifted, scale)
    return _saturated(np.trunc(normalised) if differ and meta.layout == "nchw" else _rounded(normalised), meta)


def _truncated_to_half(real: _Float32, meta: TensorMeta) -> Array:
    """Half precision by dropping mantissa bits; too large and NaN give the largest, too small gives zero."""
    bits = real.view(np.uint32)
    sign = (bits >> 16) & 0x8000
    magnitude = np.abs(real)
    rebased = (bits & 0x7FFFFFFF) >> 13
    normal = rebased - np.uint32((127 - 15) << 10)
    half = np.where(magnitude < _HALF_OVERFLOW, normal, _HALF_LARGEST)
    half = np.where(magnitude < _HALF_SMALLEST_NORMAL, 0, half)
    return (sign | half).astype(np.uint16).view(np.float16).reshape(meta.shape)


def _rounded_quotient(number: int, divisor: int) -> int:
    """Quotient rounded half away from zero, as C ``round`` does."""
    magnitude = (2 * abs(number) + abs(divisor)) // (2 * abs(divisor))
    return magnitude if (number < 0) == (divisor < 0) else -magnitude
