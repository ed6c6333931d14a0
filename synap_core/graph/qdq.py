"""Write the quantization of a canonical graph as QuantizeLinear and DequantizeLinear nodes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import State, origins_of, quant_of, set_origins, set_quant, set_states, states_of
from synap_core.graph.build import IR_VERSION, OPSET
from synap_core.graph.quantized import QuantizedTensor, scale_and_zero_point
from synap_core.graph.types import TensorType, set_type, shape_of
from synap_core.tensors import QuantParams

TYPES = {
    "int4": ir.DataType.INT4,
    "uint4": ir.DataType.UINT4,
    "int8": ir.DataType.INT8,
    "uint8": ir.DataType.UINT8,
    "int16": ir.DataType.INT16,
    "uint16": ir.DataType.UINT16,
    "int32": ir.DataType.INT32,
}
"""Integer types that DequantizeLinear reads, by the names of `QuantParams`."""

NEWER_TYPES = frozenset({"int4", "uint4", "int16", "uint16"})
"""Types that the two operators take from operator set 21 on."""

HALF = "float16"
"""Type of tensors that are rounded to real numbers of 16 bits, by two casts."""

NEWER_OPSET, NEWER_IR_VERSION = 21, 10


def to_qdq(model: ir.Model, *, integer_boundary: bool = True) -> ir.Model:
    """Make a model of plain ONNX operators that computes what the quantized model does, in real numbers.

    Every quantized value is rounded to its steps where it is computed, and every quantized constant is stored as the
    integers it has. An int64 constant becomes one of real numbers, because no operator dequantizes it. Tensors of
    float16 are rounded to it by two casts, and such constants are stored in it; all is computed in float32.

    Args:
        model: A canonical graph; is not changed.
        integer_boundary: Quantized inputs, outputs and variables hold the stored integers; otherwise real numbers.

    Returns:
        The model: operator set 19, or 21 where a type of 4 or 16 bits needs it.
    """
    return _Exporter(model.clone(), integer_boundary=integer_boundary).run()


class _Exporter:
    def __init__(self, model: ir.Model, *, integer_boundary: bool) -> None:
        self._model = model
        self._graph = model.graph
        self._integer_boundary = integer_boundary
        self._dtypes: set[str] = set()
        self._used = {str(v.name) for v in _values(self._graph)} | set(self._graph.initializers)
        self._parameters: dict[tuple[object, ...], ir.Value] = {}

    def run(self) -> ir.Model:
        states = [self._state(state) for state in states_of(self._model)]
        for value in tuple(self._graph.initializers.values()):
            self._constant(value)
        outputs = {id(value) for value in self._graph.outputs}
        for value in tuple(self._graph.inputs):
            self._input(value)
        for node in tuple(self._graph):
            for value in node.outputs:
                quant = quant_of(value)
                if quant is not None and _is_written(quant):
                    self._rounded(value, quant, node, output=id(value) in outputs)
        set_states(self._model, states)
        if self._dtypes & NEWER_TYPES:
            self._graph.opset_imports[""] = NEWER_OPSET
            self._model.ir_version = NEWER_IR_VERSION
        else:
            self._graph.opset_imports[""] = OPSET
            self._model.ir_version = IR_VERSION
        return self._model

    def _state(self, state: State) -> State:
        tensor = state.initial
        if self._integer_boundary and isinstance(tensor, QuantizedTensor):
            tensor = ir.Tensor(tensor.integers)
        return State(state.name, state.input, state.output, tensor)

    def _constant(self, value: ir.Value) -> None:
        tensor = value.const_value
        if not isinstance(tensor, QuantizedTensor) or not _is_written(tensor.quant):
            return
        if value.is_graph_output():
            self._constant_output(value, tensor)
        first = next((use.node for use in value.uses()), None)
        if first is None:
            return
        stored = self._initializer(f"{value.name}_quantized", _packed(tensor))
        node = self._dequantize(stored, tensor.quant, f"{value.name}_dequantized")
        # Constants are dequantized in front of everything: one node serves all readers.
        set_origins(node, origins_of(first))
        self._insert_first(node)
        _redirect(value, node.outputs[0])
        if not value.is_graph_output():
            self._graph.initializers.pop(str(value.name))

    def _constant_output(self, value: ir.Value, tensor: QuantizedTensor) -> None:
        """Let a constant that the graph gives out hold what a computed output would."""
        value.const_value = _packed(tensor) if self._integer_boundary else ir.Tensor(tensor.numpy())
        value.const_value.name = value.name
        set_type(value, TensorType(value.const_value.dtype, shape_of(value)))
        if self._integer_boundary:
            set_quant(value, None)

    def _input(self, value: ir.Value) -> None:
        quant = quant_of(value)
        if quant is None or not _is_written(quant):
            return
        uses = tuple(value.uses())
        nodes = []
        source = value
        if self._integer_boundary:
            # A new type object: a clone shares that of the original.
            value.type = ir.TensorType(_stored_type(quant))
            set_quant(value, None)
        else:
            nodes.append(self._quantize(value, quant, f"{value.name}_quantized"))
            source = nodes[0].outputs[0]
        nodes.append(self._dequantize(source, quant, f"{value.name}_dequantized"))
        for node in nodes:
            set_origins(node, origins_of(uses[0].node) if uses else ())
        for node in reversed(nodes):
            self._insert_first(node)
        for use in uses:
            use.node.replace_input_with(use.idx, nodes[-1].outputs[0])

    def _rounded(self, value: ir.Value, quant: QuantParams, producer: ir.Node, *, output: bool) -> None:
        name = str(value.name)
        uses = tuple(value.uses())
        if output:
            value.name = self._name(f"{name}_real")
        nodes = [self._quantize(value, quant, name if output and self._integer_boundary else f"{name}_quantized")]
        if uses or (output and not self._integer_boundary):
            own = name if output and not self._integer_boundary else f"{name}_dequantized"
            nodes.append(self._dequantize(nodes[0].outputs[0], quant, own))
        for node in nodes:
            set_origins(node, origins_of(producer))
        self._graph.insert_after(producer, nodes)
        for use in uses:
            use.node.replace_input_with(use.idx, nodes[-1].outputs[0])
        if output:
            result = nodes[0 if self._integer_boundary else -1].outputs[0]
            result.name = name
            for position, other in enumerate(self._graph.outputs):
                if other is value:
                    self._graph.outputs[position] = result

    def _quantize(self, value: ir.Value, quant: QuantParams, name: str) -> ir.Node:
        if quant.dtype == HALF:
            node = self._cast(value, ir.DataType.FLOAT16, name)
        else:
            node = self._node("QuantizeLinear", value, quant, name)
        set_type(node.outputs[0], TensorType(_stored_type(quant), shape_of(value)))
        return node

    def _dequantize(self, value: ir.Value, quant: QuantParams, name: str) -> ir.Node:
        if quant.dtype == HALF:
            node = self._cast(value, ir.DataType.FLOAT, name)
        else:
            node = self._node("DequantizeLinear", value, quant, name)
        set_type(node.outputs[0], TensorType(ir.DataType.FLOAT, shape_of(value)))
        return node

    def _node(self, op_type: str, value: ir.Value, quant: QuantParams, name: str) -> ir.Node:
        self._dtypes.add(quant.dtype)
        attributes = [] if quant.axis is None else [ir.AttrInt64("axis", quant.axis)]
        node = ir.Node("", op_type, [value, *self._scale_and_point(quant)], attributes=attributes, num_outputs=1)
        node.name = self._name(f"{name}_{op_type}")
        node.outputs[0].name = self._name(name)
        return node

    def _cast(self, value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
        node = ir.Node("", "Cast", [value], attributes=[ir.AttrInt64("to", dtype)], num_outputs=1)
        node.name = self._name(f"{name}_Cast")
        node.outputs[0].name = self._name(name)
        return node

    def _scale_and_point(self, quant: QuantParams) -> Iterator[ir.Value]:
        scale, zero_point = (
            array.reshape(-1) if quant.axis is not None else array.reshape(()) for array in _params(quant)
        )
        yield self._parameter("scale", scale.astype(np.float32), ir.DataType.FLOAT)
        yield self._parameter("zero_point", zero_point, TYPES[quant.dtype])

    def _parameter(self, stem: str, array: np.ndarray, dtype: ir.DataType) -> ir.Value:
        """Parameters of equal value share one constant."""
        key = (stem, dtype, array.shape, array.tobytes())
        if key not in self._parameters:
            tensor = ir.Tensor(array.astype(dtype.numpy()), dtype=dtype)
            self._parameters[key] = self._initializer(f"{stem}_{len(self._parameters)}", tensor)
        return self._parameters[key]

    def _initializer(self, name: str, tensor: ir.TensorProtocol) -> ir.Value:
        value = ir.Value(name=self._name(name), const_value=tensor)
        tensor.name = value.name
        set_type(value, TensorType(tensor.dtype, tuple(int(d) for d in tensor.shape.numpy())))
        self._graph.register_initializer(value)
        return value

    def _insert_first(self, node: ir.Node) -> None:
        if len(self._graph):
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.append(node)

    def _name(self, name: str) -> str:
        unique, number = name, 1
        while unique in self._used:
            number += 1
            unique = f"{name}_{number}"
        self._used.add(unique)
        return unique


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _params(quant: QuantParams) -> tuple[np.ndarray, np.ndarray]:
    return scale_and_zero_point(quant, 1 if quant.axis is None else quant.axis + 1)


def _is_written(quant: QuantParams) -> bool:
    return quant.dtype in TYPES or quant.dtype == HALF


def _stored_type(quant: QuantParams) -> ir.DataType:
    return ir.DataType.FLOAT16 if quant.dtype == HALF else TYPES[quant.dtype]


def _packed(tensor: QuantizedTensor) -> ir.TensorProtocol:
    dtype = _stored_type(tensor.quant)
    return ir.Tensor(tensor.integers.astype(dtype.numpy()), dtype=dtype)


def _redirect(value: ir.Value, other: ir.Value) -> None:
    for use in tuple(value.uses()):
        use.node.replace_input_with(use.idx, other)
