"""Functions of single items."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import NUMBERS, operands, real, widened
from synap_frontend_tflite.importer.registry import operator

FUNCTIONS = {
    "SQRT": "Sqrt",
    "EXP": "Exp",
    "SIN": "Sin",
    "COS": "Cos",
    "FLOOR": "Floor",
    "CEIL": "Ceil",
    "ROUND": "Round",
}
"""Functions of real numbers with a counterpart of the same meaning; ROUND rounds halves to even ones."""

SIGNS = {"ABS": "Abs", "NEG": "Neg", "SIGN": "Sign"}
"""Functions of integers, too."""


@operator(*FUNCTIONS)
def function(op: Operator) -> ir.Value:
    """A function of each item."""
    return op.emit(FUNCTIONS[op.type], real(op, 0))


@operator(*SIGNS)
def sign(op: Operator) -> ir.Value:
    """A function of each item that has to do with its sign."""
    return widened(op, lambda value: op.emit(SIGNS[op.type], value), *operands(op, NUMBERS, 0))


@operator("LOG")
def log(op: Operator) -> ir.Value:
    """Natural logarithm; the lowest number of a quantized result for what has none."""
    x, quant = real(op, 0), op.outputs[0].quant
    if quant is None or quant.axis is not None or quant.dtype not in ("int8", "int16"):
        return op.emit("Log", x)
    lowest = (np.iinfo(quant.dtype).min - quant.zero_point[0]) * quant.scale[0]
    found = op.emit("Log", op.emit("Max", x, op.build.constant(0.0)))
    return op.emit("Max", found, op.build.constant(lowest))


@operator("SQUARE")
def square(op: Operator) -> ir.Value:
    """Square."""
    x = real(op, 0)
    return op.emit("Mul", x, x)


@operator("RSQRT")
def rsqrt(op: Operator) -> ir.Value:
    """One over the root."""
    return op.emit("Reciprocal", op.emit("Sqrt", real(op, 0)))


@operator("ZEROS_LIKE")
def zeros_like(op: Operator) -> ir.Value:
    """Zeros of the type and shape of the operand."""
    (x,) = operands(op, NUMBERS, 0, stored=True)
    zero = op.build.constant(np.zeros((), type_of(x).dtype.numpy()))
    return op.emit("Expand", zero, op.build.constant(shape_of(x)))
