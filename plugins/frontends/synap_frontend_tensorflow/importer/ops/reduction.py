"""Dimensions made one number, and places of the largest items."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import (
    FLOATS,
    INDEX_TYPES,
    LOGICAL,
    NUMBERS,
    axis_of,
    constant_like,
    converted,
    operands,
    single_integer,
)
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator
from synap_frontend_tensorflow.schema import INT32, INT64, dtype_name

REDUCTIONS = {
    "EuclideanNorm": "ReduceL2",
    "Max": "ReduceMax",
    "Min": "ReduceMin",
    "Prod": "ReduceProd",
    "Sum": "ReduceSum",
}


@operator(*REDUCTIONS)
def reduction(call: Call) -> ir.Value:
    """One number of those along some dimensions."""
    allowed = FLOATS if call.type == "EuclideanNorm" else NUMBERS
    (x,) = operands(call, allowed, 0)
    return _reduced(call, REDUCTIONS[call.type], x)


@operator("Mean")
def mean(call: Call) -> ir.Value:
    """Mean along dimensions; that of integers is rounded towards zero."""
    (x,) = operands(call, NUMBERS, 0)
    if type_of(x).dtype in FLOATS:
        return _reduced(call, "ReduceMean", x)
    count = math.prod(shape_of(x)[axis] for axis in _axes(call, x))
    if count == 0:
        msg = "a mean of no integers"
        raise UnsupportedError(msg)
    return call.emit("Div", _reduced(call, "ReduceSum", x), constant_like(call, count, x))


@operator("All", "Any")
def truth(call: Call) -> ir.Value:
    """Whether all items along dimensions are true, or one of them."""
    numbers = converted(call, operands(call, LOGICAL, 0)[0], ir.DataType.INT32)
    found = _reduced(call, "ReduceMin" if call.type == "All" else "ReduceMax", numbers)
    return converted(call, found, ir.DataType.BOOL)


def _reduced(call: Call, op_type: str, value: ir.Value) -> ir.Value:
    axes = _axes(call, value)
    if not axes:
        return call.emit("Abs", value) if op_type == "ReduceL2" else value
    return call.emit(op_type, value, call.build.constant(axes), keepdims=int(call.flag("keep_dims", default=False)))


def _axes(call: Call, value: ir.Value) -> list[int]:
    """Dimensions to reduce, each once."""
    rank = len(shape_of(value))
    return sorted({axis_of(axis, rank) for axis in call.integers(1)})


@operator("ArgMax", "ArgMin")
def arg_max(call: Call) -> ir.Value:
    """Place of the largest or smallest item along a dimension; of the first one where there are several."""
    (x,) = operands(call, NUMBERS, 0)
    axis = axis_of(single_integer(call, 1), len(shape_of(x)))
    return converted(call, call.emit(call.type, x, axis=axis, keepdims=0), _index_type(call, "output_type", INT64))


@operator("TopK", "TopKV2")
def top_k(call: Call) -> list[ir.Value]:
    """The largest items along the last dimension in descending order, and their places; equal ones by their place."""
    (x,) = operands(call, NUMBERS, 0)
    count = single_integer(call, 1) if call.type == "TopKV2" else call.integer("k")
    if not shape_of(x) or not 0 <= count <= shape_of(x)[-1]:
        msg = f"the {count} largest items of the shape {list(shape_of(x))}"
        raise UnsupportedError(msg)
    values, places = call.build.emit_many("TopK", [x, call.build.constant([count])], {"axis": -1}, results=2)
    return [values, converted(call, places, _index_type(call, "index_type", INT32))]


@operator("Cumsum")
def cumsum(call: Call) -> ir.Value:
    """Sums of all items up to each one along a dimension, with or without it, from the front or the back."""
    (x,) = operands(call, NUMBERS, 0)
    axis = call.build.constant(np.int64(axis_of(single_integer(call, 1), len(shape_of(x)))))
    exclusive, reverse = call.flag("exclusive", default=False), call.flag("reverse", default=False)
    return call.emit("CumSum", x, axis, exclusive=int(exclusive), reverse=int(reverse))


def _index_type(call: Call, attribute: str, default: int) -> ir.DataType:
    number = call.kind(attribute, default)
    if number not in INDEX_TYPES:
        msg = f"places of the element type {dtype_name(number)}"
        raise UnsupportedError(msg)
    return INDEX_TYPES[number]
