"""The `SourceModel` of an ``.onnx`` file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.api import INPUT_TYPE, InputError, Layer, LayerSupport, ModelRequest, Slice, TensorInfo
from synap_frontend_onnx.analysis import Analysis, analyse, validate
from synap_frontend_onnx.batch import check_batch, fixed_batch, with_batch_one
from synap_frontend_onnx.dimensions import Resolution, dims_of, resolve, same_name, static_shape, with_shape
from synap_frontend_onnx.graph import Graph, Node, read_graph
from synap_frontend_onnx.inspector import Inspector, shared_inspector
from synap_frontend_onnx.opsets import blockers, warnings_about
from synap_frontend_onnx.protos import ValueInfoProto, dtype_name, parse_model
from synap_frontend_onnx.slicer import Slicer
from synap_frontend_onnx.weights import MAX_FILE_BYTES, Weights

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_frontend_onnx.importer.driver import Importer

OPEN_DIMENSION = -1
"""Placeholder for a dimension without a size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """An opened ``.onnx`` file with batch 1.

    Attributes:
        path: The file, for messages.
        graph: Its nodes and constants.
        analysis: Types of its tensors.
        inspector: Runs the native parts of the ``onnx`` package.
        slicer: Writes parts of it.
        layers: Input layers, then nodes in execution order. ``Constant`` nodes are no layers. Nodes that only prepare
            constants are layers that nothing reads: each part that needs their result has its own copy.
        tensors: Graph inputs and node outputs, by name.
        inputs: Names of the graph inputs.
        outputs: Names of the graph outputs.
        notes: What was changed.
        warnings: Which operators the boards lack.
    """

    path: Path
    graph: Graph
    analysis: Analysis
    inspector: Inspector
    slicer: Slicer
    layers: tuple[Layer, ...]
    tensors: Mapping[str, TensorInfo]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """Name of the format."""
        return "onnx"

    @property
    def layout(self) -> str:
        """Native layout of the format."""
        return "nchw"

    @classmethod
    def open(cls, request: ModelRequest, *, inspector: Inspector | None = None, lenient: bool = False) -> OnnxModel:
        """Read and check a file.

        Args:
            request: The file, and the shapes that the metafile gives.
            inspector: Runs the checker and shape inference; by default one that all models share.
            lenient: Show open dimensions of inputs instead of refusing them.

        Raises:
            InputError: The file is damaged, or a dimension of an input stays open.
        """
        try:
            return cls._open(request, inspector or shared_inspector(), lenient=lenient)
        except InputError as error:
            raise InputError(error.message, where=request.path, hint=error.hint) from error

    @classmethod
    def _open(cls, request: ModelRequest, inspector: Inspector, *, lenient: bool) -> OnnxModel:
        graph = read_graph(parse_model(_read_file(request.path)), Weights(request.path.parent))
        resolution = resolve(graph.inputs, request.inputs, lenient=lenient)
        types = validate(graph, resolution, inspector)
        analysis = analyse(graph, resolution, None if resolution.changed else types, inspector)
        forced = _forced(request, resolution, analysis)
        if forced:
            analysis = analyse(graph, resolution, None, inspector, forced)
        notes = list(resolution.notes)
        batch = fixed_batch(resolution)
        if batch is not None:
            before = analysis
            analysis = analyse(graph, with_batch_one(resolution), None, inspector, forced)
            check_batch(graph, resolution, before, analysis, batch)
            notes.append(f"the fixed batch of {batch} was changed to 1")
        return cls._of(graph, analysis, request, inspector, notes)

    @classmethod
    def _of(
        cls, graph: Graph, analysis: Analysis, request: ModelRequest, inspector: Inspector, notes: Sequence[str]
    ) -> OnnxModel:
        found = blockers(graph, analysis.types)
        inputs = tuple(value.name for value in graph.inputs)
        names = [*inputs, *(name for node in graph.nodes for name in node.writes)]
        return cls(
            path=request.path,
            graph=graph,
            analysis=analysis,
            inspector=inspector,
            slicer=Slicer(graph, analysis, found),
            layers=tuple(_layers(graph, analysis.constants)),
            tensors={name: _tensor_info(name, analysis) for name in names},
            inputs=inputs,
            outputs=_outputs(graph, request),
            notes=tuple(notes),
            warnings=(*_vain(request), *warnings_about(graph, found)),
        )

    def slice(self, part: Slice) -> bytes:
        """Cut a part out.

        Raises:
            InputError: The part is too large for a file, or has an input or output without dimensions.
        """
        indices = [layer.index for layer in part.layers if layer.index is not None]
        try:
            return self.slicer.write(indices, part.inputs, part.outputs)
        except InputError as error:
            raise InputError(error.message, where=self.path, hint=error.hint) from error

    def canonical(self, part: Slice) -> ir.Model:
        """Build the canonical graph of a part; see `synap_frontend_onnx.importer`.

        Layers that it cannot express are opaque nodes with a reason.

        Raises:
            InputError: The model is damaged, or a tensor at the boundary has no type that the graph knows.
        """
        try:
            return self._importer(part).run()
        except InputError as error:
            raise InputError(error.message, where=self.path, hint=error.hint) from error

    def support(self) -> list[LayerSupport]:
        """What becomes of each layer in the canonical graph: ``imported``, ``opaque`` or ``unknown``.

        Raises:
            InputError: The model is damaged, or an input has no static shape.
        """
        layers = tuple(layer for layer in self.layers if layer.index is not None)
        importer = self._importer(Slice(layers=layers, inputs=self.inputs, outputs=self.outputs))
        try:
            importer.run_layers()
        except InputError as error:
            raise InputError(error.message, where=self.path, hint=error.hint) from error
        return [importer.support(layer) for layer in layers]

    def _importer(self, part: Slice) -> Importer:
        from synap_frontend_onnx.importer.driver import Importer, Source
        from synap_frontend_onnx.importer.stored_tensors import stored_tensors

        source = Source(
            graph=self.graph,
            analysis=self.analysis,
            slicer=self.slicer,
            layers=self.layers,
            stored=stored_tensors(self.graph, self.analysis),
            inspector=self.inspector,
        )
        return Importer(source, part)

    def anchors(self) -> tuple[float, ...]:
        """No anchors: the format has no detection operator that holds any."""
        return ()


