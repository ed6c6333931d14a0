"""Arithmetic of two tensors, which broadcast as in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import reduce

import numpy as np
import onnx_ir as ir

from synap_core.api import quant_of, type_of
from synap_frontend_tflite.importer.operator import ACTIVATIONS, Operator
from synap_frontend_tflite.importer.registry import UnsupportedError, operator

NARROW = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16)
"""Integers that most operators are not implemented for; int32 holds all of them."""

REAL = (ir.DataType.FLOAT,)
"""What tensors of floats and quantized ones hold."""

NUMBERS = (*REAL, *NARROW, ir.DataType.INT32, ir.DataType.INT64)
WORDS = (*NARROW, ir.DataType.INT32, ir.DataType.UINT32)
"""Integers that have operators of bits."""


@operator("ADD", "SUB", "MUL", "DIV")
def arithmetic(op: Operator) -> ir.Value:
    """Arithmetic with a fused activation function; integers are divided towards zero."""
    name = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div"}[op.type]
    return widened(op, lambda *both: _activated(op, op.emit(name, *both)), *operands(op, NUMBERS, 0, 1))


@operator("ADD_N")
def add_n(op: Operator) -> ir.Value:
    """Sum of any number of tensors of one shape."""
    terms = operands(op, NUMBERS, *range(max(len(op.inputs), 1)))
    return widened(op, lambda *values: reduce(lambda total, value: op.emit("Add", total, value), values), *terms)


@operator("MINIMUM", "MAXIMUM", "POW")
def pairwise(op: Operator) -> ir.Value:
    """Smaller or larger one of two items; power."""
    name = {"MINIMUM": "Min", "MAXIMUM": "Max", "POW": "Pow"}[op.type]
    return widened(op, lambda *both: op.emit(name, *both), *operands(op, NUMBERS, 0, 1))


@operator("SQUARED_DIFFERENCE")
def squared_difference(op: Operator) -> ir.Value:
    """Square of the difference."""
    return widened(op, lambda *both: _square(op, op.emit("Sub", *both)), *operands(op, NUMBERS, 0, 1))


def _square(op: Operator, value: ir.Value) -> ir.Value:
    return op.emit("Mul", value, value)


@operator("FLOOR_DIV")
def floor_div(op: Operator) -> ir.Value:
    """Quotient rounded down."""
    x, y = operands(op, NUMBERS, 0, 1, stored=True)
    if type_of(x).dtype in REAL:
        return op.emit("Floor", op.emit("Div", x, y))
    return widened(op, lambda *both: _floor_quotient(op, *both), x, y)


def _floor_quotient(op: Operator, x: ir.Value, y: ir.Value) -> ir.Value:
    # Both remainders differ by the divisor exactly where the quotient rounded towards zero is one too large.
    excess = op.emit("Sub", op.emit("Mod", x, y), op.emit("Mod", x, y, fmod=1))
    return op.emit("Sub", op.emit("Div", x, y), op.emit("Div", excess, y))


@operator("FLOOR_MOD")
def floor_mod(op: Operator) -> ir.Value:
    """Remainder with the sign of the divisor."""
    x, y = operands(op, NUMBERS, 0, 1, stored=True)
    if type_of(x).dtype not in REAL:
        return op.emit("Mod", x, y)
    # Only the remainder of C is exact in floats, but it has the sign of the dividend.
    rest = op.emit("Mod", x, y, fmod=1)
    opposite = op.emit("Less", op.emit("Mul", rest, op.emit("Sign", y)), op.build.constant(0.0))
    return op.emit("Where", opposite, op.emit("Add", rest, y), rest)


@operator("ATAN2")
def atan2(op: Operator) -> ir.Value:
    """Angle of the point ``(x, y)``, which are operands 1 and 0; zeros count as positive."""
    y, x = operands(op, REAL, 0, 1)
    zero, pi = op.build.constant(0.0), op.build.constant(math.pi)
    angle = op.emit("Atan", op.emit("Div", op.emit("Abs", y), op.emit("Abs", x)))
    # The quotient of two zeros is no number.
    first = op.emit("Where", op.emit("Equal", y, zero), zero, angle)
    upper = op.emit("Where", op.emit("Less", x, zero), op.emit("Sub", pi, first), first)
    return op.emit("Where", op.emit("Less", y, zero), op.emit("Neg", upper), upper)


@operator("BITWISE_XOR")
def bitwise_xor(op: Operator) -> ir.Value:
    """Exclusive or of the bits of integers."""
    return op.emit("BitwiseXor", *operands(op, WORDS, 0, 1, stored=True))


@operator("RIGHT_SHIFT")
def right_shift(op: Operator) -> ir.Value:
    """Shift of the bits of integers of at most 32 bits; those of a negative one are filled up with ones."""
    x, shift = operands(op, WORDS, 0, 1, stored=True)
    kept = type_of(x).dtype
    wide = ir.DataType.INT32 if kept.is_signed() else ir.DataType.UINT32
    limits = (op.build.constant(np.asarray(limit, wide.numpy())) for limit in (0, kept.itemsize * 8 - 1))
    places = op.emit("Clip", converted(op, shift, wide), *limits)
    if not kept.is_signed():
        return converted(op, _shifted(op, x, places), kept)
    number = converted(op, x, wide)
    # All ones for a negative number: inverting it before and after makes the shift fill up with ones.
    negative = op.emit("Less", number, op.build.constant(np.asarray(0, np.int32)))
    mask = op.emit("Neg", converted(op, negative, wide))
    moved = converted(op, _shifted(op, op.emit("BitwiseXor", number, mask), places), wide)
    return converted(op, op.emit("BitwiseXor", moved, mask), kept)


def _shifted(op: Operator, x: ir.Value, places: ir.Value) -> ir.Value:
    unsigned = ir.DataType.UINT32
    return op.emit("BitShift", converted(op, x, unsigned), converted(op, places, unsigned), direction="RIGHT")


def operands(op: Operator, allowed: Collection[ir.DataType], *positions: int, stored: bool = False) -> list[ir.Value]:
    """Required operands of one element type.

    Args:
        op: The operator.
        allowed: Types it can have.
        positions: Of the operands.
        stored: The kernel takes integers as they are stored, so none may be quantized.

    Raises:
        UnsupportedError: One is absent, or of another type.
    """
    values = [op.input(position) for position in positions]
    types = [type_of(value).dtype for value in values]
    if types[0] not in allowed or any(dtype != types[0] for dtype in types):
        names = ", ".join(dtype.name for dtype in allowed)
        msg = f"operands of {' and '.join(dtype.name for dtype in dict.fromkeys(types))}; they must be one of {names}"
        raise UnsupportedError(msg)
    if stored and any(quant_of(value) is not None for value in values):
        msg = "quantized operands, of which the kernel takes the integers as they are"
        raise UnsupportedError(msg)
    return values


def real(op: Operator, position: int) -> ir.Value:
    """A required operand of real numbers: floats, or quantized. Raises as `operands`."""
    return operands(op, REAL, position)[0]


def widened(op: Operator, emit: Callable[..., ir.Value], *given: ir.Value) -> ir.Value:
    """Emit with operands of 8 or 16 bits turned into int32, and turn the result back, to the same bits."""
    kept = type_of(given[0]).dtype
    if kept not in NARROW:
        return emit(*given)
    result = emit(*(converted(op, value, ir.DataType.INT32) for value in given))
    return result if type_of(result).dtype == ir.DataType.BOOL else converted(op, result, kept)


def _activated(op: Operator, value: ir.Value) -> ir.Value:
    """As `Operator.activated`, of integers, too."""
    if type_of(value).dtype in REAL:
        return op.activated(value)
    number = op.integer("fusedActivationFunction")
    name = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else str(number)
    limits = {"RELU": (0, None), "RELU_N1_TO_1": (-1, 1), "RELU6": (0, 6)}
    if name not in limits:
        return op.activation(name, value)
    dtype = type_of(value).dtype.numpy()
    bounds = (None if limit is None else op.build.constant(np.asarray(limit, dtype)) for limit in limits[name])
    return op.emit("Clip", value, *bounds)


def converted(op: Operator, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """A value of an element type: the same one when it has it already."""
    return value if type_of(value).dtype == dtype else op.emit("Cast", value, to=int(dtype))
