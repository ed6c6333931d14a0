"""Rounding to the steps of a quantization, with which models are trained to be quantized.

Eight bits become an annotation, as a pair of quantization nodes does in other formats: the value stays one of real
numbers, and says which integers stand for it. What computes in integers takes them from there; what writes the graph
with `to_qdq` rounds at that place, which gives what TensorFlow computes; and a graph whose annotations are ignored
computes without rounding. Constants are rounded at once. Other numbers of bits are written out, because no annotation
says that only part of the integers of a type is used.

Source: the documentation of ``tf.quantization.fake_quant_with_min_max_vars``, which moves the range so that zero is a
step.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantParams, set_quant, shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator

ANNOTATED_BITS = 8
MAX_BITS = 16


def nudged(low: np.ndarray, high: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and zero points of ranges, moved so that zero is a step.

    Args:
        low: Lower ends.
        high: Upper ends, above them.
        first: Integer of the lower ends.
        last: Integer of the upper ends.

    Returns:
        Scales, computed in float32 as TensorFlow does, and zero points, between first and last.

    Raises:
        UnsupportedError: A scale is no positive number.
    """
    with np.errstate(all="ignore"):
        low, high = low.astype(np.float32), high.astype(np.float32)
        scale = (high - low) / np.float32(last - first)
        # Halves go away from zero, as `std::round` takes them; what is below zero is cut.
        point = np.clip(np.floor(np.float32(first) - low / scale + np.float32(0.5)), first, last)
    if not (np.isfinite(point).all() and np.isfinite(scale).all() and (scale > 0).all()):
        msg = "a range without extent, or without ends"
        raise UnsupportedError(msg)
    return scale, point.astype(np.int64)


@operator("FakeQuantWithMinMaxArgs")
def with_arguments(call: Call) -> ir.Value:
    """The range is a pair of attributes."""
    low, high = call.number("min", -6.0), call.number("max", 6.0)
    return _rounded(call, np.array([low], np.float32), np.array([high], np.float32), None)


@operator("FakeQuantWithMinMaxVars")
def with_variables(call: Call) -> ir.Value:
    """The range is a pair of constants."""
    return _rounded(call, call.constant(1).reshape(-1), call.constant(2).reshape(-1), None)


@operator("FakeQuantWithMinMaxVarsPerChannel")
def per_channel(call: Call) -> ir.Value:
    """Each index of the last dimension has a range of its own."""
    return _rounded(call, call.constant(1), call.constant(2), len(shape_of(call.input())) - 1)


def _rounded(call: Call, low: np.ndarray, high: np.ndarray, axis: int | None) -> ir.Value:
    value, bits, first = (
        call.input(),
        call.integer("num_bits", ANNOTATED_BITS),
        int(call.flag("narrow_range", default=False)),
    )
    channels = (1,) if axis is None else shape_of(value)[axis:] if axis >= 0 else ()
    if not 2 <= bits <= MAX_BITS or low.shape != channels or high.shape != channels:
        msg = f"{bits} bits and ranges of the shapes {list(low.shape)} and {list(high.shape)}"
        raise UnsupportedError(msg)
    if type_of(value).dtype != ir.DataType.FLOAT:
        msg = f"numbers of type {type_of(value).dtype.name}"
        raise UnsupportedError(msg)
    last = (1 << bits) - 1
    scale, point = nudged(low, high, first, last)
    quant = QuantParams(
        dtype="uint8",
        scheme="asymmetric_affine",
        scale=tuple(map(float, scale)),
        zero_point=tuple(map(int, point)),
        axis=axis,
    )
    if bits == ANNOTATED_BITS and value.const_value is not None:
        units = np.floor(np.nan_to_num(value.const_value.numpy()).astype(np.float64) / scale + 0.5) + point
        return call.build.quantized_constant(np.clip(units, first, last).astype(np.uint8), quant)
    # One range is a number, so that it suits a tensor of any rank.
    least, most, step = (
        np.asarray(item if axis is not None else item[0], np.float32)
        for item in ((first - point) * scale, (last - point) * scale, scale)
    )
    if bits == ANNOTATED_BITS and axis is None:
        return _annotated(call, value if not first else _clipped(call, value, least, most), quant)
    return _written_out(call, value, least, most, step)


def _annotated(call: Call, value: ir.Value, quant: QuantParams) -> ir.Value:
    found = call.emit("Identity", value)
    set_quant(found, quant)
    return found


def _clipped(call: Call, value: ir.Value, low: np.ndarray, high: np.ndarray) -> ir.Value:
    return call.emit("Min", call.emit("Max", value, call.build.constant(low)), call.build.constant(high))


def _written_out(call: Call, value: ir.Value, low: np.ndarray, high: np.ndarray, step: np.ndarray) -> ir.Value:
    least, size = call.build.constant(low), call.build.constant(step)
    units = call.emit("Div", call.emit("Sub", _clipped(call, value, low, high), least), size)
    # Halves go up: none of these numbers is below zero.
    rounded = call.emit("Floor", call.emit("Add", units, call.build.constant(0.5)))
    return call.emit("Add", call.emit("Mul", rounded, size), least)
