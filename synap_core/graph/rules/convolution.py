"""Convolutions over any number of spatial dimensions, channels first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.rules.window import Window, items, slid, window_of
from synap_core.graph.types import TensorType


@rule("Conv")
def conv(node: Operands) -> list[TensorType]:
    """``(N, M, ...)`` of an input ``(N, C, ...)`` and weights ``(M, C/group, ...)``."""
    return [_convolved(node, 1, node.type(0).dtype, bias=2)]


@rule("ConvInteger")
def conv_integer(node: Operands) -> list[TensorType]:
    """As a convolution, int32."""
    return [_convolved(node, 1, ir.DataType.INT32)]


@rule("QLinearConv")
def qlinear_conv(node: Operands) -> list[TensorType]:
    """As a convolution, of the element type of the result's zero point."""
    return [_convolved(node, 3, node.type(7).dtype, bias=8)]


def _convolved(node: Operands, weights: int, dtype: ir.DataType, bias: int | None = None) -> TensorType:
    """Type of a convolution; ``weights`` and ``bias`` are the positions of these inputs."""
    first = node.ranked(0, 3)
    filters = node.ranked(weights, first.rank, first.rank)
    kernel = _kernel(node, filters.shape[2:])
    _check_groups(node, first.shape[1], filters.shape[1], filters.shape[0])
    if bias is not None:
        node.shaped(bias, filters.shape[0])
    return TensorType(dtype, (first.shape[0], filters.shape[0], *slid(node, first.shape[2:], window_of(node, kernel))))


def _kernel(node: Operands, found: Sequence[int]) -> Sequence[int]:
    """Spatial dimensions of the weights, which the attribute may only repeat."""
    stated = node.integers("kernel_shape")
    if min(found) < 1 or (stated is not None and stated != tuple(found)):
        node.refuse(f"attribute kernel_shape is {stated}, the weights have {list(found)}")
    return found


def _check_groups(node: Operands, channels: int, per_group: int, filters: int) -> None:
    group = node.positive("group", 1)
    if channels != per_group * group or filters % group:
        node.refuse(f"{channels} channels in {group} groups for {filters} filters of {per_group} channels each")


@rule("ConvTranspose")
def conv_transpose(node: Operands) -> list[TensorType]:
    """``(N, M, ...)`` of an input ``(N, C, ...)`` and weights ``(C, M/group, ...)``."""
    first = node.ranked(0, 3)
    filters = node.ranked(1, first.rank, first.rank)
    window = window_of(node, _kernel(node, filters.shape[2:]))
    group = node.positive("group", 1)
    if filters.shape[0] != first.shape[1] or first.shape[1] % group:
        node.refuse(f"{first.shape[1]} channels in {group} groups for weights of shape {list(filters.shape)}")
    node.shaped(2, filters.shape[1] * group)
    return [TensorType(first.dtype, (first.shape[0], filters.shape[1] * group, *_grown(node, first.shape[2:], window)))]


def _grown(node: Operands, dims: Sequence[int], window: Window) -> tuple[int, ...]:
    """Spatial dimensions of a transposed convolution."""
    extra = items(node, "output_padding", len(dims), 0)
    if any(more and more >= max(pair) for more, *pair in zip(extra, window.strides, window.dilations, strict=True)):
        node.refuse(f"output_padding {list(extra)}, which must be less than the strides or the dilations")
    whole = [
        stride * (dim - 1) + more + extent
        for dim, stride, more, extent in zip(dims, window.strides, extra, window.extents, strict=True)
    ]
    result = _wanted(node, dims, window, whole)
    # A result that is asked for may be longer by what no window reaches, but not so that one more would fit.
    if any(not 0 < found < full + step for found, full, step in zip(result, whole, window.strides, strict=True)):
        node.refuse(f"a result whose spatial dimensions are {list(result)}, of {whole} without padding")
    return result


def _wanted(node: Operands, dims: Sequence[int], window: Window, whole: Sequence[int]) -> tuple[int, ...]:
    """Dimensions as they are asked for, of ``whole`` items without padding."""
    if "output_shape" in node.attributes:
        node.require(window.auto_pad != "VALID", "attribute output_shape beside auto_pad VALID")
        return items(node, "output_shape", len(dims), 1)
    if window.is_same:
        node.require(not any(node.integers("output_padding") or ()), "attribute output_padding beside auto_pad")
        return tuple(min(dim * stride, full) for dim, stride, full in zip(dims, window.strides, whole, strict=True))
    return tuple(full - begin - end for full, begin, end in zip(whole, window.begins, window.ends, strict=True))


@rule("DeformConv")
def deform_conv(node: Operands) -> list[TensorType]:
    """As a convolution; each position of the window has its offsets, and perhaps a weight."""
    result = _convolved(node, 1, node.type(0).dtype, bias=3)
    groups = node.positive("offset_group", 1)
    places = groups * math.prod(node.type(1).shape[2:])
    node.require(node.type(0).shape[1] % groups == 0, f"{node.type(0).shape[1]} channels in {groups} offset groups")
    node.shaped(2, result.shape[0], 2 * places, *result.shape[2:])
    node.shaped(4, result.shape[0], places, *result.shape[2:])
    return [result]


@rule("Col2Im")
def col2im(node: Operands) -> list[TensorType]:
    """The image ``(N, C, ...)`` of its blocks ``(N, C * items of a block, number of blocks)``."""
    first = node.ranked(0, 3, 3)
    image, block = node.known_integers(1), node.known_integers(2)
    if len(image) != len(block) or min(*image, *block, 1) < 1:
        node.refuse(f"an image of {list(image)} with blocks of {list(block)}")
    blocks = math.prod(slid(node, image, window_of(node, block)))
    items = math.prod(block)
    if first.shape[1] % items or first.shape[2] != blocks:
        node.refuse(f"input of shape {list(first.shape)} for {blocks} blocks of {items} items")
    return [TensorType(first.dtype, (first.shape[0], first.shape[1] // items, *image))]
