"""Letterbox geometry, against the table of formats.md section 4.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.letterbox import Rectangle, letterbox

SIDES = st.integers(1, 3000)


@pytest.mark.parametrize(
    ("image", "tensor", "keep", "bars", "rectangle"),
    [
        pytest.param((640, 480), (224, 224), 1, (28, 28, 0, 0), (0, -80, 640, 640), id="landscape"),
        pytest.param((480, 640), (224, 224), 1, (0, 0, 28, 28), (-80, 0, 640, 640), id="portrait"),
        pytest.param((1280, 720), (640, 480), 1, (60, 60, 0, 0), (0, -120, 1280, 960), id="both-wide"),
        pytest.param((641, 333), (224, 224), 1, (54, 54, 0, 0), (0, -154, 641, 642), id="truncation"),
        pytest.param((800, 600), (640, 352), 1, (0, 0, 85, 86), (-144, 0, 1091, 600), id="odd-band"),
        pytest.param((640, 480), (300, 300), 0, (0, 0, 0, 0), (0, 0, 640, 480), id="stretched"),
        pytest.param((320, 320), (224, 224), 1, (0, 0, 0, 0), (0, 0, 320, 320), id="same-proportions"),
        # 224 columns of a 448x672 image are 336 rows: 112 too many, which are 224 image rows.
        pytest.param((448, 672), (224, 224), 2, (0, 0, 0, 0), (0, 0, 448, 448), id="bottom-cut"),
        pytest.param((640, 480), (224, 224), 2, (28, 28, 0, 0), (0, -80, 640, 640), id="nothing-to-cut"),
        pytest.param((65535, 1), (224, 224), 1, (111, 112, 0, 0), (0, -32474, 65535, 65243), id="a-line"),
    ],
)
def test_letterbox_geometry(
    image: tuple[int, int], tensor: tuple[int, int], keep: int, bars: tuple[int, ...], rectangle: tuple[int, ...]
) -> None:
    box = letterbox(image[1], image[0], tensor[1], tensor[0], keep)
    assert (box.top, box.bottom, box.left, box.right) == bars
    assert box.rectangle == Rectangle(*rectangle)


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 3))
def test_letterbox_always_fills_the_tensor(rows: int, columns: int, height: int, width: int, keep: int) -> None:
    box = letterbox(rows, columns, height, width, keep)
    assert (box.top + box.height + box.bottom, box.left + box.width + box.right) == (height, width)
    assert min(box.top, box.left) >= 0
    assert 0 <= box.bottom - box.top <= 1
    assert 0 <= box.right - box.left <= 1
    assert min(box.height, box.width) >= 1
    assert 1 <= box.source_height <= rows


@given(SIDES, SIDES, SIDES, SIDES)
def test_letterbox_keeps_proportions_to_the_pixel(rows: int, columns: int, height: int, width: int) -> None:
    box = letterbox(rows, columns, height, width)
    scale = min(width / columns, height / rows)
    assert abs(box.height - rows * scale) <= max(1.0, rows / columns)
    assert abs(box.width - columns * scale) <= max(1.0, columns / rows)
