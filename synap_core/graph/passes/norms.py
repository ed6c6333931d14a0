"""LayerNormalization and Softmax, written out in several operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from synap_core.graph.edit import Editor
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.values import (
    integer_of,
    integers,
    is_last_axes,
    is_real,
    needed_elsewhere,
    operand,
    scalar,
)
from synap_core.graph.types import shape_of, type_of


@dataclass(frozen=True, slots=True)
class Quotient:
    """A quotient, however it is written.

    Attributes:
        above: The value that is divided.
        below: The value that it is divided by.
        nodes: Nodes that divide; the last one gives the quotient.
    """

    above: ir.Value
    below: ir.Value
    nodes: tuple[ir.Node, ...]


def quotients(editor: Editor, node: ir.Node) -> list[Quotient]:
    """Quotients that a Div, or a Mul by a reciprocal, may be read as."""
    first, second = node.inputs[0], operand(node, 1)
    if first is None or second is None:
        return []
    if node.op_type == "Div":
        return [Quotient(first, second, (node,))]
    found = []
    for above, factor in ((first, second), (second, first)):
        inverse = editor.producer(factor, "Reciprocal", "Div")
        below = None if inverse is None else inverse.inputs[-1]
        if (
            inverse is not None
            and below is not None
            and (inverse.op_type == "Reciprocal" or scalar(inverse.inputs[0]) == 1)
        ):
            found.append(Quotient(above, below, (inverse, node)))
    return found


def reduced(editor: Editor, value: ir.Value | None, op_type: str) -> tuple[ir.Node, ir.Value, tuple[int, ...]] | None:
    """A reduction that keeps its dimensions: node, operand and axes, which count from the first dimension."""
    node = editor.producer(value, op_type)
    if node is None or node.inputs[0] is None or not integer_of(node, "keepdims", 1):
        return None
    rank = len(shape_of(node.inputs[0]))
    axes = integers(operand(node, 1))
    if axes is None and operand(node, 1) is not None:
        return None
    if not axes and integer_of(node, "noop_with_empty_axes", 0):
        return None
    return node, node.inputs[0], tuple(sorted(axis % rank for axis in axes or range(rank)))


@dataclass(frozen=True, slots=True)
class Normalised:
    """A normalisation: ``(x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + epsilon)``.

    Attributes:
        source: ``x``.
        axes: Those of the first mean and of the second.
        epsilon: The number; None when it is none.
        nodes: In execution order; the last one gives the result.
    """

    source: ir.Value
    axes: tuple[tuple[int, ...], tuple[int, ...]]
    epsilon: float | None
    nodes: tuple[ir.Node, ...]


class LayerNorm(Rule[Normalised]):
    """Means, differences and a root become LayerNormalization; `FoldScale` adds the scale and shift behind it.

    The square may be Pow or Mul, the division Div or Mul with a reciprocal, which may be a power.

    Not when the means are over other axes than the last ones, or not over the same; when epsilon is computed, has
    several items or is negative; when a value inside is a cut, a graph output, quantized or used elsewhere. A root
    that epsilon is added to, or a mean that drops its dimensions, is no such pattern.
    """

    name: ClassVar[str] = "layer-norm"
    op_types: ClassVar[frozenset[str]] = frozenset({"Div", "Mul"})

    def match(self, node: ir.Node, editor: Editor) -> Normalised | None:
        """The normalisation that ends with a quotient."""
        for difference, variance, nodes in _roots(editor, node):
            found = _normalised(editor, difference, variance, nodes)
            if found is not None:
                return found
        return None

    def check(self, found: Normalised, editor: Editor) -> str | None:
        """Whether the operator can do it."""
        if found.axes[0] != found.axes[1] or not is_last_axes(found.source, found.axes[0]):
            return f"it normalises along the dimensions {list(found.axes[0])}, not the last ones"
        if found.epsilon is None or found.epsilon < 0:
            return "epsilon is no constant number"
        inside = [value for node in found.nodes[:-1] for value in node.outputs]
        return needed_elsewhere(editor, inside, set(found.nodes))

    def rewrite(self, found: Normalised, editor: Editor) -> None:
        """Put a LayerNormalization in its place."""
        last = found.nodes[-1]
        old = last.outputs[0]
        tensor, axis = type_of(old), found.axes[0][0]
        scale = editor.constant(np.ones(tensor.shape[axis:], tensor.dtype.numpy()))
        attributes = {"axis": axis, "epsilon": found.epsilon or 0.0}
        new = editor.insert(
            last, "LayerNormalization", [found.source, scale], [tensor], attributes, origins=found.nodes
        )
        editor.take_over(old, new.outputs[0])


def _roots(editor: Editor, node: ir.Node) -> list[tuple[ir.Value, ir.Value, tuple[ir.Node, ...]]]:
    """What is divided, what the root of is taken, and the nodes: quotients with a root, products with a power."""
    found = []
    for quotient in quotients(editor, node):
        root = _root(editor, quotient.below, 0.5)
        if root is not None:
            found.append((quotient.above, root[1], (root[0], *quotient.nodes)))
    if node.op_type == "Mul":
        first, second = node.inputs
        for above, factor in ((first, second), (second, first)):
            root = _root(editor, factor, -0.5)
            if root is not None and above is not None:
                found.append((above, root[1], (root[0], node)))
    return found


def _root(editor: Editor, value: ir.Value | None, exponent: float) -> tuple[ir.Node, ir.Value] | None:
    node = editor.producer(value, "Pow", "Sqrt")
    if node is None or node.inputs[0] is None:
        return None
    found = 0.5 if node.op_type == "Sqrt" else scalar(node.inputs[1])
    return (node, node.inputs[0]) if found == exponent else None


def _normalised(
    editor: Editor, difference: ir.Value, variance: ir.Value, nodes: tuple[ir.Node, ...]
) -> Normalised | None:
    minus = editor.producer(difference, "Sub")
    plus = editor.producer(variance, "Add")
    if minus is None or plus is None or minus.inputs[0] is None:
        return None
    source = minus.inputs[0]
    mean = reduced(editor, minus.inputs[1], "ReduceMean")
    for summand, other in (plus.inputs, plus.inputs[::-1]):
        spread = reduced(editor, summand, "ReduceMean")
        square = None if spread is None else _square(editor, spread[1], difference)
        if mean is not None and mean[1] is source and spread is not None and square is not None:
            pattern = (mean[0], minus, square, spread[0], plus, *nodes)
            return Normalised(source, (mean[2], spread[2]), scalar(other), pattern)
    return None


def _square(editor: Editor, value: ir.Value, root: ir.Value) -> ir.Node | None:
    """The node that squares a value."""
    node = editor.producer(value, "Mul", "Pow")
    if node is None or node.inputs[0] is not root:
        return None
    squares = node.inputs[1] is root if node.op_type == "Mul" else scalar(node.inputs[1]) == 2
    return node if squares else None


@dataclass(frozen=True, slots=True)
class Distribution:
    """A softmax: ``exp(x - max(x)) / sum(exp(x - max(x)))``.

    Attributes:
        source: ``x``, or what takes its place where no maximum is subtracted.
        axes: Those of the sum, and of the maximum if there is one.
        nodes: In execution order; the last one gives the result.
    """

    source: ir.Value
    axes: tuple[tuple[int, ...], ...]
    nodes: tuple[ir.Node, ...]


class SoftmaxFromParts(Rule[Distribution]):
    """Exponentials divided by their sum become Softmax, with the difference to the largest number in front.

    Not when the sum is over several axes; when the maximum is over others; when a value inside is a cut, a graph
    output, quantized or used elsewhere. A sum that drops its dimension, or over other exponentials, is no such pattern.
    """

    name: ClassVar[str] = "softmax"
    op_types: ClassVar[frozenset[str]] = frozenset({"Div", "Mul"})

    def match(self, node: ir.Node, editor: Editor) -> Distribution | None:
        """The softmax that ends with a quotient."""
        for quotient in quotients(editor, node):
            power = editor.producer(quotient.above, "Exp")
            total = reduced(editor, quotient.below, "ReduceSum")
            if power is not None and total is not None and total[1] is quotient.above and is_real(total[1]):
                return _distribution(editor, power, total, quotient.nodes)
        return None

    def check(self, found: Distribution, editor: Editor) -> str | None:
        """Whether the operator can do it."""
        if any(len(axes) != 1 or axes != found.axes[0] for axes in found.axes):
            return "the sum is over several dimensions, or the maximum over others"
        inside = [value for node in found.nodes[:-1] for value in node.outputs]
        return needed_elsewhere(editor, inside, set(found.nodes))

    def rewrite(self, found: Distribution, editor: Editor) -> None:
        """Put a Softmax in its place."""
        last = found.nodes[-1]
        old = last.outputs[0]
        attributes = {"axis": found.axes[0][0]}
        new = editor.insert(last, "Softmax", [found.source], [type_of(old)], attributes, origins=found.nodes)
        editor.take_over(old, new.outputs[0])


def _distribution(
    editor: Editor,
    power: ir.Node,
    total: tuple[ir.Node, ir.Value, tuple[int, ...]],
    nodes: tuple[ir.Node, ...],
) -> Distribution | None:
    source = power.inputs[0]
    minus = editor.producer(source, "Sub")
    largest = None if minus is None else reduced(editor, minus.inputs[1], "ReduceMax")
    if minus is not None and largest is not None and largest[1] is minus.inputs[0]:
        pattern = (largest[0], minus, power, total[0], *nodes)
        return Distribution(largest[1], (total[2], largest[2]), pattern)
    return None if source is None else Distribution(source, (total[2],), (power, total[0], *nodes))
