"""Import the operators of a part of a graph in execution order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
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
    TensorInfo,
    TensorType,
    is_opaque,
    origins_of,
    type_of,
)
from synap_frontend_tflite.flatbuffer import Generated, root_table, unpack_operator
from synap_frontend_tflite.importer.constants import Constants
from synap_frontend_tflite.importer.first_values import first_values
from synap_frontend_tflite.importer.memory import Memory, copied
from synap_frontend_tflite.importer.operator import Operator, Result
from synap_frontend_tflite.importer.registry import UnsupportedError, converters, unknown
from synap_frontend_tflite.importer.variable_tensors import QUANTIZED_TYPES, VariableTensors, affine, unused_name
from synap_frontend_tflite.records import GraphRecord

ELEMENT_TYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "float64": ir.DataType.DOUBLE,
    "int8": ir.DataType.INT8,
    "uint8": ir.DataType.UINT8,
    "int16": ir.DataType.INT16,
    "uint16": ir.DataType.UINT16,
    "int32": ir.DataType.INT32,
    "uint32": ir.DataType.UINT32,
    "int64": ir.DataType.INT64,
    "uint64": ir.DataType.UINT64,
    "bool": ir.DataType.BOOL,
}
"""Element types that the canonical graph has, by the names of `TensorInfo`."""

MAX_ATTEMPTS = 3
"""How often a part is imported to find the variables that cannot be expressed; then none of them is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the importer reads.

    Attributes:
        data: The file.
        graphs: Its subgraphs; the first is imported.
        layers: Layers of the model.
        tensors: Computed tensors of the first subgraph by id.
    """

    data: bytes
    graphs: Sequence[GraphRecord]
    layers: Sequence[Layer]
    tensors: Mapping[str, TensorInfo]


def import_part(source: Source, part: Slice) -> ir.Model:
    """Build the canonical graph of some layers; those that cannot be expressed become opaque nodes.

    A variable is expressed for all layers that touch it, or for none: where one of them stays opaque, the others do,
    too. Which ones do is known at the end, so the part is imported again without them.

    Raises:
        InputError: The file is damaged, or a tensor at the boundary of the part has a type that no graph has.
    """
    return _import(source, part)[0]


def layer_support(source: Source, inputs: Sequence[str]) -> list[LayerSupport]:
    """Import all layers of a model with these inputs, and say what became of each.

    Raises:
        InputError: The file is damaged.
    """
    layers = tuple(layer for layer in source.layers if layer.index is not None)
    known = tuple(tensor for tensor in inputs if _dtype(source.tensors[tensor]) != ir.DataType.UNDEFINED)
    reasons = _import(source, Slice(layers=layers, inputs=known, outputs=()))[1]
    return [_support(layer, reasons) for layer in layers]


def _support(layer: Layer, reasons: Mapping[int, str]) -> LayerSupport:
    if layer.index is None or layer.index not in reasons:
        return LayerSupport(layer=layer, status="imported")
    status = "opaque" if layer.type in converters() else "unknown"
    return LayerSupport(layer=layer, status=status, reason=reasons[layer.index])


def _import(source: Source, part: Slice) -> tuple[ir.Model, Mapping[int, str]]:
    """The graph of a part, and why layers are opaque by their index."""
    blocked: dict[str, str] = {}
    reasons: dict[int, str] = {}
    for attempt in range(MAX_ATTEMPTS):
        importer = _Importer(source, blocked, reasons)
        model = importer.run(part)
        fresh = importer.broken_variables(part, everything=attempt == MAX_ATTEMPTS - 1)
        if not fresh:
            break
        blocked |= fresh
        reasons |= importer.reasons
    else:
        importer = _Importer(source, blocked, reasons)
        model = importer.run(part)
    _remove_attempts(model, importer.reasons)
    return model, importer.reasons


class _Importer:
    """Imports one part once.

    Args:
        source: What is read.
        blocked: Variables that are not expressed; and the layer that is to blame.
        known: Layers that are not expressed, by index; and why.

    Attributes:
        reasons: Layers that turned out not to be expressed, the known ones included; and why.
    """

    def __init__(self, source: Source, blocked: Mapping[str, str], known: Mapping[int, str]) -> None:
        root = root_table(source.data)
        self._source = source
        self._graph: Generated = root.Subgraphs(0)
        self._record = source.graphs[0]
        self._blocked = blocked
        self._known = known
        self.reasons: dict[int, str] = {}
        self._names = _unique_names(source.tensors)
        self._variable_tensors = VariableTensors(source.graphs)
        self._build = GraphBuilder("canonical", self._names.values())
        self._memory = Memory(self._build, self._first_value)
        self._first: Mapping[str, np.ndarray] | None = None
        self._values: dict[str, ir.Value] = {}
        self._constants = Constants(root, self._graph, source.data)
        self._handles: dict[int, str] = {}
        self._converters = converters()

    def run(self, part: Slice) -> ir.Model:
        for tensor in part.inputs:
            info = self._source.tensors[tensor]
            self._values[tensor] = self._input(info)
        for layer in part.layers:
            if layer.index is not None:
                with self._build.layer(Origin(layer.name, layer.type, layer.index)):
                    self._layer(layer, layer.index)
        outputs = self._outputs(part.outputs)
        return self._build.finish([*outputs, *self._memory.finish()])

    def broken_variables(self, part: Slice, *, everything: bool) -> dict[str, str]:
        """Variables that turned out not to be expressed, and the layer to blame; all of the part where one is."""
        found: dict[str, str] = {}
        for layer in part.layers:
            if layer.index in self.reasons:
                found |= dict.fromkeys(self._touched(layer) - self._blocked.keys() - found.keys(), layer.name)
        if found and everything:
            names = frozenset().union(*(self._touched(layer) for layer in part.layers))
            return dict.fromkeys(names - self._blocked.keys(), next(iter(found.values()))) | found
        return found

    def _touched(self, layer: Layer) -> frozenset[str]:
        if layer.index is None:
            return layer.state
        names = map(self._variable_tensors.name, self._record.operators[layer.index].inputs)
        return layer.state.union(name for name in names if name is not None)

    def _input(self, info: TensorInfo) -> ir.Value:
        dtype = _dtype(info)
        if dtype == ir.DataType.UNDEFINED:
            msg = f"tensor {info.name!r} of type {info.dtype} cannot be an input of a converted model"
            raise InputError(msg, hint="cut the model with 'inputs' in the metafile")
        return self._build.input(self._names[info.id], dtype, info.shape, quant=annotation(info), source=info.id)

    def _outputs(self, tensors: Sequence[str]) -> list[ir.Value]:
        """The outputs of the part; one that is an input or another output, too, gets a name of its own."""
        found: list[ir.Value] = []
        for tensor in tensors:
            value = self._values.get(tensor)
            if value is None:
                info = self._source.tensors[tensor]
                msg = f"tensor {info.name!r} of type {info.dtype} cannot be an output of a converted model"
                raise InputError(msg, hint="cut the model with 'outputs' in the metafile")
            given = value.producer() is None and value.const_value is None
            shared = given or any(value is other for other in found)
            found.append(copied(self._build, value, f"{value.name}/output") if shared else value)
        return found

    def _layer(self, layer: Layer, index: int) -> None:
        record = self._record.operators[index]
        outputs = dict.fromkeys(record.outputs)
        results = [self._result(t) for t in outputs if self._record.tensors[t].type != "RESOURCE"]
        try:
            values = self._converted(layer, index, results)
            _check(values, results)
        except (UnsupportedError, GraphError) as error:
            self.reasons[index] = str(error)
            results = [result for result in results if result.type.dtype != ir.DataType.UNDEFINED]
            known = [self._values.get(str(t)) for t in record.inputs]
            values = self._build.opaque(layer.type, known, [result.type for result in results], str(error))
        for result, value in zip(results, values, strict=True):
            self._values[result.id] = self._build.name_value(value, self._names[result.id], result.id, result.quant)

    def _converted(self, layer: Layer, index: int, results: Sequence[Result]) -> Sequence[ir.Value]:
        if index in self._known:
            raise UnsupportedError(self._known[index])
        converter = self._converters.get(layer.type)
        if converter is None:
            raise UnsupportedError(unknown(layer.type))
        self._check_variables(layer)
        found = converter(self._operator(layer, index, results))
        return [found] if isinstance(found, ir.Value) else list(found)

    def _check_variables(self, layer: Layer) -> None:
        for name in sorted(self._touched(layer) & self._blocked.keys()):
            msg = f"it shares the variable {name!r} with {self._blocked[name]!r}, which cannot be expressed"
            raise UnsupportedError(msg)

    def _operator(self, layer: Layer, index: int, results: Sequence[Result]) -> Operator:
        record = self._record.operators[index]
        table = unpack_operator(self._graph, index, self._source.data)
        if record.variable is not None:
            self._handles |= dict.fromkeys(record.outputs, record.variable)
        return Operator(
            build=self._build,
            type=layer.type,
            inputs=tuple(self._operand(t) for t in record.inputs),
            stored=lambda position: self._stored(record.inputs[position]),
            outputs=results,
            options=table.builtinOptions if table.builtinOptions is not None else table.builtinOptions2,
            custom_options=b"" if table.customOptions is None else bytes(table.customOptions),
            memory=self._memory,
            variables=tuple(self._variable(t) for t in record.inputs),
            intermediates=tuple(self._intermediates(table)),
        )

    def _result(self, tensor: int) -> Result:
        info = self._source.tensors[str(tensor)]
        quant = annotation(info)
        return Result(info.id, TensorType(_dtype(info), info.shape), quant, info.static and bool(info.shape))

    def _operand(self, tensor: int) -> ir.Value | None:
        key = str(tensor)
        if tensor < 0 or self._record.tensors[tensor].type == "RESOURCE" or key in self._values:
            return self._values.get(key)
        if key in self._source.tensors:
            msg = f"it needs {self._source.tensors[key].name!r}, which cannot be expressed"
            raise UnsupportedError(msg)
        variable = self._variable_tensors.name(tensor)
        if variable is not None:
            return self._memory.read(variable, self._variable_tensors.quant(tensor))
        if not self._is_constant(tensor):
            return None
        array, quant = self._constants.read(tensor)
        value = self._build.constant(array) if quant is None else self._build.quantized_constant(array, quant)
        self._values[key] = value
        return value

    def _stored(self, tensor: int) -> np.ndarray | None:
        """Items of a constant as the file stores them."""
        return self._constants.read(tensor)[0] if self._is_constant(tensor) else None

    def _is_constant(self, tensor: int) -> bool:
        """Whether a tensor is in the file; one without items has no data there."""
        if tensor < 0 or str(tensor) in self._source.tensors:
            return False
        record = self._record.tensors[tensor]
        return record.constant or (0 in record.shape and not record.variable)

    def _variable(self, tensor: int) -> str | None:
        return self._variable_tensors.name(tensor) or self._handles.get(tensor)

    def _intermediates(self, table: Generated) -> Iterator[QuantParams | None]:
        for tensor in () if table.intermediates is None else table.intermediates:
            known = 0 <= tensor < len(self._record.tensors)
            yield affine(self._record.tensors[int(tensor)]) if known else None

    def _first_value(self, name: str) -> np.ndarray | None:
        array = self._variable_tensors.first_value(name)
        if array is not None:
            return array
        if self._first is None:
            self._first = first_values(self._source.data, self._source.graphs)
        return self._first.get(name)


def _remove_attempts(model: ir.Model, reasons: Mapping[int, str]) -> None:
    """Remove what layers that turned out to be opaque half way have left."""
    for node in reversed(model.graph):
        failed = not is_opaque(node) and any(origin.index in reasons for origin in origins_of(node))
        # A copy of what the opaque node computes comes from its layer, too.
        if failed and not any(value.uses() or value.is_graph_output() for value in node.outputs):
            model.graph.remove(node, safe=True)
    for name, value in tuple(model.graph.initializers.items()):
        if not (value.uses() or value.is_graph_output()):
            model.graph.initializers.pop(name)


def annotation(info: TensorInfo) -> QuantParams | None:
    """Quantization that makes a computed tensor one of real numbers."""
    return info.quant if info.dtype in QUANTIZED_TYPES and info.quant and info.quant.scheme != "custom" else None


def _dtype(info: TensorInfo) -> ir.DataType:
    return ir.DataType.FLOAT if annotation(info) else ELEMENT_TYPES.get(info.dtype, ir.DataType.UNDEFINED)


def _check(values: Sequence[ir.Value], results: Sequence[Result]) -> None:
    """Compare what was computed with what the file says."""
    if len(values) != len(results):
        msg = f"it has {len(results)} outputs; {len(values)} are computed"
        raise UnsupportedError(msg)
    for value, result in zip(values, results, strict=True):
        found = type_of(value)
        if found.dtype != result.type.dtype or (result.static and found.shape != result.type.shape):
            msg = f"its result is {found.dtype.name} {list(found.shape)}; the file says {result.type.dtype.name} "
            raise UnsupportedError(msg + str(list(result.type.shape)))


def _unique_names(tensors: Mapping[str, TensorInfo]) -> dict[str, str]:
    """Names of the tensors; where several share one, all but the first get their id behind it."""
    used = {info.name for info in tensors.values()}
    first: dict[str, str] = {}
    return {
        key: info.name if first.setdefault(info.name, key) == key else unused_name(f"{info.name}#{key}", key, used)
        for key, info in tensors.items()
    }
