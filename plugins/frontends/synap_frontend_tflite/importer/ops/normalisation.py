"""Normalisation over channels."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import real
from synap_frontend_tflite.importer.registry import UnsupportedError, operator

SMALLEST_NORM = 1e-6
"""Source: the reference kernel of L2_NORMALIZATION."""


@operator("L2_NORMALIZATION")
def l2_normalization(op: Operator) -> ir.Value:
    """Vectors along the last dimension divided by their length."""
    x = real(op, 0)
    length = op.emit("ReduceL2", x, op.build.constant([-1]), keepdims=1)
    return op.activated(op.emit("Div", x, op.emit("Max", length, op.build.constant(SMALLEST_NORM))))


@operator("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(op: Operator) -> ir.Value:
    """``x / (bias + alpha * s) ** beta``, s the sum of the squares of the channels up to ``radius`` away."""
    radius = op.integer("radius")
    if radius < 0:
        msg = f"a radius of {radius}"
        raise UnsupportedError(msg)
    x = op.channels_first(real(op, 0))
    # A window beyond all channels is the same, and runtimes need memory for it.
    size = 2 * min(radius, shape_of(x)[1]) + 1
    found = op.emit(
        "LRN",
        x,
        size=size,
        alpha=op.number("alpha") * size,  # the operator divides by the size
        beta=op.number("beta"),
        bias=op.number("bias"),
    )
    return op.channels_last(found)
