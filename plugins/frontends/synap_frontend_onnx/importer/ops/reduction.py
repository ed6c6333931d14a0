"""Sums, extremes and the like over dimensions, running ones, and softmax."""

from __future__ import annotations

import math

import onnx_ir as ir

from synap_core.api import TensorType, shape_of
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.registry import UnsupportedError, as_is, operator

as_is(13, "ReduceSum", "Softmax", "LogSoftmax", "Hardmax")
as_is(
    18,
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)


@operator("ReduceL1", since=1)
@operator("ReduceL2", since=1)
@operator("ReduceLogSum", since=1)
@operator("ReduceLogSumExp", since=1)
@operator("ReduceMax", since=1)
@operator("ReduceMean", since=1)
@operator("ReduceMin", since=1)
@operator("ReduceProd", since=1)
@operator("ReduceSum", since=1)
@operator("ReduceSumSquare", since=1)
def reduce_1(call: Call) -> ir.Value:
    """Axes are an attribute."""
    axes = call.integers("axes")
    operand = None if not axes else call.build.constant(axes)
    return call.only(call.op_type, call.input(0), operand, **call.options("keepdims"))


@operator("ReduceMax", since=20)
@operator("ReduceMin", since=20)
def reduce_extreme_20(call: Call) -> ir.Value:
    """Truth values are compared as numbers."""
    if call.dtype() != ir.DataType.BOOL:
        return call.only(call.op_type, *call.inputs, **call.options())
    numbers = call.emit("Cast", call.input(0), to=int(ir.DataType.UINT8))
    kind = None if call.result is None else TensorType(ir.DataType.UINT8, call.result.shape)
    found = call.build.emit(call.op_type, [numbers, *call.inputs[1:]], call.options(), result=kind)
    return call.emit("Cast", found, to=int(ir.DataType.BOOL))


@operator("Softmax", since=1)
@operator("LogSoftmax", since=1)
@operator("Hardmax", since=1)
def softmax_1(call: Call) -> ir.Value:
    """All dimensions from the axis on are taken together."""
    return softmax_over(call, call.op_type, call.input(0), call.axis("axis", 1))


def softmax_over(call: Call, op_type: str, x: ir.Value, axis: int) -> ir.Value:
    """Emit softmax or a relative of it over all dimensions from an axis on."""
    sizes = shape_of(x)
    if math.prod(sizes[axis + 1 :]) == 1:
        return call.emit(op_type, x, axis=axis)
    flat = call.emit("Reshape", x, call.build.constant([*sizes[:axis], math.prod(sizes[axis:])]))
    return call.emit("Reshape", call.emit(op_type, flat, axis=axis), call.build.constant(list(sizes)))


@operator("CumProd", since=26)
def cum_prod(call: Call) -> ir.Value:
    """Products of neighbours in a distance that doubles each time."""
    x, rank = call.input(0), len(call.shape())
    axis = int(call.constant(1, "axes").reshape(-1)[0]) if call.shape(1) in ((), (1,)) else rank
    if not -rank <= axis < rank:
        msg = f"its axis is {axis}; the operand has {rank} dimensions"
        raise UnsupportedError(msg)
    axis %= rank
    backwards = bool(call.integer("reverse", 0))
    if backwards:
        x = _reversed(call, x, axis)
    if call.integer("exclusive", 0):
        x = _shifted(call, x, axis, 1)
    distance = 1
    while distance < shape_of(x)[axis]:
        x = call.emit("Mul", x, _shifted(call, x, axis, distance))
        distance *= 2
    return _reversed(call, x, axis) if backwards else x


def _reversed(call: Call, x: ir.Value, axis: int) -> ir.Value:
    start, end, axes, steps = (call.build.constant([number]) for number in (-1, -(1 << 62), axis, -1))
    return call.emit("Slice", x, start, end, axes, steps)


def _shifted(call: Call, x: ir.Value, axis: int, distance: int) -> ir.Value:
    """Items moved to the end along an axis; those that are new in front are ones."""
    distance = min(distance, shape_of(x)[axis])
    pads = call.build.constant([distance, -distance])
    return call.emit("Pad", x, pads, call.scalar(1, x), call.build.constant([axis]))
