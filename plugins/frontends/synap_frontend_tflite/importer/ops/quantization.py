"""Changes of the type in which numbers are stored."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantParams, quant_of, set_quant, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import REAL, converted, operands
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("QUANTIZE")
def quantize(op: Operator) -> ir.Value:
    """The same real numbers with a quantization, or with another one; constants are rounded to it at once."""
    x, quant = op.input(0), op.outputs[0].quant
    if quant is None or type_of(x).dtype != ir.DataType.FLOAT:
        msg = f"quantization of {type_of(x).dtype.name} to {op.outputs[0].type.dtype.name}"
        raise UnsupportedError(msg)
    if x.const_value is None or quant.axis is not None or quant.dtype == "int4":
        return x
    limits = np.iinfo(quant.dtype)
    units = x.const_value.numpy().astype(np.float64) / quant.scale[0]
    # Halves go away from zero, as `std::round` takes them.
    rounded = np.copysign(np.floor(np.abs(np.nan_to_num(units)) + 0.5), units) + quant.zero_point[0]
    return op.build.quantized_constant(np.clip(rounded, limits.min, limits.max).astype(quant.dtype), quant)


@operator("DEQUANTIZE")
def dequantize(op: Operator) -> ir.Value:
    """The same real numbers without a quantization; half floats become floats, constant ones at once."""
    x = op.input(0)
    dtype = type_of(x).dtype
    if dtype == ir.DataType.FLOAT:
        return x
    if dtype != ir.DataType.FLOAT16:
        msg = f"{dtype.name} without a quantization"
        raise UnsupportedError(msg)
    if x.const_value is not None:
        return op.build.constant(x.const_value.numpy().astype(np.float32))
    return converted(op, x, ir.DataType.FLOAT)


@operator("FAKE_QUANT")
def fake_quant(op: Operator) -> ir.Value:
    """Round to the steps of a quantization, written out; its parameters are noted where a type has its bits.

    Source: the reference kernel, which moves the range so that zero is a step.
    """
    lowest, highest, bits = op.number("min"), op.number("max"), op.integer("numBits")
    if not (2 <= bits <= 16 and -math.inf < lowest <= 0 <= highest < math.inf and lowest < highest):
        msg = f"{bits} bits for {lowest} to {highest}"
        raise UnsupportedError(msg)
    first, last = int(op.flag("narrowRange")), (1 << bits) - 1
    scale = (highest - lowest) / (last - first)
    point = min(max(round(first - lowest / scale), first), last)
    low, high, step = (op.build.constant(number) for number in ((first - point) * scale, (last - point) * scale, scale))
    (x,) = operands(op, REAL, 0, stored=True)
    # Halves go up: none of these numbers is below zero.
    units = op.emit("Div", op.emit("Sub", op.emit("Clip", x, low, high), low), step)
    rounded = op.emit("Floor", op.emit("Add", units, op.build.constant(0.5)))
    found = op.emit("Add", op.emit("Mul", rounded, step), low)
    if bits == 8:
        quant = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(scale,), zero_point=(point,))
        set_quant(found, quant)
    return found


@operator("CAST")
def cast(op: Operator) -> ir.Value:
    """Another element type; of quantized tensors the stored integers are converted, whatever they stand for."""
    x, result = op.input(0), op.outputs[0]
    before = quant_of(x)
    if result.type.dtype == ir.DataType.UNDEFINED:
        msg = "conversion to a type that no graph has"
        raise UnsupportedError(msg)
    stored = x if before is None else _stored(op, x, before)
    if result.quant is None:
        return converted(op, stored, result.type.dtype)
    return _real(op, converted(op, stored, getattr(ir.DataType, result.quant.dtype.upper())), result.quant)


def _stored(op: Operator, value: ir.Value, quant: QuantParams) -> ir.Value:
    """Integers behind real numbers, as floats."""
    scale, point = _parameters(op, quant)
    return op.emit("Round", op.emit("Add", op.emit("Div", value, scale), point))


def _real(op: Operator, integers: ir.Value, quant: QuantParams) -> ir.Value:
    """Real numbers behind integers."""
    scale, point = _parameters(op, quant)
    return op.emit("Mul", op.emit("Sub", converted(op, integers, ir.DataType.FLOAT), point), scale)


def _parameters(op: Operator, quant: QuantParams) -> tuple[ir.Value, ir.Value]:
    if quant.axis is not None:
        msg = "a conversion of the stored integers of a tensor that is quantized per channel"
        raise UnsupportedError(msg)
    return op.build.constant(float(quant.scale[0])), op.build.constant(float(quant.zero_point[0]))
