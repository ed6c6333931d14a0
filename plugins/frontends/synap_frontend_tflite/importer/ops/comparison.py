"""Comparisons and logic of two tensors, which broadcast as in NumPy."""

from __future__ import annotations

import onnx_ir as ir

from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import NUMBERS, operands, widened
from synap_frontend_tflite.importer.registry import operator

COMPARISONS = {"EQUAL": "Equal", "GREATER": "Greater", "GREATER_EQUAL": "GreaterOrEqual", "LESS": "Less"}
COMPARISONS |= {"LESS_EQUAL": "LessOrEqual", "NOT_EQUAL": "Equal"}

LOGICAL = (ir.DataType.BOOL,)


@operator(*COMPARISONS)
def comparison(op: Operator) -> ir.Value:
    """Whether a relation holds; quantized tensors are compared as the real numbers they are."""
    allowed = (*NUMBERS, ir.DataType.BOOL) if op.type in ("EQUAL", "NOT_EQUAL") else NUMBERS
    both = operands(op, allowed, 0, 1)
    found = widened(op, lambda *values: op.emit(COMPARISONS[op.type], *values), *both)
    return op.emit("Not", found) if op.type == "NOT_EQUAL" else found


@operator("LOGICAL_AND", "LOGICAL_OR")
def logical(op: Operator) -> ir.Value:
    """Both, or at least one."""
    return op.emit({"LOGICAL_AND": "And", "LOGICAL_OR": "Or"}[op.type], *operands(op, LOGICAL, 0, 1))


@operator("LOGICAL_NOT")
def logical_not(op: Operator) -> ir.Value:
    """The opposite."""
    return op.emit("Not", *operands(op, LOGICAL, 0))
