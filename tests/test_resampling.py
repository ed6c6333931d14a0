"""Resizing, against the example of formats.md section 4.1 and a straightforward computation in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synap_core.resampling import Pixels, resize


def noise(height: int, width: int, channels: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), np.uint8)


def test_resize_reproduces_the_example_of_the_specification() -> None:
    small = np.array([[0, 255], [255, 0]], np.uint8)[..., None]
    expected = [[0, 41, 214, 255], [41, 83, 172, 214], [214, 172, 83, 41], [255, 214, 41, 0]]
    assert resize(small, 4, 4)[..., 0].tolist() == expected


def cubic(x: float, b: float, c: float) -> float:
    """Mitchell and Netravali's general cubic filter."""
    x = abs(x)
    if x < 1:
        return ((12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + 6 - 2 * b) / 6
    if x < 2:
        return ((-b - 6 * c) * x**3 + (6 * b + 30 * c) * x**2 + (-12 * b - 48 * c) * x + 8 * b + 24 * c) / 6
    return 0.0


def resized_line(line: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Resample the first axis pixel by pixel, in double precision."""
    size, scale = len(line), count / len(line)
    b, c, factor = (0.0, 0.5, 1.0) if scale > 1 else (1 / 3, 1 / 3, scale)
    result = np.zeros((count, *line.shape[1:]))
    for target in range(count):
        centre, total = (target + 0.5) / scale, 0.0
        reach = math.ceil(2 / factor) + 1
        for source in range(math.floor(centre) - reach, math.floor(centre) + reach + 1):
            weight = cubic((source + 0.5 - centre) * factor, b, c)
            result[target] += weight * line[min(max(source, 0), size - 1)]
            total += weight
        result[target] /= total
    return result


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param((9, 13), (20, 31), id="enlarge"),
        pytest.param((40, 61), (11, 7), id="reduce"),
        pytest.param((12, 50), (33, 9), id="one-axis-each"),
        pytest.param((8, 10), (8, 20), id="one-axis-stays"),
        pytest.param((1, 1), (3, 2), id="one-pixel"),
        pytest.param((70, 3), (1, 100), id="to-one-row"),
        pytest.param((6, 5), (80, 70), id="more-rows-than-a-block"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resize_agrees_with_a_pixel_by_pixel_computation(
    source: tuple[int, int], target: tuple[int, int], channels: int
) -> None:
    pixels = noise(*source, channels)
    exact = resized_line(pixels.astype(np.float64), target[0])
    exact = resized_line(exact.transpose(1, 0, 2), target[1]).transpose(1, 0, 2)
    found = resize(pixels, *target)
    assert found.dtype == np.uint8
    # Half a unit of rounding, plus single precision.
    assert np.abs(found - np.clip(exact, 0, 255)).max() <= 0.5001


@settings(max_examples=50)
@given(st.integers(0, 255), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90))
def test_resize_leaves_a_flat_image_flat(value: int, rows: int, columns: int, height: int, width: int) -> None:
    flat = np.full((rows, columns, 1), value, np.uint8)
    np.testing.assert_array_equal(resize(flat, height, width), np.full((height, width, 1), value, np.uint8))


def test_resize_in_small_column_steps_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(50, 60, 3)
    whole = resize(pixels, 20, 90)
    monkeypatch.setattr("synap_core.resampling._BLOCK_PRODUCTS", 200)
    assert np.abs(resize(pixels, 20, 90).astype(int) - whole).max() <= 1
