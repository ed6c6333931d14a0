"""Group layers that one delegate runs together: two strategies over the same dependencies."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from synap_core.delegate_rules import Assignment
from synap_core.errors import InputError
from synap_core.layer_graph import LayerGraph

Groups = list[list[int]]
"""Positions of layers, ascending within a group; the groups in execution order."""


def group_greedily(graph: LayerGraph, delegates: Sequence[Assignment]) -> Groups:
    """Take a ready layer, then all it leads to on the same delegate; repeat with those put aside.

    Source: metafile format, section 6; gives the official toolkit's numbering.
    """
    pending = [len(before) for before in graph.predecessors]
    roots = (i for i, count in enumerate(pending) if not count)
    ready = sorted(roots, key=lambda i: str(graph.layers[i].index))
    groups: Groups = []
    while ready:
        stack, ready, group = ready, [], list[int]()
        current = delegates[stack[-1]]
        while stack:
            layer = stack.pop()
            if delegates[layer] != current:
                ready.append(layer)
                continue
            group.append(layer)
            for successor in graph.successors[layer]:
                pending[successor] -= 1
                if pending[successor] == 0:
                    stack.append(successor)
        groups.append(sorted(group))
    return groups


def group_by_branches(graph: LayerGraph, delegates: Sequence[Assignment]) -> Groups:
    """Put layers together that depend on, and are needed by, the same layers of other delegates.

    A subgraph starts when all its inputs are there and hands out its outputs when all of it is done. So two layers of
    one delegate may share a subgraph only if neither makes the other, or a layer of another delegate, wait for what it
    does not need: if the same foreign layers stand before both, and the same foreign layers behind both. These classes
    have no cycle among them (a foreign layer on the way from one layer of a class to another would stand before one of
    them only), and merging two of them would make a cycle or serialise two branches that can run in parallel.

    Raises:
        InputError: Layers that share a variable run on different delegates, or others have to run between them.
    """
    units = _units(graph, delegates)
    where = {layer: number for number, unit in enumerate(units) for layer in unit}
    neighbours = [_neighbours(units, where, edges) for edges in (graph.predecessors, graph.successors)]
    own = [delegates[unit[0]] for unit in units]
    order = range(len(units))
    before = _foreign(order, neighbours[0], own)
    behind = _foreign(reversed(order), neighbours[1], own)
    classes: dict[tuple[Assignment, int, int], list[int]] = {}
    for number in order:
        classes.setdefault((own[number], before[number], behind[number]), []).extend(units[number])
    return _in_execution_order(graph, [sorted(members) for members in classes.values()])


def _neighbours(units: Groups, where: Mapping[int, int], edges: Sequence[Sequence[int]]) -> list[set[int]]:
    return [{where[other] for layer in unit for other in edges[layer]} - {number} for number, unit in enumerate(units)]


def _foreign(order: Iterable[int], neighbours: Sequence[set[int]], delegates: Sequence[Assignment]) -> list[int]:
    """For each node, the nodes of other delegates among those it leads to, as bits.

    Which they are follows from those of them that border on another delegate, so only these get a bit.
    """
    border = sorted({j for i, others in enumerate(neighbours) for j in others if delegates[i] != delegates[j]})
    bits = {node: 1 << number for number, node in enumerate(border)}
    same: dict[Assignment, int] = {}
    for node, bit in bits.items():
        same[delegates[node]] = same.get(delegates[node], 0) | bit
    reached = [0] * len(delegates)
    for i in order:
        for j in neighbours[i]:
            reached[i] |= reached[j] | bits.get(j, 0)
    return [found & ~same.get(delegate, 0) for found, delegate in zip(reached, delegates, strict=True)]


def _units(graph: LayerGraph, delegates: Sequence[Assignment]) -> Groups:
    """Layers that cannot be told apart: those that share a variable, and those between them; else each layer alone."""
    unit = list(range(len(graph)))
    for members in graph.shared_state():
        joined = {unit[i] for i in graph.between(members)}
        unit = [min(joined) if u in joined else u for u in unit]
    groups: dict[int, list[int]] = {}
    for layer, number in enumerate(unit):
        groups.setdefault(number, []).append(layer)
    for group in groups.values():
        other = next((layer for layer in group if delegates[layer] != delegates[group[0]]), None)
        if other is not None:
            names = f"{graph.layers[group[0]].name!r} and {graph.layers[other].name!r}"
            msg = f"layers {names} work on one variable but run on different delegates"
            raise InputError(msg, hint="give them, and the layers between them, one delegate")
    return _in_execution_order(graph, list(groups.values()))


def _in_execution_order(graph: LayerGraph, groups: Groups) -> Groups:
    """Sort groups such that each comes behind those it reads from; by first layer where that leaves a choice."""
    owner = {layer: number for number, group in enumerate(groups) for layer in group}
    after: list[set[int]] = [set() for _ in groups]
    for layer, number in owner.items():
        after[number] |= {owner[successor] for successor in graph.successors[layer]} - {number}
    waiting = [0] * len(groups)
    for numbers in after:
        for number in numbers:
            waiting[number] += 1
    ready = [(group[0], number) for number, group in enumerate(groups) if not waiting[number]]
    heapq.heapify(ready)
    ordered: Groups = []
    while ready:
        _, number = heapq.heappop(ready)
        ordered.append(groups[number])
        for follower in after[number]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, (groups[follower][0], follower))
    return ordered
