"""Products and determinants of matrices."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.graph.rules.einsum import einsum_shape
from synap_core.graph.rules.registry import Operands, broadcast, rule
from synap_core.graph.types import TensorType


@rule("MatMul")
def matmul(node: Operands) -> list[TensorType]:
    """Product of stacks of matrices that broadcast; a vector stands for a row on the left, a column on the right."""
    return [TensorType(node.type(0).dtype, _product(node, 0, 1))]


@rule("MatMulInteger")
def matmul_integer(node: Operands) -> list[TensorType]:
    """As MatMul, int32."""
    return [TensorType(ir.DataType.INT32, _product(node, 0, 1))]


@rule("QLinearMatMul")
def qlinear_matmul(node: Operands) -> list[TensorType]:
    """As MatMul, of the element type of the result's zero point."""
    return [TensorType(node.type(7).dtype, _product(node, 0, 3))]


def _product(node: Operands, left: int, right: int) -> tuple[int, ...]:
    a, b = node.ranked(left, 1).shape, node.ranked(right, 1).shape
    rows, inner = a[-2:-1], b[-2] if len(b) > 1 else b[0]
    columns = b[-1:] if len(b) > 1 else ()
    node.require(a[-1] == inner, f"matrices of the shapes {list(a)} and {list(b)}")
    return broadcast(node.op_type, a[:-2], b[:-2]) + rows + columns


@rule("Gemm")
def gemm(node: Operands) -> list[TensorType]:
    """``(M, N)``; the third input broadcasts to it."""
    a, b = node.ranked(0, 2, 2).shape, node.ranked(1, 2, 2).shape
    a, b = a[::-1] if node.flag("transA") else a, b[::-1] if node.flag("transB") else b
    node.require(a[1] == b[0], f"matrices of the shapes {list(a)} and {list(b)}, after transposing")
    result = (a[0], b[1])
    node.spread(2, result)
    return [TensorType(node.type(0).dtype, result)]


@rule("Det")
def determinant(node: Operands) -> list[TensorType]:
    """Without the dimensions of the square matrices."""
    first = node.ranked(0, 2)
    node.require(first.shape[-1] == first.shape[-2], f"matrices of shape {list(first.shape)}, which are not square")
    return [TensorType(first.dtype, first.shape[:-2])]


@rule("Einsum")
def einsum(node: Operands) -> list[TensorType]:
    """As the equation says."""
    found = node.all_types()
    return [TensorType(found[0].dtype, einsum_shape(node, [each.shape for each in found]))]
