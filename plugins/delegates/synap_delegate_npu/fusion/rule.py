"""What a fusion rule is, and what it sees of the graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from synap_core.api import quant_of

Nodes = tuple[ir.Node, ...]
"""Members of one operation, in execution order."""


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern that a rule found.

    Attributes:
        before: Operations that go.
        after: Operations that come in their place, of the same nodes.
        inner: Values that do not exist between operations any more.
    """

    before: tuple[Nodes, ...]
    after: tuple[Nodes, ...]
    inner: tuple[ir.Value, ...] = ()

    @property
    def nodes(self) -> frozenset[ir.Node]:
        """All nodes of the pattern."""
        return frozenset(node for nodes in self.before for node in nodes)


class Operations:
    """The operations of a graph while they are joined and divided.

    Args:
        groups: Members of each.
        keep: Names of values that must exist between operations, besides the graph's outputs.
    """

    def __init__(self, groups: Iterable[Nodes], keep: Collection[str]) -> None:
        self._keep = frozenset(keep)
        self._group_of = {node: nodes for nodes in groups for node in nodes}

    def has(self, nodes: Nodes) -> bool:
        """Whether these nodes are an operation as it is now."""
        return self._group_of.get(nodes[0]) is nodes

    def reader(self, value: ir.Value, *op_types: str) -> Nodes | None:
        """The operation of a single node that is all that reads a value, when it is one of these operators."""
        users = {use.node for use in value.uses()}
        nodes = self._group_of.get(next(iter(users))) if len(users) == 1 else None
        if nodes is None or len(nodes) > 1 or nodes[0].domain or nodes[0].op_type not in op_types:
            return None
        return nodes

    def replace(self, match: Match) -> None:
        """Put operations in the place of others."""
        self._group_of |= {node: nodes for nodes in match.after for node in nodes}

    def must_stay(self, value: ir.Value, pattern: Collection[ir.Node]) -> str | None:
        """Why a value cannot vanish inside of a pattern, whatever its quantization; None when it can."""
        if value.is_graph_output() or value.name in self._keep:
            return f"{value.name!r} is an output or a cut"
        if any(use.node not in pattern for use in value.uses()):
            return f"{value.name!r} is used elsewhere, too"
        return None


class FusionRule(ABC):
    """One way to join operations, or to divide one.

    Attributes:
        name: For the report.
    """

    name: ClassVar[str]

    @abstractmethod
    def match(self, nodes: Nodes, operations: Operations) -> Match | None:
        """Find the pattern that begins with an operation."""

    def check(self, found: Match, operations: Operations) -> str | None:
        """Say why the pattern must stay as it is; None when it need not.

        A value with quantization parameters is a point where numbers are rounded, and stays.
        """
        for value in found.inner:
            reason = operations.must_stay(value, found.nodes)
            if reason is None and quant_of(value) is not None:
                reason = f"{value.name!r} is quantized"
            if reason is not None:
                return reason
        return None


def joined(first: Nodes, *others: Nodes) -> Match:
    """The pattern of operations that become one."""
    together = (first, *others)
    inner = tuple(nodes[-1].outputs[0] for nodes in together[:-1])
    return Match(together, (tuple(node for nodes in together for node in nodes),), inner)


def is_real(values: Sequence[ir.Value | None]) -> bool:
    """Whether all values hold real numbers."""
    return all(value is None or value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16) for value in values)
