"""Resized images in frozen TensorFlow graphs."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.one_node import run_node
from tests.support.single_operator import FEW, SEEDS, constant, options, tensor
from tests.support.tensorflow_movement import imaged
from tests.support.tensorflow_operator import (
    Fixed,
    Operand,
    agrees,
    agrees_with_litert,
    agrees_with_opencv,
    refusal,
    single,
)

NEAREST, BILINEAR, BICUBIC = "ResizeNearestNeighbor", "ResizeBilinear", "ResizeBicubic"
MODES: dict[str, dict[str, bool]] = {
    "asymmetric": {},
    "align corners": {"align_corners": True, "half_pixel_centers": False},
    "half pixel": {"align_corners": False, "half_pixel_centers": True},
}
BY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=list(MODES))
SIDES = st.tuples(st.integers(1, 13), st.integers(1, 13))
LITERT = {NEAREST: "RESIZE_NEAREST_NEIGHBOR", BILINEAR: "RESIZE_BILINEAR"}


def images(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).uniform(-100, 100, shape).astype(dtype)


def sizes(*numbers: int) -> Fixed:
    return Fixed(np.asarray(numbers, np.int32))


def check_with_litert(
    op: str, x: np.ndarray, after: tuple[int, int], mode: dict[str, bool], tolerance: float = 1e-5
) -> None:
    flags = {
        "alignCorners": mode.get("align_corners", False),
        "halfPixelCenters": mode.get("half_pixel_centers", False),
    }
    operands = [tensor(x.shape), constant(np.asarray(after, np.int32))]
    made = single(op, x, sizes(*after), **mode)
    agrees_with_litert(made, LITERT[op], operands, options(op, **flags), tolerance=tolerance)


@BY_MODE
@pytest.mark.parametrize("op", [NEAREST, BILINEAR])
@pytest.mark.parametrize("after", [(8, 12), (7, 5), (13, 4), (1, 1), (4, 6)], ids=str)
def test_an_image_of_another_size_agrees_with_opencv(after: tuple[int, int], op: str, mode: dict[str, bool]) -> None:
    agrees_with_opencv(imaged(op, images(1, 4, 6, 2), sizes(*after), **mode))


@BY_MODE
@pytest.mark.parametrize("op", [NEAREST, BILINEAR])
@FEW
@given(before=SIDES, after=SIDES, seed=SEEDS)
def test_every_size_agrees_with_litert(
    *, op: str, mode: dict[str, bool], before: tuple[int, int], after: tuple[int, int], seed: int
) -> None:
    """LiteRT's operators have the modes of TensorFlow's, with the same rounding of places."""
    x = images(1, *before, 2, seed=seed)
    # The places have an error of some 1e-6 pixels in float32.
    check_with_litert(op, x, after, mode)


@BY_MODE
@pytest.mark.parametrize(("before", "after"), [((7, 160), (295, 61)), ((100, 3), (1, 279))], ids=str)
def test_places_in_large_images_are_rounded_as_in_litert(
    before: tuple[int, int], after: tuple[int, int], mode: dict[str, bool]
) -> None:
    x = images(1, *before, 1)
    check_with_litert(NEAREST, x, after, mode, tolerance=0)


@BY_MODE
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integers_are_moved_as_they_are(dtype: str, mode: dict[str, bool]) -> None:
    x = images(1, 4, 6, 2).astype(np.int64).astype(dtype)
    (real,) = single(NEAREST, x.astype(np.float32), sizes(7, 5), **mode)()
    agrees(single(NEAREST, x, sizes(7, 5), **mode), real.astype(dtype))


@BY_MODE
@pytest.mark.parametrize("op", [BILINEAR, BICUBIC])
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_integers_are_interpolated_as_real_numbers(dtype: str, op: str, mode: dict[str, bool]) -> None:
    x = np.random.default_rng(3).integers(0, 200, (1, 4, 6, 2)).astype(dtype)
    (real,) = single(op, x.astype(np.float32), sizes(7, 5), **mode)()
    agrees(single(op, x, sizes(7, 5), **mode), real)


@BY_MODE
@pytest.mark.parametrize("op", [NEAREST, BILINEAR])
def test_an_image_four_times_as_large_is_one_resize(op: str, mode: dict[str, bool]) -> None:
    made = single(op, images(1, 4, 4, 2), sizes(16, 16), **mode)
    assert [node.op_type for node in made.model.graph] == ["Transpose", "Resize", "Transpose"]


def test_pixels_at_the_border_between_two_are_named_one_by_one() -> None:
    # A third of the size: every place is a whole pixel, up to the rounding of 1/3.
    made = single(NEAREST, images(1, 9, 9, 2), sizes(3, 3))
    assert [node.op_type for node in made.model.graph] == ["Gather", "Gather"]


@pytest.mark.parametrize(
    ("mode", "attributes"),
    [
        (MODES["asymmetric"], {"coordinate_transformation_mode": "asymmetric", "cubic_coeff_a": -0.75}),
        (MODES["align corners"], {"coordinate_transformation_mode": "align_corners", "cubic_coeff_a": -0.75}),
        (
            MODES["half pixel"],
            {"coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.5, "exclude_outside": 1},
        ),
    ],
    ids=list(MODES),
)
@pytest.mark.parametrize(("before", "after"), [((5, 9), (17, 33)), ((9, 5), (5, 2))], ids=["larger", "smaller"])
def test_bicubic_places_at_quarters_agree_with_onnx_runtime(
    before: tuple[int, int], after: tuple[int, int], mode: dict[str, bool], attributes: dict[str, Any]
) -> None:
    """OpenCV and LiteRT have no such operator; the weights of ONNX's are not rounded, which no quarter shows."""
    if not mode.get("align_corners", False):
        after = (before[0] * 4, before[1] * 2) if after > before else before
    x = images(1, *before, 2)
    shape = np.asarray([1, 2, *after], np.int64)
    given = {"mode": "cubic", **attributes}
    (found,) = run_node("Resize", [x.transpose(0, 3, 1, 2), None, None, shape], given)
    agrees(single(BICUBIC, x, sizes(*after), **mode), found.transpose(0, 2, 3, 1))


