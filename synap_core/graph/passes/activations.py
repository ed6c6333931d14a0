"""Activation functions that are written out in several operators: found and named, not changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import Activation, activation_of, set_activation
from synap_core.graph.edit import Editor
from synap_core.graph.passes.clamps import limits_of
from synap_core.graph.passes.polynomials import Polynomial, polynomial_of
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.values import constant_operand, float_of, needed_elsewhere, scalar

TOLERANCE = 1e-3
"""Relative; constants may be of half precision, or written with four digits."""

MAX_FACTORS = 4
"""Nodes that multiply with or add numbers, one after the other, in front of a value."""

OWN_OPERATORS = frozenset({"HardSwish", "Mish"})


@dataclass(frozen=True, slots=True)
class Found:
    """Name of an activation function, and the nodes that compute it, in execution order."""

    name: str
    nodes: tuple[ir.Node, ...]


class NameActivation(Rule[Found]):
    """The nodes of HardSwish, SiLU, GELU or Mish are annotated with the name; nothing else changes.

    They are a value times a gate computed from it: a clamped or hard sigmoid, a sigmoid, one plus the error function
    or hyperbolic tangent, or the hyperbolic tangent of softplus. Numbers may be multiplied in anywhere.

    Not when a value inside is a cut, a graph output, quantized or used elsewhere; with other numbers it is another
    function, and no such pattern.
    """

    name: ClassVar[str] = "name-activation"
    op_types: ClassVar[frozenset[str]] = frozenset({"Div", "Mul"}) | OWN_OPERATORS

    def match(self, node: ir.Node, editor: Editor) -> Found | None:
        """The activation function that ends with a node."""
        if node.op_type in OWN_OPERATORS:
            return _unless_known(Found(node.op_type, (node,)))
        for product in _products(editor, node):
            named = _named(editor, product)
            if named is not None:
                return _unless_known(Found(named[0], _in_order(node, named[1] | product.nodes)))
        return None

    def check(self, found: Found, editor: Editor) -> str | None:
        """Whether all but the result is needed here alone."""
        inside = [node.outputs[0] for node in found.nodes[:-1]]
        return needed_elsewhere(editor, inside, found.nodes)

    def rewrite(self, found: Found, editor: Editor) -> None:  # noqa: ARG002 - as the base class has it
        """Name it."""
        set_activation(found.nodes, found.name)


def _unless_known(found: Found) -> Found | None:
    annotation = Activation(found.name, str(found.nodes[-1].name))
    return None if all(activation_of(node) == annotation for node in found.nodes) else found


def _in_order(last: ir.Node, nodes: AbstractSet[ir.Node]) -> tuple[ir.Node, ...]:
    """The nodes in execution order."""
    found: dict[ir.Node, None] = {}

    def visit(node: ir.Node) -> None:
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer is not None and producer in nodes and producer not in found:
                visit(producer)
        found[node] = None

    visit(last)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Product:
    """``factor * variable * gate``, and the nodes that multiply."""

    factor: float
    variable: ir.Value
    gate: ir.Value
    nodes: AbstractSet[ir.Node]


def _products(editor: Editor, node: ir.Node) -> Iterator[Product]:
    """Ways to read a node as a product of two computed values and numbers."""
    factor, product, nodes = 1.0, node, {node}
    for _ in range(MAX_FACTORS):
        scaling = _scaling(product)
        inner = None if scaling is None else editor.producer(scaling[1], "Div", "Mul")
        if scaling is None or inner is None:
            break
        factor, product, nodes = factor * scaling[0], inner, nodes | {inner}
    if product.op_type != "Mul" or _scaling(product) is not None:
        return
    for value, gate in (product.inputs, product.inputs[::-1]):
        if value is not None and gate is not None:
            for own, variable, scalings in _unscaled(editor, value):
                yield Product(factor * own, variable, gate, nodes | scalings)


def _scaling(node: ir.Node) -> tuple[float, ir.Value] | None:
    """The number that a node multiplies with, and the operand."""
    operands = constant_operand(node)
    number = None if operands is None else scalar(operands[1])
    if operands is None or not number or (node.op_type == "Div" and operands[0] is node.inputs[1]):
        return None
    return (1 / number if node.op_type == "Div" else number), operands[0]


def _unscaled(editor: Editor, value: ir.Value) -> Iterator[tuple[float, ir.Value, AbstractSet[ir.Node]]]:
    """A value as a number times another value, with more and more of the nodes that multiply with numbers."""
    factor, nodes = 1.0, frozenset[ir.Node]()
    yield factor, value, nodes
    for _ in range(MAX_FACTORS):
        node = editor.producer(value, "Div", "Mul")
        scaling = None if node is None else _scaling(node)
        if node is None or scaling is None:
            return
        factor, value, nodes = factor * scaling[0], scaling[1], nodes | {node}
        yield factor, value, nodes


@dataclass(frozen=True, slots=True)
class Gate:
    """``scale * function(operand) + shift``, where the variable and the numbers in front belong to it, too."""

    scale: float
    shift: float
    node: ir.Node
    variable: ir.Value

    def adds_up_to(self, scale: float, shift: float) -> bool:
        """Whether the numbers are these."""
        return _close([self.scale, self.shift], [scale, shift])


Named = tuple[str, AbstractSet[ir.Node]]
"""Name of a function, and the nodes that compute the operand of its gate."""


def _named(editor: Editor, product: Product) -> Named | None:
    core = _core(editor, product.gate)
    node = editor.producer(core, *_GATES)
    affine = None if node is None else polynomial_of(editor, product.gate, core)
    if node is None or affine is None:
        return None
    shift, scale = (float(number) * product.factor for number in affine.coefficients[:2])
    named = _GATES[node.op_type](editor, Gate(scale, shift, node, product.variable))
    return None if named is None else (named[0], {*affine.nodes, node, *named[1]})


def _core(editor: Editor, gate: ir.Value) -> ir.Value:
    """The value behind arithmetic with numbers."""
    for _ in range(MAX_FACTORS):
        node = editor.producer(gate, "Add", "Div", "Mul", "Sub")
        operands = None if node is None else constant_operand(node)
        if operands is None or scalar(operands[1]) is None:
            break
        gate = operands[0]
    return gate


def _of_variable(editor: Editor, gate: Gate) -> Polynomial | None:
    return polynomial_of(editor, gate.node.inputs[0], gate.variable)


def _sigmoid(editor: Editor, gate: Gate) -> Named | None:
    inner = _of_variable(editor, gate)
    if inner is None or not _close(inner.coefficients, [0, 1, 0, 0]) or not gate.adds_up_to(1, 0):
        return None
    return "SiLU", inner.nodes


def _error_function(editor: Editor, gate: Gate) -> Named | None:
    inner = _of_variable(editor, gate)
    if inner is None or not _close(inner.coefficients, [0, math.sqrt(0.5), 0, 0]) or not gate.adds_up_to(0.5, 0.5):
        return None
    return "GELU", inner.nodes


def _tangent(editor: Editor, gate: Gate) -> Named | None:
    """GELU by Hendrycks and Gimpel's formula (arXiv 1606.08415), SiLU by ``sigmoid(x) = (1 + tanh(x / 2)) / 2``."""
    inner = _of_variable(editor, gate)
    if inner is None:
        nodes = _softplus(editor, gate.node.inputs[0], gate.variable)
        return ("Mish", nodes) if nodes and gate.adds_up_to(1, 0) else None
    if not gate.adds_up_to(0.5, 0.5):
        return None
    root = math.sqrt(2 / math.pi)
    wanted = {"GELU": [0, root, 0, root * 0.044715], "SiLU": [0, 0.5, 0, 0]}
    return next(((name, inner.nodes) for name, numbers in wanted.items() if _close(inner.coefficients, numbers)), None)


