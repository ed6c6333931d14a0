"""Pools over any number of spatial dimensions, channels first."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.rules.window import kernel_shape, slid, window_of
from synap_core.graph.types import TensorType

INT64 = ir.DataType.INT64


@rule("AveragePool", "LpPool", "MaxPool")
def pool(node: Operands) -> list[TensorType]:
    """``(N, C, positions of the window...)``; of a MaxPool also where the items are, as int64."""
    first = node.ranked(0, 3)
    window = window_of(node, kernel_shape(node, first.rank - 2))
    if any(pad >= size for pad, size in zip(window.begins + window.ends, window.kernel * 2, strict=True)):
        node.refuse(f"padding {list(window.begins + window.ends)} beside a window of {list(window.kernel)}")
    # Runtimes pad as if there were no dilations, and get another shape than the specification says.
    node.require(not window.is_same or max(window.dilations) == 1, "auto_pad with dilations, where it must have pads")
    shape = (*first.shape[:2], *slid(node, first.shape[2:], window, round_up=node.flag("ceil_mode")))
    places = [TensorType(INT64, shape)] if node.op_type == "MaxPool" else []
    return [TensorType(first.dtype, shape), *places]


@rule("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool")
def global_pool(node: Operands) -> list[TensorType]:
    """``(N, C, 1, ...)``."""
    first = node.ranked(0, 3)
    return [TensorType(first.dtype, first.shape[:2] + (1,) * (first.rank - 2))]


@rule("MaxUnpool")
def max_unpool(node: Operands) -> list[TensorType]:
    """What a MaxPool was of; the shape can be given where several would do."""
    first = node.ranked(0, 3)
    node.shaped(1, *first.shape)
    window = window_of(node, kernel_shape(node, first.rank - 2))
    if node.has(2):
        wanted = node.known_integers(2)
        node.require(wanted[:2] == first.shape[:2] and len(wanted) == first.rank, f"a result of shape {list(wanted)}")
        return [TensorType(first.dtype, wanted)]
    spatial = tuple(
        stride * (dim - 1) + extent - begin - end
        for dim, stride, extent, begin, end in zip(
            first.shape[2:], window.strides, window.extents, window.begins, window.ends, strict=True
        )
    )
    return [TensorType(first.dtype, (*first.shape[:2], *spatial))]


@rule("MaxRoiPool")
def max_roi_pool(node: Operands) -> list[TensorType]:
    """``(regions, C, pooled height and width)``."""
    first, regions = node.ranked(0, 4, 4), node.ranked(1, 2, 2)
    node.shaped(1, regions.shape[0], 5)
    pooled = node.integers("pooled_shape")
    if pooled is None or len(pooled) != 2 or min(pooled) < 1:
        node.refuse(f"attribute pooled_shape is {pooled}, not two positive integers")
    return [TensorType(first.dtype, (regions.shape[0], first.shape[1], *pooled))]


@rule("RoiAlign")
def roi_align(node: Operands) -> list[TensorType]:
    """``(regions, C, output height and width)``."""
    first, regions = node.ranked(0, 4, 4), node.ranked(1, 2, 2)
    node.shaped(1, regions.shape[0], 4)
    node.shaped(2, regions.shape[0])
    node.word("mode", "avg", ("avg", "max"))
    node.require(node.integer("sampling_ratio", 0) >= 0, "attribute sampling_ratio is negative")
    size = (node.positive("output_height", 1), node.positive("output_width", 1))
    return [TensorType(first.dtype, (regions.shape[0], first.shape[1], *size))]
