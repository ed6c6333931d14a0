"""Operands and results of operators that know what their integers mean."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import QuantizedTensor, QuantParams, set_quant, type_of
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.quantized import INTEGER_TYPES, affine, plain_integers, stored_integers
from synap_frontend_onnx.importer.registry import UnsupportedError


def parameters(call: Call, place: int, scale: int, axis: int | None = None) -> QuantParams | None:
    """Quantization that an operator tells of one of its operands.

    Args:
        call: The operator.
        place: The operand.
        scale: Place of its scale; the zero point is behind it.
        axis: Axis of several scales; None when there can be but one.

    Returns:
        None when it is computed, or such that an annotation cannot hold it.
    """
    points, quant = call.optional(scale + 1), call.quant(place)
    if call.input(scale).const_value is None or (points is not None and points.const_value is None):
        return None
    zeros = None if points is None else call.constant(scale + 1, "zero points")
    if points is None:
        dtype = call.dtype(place) if quant is None else INTEGER_TYPES[quant.dtype]
    else:
        dtype = type_of(points).dtype
    return affine(call.constant(scale, "scales"), zeros, dtype, axis, call.shape(place))


def real(call: Call, place: int, quant: QuantParams) -> ir.Value | None:
    """Real numbers of an operand of stored integers.

    Returns:
        None for computed integers that no real numbers with these parameters stand for.
    """
    value = call.input(place)
    if value.const_value is not None and not isinstance(value.const_value, QuantizedTensor):
        name = call.build.unused_name(str(value.name))
        return call.build.quantized_constant(plain_integers(value.const_value), quant, name)
    return value if call.quant(place) == quant else None


def annotated(call: Call, value: ir.Value, quant: QuantParams) -> ir.Value:
    """The same real numbers as a value of its own, with an annotation."""
    if value.const_value is not None:
        return value
    copy = call.emit("Identity", value)
    set_quant(copy, quant)
    return copy


def integers(call: Call, place: int) -> ir.Value:
    """Stored integers of an operand; an operand that does not stand for any as it is."""
    value, quant = call.input(place), call.quant(place)
    return value if quant is None else stored_integers(call.build, value, quant)


def real_operand(call: Call, place: int, *, axis: int | None = None) -> ir.Value:
    """Real numbers of an operand that has its scale and zero point behind it.

    Raises:
        UnsupportedError: These are computed, or no positive numbers.
    """
    quant = parameters(call, place, place + 1, axis)
    if quant is None:
        msg = "its scales and zero points are computed, or no positive float32 numbers"
        raise UnsupportedError(msg)
    found = real(call, place, quant)
    if found is not None:
        return found
    return call.emit("DequantizeLinear", integers(call, place), *call.inputs[place + 1 : place + 3])


def product_bias(call: Call, place: int) -> ir.Value | None:
    """Bias of a product, which is stored with the product of the scales of both factors (operands 1 and 4).

    Raises:
        UnsupportedError: It is computed, or has another number of items than there are scales.
    """
    if call.optional(place) is None:
        return None
    scale = call.constant(1, "scales").reshape(-1) * call.constant(4, "scales").reshape(-1)
    quant = affine(scale, None, ir.DataType.INT32, -1, call.shape(place))
    if quant is None:
        msg = f"its bias of shape {list(call.shape(place))} has {len(scale)} scales"
        raise UnsupportedError(msg)
    return call.build.quantized_constant(call.constant(place, "biases"), quant)


def stored_result(call: Call, value: ir.Value, scale: int) -> ir.Value:
    """A result as the integers it is stored as, unless real numbers may stand for them.

    Args:
        call: The operator.
        value: The real numbers.
        scale: Place of the scale; the zero point is behind it.
    """
    if call.target is not None:
        return value
    return call.only("QuantizeLinear", value, *call.inputs[scale : scale + 2])
