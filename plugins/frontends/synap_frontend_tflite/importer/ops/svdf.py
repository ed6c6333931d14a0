"""SVDF: a dense layer whose results are kept for some steps and filtered along time."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import quant_of, shape_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.registry import UnsupportedError, operator
from synap_frontend_tflite.importer.sequences import expect_shape, linear, matrix, noted, reshaped, state


@operator("SVDF")
def svdf(op: Operator) -> ir.Value:
    """The results of the last steps, weighted by time and added up.

    Operands: input ``[batch, inputs]``, weights by feature ``[filters, inputs]``, by time ``[filters, memory]``,
    bias ``[units]`` or none, and the state ``[batch, filters * memory]``; the result is ``[batch, units]``.
    """
    value, by_feature, by_time, bias = op.input(0), op.input(1), op.input(2), op.optional(3)
    filters, memory, units = _sizes(op, by_time)
    batch, _ = matrix(value)
    name, old = state(op, 4, (batch, filters * memory))
    quant = quant_of(old)
    feature = noted(linear(op, value, by_feature), quant)
    columns = [
        *_without_oldest(op, reshaped(op, old, (batch, filters, memory))),
        reshaped(op, feature, (batch, filters, 1)),
    ]
    new = noted(op.emit("Concat", *columns, axis=2), quant) if memory > 1 else columns[0]
    op.memory.assign(name, reshaped(op, new, (batch, filters * memory)))
    # A unit is the sum of `rank` filters in a row.
    products = reshaped(op, op.emit("Mul", new, by_time), (batch, units, filters // units * memory))
    result = op.emit("ReduceSum", products, op.build.constant([2]), keepdims=0)
    if bias is not None:
        expect_shape("a bias", bias, (units,))
        result = op.emit("Add", result, bias)
    # The kernel of integers knows no activation: the range of its result is one.
    return result if op.outputs[0].quant is not None else op.activated(result)


def _sizes(op: Operator, by_time: ir.Value) -> tuple[int, int, int]:
    (filters, memory), rank = matrix(by_time), op.integer("rank")
    if rank < 1 or filters % rank or memory < 1:
        msg = f"weights by time of shape {[filters, memory]} for the rank {rank}"
        raise UnsupportedError(msg)
    return filters, memory, filters // rank


def _without_oldest(op: Operator, old: ir.Value) -> list[ir.Value]:
    memory = shape_of(old)[2]
    bounds = (op.build.constant([number]) for number in (1, memory, 2))
    return [noted(op.emit("Slice", old, *bounds), quant_of(old))] if memory > 1 else []
