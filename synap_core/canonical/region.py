"""The canonical graph of some subgraphs of a model: one graph, in which the boundaries between them stay visible."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.canonical.gates import Gates
from synap_core.graph.annotations import origins_of, quant_of, set_quant, source_of, states_of
from synap_core.graph.passes import normalise
from synap_core.partition import Part
from synap_core.selection import Selection
from synap_core.source import Layer, Slice, SourceModel
from synap_core.tensors import QuantParams

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Canonical graph of some subgraphs of a model.

    Attributes:
        graph: The graph, normalised within each subgraph. Its inputs are those of the model, and what subgraphs read
            that are not in it, then those of variables; its outputs are those of the model, and what no subgraph in it
            reads, then those of variables.
        parts: The subgraphs in it, by their position among all subgraphs of the model.
        owner: Subgraph of each node, by the node's name.
        values: Name of the value of each tensor that subgraphs read or hand out, by the tensor's id.
        keep: Names of the values that cross from one subgraph to another.
        stored: Quantization of the tensors that are integers in the model and stand for real numbers, by id.
    """

    graph: ir.Model
    parts: Mapping[int, Part]
    owner: Mapping[str, int]
    values: Mapping[str, str]
    keep: frozenset[str]
    stored: Mapping[str, QuantParams]


def raw_graph(
    source: SourceModel, selection: Selection, parts: Iterable[Part], *, all_inputs: bool
) -> tuple[ir.Model, Slice]:
    """Canonical graph of some subgraphs as the frontend makes it, and which inputs and outputs it has.

    Args:
        source: The model.
        selection: Its inputs.
        parts: The subgraphs.
        all_inputs: Give the graph all inputs of the model, also those that none of the subgraphs reads.

    Raises:
        InputError: The model is damaged, or a tensor at the boundary has a type that the graph does not know.
    """
    parts = list(parts)
    layers = sorted((layer for part in parts for layer in part.part.layers), key=_order)
    produced = {tensor for layer in layers for tensor in layer.outputs}
    read = dict.fromkeys(tensor for part in parts for tensor in part.part.inputs)
    own = [tensor for tensor in selection.inputs if all_inputs or tensor in read]
    others = [tensor for tensor in read if tensor not in produced and tensor not in own]
    outputs = dict.fromkeys(tensor for part in parts for tensor in part.part.outputs)
    part = Slice(layers=tuple(layers), inputs=(*own, *others), outputs=tuple(outputs))
    return source.canonical(part), part


def build_region(
    graph: ir.Model,
    whole: Slice,
    parts: Mapping[int, Part],
    *,
    outputs: Collection[str],
    transposed: Mapping[str, Sequence[int]],
) -> Region:
    """Normalise the graph of some subgraphs, each on its own.

    Args:
        graph: What `raw_graph` made of them; is changed.
        whole: Its inputs and outputs.
        parts: The subgraphs, by their position among all subgraphs of the model.
        outputs: Ids of the outputs of the model.
        transposed: For tensors that cross the boundary of a subgraph in another layout than the model's, how to
            transpose them from the model's layout.
    """
    read = dict(zip(whole.inputs, graph.graph.inputs, strict=False))
    given = dict(zip(whole.outputs, graph.graph.outputs, strict=False))
    stored = {tensor: q for tensor, v in (read | given).items() if (q := quant_of(v)) is not None}
    _take_stored_types(read.values(), given.values())
    gates = Gates(graph, parts)
    readers = _readers(parts)
    by_source = _by_source(graph.graph)
    for tensor in sorted(given.keys() & readers.keys()):
        gates.redirect(by_source.get(tensor, given[tensor]), given[tensor], readers[tensor])
    for tensor, permutation in transposed.items():
        if tensor in given:
            given[tensor] = gates.turned_output(given[tensor], permutation)
        elif tensor in read:
            read[tensor] = gates.turned_input(read[tensor], permutation)
    values = read | given
    crossing = {tensor: indices for tensor, indices in readers.items() if tensor in given or len(indices) > 1}
    for tensor, indices in crossing.items():
        gates.close(values[tensor], indices)
    names = {tensor: str(value.name) for tensor, value in values.items()}
    keep = frozenset(names[tensor] for tensor in crossing)
    for line in normalise(graph, keep | gates.names).lines():
        log.info("%s", line)
    owner = _owners(graph.graph, parts, names, gates.names)
    gates.open()
    inside = [tensor for tensor in whole.outputs if tensor in readers and tensor not in outputs]
    hidden = {names[tensor] for tensor in inside}
    graph.graph.outputs[:] = [value for value in graph.graph.outputs if value.name not in hidden]
    return Region(graph=graph, parts=parts, owner=owner, values=names, keep=keep, stored=stored)


def _order(layer: Layer) -> int:
    return -1 if layer.index is None else layer.index


def _by_source(graph: ir.Graph) -> dict[str, ir.Value]:
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    return {source: value for value in values if (source := source_of(value)) is not None}


def _readers(parts: Mapping[int, Part]) -> dict[str, list[int]]:
    readers: dict[str, list[int]] = {}
    for index, part in parts.items():
        for tensor in part.part.inputs:
            readers.setdefault(tensor, []).append(index)
    return readers


def _take_stored_types(read: Iterable[ir.Value], given: Iterable[ir.Value]) -> None:
    """Let tensors that the model only converts to or from stored integers be these integers.

    A model that was quantized with nodes of its own often still takes and gives real numbers.
    """
    for value in read:
        quants = {quant_of(use.node.outputs[0]) if _is_identity(use.node) else None for use in value.uses()}
        if _is_plain(value) and len(quants) == 1:
            set_quant(value, quants.pop())
    for value in given:
        node = value.producer()
        if node is not None and _is_plain(value) and _is_identity(node) and node.inputs[0] is not None:
            set_quant(value, quant_of(node.inputs[0]))


def _is_plain(value: ir.Value) -> bool:
    return quant_of(value) is None and value.dtype == ir.DataType.FLOAT and value.const_value is None


def _is_identity(node: ir.Node) -> bool:
    return not node.domain and node.op_type == "Identity"


def _owners(
    graph: ir.Graph, parts: Mapping[int, Part], names: Mapping[str, str], gates: frozenset[str]
) -> dict[str, int]:
    """Subgraph of each node: all between its outputs and its gates, and for variables what its layers became."""
    values = {str(value.name): value for node in graph for value in node.outputs}
    owner: dict[str, int] = {}
    for index, part in parts.items():
        pending = [values.get(names[tensor]) for tensor in part.part.outputs]
        while pending:
            value = pending.pop()
            node = None if value is None or value.name in gates else value.producer()
            if node is not None and str(node.name) not in owner:
                owner[str(node.name)] = index
                pending += node.inputs
    index_of = {layer.index: index for index, part in parts.items() for layer in part.part.layers}
    for node in graph:
        if str(node.name) not in owner and not any(value.name in gates for value in node.outputs):
            found = next((index_of[o.index] for o in origins_of(node) if o.index in index_of), None)
            before = (owner.get(str(p.name)) for p in _producers(node))
            owner[str(node.name)] = next((i for i in (found, *before) if i is not None), min(parts))
    return owner


def _producers(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if producer is not None:
            yield producer


def variables_of(region: Region, index: int) -> tuple[str, ...]:
    """Names of the variables that a subgraph keeps."""
    readers: dict[str, set[int]] = {}
    for node in region.graph.graph:
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                readers.setdefault(str(value.name), set()).add(region.owner[str(node.name)])
    states = states_of(region.graph)
    return tuple(s.name for s in states if index in readers.get(s.input, set()) | readers.get(s.output, set()))
