"""Questions that several rules ask about operands, attributes and constants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import quant_of
from synap_core.graph.build import constant_of
from synap_core.graph.edit import Editor
from synap_core.graph.quantized import QuantizedTensor, with_axis
from synap_core.graph.types import shape_of
from synap_core.tensors import QuantParams


def integer_of(node: ir.Node, attribute: str, default: int) -> int:
    """An attribute that is an integer."""
    found = node.attributes.get(attribute)
    return default if found is None else found.as_int()


def integers_of(node: ir.Node, attribute: str) -> tuple[int, ...]:
    """An attribute that is a list of integers; empty when it is absent."""
    found = node.attributes.get(attribute)
    return () if found is None else tuple(found.as_ints())


def float_of(node: ir.Node, attribute: str, default: float) -> float:
    """An attribute that is a number."""
    found = node.attributes.get(attribute)
    return default if found is None else found.as_float()


def word_of(node: ir.Node, attribute: str, default: str) -> str:
    """An attribute that is a word."""
    found = node.attributes.get(attribute)
    return default if found is None else found.as_string()


def operand(node: ir.Node, position: int) -> ir.Value | None:
    """An operand; None when it is absent."""
    return node.inputs[position] if position < len(node.inputs) else None


def integers(value: ir.Value | None) -> tuple[int, ...] | None:
    """Items of a constant of integers (axes, sizes, paddings); None when it is computed or absent."""
    array = constant_of(value)
    return None if array is None else tuple(int(item) for item in array.reshape(-1))


def scalar(value: ir.Value | None) -> float | None:
    """The only item of a real constant; None for any other value."""
    if value is None or value.const_value is None or value.const_value.size != 1 or not is_real(value):
        return None
    return float(value.const_value.numpy().reshape(-1)[0])


def is_real(value: ir.Value) -> bool:
    """Whether a value has real numbers."""
    return value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


def constant_quant(value: ir.Value) -> QuantParams | None:
    """Quantization of a constant: that in which it is stored, or is to be."""
    tensor = value.const_value
    return tensor.quant if isinstance(tensor, QuantizedTensor) else quant_of(value)


def rearranged(
    editor: Editor, value: ir.Value, change: Callable[[np.ndarray], np.ndarray], axis: int | None
) -> ir.Value:
    """A constant with its items in other places; integers stay integers.

    Args:
        editor: Of the graph.
        value: The constant.
        change: Moves items and does not compute.
        axis: Where the channel axis of its quantization is afterwards; ignored for parameters of the whole tensor.
    """
    tensor, quant = value.const_value, quant_of(value)
    if isinstance(tensor, QuantizedTensor):
        return editor.constant(tensor.mapped(change, axis))
    items = np.zeros(0) if tensor is None else tensor.numpy()
    return editor.constant(np.ascontiguousarray(change(items)), None if quant is None else with_axis(quant, axis))


def constant_operand(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The computed operand and the constant one of a node of two operands, in any order."""
    first, second = operand(node, 0), operand(node, 1)
    if first is None or second is None or len(node.inputs) > 2:
        return None
    if first.const_value is None and second.const_value is not None:
        return first, second
    if first.const_value is not None and second.const_value is None:
        return second, first
    return None


def is_last_axes(value: ir.Value, axes: Iterable[int]) -> bool:
    """Whether axes are the last ones of a value, all of them from the first on."""
    rank = len(shape_of(value))
    found = sorted(axis % rank for axis in axes)
    return bool(found) and found == list(range(found[0], rank))


def needed_elsewhere(editor: Editor, values: Iterable[ir.Value], pattern: Collection[ir.Node]) -> str | None:
    """Why values that only nodes of a pattern compute and use cannot vanish inside it; None when they can."""
    for value in values:
        if editor.is_pinned(value):
            return f"{value.name!r} is an output or a cut"
        if quant_of(value) is not None:
            return f"{value.name!r} is quantized"
        if any(usage.node not in pattern for usage in value.uses()):
            return f"{value.name!r} is used elsewhere, too"
    return None


def quant_refusal(editor: Editor, source: ir.Value, quant: QuantParams | None, derived: ir.Value) -> str | None:
    """Why users of a value cannot read the one it was made of; None when they can.

    Args:
        editor: Of the graph.
        source: The value in front of a node that only moves items.
        quant: Quantization of the value behind it, in the layout of the source.
        derived: The value behind it.
    """
    own = quant_of(source)
    if quant is None or quant == own:
        return None
    if own is not None:
        return f"{derived.name!r} is quantized in another way than {source.name!r}"
    if source.producer() is None or editor.only_user(source) is None:
        return f"{derived.name!r} is quantized and {source.name!r} is not"
    return None


def same_numbers(first: np.ndarray | None, number: float) -> bool:
    """Whether all items of a constant are one number."""
    return first is not None and bool(np.all(first == number))
