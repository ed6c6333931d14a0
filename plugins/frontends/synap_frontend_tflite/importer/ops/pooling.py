"""Pooling over windows of height and width."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import Attribute, shape_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.convolution import pads
from synap_frontend_tflite.importer.ops.elementwise import real
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("MAX_POOL_2D")
def max_pool_2d(op: Operator) -> ir.Value:
    """Largest item of each window."""
    x = op.channels_first(real(op, 0))
    return op.channels_last(op.activated(op.emit("MaxPool", x, **_window(op, x))))


@operator("AVERAGE_POOL_2D")
def average_pool_2d(op: Operator) -> ir.Value:
    """Mean of each window; padding does not count."""
    x = op.channels_first(real(op, 0))
    return op.channels_last(op.activated(_mean(op, x)))


@operator("L2_POOL_2D")
def l2_pool_2d(op: Operator) -> ir.Value:
    """Root of the mean of the squares of each window; padding does not count."""
    x = op.channels_first(real(op, 0))
    return op.channels_last(op.activated(op.emit("Sqrt", _mean(op, op.emit("Mul", x, x)))))


def _mean(op: Operator, x: ir.Value) -> ir.Value:
    return op.emit("AveragePool", x, count_include_pad=0, **_window(op, x))


def _window(op: Operator, x: ir.Value) -> dict[str, Attribute]:
    kernel = (op.integer("filterHeight"), op.integer("filterWidth"))
    strides = (op.integer("strideH"), op.integer("strideW"))
    if min(kernel) < 1:
        msg = f"a window of {kernel[0]}x{kernel[1]} pixels"
        raise UnsupportedError(msg)
    around = pads(op, shape_of(x)[2:], kernel, strides, (1, 1))
    return {"kernel_shape": kernel, "strides": strides, "pads": around}
