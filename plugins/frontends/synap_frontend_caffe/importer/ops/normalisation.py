"""Normalisation by statistics that are stored, or by those of the items around."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_caffe.importer.call import Call
from synap_frontend_caffe.importer.ops.parameters import Window, linear, weights
from synap_frontend_caffe.importer.ops.pooling import AVE, pooled
from synap_frontend_caffe.importer.registry import UnsupportedError, layer

WITHIN_CHANNEL = 1
"""Number of ``NormRegion``."""


@layer("BatchNorm")
def batch_norm(call: Call) -> ir.Value:
    """Each channel less its mean, divided by the root of its variance; a Scale behind it adds what is learned.

    The file holds sums of statistics, and as the last blob what to divide them by: where that is 0, they are 0.
    """
    options, x = call.parameters("batch_norm_param"), call.bottom()
    channels = shape_of(x)[call.axis(1, x)]
    mean, variance, factor = weights(call, means=(channels,), variances=(channels,), scale_factor=(1,))
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    epsilon = float(options.eps)
    if options.HasField("use_global_stats") and not options.use_global_stats:
        if len(shape_of(x)) < 3:
            msg = "use_global_stats false: its statistics are those of the batch, which has one sample"
            raise UnsupportedError(msg)
        return call.emit("InstanceNormalization", x, call.constant(ones), call.constant(zeros), epsilon=epsilon)
    with np.errstate(all="ignore"):
        scale = np.float32(0) if factor[0] == 0 else np.float32(1) / factor[0]
        statistics = (mean * scale, variance * scale)
    parameters = [call.constant(array) for array in (ones, zeros, *statistics)]
    return call.emit("BatchNormalization", x, *parameters, epsilon=epsilon)


@layer("LRN")
def local_response_normalization(call: Call) -> ir.Value:
    """Items divided by a power of a sum of squares: of the channels around, or of the items of the map around."""
    options, x = call.parameters("lrn_param"), call.bottom()
    shape = shape_of(x)
    if len(shape) != 4:
        msg = f"a blob of shape {list(shape)}; four axes are needed"
        raise UnsupportedError(msg)
    size = int(options.local_size)
    if size % 2 == 0:
        msg = f"a local_size of {size}; it must be odd"
        raise UnsupportedError(msg)
    if options.norm_region == WITHIN_CHANNEL:
        return _within_channel(call, x, size)
    # A window beyond all channels is the same, and runtimes need memory for it.
    used = 2 * min(size // 2, shape[1]) + 1
    alpha = options.alpha * used / size
    return call.emit("LRN", x, size=used, alpha=alpha, beta=float(options.beta), bias=float(options.k))


def _within_channel(call: Call, x: ir.Value, size: int) -> ir.Value:
    """``x * (1 + alpha * m) ** -beta``, ``m`` the mean of the squares around, zeros of the padding included.

    ``k`` has no part in it. Items are made smaller before they are squared: types of 16 and 8 bits hold no large
    squares.
    """
    options = call.parameters("lrn_param")
    # A window beyond the whole map has the same sum.
    pads = tuple(min(size // 2, items) for items in shape_of(x)[2:])
    kernel = tuple(2 * pad + 1 for pad in pads)
    window = Window(kernel=kernel, strides=(1, 1), pads=pads, dilations=(1, 1))
    alpha = options.alpha * math.prod(kernel) / size**2
    small = linear(call, x, math.sqrt(abs(alpha)), 0.0)
    mean = pooled(call, call.emit("Mul", small, small), AVE, window, round_up=True)
    root = call.emit("Pow", linear(call, mean, math.copysign(1.0, alpha), 1.0), call.constant(-float(options.beta)))
    return call.emit("Mul", x, root)


@layer("MVN")
def mean_variance_normalization(call: Call) -> ir.Value:
    """Items less their mean, divided by their deviation plus epsilon; those of a channel, or of all channels."""
    options, x = call.parameters("mvn_param"), call.bottom()
    rank = len(shape_of(x))
    first = 1 if options.across_channels else 2
    if rank <= first:
        msg = f"a blob of shape {list(shape_of(x))}: means along the axes from {first} on"
        raise UnsupportedError(msg)
    axes = call.constant(list(range(first, rank)))
    difference = call.emit("Sub", x, call.emit("ReduceMean", x, axes, keepdims=1))
    if not options.normalize_variance:
        return difference
    variance = call.emit("ReduceMean", call.emit("Mul", difference, difference), axes, keepdims=1)
    # Epsilon is not below the root, as it is elsewhere.
    deviation = linear(call, call.emit("Sqrt", variance), 1.0, options.eps)
    return call.emit("Div", difference, deviation)
