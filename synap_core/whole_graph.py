"""Conversion to one graph: the canonical graph of the whole model, for output formats that write it as it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from synap_core.conversion import Conversion, Converted
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.request import ConvertRequest, Opened
from synap_core.restrictions import IDLE_ACCURACY, check_whole_graph, ineffective_on_whole_graph
from synap_core.source import Slice, SourceModel

if TYPE_CHECKING:
    import onnx_ir as ir

log = logging.getLogger(__name__)

MAX_LISTED = 20
"""Layers to name in an error."""


def whole_graph(opened: Opened, request: ConvertRequest, host: PluginHost) -> Converted:
    """Build and normalise the canonical graph of what the metafile selects of a model, and quantize it if asked for.

    Raises:
        InputError: The metafile asks for what such a graph cannot hold, or a layer cannot be expressed; names all.
    """
    from synap_core.graph.annotations import states_of

    source, meta = opened.source, opened.meta
    check_whole_graph(meta)
    graph = canonical_graph(opened)
    states = [
        f"variable {state.name!r}: feed output {state.output!r} into input {state.input!r} of the next inference"
        for state in states_of(graph)
    ]
    warnings = [*source.warnings, *meta.warnings, *ineffective_on_whole_graph(meta)]
    conversion = Conversion(
        source=source,
        target=opened.target,
        inputs=(),
        outputs=(),
        subgraphs=(),
        artifacts=(),
        delegates=(),
        graph=graph,
        notes=(*source.notes, *states),
    )
    if meta.quantization is not None and meta.quantization.enabled:
        from synap_core.quantization.pipeline import quantize_conversion

        return quantize_conversion(conversion, warnings, opened, request, host)
    if request.target_accuracy is not None:
        warnings.append(IDLE_ACCURACY)
    return Converted(conversion=conversion, warnings=tuple(warnings))


def canonical_graph(opened: Opened) -> ir.Model:
    """Canonical graph of what the metafile selects of a model, normalised.

    Raises:
        InputError: A layer cannot be expressed; names all.
    """
    from synap_core.graph.passes import normalise

    selection = opened.selection
    part = Slice(layers=selection.layers, inputs=selection.inputs, outputs=selection.outputs)
    graph = opened.source.canonical(part)
    require_no_opaque_layers(graph, opened.source)
    for line in normalise(graph).lines():
        log.info("%s", line)
    return graph


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
