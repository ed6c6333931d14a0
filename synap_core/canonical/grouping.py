"""The operations of a region: the core's grouping, and what the delegates of its subgraphs make of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from synap_core.canonical.region import Region
from synap_core.errors import PluginError
from synap_core.graph.annotations import origins_of, quant_of
from synap_core.graph.groups import Group, group
from synap_core.host import PluginHost
from synap_core.payloads import Delegate, Target, require_type
from synap_core.quantization.planning import is_real


class Grouping:
    """Groups the nodes of a region, or of a copy of it, into operations.

    Args:
        region: The region.
        delegates: Delegate of each of its subgraphs that is compiled from the canonical graph, by position.
        target: The SoC.
        host: Where the delegates are.
    """

    def __init__(self, region: Region, delegates: Mapping[int, Delegate], target: Target, host: PluginHost) -> None:
        self._region, self._delegates, self._target, self._host = region, delegates, target, host

    def __call__(self, graph: ir.Model) -> list[Group]:
        """Operations of the region's graph or of a copy of it, in execution order.

        Raises:
            PluginError: A delegate returned something else than operations of the same nodes.
        """
        keep = {*self._region.keep, *(str(value.name) for value in graph.graph.outputs)}
        by_part: dict[int, list[Group]] = {}
        order = {node: position for position, node in enumerate(graph.graph)}
        for found in whole_layers(group(graph, keep), keep):
            nodes = tuple(sorted(found.nodes, key=order.__getitem__))
            by_part.setdefault(self._part_of(found), []).append(replace(found, nodes=nodes))
        groups = [g for index, own in by_part.items() for g in self._joined(index, graph, own, keep)]
        _require_unique(groups)
        return sorted(groups, key=lambda g: max(order[node] for node in g.nodes))

    def part_of(self, found: Group) -> int | None:
        """Position of the subgraph that an operation is in; None for one that was inserted later."""
        return self._region.owner.get(str(found.nodes[0].name))

    def _part_of(self, found: Group) -> int:
        return self._region.owner[str(found.nodes[0].name)]

    def _joined(self, index: int, graph: ir.Model, groups: Sequence[Group], keep: set[str]) -> Sequence[Group]:
        delegate = self._delegates.get(index)
        if delegate is None or delegate.group is None:
            return groups
        with self._host.boundary(delegate):
            joined = list(delegate.group(graph, tuple(groups), self._target, frozenset(keep)))
        for item in joined:
            require_type(delegate, item, Group)
        before, after = ([node for g in found for node in g.nodes] for found in (groups, joined))
        if len(before) != len(after) or set(before) != set(after):
            msg = f"delegate {delegate.name!r} grouped other nodes than it was given"
            raise PluginError(msg)
        return joined


def whole_layers(groups: Sequence[Group], keep: Collection[str]) -> list[Group]:
    """Join the operations of each layer that was quantized before and has only whole results.

    Such a layer rounds once, at its end, however many nodes express it: what is between them has no type of its own.

    Args:
        groups: Operations, in execution order.
        keep: Names of values that must exist between operations.
    """
    joined: dict[ir.Node, list[Group]] = {}
    for found in reversed(groups):
        members = _layer_behind(found, joined, keep) or []
        members.append(found)
        joined |= dict.fromkeys(found.nodes, members)
    result, seen = [], set[int]()
    for found in groups:
        members = joined[found.nodes[0]]
        if id(members) not in seen:
            seen.add(id(members))
            result.append(_together(members) if len(members) > 1 else found)
    return result


def _layer_behind(found: Group, joined: Mapping[ir.Node, list[Group]], keep: Collection[str]) -> list[Group] | None:
    """Operations of the quantized layer that an operation begins; None when it has a result of its own."""
    outputs = found.nodes[-1].outputs
    if len(outputs) != 1 or not _is_between(outputs[0]) or outputs[0].name in keep:
        return None
    readers = {id(joined[use.node]): joined[use.node] for use in outputs[0].uses()}
    if len(readers) != 1:
        return None
    members = next(iter(readers.values()))
    last = members[0].nodes[-1].outputs
    shared = set(found.origins).intersection(*(origins_of(use.node) for use in outputs[0].uses()))
    return members if shared and all(quant_of(value) is not None for value in last) else None


def _is_between(value: ir.Value) -> bool:
    return is_real(value) and quant_of(value) is None and not value.is_graph_output() and bool(value.uses())


def _together(members: Sequence[Group]) -> Group:
    """One operation of several, the last of which comes first."""
    ordered = list(reversed(members))
    origins = dict.fromkeys(origin for found in ordered for origin in found.origins)
    return Group(
        layer_id=min((found.layer_id for found in ordered), key=len),
        nodes=tuple(node for found in ordered for node in found.nodes),
        origins=tuple(sorted(origins, key=lambda origin: origin.index)),
    )


def _require_unique(groups: Sequence[Group]) -> None:
    seen: set[str] = set()
    for found in groups:
        if found.layer_id in seen:
            msg = f"two operations have the layer id {found.layer_id!r}"
            raise PluginError(msg, hint="a delegate that joins operations must give the new ones ids of their own")
        seen.add(found.layer_id)
