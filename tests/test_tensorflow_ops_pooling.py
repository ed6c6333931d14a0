"""Pooling of TensorFlow graphs in the canonical graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.single_operator import FEW, SEEDS, options, tensor
from tests.support.tensorflow_models import reason
from tests.support.tensorflow_operator import (
    Fixed,
    Window,
    agrees,
    agrees_with_litert,
    agrees_with_opencv,
    in_format,
    refusal,
    single,
    windows,
)

OPERATORS = ("MaxPool", "AvgPool")


def image(seed: int, window: Window, data_format: str = "NHWC", channels: int = 3) -> np.ndarray:
    """Negative numbers only, so that a padding that counts is the largest of its window."""
    x = np.random.default_rng(seed).uniform(-4, -1, (1, *window.sizes, channels)).astype(np.float32)
    return x if data_format.endswith("C") else np.ascontiguousarray(np.moveaxis(x, -1, 1))


def attributes(window: Window, data_format: str = "NHWC") -> dict[str, Any]:
    return {"ksize": in_format(window.kernel, data_format), **window.attributes(data_format, dilated=False)}


@pytest.mark.parametrize("op", OPERATORS)
@FEW
@given(window=windows(longest=4), seed=SEEDS)
def test_pooling(op: str, window: Window, seed: int) -> None:
    x = image(seed, window)
    made = options(
        "Pool2D",
        padding=int(window.padding == "VALID"),
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
        strideH=window.strides[0],
        strideW=window.strides[1],
    )
    name = {"MaxPool": "MAX_POOL_2D", "AvgPool": "AVERAGE_POOL_2D"}[op]
    agrees_with_litert(single(op, x, **attributes(window)), name, [tensor(x.shape)], made)


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("op", OPERATORS)
@FEW
@given(window=windows(longest=4), seed=SEEDS)
def test_pooling_as_opencv_has_it(op: str, data_format: str, window: Window, seed: int) -> None:
    graph = single(op, image(seed, window, data_format), **attributes(window, data_format))
    agrees_with_opencv(graph, data_format)


@FEW
@given(window=windows(paddings=["EXPLICIT"]), data_format=st.sampled_from(["NHWC", "NCHW"]), seed=SEEDS)
def test_explicit_padding_is_never_the_largest_item(window: Window, data_format: str, seed: int) -> None:
    x = image(seed, window)
    expected = window.patches(x, -np.inf).max(axis=(3, 4))
    turned, wanted = (x, expected) if data_format == "NHWC" else (np.moveaxis(a, -1, 1) for a in (x, expected))
    agrees(single("MaxPool", np.ascontiguousarray(turned), **attributes(window, data_format)), wanted)


@FEW
@given(window=windows(), seed=SEEDS)
def test_sides_and_strides_may_be_operands(window: Window, seed: int) -> None:
    x = image(seed, window)
    sides, strides = (Fixed(np.array([1, *items, 1], np.int32)) for items in (window.kernel, window.strides))
    expected = window.patches(x, -np.inf).max(axis=(3, 4))
    agrees(single("MaxPoolV2", x, sides, strides, padding=window.padding), expected)


@pytest.mark.parametrize("data_format", ["NDHWC", "NCDHW"])
@pytest.mark.parametrize("op", ["MaxPool3D", "AvgPool3D"])
@FEW
@given(window=windows(dimensions=3), seed=SEEDS)
def test_pooling_in_three_dimensions(op: str, data_format: str, window: Window, seed: int) -> None:
    x = image(seed, window)
    reduce, fill = (np.max, -np.inf) if op == "MaxPool3D" else (np.nanmean, np.nan)
    expected = reduce(window.patches(x, fill), axis=(4, 5, 6))
    turned, wanted = (x, expected) if data_format == "NDHWC" else (np.moveaxis(a, -1, 1) for a in (x, expected))
    agrees(single(op, np.ascontiguousarray(turned), **attributes(window, data_format)), wanted)


def test_pools_of_channels_second_need_no_transpose() -> None:
    window = Window(sizes=(4, 4), kernel=(2, 2), strides=(2, 2), dilations=(1, 1), padding="SAME")
    model = single("MaxPool", image(1, window, "NCHW"), **attributes(window, "NCHW")).model
    assert [node.op_type for node in model.graph] == ["MaxPool"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ksize": [1, 0, 2, 1]}, "a window of [1, 0, 2, 1]; they must be positive, and 1 for samples and channels"),
        ({"ksize": [1, 2, 2, 2]}, "a window of [1, 2, 2, 2]; they must be positive, and 1 for samples and channels"),
        ({"ksize": [1, 5, 2, 1]}, "a window of [5, 2] on an image of [4, 4] pixels"),
        ({"ksize": None}, "it lacks the attribute ksize"),
        ({"strides": [1, -1, 1, 1]}, "strides of [1, -1, 1, 1]; they must be positive"),
        ({"strides": [2, 1, 1, 1]}, "strides of [2, 1, 1, 1]; they must be positive, and 1 for samples and channels"),
        ({"padding": "full"}, "the padding scheme full"),
        ({"data_format": "HWNC"}, "the data format HWNC"),
        (
            {"padding": "EXPLICIT", "explicit_paddings": [0, 0, 2, 0, 0, 0, 0, 0]},
            "a padding of [2, 0, 0, 0] pixels around a window of [2, 2]",
        ),
    ],
)
@pytest.mark.parametrize("op", OPERATORS)
def test_pooling_that_cannot_be_says_why(op: str, fields: dict[str, Any], message: str) -> None:
    given = {"ksize": [1, 2, 2, 1], "strides": [1, 1, 1, 1], "padding": "VALID"} | fields
    assert refusal(op, np.zeros((1, 4, 4, 2), np.float32), **given).startswith(message)


@pytest.mark.parametrize("op", OPERATORS)
def test_pooling_of_integers_is_refused(op: str) -> None:
    given = {"ksize": [1, 2, 2, 1], "strides": [1, 1, 1, 1], "padding": "VALID"}
    found = refusal(op, np.zeros((1, 4, 4, 2), np.int32), **given)
    assert found == "operands of INT32; they must be one of FLOAT, FLOAT16"


def test_the_largest_items_without_their_places(rng: np.random.Generator) -> None:
    x = rng.normal(size=(1, 4, 6, 3)).astype(np.float32)
    sides = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "VALID"}
    expected = x.reshape(1, 2, 2, 3, 2, 3).max(axis=(2, 4))
    agrees(single("MaxPoolWithArgmax", x, **sides), expected)
    both = single("MaxPoolWithArgmax", x, outputs=2, **sides)
    shapes = {name: array.shape for name, array in both.inputs.items()}
    assert reason(both.data, shapes, both.outputs) == "the places of the largest items are read"
