"""The `SourceModel` of a ``.tflite`` file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.api import INPUT_TYPE, InputError, Layer, LayerSupport, ModelRequest, QuantParams, Slice, TensorInfo
from synap_frontend_tflite.batch import with_batch_one
from synap_frontend_tflite.detection import POST_PROCESS, anchors, output_shapes
from synap_frontend_tflite.hybrid import hybrid_notes
from synap_frontend_tflite.plugin import has_file_identifier
from synap_frontend_tflite.reader import damage_reported, read_graphs
from synap_frontend_tflite.records import GraphRecord, OperatorRecord, TensorRecord
from synap_frontend_tflite.slicer import slice_model
from synap_frontend_tflite.variables import variables_of_operators

if TYPE_CHECKING:
    import onnx_ir as ir

MAX_FILE_BYTES = (1 << 31) - 1
"""Offsets of the format are 32-bit signed for readers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteModel:
    """An opened ``.tflite`` file with batch 1.

    Attributes:
        where: Path of the file, for messages.
        data: The file, rewritten when its batch was not 1.
        graphs: Its subgraphs; the first is the model.
        layers: Input layers, then operators; an operator is named after its first output tensor.
        tensors: Graph inputs and operator outputs, by index in decimal.
        inputs: Ids of the graph inputs.
        outputs: Ids of the graph outputs.
        notes: What was changed, and which layers a converted graph computes more exactly than the file's kernels.
        warnings: What was asked for in vain; any part of a model is a model of the same format.
        detection: The detection post-process operator, if there is one.
    """

    where: str
    data: bytes
    graphs: tuple[GraphRecord, ...]
    layers: tuple[Layer, ...]
    tensors: Mapping[str, TensorInfo]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    detection: OperatorRecord | None = None

    @property
    def format(self) -> str:
        """Name of the format."""
        return "tflite"

    @property
    def layout(self) -> str:
        """Native layout of the format."""
        return "nhwc"

    @classmethod
    def open(cls, request: ModelRequest) -> TfliteModel:
        """Read and check a file.

        Raises:
            InputError: The file is damaged, or its batch cannot become 1.
        """
        where = str(request.path)
        data = _read_file(request.path)
        graphs = read_graphs(data, where)
        notes: list[str] = []
        if not request.inspect:
            with damage_reported(where):
                data, notes = with_batch_one(data, graphs[0], where)
            graphs = read_graphs(data, where) if notes else graphs
        warnings = () if request.weights is None else ("--weights has no effect: a .tflite file holds its weights",)
        return replace(cls._from_graphs(data, graphs, notes, where), warnings=warnings)

    @classmethod
    def _from_graphs(cls, data: bytes, graphs: Sequence[GraphRecord], notes: Sequence[str], where: str) -> TfliteModel:
        graph = graphs[0]
        dynamic = _dynamic_tensors(graph, where)
        with damage_reported(where):
            shapes = _custom_shapes(data, graph)
        return cls(
            where=where,
            data=data,
            graphs=tuple(graphs),
            layers=tuple(_layers(graphs, dynamic)),
            tensors={str(i): _tensor_info(i, graph.tensors[i], shapes) for i in sorted(dynamic)},
            inputs=_ids(graph.inputs),
            outputs=_ids(graph.outputs),
            notes=(*notes, *hybrid_notes(graph)),
            detection=next((op for op in graph.operators if op.type == POST_PROCESS), None),
        )

    def slice(self, part: Slice) -> bytes:
        """Cut a part out; the whole model is the file itself, unchanged."""
        operators = [layer.index for layer in part.layers if layer.index is not None]
        count = sum(layer.index is not None for layer in self.layers)
        if len(operators) == count and part.inputs == self.inputs and part.outputs == self.outputs:
            return self.data
        with damage_reported(self.where):
            return slice_model(self.data, sorted(operators), _indices(part.inputs), _indices(part.outputs))

    def canonical(self, part: Slice) -> ir.Model:
        """Build the canonical graph of a part; see `synap_frontend_tflite.importer`."""
        from synap_frontend_tflite.importer.driver import Source, import_part

        with damage_reported(self.where):
            source = Source(data=self.data, graphs=self.graphs, layers=self.layers, tensors=self.tensors)
            return import_part(source, part)

    def support(self) -> list[LayerSupport]:
        """What becomes of each operator in the canonical graph; found by importing them all."""
        from synap_frontend_tflite.importer.driver import Source, layer_support

        with damage_reported(self.where):
            source = Source(data=self.data, graphs=self.graphs, layers=self.layers, tensors=self.tensors)
            return layer_support(source, self.inputs)

    def anchors(self) -> tuple[float, ...]:
        """Anchors of the detection post-process operator, flattened; empty without one."""
        with damage_reported(self.where):
            return () if self.detection is None else anchors(self.data, self.detection)


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        msg = f"the file has more than {MAX_FILE_BYTES} bytes"
        raise InputError(msg, where=path)
    data = path.read_bytes()
    if not has_file_identifier(data):
        msg = "not a TensorFlow Lite model (the file identifier TFL3 is missing)"
        raise InputError(msg, where=path, hint="give the .tflite file itself")
    return data


