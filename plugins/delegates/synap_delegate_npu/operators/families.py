"""All families of operators: importing this module registers them."""

from __future__ import annotations

from synap_delegate_npu.operators import (
    conversion,
    convolution,
    elementwise,
    joining,
    matrices,
    movement,
    padding,
    pooling,
    reductions,
    resizing,
    slopes,
    softmax,
    tables,
)
from synap_delegate_npu.program.registry import REGISTRY

__all__ = ["FAMILIES", "REGISTRY"]

FAMILIES = (
    conversion,
    convolution,
    elementwise,
    joining,
    matrices,
    movement,
    padding,
    pooling,
    reductions,
    resizing,
    slopes,
    softmax,
    tables,
)
"""Modules of operators, in the order in which they are asked: tables take what is left."""
