"""Clamps: written as Min and Max, or one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from synap_core.graph.edit import Editor
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.values import constant_operand, is_real, needed_elsewhere, operand, scalar
from synap_core.graph.types import shape_of, type_of

Limits = tuple[float, float]
"""Lowest and highest number that comes out; infinite where there is none."""


@dataclass(frozen=True, slots=True)
class Limited:
    """Min or Max of a value and a constant; no limit when that has several items."""

    node: ir.Node
    value: ir.Value
    limit: float | None


class MinMaxToClip(Rule[Limited]):
    """Min or Max of a value and a constant becomes Clip, or Relu where it only cuts off what is negative.

    Not when the constant has several items or makes the result larger. More operands, or integers, are no such
    pattern.
    """

    name: ClassVar[str] = "min-max-to-clip"
    op_types: ClassVar[frozenset[str]] = frozenset({"Max", "Min"})

    def match(self, node: ir.Node, editor: Editor) -> Limited | None:  # noqa: ARG002 - as the base class has it
        """The operand and the limit."""
        operands = constant_operand(node)
        if operands is None or not is_real(operands[0]):
            return None
        return Limited(node, operands[0], scalar(operands[1]))

    def check(self, found: Limited, editor: Editor) -> str | None:  # noqa: ARG002 - as the base class has it
        """Whether one number limits all items."""
        if found.limit is None or math.isnan(found.limit):
            return "the limit is not one number"
        same = shape_of(found.node.outputs[0]) == shape_of(found.value)
        return None if same else "the constant makes the result larger"

    def rewrite(self, found: Limited, editor: Editor) -> None:
        """Put a Clip in its place."""
        if found.limit is not None:
            limits = (found.limit, math.inf) if found.node.op_type == "Max" else (-math.inf, found.limit)
            clamp(editor, found.node, found.value, limits, [found.node])


@dataclass(frozen=True, slots=True)
class Clamps:
    """Two clamps, one after the other, and what they limit a value to together; None when that is not known."""

    first: ir.Node
    second: ir.Node
    limits: Limits | None


class MergeClamps(Rule[Clamps]):
    """Two of Clip and Relu, one after the other, become one.

    Not when a limit is computed, or the lower one above the upper one; when the value between them is a cut, a graph
    output, quantized or used elsewhere; when the numbers are integers.
    """

    name: ClassVar[str] = "merge-clamps"
    op_types: ClassVar[frozenset[str]] = frozenset({"Clip", "Relu"})

    def match(self, node: ir.Node, editor: Editor) -> Clamps | None:
        """The two."""
        first = editor.producer(node.inputs[0], "Clip", "Relu")
        if first is None or not is_real(node.outputs[0]):
            return None
        inner, outer = limits_of(first), limits_of(node)
        if inner is None or outer is None:
            return Clamps(first, node, None)
        low, high = (min(max(limit, outer[0]), outer[1]) for limit in inner)
        return Clamps(first, node, (low, high))

    def check(self, found: Clamps, editor: Editor) -> str | None:
        """Whether the first can go."""
        if found.limits is None:
            return "a limit is computed, or the lower one is above the upper one"
        return needed_elsewhere(editor, found.first.outputs, {found.second})

    def rewrite(self, found: Clamps, editor: Editor) -> None:
        """Clamp once."""
        value = found.first.inputs[0]
        if value is not None and found.limits is not None:
            clamp(editor, found.second, value, found.limits, [found.first, found.second])


def limits_of(node: ir.Node) -> Limits | None:
    """Limits of a Clip or Relu; None when they are computed or in the wrong order."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    given = [operand(node, position) for position in (1, 2)]
    low, high = (math.inf if value is None else scalar(value) for value in given)
    low = -math.inf if given[0] is None else low
    return None if low is None or high is None or not low <= high else (low, high)


def clamp(editor: Editor, node: ir.Node, value: ir.Value, limits: Limits, origins: list[ir.Node]) -> None:
    """Put a clamp in the place of a node."""
    old = node.outputs[0]
    tensor = type_of(old)
    if limits == (0.0, math.inf):
        new = editor.insert(node, "Relu", [value], [tensor], origins=origins)
    else:
        dtype = tensor.dtype.numpy()
        bounds = [editor.constant(np.asarray(x, dtype)) if math.isfinite(x) else None for x in limits]
        new = editor.insert(node, "Clip", [value, *bounds], [tensor], origins=origins)
    editor.take_over(old, new.outputs[0])
