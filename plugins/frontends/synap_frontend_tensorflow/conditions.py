"""Settle what tells training from inference before anything runs: conditions, and dropout that drops nothing.

``Switch`` hands its operand to one of two branches, ``Merge`` hands on the result of the branch that ran. Where the
condition is a constant, each of them has one operand left and is a copy of it, and no output needs the other branch.

Dropout keeps an item where a random number from 0 to below 1 is at least the share to drop; the older one multiplies
by ``floor(keep + random)``. Where the share to drop is 0, both are the same for all random numbers.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from math import prod

from synap_core.api import InputError
from synap_frontend_tensorflow import schema
from synap_frontend_tensorflow.boundary import Boundary, dtype_of
from synap_frontend_tensorflow.constants import ConstantError, Constants, shape_of_proto
from synap_frontend_tensorflow.graph import PLACEHOLDERS, Graph, Node, split_name, tensor_id

SWITCHES = frozenset({"RefSwitch", "Switch"})
MERGES = frozenset({"Merge", "RefMerge"})

COPIES = frozenset({"Identity", "PlaceholderWithDefault", "RefIdentity", "Snapshot", "StopGradient"})
"""Operators whose result is as true as their operand."""

RANDOM = "RandomUniform"

ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "Add": operator.add,
    "AddV2": operator.add,
    "Mul": operator.mul,
    "Sub": operator.sub,
}
"""What the share to keep and the random numbers are computed with."""

PHASE = re.compile(r"(learning_phase|train)[^/]*\Z", re.IGNORECASE)
"""Names of placeholders that say whether a network is being trained."""


KEEP = re.compile(r"keep_?prob[^/]*\Z", re.IGNORECASE)
"""Names of placeholders that say what share dropout keeps."""

TAKEN_AS = "placeholder {!r} was taken to be {}: the model is converted for inference"


def settled(graph: Graph, boundary: Boundary, *, inspect: bool = False) -> tuple[Graph, Boundary]:
    """Leave the branches out that constant conditions do not take, and dropout that drops nothing.

    A placeholder of truth values that is no input, and whose name says that it is for training, is false; one that is
    the share that dropout keeps is 1.

    Args:
        graph: The graph.
        boundary: Where it begins and ends.
        inspect: Leave outputs out that nothing computes, or that are conditions, instead of refusing them.

    Returns:
        The graph with its settled nodes changed, and the boundary with notes on the placeholders that got values.

    Raises:
        InputError: An output is in a branch that is not taken.
    """
    if not any(node.type in SWITCHES or node.type == RANDOM for node in graph.nodes.values()):
        return graph, boundary
    given = frozenset(() if inspect else boundary.inputs)
    nodes = graph.needed(boundary.outputs, given, lenient=True, control=True)
    phases = {
        node.name: _constant(node, schema.BOOL, 0) if _is_phase(graph, node) else _constant(node, schema.FLOAT, 1)
        for node in nodes
        if node.name not in given and (_is_phase(graph, node) or _is_share(graph, node))
    }
    branches = _Branches(given)
    changed = {node.name: branches.visit(phases.get(node.name, node)) for node in nodes}
    dead = [tensor for tensor in boundary.outputs if branches.is_dead(tensor)]
    if dead and not inspect:
        msg = f"output {dead[0]!r} is in a branch of the graph that is not taken: its condition is constant"
        raise InputError(msg, hint="name other outputs in the metafile, or freeze the graph with another condition")
    outputs = {
        tensor: name
        for tensor, name in boundary.outputs.items()
        if not (inspect and (tensor in dead or branches.is_condition(tensor)))
    }
    notes = (
        *(TAKEN_AS.format(name, "false" if _is_phase(graph, graph.nodes[name]) else "1") for name in phases),
        *boundary.notes,
    )
    return replace(graph, nodes={**graph.nodes, **changed}), replace(boundary, outputs=outputs, notes=notes)


class _Branches:
    """Follows conditions and branches through nodes in execution order."""

    def __init__(self, given: Set[str]) -> None:
        self._given = given
        self._constants = Constants()
        self._values: dict[str, bool | float] = {}
        self._random: dict[str, float] = {}
        self._idle: set[str] = set()
        self._untaken: set[str] = set()

    def is_dead(self, tensor: str) -> bool:
        """Whether nothing computes a tensor."""
        return tensor not in self._given and (tensor in self._untaken or split_name(tensor)[0] in self._idle)

    def is_condition(self, tensor: str) -> bool:
        """Whether a tensor is known to be true, or to be false."""
        return isinstance(self._values.get(tensor), bool)

    def visit(self, node: Node) -> Node:
        """Note what becomes of a node; the node with the operands that are left."""
        alive = tuple(tensor for tensor in node.reads if not self.is_dead(tensor))
        if self._idles(node, alive):
            self._idle.add(node.name)
            return node
        if node.type in MERGES and len(alive) == 1:
            self._note(node.name, self._values.get(alive[0]))
            return replace(node, reads=alive)
        condition = self._values.get(node.reads[1]) if node.type in SWITCHES and len(node.reads) == 2 else None
        if isinstance(condition, bool):
            self._untaken.add(tensor_id(node.name, int(not condition)))
            self._note(tensor_id(node.name, int(condition)), self._values.get(node.reads[0]))
            return replace(node, reads=node.reads[:1])
        self._note(node.name, self._value(node))
        return self._kept(node)

    def _idles(self, node: Node, alive: tuple[str, ...]) -> bool:
        """Whether a node does not run, because nothing comes from a node that it reads, or that runs before it."""
        if any(name in self._idle for name in node.waits_for()):
            return True
        return not alive if node.type in MERGES and node.reads else len(alive) < len(node.reads)

    def _note(self, tensor: str, value: bool | float | None) -> None:
        if value is not None and tensor not in self._given:
            self._values[tensor] = value

    def _value(self, node: Node) -> bool | float | None:
        """The single number or truth value that a node gives; None when that is not known."""
        operands = [self._values.get(tensor) for tensor in node.reads]
        if node.type == "Const":
            return self._item(node)
        if node.type in COPIES and len(operands) == 1:
            return operands[0]
        if node.type == "LogicalNot" and len(operands) == 1 and operands[0] is not None:
            return not operands[0]
        if node.type in ("LogicalAnd", "LogicalOr") and len(operands) == 2:
            decisive = node.type == "LogicalOr"
            return decisive if decisive in operands else None if None in operands else not decisive
        if node.type in ARITHMETIC and len(operands) == 2 and None not in operands:
            return ARITHMETIC[node.type](*(float(number or 0) for number in operands))
        return None

    def _item(self, node: Node) -> bool | float | None:
        """The item of a constant that has one."""
        tensor = node.proto.attr["value"].tensor if "value" in node.proto.attr else None
        shape = None if tensor is None else shape_of_proto(tensor.tensor_shape)
        if tensor is None or tensor.dtype not in (schema.BOOL, schema.FLOAT) or shape is None or prod(shape) != 1:
            return None
        try:
            found: bool | float = self._constants.array(tensor).reshape(-1)[0].item()
        except ConstantError:
            return None
        return found

    def _kept(self, node: Node) -> Node:
        """A constant in place of the mask of dropout, where that keeps all items."""
        if node.name in self._given:
            return node
        if node.type == RANDOM:
            self._random[node.name] = 0.0
        first, second = (*node.reads, "", "")[:2]
        if node.type in ARITHMETIC:
            self._scaled(node, *((first, second) if first in self._random else (second, first)))
        low = self._random.get(first)
        if node.type == "Floor" and low == 1:
            return _constant(node, schema.FLOAT, 1)
        if node.type == "GreaterEqual" and low == 0 and self._values.get(second) == 0:
            return _constant(node, schema.BOOL, 1)
        return node

    def _scaled(self, node: Node, source: str, other: str) -> None:
        """Note where random numbers begin that others were added to, and pass over a product with 1."""
        low, number = self._random.get(source), self._values.get(other)
        if low is None or number is None:
            return
        if node.type in ("Add", "AddV2"):
            self._random[node.name] = low + number
        elif node.type == "Mul" and number == 1:
            self._random[node.name] = low


def _is_phase(graph: Graph, node: Node) -> bool:
    return _is_named(graph, node, PHASE, schema.BOOL)


def _is_share(graph: Graph, node: Node) -> bool:
    return _is_named(graph, node, KEEP, schema.FLOAT)


def _is_named(graph: Graph, node: Node, pattern: re.Pattern[str], dtype: int) -> bool:
    known = node.type in PLACEHOLDERS and pattern.search(node.name) is not None
    return known and dtype_of(graph, node.name) == dtype


def _constant(node: Node, dtype: int, value: int) -> Node:
    """A constant in place of a node."""
    proto = schema.new("NodeDef")
    proto.name, proto.op = node.name, "Const"
    tensor = proto.attr["value"].tensor
    tensor.dtype = dtype
    (tensor.bool_val if dtype == schema.BOOL else tensor.float_val).append(value)
    return replace(node, type="Const", reads=(), proto=proto)