def _ids(indices: Sequence[int]) -> tuple[str, ...]:
    return tuple(str(i) for i in indices)


def _indices(ids: Sequence[str]) -> list[int]:
    return [int(i) for i in ids]


def _dynamic_tensors(graph: GraphRecord, where: str) -> set[int]:
    """Graph inputs and operator outputs; checks that operators stand in execution order."""
    known = set(graph.inputs)
    if len(known) < len(graph.inputs):
        msg = "the model lists an input twice"
        raise InputError(msg, where=where, hint="the file is damaged: export it again")
    produced = {output for operator in graph.operators for output in operator.outputs}
    for index, operator in enumerate(graph.operators):
        late = [t for t in operator.inputs if t in produced and t not in known]
        again = [t for t in operator.outputs if t in known]
        for problem, tensors in (("reads a tensor that is only written later", late), ("writes a tensor twice", again)):
            if tensors:
                msg = f"operator {index} ({operator.type}) {problem}: {_name(graph, tensors[0])!r}"
                raise InputError(msg, where=where, hint="the file is damaged: export it again")
        known.update(operator.outputs)
    for output in graph.outputs:
        if output not in known:
            msg = f"output {_name(graph, output)!r} is a constant: no operator computes it"
            raise InputError(msg, where=where)
    return known


def _name(graph: GraphRecord, index: int) -> str:
    return graph.tensors[index].name or f"tensor_{index}"


def _layers(graphs: Sequence[GraphRecord], dynamic: set[int]) -> Iterator[Layer]:
    graph = graphs[0]
    for index in dict.fromkeys(graph.inputs):
        yield Layer(name=_name(graph, index), type=INPUT_TYPE, index=None, inputs=(), outputs=(str(index),))
    variables = variables_of_operators(graphs)
    for index, operator in enumerate(graph.operators):
        # An operator without a named output (an assignment, say) is named as a viewer would list it.
        first = graph.tensors[operator.outputs[0]].name if operator.outputs else ""
        yield Layer(
            name=first or f"{operator.type}_{index}",
            type=operator.type,
            index=index,
            inputs=_ids(tuple(dict.fromkeys(t for t in operator.inputs if t in dynamic))),
            outputs=_ids(operator.outputs),
            state=variables[index],
        )


def _custom_shapes(data: bytes, graph: GraphRecord) -> dict[int, tuple[int, ...] | None]:
    """Shapes of tensors whose stored shape means "unknown": outputs of custom operators without a rank."""
    shapes: dict[int, tuple[int, ...] | None] = {}
    for index, operator in enumerate(graph.operators):
        if operator.type.startswith("CUSTOM:"):
            known = output_shapes(data, index) if operator.type == POST_PROCESS else ()
            for position, tensor in enumerate(operator.outputs):
                record = graph.tensors[tensor]
                if not record.shape and not record.ranked:
                    shapes[tensor] = known[position] if position < len(known) else None
    return shapes


def _tensor_info(index: int, record: TensorRecord, shapes: Mapping[int, tuple[int, ...] | None]) -> TensorInfo:
    shape = shapes.get(index, record.shape)
    # Signature entries of -1 behind the batch are sizes that the file leaves open.
    static = shape is not None and not any(dim < 0 for dim in record.signature[1:])
    return TensorInfo(
        id=str(index),
        name=record.name or f"tensor_{index}",
        shape=shape or (),
        static=static,
        dtype=record.type.lower(),
        layout="nhwc",
        quant=_quant_params(record),
    )


def _quant_params(record: TensorRecord) -> QuantParams | None:
    if not record.scale and not record.custom_quantization:
        return None
    per_channel = len(record.scale) > 1
    return QuantParams(
        dtype=record.type.lower(),
        scheme="custom" if record.custom_quantization else "asymmetric_affine",
        scale=record.scale,
        zero_point=record.zero_point,
        axis=record.axis if per_channel else None,
    )
