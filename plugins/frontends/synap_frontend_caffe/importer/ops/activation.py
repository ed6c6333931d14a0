"""Functions of single items, and distributions."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_caffe.importer.call import Call
from synap_frontend_caffe.importer.ops.parameters import linear, weights
from synap_frontend_caffe.importer.registry import UnsupportedError, layer

FUNCTIONS = {"AbsVal": "Abs", "BNLL": "Softplus", "Sigmoid": "Sigmoid", "TanH": "Tanh"}
"""Layers that are one operator without attributes."""

NATURAL = -1
"""A base that stands for e."""


@layer(*FUNCTIONS)
def function(call: Call) -> ir.Value:
    """A function of each item."""
    return call.emit(FUNCTIONS[call.type], call.bottom())


@layer("ReLU")
def relu(call: Call) -> ir.Value:
    """``negative_slope * x`` below zero."""
    slope = call.parameters("relu_param").negative_slope
    return _leaky(call, call.bottom(), slope)


def _leaky(call: Call, x: ir.Value, slope: float) -> ir.Value:
    return call.emit("Relu", x) if slope == 0 else call.emit("LeakyRelu", x, alpha=float(slope))


@layer("PReLU")
def prelu(call: Call) -> ir.Value:
    """A learned slope below zero, one for each channel or the same for all."""
    x = call.bottom()
    if call.parameters("prelu_param").channel_shared:
        return _leaky(call, x, float(weights(call, slope=())[0]))
    shape = shape_of(x)
    channels = shape[call.axis(1, x)]
    slopes = weights(call, slopes=(channels,))[0]
    return call.emit("PRelu", x, call.constant(slopes.reshape(channels, *[1] * (len(shape) - 2))))


@layer("ELU")
def elu(call: Call) -> ir.Value:
    """``alpha * (exp(x) - 1)`` below zero."""
    return call.emit("Elu", call.bottom(), alpha=float(call.parameters("elu_param").alpha))


@layer("Swish")
def swish(call: Call) -> ir.Value:
    """``x * sigmoid(beta * x)``; younger than Caffe 1.0."""
    x = call.bottom()
    return call.emit("Mul", x, call.emit("Sigmoid", linear(call, x, call.parameters("swish_param").beta, 0.0)))


@layer("Clip")
def clip(call: Call) -> ir.Value:
    """Clamp between two limits; younger than Caffe 1.0."""
    options = call.parameters("clip_param")
    if not (options.HasField("min") and options.HasField("max")):
        msg = "no min or no max"
        raise UnsupportedError(msg)
    return call.emit("Clip", call.bottom(), call.constant(float(options.min)), call.constant(float(options.max)))


@layer("Threshold")
def threshold(call: Call) -> ir.Value:
    """1 above a limit, 0 at it and below."""
    limit = call.constant(float(call.parameters("threshold_param").threshold))
    return call.emit("Cast", call.emit("Greater", call.bottom(), limit), to=int(ir.DataType.FLOAT))


@layer("Softmax")
def softmax(call: Call) -> ir.Value:
    """Exponentials divided by their sum along an axis."""
    x = call.bottom()
    return call.emit("Softmax", x, axis=call.axis(call.parameters("softmax_param").axis, x))


@layer("Power")
def power(call: Call) -> ir.Value:
    """``(shift + scale * x) ** power``."""
    options, x = call.parameters("power_param"), call.bottom()
    if options.power == 0 or options.scale == 0:
        with np.errstate(all="ignore"):
            number = np.power(np.float32(options.shift), np.float32(options.power), dtype=np.float32)
        number = np.float32(1) if options.power == 0 else number
        return call.emit("Expand", call.constant(number), call.constant(shape_of(x)))
    base = linear(call, x, options.scale, options.shift)
    if options.power == 1:
        return base
    if options.power == 2:
        return call.emit("Mul", base, base)
    return call.emit("Pow", base, call.constant(float(options.power)))


@layer("Exp")
def exponential(call: Call) -> ir.Value:
    """``base ** (shift + scale * x)``."""
    options = call.parameters("exp_param")
    factor = 1.0 if options.base == NATURAL else _logarithm(options.base)
    return call.emit("Exp", linear(call, call.bottom(), factor * options.scale, factor * options.shift))


@layer("Log")
def logarithm(call: Call) -> ir.Value:
    """Logarithm to a base of ``shift + scale * x``."""
    options = call.parameters("log_param")
    factor = 1.0 if options.base == NATURAL else _logarithm(options.base)
    if factor == 0:
        msg = "a logarithm to the base 1"
        raise UnsupportedError(msg)
    found = call.emit("Log", linear(call, call.bottom(), options.scale, options.shift))
    return linear(call, found, 1 / factor, 0.0)


def _logarithm(base: float) -> float:
    if not 0 < base < math.inf:
        msg = f"the base {base:g}, which is not a positive number"
        raise UnsupportedError(msg)
    return math.log(base)
