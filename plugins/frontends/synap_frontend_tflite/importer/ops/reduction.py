"""Dimensions made one number."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import quant_of, shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import NARROW
from synap_frontend_tflite.importer.ops.reshaping import axis_of, cast, computed, same_meaning, single_integer
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("SUM", "REDUCE_PROD")
def total(op: Operator) -> ir.Value:
    """Sum or product along dimensions; of a quantized tensor that of the real numbers."""
    _wide(op)
    return _reduced(op, {"SUM": "ReduceSum", "REDUCE_PROD": "ReduceProd"}[op.type], op.input(0))


@operator("REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL")
def extreme(op: Operator) -> ir.Value:
    """Largest or smallest item along dimensions: of truth values, whether any or all of them hold."""
    same_meaning(op, 0)
    name = "ReduceMax" if op.type in ("REDUCE_MAX", "REDUCE_ANY") else "ReduceMin"
    return computed(op, lambda value: _reduced(op, name, value), op.input(0))


@operator("MEAN")
def mean(op: Operator) -> ir.Value:
    """Mean along dimensions; that of integers is rounded towards zero."""
    _wide(op)
    x = op.input(0)
    if type_of(x).dtype == ir.DataType.FLOAT:
        return _reduced(op, "ReduceMean", x)
    count = math.prod(shape_of(x)[axis] for axis in _axes(op))
    if count == 0:
        msg = "a mean of no integers"
        raise UnsupportedError(msg)
    # The kernel has 64 bits for the sum of any integers.
    added = _reduced(op, "ReduceSum", cast(op, x, ir.DataType.INT64))
    return cast(op, op.emit("Div", added, op.build.constant(np.int64(count))), type_of(x).dtype)


def _wide(op: Operator) -> None:
    """Refuse narrow integers that stand for no real numbers: the kernels scale their sums by parameters they lack."""
    dtype = type_of(op.input(0)).dtype
    if dtype in NARROW:
        msg = f"a {op.type.lower()} of {dtype.name} without a quantization"
        raise UnsupportedError(msg)


def _reduced(op: Operator, op_type: str, value: ir.Value) -> ir.Value:
    axes = _axes(op)
    if not axes:
        return value
    return op.emit(op_type, value, op.build.constant(axes), keepdims=int(op.flag("keepDims")))


def _axes(op: Operator) -> list[int]:
    """Dimensions to reduce, each once; a scalar has none, whatever the operand says."""
    rank = len(shape_of(op.input(0)))
    return sorted({axis_of(axis, rank) for axis in op.integers(1)}) if rank else []


@operator("CUMSUM")
def cumsum(op: Operator) -> ir.Value:
    """Sums of all items up to each one along a dimension, with or without it, from the front or the back."""
    x = op.input(0)
    if quant_of(x) is not None or type_of(x).dtype in NARROW:
        msg = "sums of quantized items"
        raise UnsupportedError(msg)
    axis = op.build.constant(np.int64(axis_of(single_integer(op, 1), len(shape_of(x)))))
    return op.emit("CumSum", x, axis, exclusive=int(op.flag("exclusive")), reverse=int(op.flag("reverse")))
