"""Which operators of the hardware the nodes of a group are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from synap_core.api import Group, activation_of, is_opaque, reason_of, shape_of
from synap_delegate_npu.support.operation import integer_of, kernel_of, layer_of, number_of, operand
from synap_delegate_npu.support.record import Record
from synap_delegate_npu.support.table import BY_NAME, RECORDS

DEFAULT_DOMAIN = ""

CHECKED = frozenset({"RESIZE", "SOFTMAX", "SWISH"})
"""Operators of several nodes whose operands decide, besides their types."""


@dataclass(frozen=True, slots=True)
class Part:
    """Nodes of a group that are one operator of the hardware.

    Attributes:
        record: The operator.
        nodes: The nodes, in execution order.
    """

    record: Record
    nodes: tuple[ir.Node, ...]


class Unrecognised(ValueError):  # noqa: N818 - it is a finding more than an error
    """A node that is no operator of the hardware; says why."""


def parts_of(group: Group) -> tuple[Part, ...]:
    """Split a group into operators of the hardware.

    Raises:
        Unrecognised: One of its nodes is none.
    """
    return tuple(Part(BY_NAME[_name_of(nodes)], tuple(nodes)) for nodes in _units(group.nodes))


def _units(nodes: Sequence[ir.Node]) -> Iterator[Sequence[ir.Node]]:
    """Nodes that are one operator each: what is written out, a pair, or a single one."""
    start = 0
    while start < len(nodes):
        end = start + _length(nodes[start:])
        yield nodes[start:end]
        start = end


def _length(nodes: Sequence[ir.Node]) -> int:
    activation = activation_of(nodes[0])
    if activation is not None:
        return next((i for i, node in enumerate(nodes) if activation_of(node) != activation), len(nodes))
    if len(nodes) > 1 and pair_name(nodes[0], nodes[1]):
        return 2
    return max(_interpolation_length(nodes), 1)


def _interpolation_length(nodes: Sequence[ir.Node]) -> int:
    """How many of the first nodes are an interpolation that is written out; 0 when they are none."""
    if not is_weighting(nodes[0]):
        return 0
    pairs = enumerate(pairwise(nodes), 1)
    end = next((i for i, (one, other) in pairs if not interpolates(other, one.outputs[0])), len(nodes))
    return end if end > 1 else 0


def is_weighting(node: ir.Node) -> bool:
    """Whether a node multiplies from the left by a constant matrix that weights two items, or one, for each result."""
    weights = operand(node, 0)
    if node.domain or node.op_type != "MatMul" or weights is None or weights.const_value is None:
        return False
    if len(shape_of(weights)) != 2:
        return False
    rows = weights.const_value.numpy()
    return bool(np.all(rows >= 0) and np.all(rows.sum(axis=1) == 1) and np.all(np.count_nonzero(rows, axis=1) <= 2))


def interpolates(node: ir.Node, value: ir.Value) -> bool:
    """Whether a node goes on with an interpolation that is written out: a further product by weights, or a reshape."""
    if is_weighting(node):
        return node.inputs[1] is value
    return not node.domain and node.op_type == "Reshape" and node.inputs[0] is value


def pair_name(first: ir.Node, second: ir.Node) -> str:
    """Operator that two nodes are together, the second of which reads the first; empty when they are none."""
    data = operand(first, 0)
    if first.domain or second.domain or first.outputs[0] not in second.inputs or data is None:
        return ""
    words = first.op_type, second.op_type
    if words == ("Sigmoid", "Mul"):
        return "SWISH" if set(second.inputs) == {data, first.outputs[0]} else ""
    if words == ("Mul", "Softmax"):
        return "SOFTMAX" if any(number_of(value) is not None for value in first.inputs) else ""
    return _PAIRS.get(words, "")


def _name_of(nodes: Sequence[ir.Node]) -> str:
    """Name of the operator that nodes are.

    Raises:
        Unrecognised: They are none.
    """
    node = nodes[0]
    activation = activation_of(node)
    if activation is not None and activation.name in _BY_OPERATOR:
        return _BY_OPERATOR[activation.name]
    if len(nodes) > 1:
        return pair_name(*nodes[:2]) or "RESIZE"
    if is_opaque(node):
        msg = f"{node.op_type} {layer_of(node)!r} cannot be expressed: {reason_of(node)}"
        raise Unrecognised(msg)
    if node.domain != DEFAULT_DOMAIN:
        msg = f"operator {node.domain}.{node.op_type} of {layer_of(node)!r} is unknown to the npu"
        raise Unrecognised(msg)
    if node.op_type in _CHOICES:
        return _CHOICES[node.op_type](node)
    if node.op_type not in _BY_OPERATOR:
        msg = f"operator {node.op_type} of {layer_of(node)!r} is not among those of the npu"
        raise Unrecognised(msg)
    return _BY_OPERATOR[node.op_type]


def _convolution(node: ir.Node) -> str:
    """By axes and groups. One of a single position by a single item is a product of a vector and a matrix."""
    groups, data = integer_of(node, "group", 1), operand(node, 0)
    spatial = () if data is None else shape_of(data)[2:]
    _require_axes(node, spatial)
    if groups == 1 and set(kernel_of(node)) == set(spatial) == set(shape_of(node.outputs[0])[2:]) == {1}:
        return "FULLY_CONNECTED"
    return f"{'CONV' if groups == 1 else 'GROUPED_CONV'}{len(spatial)}D"


def _deconvolution(node: ir.Node) -> str:
    data = operand(node, 0)
    spatial = () if data is None else shape_of(data)[2:]
    _require_axes(node, spatial)
    return "DECONVOLUTION" if len(spatial) == 2 else "DECONVOLUTION1D"


def _require_axes(node: ir.Node, spatial: Sequence[int]) -> None:
    if len(spatial) not in (1, 2):
        msg = f"operator {node.op_type} of {layer_of(node)!r} works along one axis or two, got {len(spatial)}"
        raise Unrecognised(msg)


def _matrix_product(node: ir.Node) -> str:
    weights = operand(node, 1)
    constant = weights is not None and weights.const_value is not None and len(shape_of(weights)) == 2
    return "FULLY_CONNECTED" if constant else "MATRIXMUL"


def _product(node: ir.Node) -> str:
    return "SQUARE" if operand(node, 0) is operand(node, 1) else "MULTIPLY"


def _clip(node: ir.Node) -> str:
    """RELUN cuts at zero and at one positive number."""
    low, high = number_of(operand(node, 1)), number_of(operand(node, 2))
    return "RELUN" if low == 0 and high is not None and high > 0 else "CLIP"


def _max_pool(node: ir.Node) -> str:
    indices = node.outputs[1] if len(node.outputs) > 1 else None
    used = indices is not None and (bool(indices.uses()) or indices.is_graph_output())
    return "POOLWITHARGMAX" if used else "POOL"


def _slice(node: ir.Node) -> str:
    given = operand(node, 4)
    steps = {1} if given is None or given.const_value is None else set(given.const_value.numpy().tolist())
    if steps <= {1}:
        return "SLICE"
    whole = all(shape_of(v) == shape_of(node.outputs[0]) for v in node.inputs[:1] if v is not None)
    return "REVERSE" if whole and steps <= {1, -1} else "STRIDED_SLICE"


_CHOICES: dict[str, Callable[[ir.Node], str]] = {
    "Clip": _clip,
    "Conv": _convolution,
    "ConvTranspose": _deconvolution,
    "MatMul": _matrix_product,
    "MaxPool": _max_pool,
    "Mul": _product,
    "Slice": _slice,
}
"""Operators of the canonical graph that can be several ones of the hardware."""

_BY_OPERATOR = {
    word: record.name for record in RECORDS for word in record.canonical if word not in _CHOICES and "+" not in word
}

_PAIRS = {
    (first, second): record.name
    for record in RECORDS
    for first, plus, second in (word.partition("+") for word in record.canonical)
    if plus and record.name not in CHECKED
}
