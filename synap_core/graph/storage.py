"""Annotations in files: serialization keeps metadata properties, and drops what only memory holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import onnx_ir as ir

from synap_core.errors import InputError
from synap_core.graph.annotations import (
    Origin,
    Twin,
    origins_of,
    quant_of,
    set_origins,
    set_quant,
    set_source,
    set_twin,
    source_of,
    twin_of,
)
from synap_core.tensors import QuantParams

LAYERS_KEY = "synap.layers"
QUANT_KEY = "synap.quant"
SOURCE_KEY = "synap.source"
TWIN_KEY = "synap.twin"

MAX_FILE_BYTES = (1 << 31) - 1
"""Protocol buffers cannot be larger."""


def serialize(model: ir.Model) -> bytes:
    """Write a model of plain ONNX operators as a file, its annotations included; equal models give equal bytes.

    Args:
        model: The model, as `to_qdq` makes it; gets its annotations mirrored.

    Raises:
        InputError: The file would be larger than the format allows.
    """
    mirror_annotations(model)
    tensors = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
    size = sum(tensor.nbytes for tensor in tensors)
    if size > MAX_FILE_BYTES:
        msg = f"the weights take {size} bytes; an ONNX file has at most {MAX_FILE_BYTES}"
        raise InputError(msg, hint="cut the model with 'outputs' in the metafile")
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


def mirror_annotations(model: ir.Model) -> None:
    """Write the annotations of nodes and values as metadata properties, in JSON."""
    for node in model.graph:
        node.metadata_props[LAYERS_KEY] = _json([dataclasses.astuple(origin) for origin in origins_of(node)])
    for value in _values(model.graph):
        quant, source, twin = quant_of(value), source_of(value), twin_of(value)
        if quant is not None:
            value.metadata_props[QUANT_KEY] = _json(dataclasses.asdict(quant))
        if source is not None:
            value.metadata_props[SOURCE_KEY] = source
        if twin is not None:
            value.metadata_props[TWIN_KEY] = _json(dataclasses.astuple(twin))


def restore_annotations(model: ir.Model) -> None:
    """Read back what `mirror_annotations` wrote into a model of our own."""
    for node in model.graph:
        set_origins(node, [Origin(*entry) for entry in json.loads(node.metadata_props.get(LAYERS_KEY, "[]"))])
    for value in _values(model.graph):
        properties = value.metadata_props
        if QUANT_KEY in properties:
            set_quant(value, _quant(json.loads(properties[QUANT_KEY])))
        if SOURCE_KEY in properties:
            set_source(value, properties[SOURCE_KEY])
        if TWIN_KEY in properties:
            source, permutation = json.loads(properties[TWIN_KEY])
            set_twin(value, Twin(source, tuple(permutation)))


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _quant(fields: dict[str, object]) -> QuantParams:
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return QuantParams(**{**fields, **lists})  # type: ignore[arg-type]  # the fields of the same class


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
