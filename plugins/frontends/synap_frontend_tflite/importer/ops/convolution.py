"""Convolutions: plain, grouped, depthwise and transposed, in two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantizedTensor, QuantParams, Twin, quant_of, set_quant, set_twin, shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import converted, real
from synap_frontend_tflite.importer.registry import UnsupportedError, operator

SAME = 0
VALID = 1
"""Padding schemes of the schema."""


@operator("CONV_2D")
def conv_2d(op: Operator) -> ir.Value:
    """Convolution with weights ``[out, height, width, in / groups]``; the channels of the input tell the groups."""
    return _convolution(op, (0, 3, 1, 2))


@operator("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(op: Operator) -> ir.Value:
    """Convolution of each channel for itself with weights ``[1, height, width, channels * multiplier]``."""
    shape = shape_of(op.input(1))
    if shape[:1] != (1,):
        msg = f"weights of shape {list(shape)}; the first dimension must be 1"
        raise UnsupportedError(msg)
    return _convolution(op, (3, 0, 1, 2))


@operator("CONV_3D")
def conv_3d(op: Operator) -> ir.Value:
    """Convolution with weights ``[depth, height, width, in / groups, out]``."""
    return _convolution(op, (4, 3, 0, 1, 2))


@operator("TRANSPOSE_CONV")
def transpose_conv(op: Operator) -> ir.Value:
    """Transposed convolution with weights ``[out, height, width, in]``."""
    return _transposed(op, (3, 0, 1, 2))


@operator("CONV_3D_TRANSPOSE")
def conv_3d_transpose(op: Operator) -> ir.Value:
    """Transposed convolution with weights ``[depth, height, width, out, in]``."""
    return _transposed(op, (4, 3, 0, 1, 2))


def _convolution(op: Operator, order: Sequence[int]) -> ir.Value:
    x = _channels_first(op, real(op, 0), len(order))
    weights = rearranged(op, real(op, 1), order)
    out, inner, *kernel = shape_of(weights)
    channels, *sizes = shape_of(x)[1:]
    groups = channels // max(inner, 1)
    if inner * groups != channels or not groups or out % groups:
        msg = f"weights for {inner} channels in and {out} out on an input of {channels} channels"
        raise UnsupportedError(msg)
    strides, dilations = _steps(op, len(kernel))
    found = op.emit(
        "Conv",
        x,
        weights,
        bias(op, 2, x, weights, out),
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads(op, sizes, kernel, strides, dilations),
        group=groups,
    )
    return _channels_last(op, op.activated(found))


def _transposed(op: Operator, order: Sequence[int]) -> ir.Value:
    x = _channels_first(op, real(op, 2), len(order))
    weights = rearranged(op, real(op, 1), order)
    kernel, sizes = shape_of(weights)[2:], shape_of(x)[2:]
    wanted = _output_sizes(op, len(order))
    strides, dilations = _steps(op, len(kernel))
    # The padding is that of the convolution which this one reverses.
    low = pads(op, wanted, kernel, strides, dilations)[: len(kernel)]
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    full = [(n - 1) * s + extent for n, s, extent in zip(sizes, strides, extents, strict=True)]
    high = [whole - front - size for whole, front, size in zip(full, low, wanted, strict=True)]
    extra = [max(-end, 0) for end in high]
    if any(more >= stride for more, stride in zip(extra, strides, strict=True)):
        msg = f"an output of {list(wanted)} pixels from {list(sizes)} ones in steps of {list(strides)}"
        raise UnsupportedError(msg)
    found = op.emit(
        "ConvTranspose",
        x,
        weights,
        bias(op, 3, x, weights, shape_of(weights)[1]),
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=[*low, *(max(end, 0) for end in high)],
        output_padding=extra,
    )
    return _channels_last(op, op.activated(found))


def _output_sizes(op: Operator, rank: int) -> tuple[int, ...]:
    """Height and width (and depth) of a transposed convolution: its first operand, or what the file says."""
    known = op.stored(0) is None and op.outputs[0].static
    shape = op.outputs[0].type.shape if known else op.integers(0)
    if len(shape) != rank:
        msg = f"an output of shape {list(shape)}; {rank} dimensions are needed"
        raise UnsupportedError(msg)
    return shape[1:-1]


def _channels_first(op: Operator, value: ir.Value, rank: int) -> ir.Value:
    if rank == 4:
        return op.channels_first(value)
    if len(shape_of(value)) != rank:
        msg = f"a tensor of shape {list(shape_of(value))}; {rank} dimensions are needed"
        raise UnsupportedError(msg)
    return op.emit("Transpose", value, perm=(0, 4, 1, 2, 3))


def _channels_last(op: Operator, value: ir.Value) -> ir.Value:
    if len(shape_of(value)) == 4:
        return op.channels_last(value)
    set_twin(value, Twin(op.outputs[0].id, (0, 4, 1, 2, 3)))
    return op.emit("Transpose", value, perm=(0, 2, 3, 4, 1))


def _steps(op: Operator, dimensions: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and dilations of the options."""
    axes = "DHW"[-dimensions:]
    strides = tuple(op.integer(f"stride{axis}") for axis in axes)
    if op.type == "TRANSPOSE_CONV":
        return strides, (1,) * dimensions
    return strides, tuple(op.integer(f"dilation{axis}Factor") for axis in axes)


