"""Parts of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import axis_of, single_integer
from synap_frontend_tensorflow.importer.ops.reshaping import keeps_quant, moved, reshaped
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator

MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
"""Masks of StridedSlice: begin or end without effect, all that is left over, a new dimension, a dropped dimension."""


@operator("Split")
def split(call: Call) -> list[ir.Value]:
    """Equal parts along a dimension, which is operand 0."""
    axis = axis_of(single_integer(call, 0), len(shape_of(call.input(1))))
    length, count = shape_of(call.input(1))[axis], call.integer("num_split")
    if count < 1 or length % count:
        msg = f"{count} equal parts of {length}"
        raise UnsupportedError(msg)
    return _split(call, call.input(1), [length // count] * count, axis)


@operator("SplitV")
def split_v(call: Call) -> list[ir.Value]:
    """Parts of given lengths along a dimension, which is operand 2; one length may be left open (-1)."""
    axis = axis_of(single_integer(call, 2), len(shape_of(call.input(0))))
    length, sizes = shape_of(call.input(0))[axis], list(call.integers(1))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = length - sum(sizes) - 1
    if min(sizes, default=-1) < 0 or sum(sizes) != length or len(sizes) != call.integer("num_split", len(sizes)):
        msg = f"parts of the lengths {list(call.integers(1))} of {length}"
        raise UnsupportedError(msg)
    return _split(call, call.input(0), sizes, axis)


@operator("Unpack")
def unpack(call: Call) -> list[ir.Value]:
    """Parts of length 1 without the dimension they run along."""
    x = call.input(0)
    shape = shape_of(x)
    axis = axis_of(call.integer("axis", 0), len(shape))
    if shape[axis] != call.integer("num"):
        msg = f"{call.integer('num')} outputs for a dimension of length {shape[axis]}"
        raise UnsupportedError(msg)
    parts = _split(call, x, [1] * shape[axis], axis)
    return [reshaped(call, part, [*shape[:axis], *shape[axis + 1 :]]) for part in parts]


def _split(call: Call, x: ir.Value, sizes: Sequence[int], axis: int) -> list[ir.Value]:
    if len(sizes) < 2:
        return [x] * len(sizes)
    parts = call.build.emit_many("Split", [x, call.build.constant(list(sizes))], {"axis": axis}, results=len(sizes))
    return [keeps_quant(x, part) for part in parts]


@operator("Slice")
def slice_(call: Call) -> ir.Value:
    """A block that begins somewhere and has some size; -1 takes all the rest.

    A size that names a fixed batch, of which one sample is left, takes that one.
    """
    shape, begin, size = shape_of(call.input(0)), call.integers(1), call.integers(2)
    if shape[:1] == (1,) and begin[:1] == (0,) and size[:1] > (1,):
        size = (1, *size[1:])
    if not len(begin) == len(size) == len(shape):
        msg = f"a block at {list(begin)} of size {list(size)} of the shape {list(shape)}"
        raise UnsupportedError(msg)
    ends = [dim if count == -1 else start + count for dim, start, count in zip(shape, begin, size, strict=True)]
    if any(not 0 <= start <= end <= dim for start, end, dim in zip(begin, ends, shape, strict=True)):
        msg = f"a block at {list(begin)} of size {list(size)} goes beyond the shape {list(shape)}"
        raise UnsupportedError(msg)
    return sliced(call, call.input(0), [range(*ends) for ends in zip(begin, ends, strict=True)])


@dataclass(frozen=True, slots=True)
class _Entry:
    """What StridedSlice says of one dimension, or of several: numbers, then its bits of the masks."""

    begin: int
    end: int
    step: int
    open_begin: bool
    open_end: bool
    ellipsis: bool
    new: bool
    drop: bool

    def taken(self, length: int) -> range:
        """Indices that it takes of a dimension; one that is dropped has an index whatever the other masks say."""
        if self.drop:
            if self.step < 1:
                msg = f"an index with a step of {self.step}"
                raise UnsupportedError(msg)
            place = axis_of(self.begin, length)
            return range(place, place + 1)
        asked = slice(None if self.open_begin else self.begin, None if self.open_end else self.end, self.step)
        return range(*asked.indices(length))


@operator("StridedSlice")
def strided_slice(call: Call) -> ir.Value:
    """A block with steps, as ``x[begin:end:step, ..., None, index]`` in Python."""
    shape, entries = shape_of(call.input(0)), _entries(call)
    missing = len(shape) - sum(not (entry.new or entry.ellipsis) for entry in entries)
    if missing < 0:
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
    return reshaped(call, sliced(call, call.input(0), [*ranges, *map(range, rest)]), [*kept, *rest])


def _entries(call: Call) -> list[_Entry]:
    begins, ends, steps = (call.integers(position) for position in (1, 2, 3))
    if not len(begins) == len(ends) == len(steps) or 0 in steps:
        msg = f"begins {list(begins)}, ends {list(ends)} and steps {list(steps)}"
        raise UnsupportedError(msg)
    masks = [call.integer(name, 0) for name in MASKS]
    if (masks[MASKS.index("ellipsis_mask")] & (1 << len(begins)) - 1).bit_count() > 1:
        msg = "several ellipses"
        raise UnsupportedError(msg)
    return [
        _Entry(*column, *(bool(mask >> place & 1) for mask in masks))
        for place, column in enumerate(zip(begins, ends, steps, strict=True))
    ]


def sliced(call: Call, value: ir.Value, ranges: Sequence[range]) -> ir.Value:
    """Take some indices of each dimension; those that stay whole are left out of the node."""
    shape = shape_of(value)
    cut = [axis for axis, taken in enumerate(ranges) if taken != range(shape[axis])]
    if not cut:
        return value
    starts = [ranges[axis].start for axis in cut]
    # A negative end counts from the back: the one before index 0 needs a number below all of those.
    ends = [ranges[axis].stop if ranges[axis].stop >= 0 else -shape[axis] - 1 for axis in cut]
    steps = [ranges[axis].step for axis in cut]
    return moved(call, "Slice", value, *(call.build.constant(numbers) for numbers in (starts, ends, cut, steps)))
