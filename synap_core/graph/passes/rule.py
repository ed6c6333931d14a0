"""Rules that rewrite small patterns, and the worklist that applies them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import onnx_ir as ir

from synap_core.graph.annotations import origins_of
from synap_core.graph.edit import Editor, is_operator
from synap_core.graph.passes.report import Refusal, Report

Found = TypeVar("Found")

ANY: frozenset[str] = frozenset()
"""Operators of a rule that looks at every node, opaque ones included."""

MAX_EDITS_PER_NODE = 30
"""Far more than a pass needs; two rules that undo each other stop here."""


class Rule(ABC, Generic[Found]):
    """One way to rewrite a pattern; an object serves one run of a pass.

    Attributes:
        name: For the report.
        op_types: Operators of the default domain that the last node of the pattern may be, or `ANY`.
    """

    name: ClassVar[str]
    op_types: ClassVar[frozenset[str]]

    @abstractmethod
    def match(self, node: ir.Node, editor: Editor) -> Found | None:
        """Find the pattern that ends with a node."""

    def check(self, found: Found, editor: Editor) -> str | None:  # noqa: ARG002 - for those that override it
        """Say why the pattern must stay; None when it need not."""
        return None

    @abstractmethod
    def rewrite(self, found: Found, editor: Editor) -> None:
        """Change the graph."""


AnyRule = Rule[Any]  # What a rule finds concerns itself alone.


@dataclass(frozen=True, slots=True)
class Pass:
    """Rules that are applied together until none of them matches.

    Attributes:
        name: For messages.
        rules: Makes them for one run; those that come first are tried first.
    """

    name: str
    rules: Callable[[], Sequence[AnyRule]]


@dataclass(slots=True)
class Log:
    """What the passes did so far."""

    applied: Counter[str] = field(default_factory=Counter)
    refused: dict[tuple[str, ir.Node], str] = field(default_factory=dict)

    def report(self, graph: ir.Graph) -> Report:
        """The report; refusals at nodes that are gone are left out."""
        refusals = [
            Refusal(rule, _layer(node), reason) for (rule, node), reason in self.refused.items() if node.graph is graph
        ]
        return Report(dict(self.applied), tuple(dict.fromkeys(refusals)))


def run(rules: Sequence[AnyRule], editor: Editor, log: Log) -> int:
    """Apply rules to all nodes, and again to those around an edit, until nothing changes.

    Returns:
        How often a rule was applied.
    """
    editor.take_touched()
    queue = deque(editor.graph)
    queued = set(queue)
    edits = 0
    while queue and edits <= MAX_EDITS_PER_NODE * (len(editor.graph) + 1):
        node = queue.popleft()
        queued.discard(node)
        if node.graph is editor.graph and _applied(rules, node, editor, log):
            edits += 1
            for touched in (*editor.take_touched(), node):
                if touched not in queued and touched.graph is editor.graph:
                    queue.append(touched)
                    queued.add(touched)
    return edits


def _applied(rules: Sequence[AnyRule], node: ir.Node, editor: Editor, log: Log) -> bool:
    """Apply the first rule that can be."""
    for rule in rules:
        if rule.op_types and not is_operator(node, *rule.op_types):
            continue
        log.refused.pop((rule.name, node), None)
        found = rule.match(node, editor)
        if found is None:
            continue
        reason = rule.check(found, editor)
        if reason is None:
            rule.rewrite(found, editor)
            log.applied[rule.name] += 1
            return True
        log.refused[rule.name, node] = reason
    return False


def _layer(node: ir.Node) -> str:
    origins = origins_of(node)
    return origins[0].name if origins else str(node.name)
