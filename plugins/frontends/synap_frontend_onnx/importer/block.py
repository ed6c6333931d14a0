"""Lists of nodes inside of others: bodies of functions and of control flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from synap_frontend_onnx.importer.registry import UnsupportedError
from synap_frontend_onnx.protos import (
    STANDARD_DOMAINS,
    AttributeProto,
    FunctionProto,
    GraphProto,
    NodeProto,
    TensorProto,
)

MAX_DEPTH = 24
"""Bodies and functions inside of each other."""


class Block:
    """A list of nodes that may be run many times.

    Attributes:
        nodes: In execution order, without the `constant_nodes`.
        inputs: Names of what is handed in.
        outputs: Names of the results.
        initializers: Constants of the block.
        constant_nodes: ``Constant`` nodes whose value does not depend on the call of a function.
        defaults: Attributes of a function that a call may leave out.
        versions: Versions of the operator sets that a function names, by domain.
    """

    def __init__(
        self,
        nodes: Iterable[NodeProto],
        inputs: Iterable[str],
        outputs: Iterable[str],
        initializers: Iterable[TensorProto] = (),
    ) -> None:
        self.constant_nodes: list[NodeProto] = []
        self.nodes: list[NodeProto] = []
        for node in nodes:
            (self.constant_nodes if _is_constant(node) else self.nodes).append(node)
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.initializers = list(initializers)
        self.defaults: dict[str, AttributeProto] = {}
        self.versions: dict[str, int] = {}
        self._constants: Mapping[str, ir.Value] | None = None
        self._inner: dict[tuple[int, str], Block] = {}

    @classmethod
    def of_function(cls, function: FunctionProto) -> Block:
        """The body of a function."""
        block = cls(function.node, function.input, function.output)
        block.defaults = {attribute.name: attribute for attribute in function.attribute_proto}
        sets = function.opset_import
        block.versions = {("" if e.domain in STANDARD_DOMAINS else e.domain): e.version for e in sets}
        return block

    @classmethod
    def of_graph(cls, graph: GraphProto) -> Block:
        """A body of control flow.

        Raises:
            UnsupportedError: It holds sparse constants.
        """
        if graph.sparse_initializer:
            msg = "its body holds sparse constants"
            raise UnsupportedError(msg)
        return cls(graph.node, (v.name for v in graph.input), (v.name for v in graph.output), graph.initializer)

    def constants(self, make: Callable[[Block], Mapping[str, ir.Value]]) -> Mapping[str, ir.Value]:
        """Values of the constants by name; made once."""
        if self._constants is None:
            self._constants = make(self)
        return self._constants

    def inner(self, position: int, attribute: str, graph: GraphProto) -> Block:
        """A body that the node at a position has as an attribute; the same each time."""
        key = (position, attribute)
        if key not in self._inner:
            self._inner[key] = Block.of_graph(graph)
        return self._inner[key]


@dataclass(kw_only=True)
class Scope:
    """What the names in a block stand for.

    Attributes:
        versions: Version of an operator set by domain.
        values: By name; None for an absent optional operand of a function.
        constants: Those of the block, by name.
        outer: Where names are looked up that the block does not define; None in a function.
        bindings: Attributes of the function's call.
        depth: How many blocks this one is inside of.
    """

    versions: Callable[[str], int]
    values: dict[str, ir.Value | None] = field(default_factory=dict)
    constants: Mapping[str, ir.Value] = field(default_factory=dict)
    outer: Callable[[str], ir.Value | None] | None = None
    bindings: Mapping[str, AttributeProto] = field(default_factory=dict)
    depth: int = 0

    def find(self, name: str) -> ir.Value | None:
        """Value of a name; None for an absent operand.

        Raises:
            UnsupportedError: The name stands for nothing.
        """
        if not name:
            return None
        if name in self.values:
            return self.values[name]
        if name in self.constants:
            return self.constants[name]
        if self.outer is None:
            msg = f"it reads {name!r}, which nothing computes"
            raise UnsupportedError(msg)
        return self.outer(name)

    def inside(self) -> Scope:
        """The scope of a body of control flow in this one."""
        self._check_depth()
        return Scope(versions=self.versions, outer=self.find, bindings=self.bindings, depth=self.depth + 1)

    def of_function(
        self, block: Block, values: Mapping[str, ir.Value | None], bindings: Mapping[str, AttributeProto]
    ) -> Scope:
        """The scope of a function called in this one; operator sets that it does not name are those of its caller."""
        self._check_depth()

        def version(domain: str) -> int:
            return block.versions[domain] if domain in block.versions else self.versions(domain)

        return Scope(
            versions=version, values=dict(values), bindings={**block.defaults, **bindings}, depth=self.depth + 1
        )

    def _check_depth(self) -> None:
        if self.depth >= MAX_DEPTH:
            msg = f"functions and bodies are more than {MAX_DEPTH} deep inside of each other"
            raise UnsupportedError(msg)


def bound_attributes(node: NodeProto, bindings: Mapping[str, AttributeProto]) -> dict[str, AttributeProto]:
    """Attributes of a node by name, those of the function's call put in; what the call leaves out is left out."""
    found = {}
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            found[attribute.name] = attribute
        elif attribute.ref_attr_name in bindings:
            copy = AttributeProto()
            copy.CopyFrom(bindings[attribute.ref_attr_name])
            copy.name = attribute.name
            found[attribute.name] = copy
    return found


def _is_constant(node: NodeProto) -> bool:
    plain = node.op_type == "Constant" and node.domain in STANDARD_DOMAINS
    return plain and not any(attribute.ref_attr_name for attribute in node.attribute)
