"""Normalisation over channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.layout import FORMATS, Layout, layout_of
from synap_frontend_tensorflow.importer.operands import FLOATS, REAL, converted, operands, row, shaped
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator

STATISTICS = ("scale", "offset", "mean", "variance")
"""Operands 1 to 4 of the batch normalisation."""


@operator("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def fused_batch_norm(call: Call) -> Sequence[ir.Value]:
    """``(x - mean) / sqrt(variance + epsilon) * scale + offset`` per channel; then mean and variance as they are."""
    if call.flag("is_training", default=True):
        if _normalises_rows(call):
            return [_rows_normalised(call)]
        msg = "it normalises by the statistics of its own batch; freeze the graph for inference"
        raise UnsupportedError(msg)
    layout = _layout(call)
    y = layout.left(call, normalised(call, layout.entered(call, operands(call, REAL, 0)[0])))
    mean, variance = call.input(3), call.input(4)
    # What training would reserve for its gradients; the third piece of version 3 is empty.
    spare = [call.build.constant(np.zeros(0, np.float32))] if call.type.endswith("V3") else []
    return [y, mean, variance, mean, variance, *spare][: len(call.tensors)]


def _normalises_rows(call: Call) -> bool:
    """Whether it is what Keras writes for a layer normalisation: rows of one sample as channels, scale 1 and offset 0.

    That is the same whether a network is trained or used, and so are the rows if the batch is 1.
    """
    shape = shape_of(call.input(0))
    scale, offset = (call.input(position).const_value for position in (1, 2))
    if call.text("data_format", "NHWC") != "NCHW" or len(shape) != 4 or (shape[0], shape[3]) != (1, 1):
        return False
    if scale is None or offset is None or len(call.tensors) > 1:
        return False
    return bool((scale.numpy() == 1).all() and (offset.numpy() == 0).all())


def _rows_normalised(call: Call) -> ir.Value:
    x = operands(call, REAL, 0)[0]
    _, rows, length, _ = shape_of(x)
    ones = call.build.constant(np.ones(length, type_of(x).dtype.numpy()))
    epsilon = call.number("epsilon", 1e-4)
    found = call.emit("LayerNormalization", shaped(call, x, (rows, length)), ones, axis=-1, epsilon=epsilon)
    return shaped(call, found, (1, rows, length, 1))


def normalised(call: Call, x: ir.Value, first: int = 1) -> ir.Value:
    """A value, whose channels are second, normalised by the operands scale, offset, mean and variance from one on.

    Args:
        call: The operator.
        x: The value; numbers of 16 bits are normalised in 32, the type of the statistics.
        first: Position of the scale.
    """
    channels, kept = shape_of(x)[1], type_of(x).dtype
    statistics = [row(call, first + place, channels, name) for place, name in enumerate(STATISTICS)]
    wide = type_of(statistics[0]).dtype
    if wide not in FLOATS or any(type_of(value).dtype != wide for value in statistics):
        msg = f"statistics of {' and '.join(type_of(value).dtype.name for value in statistics)}"
        raise UnsupportedError(msg)
    epsilon = call.number("epsilon", 1e-4)
    found = call.emit("BatchNormalization", converted(call, x, wide), *statistics, epsilon=epsilon)
    return converted(call, found, kept)


def _layout(call: Call) -> Layout:
    """Version 3 takes volumes, too."""
    known = FORMATS.get(call.text("data_format", "NHWC"), (4, False))
    return layout_of(call, "NDHWC" if call.type.endswith("V3") and known[0] == 5 else "NHWC")


@operator("BatchNormWithGlobalNormalization")
def batch_norm_with_global_normalization(call: Call) -> ir.Value:
    """The older batch normalisation: operands mean, variance, offset and scale, the scale perhaps not applied."""
    layout = Layout(4, first=False)
    values = operands(call, REAL, 0, 1, 2, 3, 4)
    x = layout.entered(call, values[0])
    channels = shape_of(x)[1]
    names = ("mean", "variance", "offset", "scale")
    mean, variance, offset, scale = (row(call, 1 + place, channels, name) for place, name in enumerate(names))
    if not call.flag("scale_after_normalization"):
        scale = call.build.constant(np.ones(channels, type_of(x).dtype.numpy()))
    epsilon = call.number("variance_epsilon")
    return layout.left(call, call.emit("BatchNormalization", x, scale, offset, mean, variance, epsilon=epsilon))


@operator("LRN")
def lrn(call: Call) -> ir.Value:
    """``x / (bias + alpha * sum) ** beta``, the sum that of the squares of the channels up to a radius away."""
    layout = Layout(4, first=False)
    x = layout.entered(call, operands(call, REAL, 0)[0])
    radius = call.integer("depth_radius", 5)
    if radius < 0:
        msg = f"a radius of {radius} channels"
        raise UnsupportedError(msg)
    # Farther than the last channel there is nothing to add.
    size = 2 * min(radius, shape_of(x)[1]) + 1
    # The canonical operator multiplies the mean of that many squares, not their sum.
    found = call.emit(
        "LRN",
        x,
        size=size,
        alpha=call.number("alpha", 1.0) * size,
        beta=call.number("beta", 0.5),
        bias=call.number("bias", 1.0),
    )
    return layout.left(call, found)
