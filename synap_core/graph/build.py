"""Build a canonical graph node by node: types are inferred, constants folded, origins recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import (
    OPAQUE_DOMAIN,
    Origin,
    State,
    quant_of,
    set_origins,
    set_quant,
    set_reason,
    set_source,
    set_states,
    source_of,
)
from synap_core.graph.evaluate import evaluate
from synap_core.graph.infer import infer
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import GraphError, TensorType, set_type, type_of
from synap_core.tensors import QuantParams

OPSET = 19
IR_VERSION = 9
"""What the ONNX Runtime of the boards loads."""

MAX_FOLDED_ITEMS = 1 << 27
"""Items of all constants that may be computed while a graph is built: a small file can ask for any number."""

MAX_NODES = 200_000
"""Nodes a graph may have: a small file can ask for loops without end."""

Attribute = int | float | str | Sequence[int] | Sequence[float] | np.ndarray
"""Python value of an attribute; an array becomes a tensor."""


class GraphBuilder:
    """Collects the nodes of one canonical graph.

    Values are those of onnx-ir, all with static types. A node whose inputs are all constants is computed at once, when
    it is small enough and its operator known to `synap_core.graph.evaluate`.

    Args:
        name: Name of the graph.
        reserved: Names that only `name_value`, `input` and named constants may use: those of source tensors.
    """

    def __init__(self, name: str, reserved: Iterable[str] = ()) -> None:
        self._name = name
        self._used = set(reserved)
        self._nodes: list[ir.Node] = []
        self._inputs: list[ir.Value] = []
        self._origins: tuple[Origin, ...] = ()
        self._states: list[State] = []
        self._folded_items = 0
        self._counter = 0

    @contextlib.contextmanager
    def layer(self, *origins: Origin) -> Iterator[None]:
        """Every node emitted inside comes from these source layers."""
        before, self._origins = self._origins, origins
        try:
            yield
        finally:
            self._origins = before

    def input(
        self,
        name: str,
        dtype: ir.DataType,
        shape: Sequence[int],
        *,
        quant: QuantParams | None = None,
        source: str | None = None,
    ) -> ir.Value:
        """Add a graph input.

        Args:
            name: Its name.
            dtype: Element type; float32 for a quantized tensor.
            shape: Static shape.
            quant: Quantization of the tensor.
            source: Id of the source tensor, if it is one.
        """
        value = ir.Value(name=name)
        set_type(value, TensorType(dtype, tuple(shape)))
        set_quant(value, quant)
        if source is not None:
            set_source(value, source)
        self._used.add(name)
        self._inputs.append(value)
        return value

    def constant(self, array: np.ndarray | np.generic | float | Sequence[int], name: str | None = None) -> ir.Value:
        """Make a constant; a Python integer or a sequence of integers becomes int64, a Python float float32."""
        if not isinstance(array, np.ndarray | np.generic):
            array = np.asarray(array, np.float32 if isinstance(array, float) else np.int64)
        return self.tensor(ir.Tensor(np.ascontiguousarray(array).reshape(array.shape)), name)

    def quantized_constant(self, integers: np.ndarray, quant: QuantParams, name: str | None = None) -> ir.Value:
        """Make a float32 constant that is stored as integers; its value carries the parameters."""
        return self.tensor(QuantizedTensor(np.ascontiguousarray(integers).reshape(integers.shape), quant), name)

    def tensor(self, tensor: ir.TensorProtocol, name: str | None = None) -> ir.Value:
        """Make a constant of a tensor."""
        value = ir.Value(name=name or self._fresh("constant"), const_value=tensor)
        tensor.name = value.name
        set_type(value, TensorType(tensor.dtype, tuple(int(dim) for dim in tensor.shape.numpy())))
        if isinstance(tensor, QuantizedTensor):
            set_quant(value, tensor.quant)
        return value

    def emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        result: TensorType | None = None,
    ) -> ir.Value:
        """Add a node with one output.

        Args:
            op_type: Operator of the default domain at opset 19.
            inputs: Its operands; None for an optional one that is absent.
            attributes: By name.
            result: Type of the output, where it cannot be inferred.

        Raises:
            GraphError: The operator cannot have such operands.
        """
        return self.emit_many(op_type, inputs, attributes, results=1 if result is None else [result])[0]

    def emit_many(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        results: int | Sequence[TensorType],
    ) -> list[ir.Value]:
        """Add a node with several outputs: their number, or their types where they cannot be inferred."""
        given = dict(attributes or {})
        count = results if isinstance(results, int) else len(results)
        operands = [None if value is None else type_of(value) for value in inputs]
        constants = [None if value is None else value.const_value for value in inputs]
        types = infer(op_type, operands, given, constants, count) if isinstance(results, int) else list(results)
        folded = self._folded(op_type, inputs, given, types)
        if folded is not None:
            return [self.tensor(tensor) for tensor in folded]
        return self._append(ir.Node("", op_type, list(inputs), attributes=_attributes(given), num_outputs=count), types)

    def opaque(
        self, op_type: str, inputs: Sequence[ir.Value | None], results: Sequence[TensorType], reason: str
    ) -> list[ir.Value]:
        """Add a node that stands for a source layer which cannot be expressed; says why."""
        node = ir.Node(OPAQUE_DOMAIN, op_type, list(inputs), num_outputs=len(results))
        set_reason(node, reason)
        return self._append(node, results)

    def name_value(self, value: ir.Value, name: str, source: str, quant: QuantParams | None = None) -> ir.Value:
        """Make a value the source tensor of some name: rename it, or add an Identity where it is another one already.

        Returns:
            The value with the name, the source id and the quantization parameters.
        """
        if value.const_value is not None:
            named = ir.Value(name=name, const_value=value.const_value)
            set_type(named, type_of(value))
        elif value.producer() is None or source_of(value) is not None or quant_of(value) not in (None, quant):
            named = self.emit("Identity", [value])
        else:
            named = value
        named.name = name
        self._used.add(name)
        set_source(named, source)
        set_quant(named, quant)
        return named

    def unused_name(self, name: str) -> str:
        """A name that nothing has, and that nothing else gets: the one asked for, or one that begins with it."""
        if name in self._used:
            return self._fresh(name)
        self._used.add(name)
        return name

    def alias(self, value: ir.Value, name: str) -> ir.Value:
        """Give a value another name; it keeps its own, too."""
        copy = self.emit("Identity", [value])
        copy.name = name
        set_quant(copy, quant_of(value))
        return copy

    def add_state(self, state: State) -> None:
        """Declare a variable; its input and output must be among those of the graph."""
        self._states.append(state)

    def finish(self, outputs: Sequence[ir.Value]) -> ir.Model:
        """Make the model. Constants that no node uses are left out."""
        used = {id(v): v for node in self._nodes for v in node.inputs if v is not None and v.const_value is not None}
        used |= {id(v): v for v in outputs if v.const_value is not None}
        graph = ir.Graph(
            self._inputs,
            list(outputs),
            nodes=self._nodes,
            initializers=list(used.values()),
            opset_imports={"": OPSET},
            name=self._name,
        )
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="synap")
        set_states(model, self._states)
        return model

    def _append(self, node: ir.Node, types: Sequence[TensorType]) -> list[ir.Value]:
        if len(self._nodes) >= MAX_NODES:
            msg = f"the graph gets more than {MAX_NODES} nodes"
            raise GraphError(msg)
        set_origins(node, self._origins)
        node.name = self._fresh(node.op_type)
        for position, (value, tensor) in enumerate(zip(node.outputs, types, strict=True)):
            value.name = self._fresh(f"{node.name}_out{position}" if position else f"{node.name}_out")
            set_type(value, tensor)
        self._nodes.append(node)
        return list(node.outputs)

    def _folded(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute],
        types: Sequence[TensorType],
    ) -> list[ir.TensorProtocol] | None:
        items = sum(tensor.size for tensor in types)
        if (
            any(v is not None and v.const_value is None for v in inputs)
            or items + self._folded_items > MAX_FOLDED_ITEMS
        ):
            return None
        tensors = evaluate(op_type, [None if v is None else v.const_value for v in inputs], attributes, types)
        if tensors is not None:
            self._folded_items += items
        return tensors

    def _fresh(self, stem: str) -> str:
        while True:
            self._counter += 1
            name = f"{stem}_{self._counter}"
            if name not in self._used:
                self._used.add(name)
                return name


def constant_of(value: ir.Value | None) -> np.ndarray | None:
    """Items of a constant, real ones of a quantized constant; None for any other value."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _attributes(given: Mapping[str, Attribute]) -> list[ir.Attr]:
    converted = {name: ir.Tensor(v) if isinstance(v, np.ndarray) else v for name, v in given.items()}
    return ir.convenience.convert_attributes(converted)
