"""Axes made one number, or the places of the largest ones."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_caffe.importer.call import Call
from synap_frontend_caffe.importer.ops.parameters import linear, reshaped
from synap_frontend_caffe.importer.registry import UnsupportedError, layer

SUM, ASUM, SUMSQ, MEAN = 1, 2, 3, 4
"""Numbers of ``ReductionOp``."""


@layer("Reduction")
def reduction(call: Call) -> ir.Value:
    """Sum, sum of absolute values or of squares, or mean of all items from an axis on, times a coefficient."""
    options, x = call.parameters("reduction_param"), call.bottom()
    axes = call.constant(list(range(call.axis(options.axis, x), len(shape_of(x)))))
    if options.operation == ASUM:
        x = call.emit("Abs", x)
    elif options.operation == SUMSQ:
        x = call.emit("Mul", x, x)
    name = "ReduceMean" if options.operation == MEAN else "ReduceSum"
    return linear(call, call.emit(name, x, axes, keepdims=0), options.coeff, 0.0)


@layer("ArgMax")
def arg_max(call: Call) -> ir.Value:
    """Places of the largest items as float32, of the last one where there are several.

    Along an axis, or their values if these are asked for; without an axis those of the sample, beside the values, in
    the shape ``[batch, 1 or 2, top_k]``.
    """
    options, x = call.parameters("argmax_param"), call.bottom()
    shape, count = shape_of(x), int(options.top_k)
    if options.HasField("axis"):
        axis = call.axis(options.axis, x)
        return _largest(call, x, axis, count) if options.out_max_val else _places(call, x, axis, count)
    rows = reshaped(call, x, (shape[0], 1, math.prod(shape[1:])))
    found = _places(call, rows, 2, count)
    if options.out_max_val:
        found = call.emit("Concat", found, _largest(call, rows, 2, count), axis=1)
    return reshaped(call, found, (*shape_of(found), *[1] * (len(shape) - 3)))


def _largest(call: Call, x: ir.Value, axis: int, count: int) -> ir.Value:
    """The largest items in descending order."""
    _check_count(x, axis, count)
    if count == 1:
        return call.emit("ReduceMax", x, call.constant([axis]), keepdims=1)
    return _sorted(call, x, axis, count)[0]


def _places(call: Call, x: ir.Value, axis: int, count: int) -> ir.Value:
    """Their places as float32."""
    _check_count(x, axis, count)
    if count == 1:
        places = call.emit("ArgMax", x, axis=axis, keepdims=1, select_last_index=1)
    else:
        # The operator prefers the first of equal items, Caffe the last one.
        last = call.constant(np.int64(shape_of(x)[axis] - 1))
        backwards = [call.constant([number]) for number in (-1, -shape_of(x)[axis] - 1, axis, -1)]
        places = call.emit("Sub", last, _sorted(call, call.emit("Slice", x, *backwards), axis, count)[1])
    return call.emit("Cast", places, to=int(ir.DataType.FLOAT))


def _sorted(call: Call, x: ir.Value, axis: int, count: int) -> list[ir.Value]:
    return call.build.emit_many("TopK", [x, call.constant([count])], {"axis": axis}, results=2)


def _check_count(x: ir.Value, axis: int, count: int) -> None:
    if not 1 <= count <= shape_of(x)[axis]:
        msg = f"a top_k of {count} along axis {axis} of a blob of shape {list(shape_of(x))}"
        raise UnsupportedError(msg)
