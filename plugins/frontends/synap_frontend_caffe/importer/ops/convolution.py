"""Convolutions and their transposes, over any number of spatial axes."""

from __future__ import annotations

import math

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_caffe.importer.call import Call
from synap_frontend_caffe.importer.ops.parameters import convolution_window, reshaped, weights
from synap_frontend_caffe.importer.registry import UnsupportedError, layer


@layer("Convolution", "Deconvolution", most=None)
def convolution(call: Call) -> list[ir.Value]:
    """Convolution with weights ``[out, in / group, ...]``, or its transpose with weights ``[in, out / group, ...]``.

    Every bottom gives a top, all with the same weights.
    """
    return [_convolved(call, x) for x in _alike(call)]


def _alike(call: Call) -> list[ir.Value]:
    """The bottoms.

    Raises:
        UnsupportedError: There are none, or they differ in their number of channels: they share the weights.
    """
    axis = call.axis(call.parameters("convolution_param").axis, call.bottom())
    shapes = [shape_of(x) for x in call.bottoms]
    other = next((s for s in shapes if len(s) != len(shapes[0]) or s[axis] != shapes[0][axis]), None)
    if other is not None:
        msg = f"bottoms of the shapes {list(shapes[0])} and {list(other)} for the same weights"
        raise UnsupportedError(msg)
    return list(call.bottoms)


def _convolved(call: Call, x: ir.Value) -> ir.Value:
    """Convolve along the axes behind the one of the channels; those in front of it count samples."""
    options = call.parameters("convolution_param")
    axis = call.axis(options.axis, x)
    shape = shape_of(x)
    if axis == len(shape) - 1:
        msg = f"no spatial axes behind the channels, axis {axis} of a blob of shape {list(shape)}"
        raise UnsupportedError(msg)
    samples, channels = shape[:axis], shape[axis]
    out, group = int(options.num_output), int(options.group)
    if out < 1 or group < 1 or channels % group or out % group:
        msg = f"{group} groups of {channels} channels in and {out} out"
        raise UnsupportedError(msg)
    window = convolution_window(options, len(shape) - axis - 1)
    transposed = call.type == "Deconvolution"
    rows = (channels, out // group) if transposed else (out, channels // group)
    arrays = weights(call, weights=(*rows, *window.kernel), bias=(out,) if options.bias_term else None)
    found = call.emit(
        "ConvTranspose" if transposed else "Conv",
        reshaped(call, x, (math.prod(samples), *shape[axis:])),
        *(call.constant(array) for array in arrays),
        group=group,
        **window.attributes(),
    )
    return reshaped(call, found, (*samples, *shape_of(found)[1:]))
