"""Parts of blobs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_caffe.importer.call import Call
from synap_frontend_caffe.importer.registry import UnsupportedError, layer


@layer("Slice")
def slices(call: Call) -> Sequence[ir.Value]:
    """Parts along an axis, between points that are given, or of one size."""
    options, x = call.parameters("slice_param"), call.bottom()
    axis = call.axis(options.slice_dim if options.HasField("slice_dim") else options.axis, x)
    size = shape_of(x)[axis]
    points = [int(point) for point in options.slice_point]
    if not points and call.tops > 0 and size % call.tops == 0:
        points = list(range(size // call.tops, size, size // call.tops)) if size else []
    limits = [0, *points, size]
    sizes = [end - begin for begin, end in itertools.pairwise(limits)]
    if len(sizes) != call.tops or min(sizes) < 1:
        msg = f"{call.tops} tops of axis {axis} of a blob of shape {list(shape_of(x))}, cut at {points}"
        raise UnsupportedError(msg)
    if call.tops == 1:
        return [x]
    return call.build.emit_many("Split", [x, call.constant(sizes)], {"axis": axis}, results=call.tops)


@layer("Crop", least=2, most=2)
def crop(call: Call) -> ir.Value:
    """As much of a blob, along an axis and those behind it, as a second bottom is large, from offsets on."""
    options, x = call.parameters("crop_param"), call.bottom()
    shape, wanted = shape_of(x), shape_of(call.bottom(1))
    first = call.axis(options.axis, x)
    axes = range(first, len(shape))
    offsets = [int(offset) for offset in options.offset]
    offsets = (offsets or [0]) * (len(axes) if len(offsets) < 2 else 1)
    if len(wanted) != len(shape) or len(offsets) != len(axes):
        msg = f"{len(offsets)} offsets for the shape {list(shape)}, from axis {first} on, and {list(wanted)}"
        raise UnsupportedError(msg)
    ends = [offset + wanted[axis] for offset, axis in zip(offsets, axes, strict=True)]
    if any(end > shape[axis] for end, axis in zip(ends, axes, strict=True)):
        msg = f"the shape {list(wanted)} from {offsets} on is not inside of {list(shape)}"
        raise UnsupportedError(msg)
    cut = [(o, e, a) for o, e, a in zip(offsets, ends, axes, strict=True) if (o, e) != (0, shape[a])]
    return call.emit("Slice", x, *(call.constant(column) for column in zip(*cut, strict=True))) if cut else x
