"""Changes of the shape, and repetition."""

from __future__ import annotations

import math

import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_caffe.importer.call import Call
from synap_frontend_caffe.importer.ops.parameters import reshaped
from synap_frontend_caffe.importer.registry import UnsupportedError, layer


@layer("Flatten")
def flatten(call: Call) -> ir.Value:
    """Some axes as one."""
    options, x = call.parameters("flatten_param"), call.bottom()
    begin, end = call.axis(options.axis, x), call.axis(options.end_axis, x) + 1
    shape = shape_of(x)
    if end < begin:
        msg = f"axes {begin} to {end - 1} of a blob of shape {list(shape)}"
        raise UnsupportedError(msg)
    return reshaped(call, x, (*shape[:begin], math.prod(shape[begin:end]), *shape[end:]))


@layer("Reshape")
def reshape(call: Call) -> ir.Value:
    """Other sizes in the place of some axes; 0 stands for the size that is there, one -1 for what is left."""
    options, x = call.parameters("reshape_param"), call.bottom()
    shape = shape_of(x)
    begin = options.axis if options.axis >= 0 else len(shape) + 1 + options.axis
    end = len(shape) if options.num_axes == -1 else begin + options.num_axes
    asked = [int(dim) for dim in options.shape.dim]
    copied = [begin + place for place, dim in enumerate(asked) if dim == 0]
    if not 0 <= begin <= end <= len(shape) or max(copied, default=-1) >= len(shape):
        msg = f"{asked} in the place of axes {begin} to {end - 1} of a blob of shape {list(shape)}"
        raise UnsupportedError(msg)
    dims = [shape[begin + place] if dim == 0 else dim for place, dim in enumerate(asked)]
    whole = [*shape[:begin], *dims, *shape[end:]]
    if whole.count(-1) == 1:
        known = -math.prod(whole)
        whole[whole.index(-1)] = type_of(x).size // known if known > 0 else 0
    return reshaped(call, x, whole)


@layer("Tile")
def tile(call: Call) -> ir.Value:
    """Copies behind each other along an axis."""
    options, x = call.parameters("tile_param"), call.bottom()
    axis, rank = call.axis(options.axis, x), len(shape_of(x))
    if options.tiles < 1:
        msg = f"{options.tiles} tiles"
        raise UnsupportedError(msg)
    return call.emit("Tile", x, call.constant([options.tiles if i == axis else 1 for i in range(rank)]))
