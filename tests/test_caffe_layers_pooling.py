"""Pools of Caffe in the canonical graph."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.caffe_layers import agrees, conforms, imported, one_layer, operators, refusal, sample

WINDOWS = [
    "kernel_size: 3",
    "kernel_size: 2 stride: 2",
    "kernel_size: 3 stride: 2",
    "kernel_size: 3 stride: 2 pad: 1",
    "kernel_size: 2 stride: 2 pad: 1",
    "kernel_size: 3 stride: 3 pad: 2",
    "kernel_h: 2 kernel_w: 4 stride_h: 2 stride_w: 3",
    "kernel_h: 2 kernel_w: 4 pad_h: 1 pad_w: 2 stride_h: 3 stride_w: 2",
    "kernel_h: 4 kernel_w: 3 pad_h: 2 pad_w: 0 stride: 2",
    "global_pooling: true",
]
SIZES = [(7, 8), (8, 9), (9, 7), (5, 10)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_a_pool_agrees_with_opencv(method: str, window: str, size: tuple[int, int]) -> None:
    # With negative numbers alone, a maximum shows whether padding counts.
    agrees("Pooling", f"pooling_param {{ pool: {method} {window} }}", [sample(1, 3, *size, high=-1)])


def pooled(x: np.ndarray, method: str, window: dict[str, tuple[int, int]], *, round_up: bool) -> np.ndarray | None:
    """A pool by Caffe's definition; None where a window has no items.

    The last window that hangs over is kept unless there is padding and it would begin behind the map and the padding in
    front. The divisor of a mean is the size of the window, cut at the end of the padding.
    """
    spans = []
    for size, kernel, stride, pad in zip(x.shape[2:], window["kernel"], window["stride"], window["pad"], strict=True):
        room = (size + 2 * pad - kernel) / stride
        count = int(math.ceil(room) if round_up else math.floor(room)) + 1
        if any(window["pad"]) and (count - 1) * stride >= size + pad:
            count -= 1
        starts = [place * stride - pad for place in range(count)]
        spans.append([(start, min(start + kernel, size + pad), min(start + kernel, size)) for start in starts])
        if count < 1 or any(max(start, 0) >= end for start, _, end in spans[-1]):
            return None
    found = np.zeros((*x.shape[:2], len(spans[0]), len(spans[1])))
    for i, (top, below, bottom) in enumerate(spans[0]):
        for j, (left, behind, right) in enumerate(spans[1]):
            items = x[:, :, max(top, 0) : bottom, max(left, 0) : right]
            area = (below - top) * (behind - left)
            found[:, :, i, j] = items.max(axis=(2, 3)) if method == "MAX" else items.sum(axis=(2, 3)) / area
    return found


PAIRS = st.tuples(st.integers(1, 5), st.integers(1, 5))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=PAIRS,
    stride=PAIRS,
    pad=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    round_up=st.booleans(),
)
def test_a_pool_conforms_to_its_definition_or_is_refused_where_a_window_is_empty(
    *,
    method: str,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    round_up: bool,
) -> None:
    # OpenCV cannot read round_mode, and refuses windows that are larger than the map.
    pad = (min(pad[0], kernel[0] - 1), min(pad[1], kernel[1] - 1))
    window = {"kernel": kernel, "stride": stride, "pad": pad}
    sizes = " ".join(f"{name}_h: {pair[0]} {name}_w: {pair[1]}" for name, pair in window.items())
    body = f"pooling_param {{ pool: {method} {sizes} round_mode: {'CEIL' if round_up else 'FLOOR'} }}"
    x = sample(1, 2, *size)
    if pooled(x, method, window, round_up=round_up) is None:
        assert "has no items" in refusal("Pooling", body, [x])
    else:
        conforms("Pooling", body, [x], lambda x: pooled(x, method, window, round_up=round_up))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_a_window_without_end_is_the_map(method: str) -> None:
    # Runtimes and delegates look at all items of a window, wherever they are.
    x = sample(1, 2, 3, 4)
    body = f"pooling_param {{ pool: {method} kernel_size: 4000000000 stride: 4294967295 }}"
    conforms("Pooling", body, [x], lambda x: (x.max if method == "MAX" else x.mean)(axis=(2, 3), keepdims=True))
    (node,) = imported(one_layer("Pooling", body, [x])).graph
    assert tuple(node.attributes["kernel_shape"].as_ints()) == (3, 4)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("kernel_size: 3 stride: 2", ["AveragePool"]),
        ("kernel_size: 3 pad: 1", ["AveragePool"]),
        ("kernel_size: 3 stride: 2 pad: 1", ["Pad", "AveragePool"]),
        ("global_pooling: true", ["GlobalAveragePool"]),
    ],
)
def test_a_mean_only_needs_a_padding_of_its_own_where_a_window_hangs_over_the_padding(
    window: str, expected: list[str]
) -> None:
    assert operators(one_layer("Pooling", f"pooling_param {{ pool: AVE {window} }}", [sample(1, 2, 8, 8)])) == expected


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("pool: STOCHASTIC kernel_size: 2", "stochastic pooling; only MAX and AVE are imported"),
        ("", "kernel of [0, 0]; each must be 1 or more"),
        ("kernel_h: 2", "kernel of [2, 0]; each must be 1 or more"),
        ("kernel_size: 2 stride: 0", "strides of [0, 0]; each must be 1 or more"),
        ("kernel_size: 2 stride_w: 2", "strides of [0, 2]; each must be 1 or more"),
        ("kernel_size: 2 kernel_h: 2 kernel_w: 2", "kernel_h and kernel_w beside kernel_size"),
        ("kernel_size: 2 pad: 1 pad_h: 1", "pad_h and pad_w beside pad"),
        ("kernel_size: 2 pad: 2", "padding 2 beside a window of 2"),
        (
            "kernel_size: 3000000000 pad: 2000000000",
            "a padded map of [4000000007, 4000000008] items; at most 268435456",
        ),
        ("kernel_size: 8", "a window of 8 in steps of 1 over 7 items and padding 0 fits nowhere, or has no items"),
        (
            "kernel_size: 1 stride: 4",
            "a window of 1 in steps of 4 over 7 items and padding 0 fits nowhere, or has no items",
        ),
        ("global_pooling: true stride: 2", "global_pooling with stride 2"),
        ("global_pooling: true pad_w: 1", "global_pooling with pad_w 1"),
    ],
)
def test_a_pool_that_cannot_be_says_why(options: str, reason: str) -> None:
    assert reason in refusal("Pooling", f"pooling_param {{ {options} }}", [sample(1, 2, 7, 8)])


def test_places_of_the_largest_items_are_refused() -> None:
    assert "its second top" in refusal("Pooling", "pooling_param { kernel_size: 2 }", [sample(1, 2, 4, 4)], tops=2)


@pytest.mark.parametrize("shape", [(1, 8), (1, 3, 8), (1, 3, 4, 4, 4)], ids=str)
@pytest.mark.parametrize("kind", ["Pooling", "SPP"])
def test_pools_need_four_axes(kind: str, shape: tuple[int, ...]) -> None:
    assert "pools need four axes" in refusal(kind, "", [sample(*shape)])


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("height", [1, 2, 3])
def test_a_pyramid_is_pools_behind_each_other(height: int, method: str) -> None:
    # OpenCV has no such layer.
    def definition(x: np.ndarray) -> np.ndarray:
        found = []
        for bins in (1 << level for level in range(height)):
            kernel = [-(-size // bins) for size in x.shape[2:]]
            pad = [(k * bins - size + 1) // 2 for k, size in zip(kernel, x.shape[2:], strict=True)]
            window = {"kernel": tuple(kernel), "stride": tuple(kernel), "pad": tuple(pad)}
            found.append(pooled(x, method, window, round_up=True))
        return found[0] if height == 1 else np.concatenate([row.reshape(1, -1) for row in found], axis=1)

    conforms("SPP", f"spp_param {{ pyramid_height: {height} pool: {method} }}", [sample(1, 2, 8, 11)], definition)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("", "a pyramid_height of 0"),
        ("pyramid_height: 3", "padding 2 beside a window of 2"),
        ("pyramid_height: 4000000000", "padding 2 beside a window of 2"),
        ("pyramid_height: 1 pool: STOCHASTIC", "stochastic pooling"),
    ],
)
def test_a_pyramid_that_cannot_be_says_why(options: str, reason: str) -> None:
    assert reason in refusal("SPP", f"spp_param {{ {options} }}", [sample(1, 2, 5, 5)])
