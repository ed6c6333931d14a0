"""Resized images of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canonical import imported
from tests.support.single_operator import FEW, SEEDS, agrees, constant, options, refusal, single, tensor

MODES = {"asymmetric": {}, "align corners": {"alignCorners": True}, "half pixel": {"halfPixelCenters": True}}
BY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=list(MODES))
SIDES = st.tuples(st.integers(1, 13), st.integers(1, 13))


def sizes(*numbers: int) -> Any:
    return constant(np.asarray(numbers, np.int32))


@BY_MODE
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int16"])
@FEW
@given(before=SIDES, after=SIDES, seed=SEEDS)
def test_nearest(
    *,
    mode: dict[str, bool],
    dtype: str,
    tmp_path: Path,
    before: tuple[int, int],
    after: tuple[int, int],
    seed: int,
) -> None:
    operands = [tensor([1, *before, 2], dtype), sizes(*after)]
    made = options("ResizeNearestNeighbor", **mode)
    result = tensor([1, *after, 2], dtype)
    agrees(tmp_path, "RESIZE_NEAREST_NEIGHBOR", operands, result, made, seed=seed, units=0)


@BY_MODE
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int16"])
@FEW
@given(before=SIDES, after=SIDES, seed=SEEDS)
def test_bilinear(
    *,
    mode: dict[str, bool],
    dtype: str,
    tmp_path: Path,
    before: tuple[int, int],
    after: tuple[int, int],
    seed: int,
) -> None:
    operands = [tensor([1, *before, 2], dtype), sizes(*after)]
    made = options("ResizeBilinear", **mode)
    # The places have an error of some 1e-6 pixels in float32, and neighbouring pixels differ by up to 8.
    agrees(tmp_path, "RESIZE_BILINEAR", operands, tensor([1, *after, 2], dtype), made, seed=seed, relative=1e-5)


@BY_MODE
@pytest.mark.parametrize(
    ("before", "after"), [((7, 160), (295, 61)), ((320, 5), (213, 194)), ((100, 3), (1, 279))], ids=str
)
@pytest.mark.parametrize("name", ["RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"])
def test_large_images(
    name: str, before: tuple[int, int], after: tuple[int, int], mode: dict[str, bool], tmp_path: Path
) -> None:
    """Where every rounding of a scale or a place adds up; but never so that the integer kernel leaves the image."""
    made = options("ResizeBilinear" if name == "RESIZE_BILINEAR" else "ResizeNearestNeighbor", **mode)
    for dtype, relative in [("float32", 5e-5), ("int8", 0)]:
        # The two runtimes compute places with errors of some 1e-5 pixels here.
        operands, result = [tensor([1, *before, 1], dtype), sizes(*after)], tensor([1, *after, 1], dtype)
        units = int(name == "RESIZE_BILINEAR")
        agrees(tmp_path, name, operands, result, made, seed=5, units=units, relative=relative)


def op_types(folder: Path, name: str, dtype: str, before: int, after: int, **mode: bool) -> list[str]:
    made = options("ResizeBilinear" if name == "RESIZE_BILINEAR" else "ResizeNearestNeighbor", **mode)
    operands = [tensor([1, before, before, 2], dtype), sizes(after, after)]
    model, _ = imported(single(name, operands, [tensor([1, after, after, 2], dtype)], made), folder)
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", ["RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"])
@BY_MODE
def test_an_image_four_times_as_large_is_one_resize(
    name: str, dtype: str, mode: dict[str, bool], tmp_path: Path
) -> None:
    expected = ["Transpose", "Resize", "Transpose"]
    # Between corners the step is a fifth of a pixel, which the integer kernel rounds.
    if mode == MODES["align corners"] and (name, dtype) == ("RESIZE_BILINEAR", "int8"):
        expected = ["Reshape", "MatMul", "Reshape", "MatMul", "Reshape"]
    assert op_types(tmp_path, name, dtype, 4, 16, **mode) == expected


def test_pixels_at_the_border_between_two_are_named_one_by_one(tmp_path: Path) -> None:
    # A third of the size: every place is a whole pixel, up to the rounding of 1/3.
    assert op_types(tmp_path, "RESIZE_NEAREST_NEIGHBOR", "float32", 9, 3) == ["Gather", "Gather"]


def test_plain_integers_are_moved_but_not_interpolated(tmp_path: Path) -> None:
    assert op_types(tmp_path, "RESIZE_NEAREST_NEIGHBOR", "int16", 4, 8) == ["Transpose", "Resize", "Transpose"]


X = tensor([1, 4, 4, 2])
REFUSED = {
    "computed size": (
        ("RESIZE_BILINEAR", [X, tensor([2], "int32")], X, options("ResizeBilinear")),
        "operand 1 is computed",
    ),
    "rank": (
        ("RESIZE_BILINEAR", [tensor([1, 4, 4]), sizes(2, 2)], X, options("ResizeBilinear")),
        "the shape [1, 4, 4] resized to [2, 2] pixels",
    ),
    "no pixels": (
        ("RESIZE_NEAREST_NEIGHBOR", [X, sizes(0, 2)], X, options("ResizeNearestNeighbor")),
        "resized to [0, 2] pixels",
    ),
    "both modes": (
        ("RESIZE_BILINEAR", [X, sizes(2, 2)], X, options("ResizeBilinear", alignCorners=True, halfPixelCenters=True)),
        "align_corners=True, half_pixel_centers=True",
    ),
    "plain integers": (
        ("RESIZE_BILINEAR", [tensor([1, 4, 4, 2], "int32"), sizes(2, 2)], X, options("ResizeBilinear")),
        "an interpolation of INT32 without a quantization",
    ),
    "other quantization": (
        (
            "RESIZE_NEAREST_NEIGHBOR",
            [tensor([1, 4, 4, 2], "int8"), sizes(4, 4)],
            tensor([1, 4, 4, 2], "int8", 0.07),
            options("ResizeNearestNeighbor"),
        ),
        "operand 0 and its output differ in quantization",
    ),
    "memory": (
        ("RESIZE_NEAREST_NEIGHBOR", [X, sizes(1, 1 << 30)], X, options("ResizeNearestNeighbor")),
        "it needs an array of 1073741824 items",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[Any, ...], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)
