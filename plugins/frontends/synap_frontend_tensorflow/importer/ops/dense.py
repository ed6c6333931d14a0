"""Products of matrices, and the bias behind them."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import FLOATS, NUMBERS, operands, row, shaped
from synap_frontend_tensorflow.importer.ops.convolution import rearranged
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator


@operator("MatMul")
def matmul(call: Call) -> ir.Value:
    """Product of two matrices, either of them transposed if the attributes say so."""
    return product(call)


def product(call: Call) -> ir.Value:
    """Product of the matrices that are operands 0 and 1; with constant weights a fully connected layer."""
    left, right = operands(call, NUMBERS, 0, 1)
    turned = call.flag("transpose_a", default=False), call.flag("transpose_b", default=False)
    if len(shape_of(left)) != 2 or len(shape_of(right)) != 2:
        msg = f"operands of shape {list(shape_of(left))} and {list(shape_of(right))}; two dimensions are needed"
        raise UnsupportedError(msg)
    left = rearranged(call, left, (1, 0)) if turned[0] else left
    if left.const_value is None and right.const_value is not None and right.const_value.dtype in FLOATS:
        weights = right if turned[1] else rearranged(call, right, (1, 0))
        return call.emit("Gemm", left, weights, transB=1)
    return call.emit("MatMul", left, rearranged(call, right, (1, 0)) if turned[1] else right)


@operator("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def batch_matmul(call: Call) -> ir.Value:
    """Product of the last two dimensions, either operand transposed in them if the attributes say so."""
    left, right = operands(call, NUMBERS, 0, 1)
    left = _transposed(call, left) if call.flag("adj_x", default=False) else left
    right = _transposed(call, right) if call.flag("adj_y", default=False) else right
    if min(len(shape_of(left)), len(shape_of(right))) < 2:
        msg = f"operands of shape {list(shape_of(left))} and {list(shape_of(right))}; matrices are needed"
        raise UnsupportedError(msg)
    return call.emit("MatMul", left, right)


def _transposed(call: Call, value: ir.Value) -> ir.Value:
    rank = len(shape_of(value))
    if rank < 2:
        msg = f"a matrix of shape {list(shape_of(value))}"
        raise UnsupportedError(msg)
    return rearranged(call, value, (*range(rank - 2), rank - 1, rank - 2))


@operator("BiasAdd", "BiasAddV1")
def bias_add(call: Call) -> ir.Value:
    """Sum with one number per channel: along the last dimension, or the second one in NCHW."""
    x, _ = operands(call, NUMBERS, 0, 1)
    rank = len(shape_of(x))
    name = call.text("data_format", "NHWC")
    if rank < 2 or name not in ("NHWC", "NCHW"):
        msg = f"the data format {name} of a tensor of shape {list(shape_of(x))}"
        raise UnsupportedError(msg)
    return call.emit("Add", x, bias_of(call, 1, x, 1 if name == "NCHW" else rank - 1))


def bias_of(call: Call, position: int, x: ir.Value, axis: int) -> ir.Value:
    """An operand with one item per channel, in a shape that broadcasts along a dimension of a value."""
    shape = shape_of(x)
    value = row(call, position, shape[axis], "bias")
    return shaped(call, value, (shape[axis], *[1] * (len(shape) - axis - 1)))
