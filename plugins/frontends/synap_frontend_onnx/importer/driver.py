"""Import the layers of a part of a model in execution order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.api import (
    GraphBuilder,
    GraphError,
    InputError,
    Layer,
    LayerSupport,
    Origin,
    QuantParams,
    Slice,
    TensorType,
    quant_of,
    set_quant,
    source_of,
    type_of,
)
from synap_frontend_onnx.analysis import Analysis
from synap_frontend_onnx.dimensions import static_shape
from synap_frontend_onnx.graph import Graph, Node
from synap_frontend_onnx.importer.block import Block, Scope
from synap_frontend_onnx.importer.cleaning import clean
from synap_frontend_onnx.importer.constants import NUMERIC, constant_tensor, element_type
from synap_frontend_onnx.importer.interpreter import Interpreter, Wanted
from synap_frontend_onnx.importer.quantized import StandIns
from synap_frontend_onnx.importer.registry import UnknownOperatorError, UnsupportedError
from synap_frontend_onnx.inspector import Inspector
from synap_frontend_onnx.protos import TensorProto
from synap_frontend_onnx.slicer import Slicer
from synap_frontend_onnx.weights import MAX_FILE_BYTES, raw_bytes

MAX_ITEMS = 1 << 40
"""Items of a tensor: no machine holds more, and numbers of items stay small enough for any operator."""

HINT = "cut the model with 'inputs'/'outputs' in the metafile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the importer reads.

    Attributes:
        graph: The model.
        analysis: Its types and the values of tensors that do not depend on data.
        slicer: Knows which nodes compute constants of a part.
        layers: Layers of the model.
        stored: Quantization of the tensors that are real numbers in the canonical graph.
        inspector: Finds the bodies of operators that are defined by others.
    """

    graph: Graph
    analysis: Analysis
    slicer: Slicer
    layers: Sequence[Layer]
    stored: Mapping[str, QuantParams]
    inspector: Inspector


