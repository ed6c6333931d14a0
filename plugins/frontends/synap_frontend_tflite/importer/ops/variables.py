"""Variables that models keep by handles."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("VAR_HANDLE", "CALL_ONCE")
def nothing(_: Operator) -> Sequence[ir.Value]:
    """Handles are followed when they are used, and first values looked up in the subgraph that assigns them."""
    return ()


@operator("READ_VARIABLE")
def read_variable(op: Operator) -> ir.Value:
    """The value that the variable has by now."""
    return op.memory.read(_variable(op), op.outputs[0].quant)


@operator("ASSIGN_VARIABLE")
def assign_variable(op: Operator) -> Sequence[ir.Value]:
    """The value is the variable's from here on, and its new one when nothing assigns it again."""
    op.memory.assign(_variable(op), op.input(1))
    return ()


def _variable(op: Operator) -> str:
    name = op.variables[0] if op.variables else None
    if name is None:
        msg = "its first operand is no handle of a variable"
        raise UnsupportedError(msg)
    return name
