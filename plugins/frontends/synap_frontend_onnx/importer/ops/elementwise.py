"""Operators on items at equal positions, and conversions between element types."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import TensorType, type_of
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.constants import NUMERIC
from synap_frontend_onnx.importer.registry import UnsupportedError, as_is, operator

as_is(11, "Clip")
as_is(7, "PRelu")

NO_KERNEL = frozenset({ir.DataType.INT16, ir.DataType.UINT16})

UNSIGNED_EXPONENTS = {ir.DataType.UINT32: ir.DataType.INT64, ir.DataType.UINT64: ir.DataType.DOUBLE}

FLOAT8 = frozenset(dtype for dtype in NUMERIC if dtype.name.startswith("FLOAT8"))


@operator("Clip", since=6)
def clip_6(call: Call) -> ir.Value:
    """Limits are attributes."""
    x = call.input(0)
    limits = [call.scalar(call.number(name, 0.0), x) if name in call.attributes else None for name in ("min", "max")]
    return call.only("Clip", x, *limits)


@operator("PRelu", since=1)
def prelu_1(call: Call) -> ir.Value:
    """Slopes belong to channels."""
    rank, slope = len(call.shape()), call.input(1)
    if len(call.shape(1)) == 1 and rank > 2:
        slope = call.emit("Reshape", slope, call.build.constant([-1, *[1] * (rank - 2)]))
    return call.only("PRelu", call.input(0), slope)


@operator("Max", since=12)
@operator("Min", since=12)
def extreme(call: Call) -> ir.Value:
    """Integers of 16 bits are compared as such of 32: the runtime has no kernel for them."""
    operands, kind = [call.input(i) for i in range(len(call.inputs))], call.dtype()
    if kind not in NO_KERNEL:
        return call.only(call.op_type, *operands)
    wide = call.emit(call.op_type, *(cast_to(call, value, ir.DataType.INT32) for value in operands))
    return cast_to(call, wide, kind)


@operator("Pow", since=12)
def power(call: Call) -> ir.Value:
    """Unsigned exponents become ones that the runtime has kernels for."""
    x, exponent = call.input(0), call.input(1)
    to = UNSIGNED_EXPONENTS.get(call.dtype(1))
    return call.only("Pow", x, exponent if to is None else cast_to(call, exponent, to))


@operator("Cast", since=6)
def cast(call: Call) -> ir.Value:
    """A conversion to the same type is none."""
    to = call.element_type("to", ir.DataType.UNDEFINED)
    return _converted(call, to)


@operator("CastLike", since=15)
def cast_like(call: Call) -> ir.Value:
    """Types are static, so the second operand only tells one."""
    return _converted(call, call.dtype(1))


def cast_to(call: Call, x: ir.Value, dtype: ir.DataType) -> ir.Value:
    """Emit a conversion, unless the type is the same."""
    return x if type_of(x).dtype == dtype else call.emit("Cast", x, to=int(dtype))


def _converted(call: Call, to: ir.DataType) -> ir.Value:
    x = call.input(0)
    if call.dtype() == to:
        return x
    if to not in NUMERIC:
        msg = f"it converts to {to.name.lower()}"
        raise UnsupportedError(msg)
    return call.only("Cast", x, to=int(to), **(call.options("saturate") if to in FLOAT8 else {}))


@operator("BitCast", since=26)
def bit_cast(call: Call) -> ir.Value:
    """Signed and unsigned integers of one size and truth values; others only where they are constant."""
    x, to = call.input(0), call.element_type("to", ir.DataType.UNDEFINED)
    source = call.dtype()
    if source == to:
        return x
    if x.const_value is not None and source.bitwidth == to.bitwidth and source.bitwidth >= 8:
        bits = np.ascontiguousarray(x.const_value.numpy()).view(to.numpy())
        return call.build.constant(bits.reshape(call.shape()))
    whole = source.is_integer() or source == ir.DataType.BOOL
    if source.bitwidth == to.bitwidth and whole and to.is_integer() and to in NUMERIC:
        return call.only("Cast", x, to=int(to))
    msg = f"it reads the bits of {source.name.lower()} as {to.name.lower()}"
    raise UnsupportedError(msg)


@operator("BitShift", since=28)
def bit_shift_28(call: Call) -> ir.Value:
    """Signed integers, too: to the right, copies of the sign follow."""
    x, amount, kind = call.input(0), call.input(1), call.dtype()
    if kind.name.startswith("U"):
        return call.only("BitShift", x, amount, **call.options())
    wide = ir.DataType.INT64 if kind == ir.DataType.INT64 else ir.DataType.INT32
    unsigned = ir.DataType.UINT64 if kind == ir.DataType.INT64 else ir.DataType.UINT32
    x, amount = (cast_to(call, value, wide) for value in (x, amount))
    zero, ones = call.scalar(0, x), call.scalar(-1, x)
    # With its sign bits flipped, a negative number shifts as any other.
    sign = zero
    if call.text("direction", "") == "RIGHT":
        sign = call.emit("Where", call.emit("Less", x, zero), ones, zero)
    bits = cast_to(call, call.emit("BitwiseXor", x, sign), unsigned)
    moved = cast_to(call, call.emit("BitShift", bits, cast_to(call, amount, unsigned), **call.options()), wide)
    enough = call.emit("Less", amount, call.scalar(kind.bitwidth, x))
    valid = call.emit("And", call.emit("GreaterOrEqual", amount, zero), enough)
    return cast_to(call, call.emit("BitwiseXor", call.emit("Where", valid, moved, zero), sign), kind)


@operator("Mod", since=28)
def mod_28(call: Call) -> ir.Value:
    """Of real numbers the remainder may have the sign of the divisor, too, as it has for integers."""
    x, y = call.input(0), call.input(1)
    if call.integer("fmod", 0) or call.dtype().is_integer():
        return call.only("Mod", x, y, **call.options())
    rest, zero = call.emit("Mod", x, y, fmod=1), call.scalar(0, x)
    crossed = call.emit("Xor", call.emit("Less", rest, zero), call.emit("Less", y, zero))
    nonzero = call.emit("Not", call.emit("Equal", rest, zero))
    return call.emit("Where", call.emit("And", crossed, nonzero), call.emit("Add", rest, y), rest)


@operator("IsInf", since=20)
def is_inf_20(call: Call) -> ir.Value:
    """Half-precision numbers are converted; this keeps infinity."""
    x = call.input(0)
    if call.dtype() != ir.DataType.DOUBLE:
        x = cast_to(call, x, ir.DataType.FLOAT)
    return call.only("IsInf", x, **call.options())


@operator("Gelu", since=20)
def gelu(call: Call) -> ir.Value:
    """Written out: ``x/2 * (1 + erf(x/sqrt 2))``, or with ``tanh(sqrt(2/pi) * (x + 0.044715 x^3))``."""
    x, how = call.input(0), call.text("approximate", "none")
    if how not in ("none", "tanh"):
        msg = f"its attribute 'approximate' is {how!r}"
        raise UnsupportedError(msg)
    return gelu_exact(call, x) if how == "none" else gelu_tanh(call, x)


def gelu_exact(call: Call, x: ir.Value) -> ir.Value:
    """Emit the activation with the error function."""
    inner = call.emit("Erf", call.emit("Div", x, call.scalar(math.sqrt(2), x)))
    return _half_times_one_plus(call, x, inner)


def gelu_tanh(call: Call, x: ir.Value) -> ir.Value:
    """Emit the activation with the hyperbolic tangent."""
    cube = call.emit("Mul", call.emit("Mul", x, x), x)
    bent = call.emit("Add", x, call.emit("Mul", cube, call.scalar(0.044715, x)))
    inner = call.emit("Tanh", call.emit("Mul", bent, call.scalar(math.sqrt(2 / math.pi), x)))
    return _half_times_one_plus(call, x, inner)


def _half_times_one_plus(call: Call, x: ir.Value, inner: ir.Value) -> ir.Value:
    half = call.emit("Mul", x, call.scalar(0.5, x))
    return call.emit("Mul", half, call.emit("Add", inner, call.scalar(1.0, x)))


@operator("Swish", since=24)
def swish(call: Call) -> ir.Value:
    """``x * sigmoid(alpha * x)``."""
    return sigmoid_gated(call, call.input(0), call.number("alpha", 1.0))


def sigmoid_gated(call: Call, x: ir.Value, alpha: float) -> ir.Value:
    """Emit ``x * sigmoid(alpha * x)``."""
    scaled = x if alpha == 1.0 else call.emit("Mul", x, call.scalar(alpha, x))
    return call.emit("Mul", x, call.emit("Sigmoid", scaled))


@operator("Range", since=27)
def range_27(call: Call) -> ir.Value:
    """Half-precision numbers are counted in float32, unless ``stash_type`` says otherwise."""
    kind = type_of(call.input(0)).dtype
    operands = list(call.inputs)
    if kind not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        return call.only("Range", *operands)
    stash = call.element_type("stash_type", ir.DataType.FLOAT)
    known = None if call.result is None else TensorType(stash, call.result.shape)
    counted = call.build.emit("Range", [v and cast_to(call, v, stash) for v in operands], result=known)
    return cast_to(call, counted, kind)
