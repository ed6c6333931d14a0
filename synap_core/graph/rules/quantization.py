"""Operators between real numbers and the integers that stand for them."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType

UINT8, FLOAT = ir.DataType.UINT8, ir.DataType.FLOAT


@rule("QuantizeLinear")
def quantize(node: Operands) -> list[TensorType]:
    """Of the input's shape and the zero point's element type, by default uint8."""
    _check_parameters(node)
    return [TensorType(node.type(2).dtype if node.has(2) else UINT8, node.type(0).shape)]


@rule("DequantizeLinear")
def dequantize(node: Operands) -> list[TensorType]:
    """Of the input's shape and the scale's element type."""
    _check_parameters(node)
    return [TensorType(node.type(1).dtype, node.type(0).shape)]


def _check_parameters(node: Operands) -> None:
    """One scale, or one per item of the axis; as many zero points."""
    first, scale = node.type(0), node.ranked(1, 0, 1)
    if scale.size != 1:
        axis = node.axis(first.rank, 1)
        count = first.shape[axis]
        node.require(scale.shape == (count,), f"{scale.size} scales for {count} items of axis {axis}")
    if node.has(2):
        points = node.ranked(2, 0, 1).size
        node.require(points == scale.size, f"{points} zero points for {scale.size} scales")


@rule("DynamicQuantizeLinear")
def dynamic_quantize(node: Operands) -> list[TensorType]:
    """The integers, their scale and their zero point."""
    return [TensorType(UINT8, node.type(0).shape), TensorType(FLOAT, ()), TensorType(UINT8, ())]
