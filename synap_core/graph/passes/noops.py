"""Operators that change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import onnx_ir as ir

from synap_core.graph.annotations import quant_of
from synap_core.graph.build import constant_of
from synap_core.graph.edit import Editor
from synap_core.graph.passes.permutations import moves_data, permutation_of
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.values import constant_operand, integer_of, integers, operand, same_numbers, word_of
from synap_core.graph.types import shape_of, type_of

Passed = Callable[[ir.Node], ir.Value | None]
"""Finds the operand that comes out as it is; None when it does not. Types have yet to be compared."""

EXACT_MODES = frozenset({"half_pixel", "half_pixel_symmetric", "asymmetric", "align_corners", "pytorch_half_pixel"})
"""Ways to find the place in the operand of a Resize that give the same place when the size stays."""


def _first(node: ir.Node) -> ir.Value | None:
    return operand(node, 0)


def _only(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _dropout(node: ir.Node) -> ir.Value | None:
    training = operand(node, 2)
    return node.inputs[0] if training is None or same_numbers(constant_of(training), 0) else None


def _pad(node: ir.Node) -> ir.Value | None:
    pads = integers(operand(node, 1))
    return node.inputs[0] if pads is not None and not any(pads) else None


def _slice(node: ir.Node) -> ir.Value | None:
    steps = operand(node, 4)
    array = constant_of(steps)
    forward = steps is None or (array is not None and bool((array > 0).all()))
    return node.inputs[0] if forward else None


def _transpose(node: ir.Node) -> ir.Value | None:
    value = operand(node, 0)
    return None if value is None or moves_data(shape_of(value), permutation_of(node)) else value


def _resize(node: ir.Node) -> ir.Value | None:
    mode = word_of(node, "coordinate_transformation_mode", "half_pixel")
    scales, sizes = constant_of(operand(node, 2)), constant_of(operand(node, 3))
    same = sizes is not None or (scales is not None and same_numbers(scales, 1.0))
    return node.inputs[0] if same and mode in EXACT_MODES and not integer_of(node, "antialias", 0) else None


def _neutral(number: float, *, commutes: bool) -> Passed:
    def passed(node: ir.Node) -> ir.Value | None:
        operands = constant_operand(node)
        if operands is None or not (commutes or operands[0] is node.inputs[0]):
            return None
        return operands[0] if same_numbers(constant_of(operands[1]), number) else None

    return passed


_PASSED: dict[str, Passed] = {
    "Add": _neutral(0, commutes=True),
    "Cast": _first,
    "Concat": _only,
    "Div": _neutral(1, commutes=False),
    "Dropout": _dropout,
    "Expand": _first,
    "Flatten": _first,
    "Identity": _first,
    "Max": _only,
    "Mean": _only,
    "Min": _only,
    "Mul": _neutral(1, commutes=True),
    "Pad": _pad,
    "Reshape": _first,
    "Resize": _resize,
    "Slice": _slice,
    "Squeeze": _first,
    "Sub": _neutral(0, commutes=False),
    "Sum": _only,
    "Tile": _first,
    "Transpose": _transpose,
    "Unsqueeze": _first,
}


class RemoveNoOp(Rule[tuple[ir.Value, ir.Value]]):
    """An operator that changes nothing goes: its users read its operand.

    Not an Identity or Cast whose result is quantized in another way than the operand, which requantizes, and no
    other operator whose result is quantized where its operand is not, or in another way; not when operand and result
    must both stay (graph inputs, graph outputs, cuts); not when the shape changes, as it may by broadcasting; not when
    a parameter that decides it is computed; not a Slice that reverses, a Pad that shifts or a Resize that samples
    between the items.
    """

    name: ClassVar[str] = "remove-no-op"
    op_types: ClassVar[frozenset[str]] = frozenset(_PASSED)

    def match(self, node: ir.Node, editor: Editor) -> tuple[ir.Value, ir.Value] | None:
        """The result and the operand."""
        source, result = _PASSED[node.op_type](node), node.outputs[0]
        if source is None or type_of(source) != type_of(result):
            return None
        return (result, source) if result.uses() or editor.is_pinned(result) else None

    def check(self, found: tuple[ir.Value, ir.Value], editor: Editor) -> str | None:
        """Whether the operand can stand for the result."""
        result, source = found
        node = result.producer()
        requantizes = quant_of(result) != quant_of(source)
        if requantizes and node is not None and node.op_type in ("Cast", "Identity"):
            return f"{result.name!r} is quantized in another way than {source.name!r}"
        return editor.merge_refusal(result, source)

    def rewrite(self, found: tuple[ir.Value, ir.Value], editor: Editor) -> None:
        """Let users read the operand."""
        editor.merge(*found)