class Importer:
    """Builds the canonical graph of one part.

    Args:
        source: The model.
        part: Its layers, inputs and outputs.
    """

    def __init__(self, source: Source, part: Slice) -> None:
        self._failures: dict[int, tuple[str, str]] = {}
        self._source = source
        self._part = part
        self._layers = {layer.index: layer for layer in source.layers if layer.index is not None}
        self._outputs = set(part.outputs)
        names = (name for node in source.graph.nodes for name in node.writes)
        inputs = (value.name for value in source.graph.inputs)
        self._build = GraphBuilder("canonical", [*inputs, *names, *source.graph.constants])
        self._stand_ins = StandIns(self._build)
        self._interpreter = Interpreter(source.graph, self._build, source.inspector, self._stand_ins)
        self._scope = Scope(versions=source.graph.opset, outer=self._constant)
        self._block = Block((), (), ())
        self._constants: dict[str, ir.Value] = {}
        self._missing: dict[str, Node] = {}
        self._bytes = 0

    def run(self) -> ir.Model:
        """Import the layers and finish the graph.

        Raises:
            InputError: The file is damaged, or a tensor at the boundary has no type that the graph knows.
        """
        self.run_layers()
        taken: set[int] = set()
        outputs = [self._output(name, taken) for name in self._part.outputs]
        model = self._build.finish(outputs)
        clean(model)
        return model

    def run_layers(self) -> None:
        """Import the layers. Raises as `run`."""
        for name in self._part.inputs:
            self._scope.values[name] = self._input(name)
        indices = {layer.index for layer in self._part.layers if layer.index is not None}
        nodes, _ = self._source.slicer.complete(indices, set(self._part.inputs))
        for node in nodes:
            with self._build.layer(Origin(node.name, self._layers[node.index].type, node.index)):
                try:
                    self._layer(node)
                except GraphError as error:  # not even a copy of what it computes is possible
                    msg = f"layer {node.name!r} cannot be imported: {error}"
                    raise InputError(msg, hint=HINT) from error

    def support(self, layer: Layer) -> LayerSupport:
        """What became of a layer when it was imported."""
        status, reason = self._failures.get(-1 if layer.index is None else layer.index, ("imported", ""))
        return LayerSupport(layer=layer, status=status, reason=reason)

    def _input(self, name: str) -> ir.Value:
        kind, quant = self._type(name), self._source.stored.get(name)
        if kind is None:
            msg = f"tensor {name!r} cannot be an input of a converted model: {self._described(name)}"
            raise InputError(msg, hint=HINT)
        value = self._build.input(name, kind.dtype, kind.shape, quant=quant, source=name)
        if quant is not None:
            self._stand_ins.add(value, quant)
        return value

    def _output(self, name: str, taken: set[int]) -> ir.Value:
        """Value of an output; one that is an input or another output already gets a copy with a name of its own."""
        try:
            value = self._scope.values.get(name) or self._constant(name)
            if _is_input(value) or id(value) in taken:
                value = self._build.alias(value, self._build.unused_name(f"{name}/output"))
        except (UnsupportedError, GraphError) as error:
            reason = self._failures[self._missing[name].index][1] if name in self._missing else str(error)
            msg = f"tensor {name!r} cannot be an output of a converted model: {reason}"
            raise InputError(msg, hint=HINT) from error
        taken.add(id(value))
        return value

    def _layer(self, node: Node) -> None:
        wanted = [self._wanted(name) for name in node.proto.output]
        try:
            values = self._folded(node) or self._interpreter.run_node(
                node.proto, self._scope, self._block, node.index, wanted
            )
            self._check(node, values, wanted)
        except (UnsupportedError, GraphError) as error:
            status = "unknown" if isinstance(error, UnknownOperatorError) else "opaque"
            self._failures[node.index] = status, str(error)
            self._opaque(node, str(error))
        else:
            for name, value in zip(node.proto.output, values, strict=False):
                if name and value is not None:
                    self._bind(name, value)

    def _folded(self, node: Node) -> list[ir.Value | None]:
        """Results that the analysis knows already; empty when it does not."""
        tensors = [self._source.analysis.folded.get(name) for name in node.proto.output]
        if not node.writes or any(tensor is None for tensor in tensors):
            return []
        return [None if tensor is None else self._tensor(tensor) for tensor in tensors]

    def _wanted(self, name: str) -> Wanted:
        return Wanted(type=self._type(name), quant=self._source.stored.get(name), present=bool(name))

    def _type(self, name: str) -> TensorType | None:
        """Type of the value of a tensor; None when it has none, or none that the graph knows."""
        if name not in self._source.analysis.types:
            return None
        kind = self._source.analysis.types[name].type
        shape = static_shape(kind)
        dtype = element_type(kind.tensor_type.elem_type)
        if shape is None or dtype is None:
            return None
        found = TensorType(ir.DataType.FLOAT if name in self._source.stored else dtype, shape)
        return found if found.dtype in NUMERIC and found.size <= MAX_ITEMS else None

    def _described(self, name: str) -> str:
        """Why a tensor has no type."""
        if name not in self._source.analysis.types:
            return "its type is not known"
        shape = static_shape(self._source.analysis.types[name].type)
        if shape is None:
            return "its shape is not known"
        large = math.prod(shape) > MAX_ITEMS
        return f"its shape {list(shape)} is too large" if large else "the graph has no tensors of its type"

    @staticmethod
    def _check(node: Node, values: Sequence[ir.Value | None], wanted: Sequence[Wanted]) -> None:
        """Compare what was computed with what is known."""
        for position, item in enumerate(wanted):
            value = values[position] if position < len(values) else None
            if item.present and value is None:
                msg = f"its output {position} cannot be imported"
                raise UnsupportedError(msg)
            if value is None or not item.present:
                continue
            found = type_of(value)
            fits = found.dtype == ir.DataType.FLOAT if item.quant else found.dtype in NUMERIC
            if not fits or item.type not in (None, found):
                expected = "" if item.type is None else f"; the model says {_text(item.type)}"
                msg = f"output {node.proto.output[position]!r} is {_text(found)}{expected}"
                raise UnsupportedError(msg)

    def _opaque(self, node: Node, reason: str) -> None:
        operands = [self._scope.values.get(name) for name in node.reads if name not in self._source.slicer.constants]
        known = {name: kind for name in node.writes if (kind := self._type(name)) is not None}
        values = self._build.opaque(self._layers[node.index].type, operands, list(known.values()), reason)
        for name, value in zip(known, values, strict=True):
            self._bind(name, value)
        for name in node.writes:
            if name not in known:
                self._missing[name] = node

    def _bind(self, name: str, value: ir.Value) -> None:
        stored = self._source.stored.get(name)
        # An annotation at the boundary says that the tensor of the model is one of integers.
        quant = stored or (None if name in self._outputs else quant_of(value))
        if source_of(value) is None and value.const_value is None:
            set_quant(value, quant)
        named = self._build.name_value(value, name, name, quant)
        self._scope.values[name] = named
        if stored is not None:
            self._stand_ins.add(named, stored)

    def _constant(self, name: str) -> ir.Value:
        """Value of a constant of the file; asked for names that no layer computes."""
        if name in self._missing:
            msg = f"it needs the result of layer {self._missing[name].name!r}, which cannot be imported"
            raise UnsupportedError(msg)
        if name not in self._constants:
            found = self._source.graph.constants.get(name) or self._source.analysis.folded.get(name)
            if found is None:
                msg = f"it needs {name!r}, which this part does not compute"
                raise UnsupportedError(msg)
            self._constants[name] = self._tensor(found)
        return self._constants[name]

    def _tensor(self, tensor: TensorProto) -> ir.Value:
        self._bytes += raw_bytes(tensor)
        if self._bytes > MAX_FILE_BYTES:
            msg = f"the constants of the part take more than {MAX_FILE_BYTES} bytes"
            raise InputError(msg, hint="cut the model into smaller parts")
        return self._build.tensor(constant_tensor(tensor, self._source.graph.weights), tensor.name)


def _is_input(value: ir.Value) -> bool:
    return value.producer() is None and value.const_value is None


def _text(kind: TensorType) -> str:
    return f"{kind.dtype.name.lower()} {list(kind.shape)}"
