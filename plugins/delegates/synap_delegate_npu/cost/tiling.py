"""How the convolution cores cut a convolution into tiles, and what work that makes.

The rules are those of the open driver of sibling cores (Mesa's etnaviv, ``etnaviv_ml_nn``): tiles are 64 output columns
wide; narrow maps pack two or four rows into a step; the lines of the input buffer and the accumulators bound the height
of a tile and the number of kernels computed at once. If these are not all kernels, the input is read again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from synap_delegate_npu.cost.layers import Map, Operation

TILE_WIDTH = 64
"""Output columns of a tile, and multipliers of a core that work on them."""

INPUT_LINES = 9
"""Lines of the input buffer of a core."""

ACCUMULATORS = 32
"""Rows of accumulators of a core."""

MOST_KERNELS = ACCUMULATORS * 6 // 9
"""Kernels that a core computes at once."""

DOT_LENGTH = 3
"""Products that a multiplier sums up in a cycle."""


class Work(NamedTuple):
    """Work of one item of a batch.

    Attributes:
        mac_slots: Products that the cores have time for, idle ones included.
        load: Elements that the cores read, repeated reading included.
        rearranged: Elements that the tensor processor rearranges in front of a convolution with a stride.
    """

    mac_slots: float
    load: float
    rearranged: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """A convolution of stride 1 cut into tiles.

    Attributes:
        steps: Rows of 64 multipliers that one kernel needs, for each of its products.
        kernels: Output channels for each core.
        passes: How often the input is read.
        halo: Elements read for a tile, as a multiple of the elements in it.
    """

    steps: int
    kernels: int
    passes: int
    halo: float


def tile(output: Map, kernel: tuple[int, int], cores: int) -> Tiling:
    """Cut a convolution of stride 1.

    Args:
        output: What it computes.
        kernel: Height and width of the window.
        cores: Number of convolution cores.
    """
    width = min(output.width, TILE_WIDTH)
    rows = _rows_per_step(width, kernel[0])
    height = max(1, min(INPUT_LINES * rows - kernel[0] + 1, ACCUMULATORS * rows, output.height))
    full, rest = divmod(output.height, height)
    kernels = math.ceil(output.channels / cores)
    at_once = max(1, min(_kernels_at_once(width, height, rows, kernel[1]), MOST_KERNELS, kernels))
    return Tiling(
        steps=math.ceil(output.width / width) * (full * math.ceil(height / rows) + math.ceil(rest / rows)),
        kernels=kernels,
        passes=math.ceil(kernels / at_once),
        halo=(height + kernel[0] - 1) / height * (width + kernel[1] - 1) / width,
    )


def _rows_per_step(width: int, kernel_height: int) -> int:
    reach = kernel_height - 1 + width
    if width > TILE_WIDTH // 2 or reach > (TILE_WIDTH + 8) // 2:
        return 1
    return 4 if width <= TILE_WIDTH // 4 and reach <= (TILE_WIDTH + 8) // 4 else 2


def _kernels_at_once(width: int, height: int, rows: int, kernel_width: int) -> int:
    taken = math.ceil(height / rows) if kernel_width == 1 else math.ceil(width * height / TILE_WIDTH)
    return ACCUMULATORS // taken


def convolution_work(operation: Operation, cores: int) -> Work:
    """Work of a convolution or deconvolution on the convolution cores.

    They know no strides. A depthwise or 1x1 convolution is computed for all positions, most of which are dropped. For
    others, the input is rearranged so that steps become channels. A deconvolution is a convolution to as many more
    channels, 1x1 if its window is as large as its step, and rearranging them costs nothing.

    Args:
        operation: The operation.
        cores: Number of convolution cores.
    """
    output, kernel, channels, strides = operation.output, operation.kernel, operation.input.channels, 1
    step = operation.stride[0] * operation.stride[1]
    rearranged = 0
    if operation.kind == "deconvolution":
        source = operation.input
        output = Map(source.height, source.width, output.channels * step)
        kernel = _shrunk(kernel, operation.stride)
    elif step > 1 and (operation.depthwise or kernel == (1, 1)):
        strides = step
    elif step > 1:
        rearranged = operation.input_elements
        kernel = _shrunk(kernel, operation.stride)
        channels *= step
    cut = tile(output, kernel, cores)
    depth = kernel[0] * kernel[1] * (1 if operation.depthwise else channels // operation.groups)
    products = DOT_LENGTH * math.ceil(depth / DOT_LENGTH) * cut.kernels * cores
    return Work(
        mac_slots=float(TILE_WIDTH * cut.steps * products * strides),
        load=operation.input_elements * (1 if operation.depthwise else cut.passes) * cut.halo,
        rearranged=float(rearranged),
    )


def _shrunk(kernel: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    """Window in steps in place of pixels."""
    return math.ceil(kernel[0] / stride[0]), math.ceil(kernel[1] / stride[1])
