"""Changes of the shape, and what the operators that move items have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

from synap_core.api import Attribute, quant_of, set_quant, shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import axis_of, converted, shaped, single_integer
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator

MAX_ITEMS = 1 << 24
"""Items of an array of indices or weights that the importer computes: a small file can ask for any number."""

NARROW = (ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16)
"""Types that most operators are not implemented for; int32 holds all of their items."""


@operator("Reshape")
def reshape(call: Call) -> ir.Value:
    """Another shape, which operand 1 gives; one dimension may be left open (-1).

    A shape that names a fixed batch is read as one for batch 1 where nothing else fits the number of items.
    """
    x, asked = call.input(0), call.integers(1)
    if len(shape_of(call.input(1))) != 1 or asked.count(-1) > 1 or min(asked, default=0) < -1:
        msg = f"the shape {list(asked)} asked for; it must be a row of lengths, one of them -1 at most"
        raise UnsupportedError(msg)
    items = type_of(x).size
    shape = _completed(asked, items)
    one = _completed((1, *asked[1:]), items)
    is_batch = math.prod(shape) != items and asked[:1] > (1,) and math.prod(one) == items
    return reshaped(call, x, one if is_batch else shape)


def _completed(asked: tuple[int, ...], items: int) -> tuple[int, ...]:
    """The shape asked for with its open dimension filled in, as far as the others divide the number of items."""
    known = -math.prod(asked)
    return tuple(items // known if dim == -1 and known else dim for dim in asked)


@operator("Squeeze")
def squeeze(call: Call) -> ir.Value:
    """Without some dimensions of length 1; without all of them where the attribute names none."""
    x = call.input(0)
    shape = shape_of(x)
    named = {axis_of(axis, len(shape)) for axis in call.integer_list("squeeze_dims", ())}
    dropped = named or {axis for axis, dim in enumerate(shape) if dim == 1}
    if any(shape[axis] != 1 for axis in dropped):
        msg = f"dimensions {sorted(dropped)} dropped of the shape {list(shape)}; their lengths must be 1"
        raise UnsupportedError(msg)
    return reshaped(call, x, [dim for axis, dim in enumerate(shape) if axis not in dropped])


@operator("ExpandDims")
def expand_dims(call: Call) -> ir.Value:
    """With one more dimension of length 1."""
    shape = shape_of(call.input(0))
    axis = axis_of(single_integer(call, 1), len(shape) + 1)
    return reshaped(call, call.input(0), [*shape[:axis], 1, *shape[axis:]])


def moved(call: Call, op_type: str, value: ir.Value, *operands: ir.Value, **attributes: Attribute) -> ir.Value:
    """Emit a node that only moves the items of its first operand; the result keeps the quantization."""
    return keeps_quant(value, call.emit(op_type, value, *operands, **attributes))


def keeps_quant(value: ir.Value, result: ir.Value) -> ir.Value:
    """Note on a result that it has the quantization of the value whose items it holds."""
    quant = quant_of(value)
    if quant is not None and quant.axis is None and result.const_value is None:
        set_quant(result, quant)
    return result


def reshaped(call: Call, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """Give a value another shape.

    Raises:
        UnsupportedError: It has another number of items.
    """
    return keeps_quant(value, shaped(call, value, shape))


def widened(call: Call, emit: Callable[..., ir.Value], *operands: ir.Value) -> ir.Value:
    """Emit with booleans and integers of 8 or 16 bits turned into int32, and turn the result back."""
    kept = type_of(operands[0]).dtype
    if kept not in NARROW:
        return emit(*operands)
    return converted(call, emit(*(converted(call, operand, ir.DataType.INT32) for operand in operands)), kept)


def within_limit(items: int) -> None:
    """Refuse an array of more than `MAX_ITEMS` items.

    Raises:
        UnsupportedError: It is larger.
    """
    if items > MAX_ITEMS:
        msg = f"it needs an array of {items} items; at most {MAX_ITEMS} are computed"
        raise UnsupportedError(msg)
