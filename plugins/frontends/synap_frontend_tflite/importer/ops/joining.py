"""Several tensors made one."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import quant_of, shape_of, type_of
from synap_frontend_tflite.importer.operator import ACTIVATIONS, Operator
from synap_frontend_tflite.importer.ops.reshaping import axis_of, keeps_quant, reshaped, same_meaning
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("CONCATENATION")
def concatenation(op: Operator) -> ir.Value:
    """Tensors behind each other along a dimension, and a fused activation function.

    Quantized operands may differ in their parameters: real numbers are joined. The kernel of int16 alone copies the
    stored integers.
    """
    values = [op.input(position) for position in range(len(op.inputs))]
    quant = op.outputs[0].quant
    if quant is not None and quant.dtype == "int16":
        same_meaning(op, *range(len(values)))
    axis = axis_of(op.integer("axis"), len(shape_of(op.input(0))))
    joined = op.emit("Concat", *values, axis=axis)
    if all(quant_of(value) == quant_of(values[0]) for value in values):
        keeps_quant(values[0], joined)
    return joined if op.integer("fusedActivationFunction") == 0 else _activated(op, joined)


def _activated(op: Operator, value: ir.Value) -> ir.Value:
    if type_of(value).dtype != ir.DataType.FLOAT:
        number = op.integer("fusedActivationFunction")
        name = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else str(number)
        msg = f"the activation function {name} of {type_of(value).dtype.name}"
        raise UnsupportedError(msg)
    return op.activated(value)


@operator("PACK")
def pack(op: Operator) -> ir.Value:
    """Tensors of one shape along a new dimension."""
    values = [op.input(position) for position in range(len(op.inputs))]
    same_meaning(op, *range(len(values)))
    shape = shape_of(op.input(0))
    axis = axis_of(op.integer("axis"), len(shape) + 1)
    rows = [reshaped(op, value, [*shape[:axis], 1, *shape[axis:]]) for value in values]
    return rows[0] if len(rows) == 1 else keeps_quant(values[0], op.emit("Concat", *rows, axis=axis))
