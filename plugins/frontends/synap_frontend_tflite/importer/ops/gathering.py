"""Items taken from, or put to, places that an operand names."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from synap_core.api import quant_of, shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.reshaping import (
    axis_of,
    cast,
    computed,
    keeps_quant,
    moved,
    reshaped,
    same_meaning,
    within_limit,
)
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("GATHER")
def gather(op: Operator) -> ir.Value:
    """Slices along a dimension; with batch dimensions, each batch by its own indices."""
    same_meaning(op, 0)
    x, indices = op.input(0), _indices(op, 1)
    axis = axis_of(op.integer("axis"), len(shape_of(x)))
    batch = op.integer("batchDims")
    batch += len(shape_of(indices)) if batch < 0 else 0
    if not 0 <= batch <= min(axis, len(shape_of(indices))) or shape_of(x)[:batch] != shape_of(indices)[:batch]:
        msg = f"{batch} batch dimensions of {list(shape_of(x))} and {list(shape_of(indices))}"
        raise UnsupportedError(msg)
    return _gather_batches(op, x, indices, axis, batch) if batch else moved(op, "Gather", x, indices, axis=axis)


def _gather_batches(op: Operator, x: ir.Value, indices: ir.Value, axis: int, batch: int) -> ir.Value:
    """Every batch, and in it every position before the axis, is a batch of GatherND with the indices of the batch."""
    shape, wanted = shape_of(x), shape_of(indices)[batch:]
    outer, inner = shape[batch:axis], shape[axis + 1 :]
    rows = reshaped(op, x, [prod(shape[:batch]), prod(outer), shape[axis], prod(inner)])
    picks = reshaped(op, indices, [prod(shape[:batch]), 1, prod(wanted), 1])
    if prod(outer) > 1:
        whole = [prod(shape[:batch]), prod(outer), prod(wanted), 1]
        picks = op.emit("Expand", picks, op.build.constant(whole))
    found = moved(op, "GatherND", rows, cast(op, picks, ir.DataType.INT64), batch_dims=2)
    return reshaped(op, found, [*shape[:batch], *outer, *wanted, *inner])


@operator("GATHER_ND")
def gather_nd(op: Operator) -> ir.Value:
    """Slices at places that the last dimension of the indices names."""
    same_meaning(op, 0)
    return moved(op, "GatherND", op.input(0), cast(op, _indices(op, 1), ir.DataType.INT64))


@operator("EMBEDDING_LOOKUP")
def embedding_lookup(op: Operator) -> ir.Value:
    """Rows of a table, which is operand 1; those of a quantized one as real numbers."""
    table, indices = op.input(1), _indices(op, 0)
    if op.outputs[0].quant is not None:
        same_meaning(op, 1)
    return moved(op, "Gather", table, indices, axis=0)


@operator("SCATTER_ND")
def scatter_nd(op: Operator) -> ir.Value:
    """Slices put to places of a tensor of zeros; those of one place are added up."""
    same_meaning(op, 1)
    indices, updates = cast(op, _indices(op, 0), ir.DataType.INT64), op.input(1)
    return _added(op, op.integers(2), indices, updates)


def _added(op: Operator, shape: Sequence[int], indices: ir.Value, updates: ir.Value) -> ir.Value:
    if min(shape, default=0) < 0:
        msg = f"a result of the shape {list(shape)}"
        raise UnsupportedError(msg)
    quant = quant_of(updates)
    point = 0.0 if quant is None else float(quant.scale[0]) * quant.zero_point[0]
    if point == 0:
        return computed(op, lambda values: _scattered(op, shape, indices, values), updates)
    # The kernels add stored integers to a stored zero.
    offset = op.build.constant(point)
    return op.emit("Sub", _scattered(op, shape, indices, op.emit("Add", updates, offset)), offset)


def _scattered(op: Operator, shape: Sequence[int], indices: ir.Value, updates: ir.Value) -> ir.Value:
    zero = op.build.constant(np.zeros((), type_of(updates).dtype.numpy()))
    zeros = op.emit("Expand", zero, op.build.constant(list(shape)))
    return op.emit("ScatterND", zeros, indices, updates, reduction="add")


@operator("SEGMENT_SUM")
def segment_sum(op: Operator) -> ir.Value:
    """Sums of the slices along dimension 0 that have the same number; the numbers are constant and sorted."""
    data, numbers = op.input(0), op.integers(1)
    if len(numbers) != shape_of(data)[0] or list(numbers) != sorted(numbers) or min(numbers, default=0) < 0:
        msg = f"{len(numbers)} segment numbers for the shape {list(shape_of(data))}, which must be sorted"
        raise UnsupportedError(msg)
    places = op.build.constant(np.asarray(numbers, np.int64).reshape(-1, 1))
    return _added(op, [max(numbers, default=-1) + 1, *shape_of(data)[1:]], places, data)


@operator("SPARSE_TO_DENSE")
def sparse_to_dense(op: Operator) -> ir.Value:
    """Items put to places of a tensor that is full of one item, operand 3."""
    same_meaning(op, 2, 3)
    shape, values = op.integers(1), op.input(2)
    indices = cast(op, _indices(op, 0), ir.DataType.INT64)
    count = type_of(indices).size if len(shape_of(indices)) < 2 else shape_of(indices)[0]
    if min(shape, default=0) < 0 or type_of(indices).size != count * len(shape) or len(shape_of(values)) > 1:
        msg = f"places {list(shape_of(indices))} and items {list(shape_of(values))} for the shape {list(shape)}"
        raise UnsupportedError(msg)
    filled = moved(op, "Expand", reshaped(op, op.input(3), ()), op.build.constant(list(shape)))
    if type_of(values).size != count:
        values = moved(op, "Expand", values, op.build.constant([count]))
    return moved(op, "ScatterND", filled, reshaped(op, indices, [count, len(shape)]), reshaped(op, values, [count]))


@operator("DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(op: Operator) -> ir.Value:
    """A block of a tensor replaced; where it begins, an operand says, and it is moved to lie within the tensor."""
    same_meaning(op, 0, 1)
    x, update, start = op.input(0), op.input(1), op.input(2)
    shape, block = shape_of(x), shape_of(update)
    if len(block) != len(shape) or any(a > b for a, b in zip(block, shape, strict=True)):
        msg = f"a block {list(block)} in a tensor {list(shape)}"
        raise UnsupportedError(msg)
    if type_of(start).shape != (len(shape),):
        msg = f"a begin of shape {list(shape_of(start))} for {len(shape)} dimensions"
        raise UnsupportedError(msg)
    # Behind the last dimension that the block does not fill, whole slices are replaced.
    named = max((axis + 1 for axis in range(len(shape)) if block[axis] != shape[axis]), default=0)
    if named == 0:
        return update
    within_limit(named * prod(block[:named]))
    grid = np.moveaxis(np.indices(block[:named], np.int64), 0, -1)
    last = np.subtract(shape[:named], block[:named]).astype(np.int64)
    begin = op.emit("Slice", cast(op, start, ir.DataType.INT64), op.build.constant([0]), op.build.constant([named]))
    begin = op.emit("Max", op.emit("Min", begin, op.build.constant(last)), op.build.constant(np.zeros(named, np.int64)))
    return keeps_quant(x, op.emit("ScatterND", x, op.emit("Add", op.build.constant(grid), begin), update))


def _indices(op: Operator, position: int) -> ir.Value:
    """An operand of indices, as int32 or int64.

    Raises:
        UnsupportedError: It holds no integers.
    """
    value = op.input(position)
    dtype = type_of(value).dtype
    if not dtype.is_integer():
        msg = f"indices of {dtype.name}"
        raise UnsupportedError(msg)
    return value if dtype == ir.DataType.INT64 else cast(op, value, ir.DataType.INT32)
