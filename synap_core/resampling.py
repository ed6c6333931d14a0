"""Image resizing with the filters of the on-board runtime's resampler."""

from __future__ import annotations

import math
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
_Float32: TypeAlias = NDArray[np.float32]
_Float64: TypeAlias = NDArray[np.float64]
_Item = TypeVar("_Item", np.uint8, np.float32)

_RADIUS = 2.0
"""Reach of both filters, in pixels of the coarser of the two grids."""

_BLOCK_ROWS = 32
"""Rows computed by one matrix product: enough to be fast, few enough that most of the matrix is not zero."""

_BLOCK_PRODUCTS = 1 << 18
"""Multiplications of one matrix product: so few that NumPy's library does not spread them over threads of its own.

Images are decoded on several threads at a time, and those of the library would wait for each other busily. It makes
the result independent of the number of cores, too.
"""


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resample an image, linearly in the stored values (no gamma) and with repeated edge pixels.

    An axis that grows goes through a Catmull-Rom filter; one that shrinks or stays goes through a Mitchell filter,
    stretched by the reduction. An axis that keeps its size is therefore softened a little, as on the board.

    Args:
        pixels: ``(H, W, channels) uint8``, no side zero.
        height: Wanted height, at least 1.
        width: Wanted width, at least 1.

    Returns:
        ``(height, width, channels) uint8``, rounded half up.

    Source: behaviour of ``stb_image_resize`` 0.97 for 8-bit images (formats, section 4.1).
    """
    rows, columns, _ = pixels.shape
    if rows * width <= height * columns:
        values = _resample_rows(_transpose(_resample_rows(_transpose(pixels), width)), height)
    else:
        values = _transpose(_resample_rows(_transpose(_resample_rows(pixels, height)), width))
    rounded: _Float32 = np.floor(np.clip(values, 0, 255) + np.float32(0.5))
    return rounded.astype(np.uint8)


def _transpose(image: NDArray[_Item]) -> NDArray[_Item]:
    return np.ascontiguousarray(image.transpose(1, 0, 2))


def _resample_rows(image: NDArray[_Item], count: int) -> _Float32:
    """Resample the first axis of a contiguous array of rank 3 to ``count`` entries."""
    source = image.reshape(image.shape[0], -1)
    result = np.empty((count, source.shape[1]), np.float32)
    for start in range(0, count, _BLOCK_ROWS):
        block = result[start : start + _BLOCK_ROWS]
        first, weights = _weights(source.shape[0], count, start, start + len(block))
        window = source[first : first + weights.shape[1]]
        step = max(1, _BLOCK_PRODUCTS // weights.size)
        for column in range(0, source.shape[1], step):
            part = slice(column, column + step)
            block[:, part] = weights @ window[:, part].astype(np.float32)
    return result.reshape(count, *image.shape[1:])


def _weights(size: int, count: int, start: int, stop: int) -> tuple[int, _Float32]:
    """Filter coefficients of the outputs ``start`` to ``stop`` out of ``count``, for an axis of ``size`` pixels.

    Returns:
        The first pixel the outputs read, and ``(outputs, pixels)`` coefficients, each row of sum 1.
    """
    scale = count / size
    kernel, spread = (_catmull_rom, 1.0) if scale > 1 else (_mitchell, scale)
    centres = (np.arange(start, stop) + 0.5) / scale
    first = math.floor(centres[0] - _RADIUS / spread)
    last = math.ceil(centres[-1] + _RADIUS / spread)
    taps = kernel(np.abs(np.arange(first, last + 1) + 0.5 - centres[:, None]) * spread)
    taps /= taps.sum(axis=1, keepdims=True)
    low, high = max(first, 0), min(last, size - 1)
    weights = taps[:, low - first : high - first + 1].copy()
    weights[:, 0] += taps[:, : low - first].sum(axis=1)
    weights[:, -1] += taps[:, high - first + 1 :].sum(axis=1)
    return low, weights.astype(np.float32)


def _catmull_rom(x: _Float64) -> _Float64:
    near = 1 - x**2 * (2.5 - 1.5 * x)
    far = 2 - x * (4 - x * (2.5 - 0.5 * x))
    return np.where(x < 1, near, np.where(x < _RADIUS, far, 0.0))


def _mitchell(x: _Float64) -> _Float64:
    """Mitchell and Netravali's cubic with B = C = 1/3."""
    near = (16 + x**2 * (21 * x - 36)) / 18
    far = (32 + x * (-60 + x * (36 - 7 * x))) / 18
    return np.where(x < 1, near, np.where(x < _RADIUS, far, 0.0))
