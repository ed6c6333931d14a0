"""Operators on stored integers: the graph has real numbers in their place, and says what integers stand for them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.constants import NUMERIC
from synap_frontend_onnx.importer.quantized import (
    along_axis,
    dequantized_by_hand,
    integers_of,
    quantized_by_hand,
    repeated_in_blocks,
)
from synap_frontend_onnx.importer.quantized_call import (
    annotated,
    integers,
    parameters,
    product_bias,
    real,
    real_operand,
    stored_result,
)
from synap_frontend_onnx.importer.registry import MICROSOFT, UnsupportedError, operator

NATIVE_TYPES = frozenset(
    {
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.FLOAT8E4M3FN,
        ir.DataType.FLOAT8E4M3FNUZ,
        ir.DataType.FLOAT8E5M2,
        ir.DataType.FLOAT8E5M2FNUZ,
    }
)
"""Types that both operators have in operator set 19; ``DequantizeLinear`` has int32, too."""


@operator("QuantizeLinear", since=10)
@operator("QuantizeLinear", since=1, domain=MICROSOFT)
def quantize_linear(call: Call) -> ir.Value:
    """Real numbers stay what they are, annotated; integers that are read as such are computed."""
    value, quant = call.input(0), call.target
    if quant is not None:
        if value.const_value is not None:
            return call.build.quantized_constant(integers_of(value.const_value.numpy(), quant), quant)
        return value if call.dtype() == ir.DataType.FLOAT else call.emit("Cast", value, to=int(ir.DataType.FLOAT))
    if call.integer("precision", 0) not in (0, int(call.dtype(1))):
        msg = "it quantizes with a precision of its own"
        raise UnsupportedError(msg)
    zero_point = _zero_point(call)
    if type_of(zero_point).dtype in NATIVE_TYPES and not call.integer("block_size", 0):
        return call.only("QuantizeLinear", value, call.input(1), zero_point, **call.options("axis", "saturate"))
    return quantized_by_hand(call.build, value, _spread(call, call.input(1)), _spread(call, zero_point))


def _zero_point(call: Call) -> ir.Value:
    """The zero point; zero of the wanted type when it is absent."""
    given = call.optional(2)
    if given is not None:
        return given
    dtype = call.element_type("output_dtype", ir.DataType.UINT8)
    return call.build.constant(np.zeros(call.shape(1), dtype.numpy()))


@operator("DequantizeLinear", since=10, quantized=True)
@operator("DequantizeLinear", since=1, domain=MICROSOFT, quantized=True)
def dequantize_linear(call: Call) -> ir.Value:
    """Integers that real numbers stand for are these numbers; a constant keeps its integers."""
    found = _dequantized(call)
    dtype = type_of(found).dtype
    to = call.element_type("output_dtype", dtype)
    return found if to == dtype else call.emit("Cast", found, to=int(to))


def _dequantized(call: Call) -> ir.Value:
    blocks = call.integer("block_size", 0)
    if blocks and call.input(0).const_value is not None and call.quant(0) is None:
        return _from_blocks(call)
    quant = None if blocks else parameters(call, 0, 1, call.integer("axis", 1))
    found = None if quant is None else real(call, 0, quant)
    if quant is not None and found is not None:
        return annotated(call, found, quant)
    plain = integers(call, 0)
    dtype = type_of(plain).dtype
    if not blocks and (dtype in NATIVE_TYPES or dtype == ir.DataType.INT32):
        return call.only("DequantizeLinear", plain, *call.inputs[1:], **call.options("axis"))
    if dtype not in NUMERIC or dtype == ir.DataType.INT32:
        msg = f"it dequantizes computed integers of type {dtype.name.lower()}"
        raise UnsupportedError(msg)
    points = call.optional(2)
    scale, zero_point = _spread(call, call.input(1)), None if points is None else _spread(call, points)
    return dequantized_by_hand(call.build, plain, scale, zero_point)


def _spread(call: Call, parameter: ir.Value) -> ir.Value:
    """Scale or zero point in a shape that broadcasts over the first operand."""
    blocks, rank = call.integer("block_size", 0), len(call.shape())
    if not blocks:
        return along_axis(call.build, parameter, call.axis("axis", 1) if shape_of(parameter) != () else None, rank)
    axis = call.axis("axis", 1)
    return repeated_in_blocks(call.build, parameter, axis, blocks, call.shape()[axis])


def _from_blocks(call: Call) -> ir.Value:
    """Constants whose scale changes along an axis, too: no annotation can say that, so they become real numbers."""
    size, axis = call.integer("block_size", 0), call.axis("axis", 1)
    stored, scale = call.constant(0, "integers"), call.constant(1, "scales")
    points = np.zeros_like(scale) if call.optional(2) is None else call.constant(2, "zero points")
    length = stored.shape[axis] if stored.ndim else 0
    expected = tuple(-(-n // size) if i == axis else n for i, n in enumerate(stored.shape)) if size > 0 else None
    if scale.shape != expected or points.shape != expected:
        msg = f"its scales of shape {list(scale.shape)} do not fit blocks of {size} along axis {axis}"
        raise UnsupportedError(msg)
    block = np.arange(length) // size
    shifted = stored.astype(np.float32) - points.astype(np.float32).take(block, axis)
    return call.build.constant((shifted * scale.astype(np.float32).take(block, axis)).astype(scale.dtype))


Convert = Callable[[Call], ir.Value]


def _unless_computed(function: Convert) -> Convert:
    """The operators of the standard set stay what they are where scales or zero points are computed."""

    @functools.wraps(function)
    def convert(call: Call) -> ir.Value:
        values = [call.optional(place) for place in (1, 2, 4, 5, 6, 7)]
        if all(value is None or value.const_value is not None for value in values):
            return function(call)
        plain = [None if value is None else integers(call, place) for place, value in enumerate(call.inputs)]
        for place in (1, 4, 6):
            if call.dtype(place) != ir.DataType.FLOAT:
                plain[place] = call.emit("Cast", call.input(place), to=int(ir.DataType.FLOAT))
        return call.only(call.op_type, *plain, **call.options())

    return convert


@operator("QLinearConv", since=10, quantized=True)
@_unless_computed
def qlinear_conv(call: Call) -> ir.Value:
    """A convolution of real numbers."""
    operands = [real_operand(call, 0), real_operand(call, 3, axis=0), product_bias(call, 8)]
    return stored_result(call, call.emit("Conv", *operands, **call.options()), 6)


@operator("QLinearMatMul", since=10, quantized=True)
@_unless_computed
def qlinear_matmul(call: Call) -> ir.Value:
    """A product of real numbers."""
    return stored_result(call, call.emit("MatMul", real_operand(call, 0), real_operand(call, 3)), 6)
