"""The `SourceModel` of a frozen TensorFlow graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.api import INPUT_TYPE, InputError, Layer, LayerSupport, ModelRequest, Slice, TensorInfo
from synap_frontend_tensorflow.boundary import Boundary, inspected, requested
from synap_frontend_tensorflow.conditions import settled
from synap_frontend_tensorflow.graph import Graph, Node, read_graph, split_name
from synap_frontend_tensorflow.importer.whole import Analysis, analyse
from synap_frontend_tensorflow.reader import read_definition
from synap_frontend_tensorflow.schema import dtype_name

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorflowModel:
    """An opened frozen graph with batch 1.

    Attributes:
        path: The file, for messages.
        graph: Its nodes.
        analysis: What became of them in the canonical graph.
        layers: Input layers, then the nodes that the outputs need and whose results depend on data, in execution order;
            the index of a layer is the position of its node in the file.
        tensors: Inputs and results of layers by id: ``name`` for the first output of a node, ``name:1`` for the second.
        inputs: Ids of the inputs, in the order of the metafile.
        outputs: Ids of the outputs, in the order of the metafile.
        notes: What was changed.
        warnings: What was asked for in vain.
    """

    path: Path
    graph: Graph
    analysis: Analysis
    layers: tuple[Layer, ...]
    tensors: Mapping[str, TensorInfo]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """Name of the format."""
        return "tensorflow"

    @property
    def layout(self) -> str:
        """Native layout of the format."""
        return "nhwc"

    @classmethod
    def open(cls, request: ModelRequest) -> TensorflowModel:
        """Read and check a file.

        Raises:
            InputError: It is damaged or no frozen graph, or the metafile does not say where it begins and ends.
        """
        try:
            graph = read_graph(read_definition(request.path))
            asked = inspected(graph) if request.inspect else requested(graph, request)
            graph, asked = settled(graph, asked, inspect=request.inspect)
            analysis, boundary = analyse(graph, asked, inspect=request.inspect)
            _check_outputs(boundary, analysis, inspect=request.inspect)
        except InputError as error:
            raise InputError(error.message, where=request.path, hint=error.hint) from error
        vain = () if request.weights is None else ("--weights has no effect: a frozen graph holds its weights",)
        return cls(
            path=request.path,
            graph=graph,
            analysis=analysis,
            layers=tuple(_layers(boundary, analysis)),
            tensors=_tensors(boundary, analysis),
            inputs=tuple(boundary.inputs),
            outputs=tuple(boundary.outputs),
            notes=boundary.notes,
            warnings=vain,
        )

    def slice(self, part: Slice) -> bytes:
        """Raise: no delegate runs parts of this format."""
        names = ", ".join(repr(layer.name) for layer in part.layers[:3])
        msg = f"no delegate runs parts of a frozen graph as they are; asked for {names}"
        raise InputError(msg, where=self.path, hint="assign the layers to a delegate that compiles the canonical graph")

    def canonical(self, part: Slice) -> ir.Model:
        """Build the canonical graph of a part; see `synap_frontend_tensorflow.importer`."""
        try:
            return self.analysis.part(part)
        except InputError as error:
            raise InputError(error.message, where=self.path, hint=error.hint) from error

    def support(self) -> list[LayerSupport]:
        """What becomes of each layer in the canonical graph."""
        return [
            LayerSupport(layer=layer, status=failure.status, reason=failure.reason)
            if (failure := self.analysis.failures.get(layer.name))
            else LayerSupport(layer=layer, status="imported")
            for layer in self.layers
            if layer.index is not None
        ]

    def anchors(self) -> tuple[float, ...]:
        """No anchors: the format has no detection operator that holds any."""
        return ()


def _check_outputs(boundary: Boundary, analysis: Analysis, *, inspect: bool) -> None:
    for tensor, name in boundary.outputs.items():
        node, output = split_name(tensor)
        if tensor in analysis.constants and not inspect:
            msg = f"output {name!r} is a constant: it does not depend on data"
            raise InputError(msg, hint="name other outputs in the metafile")
        if not (tensor in analysis.types or node in analysis.failures or tensor in analysis.constants):
            msg = f"output {name!r}: node {node!r} ({analysis.graph.nodes[node].type}) has no output {output}"
            raise InputError(msg, hint=f"name {node!r} for its first output")


def _layers(boundary: Boundary, analysis: Analysis) -> Iterator[Layer]:
    for given in boundary.inputs.values():
        yield Layer(name=given.name, type=INPUT_TYPE, index=None, inputs=(), outputs=(given.id,))
    for node in analysis.nodes:
        outputs = tuple(t for t in analysis.results[node.name] if t not in boundary.inputs and analysis.is_dynamic(t))
        if outputs:
            yield Layer(
                name=node.name, type=node.type, index=node.index, inputs=_reads(node, analysis), outputs=outputs
            )


def _reads(node: Node, analysis: Analysis) -> tuple[str, ...]:
    return tuple(tensor for tensor in dict.fromkeys(node.reads) if analysis.is_dynamic(tensor))


def _tensors(boundary: Boundary, analysis: Analysis) -> dict[str, TensorInfo]:
    names = {given.id: given.name for given in boundary.inputs.values()} | dict(boundary.outputs)
    computed = [tensor for node in analysis.nodes for tensor in analysis.results[node.name]]
    found = {}
    for tensor in dict.fromkeys([*boundary.inputs, *filter(analysis.is_dynamic, computed), *boundary.outputs]):
        found[tensor] = _tensor_info(tensor, names.get(tensor, tensor), boundary, analysis)
    return found


def _tensor_info(tensor: str, name: str, boundary: Boundary, analysis: Analysis) -> TensorInfo:
    kind, given = analysis.types.get(tensor), boundary.inputs.get(tensor)
    shape: tuple[int, ...] | None = None
    dtype = "unknown"
    if given is not None:  # a model that is only looked at has inputs that cannot be imported
        shape, dtype = given.shape, dtype_name(given.dtype)
    elif kind is not None:
        shape, dtype = kind.shape, str(kind.dtype.numpy().name)
    static = shape is not None and -1 not in shape
    return TensorInfo(id=tensor, name=name, shape=shape or (), dtype=dtype, layout="nhwc", static=static)
