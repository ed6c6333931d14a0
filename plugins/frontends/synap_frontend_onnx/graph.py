"""The main graph of a model as records: nodes in execution order, and the constants they use.

``Constant`` nodes and sparse initializers are plain constants here, and initializers that old files list among the
graph inputs are no inputs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synap_core.api import InputError
from synap_frontend_onnx.functions import FunctionKey, collect_functions
from synap_frontend_onnx.protos import (
    STANDARD_DOMAINS,
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    tensor_of,
)
from synap_frontend_onnx.weights import Weights

MAX_NODES = 200_000
"""Nodes a file may have; the largest models have some ten thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the main graph.

    Attributes:
        index: Position in the file's list of nodes, which counts ``Constant`` nodes.
        proto: The node as stored.
        name: Its name, or that of its first output.
        reads: Tensors of the main graph it reads itself or in its bodies, each once.
        writes: Its outputs, without those that are absent.
    """

    index: int
    proto: NodeProto
    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    @property
    def standard(self) -> bool:
        """Whether it is one of the standard operators."""
        return self.proto.domain in STANDARD_DOMAINS

    @property
    def has_bodies(self) -> bool:
        """Whether it is control flow."""
        return any(attribute.HasField("g") or attribute.graphs for attribute in self.proto.attribute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A checked model.

    Attributes:
        model: The file.
        weights: Reads the constants' data.
        nodes: In execution order.
        constants: By name, in the file's order.
        inputs: Graph inputs that are not constants.
        outputs: Graph outputs.
        functions: Model-local functions.
    """

    model: ModelProto
    weights: Weights
    nodes: tuple[Node, ...]
    constants: Mapping[str, TensorProto]
    inputs: tuple[ValueInfoProto, ...]
    outputs: tuple[ValueInfoProto, ...]
    functions: Mapping[FunctionKey, FunctionProto]

    def opset(self, domain: str) -> int:
        """Version of an operator set that the model uses; 1 when it does not say."""
        names = STANDARD_DOMAINS if domain in STANDARD_DOMAINS else (domain,)
        return max((entry.version for entry in self.model.opset_import if entry.domain in names), default=1)


def read_graph(model: ModelProto, weights: Weights) -> Graph:
    """Check the structure of a model.

    Raises:
        InputError: A name is missing, defined twice or not at all, nodes form a circle, or a constant is damaged.
    """
    graph = model.graph
    if not graph.node or len(graph.node) > MAX_NODES:
        msg = f"the model has {len(graph.node)} operators; from 1 to {MAX_NODES} are allowed"
        raise InputError(msg, hint="give the .onnx file itself, or export it again")
    functions = collect_functions(model)
    weights.load_inside(node for function in functions.values() for node in function.node)
    constants = _by_name(_constants(graph, weights))
    nodes = [_record(index, node) for index, node in enumerate(graph.node) if not _is_constant(node)]
    weights.load_inside(node.proto for node in nodes)
    inputs = tuple(value for value in graph.input if value.name not in constants)
    _check_names(graph, inputs, nodes, constants)
    return Graph(
        model=model,
        weights=weights,
        nodes=tuple(_in_execution_order(nodes)),
        constants=constants,
        inputs=inputs,
        outputs=tuple(graph.output),
        functions=functions,
    )


def _is_constant(node: NodeProto) -> bool:
    return node.op_type == "Constant" and node.domain in STANDARD_DOMAINS


def _by_name(tensors: Iterable[TensorProto]) -> dict[str, TensorProto]:
    found: dict[str, TensorProto] = {}
    for tensor in tensors:
        if tensor.name in found or not tensor.name:
            problem = "has no name" if not tensor.name else "is defined twice"
            msg = f"constant {tensor.name!r} {problem}"
            raise InputError(msg, hint="the file is damaged: export it again")
        found[tensor.name] = tensor
    return found


def _constants(graph: GraphProto, weights: Weights) -> Iterable[TensorProto]:
    for tensor in graph.initializer:
        weights.check(tensor)
        yield tensor
    for sparse in graph.sparse_initializer:
        yield weights.dense(sparse, sparse.values.name)
    for index, node in enumerate(graph.node):
        if _is_constant(node):
            yield constant_of_node(index, node, weights)


