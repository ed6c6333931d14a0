"""Factors and summands along some axes, which are learned or a second bottom."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_caffe.importer.call import Call, Parameters
from synap_frontend_caffe.importer.ops.parameters import reshaped, weights
from synap_frontend_caffe.importer.registry import UnsupportedError, layer


@layer("Scale", most=2)
def scale(call: Call) -> ir.Value:
    """Items times a factor, plus a bias where the layer has one: its last blob."""
    options, x = call.parameters("scale_param"), call.bottom()
    if len(call.bottoms) > 1:
        axis, shape = _of_bottom(call, options)
        blobs = weights(call, bias=shape if options.bias_term else None)
        factors = _broadcast(call, call.bottom(1), axis)
    else:
        axis, shape = _of_parameters(call, options)
        first, *blobs = weights(call, factors=shape, bias=shape if options.bias_term else None)
        factors = _broadcast(call, call.constant(first), axis)
    product = call.emit("Mul", x, factors)
    return call.emit("Add", product, _broadcast(call, call.constant(blobs[0]), axis)) if blobs else product


@layer("Bias", most=2)
def bias(call: Call) -> ir.Value:
    """Items plus a bias."""
    options, x = call.parameters("bias_param"), call.bottom()
    if len(call.bottoms) > 1:
        axis, _ = _of_bottom(call, options)
        summands = call.bottom(1)
        weights(call)
    else:
        axis, shape = _of_parameters(call, options)
        summands = call.constant(weights(call, bias=shape)[0])
    return call.emit("Add", x, _broadcast(call, summands, axis))


def _of_parameters(call: Call, options: Parameters) -> tuple[int, Sequence[int]]:
    """First axis and shape of a blob: so many axes of the bottom, all behind the first for -1."""
    x, count = call.bottom(), options.num_axes
    shape, axis = shape_of(x), call.axis(options.axis, x)
    end = len(shape) if count == -1 else axis + count
    if not axis <= end <= len(shape):
        msg = f"{count} axes from axis {axis} on, of a blob of shape {list(shape)}"
        raise UnsupportedError(msg)
    return axis, shape[axis:end]


def _of_bottom(call: Call, options: Parameters) -> tuple[int, Sequence[int]]:
    """First axis and shape of the second bottom, which has the sizes of the first one there."""
    x, shape = call.bottom(), shape_of(call.bottom(1))
    axis = call.axis(options.axis, x) if shape else 0
    if shape_of(x)[axis : axis + len(shape)] != shape:
        msg = f"a second bottom of shape {list(shape)} for axis {axis} of one of shape {list(shape_of(x))}"
        raise UnsupportedError(msg)
    return axis, shape


def _broadcast(call: Call, value: ir.Value, axis: int) -> ir.Value:
    """Append axes of length 1, so that the first axis of a value is this one of the bottom."""
    shape = shape_of(value)
    behind = len(shape_of(call.bottom())) - axis - len(shape)
    return reshaped(call, value, (*shape, *[1] * behind)) if shape else value
