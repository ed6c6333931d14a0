"""Sets of nodes that become one hardware operation, and their layer ids.

The grouping here holds for any hardware: a convolution or matrix product takes its bias, its normalisation, its
activation and what scales or shifts the whole result along, and an activation written out in several nodes is one
operation. Delegates extend it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.graph.annotations import Origin, activation_of, origins_of, quant_of
from synap_core.graph.types import shape_of, type_of

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that begin a group when their weights are constant."""

CHANNEL_OPERATORS = frozenset({"Add", "Sub", "Mul", "Div", "BatchNormalization"})
"""Operators that belong to a product before them when all their other operands are constants, one per channel.

Channels are along the last axis behind a matrix product, along the second one behind the others.
"""

AFFINE_OPERATORS = frozenset({"Add", "Sub", "Mul", "Div"})
"""Operators that belong to the activation before them when their other operand is one number."""

ACTIVATIONS = frozenset(
    {
        "Clip",
        "Elu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Mish",
        "PRelu",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Tanh",
    }
)

MOVEMENTS = frozenset({"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
"""Operators that frontends add around those of the model; of several groups of a layer they are named last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Nodes that become one operation.

    Attributes:
        layer_id: Unique in the model; ``@`` and this in metafiles and reports.
        nodes: In execution order; only the last one's outputs are read outside of the group.
        origins: Source layers of the nodes, in execution order.
    """

    layer_id: str
    nodes: tuple[ir.Node, ...]
    origins: tuple[Origin, ...]


def group(model: ir.Model, keep: Collection[str] = ()) -> list[Group]:
    """Group the nodes of a canonical graph.

    Args:
        model: The graph.
        keep: Names of values that must exist between operations, besides the graph's outputs.

    Returns:
        Every node in exactly one group, in execution order of the groups' last nodes.
    """
    kept = {*keep, *(str(value.name) for value in model.graph.outputs)}
    written_out = _written_out_activations(model.graph)
    taken: set[int] = set()
    found = []
    for node in model.graph:
        if id(node) in taken:
            continue
        nodes = _from_product(node, kept, written_out) if _is_product(node) else written_out.get(id(node), [node])
        taken |= {id(member) for member in nodes}
        found.append(nodes)
    order = {id(node): position for position, node in enumerate(model.graph)}
    found.sort(key=lambda nodes: max(order[id(node)] for node in nodes))
    return _named(found)


def layer_id(origins: Sequence[Origin]) -> str:
    """Id of an operation: type and name of each source layer, and the index of the first one."""
    words = [word for origin in origins for word in (origin.type, origin.name)]
    first = min((origin.index for origin in origins), default=0)
    return "_".join([*words, str(first)])


def _is_product(node: ir.Node) -> bool:
    if node.domain or node.op_type not in PRODUCTS:
        return False
    return len(node.inputs) > 1 and node.inputs[1] is not None and node.inputs[1].const_value is not None


def _from_product(node: ir.Node, kept: Collection[str], written_out: Mapping[int, list[ir.Node]]) -> list[ir.Node]:
    nodes = [node]
    value = node.outputs[0]
    axis = _channel_axis(node)
    while (reader := _only_reader(value, kept)) is not None and _is_channel_operator(reader, value, axis):
        nodes.append(reader)
        value = reader.outputs[0]
    activation = next((written_out[id(use.node)] for use in value.uses() if id(use.node) in written_out), None)
    if activation is not None and _joined(value, activation, kept):
        nodes += activation
    elif (reader := _only_reader(value, kept)) is not None and _is_activation(reader, value):
        nodes.append(reader)
    while (reader := _only_reader(nodes[-1].outputs[0], kept)) is not None and _is_affine(reader, nodes[-1].outputs[0]):
        nodes.append(reader)
    return nodes


def _is_affine(node: ir.Node, value: ir.Value) -> bool:
    """Whether a node scales or shifts a whole tensor, which is no work where its steps are chosen."""
    if (
        node.domain
        or node.op_type not in AFFINE_OPERATORS
        or (node.op_type in ("Sub", "Div") and node.inputs[0] is not value)
    ):
        return False
    others = [operand for operand in node.inputs if operand is not None and operand is not value]
    return len(others) == 1 and others[0].const_value is not None and type_of(others[0]).size == 1


def _only_reader(value: ir.Value, kept: Collection[str]) -> ir.Node | None:
    """The node that reads a value, where nothing else needs it to exist: no other node, no cut, no rounding."""
    users = {id(use.node): use.node for use in value.uses()}
    if len(users) != 1 or value.name in kept or quant_of(value) is not None:
        return None
    return next(iter(users.values()))


def _channel_axis(product: ir.Node) -> int:
    """Axis of the channels in what a product gives."""
    return max(len(shape_of(product.outputs[0])) - 1, 0) if product.op_type == "MatMul" else 1


def _is_channel_operator(node: ir.Node, value: ir.Value, axis: int) -> bool:
    if node.domain or node.op_type not in CHANNEL_OPERATORS or len(node.outputs) != 1:
        return False
    others = [operand for operand in node.inputs if operand is not None and operand is not value]
    if len(others) < len([operand for operand in node.inputs if operand is not None]) - 1 or not others:
        return False
    return all(other.const_value is not None and _per_channel(node, other, value, axis) for other in others)


def _per_channel(node: ir.Node, constant: ir.Value, value: ir.Value, axis: int) -> bool:
    if node.op_type == "BatchNormalization":
        return axis == 1
    sizes, shape = shape_of(constant), shape_of(value)
    padded = (1,) * (len(shape) - len(sizes)) + sizes
    # A constant of more items than there are channels would make further ones.
    return len(padded) == len(shape) and all(
        size == 1 or (i == axis and size == shape[i]) for i, size in enumerate(padded)
    )


def _is_activation(node: ir.Node, value: ir.Value) -> bool:
    if node.domain or node.op_type not in ACTIVATIONS or node.inputs[0] is not value:
        return False
    return all(operand is None or operand.const_value is not None for operand in node.inputs[1:])


def _written_out_activations(graph: ir.Graph) -> dict[int, list[ir.Node]]:
    """Nodes of each activation that is written out, in execution order, under the id of each of them."""
    members: dict[str, list[ir.Node]] = {}
    for node in graph:
        activation = activation_of(node)
        if activation is not None:
            members.setdefault(activation.last, []).append(node)
    return {id(node): nodes for nodes in members.values() for node in nodes}


def _joined(value: ir.Value, activation: Sequence[ir.Node], kept: Collection[str]) -> bool:
    """Whether an activation that is written out is all that reads a value."""
    ids = {id(node) for node in activation}
    return value.name not in kept and quant_of(value) is None and all(id(use.node) in ids for use in value.uses())


def _named(groups: Iterable[Sequence[ir.Node]]) -> list[Group]:
    """Give ids. Where a layer became several operations, the one that is not mere movement gets the plain id."""
    found = [(tuple(nodes), tuple(_origins(nodes))) for nodes in groups]
    ids: dict[int, str] = {}
    used: set[str] = set()
    for position in sorted(range(len(found)), key=lambda i: all(node.op_type in MOVEMENTS for node in found[i][0])):
        name = layer_id(found[position][1])
        unique, number = name, 1
        while unique in used:
            number += 1
            unique = f"{name}.{number}"
        used.add(unique)
        ids[position] = unique
    return [Group(layer_id=ids[i], nodes=nodes, origins=origins) for i, (nodes, origins) in enumerate(found)]


def _origins(nodes: Sequence[ir.Node]) -> list[Origin]:
    origins = dict.fromkeys(origin for node in nodes for origin in origins_of(node))
    return sorted(origins, key=lambda origin: origin.index)
