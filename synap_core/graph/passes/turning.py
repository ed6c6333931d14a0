"""Transposed versions of values, made as cheaply as they can be."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import quant_of, set_quant
from synap_core.graph.edit import Editor, is_operator
from synap_core.graph.passes.permutations import (
    Permutation,
    annotate_along,
    composed,
    inverse,
    is_identity,
    moves_data,
    permutation_of,
    permuted,
    quant_along,
)
from synap_core.graph.passes.values import constant_quant, quant_refusal, rearranged
from synap_core.graph.quantized import with_axis
from synap_core.graph.types import GraphError, TensorType, shape_of, type_of
from synap_core.tensors import QuantParams


def operand_of(transpose: ir.Node) -> ir.Value:
    """The operand of a transpose."""
    value = transpose.inputs[0]
    if value is None:
        msg = f"transpose {transpose.name!r} has no operand"
        raise GraphError(msg)
    return value


def moves(transpose: ir.Node) -> bool:
    """Whether a transpose moves items in memory."""
    return moves_data(shape_of(operand_of(transpose)), permutation_of(transpose))


def bypass_refusal(editor: Editor, transpose: ir.Node) -> str | None:
    """Why users of a transposed value cannot read the one in front of it; None when they can."""
    quant = _quant_in_front(transpose)
    return quant_refusal(editor, operand_of(transpose), quant, transpose.outputs[0])


def bypass(transpose: ir.Node) -> ir.Value:
    """The value in front of a transpose; it carries the quantization of the one behind from now on."""
    source = operand_of(transpose)
    if quant_of(source) is None:
        set_quant(source, _quant_in_front(transpose))
    return source


def turning_cost(editor: Editor, value: ir.Value, permutation: Permutation, *, reuse: bool = True) -> int:
    """Items that must be moved to have a value in another layout.

    Args:
        editor: Of the graph.
        value: The value; it may have fewer dimensions, where it is to be broadcast.
        permutation: To transpose it with.
        reuse: Whether a transpose that is there already costs nothing.
    """
    if value.const_value is not None:
        return 0
    transpose, permutation = _through(editor, value, permutation)
    value = value if transpose is None else operand_of(transpose)
    if is_identity(permutation) or not moves_data(_leveled(value, permutation), permutation):
        return 0
    return 0 if reuse and _existing(editor, value, permutation) else type_of(value).size


def turned(editor: Editor, value: ir.Value, permutation: Permutation, before: ir.Node) -> ir.Value:
    """A value in another layout.

    Args:
        editor: Of the graph.
        value: As for `turning_cost`.
        permutation: To transpose it with.
        before: Node that is going to use it.
    """
    if value.const_value is not None:
        return _turned_constant(editor, value, permutation)
    transpose, permutation = _through(editor, value, permutation)
    value = value if transpose is None else bypass(transpose)
    if is_identity(permutation):
        return value
    existing = _existing(editor, value, permutation)
    if existing is not None:
        editor.hoist(existing, value)
        return existing.outputs[0]
    return _turned_node(editor, value, permutation, before)


def _quant_in_front(transpose: ir.Node) -> QuantParams | None:
    return quant_along(quant_of(transpose.outputs[0]), inverse(permutation_of(transpose)))


def _leveled(value: ir.Value, permutation: Permutation) -> tuple[int, ...]:
    """Shape with as many dimensions as the permutation: broadcasting adds them in front."""
    shape = shape_of(value)
    return (1,) * (len(permutation) - len(shape)) + shape


def _through(editor: Editor, value: ir.Value, permutation: Permutation) -> tuple[ir.Node | None, Permutation]:
    """A transpose in front that can be bypassed, and the permutation for its operand."""
    transpose = editor.producer(value, "Transpose")
    if transpose is None or len(shape_of(value)) != len(permutation) or bypass_refusal(editor, transpose) is not None:
        return None, permutation
    return transpose, composed(permutation_of(transpose), permutation)


def _existing(editor: Editor, value: ir.Value, permutation: Permutation) -> ir.Node | None:
    """A transpose that gives what is wanted already."""
    wanted = quant_along(quant_of(value), permutation) if len(shape_of(value)) == len(permutation) else None
    for usage in value.uses():
        node = usage.node
        if is_operator(node, "Transpose") and permutation_of(node) == permutation:
            result = node.outputs[0]
            if quant_of(result) == wanted and not editor.is_kept(result):
                return node
    return None


def _turned_constant(editor: Editor, value: ir.Value, permutation: Permutation) -> ir.Value:
    tensor = value.const_value
    if tensor is None or tensor.size == 1:
        return value
    shape = _leveled(value, permutation)

    quant = _leveled_quant(constant_quant(value), value, permutation)
    axis = None if quant is None else quant.axis
    return rearranged(
        editor, value, lambda items: np.ascontiguousarray(items.reshape(shape).transpose(permutation)), axis
    )


def _leveled_quant(quant: QuantParams | None, value: ir.Value, permutation: Permutation) -> QuantParams | None:
    if quant is not None and quant.axis is not None:
        quant = with_axis(quant, quant.axis + len(permutation) - len(shape_of(value)))
    return quant_along(quant, permutation)


def _turned_node(editor: Editor, value: ir.Value, permutation: Permutation, before: ir.Node) -> ir.Value:
    """Transpose a value, or reshape it where that moves nothing or dimensions are missing."""
    shape = _leveled(value, permutation)
    result = TensorType(type_of(value).dtype, permuted(shape, permutation))
    if not moves_data(shape, permutation):
        new = reshaped(editor, value, result.shape, before)
    else:
        if len(shape) != len(shape_of(value)):
            value = reshaped(editor, value, shape, before)
        new = editor.insert(before, "Transpose", [value], [result], {"perm": permutation}, origins=[before]).outputs[0]
    if len(shape_of(value)) == len(permutation):
        annotate_along(new, value, permutation)
    else:
        set_quant(new, _leveled_quant(quant_of(value), value, permutation))
    return new


def reshaped(editor: Editor, value: ir.Value, shape: tuple[int, ...], before: ir.Node) -> ir.Value:
    """Reshape a value; parameters of the whole tensor stay."""
    target = editor.constant(np.asarray(shape, np.int64))
    result = TensorType(type_of(value).dtype, shape)
    # A zero would mean "as in the operand" otherwise.
    attributes = {"allowzero": 1} if 0 in shape else {}
    new = editor.insert(before, "Reshape", [value, target], [result], attributes, origins=[before]).outputs[0]
    quant = quant_of(value)
    if quant is not None and quant.axis is None:
        set_quant(new, quant)
    return new
