"""Import the nodes of a graph, or of a part of it, in execution order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.api import GraphBuilder, GraphError, InputError, Origin, QuantizedTensor, TensorType, quant_of
from synap_frontend_tensorflow.constants import ConstantError, Constants
from synap_frontend_tensorflow.graph import Graph, Node, split_name, tensor_id
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.cleaning import clean
from synap_frontend_tensorflow.importer.registry import CONSTANT, UnsupportedError, converters, unknown

HINT = "cut the model with 'inputs'/'outputs' in the metafile"
CALLS = "it calls a function of the file: freeze the graph again with functions inlined"

SHAPE_OPERANDS = {"Conv2DBackpropInput": 0, "DepthwiseConv2dNativeBackpropInput": 0, "Reshape": 1}
"""Place of the operand that is a shape with the batch in front."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a node is not imported.

    Attributes:
        status: ``opaque`` or ``unknown``, as `LayerSupport` has it.
        reason: In words.
        root: The node that is to blame: this one, or the one whose result it needs.
    """

    status: str
    reason: str
    root: str


class _MissingError(UnsupportedError):
    """An operand could not be imported; knows the node that is to blame."""

    def __init__(self, reason: str, root: str) -> None:
        super().__init__(reason)
        self.root = root


class Importer:
    """Builds the canonical graph of nodes.

    Args:
        graph: The graph.
        constants: Tensors whose items are known already, by id.
        batch: Size that the first dimension has in the file, where it becomes 1; constants that spell it out are
            changed with it.

    Attributes:
        values: What became of each tensor, by id.
        failures: Nodes that cannot be imported, by name.
        results: Ids of the tensors that each node computes, by its name.
    """

    def __init__(
        self, graph: Graph, constants: Mapping[str, ir.TensorProtocol] | None = None, batch: int | None = None
    ) -> None:
        self._graph = graph
        self._constants = constants or {}
        self._batch = batch
        self._reader = Constants()
        self._converters = converters()
        names = (tensor_id(name, k) for name in graph.nodes for k in range(graph.outputs_read.get(name, 0) + 1))
        self._build = GraphBuilder("canonical", names)
        self._used = dict(graph.outputs_read)
        self._outputs: frozenset[str] = frozenset()
        self.values: dict[str, ir.Value] = {}
        self.failures: dict[str, Failure] = {}
        self.results: dict[str, tuple[str, ...]] = {}

    def run(self, nodes: Iterable[Node], inputs: Mapping[str, TensorType], outputs: Sequence[str]) -> None:
        """Import nodes.

        Args:
            nodes: In execution order.
            inputs: Tensors that are handed in, by id.
            outputs: Ids of the tensors that are wanted.

        Raises:
            InputError: The graph becomes too large.
        """
        self._outputs = frozenset(outputs)
        for tensor in outputs:
            name, output = split_name(tensor)
            self._used[name] = max(output, self._used.get(name, 0))
        for tensor, kind in inputs.items():
            self.values[tensor] = self._build.input(tensor, kind.dtype, kind.shape, source=tensor)
        for node in nodes:
            with self._build.layer(Origin(node.name, node.type, node.index)):
                try:
                    self._node(node)
                except GraphError as error:  # there is no room for a node that stands for it
                    msg = f"node {node.name!r} cannot be imported: {error}"
                    raise InputError(msg, hint=HINT) from error

    def finish(self, outputs: Sequence[str]) -> ir.Model:
        """Make the graph.

        Raises:
            InputError: An output cannot be computed.
        """
        found: list[ir.Value] = []
        for tensor in outputs:
            value = self._output(tensor)
            given = value.producer() is None and value.const_value is None
            if given or any(value is other for other in found):
                value = self._build.alias(value, self._build.unused_name(f"{value.name}/output"))
            found.append(value)
        model = self._build.finish(found)
        clean(model)
        return model

    def _output(self, tensor: str) -> ir.Value:
        try:
            return self._operand(tensor)
        except UnsupportedError as error:
            failure = self.failures.get(split_name(tensor)[0])
            reason = failure.reason if failure else str(error)
            msg = f"tensor {tensor!r} cannot be an output of a converted model: {reason}"
            raise InputError(msg, hint=HINT) from error

    def _node(self, node: Node) -> None:
        tensors = tuple(tensor_id(node.name, k) for k in range(self._used.get(node.name, 0) + 1))
        try:
            values = self._converted(node, tensors)
        except (UnsupportedError, GraphError) as error:
            root = error.root if isinstance(error, _MissingError) else node.name
            self._fail(node, tensors, str(error), root)
            return
        for position, value in enumerate(values):
            tensor = tensor_id(node.name, position)
            if tensor not in self.values:
                self.values[tensor] = self._named(value, tensor)
        self.results[node.name] = tuple(tensor_id(node.name, k) for k in range(max(len(values), len(tensors))))

    def _fail(self, node: Node, tensors: Sequence[str], reason: str, root: str) -> None:
        known = node.type in self._converters or node.type == CONSTANT
        self.failures[node.name] = Failure(status="opaque" if known else "unknown", reason=reason, root=root)
        self.results[node.name] = tuple(tensors)
        operands = [self.values[tensor] for tensor in dict.fromkeys(node.reads) if self._is_dynamic(tensor)]
        # What it computes is not known, so that nothing can read it.
        self._build.opaque(node.type, operands, [], reason)

    def _named(self, value: ir.Value, tensor: str) -> ir.Value:
        # An annotation at the boundary would say that the tensor of the model is one of integers.
        return self._build.name_value(value, tensor, tensor, None if tensor in self._outputs else quant_of(value))

    def _converted(self, node: Node, tensors: Sequence[str]) -> Sequence[ir.Value]:
        if node.type == CONSTANT:
            return [self._constant(node)]
        converter = self._converters.get(node.type)
        if converter is None:
            raise UnsupportedError(CALLS if node.type in self._graph.functions else unknown(node.type))
        found = converter(
            Call(
                build=self._build,
                name=node.name,
                type=node.type,
                node=node.proto,
                inputs=self._operands(node),
                tensors=tensors,
            )
        )
        return [found] if isinstance(found, ir.Value) else list(found)

    def _operands(self, node: Node) -> list[ir.Value]:
        values = [self._operand(tensor) for tensor in node.reads]
        place = SHAPE_OPERANDS.get(node.type)
        if self._batch is not None and place is not None and place < len(values):
            values[place] = self._shortened(values[place])
        return values

    def _shortened(self, shape: ir.Value) -> ir.Value:
        """A constant shape that begins with the batch of the file, with batch 1; any other value as it is."""
        array = None if shape.const_value is None else shape.const_value.numpy()
        if array is None or array.ndim != 1 or not len(array) or array[0] != self._batch:
            return shape
        return self._build.constant(np.array([1, *array[1:]], array.dtype))

    def _constant(self, node: Node) -> ir.Value:
        if "value" not in node.proto.attr or node.proto.attr["value"].WhichOneof("value") != "tensor":
            msg = "it has no value"
            raise UnsupportedError(msg)
        try:
            return self._build.constant(self._reader.array(node.proto.attr["value"].tensor))
        except ConstantError as error:
            raise UnsupportedError(str(error)) from error

    def _operand(self, tensor: str) -> ir.Value:
        if tensor in self.values:
            return self.values[tensor]
        if tensor in self._constants:
            value = self.values[tensor] = self._build.tensor(_copied(self._constants[tensor]), tensor)
            return value
        name, output = split_name(tensor)
        if name in self.failures:
            root = self.failures[name].root
            what = f"{root!r} ({self._graph.nodes[root].type})"
            msg = f"it needs the result of {what}, which cannot be imported: {self.failures[root].reason}"
            raise _MissingError(msg, root)
        msg = f"it needs {tensor!r}, which is not in this part"
        if name in self.results:
            msg = f"it needs output {output} of {name!r}, which is not computed"
        raise UnsupportedError(msg)

    def _is_dynamic(self, tensor: str) -> bool:
        value = self.values.get(tensor)
        return value is not None and value.const_value is None


def _copied(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The same constant as an object of its own: a graph names its tensors."""
    if isinstance(tensor, QuantizedTensor):
        return QuantizedTensor(tensor.integers, tensor.quant)
    return ir.Tensor(tensor.numpy())