def bicubic(x: np.ndarray, after: tuple[int, int], mode: dict[str, bool]) -> np.ndarray:
    """Pixel by pixel, from the definition: weights of 1024 places between pixels."""
    corners, centres = mode.get("align_corners", False), mode.get("half_pixel_centers", False)
    a = -0.5 if centres else -0.75

    def taps(place: int, length: int, count: int) -> list[tuple[int, float]]:
        scale = (length - 1) / (count - 1) if corners and count > 1 else length / count
        at = (place + 0.5) * scale - 0.5 if centres else place * scale
        first = math.floor(at)
        t = round((at - first) * 1024) / 1024
        far = [a * (d**3 - 5 * d**2 + 8 * d - 4) for d in (1 + t, 2 - t)]
        near = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in (t, 1 - t)]
        found = list(zip(range(first - 1, first + 3), [far[0], *near, far[1]], strict=True))
        if centres:
            found = [(pixel, weight) for pixel, weight in found if 0 <= pixel < length]
        total = sum(weight for _, weight in found) if centres else 1.0
        return [(min(max(pixel, 0), length - 1), weight / total) for pixel, weight in found]

    result = np.zeros((1, *after, x.shape[3]))
    for row in range(after[0]):
        for column in range(after[1]):
            for i, down in taps(row, x.shape[1], after[0]):
                for j, across in taps(column, x.shape[2], after[1]):
                    result[0, row, column] += down * across * x[0, i, j]
    return result.astype(np.float32)


@BY_MODE
@pytest.mark.parametrize("after", [(8, 12), (7, 5), (13, 4), (1, 1), (4, 6), (3, 17)], ids=str)
def test_bicubic_weights_are_those_of_a_thousandth_of_a_pixel(after: tuple[int, int], mode: dict[str, bool]) -> None:
    x = images(1, 4, 6, 2)
    agrees(single(BICUBIC, x, sizes(*after), **mode), bicubic(x.astype(np.float64), after, mode))


X = images(1, 4, 4, 2)
REFUSED: dict[str, tuple[tuple[str, *tuple[Operand, ...]], dict[str, Any], str]] = {
    "computed size": ((BILINEAR, X, np.array([2, 2], np.int32)), {}, "operand 1 is computed; only a constant"),
    "rank": ((BILINEAR, images(1, 4, 4), sizes(2, 2)), {}, r"the shape \[1, 4, 4\] resized to \[2, 2\] pixels"),
    "no pixels": ((NEAREST, X, sizes(0, 2)), {}, r"resized to \[0, 2\] pixels"),
    "one size": ((NEAREST, X, sizes(2)), {}, r"resized to \[2\] pixels"),
    "both modes": (
        (BICUBIC, X, sizes(2, 2)),
        {"align_corners": True, "half_pixel_centers": True},
        "align_corners=True, half_pixel_centers=True",
    ),
    "memory": ((NEAREST, X, sizes(1, 1 << 30)), {}, "it needs an array of 1073741824 items"),
    "memory of weights": ((BICUBIC, X, sizes(1 << 23, 1)), {}, "it needs an array of 33554432 items"),
}


@pytest.mark.parametrize(("case", "attributes", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[str, *tuple[Operand, ...]], attributes: dict[str, Any], reason: str) -> None:
    assert re.search(reason, refusal(*case, **attributes))
