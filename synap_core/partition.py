"""Split the layers of a model into subgraphs, each of which one delegate runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synap_core.delegate_rules import Assignment
from synap_core.errors import InputError
from synap_core.grouping import group_by_branches, group_greedily
from synap_core.layer_graph import LayerGraph
from synap_core.source import Layer, Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A subgraph before compilation: its layers and boundary, and where it runs."""

    assignment: Assignment
    part: Slice


def partition(
    layers: Sequence[Layer],
    assigned: Mapping[int, Assignment],
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    branch_split: bool = True,
) -> tuple[Part, ...]:
    """Split layers into subgraphs.

    Args:
        layers: Operators, in execution order.
        assigned: Assignment of each, by operator index.
        inputs: Ids of the model inputs; one that no operator reads stays an input of the first subgraph.
        outputs: Ids of the model outputs.
        branch_split: Keep branches apart that can run in parallel on different delegates; otherwise grow subgraphs
            as far as they go, which gives fewer hand-overs and the official toolkit's result.

    Returns:
        The subgraphs in execution order. Every operator is in exactly one, but for those that compute constants, which
        are in each that reads them; the boundary tensors of each are sorted by id as text, as their files list them.

    Raises:
        InputError: Layers that share a variable run on different delegates, or others have to run between them.
    """
    constants = constant_layers(layers, outputs)
    layers = [layer for layer in layers if _key(layer) not in constants]
    graph = LayerGraph(layers)
    delegates = [assigned[_key(layer)] for layer in layers]
    groups = group_by_branches(graph, delegates) if branch_split else group_greedily(graph, delegates)
    owner = {i: number for number, group in enumerate(groups) for i in group}
    _check_state(layers, owner)
    readers: dict[str, set[int]] = {}
    for i, layer in enumerate(layers):
        for tensor in layer.inputs:
            readers.setdefault(tensor, set()).add(owner[i])
    unread = {tensor for tensor in inputs if tensor not in readers}
    wanted = set(outputs)
    parts = []
    for number, group in enumerate(groups):
        members = _with_constants([layers[i] for i in group], constants)
        produced = {tensor for layer in members for tensor in layer.outputs}
        read = {tensor for layer in members for tensor in layer.inputs} - produced
        handed_out = {t for t in produced if t in wanted or readers.get(t, set()) - {number}}
        part = Slice(
            layers=tuple(members),
            inputs=tuple(sorted(read | unread if number == 0 else read)),
            outputs=tuple(sorted(handed_out)),
        )
        parts.append(Part(assignment=delegates[group[0]], part=part))
    return tuple(parts)


def _key(layer: Layer) -> int:
    return -1 if layer.index is None else layer.index


def constant_layers(layers: Sequence[Layer], outputs: Sequence[str]) -> dict[int, Layer]:
    """Layers that read nothing which depends on data, by index; not those whose results leave the model."""
    found: dict[int, Layer] = {}
    made: set[str] = set()
    for layer in layers:
        if not layer.state and layer.outputs and made.issuperset(layer.inputs):
            found[_key(layer)] = layer
            made.update(layer.outputs)
    leaving = set(outputs)
    for layer in reversed(list(found.values())):
        if leaving.intersection(layer.outputs):
            leaving.update(layer.inputs)
            del found[_key(layer)]
    return found


def _with_constants(members: Sequence[Layer], constants: Mapping[int, Layer]) -> list[Layer]:
    """Layers of a subgraph with those that compute its constants, in execution order."""
    maker = {tensor: layer for layer in constants.values() for tensor in layer.outputs}
    added: dict[int, Layer] = {}
    pending = list(members)
    while pending:
        for tensor in pending.pop().inputs:
            layer = maker.get(tensor)
            if layer is not None and _key(layer) not in added:
                added[_key(layer)] = layer
                pending.append(layer)
    return sorted([*members, *added.values()], key=_key) if added else list(members)


def _check_state(layers: Sequence[Layer], owner: Mapping[int, int]) -> None:
    first: dict[str, int] = {}
    for i, layer in enumerate(layers):
        for variable in sorted(layer.state):
            other = first.setdefault(variable, i)
            if owner[other] != owner[i]:
                names = f"{layers[other].name!r} and {layer.name!r}"
                msg = f"layers {names} share the variable {variable!r} but run in different subgraphs"
                raise InputError(msg, hint="give them, and the layers between them, one delegate")
