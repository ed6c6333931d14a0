"""Pooling over windows of height and width (and depth)."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.layout import Layout, Window, layout_of, steps, window_of
from synap_frontend_tensorflow.importer.operands import REAL, operands
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator


@operator("MaxPool", "MaxPoolV2", "MaxPool3D", "MaxPoolWithArgmax")
def max_pool(call: Call) -> ir.Value:
    """Largest item of each window, whose sides and strides are attributes or operands; padding does not count."""
    if len(call.tensors) > 1:
        msg = "the places of the largest items are read"
        raise UnsupportedError(msg)
    layout = _layout(call)
    (x,) = operands(call, REAL, 0)
    x = layout.entered(call, x)
    return layout.left(call, call.emit("MaxPool", x, **_window(call, layout, x).attributes(dilated=False)))


@operator("AvgPool", "AvgPool3D")
def average_pool(call: Call) -> ir.Value:
    """Mean of each window; padding does not count."""
    layout = _layout(call)
    (x,) = operands(call, REAL, 0)
    x = layout.entered(call, x)
    window = _window(call, layout, x).attributes(dilated=False)
    return layout.left(call, call.emit("AveragePool", x, count_include_pad=0, **window))


def _layout(call: Call) -> Layout:
    return layout_of(call, "NDHWC" if call.type.endswith("3D") else "NHWC")


def _window(call: Call, layout: Layout, x: ir.Value) -> Window:
    given = call.type == "MaxPoolV2"
    sides = call.integers(1) if given else call.integer_list("ksize")
    strides = call.integers(2) if given else None
    window = window_of(call, layout, shape_of(x)[2:], steps(layout, sides, "a window"), strides)
    if any(max(ends) >= side for side, *ends in zip(window.kernel, window.before, window.after, strict=True)):
        msg = f"a padding of {[*window.before, *window.after]} pixels around a window of {list(window.kernel)}"
        raise UnsupportedError(msg)
    return window
