"""Operators that move, cut, repeat and choose items, and those that tell shapes."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.registry import UnsupportedError, as_is, operator

MAX_PLACES = 1 << 24
"""Positions of items that may be written into the graph."""

as_is(10, "Slice", "TopK")
as_is(11, "Pad")
as_is(18, "Split")


@operator("Shape", since=1)
def shape(call: Call) -> ir.Value:
    """Shapes are static, so this is a constant."""
    sizes = call.shape()
    start, end = call.integer("start", 0), call.integer("end", len(sizes))
    return call.build.constant(list(sizes[slice(start, end)]))


@operator("Size", since=1)
def size(call: Call) -> ir.Value:
    """Shapes are static, so this is a constant."""
    return call.build.constant(np.asarray(math.prod(call.shape()), np.int64))


def _list(call: Call, values: list[int] | None) -> ir.Value | None:
    return None if values is None else call.build.constant(np.asarray(values, np.int64))


@operator("Squeeze", since=1)
def squeeze_1(call: Call) -> ir.Value:
    """Axes are an attribute."""
    return call.only("Squeeze", call.input(0), _list(call, call.integers("axes")))


@operator("Unsqueeze", since=1)
def unsqueeze_1(call: Call) -> ir.Value:
    """Axes are an attribute."""
    return call.only("Unsqueeze", call.input(0), _list(call, call.integers("axes") or []))


@operator("Squeeze", since=13)
@operator("Unsqueeze", since=13)
def squeeze_13(call: Call) -> ir.Value:
    """A single axis may lack the dimension that a list has, as in the definition of AffineGrid."""
    axes = call.optional(1)
    if axes is not None and shape_of(axes) == ():
        axes = call.emit("Reshape", axes, call.build.constant([1]))
    return call.only(call.op_type, call.input(0), axes)


@operator("Slice", since=1)
def slice_1(call: Call) -> ir.Value:
    """Starts, ends and axes are attributes."""
    starts, ends = call.integers("starts") or [], call.integers("ends") or []
    axes = call.integers("axes")
    # Without axes, the operator of today takes as many as there are starts, from the first dimension on, too.
    return call.only("Slice", call.input(0), _list(call, starts), _list(call, ends), _list(call, axes))


@operator("Split", since=2)
@operator("Split", since=13)
def split_2(call: Call) -> list[ir.Value]:
    """Sizes are an attribute or absent; today even their number must be given."""
    sizes = _list(call, call.integers("split")) or call.optional(1)
    number = {} if sizes is not None else {"num_outputs": len(call.results)}
    return call.final("Split", [call.input(0), sizes], {**call.options("axis"), **number})


@operator("Pad", since=2)
def pad_2(call: Call) -> ir.Value:
    """Sizes and value are attributes."""
    x = call.input(0)
    value = call.scalar(call.number("value", 0.0), x) if call.text("mode", "constant") == "constant" else None
    return call.only("Pad", x, _list(call, call.integers("pads") or []), value, **call.options("mode"))


@operator("TopK", since=1)
def top_k_1(call: Call) -> list[ir.Value]:
    """The number is an attribute."""
    return call.final("TopK", [call.input(0), call.build.constant([call.integer("k", 0)])], call.options("axis"))


@operator("Scatter", since=9)
def scatter(call: Call) -> ir.Value:
    """The old name of ScatterElements."""
    return call.only("ScatterElements", *call.inputs, **call.options("axis"))


@operator("Identity", since=1)
def identity(call: Call) -> ir.Value:
    """The same value."""
    return call.input(0)


@operator("Dropout", since=7)
@operator("Dropout", since=12)
def dropout(call: Call) -> list[ir.Value | None]:
    """Nothing is dropped; a mask is all ones."""
    x = call.input(0)
    trained = call.optional(2) is not None and call.constant(2, "training mode").any()
    if trained and (call.optional(1) is None or call.constant(1, "ratio").any()):
        msg = "it drops items at random, as for training"
        raise UnsupportedError(msg)
    if not any(call.present[1:]):
        return [x]
    dtype = call.dtype() if call.version < 10 else ir.DataType.BOOL
    one = call.build.constant(np.ones((), dtype.numpy()))
    return [x, call.emit("Expand", one, call.build.constant(list(call.shape())))]


@operator("NonZero", since=9)
def non_zero(call: Call) -> ir.Value:
    """Positions in a constant."""
    found = np.stack(np.nonzero(np.atleast_1d(_condition(call, 0)))).astype(np.int64)
    return call.build.constant(found)


@operator("Compress", since=9)
def compress(call: Call) -> ir.Value:
    """With a constant condition, its true places are taken."""
    x, chosen = call.input(0), np.flatnonzero(_condition(call, 1))
    if "axis" not in call.attributes:
        x = call.emit("Reshape", x, call.build.constant([-1]))
    axis = call.axis("axis", 0) if "axis" in call.attributes else 0
    if len(chosen) and chosen[-1] >= shape_of(x)[axis]:
        msg = f"its condition has item {chosen[-1]} set; the operand has {shape_of(x)[axis]}"
        raise UnsupportedError(msg)
    return call.only("Gather", x, call.build.constant(chosen.astype(np.int64)), axis=axis)


def _condition(call: Call, place: int) -> np.ndarray:
    tensor = call.input(place).const_value
    if tensor is None or tensor.size > MAX_PLACES:
        msg = "the shape of its result depends on data"
        raise UnsupportedError(msg)
    return tensor.numpy()


@operator("TensorScatter", since=24)
def tensor_scatter(call: Call) -> ir.Value:
    """Overwrites a part of the cache of each sample, from an index of its own on: rows are scattered."""
    cache, update, start = call.input(0), call.input(1), call.optional(2)
    axis, mode = call.axis("axis", -2), call.text("mode", "linear")
    sizes, length = call.shape(0), call.shape(1)[axis] if len(call.shape(1)) == len(call.shape(0)) else 0
    if axis == 0 or not 0 < length <= MAX_PLACES or mode not in ("linear", "circular"):
        msg = f"it writes {list(call.shape(1))} into {list(sizes)} along axis {axis}, mode {mode!r}"
        raise UnsupportedError(msg)
    places = call.build.constant(np.arange(length, dtype=np.int64).reshape(1, -1))
    if start is not None:
        places = call.emit("Add", places, call.emit("Unsqueeze", start, call.build.constant([1])))
    if mode == "circular":
        places = call.emit("Mod", places, call.build.constant(np.asarray(sizes[axis], np.int64)))
    shape = [-1, *(length if i == axis else 1 for i in range(1, len(sizes)))]
    indices = call.emit("Reshape", places, call.build.constant(shape))
    indices = call.emit("Expand", indices, call.build.constant(list(call.shape(1))))
    return call.only("ScatterElements", cache, indices, update, axis=axis)
