"""Convolutions: plain, grouped, depthwise and transposed, in two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from synap_core.api import QuantizedTensor, QuantParams, shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.layout import Layout, Window, layout_of, window_of
from synap_frontend_tensorflow.importer.operands import REAL, operands
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator


@operator("Conv2D")
def conv_2d(call: Call) -> ir.Value:
    """Convolution with weights ``[height, width, in / groups, out]``; the channels of the input tell the groups."""
    layout = layout_of(call)
    return layout.left(call, convolved(call, layout))


@operator("Conv3D")
def conv_3d(call: Call) -> ir.Value:
    """Convolution with weights ``[depth, height, width, in / groups, out]``."""
    layout = layout_of(call, "NDHWC")
    return layout.left(call, convolved(call, layout))


@operator("DepthwiseConv2dNative")
def depthwise_conv_2d(call: Call) -> ir.Value:
    """Convolution of each channel for itself with weights ``[height, width, channels, multiplier]``."""
    layout = layout_of(call)
    return layout.left(call, depthwise_convolved(call, layout))


@operator("Conv2DBackpropInput")
def conv_2d_backprop_input(call: Call) -> ir.Value:
    """Transposed convolution to a constant size with weights ``[height, width, out / groups, in]``."""
    weights, x = operands(call, REAL, 1, 2)
    return _transposed(call, layout_of(call), x, rearranged(call, weights, (3, 2, 0, 1)))


@operator("Conv3DBackpropInputV2")
def conv_3d_backprop_input(call: Call) -> ir.Value:
    """Transposed convolution to a constant size with weights ``[depth, height, width, out / groups, in]``."""
    weights, x = operands(call, REAL, 1, 2)
    return _transposed(call, layout_of(call, "NDHWC"), x, rearranged(call, weights, (4, 3, 0, 1, 2)))


@operator("DepthwiseConv2dNativeBackpropInput")
def depthwise_conv_2d_backprop_input(call: Call) -> ir.Value:
    """Transposed convolution of each channel for itself with weights ``[height, width, channels, multiplier]``."""
    weights, x = operands(call, REAL, 1, 2)
    layout = layout_of(call)
    return _transposed(call, layout, x, _depthwise_weights(call, weights, _result_sizes(call, layout)[1]))


def convolved(call: Call, layout: Layout) -> ir.Value:
    """Convolution of operand 0 with operand 1, whose last two dimensions are the channels; its channels are second."""
    x, weights = operands(call, REAL, 0, 1)
    last = layout.rank - 1
    return _convolution(
        call, layout, layout.entered(call, x), rearranged(call, weights, (last, last - 1, *range(last - 1)))
    )


def depthwise_convolved(call: Call, layout: Layout) -> ir.Value:
    """Convolution of each channel of operand 0 for itself with operand 1; its channels are second."""
    x, weights = operands(call, REAL, 0, 1)
    x = layout.entered(call, x)
    return _convolution(call, layout, x, _depthwise_weights(call, weights, shape_of(x)[1]))


def _convolution(call: Call, layout: Layout, x: ir.Value, weights: ir.Value) -> ir.Value:
    out, inner, *kernel = shape_of(weights)
    channels, *sizes = shape_of(x)[1:]
    groups = channels // max(inner, 1)
    if inner * groups != channels or not groups or out % groups:
        msg = f"weights for {inner} channels in and {out} out on an input of {channels} channels"
        raise UnsupportedError(msg)
    window = window_of(call, layout, sizes, kernel)
    return call.emit("Conv", x, weights, group=groups, **window.attributes())


def _transposed(call: Call, layout: Layout, x: ir.Value, weights: ir.Value) -> ir.Value:
    x = layout.entered(call, x)
    sizes, kernel = shape_of(x)[2:], shape_of(weights)[2:]
    wanted, channels = _result_sizes(call, layout)
    groups = channels // max(shape_of(weights)[1], 1)
    # Its strides and its padding are those of the convolution that it reverses.
    window = window_of(call, layout, wanted, kernel)
    if window.places(wanted) != sizes:
        msg = f"an output of {list(wanted)} pixels, which needs an input of {list(window.places(wanted))} pixels, "
        msg += f"from one of {list(sizes)}"
        raise UnsupportedError(msg)
    if not groups or channels != groups * shape_of(weights)[1] or shape_of(x)[1] != shape_of(weights)[0]:
        inner, outer = shape_of(weights)[:2]
        msg = f"weights for {inner} channels in and {outer} out between {shape_of(x)[1]} and {channels} channels"
        raise UnsupportedError(msg)
    after, extra = _behind(window, sizes, wanted)
    result = call.emit(
        "ConvTranspose",
        x,
        weights,
        kernel_shape=kernel,
        strides=window.strides,
        dilations=window.dilations,
        pads=(*window.before, *after),
        output_padding=extra,
        group=groups,
    )
    return layout.left(call, result)


def _behind(window: Window, sizes: Sequence[int], wanted: Sequence[int]) -> tuple[list[int], list[int]]:
    """What a transposed convolution cuts off at the end to get a size, and what it adds where there is too little."""
    parts = zip(sizes, window.strides, window.extents, window.before, wanted, strict=True)
    rest = [(size - 1) * step + extent - low - goal for size, step, extent, low, goal in parts]
    return [max(more, 0) for more in rest], [max(-more, 0) for more in rest]


def _result_sizes(call: Call, layout: Layout) -> tuple[tuple[int, ...], int]:
    """Height and width (and depth) of a transposed convolution, and its channels; the batch is that of the input."""
    given = call.integers(0)
    if len(given) != layout.rank or min(layout.spatial(given)) < 1:
        msg = f"an output of shape {list(given)}; {layout.rank} dimensions are needed"
        raise UnsupportedError(msg)
    return layout.spatial(given), given[layout.channels]


def _depthwise_weights(call: Call, value: ir.Value, wanted: int) -> ir.Value:
    """Weights ``[height, width, channels, multiplier]`` as those of one group for each of the channels wanted."""
    turned = rearranged(call, value, (2, 3, 0, 1))
    channels, multiplier, *kernel = shape_of(turned)
    if channels != wanted:
        msg = f"weights for {channels} channels on an image of {wanted} channels"
        raise UnsupportedError(msg)
    shape = (channels * multiplier, 1, *kernel)
    tensor = turned.const_value
    if isinstance(tensor, QuantizedTensor):
        quant = _of_products(tensor.quant, channels, multiplier)
        return call.build.quantized_constant(tensor.integers.reshape(shape), quant)
    if tensor is not None:
        return call.build.constant(tensor.numpy().reshape(shape))
    return call.emit("Reshape", turned, call.build.constant(shape))


def _of_products(quant: QuantParams, channels: int, multiplier: int) -> QuantParams:
    """Parameters along channels (0) or their multiples (1), along the channels of the result."""
    if quant.axis not in (0, 1):
        return quant
    pairs = zip(quant.scale, quant.zero_point, strict=True)
    repeated = [pair for pair in pairs for _ in range(multiplier)] if quant.axis == 0 else [*pairs] * channels
    scale, zero_point = zip(*repeated, strict=True)
    return replace(quant, scale=scale, zero_point=zero_point, axis=0)


def rearranged(call: Call, value: ir.Value, order: Sequence[int]) -> ir.Value:
    """Transpose weights; constant ones at once, so that they keep the integers that they are stored as.

    Raises:
        UnsupportedError: They have another number of dimensions.
    """
    if len(shape_of(value)) != len(order):
        msg = f"weights of shape {list(shape_of(value))}; {len(order)} dimensions are needed"
        raise UnsupportedError(msg)
    tensor = value.const_value
    if isinstance(tensor, QuantizedTensor):
        axis = None if tensor.quant.axis is None else order.index(tensor.quant.axis)
        return call.build.tensor(tensor.mapped(lambda items: items.transpose(order), axis))
    if tensor is not None:
        return call.build.constant(tensor.numpy().transpose(order))
    return call.emit("Transpose", value, perm=tuple(order))
