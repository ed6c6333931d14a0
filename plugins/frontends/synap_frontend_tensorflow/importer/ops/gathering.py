"""Items taken from places that an operand names."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import axis_of, converted, single_integer
from synap_frontend_tensorflow.importer.ops.reshaping import moved, reshaped
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator, refuse

refuse("how many items it finds depends on the data", "Where")
refuse("which pixels it takes depends on boxes that are computed", "CropAndResize")


@operator("Gather")
def gather(call: Call) -> ir.Value:
    """Slices along dimension 0."""
    return _gathered(call, 0, 0)


@operator("GatherV2")
def gather_v2(call: Call) -> ir.Value:
    """Slices along a dimension, which is operand 2; with batch dimensions, each batch by its own indices."""
    return _gathered(call, single_integer(call, 2), call.integer("batch_dims", 0))


@operator("GatherNd")
def gather_nd(call: Call) -> ir.Value:
    """Slices at places that the last dimension of the indices names."""
    return moved(call, "GatherND", call.input(0), converted(call, _indices(call), ir.DataType.INT64))


def _gathered(call: Call, along: int, batch: int) -> ir.Value:
    x, indices = call.input(0), _indices(call)
    axis = axis_of(along, len(shape_of(x)))
    batch += len(shape_of(indices)) if batch < 0 else 0
    if not 0 <= batch <= min(axis, len(shape_of(indices))) or shape_of(x)[:batch] != shape_of(indices)[:batch]:
        msg = f"{batch} batch dimensions of {list(shape_of(x))} and {list(shape_of(indices))}, along dimension {axis}"
        raise UnsupportedError(msg)
    return _gather_batches(call, x, indices, axis, batch) if batch else moved(call, "Gather", x, indices, axis=axis)


def _gather_batches(call: Call, x: ir.Value, indices: ir.Value, axis: int, batch: int) -> ir.Value:
    """Every batch, and in it every position before the axis, is a batch of GatherND with the indices of the batch."""
    shape, wanted = shape_of(x), shape_of(indices)[batch:]
    outer, inner = shape[batch:axis], shape[axis + 1 :]
    rows = reshaped(call, x, [prod(shape[:batch]), prod(outer), shape[axis], prod(inner)])
    picks = reshaped(call, indices, [prod(shape[:batch]), 1, prod(wanted), 1])
    if prod(outer) > 1:
        whole = [prod(shape[:batch]), prod(outer), prod(wanted), 1]
        picks = call.emit("Expand", picks, call.build.constant(whole))
    found = moved(call, "GatherND", rows, converted(call, picks, ir.DataType.INT64), batch_dims=2)
    return reshaped(call, found, [*shape[:batch], *outer, *wanted, *inner])


def _indices(call: Call) -> ir.Value:
    """The operand of indices, as int32 or int64.

    Raises:
        UnsupportedError: It holds no integers.
    """
    value = call.input(1)
    dtype = type_of(value).dtype
    if not dtype.is_integer():
        msg = f"indices of {dtype.name}"
        raise UnsupportedError(msg)
    return value if dtype == ir.DataType.INT64 else converted(call, value, ir.DataType.INT32)
