"""Activation functions."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import FLOATS, NUMBERS, REAL, constant_like, operands, shaped
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator

FUNCTIONS = {name: name for name in ("Elu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh")}
"""Activation functions that are one operator without attributes."""


@operator(*FUNCTIONS)
def function(call: Call) -> ir.Value:
    """A function of each item."""
    return activated(call, call.type, operands(call, REAL, 0)[0])


@operator("Relu6")
def relu6(call: Call) -> ir.Value:
    """Clamp between 0 and 6."""
    return activated(call, call.type, operands(call, REAL, 0)[0])


@operator("LeakyRelu")
def leaky_relu(call: Call) -> ir.Value:
    """``alpha * x`` below zero."""
    return call.emit("LeakyRelu", operands(call, REAL, 0)[0], alpha=call.number("alpha", 0.2))


def activated(call: Call, name: str, value: ir.Value) -> ir.Value:
    """Apply an activation function without attributes.

    Raises:
        UnsupportedError: It has no counterpart.
    """
    if name == "Relu6":
        return call.emit("Clip", value, constant_like(call, 0, value), constant_like(call, 6, value))
    if name in FUNCTIONS:
        return call.emit(FUNCTIONS[name], value)
    msg = f"the activation function {name}"
    raise UnsupportedError(msg)


@operator("Softmax", "LogSoftmax")
def softmax(call: Call) -> ir.Value:
    """Exponentials divided by their sum over the last dimension, or the logarithm of that."""
    (x,) = operands(call, FLOATS, 0)
    if not shape_of(x):
        msg = "a softmax of a tensor of no dimensions"
        raise UnsupportedError(msg)
    return call.emit(call.type, x, axis=-1)


@operator("ClipByValue")
def clip_by_value(call: Call) -> ir.Value:
    """No less than operand 1 and no more than operand 2, which may have an item for each of the value."""
    x, low, high = operands(call, NUMBERS, 0, 1, 2)
    if type_of(low).size == type_of(high).size == 1:
        return call.emit("Clip", x, shaped(call, low, ()), shaped(call, high, ()))
    return call.emit("Min", call.emit("Max", x, low), high)
