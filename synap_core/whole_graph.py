"""Conversion to one graph: the canonical graph of the whole model, for output formats that write it as it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from synap_core.conversion import Conversion, Converted
from synap_core.errors import InputError
from synap_core.payloads import Target
from synap_core.restrictions import check_whole_graph, ineffective_on_whole_graph
from synap_core.selection import Selection
from synap_core.source import Slice, SourceModel

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_core.metafile import Metafile

log = logging.getLogger(__name__)

MAX_LISTED = 20
"""Layers to name in an error."""


def whole_graph(source: SourceModel, selection: Selection, meta: Metafile, target: Target) -> Converted:
    """Build and normalise the canonical graph of what the metafile selects of a model.

    Raises:
        InputError: The metafile asks for what such a graph cannot hold, or a layer cannot be expressed; names all.
    """
    from synap_core.graph.annotations import states_of
    from synap_core.graph.passes import normalise

    check_whole_graph(meta)
    graph = source.canonical(Slice(layers=selection.layers, inputs=selection.inputs, outputs=selection.outputs))
    require_no_opaque_layers(graph, source)
    report = normalise(graph)
    states = [
        f"variable {state.name!r}: feed output {state.output!r} into input {state.input!r} of the next inference"
        for state in states_of(graph)
    ]
    for line in report.lines():
        log.info("%s", line)
    conversion = Conversion(
        source=source,
        target=target,
        inputs=(),
        outputs=(),
        subgraphs=(),
        artifacts=(),
        delegates=(),
        graph=graph,
        notes=(*source.notes, *states),
    )
    return Converted(conversion=conversion, warnings=(*source.warnings, *ineffective_on_whole_graph(meta)))


def require_no_opaque_layers(graph: ir.Model, source: SourceModel) -> None:
    """Check that every layer of a source model's graph is expressed.

    Raises:
        InputError: Some are not; names all with their reasons.
    """
    from synap_core.graph.annotations import is_opaque, origins_of, reason_of

    found = [(origins_of(node)[0], reason_of(node)) for node in graph.graph if is_opaque(node)]
    if found:
        listed = "; ".join(f"{origin.name!r} ({origin.type}): {reason}" for origin, reason in found[:MAX_LISTED])
        more = f"; and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
        layers = "1 layer" if len(found) == 1 else f"{len(found)} layers"
        msg = f"{layers} cannot be expressed in ONNX operators: {listed}{more}"
        raise InputError(msg, hint=_cut(source, {origin.index for origin, _ in found}))


def _cut(source: SourceModel, opaque: set[int]) -> str:
    """Advice to cut in front of some layers, with the tensors to cut at."""
    layers = [layer for layer in source.layers if layer.index is not None]
    behind: set[str] = set()
    for layer in layers:
        if layer.index in opaque or behind.intersection(layer.inputs):
            behind.update(layer.outputs)
    read = (t for layer in layers if behind.intersection(layer.outputs) for t in layer.inputs if t not in behind)
    others = (t for t in source.outputs if t not in behind)
    tensors = list(dict.fromkeys(t for t in (*read, *others) if t not in source.inputs))
    if not tensors:
        return "no layer in front of them is left to convert"
    names = ", ".join(f"{{name: {source.tensors[tensor].name!r}}}" for tensor in tensors[:MAX_LISTED])
    return f"cut the model in front of them, in the metafile: outputs: [{names}]"
