"""Comparisons and logic of two tensors, which broadcast as in NumPy, and what is chosen by them."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import LOGICAL, NUMBERS, operands, shaped
from synap_frontend_tensorflow.importer.registry import operator

COMPARISONS = {
    "Equal": "Equal",
    "Greater": "Greater",
    "GreaterEqual": "GreaterOrEqual",
    "Less": "Less",
    "LessEqual": "LessOrEqual",
    "NotEqual": "Equal",
}


@operator(*COMPARISONS)
def comparison(call: Call) -> ir.Value:
    """Whether a relation holds."""
    allowed = (*NUMBERS, *LOGICAL) if COMPARISONS[call.type] == "Equal" else NUMBERS
    found = call.emit(COMPARISONS[call.type], *operands(call, allowed, 0, 1))
    return call.emit("Not", found) if call.type == "NotEqual" else found


@operator("LogicalAnd", "LogicalOr")
def logical(call: Call) -> ir.Value:
    """Both, or at least one."""
    return call.emit({"LogicalAnd": "And", "LogicalOr": "Or"}[call.type], *operands(call, LOGICAL, 0, 1))


@operator("LogicalNot")
def logical_not(call: Call) -> ir.Value:
    """The opposite."""
    return call.emit("Not", *operands(call, LOGICAL, 0))


@operator("Select", "SelectV2")
def select(call: Call) -> ir.Value:
    """Items of operand 1 where a condition holds, those of operand 2 elsewhere.

    All three broadcast; but the older operator has a condition of one dimension choose along the *first* one.
    """
    (condition,) = operands(call, LOGICAL, 0)
    x, y = operands(call, (*NUMBERS, *LOGICAL), 1, 2)
    rank = len(shape_of(x))
    if call.type == "Select" and len(shape_of(condition)) == 1 and rank > 1:
        condition = shaped(call, condition, [*shape_of(condition), *[1] * (rank - 1)])
    if type_of(x).dtype not in LOGICAL:
        return call.emit("Where", condition, x, y)
    # Runtimes lack the choice between truth values.
    both = call.emit("And", condition, x), call.emit("And", call.emit("Not", condition), y)
    return call.emit("Or", *both)