def constant_of_node(index: int, node: NodeProto, weights: Weights) -> TensorProto:
    """The tensor of a ``Constant`` node.

    Args:
        index: Position of the node, for messages.
        node: The node.
        weights: Checks the tensor.

    Raises:
        InputError: It is damaged.
    """
    if len(node.output) != 1 or len(node.attribute) != 1 or node.attribute[0].ref_attr_name:
        msg = f"node {index} ({node.name!r}, Constant) must have one value and one output"
        raise InputError(msg, hint="the file is damaged: export it again")
    attribute, name = node.attribute[0], node.output[0]
    if attribute.name == "sparse_value":
        return weights.dense(attribute.sparse_tensor, name)
    if attribute.name != "value":
        return _constant_of_list(attribute, name)
    tensor: TensorProto = attribute.t
    tensor.name = name
    weights.check(tensor)
    return tensor


def _constant_of_list(attribute: AttributeProto, name: str) -> TensorProto:
    if attribute.name in ("value_string", "value_strings"):
        one = attribute.name == "value_string"
        items = [attribute.s] if one else attribute.strings
        return TensorProto(name=name, data_type=TensorProto.STRING, dims=[] if one else [len(items)], string_data=items)
    values: dict[str, np.ndarray] = {
        "value_float": np.array(attribute.f, np.float32),
        "value_floats": np.array(attribute.floats, np.float32),
        "value_int": np.array(attribute.i, np.int64),
        "value_ints": np.array(attribute.ints, np.int64),
    }
    if attribute.name not in values:
        msg = f"the Constant node of {name!r} has the unknown attribute {attribute.name!r}"
        raise InputError(msg, hint="the file is damaged: export it again")
    return tensor_of(values[attribute.name], name)


def _record(index: int, node: NodeProto) -> Node:
    writes = tuple(name for name in node.output if name)
    reads = tuple(dict.fromkeys(name for name in _names_read(node) if name))
    # A node without a named output is named as a viewer would list it.
    name = node.name or (writes[0] if writes else f"{node.op_type}_{index}")
    if node.op_type == "MeanVarianceNormalization" and node.domain in STANDARD_DOMAINS and not node.attribute:
        # The checker of the library expands this operator and does not know its default.
        node.attribute.append(AttributeProto(name="axes", type=AttributeProto.INTS, ints=[0, 2, 3]))
    return Node(index=index, proto=node, name=name, reads=reads, writes=writes)


def _names_read(node: NodeProto) -> Iterable[str]:
    yield from node.input
    for attribute in node.attribute:
        for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _captured(body)


def _captured(body: GraphProto) -> Iterable[str]:
    """Names that a body reads from the graphs around it."""
    own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    own |= {sparse.values.name for sparse in body.sparse_initializer}
    outer: dict[str, None] = {}
    for node in body.node:
        outer |= dict.fromkeys(name for name in _names_read(node) if name not in own)
        own.update(node.output)
    return [*outer, *(value.name for value in body.output if value.name not in own)]


def _check_names(
    graph: GraphProto, inputs: Sequence[ValueInfoProto], nodes: Sequence[Node], constants: Mapping[str, TensorProto]
) -> None:
    defined = dict.fromkeys(constants, "a constant")
    for name, by in [
        *((value.name, "a graph input") for value in inputs),
        *((name, f"node {node.name!r}") for node in nodes for name in node.writes),
    ]:
        if name in defined or not name:
            other = f"{defined[name]} and {by}" if name else f"{by}: a name is needed"
            msg = f"tensor {name!r} is defined by {other}"
            raise InputError(msg, hint="the file is damaged: export it again")
        defined[name] = by
    for name, by in [
        *((name, f"node {node.name!r}") for node in nodes for name in node.reads),
        *((value.name, "the list of graph outputs") for value in graph.output),
    ]:
        if name not in defined:
            msg = f"{by} refers to the tensor {name!r}, which nothing computes"
            raise InputError(msg, hint="the file is damaged: export it again")


def _in_execution_order(nodes: Sequence[Node]) -> list[Node]:
    """Sort nodes that stand before what they need; the rest stay where they are."""
    producer = {name: position for position, node in enumerate(nodes) for name in node.writes}
    readers: dict[int, list[int]] = {}
    waiting = []
    for position, node in enumerate(nodes):
        before = {producer[name] for name in node.reads if name in producer}
        waiting.append(len(before))
        for other in before:
            readers.setdefault(other, []).append(position)
    ready = [position for position, count in enumerate(waiting) if count == 0]
    ordered = []
    while ready:
        position = heapq.heappop(ready)
        ordered.append(nodes[position])
        for reader in readers.get(position, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if len(ordered) < len(nodes):
        stuck = next(node for position, node in enumerate(nodes) if waiting[position])
        msg = f"node {stuck.name!r} ({stuck.proto.op_type}) needs its own result: nodes form a circle"
        raise InputError(msg, hint="the file is damaged: export it again")
    return ordered
