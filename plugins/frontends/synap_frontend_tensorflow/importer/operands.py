"""What operands may be, and small changes of them that many converters need."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.registry import UnsupportedError
from synap_frontend_tensorflow.schema import INT32, INT64

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
NUMBERS = (*FLOATS, *INTEGERS)
LOGICAL = (ir.DataType.BOOL,)

REAL = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
"""What weighted operators, windows and rarer functions are made for: runtimes lack them in 64 bits."""

INDEX_TYPES = {INT32: ir.DataType.INT32, INT64: ir.DataType.INT64}
"""Element types of places and counts by their number in the schema."""


def operands(call: Call, allowed: Collection[ir.DataType], *positions: int) -> list[ir.Value]:
    """Required operands of one element type.

    Args:
        call: The operator.
        allowed: Types it can have.
        positions: Of the operands.

    Raises:
        UnsupportedError: One is absent, or of another type.
    """
    values = [call.input(position) for position in positions]
    types = [type_of(value).dtype for value in values]
    if types[0] not in allowed or any(dtype != types[0] for dtype in types):
        names = ", ".join(dtype.name for dtype in allowed)
        msg = f"operands of {' and '.join(dtype.name for dtype in dict.fromkeys(types))}; they must be one of {names}"
        raise UnsupportedError(msg)
    return values


def converted(call: Call, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """A value of an element type: the same one when it has it already."""
    return value if type_of(value).dtype == dtype else call.emit("Cast", value, to=int(dtype))


def constant_like(call: Call, number: float, value: ir.Value) -> ir.Value:
    """A constant number of the element type of a value."""
    return call.build.constant(np.asarray(number, type_of(value).dtype.numpy()))


def shaped(call: Call, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """A value of another shape with as many items: the same one when it has it already.

    Raises:
        UnsupportedError: It has another number of items.
    """
    tensor = type_of(value)
    if tensor.shape == tuple(shape):
        return value
    if min(shape, default=1) < 0 or math.prod(shape) != tensor.size:
        msg = f"the shape {list(shape)} for the {tensor.size} items of the shape {list(tensor.shape)}"
        raise UnsupportedError(msg)
    # A dimension of 0 would mean the one of the input.
    allow = {"allowzero": 1} if 0 in shape else {}
    return call.emit("Reshape", value, call.build.constant(list(shape)), **allow)


def axis_of(axis: int, rank: int) -> int:
    """A dimension counted from the front.

    Raises:
        UnsupportedError: There is no such dimension.
    """
    if not -rank <= axis < rank:
        msg = f"dimension {axis} of a tensor that has {rank}"
        raise UnsupportedError(msg)
    return axis % rank


def single_integer(call: Call, position: int) -> int:
    """The only item of a constant operand.

    Raises:
        UnsupportedError: It is computed, or has another number of items.
    """
    found = call.integers(position)
    if len(found) != 1:
        msg = f"its operand {position} has {len(found)} items; one is needed"
        raise UnsupportedError(msg)
    return found[0]


def row(call: Call, position: int, channels: int, what: str) -> ir.Value:
    """An operand with one item per channel.

    Args:
        call: The operator.
        position: Of the operand.
        channels: How many there are.
        what: Name of the operand, for the message.

    Raises:
        UnsupportedError: It has another shape.
    """
    value = call.input(position)
    if shape_of(value) != (channels,):
        msg = f"a {what} of shape {list(shape_of(value))} for {channels} channels"
        raise UnsupportedError(msg)
    return value
