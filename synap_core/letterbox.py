"""Where an image lands in a tensor of another shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_KEEP_TOP = 2
"""Value of ``keep_proportions`` that cuts the bottom of a tall image instead of adding side bars."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle in image pixels; may reach beyond the image.

    Attributes:
        x: Left edge.
        y: Top edge.
        width: Horizontal extent.
        height: Vertical extent.
    """

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """Where an image lands in a tensor, in tensor pixels unless stated otherwise.

    Attributes:
        top: Rows of fill above the picture.
        bottom: Rows of fill below it.
        left: Columns of fill on its left.
        right: Columns of fill on its right.
        height: Height of the picture.
        width: Width of the picture.
        source_height: Image rows that are used, counted from the top.
        rectangle: What the whole tensor covers, in image pixels.
    """

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    height: int
    width: int
    source_height: int
    rectangle: Rectangle


def letterbox(image_height: int, image_width: int, height: int, width: int, keep_proportions: int = 1) -> Letterbox:
    """Place an image in a tensor (formats, section 4.1).

    Args:
        image_height: Height of the image.
        image_width: Width of the image.
        height: Height of the tensor.
        width: Width of the tensor.
        keep_proportions: 0 stretches the image, 2 cuts its bottom instead of adding bars at its sides, any other
            value adds bars.

    Returns:
        Geometry in which picture and bars fill the tensor exactly; the picture keeps at least one row and column.
    """
    whole = Rectangle(0, 0, image_width, image_height)
    stretched = Letterbox(height=height, width=width, source_height=image_height, rectangle=whole)
    if keep_proportions == 0:
        return stretched
    ratio = np.float32(image_width) / np.float32(image_height)
    rows = max(1, int(float(np.float32(width) / ratio) + 0.5))
    band = height - rows
    if band > 0:
        return _with_bars_above_and_below(whole, band, height, width)
    if band == 0:
        return stretched
    if keep_proportions == _KEEP_TOP:
        used = max(1, image_height + band * (image_width // width))
        return Letterbox(height=height, width=width, source_height=used, rectangle=Rectangle(0, 0, image_width, used))
    columns = min(width, max(1, int(float(np.float32(height) * ratio) + 0.5)))
    return _with_bars_at_the_sides(whole, width - columns, height, width)


def _with_bars_above_and_below(whole: Rectangle, band: int, height: int, width: int) -> Letterbox:
    top = band // 2
    covered = Rectangle(0, -(top * whole.width // width), whole.width, whole.height + band * whole.width // width)
    return Letterbox(
        top=top,
        bottom=band - top,
        height=height - band,
        width=width,
        source_height=whole.height,
        rectangle=covered,
    )


def _with_bars_at_the_sides(whole: Rectangle, band: int, height: int, width: int) -> Letterbox:
    left = band // 2
    covered = Rectangle(-(left * whole.height // height), 0, whole.width + band * whole.height // height, whole.height)
    return Letterbox(
        left=left,
        right=band - left,
        height=height,
        width=width - band,
        source_height=whole.height,
        rectangle=covered,
    )
