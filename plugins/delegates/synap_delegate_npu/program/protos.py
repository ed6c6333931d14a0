"""What this delegate uses of the ``onnx`` package: the one module that imports it."""

from __future__ import annotations

import onnx.defs
from onnx import FunctionProto

__all__ = ["FunctionProto", "Schema", "has_schema", "register_schema"]

Schema = onnx.defs.OpSchema
"""Definition of an operator."""


def has_schema(name: str, version: int, domain: str) -> bool:
    """Whether the definition of an operator is known already."""
    return bool(onnx.defs.has(name, version, domain))


def register_schema(schema: Schema) -> None:
    """Make the definition of an operator known."""
    onnx.defs.register_schema(schema)
