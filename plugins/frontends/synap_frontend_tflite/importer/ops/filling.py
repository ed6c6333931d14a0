"""Tensors made of a few numbers, or of a shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import quant_of, shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.reshaping import moved, reshaped, same_meaning, within_limit
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("SHAPE")
def shape(op: Operator) -> ir.Value:
    """Lengths of the dimensions: a constant, as all shapes are."""
    return op.build.constant(np.asarray(shape_of(op.input(0)), op.outputs[0].type.dtype.numpy()))


@operator("RANK")
def rank(op: Operator) -> ir.Value:
    """Number of dimensions: a constant."""
    return op.build.constant(np.asarray(len(shape_of(op.input(0))), np.int32))


@operator("FILL")
def fill(op: Operator) -> ir.Value:
    """Copies of one item in a shape that an operand gives."""
    same_meaning(op, 1)
    return expanded(op, reshaped(op, op.input(1), ()), op.integers(0))


@operator("BROADCAST_TO")
def broadcast_to(op: Operator) -> ir.Value:
    """Copies along dimensions of length 1 and along new ones in front."""
    same_meaning(op, 0)
    x, wanted = op.input(0), op.integers(1)
    if len(wanted) < len(shape_of(x)) or _common_shape(shape_of(x), wanted) != wanted:
        msg = f"the shape {list(shape_of(x))} broadcast to {list(wanted)}"
        raise UnsupportedError(msg)
    return expanded(op, x, wanted)


@operator("BROADCAST_ARGS")
def broadcast_args(op: Operator) -> ir.Value:
    """The shape that two shapes broadcast to: a constant, as they are."""
    found = _common_shape(op.integers(0), op.integers(1))
    return op.build.constant(np.asarray(found, op.outputs[0].type.dtype.numpy()))


def _common_shape(*shapes: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(int(dim) for dim in np.broadcast_shapes(*(tuple(found) for found in shapes)))
    except ValueError as error:
        msg = f"the shapes {' and '.join(str(list(found)) for found in shapes)}, which do not broadcast"
        raise UnsupportedError(msg) from error


def expanded(op: Operator, value: ir.Value, wanted: Sequence[int]) -> ir.Value:
    """Broadcast a value to a shape.

    Raises:
        UnsupportedError: The shape has a negative dimension.
    """
    if min(wanted, default=0) < 0:
        msg = f"a result of the shape {list(wanted)}"
        raise UnsupportedError(msg)
    return value if shape_of(value) == tuple(wanted) else moved(op, "Expand", value, op.build.constant(list(wanted)))


@operator("TILE")
def tile(op: Operator) -> ir.Value:
    """The whole tensor some times behind itself, along each dimension."""
    same_meaning(op, 0)
    times = op.integers(1)
    if len(times) != len(shape_of(op.input(0))) or min(times, default=0) < 0:
        msg = f"{list(times)} copies along the dimensions of the shape {list(shape_of(op.input(0)))}"
        raise UnsupportedError(msg)
    return moved(op, "Tile", op.input(0), op.build.constant(list(times)))


@operator("RANGE")
def range_(op: Operator) -> ir.Value:
    """Numbers from a start to before a limit, as a constant; float ones add the step up as the kernel does."""
    if any(quant_of(op.input(position)) is not None for position in range(3)):
        msg = "a range of quantized numbers"
        raise UnsupportedError(msg)
    dtype = type_of(op.input(0)).dtype.numpy()
    start, limit, step = (_number(op, position) for position in range(3))
    if step == 0 or not math.isfinite((limit - start) / step):
        msg = f"a range from {start} to {limit} in steps of {step}"
        raise UnsupportedError(msg)
    count = max(0, math.ceil((limit - start) / step))
    within_limit(count)
    steps = np.full(count, step, dtype)
    steps[:1] = start
    return op.build.constant(np.add.accumulate(steps, dtype=dtype))


def _number(op: Operator, position: int) -> float:
    """The only item of a constant operand."""
    array = op.constant(position)
    if array.size != 1 or array.dtype.kind not in "iuf":
        msg = f"its operand {position} is {array.dtype} {list(array.shape)}, not one number"
        raise UnsupportedError(msg)
    found = array.reshape(-1)[0].item()
    return float(found) if isinstance(found, float) else int(found)
