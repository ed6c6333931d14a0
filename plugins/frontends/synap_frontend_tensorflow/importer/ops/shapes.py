"""Tensors made of a few numbers, or of a shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow import schema
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import INDEX_TYPES, single_integer
from synap_frontend_tensorflow.importer.ops.reshaping import moved, reshaped, within_limit
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator


@operator("Shape")
def shape(call: Call) -> ir.Value:
    """Lengths of the dimensions: a constant, as all shapes are."""
    return _row(call, call.input(0))


@operator("ShapeN")
def shape_n(call: Call) -> list[ir.Value]:
    """Lengths of the dimensions of several tensors: constants."""
    return [_row(call, value) for value in call.inputs]


@operator("Size")
def size(call: Call) -> ir.Value:
    """Number of items: a constant."""
    return _integers(call, type_of(call.input(0)).size)


@operator("Rank")
def rank(call: Call) -> ir.Value:
    """Number of dimensions: a constant."""
    return call.build.constant(np.asarray(len(shape_of(call.input(0))), np.int32))


def _row(call: Call, value: ir.Value) -> ir.Value:
    return _integers(call, shape_of(value))


def _integers(call: Call, sizes: int | Sequence[int]) -> ir.Value:
    """Sizes in the type that the operator gives them."""
    wide = np.asarray(sizes, np.int64)
    narrow = wide.astype(_index_type(call))
    if np.any(narrow != wide):
        msg = f"sizes up to {wide.max()} in {narrow.dtype}"
        raise UnsupportedError(msg)
    return call.build.constant(narrow)


def _index_type(call: Call) -> np.dtype:
    number = call.kind("out_type", schema.INT32)
    if number not in INDEX_TYPES:
        msg = f"shapes of {schema.dtype_name(number)}"
        raise UnsupportedError(msg)
    return INDEX_TYPES[number].numpy()


@operator("Fill")
def fill(call: Call) -> ir.Value:
    """Copies of one item, which is operand 1, in a shape that operand 0 gives."""
    return expanded(call, reshaped(call, call.input(1), ()), call.integers(0))


@operator("ZerosLike", "OnesLike")
def filled_like(call: Call) -> ir.Value:
    """As many zeros or ones as a tensor has items."""
    x = type_of(call.input(0))
    return expanded(call, call.build.constant(np.asarray(call.type == "OnesLike", x.dtype.numpy())), x.shape)


@operator("BroadcastTo")
def broadcast_to(call: Call) -> ir.Value:
    """Copies along dimensions of length 1 and along new ones in front."""
    x, wanted = call.input(0), call.integers(1)
    if len(wanted) < len(shape_of(x)) or _common_shape(shape_of(x), wanted) != wanted:
        msg = f"the shape {list(shape_of(x))} broadcast to {list(wanted)}"
        raise UnsupportedError(msg)
    return expanded(call, x, wanted)


@operator("BroadcastArgs")
def broadcast_args(call: Call) -> ir.Value:
    """The shape that two shapes broadcast to: a constant, as they are."""
    found = _common_shape(call.integers(0), call.integers(1))
    return call.build.constant(np.asarray(found, call.constant(0).dtype))


def _common_shape(*shapes: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(int(dim) for dim in np.broadcast_shapes(*(tuple(found) for found in shapes)))
    except ValueError as error:
        msg = f"the shapes {' and '.join(str(list(found)) for found in shapes)}, which do not broadcast"
        raise UnsupportedError(msg) from error


def expanded(call: Call, value: ir.Value, wanted: Sequence[int]) -> ir.Value:
    """Broadcast a value to a shape.

    Raises:
        UnsupportedError: The shape has a negative dimension.
    """
    if min(wanted, default=0) < 0:
        msg = f"a result of the shape {list(wanted)}"
        raise UnsupportedError(msg)
    if shape_of(value) == tuple(wanted):
        return value
    return moved(call, "Expand", value, call.build.constant(list(wanted)))


@operator("Tile")
def tile(call: Call) -> ir.Value:
    """The whole tensor some times behind itself, along each dimension."""
    times = call.integers(1)
    if len(times) != len(shape_of(call.input(0))) or min(times, default=0) < 0:
        msg = f"{list(times)} copies along the dimensions of the shape {list(shape_of(call.input(0)))}"
        raise UnsupportedError(msg)
    if all(count == 1 for count in times):
        return call.input(0)
    return moved(call, "Tile", call.input(0), call.build.constant(list(times)))


@operator("Range")
def range_(call: Call) -> ir.Value:
    """Numbers from a start to before a limit, as a constant; the step is added up in the type of the operands."""
    dtype = type_of(call.input(0)).dtype.numpy()
    start, limit, step = (_number(call, position) for position in range(3))
    if step == 0 or not math.isfinite((limit - start) / step) or (limit - start) / step < 0:
        msg = f"a range from {start} to {limit} in steps of {step}"
        raise UnsupportedError(msg)
    count = math.ceil((limit - start) / step)
    within_limit(count)
    steps = np.full(count, step, dtype)
    steps[:1] = start
    return call.build.constant(np.add.accumulate(steps, dtype=dtype))


@operator("LinSpace")
def lin_space(call: Call) -> ir.Value:
    """So many numbers from one to another, both included, in equal steps: a constant."""
    dtype = type_of(call.input(0)).dtype.numpy()
    first, last, count = _number(call, 0), _number(call, 1), single_integer(call, 2)
    if count < 1:
        msg = f"{count} numbers from {first} to {last}"
        raise UnsupportedError(msg)
    within_limit(count)
    return call.build.constant(np.linspace(first, last, count).astype(dtype))


def _number(call: Call, position: int) -> float:
    """The only item of a constant operand."""
    array = call.constant(position)
    if array.size != 1 or array.dtype.kind not in "iuf":
        msg = f"its operand {position} is {array.dtype} {list(array.shape)}, not one number"
        raise UnsupportedError(msg)
    found = array.reshape(-1)[0].item()
    return float(found) if isinstance(found, float) else int(found)
