"""Split the layers of a model into subgraphs, each of which one delegate runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synap_core.delegate_rules import Assignment
from synap_core.errors import InputError
from synap_core.source import Layer, Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A subgraph before compilation: its layers and boundary, and where it runs."""

    assignment: Assignment
    part: Slice


def partition(
    layers: Sequence[Layer], assigned: Mapping[int, Assignment], inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[Part, ...]:
    """Grow subgraphs greedily, in the order the official toolkit does.

    Args:
        layers: Operators, in execution order.
        assigned: Assignment of each, by operator index.
        inputs: Ids of the model inputs; one that no operator reads stays an input of the first subgraph.
        outputs: Ids of the model outputs.

    Returns:
        The subgraphs in execution order. Every operator is in exactly one; the boundary tensors of each are sorted by
        id as text, as their files list them.

    Raises:
        InputError: Layers that share a variable end up in different subgraphs.

    Source: metafile format, section 6.
    """
    groups = _grow(layers, assigned)
    owner = {layer.index: number for number, group in enumerate(groups) for layer in group}
    _check_state(layers, owner)
    readers: dict[str, set[int]] = {}
    for layer in layers:
        for tensor in layer.inputs:
            readers.setdefault(tensor, set()).add(owner[layer.index])
    unread = {tensor for tensor in inputs if tensor not in readers}
    parts = []
    for number, group in enumerate(groups):
        produced = {tensor for layer in group for tensor in layer.outputs}
        read = {tensor for layer in group for tensor in layer.inputs} - produced
        handed_out = {t for t in produced if t in outputs or readers.get(t, set()) - {number}}
        part = Slice(
            layers=tuple(group),
            inputs=tuple(sorted(read | unread if number == 0 else read)),
            outputs=tuple(sorted(handed_out)),
        )
        parts.append(Part(assignment=assigned[_key(group[0])], part=part))
    return tuple(parts)


def _key(layer: Layer) -> int:
    return -1 if layer.index is None else layer.index


def _grow(layers: Sequence[Layer], assigned: Mapping[int, Assignment]) -> list[list[Layer]]:
    """Take a ready operator, then every operator it leads to on the same delegate; repeat with those put aside."""
    successors, pending = _dependencies(layers)
    ready = sorted((i for i in range(len(layers)) if not pending[i]), key=lambda i: str(layers[i].index))
    groups: list[list[Layer]] = []
    while ready:
        stack, ready, group = ready, [], list[int]()
        current = assigned[_key(layers[stack[-1]])]
        while stack:
            operator = stack.pop()
            if assigned[_key(layers[operator])] != current:
                ready.append(operator)
                continue
            group.append(operator)
            for successor in successors[operator]:
                pending[successor] -= 1
                if pending[successor] == 0:
                    stack.append(successor)
        groups.append([layers[i] for i in sorted(group)])
    return groups


def _dependencies(layers: Sequence[Layer]) -> tuple[list[list[int]], Counter[int]]:
    """Successors of each operator, and how many operators each waits for; several tensors make one edge."""
    producer = {tensor: i for i, layer in enumerate(layers) for tensor in layer.outputs}
    successors: list[list[int]] = [[] for _ in layers]
    pending: Counter[int] = Counter()
    last: dict[str, int] = {}
    for i, layer in enumerate(layers):
        before = {producer[tensor] for tensor in layer.inputs if tensor in producer}
        # Reads and writes of a variable keep their order although no tensor connects them.
        before |= {last[variable] for variable in layer.state if variable in last}
        last |= dict.fromkeys(layer.state, i)
        for other in sorted(before - {i}):
            successors[other].append(i)
        pending[i] = len(before - {i})
    return successors, pending


def _check_state(layers: Sequence[Layer], owner: Mapping[int | None, int]) -> None:
    first: dict[str, Layer] = {}
    for layer in layers:
        for variable in sorted(layer.state):
            other = first.setdefault(variable, layer)
            if owner[other.index] != owner[layer.index]:
                names = f"{other.name!r} and {layer.name!r}"
                msg = f"layers {names} share the variable {variable!r} but run in different subgraphs"
                raise InputError(msg, hint="give them, and the layers between them, one delegate")
