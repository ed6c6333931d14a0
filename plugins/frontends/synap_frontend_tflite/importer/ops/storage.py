"""Operators that only unpack constants."""

from __future__ import annotations

import onnx_ir as ir

from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("DENSIFY")
def densify(op: Operator) -> ir.Value:
    """A sparse constant made dense, which every constant is once it is read."""
    value = op.input(0)
    if value.const_value is None:
        msg = "its operand is computed; only a constant can be sparse"
        raise UnsupportedError(msg)
    return value
