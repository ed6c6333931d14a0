"""Parts of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.reshaping import (
    axis_of,
    cast,
    keeps_quant,
    moved,
    reshaped,
    same_meaning,
    single_integer,
)
from synap_frontend_tflite.importer.registry import UnsupportedError, operator

MASKS = ("begin", "end", "ellipsis", "newAxis", "shrinkAxis")
"""Masks of STRIDED_SLICE: begin or end without effect, all that is left over, a new dimension, a dropped dimension."""


@operator("SPLIT")
def split(op: Operator) -> list[ir.Value]:
    """Equal parts along a dimension; the value is operand 1."""
    axis = axis_of(single_integer(op, 0), len(shape_of(op.input(1))))
    length, count = shape_of(op.input(1))[axis], op.integer("numSplits")
    if count != len(op.outputs) or count == 0 or length % count:
        msg = f"{count} equal parts of {length} for {len(op.outputs)} outputs"
        raise UnsupportedError(msg)
    return _split(op, 1, [length // count] * count, axis)


@operator("SPLIT_V")
def split_v(op: Operator) -> list[ir.Value]:
    """Parts of given lengths along a dimension; one length may be left open (-1)."""
    axis = axis_of(single_integer(op, 2), len(shape_of(op.input(0))))
    length, sizes = shape_of(op.input(0))[axis], list(op.integers(1))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = length - sum(sizes) - 1
    if min(sizes, default=-1) < 0 or sum(sizes) != length or len(sizes) != len(op.outputs):
        msg = f"parts of the lengths {list(op.integers(1))} of {length} for {len(op.outputs)} outputs"
        raise UnsupportedError(msg)
    return _split(op, 0, sizes, axis)


@operator("UNPACK")
def unpack(op: Operator) -> list[ir.Value]:
    """Parts of length 1 without the dimension they run along."""
    x = op.input(0)
    shape = shape_of(x)
    axis = axis_of(op.integer("axis"), len(shape))
    if shape[axis] != len(op.outputs):
        msg = f"{len(op.outputs)} outputs for a dimension of length {shape[axis]}"
        raise UnsupportedError(msg)
    parts = _split(op, 0, [1] * shape[axis], axis)
    return [reshaped(op, part, [*shape[:axis], *shape[axis + 1 :]]) for part in parts]


def _split(op: Operator, position: int, sizes: Sequence[int], axis: int) -> list[ir.Value]:
    same_meaning(op, position)
    x = op.input(position)
    if len(sizes) == 1:
        return [x]
    parts = op.build.emit_many("Split", [x, op.build.constant(list(sizes))], {"axis": axis}, results=len(sizes))
    return [keeps_quant(x, part) for part in parts]


@operator("SLICE")
def slice_(op: Operator) -> ir.Value:
    """A block that begins somewhere and has some size; -1 takes all the rest."""
    same_meaning(op, 0)
    shape, begin, size = shape_of(op.input(0)), op.integers(1), op.integers(2)
    if not len(begin) == len(size) == len(shape):
        msg = f"a block at {list(begin)} of size {list(size)} of the shape {list(shape)}"
        raise UnsupportedError(msg)
    ends = [dim if count == -1 else start + count for dim, start, count in zip(shape, begin, size, strict=True)]
    if any(not 0 <= start <= end <= dim for start, end, dim in zip(begin, ends, shape, strict=True)):
        msg = f"a block at {list(begin)} of size {list(size)} goes beyond the shape {list(shape)}"
        raise UnsupportedError(msg)
    return sliced(op, op.input(0), [range(*ends) for ends in zip(begin, ends, strict=True)])


@dataclass(frozen=True, slots=True)
class _Entry:
    """What STRIDED_SLICE says of one dimension, or of several: numbers, then its bits of the masks."""

    begin: int
    end: int
    step: int
    offset: bool
    open_begin: bool
    open_end: bool
    ellipsis: bool
    new: bool
    drop: bool

    def taken(self, length: int) -> range:
        """Indices that it takes of a dimension."""
        if self.drop:
            place = 0 if self.open_begin else axis_of(self.begin, length)
            return range(place, place + 1)
        begin = self.begin + length if self.begin < 0 and self.offset else self.begin
        end = begin + self.end if self.offset else self.end
        asked = slice(None if self.open_begin else begin, None if self.open_end else end, self.step)
        return range(*asked.indices(length))


@operator("STRIDED_SLICE")
def strided_slice(op: Operator) -> ir.Value:
    """A block with steps, as ``x[begin:end:step, ..., None, index]`` in Python.

    Source: of the masks, the kernel's parameters (tflite/kernels/strided_slice.cc).
    """
    same_meaning(op, 0)
    shape, entries = shape_of(op.input(0)), _entries(op)
    missing = len(shape) - sum(not (entry.new or entry.ellipsis) for entry in entries)
    if missing < sum(entry.ellipsis for entry in entries):
        # Of an ellipsis for no dimension the kernels make one for one dimension.
        msg = f"{len(entries)} entries for {len(shape)} dimensions"
        raise UnsupportedError(msg)
    ranges: list[range] = []
    kept: list[int] = []
    for entry in entries:
        if entry.ellipsis:
            rest = shape[len(ranges) : len(ranges) + missing]
            ranges += map(range, rest)
            kept += rest
        elif entry.new:
            kept.append(1)
        else:
            ranges.append(entry.taken(shape[len(ranges)]))
            kept += [] if entry.drop else [len(ranges[-1])]
    rest = shape[len(ranges) :]
    return reshaped(op, sliced(op, op.input(0), [*ranges, *map(range, rest)]), [*kept, *rest])


def _entries(op: Operator) -> list[_Entry]:
    columns = list(zip(op.integers(1), op.integers(2), op.integers(3), strict=False))
    masks = {name: op.integer(f"{name}Mask") for name in MASKS}
    offset = op.flag("offset")
    found = [
        _Entry(*column, offset, *(bool(masks[name] >> place & 1) for name in MASKS))
        for place, column in enumerate(columns)
    ]
    if len({len(op.integers(position)) for position in (1, 2, 3)}) != 1 or any(entry.step == 0 for entry in found):
        msg = f"begins {list(op.integers(1))}, ends {list(op.integers(2))} and steps {list(op.integers(3))}"
        raise UnsupportedError(msg)
    if masks["ellipsis"].bit_count() > 1:
        msg = "several ellipses"
        raise UnsupportedError(msg)
    if offset and any(masks.values()):
        msg = "lengths instead of ends together with masks"
        raise UnsupportedError(msg)
    return found


def sliced(op: Operator, value: ir.Value, ranges: Sequence[range]) -> ir.Value:
    """Take some indices of each dimension; those that stay whole are left out of the node."""
    shape = shape_of(value)
    cut = [axis for axis, taken in enumerate(ranges) if taken != range(shape[axis])]
    if not cut:
        return value
    starts = [ranges[axis].start for axis in cut]
    # A negative end counts from the back: the one before index 0 needs a number below all of those.
    ends = [ranges[axis].stop if ranges[axis].stop >= 0 else -shape[axis] - 1 for axis in cut]
    steps = [ranges[axis].step for axis in cut]
    return moved(op, "Slice", value, *(op.build.constant(numbers) for numbers in (starts, ends, cut, steps)))


@operator("REVERSE_V2")
def reverse_v2(op: Operator) -> ir.Value:
    """Backwards along some dimensions."""
    same_meaning(op, 0)
    shape = shape_of(op.input(0))
    axes = {axis_of(axis, len(shape)) for axis in op.integers(1)}
    return sliced(op, op.input(0), [range(dim)[:: -1 if axis in axes else 1] for axis, dim in enumerate(shape)])


@operator("REVERSE_SEQUENCE")
def reverse_sequence(op: Operator) -> ir.Value:
    """The first items of each sequence backwards; how many, an operand says."""
    same_meaning(op, 0)
    x, rank = op.input(0), len(shape_of(op.input(0)))
    time, batch = axis_of(op.integer("seqDim"), rank), axis_of(op.integer("batchDim"), rank)
    lengths = cast(op, op.input(1), ir.DataType.INT64)
    if time == batch or type_of(lengths).shape != (shape_of(x)[batch],):
        msg = f"sequences along dimension {time}, {list(shape_of(lengths))} lengths along dimension {batch}"
        raise UnsupportedError(msg)
    if {time, batch} == {0, 1}:
        return moved(op, "ReverseSequence", x, lengths, time_axis=time, batch_axis=batch)
    order = [batch, time, *(axis for axis in range(rank) if axis not in {batch, time})]
    turned = moved(op, "Transpose", x, perm=order)
    found = moved(op, "ReverseSequence", turned, lengths, time_axis=1, batch_axis=0)
    return moved(op, "Transpose", found, perm=[int(axis) for axis in np.argsort(order)])
