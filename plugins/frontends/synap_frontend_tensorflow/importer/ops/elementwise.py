"""Arithmetic and functions of single items; two tensors broadcast as in NumPy."""

from __future__ import annotations

import math
from functools import reduce

import onnx_ir as ir

from synap_core.api import type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import FLOATS, NUMBERS, REAL, constant_like, operands
from synap_frontend_tensorflow.importer.registry import operator

ARITHMETIC = {
    "Add": "Add",
    "AddV2": "Add",
    "Maximum": "Max",
    "Minimum": "Min",
    "Mul": "Mul",
    "Pow": "Pow",
    "Sub": "Sub",
    "Div": "Div",
    "RealDiv": "Div",
    "TruncateDiv": "Div",
}
"""Arithmetic of two tensors; integers are divided towards zero."""

FUNCTIONS = {
    "Ceil": "Ceil",
    "Cos": "Cos",
    "Exp": "Exp",
    "Floor": "Floor",
    "Inv": "Reciprocal",
    "IsNan": "IsNaN",
    "Log": "Log",
    "Reciprocal": "Reciprocal",
    "Rint": "Round",
    "Round": "Round",
    "Sin": "Sin",
    "Sqrt": "Sqrt",
}
"""Functions of real numbers with a counterpart of the same meaning; halves are rounded to even ones."""

RARE = ("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Erf", "Sinh", "Tan")
"""Functions of the same name and meaning that runtimes lack in 64 bits."""

SIGNS = {"Abs": "Abs", "Neg": "Neg", "Sign": "Sign"}
"""Functions of integers, too."""


@operator(*ARITHMETIC)
def arithmetic(call: Call) -> ir.Value:
    """Arithmetic of two tensors."""
    allowed = FLOATS if call.type == "RealDiv" else NUMBERS
    return call.emit(ARITHMETIC[call.type], *operands(call, allowed, 0, 1))


@operator("AddN", "AccumulateNV2")
def add_n(call: Call) -> ir.Value:
    """Sum of any number of tensors of one shape."""
    terms = operands(call, NUMBERS, *range(max(len(call.inputs), 1)))
    return reduce(lambda total, value: call.emit("Add", total, value), terms)


@operator("SquaredDifference")
def squared_difference(call: Call) -> ir.Value:
    """Square of the difference."""
    difference = call.emit("Sub", *operands(call, NUMBERS, 0, 1))
    return call.emit("Mul", difference, difference)


@operator("DivNoNan", "MulNoNan")
def no_nan(call: Call) -> ir.Value:
    """Quotient or product that is zero where the second operand is, whatever the first one is."""
    x, y = operands(call, FLOATS, 0, 1)
    zero = constant_like(call, 0, y)
    found = call.emit("Div" if call.type == "DivNoNan" else "Mul", x, y)
    return call.emit("Where", call.emit("Equal", y, zero), zero, found)


@operator("Xdivy", "Xlogy")
def zero_times(call: Call) -> ir.Value:
    """Quotient, or product with a logarithm, that is zero where the first operand is, whatever the second one is."""
    x, y = operands(call, FLOATS, 0, 1)
    zero = constant_like(call, 0, x)
    found = call.emit("Div", x, y) if call.type == "Xdivy" else call.emit("Mul", x, call.emit("Log", y))
    return call.emit("Where", call.emit("Equal", x, zero), zero, found)


@operator("FloorDiv")
def floor_div(call: Call) -> ir.Value:
    """Quotient rounded down."""
    x, y = operands(call, NUMBERS, 0, 1)
    if type_of(x).dtype in FLOATS:
        return call.emit("Floor", call.emit("Div", x, y))
    # Both remainders differ by the divisor exactly where the quotient rounded towards zero is one too large.
    excess = call.emit("Sub", call.emit("Mod", x, y), call.emit("Mod", x, y, fmod=1))
    return call.emit("Sub", call.emit("Div", x, y), call.emit("Div", excess, y))


@operator("FloorMod")
def floor_mod(call: Call) -> ir.Value:
    """Remainder with the sign of the divisor."""
    x, y = operands(call, NUMBERS, 0, 1)
    if type_of(x).dtype not in FLOATS:
        return call.emit("Mod", x, y)
    # Only the remainder of C is exact in floats, but it has the sign of the dividend.
    rest = call.emit("Mod", x, y, fmod=1)
    opposite = call.emit(
        "Less", call.emit("Mul", call.emit("Sign", rest), call.emit("Sign", y)), constant_like(call, 0, y)
    )
    return call.emit("Where", opposite, call.emit("Add", rest, y), rest)


@operator("Mod", "TruncateMod")
def truncate_mod(call: Call) -> ir.Value:
    """Remainder with the sign of the dividend."""
    return call.emit("Mod", *operands(call, NUMBERS, 0, 1), fmod=1)


@operator("Atan2")
def atan2(call: Call) -> ir.Value:
    """Angle of the point ``(x, y)``, which are operands 1 and 0; zeros count as positive."""
    y, x = operands(call, REAL, 0, 1)
    zero, pi = constant_like(call, 0, x), constant_like(call, math.pi, x)
    angle = call.emit("Atan", call.emit("Div", call.emit("Abs", y), call.emit("Abs", x)))
    # The quotient of two zeros is no number.
    first = call.emit("Where", call.emit("Equal", y, zero), zero, angle)
    upper = call.emit("Where", call.emit("Less", x, zero), call.emit("Sub", pi, first), first)
    return call.emit("Where", call.emit("Less", y, zero), call.emit("Neg", upper), upper)


@operator(*FUNCTIONS)
def function(call: Call) -> ir.Value:
    """A function of each item."""
    return call.emit(FUNCTIONS[call.type], *operands(call, FLOATS, 0))


@operator(*RARE)
def rare_function(call: Call) -> ir.Value:
    """A function of each item."""
    return call.emit(call.type, *operands(call, REAL, 0))


@operator(*SIGNS)
def sign(call: Call) -> ir.Value:
    """A function of each item that has to do with its sign."""
    return call.emit(SIGNS[call.type], *operands(call, NUMBERS, 0))


@operator("Square")
def square(call: Call) -> ir.Value:
    """Square."""
    (x,) = operands(call, NUMBERS, 0)
    return call.emit("Mul", x, x)


@operator("Rsqrt")
def rsqrt(call: Call) -> ir.Value:
    """One over the root."""
    return call.emit("Reciprocal", call.emit("Sqrt", *operands(call, FLOATS, 0)))


@operator("Erfc")
def erfc(call: Call) -> ir.Value:
    """One minus the error function."""
    (x,) = operands(call, REAL, 0)
    return call.emit("Sub", constant_like(call, 1, x), call.emit("Erf", x))


@operator("Log1p")
def log1p(call: Call) -> ir.Value:
    """Logarithm of ``1 + x``."""
    (x,) = operands(call, FLOATS, 0)
    return call.emit("Log", call.emit("Add", x, constant_like(call, 1, x)))


@operator("Expm1")
def expm1(call: Call) -> ir.Value:
    """Exponential minus one."""
    (x,) = operands(call, FLOATS, 0)
    return call.emit("Sub", call.emit("Exp", x), constant_like(call, 1, x))
