"""Changes of the shape, and what the operators that move items have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import Attribute, QuantParams, quant_of, set_quant, shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import widened
from synap_frontend_tflite.importer.registry import UnsupportedError, operator

MAX_ITEMS = 1 << 24
"""Items of an array of indices or weights that the importer computes: a small file can ask for any number."""


@operator("RESHAPE")
def reshape(op: Operator) -> ir.Value:
    """Another shape: the one the file says the output has; failing that, the one of the operand or the option."""
    same_meaning(op, 0)
    result = op.outputs[0]
    return reshaped(op, op.input(0), result.type.shape if result.static else _asked_shape(op))


def _asked_shape(op: Operator) -> tuple[int, ...]:
    """Shape that the operand asks for, or the option when there is none; one dimension may be left open (-1)."""
    if op.optional(1) is None:
        stored = getattr(op.options, "newShape", None)
        asked = () if stored is None else tuple(int(dim) for dim in stored)
        # Old exporters write a scalar's shape so.
        asked = () if asked == (0,) else asked
    else:
        asked = op.integers(1)
    if asked.count(-1) != 1:
        return asked
    known = -math.prod(asked)
    items = type_of(op.input(0)).size
    return tuple(items // known if dim == -1 and known else dim for dim in asked)


@operator("SQUEEZE")
def squeeze(op: Operator) -> ir.Value:
    """Without some dimensions of length 1; without all of them where the options name none."""
    same_meaning(op, 0)
    x = op.input(0)
    shape = shape_of(x)
    named = getattr(op.options, "squeezeDims", None)
    named = [] if named is None else [axis_of(int(axis), len(shape)) for axis in named]
    dropped = set(named) or {axis for axis, dim in enumerate(shape) if dim == 1}
    return reshaped(op, x, [dim for axis, dim in enumerate(shape) if axis not in dropped])


@operator("EXPAND_DIMS")
def expand_dims(op: Operator) -> ir.Value:
    """With one more dimension of length 1."""
    same_meaning(op, 0)
    shape = shape_of(op.input(0))
    axis = axis_of(single_integer(op, 1), len(shape) + 1)
    return reshaped(op, op.input(0), [*shape[:axis], 1, *shape[axis:]])


@operator("TRANSPOSE")
def transpose(op: Operator) -> ir.Value:
    """Dimensions in another order."""
    same_meaning(op, 0)
    rank = len(shape_of(op.input(0)))
    order = [axis_of(axis, rank) for axis in op.integers(1)]
    if sorted(order) != list(range(rank)):
        msg = f"the order {order} for {rank} dimensions"
        raise UnsupportedError(msg)
    return moved(op, "Transpose", op.input(0), perm=order)


@operator("BITCAST")
def bitcast(op: Operator) -> ir.Value:
    """The same bits as another type: only where it is the same type, or the operand a constant."""
    x, result = op.input(0), op.outputs[0]
    if type_of(x) == result.type and quant_of(x) == result.quant:
        return x
    if x.const_value is None or result.quant is not None or quant_of(x) is not None:
        msg = f"bits of {type_of(x).dtype.name} taken for {result.type.dtype.name}"
        raise UnsupportedError(msg)
    array = np.ascontiguousarray(op.constant(0))
    if array.nbytes != result.type.size * result.type.dtype.itemsize:
        msg = f"{array.nbytes} bytes for {result.type.dtype.name} {list(result.type.shape)}"
        raise UnsupportedError(msg)
    items = array.reshape(-1).view(np.uint8).view(result.type.dtype.numpy())
    return op.build.constant(items.reshape(result.type.shape))


def moved(op: Operator, op_type: str, value: ir.Value, *operands: ir.Value, **attributes: Attribute) -> ir.Value:
    """Emit a node that only moves the items of its first operand; the result keeps the quantization."""
    return keeps_quant(value, op.emit(op_type, value, *operands, **attributes))


def keeps_quant(value: ir.Value, result: ir.Value) -> ir.Value:
    """Note on a result that it has the quantization of the value whose items it holds."""
    quant = quant_of(value)
    if quant is not None and quant.axis is None and result.const_value is None:
        set_quant(result, quant)
    return result


def reshaped(op: Operator, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """Give a value another shape.

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
    return moved(op, "Reshape", value, op.build.constant(list(shape)), **allow)


def computed(op: Operator, emit: Callable[..., ir.Value], *operands: ir.Value) -> ir.Value:
    """Emit with booleans and integers of 8 or 16 bits as int32, which more operators are implemented for."""
    if type_of(operands[0]).dtype != ir.DataType.BOOL:
        return widened(op, emit, *operands)
    return cast(op, emit(*(cast(op, operand, ir.DataType.INT32) for operand in operands)), ir.DataType.BOOL)


def cast(op: Operator, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """Change the element type of a value; one that has it already stays as it is."""
    return value if type_of(value).dtype == dtype else op.emit("Cast", value, to=int(dtype))


def axis_of(axis: int, rank: int) -> int:
    """A dimension counted from the front.

    Raises:
        UnsupportedError: There is no such dimension.
    """
    if not -rank <= axis < rank:
        msg = f"dimension {axis} of a tensor that has {rank}"
        raise UnsupportedError(msg)
    return axis % rank


def single_integer(op: Operator, position: int) -> int:
    """The only item of a constant operand.

    Raises:
        UnsupportedError: It is computed, or has another number of items.
    """
    found = op.integers(position)
    if len(found) != 1:
        msg = f"its operand {position} has {len(found)} items; one is needed"
        raise UnsupportedError(msg)
    return found[0]


def within_limit(items: int) -> None:
    """Refuse an array of more than `MAX_ITEMS` items.

    Raises:
        UnsupportedError: It is larger.
    """
    if items > MAX_ITEMS:
        msg = f"it needs an array of {items} items; at most {MAX_ITEMS} are computed"
        raise UnsupportedError(msg)


def same_meaning(op: Operator, *positions: int) -> None:
    """The kernels copy stored integers, so these operands must have the quantization of the outputs.

    Raises:
        UnsupportedError: One has another.
    """
    for result in op.outputs:
        for position in positions:
            quant = quant_of(op.input(position))
            if quant is not None and result.quant is not None and not _alike(quant, result.quant):
                msg = f"its operand {position} and its output differ in quantization, and the kernel ignores that"
                raise UnsupportedError(msg)


def _alike(one: QuantParams, other: QuantParams) -> bool:
    """Whether integers stand for the same numbers; scales that went through text may differ in the last digits."""
    return (one.dtype, one.zero_point) == (other.dtype, other.zero_point) and np.allclose(
        one.scale, other.scale, rtol=1e-6, atol=0
    )
