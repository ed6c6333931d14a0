"""Cut the graph of one subgraph out of a region whose types are known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from synap_core.canonical.region import Region, variables_of
from synap_core.graph.annotations import quant_of, set_quant, set_source, set_states, source_of, states_of
from synap_core.graph.edit import Editor
from synap_core.graph.groups import Group
from synap_core.graph.types import set_type, type_of
from synap_core.quantization.parameters import real, stored
from synap_core.source import Slice
from synap_core.tensors import QuantParams

INSIDE = "//inside"
"""Ending of the name of a value whose own name the boundary of the graph has taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The graph of one subgraph.

    Attributes:
        graph: Its graph.
        groups: Its operations, in execution order.
    """

    graph: ir.Model
    groups: tuple[Group, ...]


def cut_out(
    region: Region,
    index: int,
    graph: ir.Model,
    groups: Sequence[Group],
    boundary: Mapping[str, QuantParams | None],
) -> Piece:
    """Cut a subgraph out of a region.

    Args:
        region: The region.
        index: Position of the subgraph.
        graph: The region's graph with types; is not changed.
        groups: The operations of that graph.
        boundary: Quantization that each tensor has at the boundary, by its id; None for plain numbers.
    """
    part = region.parts[index].part
    variables = set(variables_of(region, index))
    return _Cut(graph.clone(), groups, region.values, boundary).run(part, variables)


class _Cut:
    def __init__(
        self,
        model: ir.Model,
        groups: Sequence[Group],
        names: Mapping[str, str],
        boundary: Mapping[str, QuantParams | None],
    ) -> None:
        self._model = model
        self._graph = model.graph
        self._names = names
        self._boundary = boundary
        self._editor = Editor(model)
        self._group_of = {str(node.name): group for group in groups for node in group.nodes}
        self._added: dict[str, str] = {}

    def run(self, part: Slice, variables: set[str]) -> Piece:
        states = [state for state in states_of(self._model) if state.name in variables]
        known = self._values()
        inputs = {str(value.name): value for value in self._graph.inputs}
        kept = [inputs[state.input] for state in states]
        outputs = [known[self._names[tensor]] for tensor in part.outputs]
        outputs += [known[state.output] for state in states]
        # What the subgraph computes is needed by nothing else any more.
        self._graph.outputs.clear()
        new_inputs = [self._input(tensor, known[self._names[tensor]]) for tensor in part.inputs]
        new_outputs = [self._output(t, v) for t, v in zip(part.outputs, outputs, strict=False)]
        self._graph.inputs[:] = [*new_inputs, *kept]
        self._graph.outputs[:] = [*new_outputs, *outputs[len(part.outputs) :]]
        set_states(self._model, states)
        self._prune()
        return Piece(graph=self._model, groups=tuple(self._groups()))

    def _values(self) -> dict[str, ir.Value]:
        graph = self._graph
        found = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
        return {str(value.name): value for value in found}

    def _input(self, tensor: str, value: ir.Value) -> ir.Value:
        """A new input of the graph in the place of a value; a conversion follows where it has another type."""
        quant, wanted = self._boundary[tensor], quant_of(value)
        outer = ir.Value(name=str(value.name))
        outer.meta.update(value.meta)
        set_type(outer, type_of(value))
        set_quant(outer, quant)
        value.name = f"{value.name}{INSIDE}"
        uses = tuple(value.uses())
        if not uses or value.const_value is not None:
            return outer
        uses = tuple(use for use in uses if not self._replaced(use.node, outer))
        inner = outer
        if quant != wanted and uses:
            order = {node: position for position, node in enumerate(self._graph)}
            first = min((use.node for use in uses), key=order.__getitem__)
            inner = self._conversion(outer, wanted, self._graph[0], first)
        for use in uses:
            use.node.replace_input_with(use.idx, inner)
        return outer

    def _replaced(self, node: ir.Node, outer: ir.Value) -> bool:
        """Put an input in the place of a conversion to what it is already; whether the node is one."""
        group = self._group_of.get(str(node.name))
        idle = group is not None and not group.origins and quant_of(node.outputs[0]) == quant_of(outer)
        if idle:
            for use in tuple(node.outputs[0].uses()):
                use.node.replace_input_with(use.idx, outer)
        return idle

    def _output(self, tensor: str, value: ir.Value) -> ir.Value:
        """The output of the graph for a value: a conversion of it where it has another type."""
        quant, producer = self._boundary[tensor], value.producer()
        if quant == quant_of(value):
            return value
        if producer is None:
            return _as_stored(value, quant)
        end = self._graph[-1]
        converted = self._conversion(value, quant, end, producer)
        self._editor.hoist(self._node(converted), value)
        value.name, converted.name = f"{value.name}{INSIDE}", value.name
        source = source_of(value)
        if source is not None:
            set_source(converted, source)
        return converted

    def _conversion(self, value: ir.Value, quant: QuantParams | None, before: ir.Node, origin: ir.Node) -> ir.Value:
        node = self._editor.insert(before, "Identity", [value], [type_of(value)], origins=[origin])
        set_quant(node.outputs[0], quant)
        stem = str(value.name).removesuffix(INSIDE)
        dtype = "float32" if quant is None else quant.dtype
        self._added[str(node.name)] = f"Convert_{stem}_{dtype}"
        return node.outputs[0]

    @staticmethod
    def _node(value: ir.Value) -> ir.Node:
        node = value.producer()
        if node is None:
            msg = f"{value.name!r} is computed by no node"
            raise ValueError(msg)
        return node

    def _prune(self) -> None:
        needed: set[ir.Node] = set()
        pending = [value.producer() for value in self._graph.outputs]
        while pending:
            node = pending.pop()
            if node is not None and node not in needed:
                needed.add(node)
                pending += [value.producer() for value in node.inputs if value is not None]
        self._graph.remove([node for node in self._graph if node not in needed], safe=True)
        for name, value in tuple(self._graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del self._graph.initializers[name]

    def _groups(self) -> list[Group]:
        members: dict[str, list[ir.Node]] = {}
        found: dict[str, Group] = {}
        for node in self._graph:
            group = self._group_of.get(str(node.name))
            if group is not None:
                members.setdefault(group.layer_id, []).append(node)
                found[group.layer_id] = group
        groups = [replace(group, nodes=tuple(members[layer_id])) for layer_id, group in found.items()]
        for node in self._graph:
            if str(node.name) in self._added:
                layer_id = _unique(self._added[str(node.name)], found)
                found[layer_id] = Group(layer_id=layer_id, nodes=(node,), origins=())
                groups.append(found[layer_id])
        order = {node: position for position, node in enumerate(self._graph)}
        return sorted(groups, key=lambda group: order[group.nodes[-1]])


def _as_stored(value: ir.Value, quant: QuantParams | None) -> ir.Value:
    """Give a constant that a graph hands out another type."""
    items = real(value)
    value.const_value = ir.Tensor(items) if quant is None else stored(items, quant)
    value.const_value.name = value.name
    set_quant(value, quant)
    return value


def _unique(name: str, taken: Collection[str]) -> str:
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name}.{number}"
    return unique