def pads(
    op: Operator, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """Padding in front of every dimension, then behind every one.

    ``SAME`` adds what the last window lacks, half of it (rounded down) in front, the rest behind.

    Raises:
        UnsupportedError: The padding scheme is not known, or a step is not positive.
    """
    scheme = op.integer("padding")
    if scheme not in (SAME, VALID):
        msg = f"the padding scheme {scheme}"
        raise UnsupportedError(msg)
    if min(*strides, *dilations) < 1:
        msg = f"strides of {list(strides)} and dilations of {list(dilations)}; they must be positive"
        raise UnsupportedError(msg)
    if scheme == VALID:
        return [0] * (2 * len(sizes))
    totals = [
        max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    return [*(total // 2 for total in totals), *(total - total // 2 for total in totals)]


def rearranged(op: Operator, value: ir.Value, order: Sequence[int]) -> ir.Value:
    """Transpose weights, which keep their quantization; constant ones at once, so that they keep their integers, too.

    Raises:
        UnsupportedError: They have another number of dimensions.
    """
    if len(shape_of(value)) != len(order):
        msg = f"weights of shape {list(shape_of(value))}; {len(order)} dimensions are needed"
        raise UnsupportedError(msg)
    tensor = value.const_value
    if isinstance(tensor, QuantizedTensor):
        axis = None if tensor.quant.axis is None else order.index(tensor.quant.axis)
        return op.build.tensor(tensor.mapped(lambda items: items.transpose(order), axis))
    if tensor is not None:
        return op.build.constant(tensor.numpy().transpose(order))
    turned = op.emit("Transpose", value, perm=tuple(order))
    quant = quant_of(value)
    if quant is not None and quant.axis is None:
        set_quant(turned, quant)
    return turned


def bias(op: Operator, position: int, x: ir.Value, weights: ir.Value, channels: int) -> ir.Value | None:
    """The bias at a position as a row of real numbers; None when it is absent.

    The kernels add an integer bias to products of stored input and weights, so its scale is the product of theirs,
    whatever the file says of the bias.

    Args:
        op: The operator.
        position: Of the bias among its operands.
        x: The input; tells its scale.
        weights: The weights; tell theirs, one or one per channel of the output.
        channels: How many channels the output has.

    Raises:
        UnsupportedError: It has not one item per channel, or holds integers where input and weights do not.
    """
    value = op.optional(position)
    if value is None:
        return None
    if type_of(value).size != channels:
        msg = f"a bias of shape {list(shape_of(value))} for {channels} channels"
        raise UnsupportedError(msg)
    stored = op.stored(position)
    dtype = type_of(value).dtype.name.lower() if stored is None else stored.dtype.name
    if "int" not in dtype:
        return _row(op, real(op, position))
    quant = _bias_quant(quant_of(x), quant_of(weights), dtype)
    if len(quant.scale) not in (1, channels):
        msg = f"weights with {len(quant.scale)} scales for {channels} channels"
        raise UnsupportedError(msg)
    if stored is not None:
        return op.build.quantized_constant(stored.reshape(-1), quant)
    scale = np.asarray(quant.scale, np.float32)
    return op.emit("Mul", _row(op, converted(op, value, ir.DataType.FLOAT)), op.build.constant(scale))


def _row(op: Operator, value: ir.Value) -> ir.Value:
    return value if len(shape_of(value)) == 1 else op.emit("Reshape", value, op.build.constant([type_of(value).size]))


def _bias_quant(x: QuantParams | None, weights: QuantParams | None, dtype: str) -> QuantParams:
    if x is None or weights is None or len(x.scale) != 1:
        msg = f"a bias of {dtype} without quantized input and weights"
        raise UnsupportedError(msg)
    # Rounded to float32, which is what files hold scales in: what is written can be read again.
    scales = tuple(float(np.float32(x.scale[0] * scale)) for scale in weights.scale)
    axis = None if weights.axis is None else 0
    return QuantParams(dtype=dtype, scheme="asymmetric_affine", scale=scales, zero_point=(0,) * len(scales), axis=axis)
