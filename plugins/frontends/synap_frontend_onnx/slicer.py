"""Write a part of a model as an ONNX file of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set

from synap_core.api import InputError
from synap_frontend_onnx.analysis import Analysis
from synap_frontend_onnx.dimensions import dims_of
from synap_frontend_onnx.functions import needed_functions
from synap_frontend_onnx.graph import Graph, Node
from synap_frontend_onnx.opsets import lower
from synap_frontend_onnx.protos import ModelProto, TensorProto, ValueInfoProto, serialize
from synap_frontend_onnx.weights import MAX_FILE_BYTES, is_external, raw_bytes

ROOM_BYTES = 1 << 10
"""For the name and shape of a constant whose data are in another file."""


class Slicer:
    """Cuts parts out of one model.

    Args:
        graph: The model.
        analysis: Its types, shapes and constants.
        blocked: Indices of nodes that the boards' operator sets lack.
    """

    def __init__(self, graph: Graph, analysis: Analysis, blocked: Collection[int]) -> None:
        self._graph = graph
        self._analysis = analysis
        self._blocked = blocked
        self._constants = {**graph.constants, **analysis.folded}
        self._producers = {name: node for node in graph.nodes for name in node.writes}

    @property
    def constants(self) -> frozenset[str]:
        """Names of the tensors that do not depend on the inputs' data, computed ones among them."""
        return self._analysis.constants

    def write(self, indices: Iterable[int], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """Write a part.

        Args:
            indices: Positions of the nodes in the file. Nodes that only prepare constants are added.
            inputs: Names of the graph inputs, in order.
            outputs: Names of the graph outputs, in order.

        Returns:
            The file; a function of the arguments alone, byte for byte.

        Raises:
            InputError: The part is too large, or has an input or output without dimensions.
        """
        nodes, used = self.complete(set(indices), set(inputs))
        constants = [tensor for name, tensor in self._constants.items() if name in used]
        self._check_size(nodes, constants)
        model = self._header()
        model.functions.extend(needed_functions((node.proto for node in nodes), self._graph.functions).values())
        graph = model.graph
        graph.name = self._graph.model.graph.name
        graph.node.extend(node.proto for node in nodes)
        graph.initializer.extend(self._graph.weights.load(tensor) for tensor in constants)
        graph.input.extend(self._boundary(name) for name in inputs)
        graph.output.extend(self._boundary(name) for name in outputs)
        types = self._analysis.types
        inner = (name for node in nodes for name in node.writes if name not in outputs and name in types)
        graph.value_info.extend(types[name] for name in inner)
        if not any(node.index in self._blocked for node in nodes):
            lower(model)
        return serialize(model)

    def _header(self) -> ModelProto:
        source = self._graph.model
        model = ModelProto(ir_version=max(source.ir_version, 4), opset_import=source.opset_import)
        for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
            if source.HasField(field):
                setattr(model, field, getattr(source, field))
        model.metadata_props.extend(source.metadata_props)
        return model

    def complete(self, indices: Set[int], inputs: Set[str]) -> tuple[list[Node], set[str]]:
        """Nodes of a part in execution order, with those that compute its constants; also the constants it reads.

        Raises:
            InputError: The part needs a tensor that it neither computes nor takes as an input.
        """
        kept = {node.index: node for node in self._graph.nodes if node.index in indices}
        written = {name for node in kept.values() for name in node.writes} | inputs
        used: set[str] = set()
        pending = list(kept.values())
        while pending:
            for name in pending.pop().reads:
                if name in written:
                    continue
                if name in self._constants:
                    used.add(name)
                    continue
                if name not in self._analysis.constants:
                    msg = f"the part needs tensor {name!r}, which it neither computes nor takes as an input"
                    raise InputError(msg)
                producer = self._producers[name]
                kept[producer.index] = producer
                written.update(producer.writes)
                pending.append(producer)
        return [node for node in self._graph.nodes if node.index in kept], used

    def _boundary(self, name: str) -> ValueInfoProto:
        if name not in self._analysis.types:
            msg = f"tensor {name!r} has no type: shape inference does not know the operator that computes it"
            raise InputError(msg, hint="cut the model at another tensor with 'inputs'/'outputs'")
        value = ValueInfoProto(name=name, type=self._analysis.types[name].type)
        if dims_of(value.type) == []:
            msg = f"tensor {name!r} has no dimensions (shape is empty), which the boards' runtime refuses"
            raise InputError(msg, hint="cut the model at another tensor with 'inputs'/'outputs'")
        return value

    @staticmethod
    def _check_size(nodes: Sequence[Node], constants: Iterable[TensorProto]) -> None:
        size = sum(node.proto.ByteSize() for node in nodes)
        for tensor in constants:
            size += raw_bytes(tensor) + ROOM_BYTES if is_external(tensor) else tensor.ByteSize()
        if size > MAX_FILE_BYTES:
            names = f"{nodes[0].name!r} to {nodes[-1].name!r}"
            msg = f"the part with the layers {names} takes {size} bytes; an ONNX file has at most {MAX_FILE_BYTES}"
            raise InputError(msg, hint="cut the model into smaller parts")
