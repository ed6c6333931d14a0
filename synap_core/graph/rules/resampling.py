"""Operators that sample an image at other places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType

MAX_SCALE = float(1 << 40)
"""So that no dimension is too large for float32; a tensor that has grown as much is too large anyway."""

POLICIES = ("stretch", "not_larger", "not_smaller")


@rule("Resize")
def resize(node: Operands) -> list[TensorType]:
    """The sizes given, or the dimensions times the scales, rounded down."""
    first = node.type(0)
    axes = node.axes_of(node.integers("axes") or range(first.rank), first.rank)
    policy = node.word("keep_aspect_ratio_policy", "stretch", POLICIES)
    dims = list(first.shape)
    before = [dims[axis] for axis in axes]
    after = _sized(node, before, policy) if node.has(3) and node.type(3).size else _scaled(node, before)
    for axis, dim in zip(axes, after, strict=True):
        dims[axis] = dim
    return [TensorType(first.dtype, tuple(dims))]


def _scaled(node: Operands, dims: Sequence[int]) -> list[int]:
    node.require(node.has(2), "it has neither scales nor sizes")
    scales = node.known(2)
    if len(scales) != len(dims) or not np.issubdtype(scales.dtype, np.floating):
        node.refuse(f"{len(scales)} scales of {scales.dtype} for {len(dims)} axes")
    node.require(
        bool(((scales > 0) & (scales < MAX_SCALE)).all()),
        f"scales {scales.tolist()} are not positive numbers below 2**40",
    )
    # Runtimes multiply in float32.
    return [math.floor(np.float32(dim) * np.float32(scale)) for dim, scale in zip(dims, scales, strict=True)]


def _sized(node: Operands, dims: Sequence[int], policy: str) -> list[int]:
    sizes = node.known_integers(3)
    node.require(not (node.has(2) and node.type(2).size), "it has scales and sizes")
    node.require(len(sizes) == len(dims) and min(sizes, default=1) > 0, f"sizes {list(sizes)} for {len(dims)} axes")
    if policy == "stretch":
        return list(sizes)
    node.require(min(dims, default=1) > 0, f"no aspect ratio of {list(dims)}")
    ratios = [np.float32(size) / np.float32(dim) for size, dim in zip(sizes, dims, strict=True)]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [math.floor(float(scale * np.float32(dim)) + 0.5) for dim in dims]


@rule("GridSample")
def grid_sample(node: Operands) -> list[TensorType]:
    """``(N, C, height and width of the grid)``; the grid is ``(N, height, width, 2)``."""
    first, grid = node.ranked(0, 4, 4), node.ranked(1, 4, 4)
    if grid.shape[0] != first.shape[0] or grid.shape[3] != 2:
        node.refuse(f"a grid of shape {list(grid.shape)} for a tensor of shape {list(first.shape)}")
    return [TensorType(first.dtype, (*first.shape[:2], *grid.shape[1:3]))]
