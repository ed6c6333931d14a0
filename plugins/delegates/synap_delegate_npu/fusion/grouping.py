"""Apply the fusion rules to the operations of a graph."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.api import Group, Origin, layer_id, origins_of
from synap_delegate_npu.fusion.rule import FusionRule, Nodes, Operations
from synap_delegate_npu.fusion.rules import RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """The operations of the hardware, and how they came about.

    Attributes:
        groups: In execution order of their last nodes.
        applied: How often each rule was applied.
        refused: Why a rule was not, by its name and the layer id of the operation that its pattern begins with.
    """

    groups: tuple[Group, ...]
    applied: Mapping[str, int]
    refused: Mapping[tuple[str, str], str]


def fuse(model: ir.Model, groups: Sequence[Group], keep: Collection[str] = ()) -> list[Group]:
    """Join and divide operations so that each is one of the hardware.

    Args:
        model: The canonical graph; not changed.
        groups: Operations of it, or of a part of it, as the core has grouped them; execution order.
        keep: Names of values that must exist between operations, besides the graph's outputs.

    Returns:
        Operations of the same nodes, in execution order of their last nodes. Those that did not change keep their id.
    """
    return list(fused(model, groups, keep).groups)


def fused(model: ir.Model, groups: Sequence[Group], keep: Collection[str] = ()) -> Fused:
    """The same as `fuse`, with what the rules did."""
    operations = Operations((group.nodes for group in groups), keep)
    rules = [rule() for rule in RULES]
    pending = deque(group.nodes for group in groups)
    applied: Counter[str] = Counter()
    refused: dict[tuple[str, Nodes], str] = {}
    done: list[Nodes] = []
    while pending:
        nodes = pending.popleft()
        if not operations.has(nodes):
            continue
        after = _applied(rules, nodes, operations, applied, refused)
        if after is None:
            done.append(nodes)
        else:
            pending.extendleft(reversed(after))
    order = {node: position for position, node in enumerate(model.graph)}
    found = [nodes for nodes in done if operations.has(nodes)]
    result = _named(sorted(found, key=lambda nodes: order[nodes[-1]]), groups)
    ids = {group.nodes: group.layer_id for group in result}
    reasons = {(rule, ids[nodes]): reason for (rule, nodes), reason in refused.items() if nodes in ids}
    return Fused(groups=tuple(result), applied=dict(applied), refused=reasons)


def _applied(
    rules: Iterable[FusionRule],
    nodes: Nodes,
    operations: Operations,
    applied: Counter[str],
    refused: dict[tuple[str, Nodes], str],
) -> tuple[Nodes, ...] | None:
    """Apply the first rule that can be; gives what came of it, None when no rule could."""
    for rule in rules:
        found = rule.match(nodes, operations)
        if found is None:
            continue
        reason = rule.check(found, operations)
        if reason is None:
            operations.replace(found)
            applied[rule.name] += 1
            return found.after
        refused[rule.name, nodes] = reason
    return None


def _named(found: Sequence[Nodes], groups: Sequence[Group]) -> list[Group]:
    """Give the new operations ids by the core's rule; a number makes those unique that are the same."""
    known = {group.nodes: group for group in groups}
    used = {known[nodes].layer_id for nodes in found if nodes in known}
    result = []
    for nodes in found:
        if nodes in known:
            result.append(known[nodes])
            continue
        origins = _origins(nodes)
        name = layer_id(origins)
        unique, number = name, 1
        while unique in used:
            number += 1
            unique = f"{name}.{number}"
        used.add(unique)
        result.append(Group(layer_id=unique, nodes=nodes, origins=origins))
    return result


def _origins(nodes: Nodes) -> tuple[Origin, ...]:
    origins = dict.fromkeys(origin for node in nodes for origin in origins_of(node))
    return tuple(sorted(origins, key=lambda origin: origin.index))
