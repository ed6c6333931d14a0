"""Activation functions that are operators of their own."""

from __future__ import annotations

import math

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import real
from synap_frontend_tflite.importer.registry import UnsupportedError, operator

FUNCTIONS = {"HARD_SWISH": "HardSwish", "LOGISTIC": "Sigmoid"}
"""Activation functions that are one operator without attributes."""


@operator("RELU", "RELU6", "RELU_N1_TO_1", "TANH")
def fusible(op: Operator) -> ir.Value:
    """A function that other operators can have fused, too."""
    return op.activation(op.type, real(op, 0))


@operator("RELU_0_TO_1")
def relu_0_to_1(op: Operator) -> ir.Value:
    """Clamp between 0 and 1."""
    return op.emit("Clip", real(op, 0), op.build.constant(0.0), op.build.constant(1.0))


@operator(*FUNCTIONS)
def function(op: Operator) -> ir.Value:
    """A function of each item."""
    return op.emit(FUNCTIONS[op.type], real(op, 0))


@operator("ELU")
def elu(op: Operator) -> ir.Value:
    """``exp(x) - 1`` below zero."""
    return op.emit("Elu", real(op, 0), alpha=1.0)


@operator("LEAKY_RELU")
def leaky_relu(op: Operator) -> ir.Value:
    """``alpha * x`` below zero."""
    return op.emit("LeakyRelu", real(op, 0), alpha=op.number("alpha"))


@operator("PRELU")
def prelu(op: Operator) -> ir.Value:
    """``alpha * x`` below zero, alpha an operand that broadcasts to the other."""
    x, alpha = real(op, 0), real(op, 1)
    if len(shape_of(alpha)) > len(shape_of(x)):
        msg = f"slopes of shape {list(shape_of(alpha))} for an input of shape {list(shape_of(x))}"
        raise UnsupportedError(msg)
    return op.emit("PRelu", x, alpha)


@operator("GELU")
def gelu(op: Operator) -> ir.Value:
    """``x * P(X <= x)`` of the normal distribution, or its approximation by a hyperbolic tangent.

    Written out, as opset 19 has no operator for it.
    """
    x = real(op, 0)
    if op.flag("approximate"):
        cube = op.emit("Mul", op.emit("Mul", x, x), x)
        inner = op.emit("Add", x, op.emit("Mul", cube, op.build.constant(0.044715)))
        sign = op.emit("Tanh", op.emit("Mul", inner, op.build.constant(math.sqrt(2 / math.pi))))
    else:
        sign = op.emit("Erf", op.emit("Mul", x, op.build.constant(math.sqrt(0.5))))
    half = op.emit("Mul", x, op.build.constant(0.5))
    return op.emit("Mul", half, op.emit("Add", sign, op.build.constant(1.0)))


@operator("SOFTMAX")
def softmax(op: Operator) -> ir.Value:
    """Exponentials of ``beta * x`` divided by their sum over the last dimension."""
    x, beta = real(op, 0), op.number("beta")
    return op.emit("Softmax", x if beta == 1 else op.emit("Mul", x, op.build.constant(beta)), axis=-1)


@operator("LOG_SOFTMAX")
def log_softmax(op: Operator) -> ir.Value:
    """Logarithm of the softmax over the last dimension."""
    return op.emit("LogSoftmax", real(op, 0), axis=-1)