def _softplus(editor: Editor, value: ir.Value | None, variable: ir.Value) -> AbstractSet[ir.Node]:
    """The nodes that compute ``log(1 + exp(variable))``; empty when a value is something else."""
    node = editor.producer(value, "Log", "Softplus")
    if node is None or node.op_type == "Softplus":
        return {node} if node is not None and node.inputs[0] is variable else set()
    plus = editor.producer(node.inputs[0], "Add")
    operands = None if plus is None else constant_operand(plus)
    power = None if operands is None or scalar(operands[1]) != 1 else editor.producer(operands[0], "Exp")
    if plus is None or power is None or power.inputs[0] is not variable:
        return set()
    return {node, plus, power}


def _clamped(editor: Editor, gate: Gate) -> Named | None:
    """``clip(x / 6 + 1 / 2, 0, 1)``, however the numbers are spread."""
    inner, limits = _of_variable(editor, gate), limits_of(gate.node)
    if inner is None or limits is None:
        return None
    line = inner.coefficients * gate.scale + [gate.shift, 0, 0, 0]
    ends = [gate.scale * limit + gate.shift for limit in limits]
    return ("HardSwish", inner.nodes) if _close([*line, *ends], [1 / 2, 1 / 6, 0, 0, 0, 1]) else None


def _hard_sigmoid(editor: Editor, gate: Gate) -> Named | None:
    inner = _of_variable(editor, gate)
    if inner is None or not gate.adds_up_to(1, 0):
        return None
    node = gate.node
    line = inner.coefficients * float_of(node, "alpha", 0.2) + [float_of(node, "beta", 0.5), 0, 0, 0]
    return ("HardSwish", inner.nodes) if _close(line, [1 / 2, 1 / 6, 0, 0]) else None


def _close(found: Sequence[float] | np.ndarray, wanted: Sequence[float]) -> bool:
    return bool(np.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE**2))


_GATES: dict[str, Callable[[Editor, Gate], Named | None]] = {
    "Clip": _clamped,
    "Erf": _error_function,
    "HardSigmoid": _hard_sigmoid,
    "Sigmoid": _sigmoid,
    "Tanh": _tangent,
}
