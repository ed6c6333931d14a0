"""Items chosen by a condition, by their size or by their place."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import NARROW
from synap_frontend_tflite.importer.ops.reshaping import (
    axis_of,
    cast,
    computed,
    keeps_quant,
    reshaped,
    same_meaning,
    single_integer,
    within_limit,
)
from synap_frontend_tflite.importer.registry import UnsupportedError, operator, refuse

refuse("how many items it finds depends on the data", "WHERE", "UNIQUE")


@operator("SELECT", "SELECT_V2")
def select(op: Operator) -> ir.Value:
    """Items of operand 1 where a condition holds, those of operand 2 elsewhere.

    All three broadcast; but the older operator has a condition of one dimension choose along the *first* one.
    """
    same_meaning(op, 1, 2)
    condition, x = op.input(0), op.input(1)
    rank = len(shape_of(x))
    if op.type == "SELECT" and len(shape_of(condition)) == 1 and rank > 1:
        condition = reshaped(op, condition, [*shape_of(condition), *[1] * (rank - 1)])
    return chosen(op, condition, x, op.input(2))


def chosen(op: Operator, condition: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """Choose between two values of one quantization, which the result keeps."""
    return keeps_quant(x, computed(op, lambda *operands: op.emit("Where", condition, *operands), x, y))


@operator("ARG_MAX", "ARG_MIN")
def arg_max(op: Operator) -> ir.Value:
    """Place of the largest or smallest item along a dimension; of the first one where there are several."""
    x = _comparable(op, op.input(0))
    axis = axis_of(single_integer(op, 1), len(shape_of(x)))
    name = {"ARG_MAX": "ArgMax", "ARG_MIN": "ArgMin"}[op.type]
    return cast(op, op.emit(name, x, axis=axis, keepdims=0), op.outputs[0].type.dtype)


@operator("TOPK_V2")
def top_k(op: Operator) -> list[ir.Value]:
    """The largest items along the last dimension in descending order, and their places; equal ones by their place."""
    same_meaning(op, 0)
    x, count = op.input(0), single_integer(op, 1)
    if len(op.outputs) != 2 or not shape_of(x) or not 0 <= count <= shape_of(x)[-1]:
        msg = f"the {count} largest items of the shape {list(shape_of(x))}"
        raise UnsupportedError(msg)
    operands = [_comparable(op, x), op.build.constant([count])]
    values, places = op.build.emit_many("TopK", operands, {"axis": -1, "largest": 1, "sorted": 1}, results=2)
    result = keeps_quant(x, cast(op, values, type_of(x).dtype))
    return [result, cast(op, places, op.outputs[1].type.dtype)]


def _comparable(op: Operator, value: ir.Value) -> ir.Value:
    """A value as a type that items are compared in: narrow integers and booleans as int32."""
    narrow = type_of(value).dtype in (*NARROW, ir.DataType.BOOL)
    return cast(op, value, ir.DataType.INT32) if narrow else value


@operator("ONE_HOT")
def one_hot(op: Operator) -> ir.Value:
    """One item (operand 2) at the place that an index names along a new dimension, another (operand 3) elsewhere.

    An index that is out of range names no place; OneHot would count a negative one from the end.
    """
    same_meaning(op, 2, 3)
    depth, shape = single_integer(op, 1), shape_of(op.input(0))
    axis = axis_of(op.integer("axis"), len(shape) + 1)
    if depth < 0 or not type_of(op.input(0)).dtype.is_integer():
        msg = f"{depth} places for indices of {type_of(op.input(0)).dtype.name}"
        raise UnsupportedError(msg)
    within_limit(depth)
    indices = reshaped(op, cast(op, op.input(0), ir.DataType.INT64), [*shape[:axis], 1, *shape[axis:]])
    places = np.arange(depth, dtype=np.int64).reshape(-1, *[1] * (len(shape) - axis))
    here = op.emit("Equal", indices, op.build.constant(places))
    return chosen(op, here, reshaped(op, op.input(2), ()), reshaped(op, op.input(3), ()))


@operator("MATRIX_DIAG")
def matrix_diag(op: Operator) -> ir.Value:
    """Matrices with the last dimension on their diagonals, and zeros elsewhere."""
    same_meaning(op, 0)
    x = op.input(0)
    if not shape_of(x):
        msg = "a diagonal of no dimensions"
        raise UnsupportedError(msg)
    return chosen(op, _diagonal(op, shape_of(x)[-1], shape_of(x)[-1]), _rows(op, x), _stored_zero(op))


@operator("MATRIX_SET_DIAG")
def matrix_set_diag(op: Operator) -> ir.Value:
    """Matrices with their diagonals replaced by operand 1."""
    same_meaning(op, 0, 1)
    x, diagonal = op.input(0), op.input(1)
    *batch, height, width = (0, 0, *shape_of(x))
    if len(shape_of(x)) < 2 or shape_of(diagonal) != (*batch[2:], min(height, width)):
        msg = f"diagonals {list(shape_of(diagonal))} of matrices {list(shape_of(x))}"
        raise UnsupportedError(msg)
    # Each row holds the item of its column, or each column that of its row: whichever has all of them.
    lines = _rows(op, diagonal) if width <= height else reshaped(op, diagonal, [*shape_of(diagonal), 1])
    return chosen(op, _diagonal(op, height, width), lines, x)


def _rows(op: Operator, x: ir.Value) -> ir.Value:
    return reshaped(op, x, [*shape_of(x)[:-1], 1, shape_of(x)[-1]])


def _diagonal(op: Operator, height: int, width: int) -> ir.Value:
    within_limit(height * width)
    return op.build.constant(np.eye(height, width, dtype=bool))


def _stored_zero(op: Operator) -> ir.Value:
    """What a stored zero stands for in the output."""
    quant = op.outputs[0].quant
    if quant is None:
        return op.build.constant(np.zeros((), op.outputs[0].type.dtype.numpy()))
    return op.build.constant(-float(quant.scale[0]) * quant.zero_point[0])
