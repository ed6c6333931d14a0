"""What windows see of images, against NumPy: OpenCV's importer has no such operator."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.tensorflow_operator import Window, agrees, refusal, single


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("sizes", "kernel", "strides", "operator"),
    [((4, 6), (2, 2), (2, 2), "SpaceToDepth"), ((5, 7), (2, 3), (2, 1), "Conv"), ((5, 7), (2, 2), (2, 2), "Conv")],
    ids=["blocks", "overlapping", "cut"],
)
def test_patches(
    sizes: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    operator: str,
    padding: str,
    rng: np.random.Generator,
) -> None:
    window = Window(sizes=sizes, kernel=kernel, strides=strides, dilations=(1, 1), padding=padding)
    x = rng.normal(size=(1, *sizes, 3)).astype(np.float32)
    made = single(
        "ExtractImagePatches",
        x,
        ksizes=[1, *kernel, 1],
        strides=[1, *strides, 1],
        rates=[1, 1, 1, 1],
        padding=padding,
    )
    assert operator in {node.op_type for node in made.model.graph}
    seen = window.patches(x, 0)
    agrees(made, seen.reshape(*seen.shape[:3], -1))


def test_windows_with_gaps_are_refused() -> None:
    ones = [1, 1, 1, 1]
    x = np.zeros((1, 8, 8, 1), np.float32)
    reason = refusal("ExtractImagePatches", x, ksizes=[1, 2, 2, 1], strides=ones, rates=[1, 2, 2, 1], padding="VALID")
    assert reason == "rates of [1, 2, 2, 1]; only 1 can be imported"
