"""Compute the tensors that do not depend on the inputs' data.

Exporters write the arithmetic on shapes as operators (``Shape``, ``Gather``, ``Concat``, …). With static shapes their
results are known. They become constants: shape inference sees through them, and a cut never has to hand them over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synap_frontend_onnx.dimensions import static_shape
from synap_frontend_onnx.graph import Graph, Node
from synap_frontend_onnx.inspector import Inspector, RefusedError
from synap_frontend_onnx.protos import ModelProto, TensorProto, ValueInfoProto, attributes, tensor_of
from synap_frontend_onnx.weights import is_small

FOLDABLE = frozenset(
    word
    for line in (
        "Abs Add And Cast Ceil Concat ConstantOfShape Div Equal Expand Flatten Floor Gather Greater GreaterOrEqual",
        "Identity Less LessOrEqual Max Min Mul Neg Not Or Range ReduceMax ReduceMin ReduceProd Reshape Shape Size",
        "Slice Squeeze Sub Tile Transpose Unsqueeze Where",
    )
    for word in line.split()
)
"""Operators with one exact result, whatever computes it (see `synap_frontend_onnx.child` for their limits)."""

RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Operators that may give another result each time."""


def fold(
    graph: Graph, types: Mapping[str, ValueInfoProto], folded: Mapping[str, TensorProto], inspector: Inspector
) -> dict[str, TensorProto]:
    """Compute small tensors that follow from constants and static shapes.

    Args:
        graph: The model.
        types: Types and shapes, as far as they are known.
        folded: What is computed already.
        inspector: Computes.

    Returns:
        What can be computed besides.
    """
    values = {name: tensor for name, tensor in graph.constants.items() if is_small(tensor)} | dict(folded)
    fresh: dict[str, TensorProto] = {}
    candidates: list[Node] = []
    reachable = set(values)
    for node in graph.nodes:
        if len(node.writes) != 1 or node.writes[0] in folded or not node.standard:
            continue
        shape = _shape_result(node, types)
        if shape is not None:
            fresh[node.writes[0]] = shape
        elif node.proto.op_type in FOLDABLE and reachable.issuperset(node.reads):
            candidates.append(node)
        else:
            continue
        reachable.add(node.writes[0])
    return fresh | _computed(graph, candidates, values | fresh, inspector)


def constant_tensors(graph: Graph, folded: Mapping[str, TensorProto]) -> frozenset[str]:
    """Names of all tensors that do not depend on the inputs' data, computed or not.

    Control flow and operators of other domains are taken to depend on more than their operands.
    """
    known = {*graph.constants, *folded}
    for node in graph.nodes:
        plain = node.standard or (node.proto.domain, node.proto.op_type) == ("com.microsoft", "DequantizeLinear")
        if plain and node.proto.op_type not in RANDOM and not node.has_bodies and known.issuperset(node.reads):
            known.update(node.writes)
    return frozenset(known)


def _shape_result(node: Node, types: Mapping[str, ValueInfoProto]) -> TensorProto | None:
    """Result of ``Shape`` or ``Size`` of a tensor with a static shape."""
    kind = node.proto.op_type
    if kind not in ("Shape", "Size") or len(node.reads) != 1 or node.reads[0] not in types:
        return None
    shape = static_shape(types[node.reads[0]].type)
    if shape is None:
        return None
    result = np.array(shape, np.int64)
    if kind == "Size":
        return tensor_of(np.asarray(result.prod(dtype=np.int64)), node.writes[0])
    limits = dict(attributes(node.proto))
    return tensor_of(result[limits.get("start") : limits.get("end")], node.writes[0])


def _computed(
    graph: Graph, nodes: Sequence[Node], values: Mapping[str, TensorProto], inspector: Inspector
) -> dict[str, TensorProto]:
    model = ModelProto(opset_import=graph.model.opset_import)
    model.graph.node.extend(node.proto for node in nodes)
    if not model.graph.node:
        return {}
    needed = dict.fromkeys(name for node in nodes for name in node.reads if name in values)
    model.graph.initializer.extend(graph.weights.load(values[name]) for name in needed)
    try:
        results = inspector.evaluate(model).graph.initializer
    except RefusedError:
        return {}
    return {tensor.name: tensor for tensor in results}