def _vain(request: ModelRequest) -> tuple[str, ...]:
    if request.weights is None:
        return ()
    return ("--weights has no effect: an .onnx file holds its weights, or names the files that do",)


def _read_file(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        msg = f"the file has {size} bytes; an ONNX file has at most {MAX_FILE_BYTES}"
        raise InputError(msg, hint="export the model with its weights in a separate file")
    return path.read_bytes()


def _outputs(graph: Graph, request: ModelRequest) -> tuple[str, ...]:
    """Graph outputs; one that is a constant is left out when the metafile names others."""
    names = [output.name for output in graph.outputs]
    constant = [name for name in names if name in graph.constants]
    if constant and not any(spec.name for spec in request.outputs):
        others = ", ".join(f"{{name: {name}}}" for name in names if name not in constant) or "…"
        msg = f"output {constant[0]!r} is a constant: no operator computes it"
        raise InputError(msg, hint=f"name the other outputs in the metafile: outputs: [{others}]")
    return tuple(name for name in names if name not in constant)


def _forced(request: ModelRequest, resolution: Resolution, analysis: Analysis) -> dict[str, ValueInfoProto]:
    """Tensors inside the model that the metafile makes inputs, where the model itself leaves their shape open."""
    inputs = {value.name for value in resolution.inputs}
    found = {}
    for spec in request.inputs:
        for name, value in analysis.types.items():
            asked = spec.name is not None and spec.shape is not None and same_name(spec.name, name)
            if asked and name not in inputs | analysis.constants and static_shape(value.type) is None:
                dims = dims_of(value.type)
                if dims is None or len(dims) == len(spec.shape or ()):
                    found[name] = with_shape(value, (1, *(spec.shape or ())[1:]))
    return found


def _layers(graph: Graph, constants: frozenset[str]) -> Iterator[Layer]:
    for value in graph.inputs:
        yield Layer(name=value.name, type=INPUT_TYPE, index=None, inputs=(), outputs=(value.name,))
    for node in graph.nodes:
        yield Layer(
            name=node.name,
            type=_type(node),
            index=node.index,
            inputs=tuple(name for name in node.reads if name not in constants),
            outputs=node.writes,
        )


def _type(node: Node) -> str:
    return node.proto.op_type if node.standard else f"{node.proto.domain}.{node.proto.op_type}"


def _tensor_info(name: str, analysis: Analysis) -> TensorInfo:
    shape, dtype, static = _described(analysis.types.get(name))
    return TensorInfo(id=name, name=name, shape=shape, dtype=dtype, layout="nchw", static=static)


def _described(value: ValueInfoProto | None) -> tuple[tuple[int, ...], str, bool]:
    """Shape, element type, and whether the shape is static."""
    if value is None or not value.type.HasField("tensor_type"):
        kind = None if value is None else value.type.WhichOneof("value")
        return (), "unknown" if kind is None else str(kind).removesuffix("_type"), False
    dims = dims_of(value.type)
    shape = tuple(dim if isinstance(dim, int) else OPEN_DIMENSION for dim in dims or ())
    return shape, dtype_name(value.type.tensor_type.elem_type), dims is not None and OPEN_DIMENSION not in shape
