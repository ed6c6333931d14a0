"""Import everything that the outputs need when a file is opened: only this tells the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from synap_core.api import InputError, Slice, TensorType, type_of
from synap_frontend_tensorflow import schema
from synap_frontend_tensorflow.batch import check_batch
from synap_frontend_tensorflow.boundary import Boundary, described, dtype_of
from synap_frontend_tensorflow.graph import PLACEHOLDERS, Graph, Node
from synap_frontend_tensorflow.importer.driver import HINT, Failure, Importer

ELEMENT_TYPES = {
    schema.FLOAT: ir.DataType.FLOAT,
    schema.DOUBLE: ir.DataType.DOUBLE,
    schema.HALF: ir.DataType.FLOAT16,
    schema.INT8: ir.DataType.INT8,
    schema.UINT8: ir.DataType.UINT8,
    schema.INT16: ir.DataType.INT16,
    schema.UINT16: ir.DataType.UINT16,
    schema.INT32: ir.DataType.INT32,
    schema.UINT32: ir.DataType.UINT32,
    schema.INT64: ir.DataType.INT64,
    schema.UINT64: ir.DataType.UINT64,
    schema.BOOL: ir.DataType.BOOL,
}
"""Element types that the canonical graph has, by their number in the schema."""

MAX_ITEMS = 1 << 40
"""Items of an input: no machine holds more, and numbers of items stay small enough for any operator."""

OPEN = -1

TRIED_SIZES = ((2, 256), (3, 512))
"""Sizes to try for an open batch and for other open dimensions: layers make small images smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What became of the nodes of a model.

    Attributes:
        graph: The graph.
        nodes: Those that the outputs need, in execution order.
        results: Ids of the tensors that each node computes, by its name.
        types: Types of the tensors that depend on data, by id.
        constants: The others, by id.
        failures: Nodes that cannot be imported, by name.
        batch: Size of the first dimension in the file, where it was changed to 1.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    results: Mapping[str, Sequence[str]]
    types: Mapping[str, TensorType]
    constants: Mapping[str, ir.TensorProtocol]
    failures: Mapping[str, Failure]
    batch: int | None = None

    def is_dynamic(self, tensor: str) -> bool:
        """Whether a tensor depends on data, or is not known."""
        return tensor not in self.constants

    def part(self, part: Slice) -> ir.Model:
        """Build the canonical graph of a part.

        Raises:
            InputError: A tensor at its boundary has no type that the graph knows.
        """
        inputs = {}
        for tensor in part.inputs:
            if tensor not in self.types or OPEN in self.types[tensor].shape:
                msg = f"tensor {tensor!r} cannot be an input of a converted model: its shape is not known"
                raise InputError(msg, hint=HINT)
            inputs[tensor] = self.types[tensor]
        names = {layer.name for layer in part.layers if layer.index is not None}
        importer = Importer(self.graph, self.constants, self.batch)
        # The layers may come in the order of the file.
        importer.run([node for node in self.nodes if node.name in names], inputs, part.outputs)
        return importer.finish(part.outputs)


def analyse(graph: Graph, boundary: Boundary, *, inspect: bool = False) -> tuple[Analysis, Boundary]:
    """Import what the outputs need, with batch 1.

    Args:
        graph: The graph.
        boundary: Where it begins and ends.
        inspect: Show what is open and cannot be imported, instead of refusing it.

    Returns:
        What became of the nodes, and the boundary with batch 1.

    Raises:
        InputError: The nodes form a loop, an input is missing or has a type that no graph has, or the batch cannot
            become 1.
    """
    nodes = graph.needed(boundary.outputs, boundary.inputs.keys(), lenient=inspect)
    if inspect:
        return _inspected(graph, boundary, nodes), boundary
    _check_placeholders(graph, nodes)
    batch = _checked(boundary).fixed_batch()
    if batch is None:
        return _imported(graph, boundary, nodes, _types(boundary)), boundary
    shortened = boundary.with_batch_one(batch)
    before = _imported(graph, boundary, nodes, _types(boundary))
    after = _imported(graph, shortened, nodes, _types(shortened), batch)
    check_batch(nodes, before.types, after.types, batch)
    return after, shortened


def _inspected(graph: Graph, boundary: Boundary, nodes: Sequence[Node]) -> Analysis:
    """Import with two sizes in place of every open dimension: what differs then is open."""
    if not any(OPEN in (given.shape or ()) for given in boundary.inputs.values()):
        return _imported(graph, boundary, nodes, _types(boundary))
    one, other = (_imported(graph, boundary, nodes, _types(boundary.filled(*sizes))) for sizes in TRIED_SIZES)
    types = {tensor: _common(kind, other.types.get(tensor)) for tensor, kind in one.types.items()}
    return replace(
        one,
        types={tensor: kind for tensor, kind in types.items() if kind is not None},
        constants={tensor: items for tensor, items in one.constants.items() if tensor in other.constants},
        failures={**one.failures, **other.failures},
    )


def _common(one: TensorType, other: TensorType | None) -> TensorType | None:
    if other is None or one.dtype != other.dtype or len(one.shape) != len(other.shape):
        return None
    dims = zip(one.shape, other.shape, strict=True)
    return TensorType(one.dtype, tuple(size if size == again else OPEN for size, again in dims))


def _imported(
    graph: Graph, boundary: Boundary, nodes: Sequence[Node], inputs: Mapping[str, TensorType], batch: int | None = None
) -> Analysis:
    importer = Importer(graph, batch=batch)
    importer.run(nodes, inputs, tuple(boundary.outputs))
    types, constants = {}, {}
    for tensor, value in importer.values.items():
        if value.const_value is None:
            types[tensor] = type_of(value)
        else:
            constants[tensor] = value.const_value
    return Analysis(
        graph=graph,
        nodes=tuple(nodes),
        results=importer.results,
        types=types,
        constants=constants,
        failures=importer.failures,
        batch=batch,
    )


def _check_placeholders(graph: Graph, nodes: Sequence[Node]) -> None:
    for node in nodes:
        if node.type in PLACEHOLDERS:
            kind = described(graph, node)
            msg = f"the outputs need the placeholder {node.name!r} ({kind}), which is not among the inputs"
            truth = dtype_of(graph, node.name) == schema.BOOL  # which no input of a converted model can be
            hint = "freeze the graph with a constant in its place"
            raise InputError(msg, hint=hint if truth else f"add it to 'inputs' in the metafile, or {hint}")


def _checked(boundary: Boundary) -> Boundary:
    for given in boundary.inputs.values():
        if given.dtype not in ELEMENT_TYPES:
            msg = f"input {given.name!r} is of type {schema.dtype_name(given.dtype)}, which no converted model has"
            hint = "name a tensor behind it in the metafile: what is in front of it is then left out"
            raise InputError(msg, hint=hint)
    return boundary


def _types(boundary: Boundary) -> dict[str, TensorType]:
    """Types of the inputs, but of those that no graph can have."""
    given = [item for item in boundary.inputs.values() if item.dtype in ELEMENT_TYPES]
    types = {item.id: TensorType(ELEMENT_TYPES[item.dtype], item.shape) for item in given if item.shape is not None}
    return {tensor: kind for tensor, kind in types.items() if kind.size <= MAX_ITEMS}
