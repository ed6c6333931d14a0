"""Reductions and places of the largest items of Caffe in the canonical graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.support.caffe_layers import conforms, refusal, sample

X = sample(1, 4, 5, 6)

REDUCTIONS: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("", lambda x: x.sum()),
    ("axis: 1", lambda x: x.sum(axis=(1, 2, 3))),
    ("operation: SUM axis: 2 coeff: 0.5", lambda x: 0.5 * x.sum(axis=(2, 3))),
    ("operation: ASUM axis: 1", lambda x: np.abs(x).sum(axis=(1, 2, 3))),
    ("operation: SUMSQ axis: -2 coeff: -1", lambda x: -np.square(x).sum(axis=(2, 3))),
    ("operation: MEAN axis: -1 coeff: 2", lambda x: 2 * x.mean(axis=3)),
    ("operation: MEAN", lambda x: x.mean()),
]


@pytest.mark.parametrize(("options", "definition"), REDUCTIONS, ids=[options for options, _ in REDUCTIONS])
def test_a_reduction_conforms_to_its_definition(options: str, definition: Callable[[np.ndarray], np.ndarray]) -> None:
    # OpenCV has no such layer.
    conforms("Reduction", f"reduction_param {{ {options} }}", [X], definition)


def test_a_reduction_needs_an_axis() -> None:
    assert "axis 4 of a blob of shape [1, 4, 5, 6]" in refusal("Reduction", "reduction_param { axis: 4 }", [X])


def ranked(x: np.ndarray, axis: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and values of the largest items: pairs of both in descending order, as Caffe sorts them."""
    rows = np.moveaxis(x, axis, -1)
    places = np.zeros((*rows.shape[:-1], count))
    values = np.zeros_like(places)
    for index in np.ndindex(rows.shape[:-1]):
        pairs = sorted(((value, place) for place, value in enumerate(rows[index])), reverse=True)[:count]
        values[index], places[index] = zip(*pairs, strict=True)
    return np.moveaxis(places, -1, axis), np.moveaxis(values, -1, axis)


TIED = np.round(sample(1, 4, 5, 6))
"""With only a few different numbers, so that many are equal."""


@pytest.mark.parametrize("x", [X, TIED], ids=["unlike", "equal"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("axis", [1, -1])
def test_the_largest_items_along_an_axis_conform_to_their_definition(
    *, axis: int, values: bool, count: int, x: np.ndarray
) -> None:
    # OpenCV has no such layer.
    body = f"argmax_param {{ axis: {axis} top_k: {count} out_max_val: {str(values).lower()} }}"
    conforms("ArgMax", body, [x], lambda x: ranked(x, axis, count)[int(values)])


@pytest.mark.parametrize("x", [X, TIED, X.reshape(1, -1), X.reshape(1, 4, -1)], ids=lambda x: str(x.shape))
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("values", [False, True])
def test_the_largest_items_of_a_sample_stand_on_the_third_axis(*, values: bool, count: int, x: np.ndarray) -> None:
    def definition(x: np.ndarray) -> np.ndarray:
        found = ranked(x.reshape(1, 1, -1), 2, count)
        joined = np.concatenate(found, axis=1) if values else found[0]
        return joined.reshape(joined.shape + (1,) * (x.ndim - 3))

    body = f"argmax_param {{ top_k: {count} out_max_val: {str(values).lower()} }}"
    conforms("ArgMax", body, [x], definition)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("top_k: 0", "a top_k of 0 along axis 2 of a blob of shape [1, 1, 120]"),
        ("top_k: 121", "a top_k of 121 along axis 2"),
        ("top_k: 5 axis: 1", "a top_k of 5 along axis 1 of a blob of shape [1, 4, 5, 6]"),
        ("axis: 4", "axis 4 of a blob"),
    ],
)
def test_largest_items_that_cannot_be_are_refused(options: str, reason: str) -> None:
    assert reason in refusal("ArgMax", f"argmax_param {{ {options} }}", [X])
