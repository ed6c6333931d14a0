"""Products of matrices."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import quant_of, set_quant, shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.convolution import bias, rearranged
from synap_frontend_tflite.importer.ops.elementwise import real
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("FULLY_CONNECTED")
def fully_connected(op: Operator) -> ir.Value:
    """Rows of the input times weights ``[out, in]``; the input is cut into rows as long as those of the weights."""
    if op.integer("weightsFormat") != 0:
        msg = "weights shuffled for one kind of processor"
        raise UnsupportedError(msg)
    x, weights = real(op, 0), real(op, 1)
    if len(shape_of(weights)) != 2:
        msg = f"weights of shape {list(shape_of(weights))}; two dimensions are needed"
        raise UnsupportedError(msg)
    units, depth = shape_of(weights)
    rows = _rows(op, x, depth)
    product = op.activated(op.emit("Gemm", rows, weights, bias(op, 2, x, weights, units), transB=1))
    if not op.flag("keepNumDims") or len(shape_of(x)) == 2:
        return product
    set_quant(product, op.outputs[0].quant)
    return op.emit("Reshape", product, op.build.constant([*shape_of(x)[:-1], units]))


def _rows(op: Operator, x: ir.Value, depth: int) -> ir.Value:
    shape, items = shape_of(x), type_of(x).size
    if len(shape) == 2 and shape[1] == depth:
        return x
    if depth == 0 or items % depth:
        msg = f"an input of shape {list(shape)} and weights for rows of {depth} items"
        raise UnsupportedError(msg)
    rows = op.emit("Reshape", x, op.build.constant([items // depth, depth]))
    set_quant(rows, quant_of(x))
    return rows


@operator("BATCH_MATMUL")
def batch_matmul(op: Operator) -> ir.Value:
    """Product of the last two dimensions, either operand transposed in them if the options say so."""
    left = _transposed(op, real(op, 0)) if op.flag("adjX") else real(op, 0)
    right = _transposed(op, real(op, 1)) if op.flag("adjY") else real(op, 1)
    return op.emit("MatMul", left, right)


def _transposed(op: Operator, value: ir.Value) -> ir.Value:
    rank = len(shape_of(value))
    if rank < 2:
        msg = f"a matrix of shape {list(shape_of(value))}"
        raise UnsupportedError(msg)
    return rearranged(op, value, (*range(rank - 2), rank - 1, rank - 2))
