"""Reductions of TensorFlow graphs in the canonical graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.single_operator import FEW, SEEDS
from tests.support.tensorflow_operator import Fixed, agrees, agrees_with_opencv, refusal, single

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "Mean": np.mean,
    "Sum": np.sum,
    "Max": np.max,
    "Min": np.min,
    "Prod": np.prod,
    "EuclideanNorm": lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)),
}
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(lambda dims: (1, *dims))


def uniform(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(-4, 4, shape).astype(np.float32)


def whole(seed: int, *shape: int, dtype: Any = np.int32, limit: int = 1000) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).integers(-limit, limit, shape).astype(dtype)


def axes(data: st.DataObject, rank: int) -> tuple[Fixed, tuple[int, ...]]:
    """Dimensions as an operand, in any order and counted from either end, and counted from the front."""
    chosen = data.draw(st.lists(st.integers(-rank, rank - 1), max_size=rank, unique_by=lambda axis: axis % rank))
    dtype = data.draw(st.sampled_from([np.int32, np.int64]))
    return Fixed(np.asarray(chosen, dtype)), tuple(axis % rank for axis in chosen)


@pytest.mark.parametrize("op", sorted(REDUCTIONS))
@FEW
@given(shape=SHAPES, data=st.data(), keep=st.booleans(), seed=SEEDS)
def test_reduction(op: str, shape: tuple[int, ...], data: st.DataObject, keep: bool, seed: int) -> None:
    x = uniform(seed, *shape)
    given, reduced = axes(data, len(shape))
    expected = REDUCTIONS[op](x.astype(np.float64), axis=reduced, keepdims=keep).astype(np.float32)
    agrees(single(op, x, given, keep_dims=keep), expected)


@pytest.mark.parametrize("op", ["Sum", "Max", "Min"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@FEW
@given(shape=SHAPES, data=st.data(), keep=st.booleans(), seed=SEEDS)
def test_reduction_of_integers(
    op: str, dtype: Any, shape: tuple[int, ...], data: st.DataObject, keep: bool, seed: int
) -> None:
    x = whole(seed, *shape, dtype=dtype)
    given, reduced = axes(data, len(shape))
    agrees(single(op, x, given, keep_dims=keep), REDUCTIONS[op](x, axis=reduced, keepdims=keep).astype(dtype))


@pytest.mark.parametrize("op", ["Mean", "Sum", "Max"])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("reduced", [[1, 2], [3], [1], [-1]])
def test_reduction_as_opencv_has_it(op: str, keep: bool, reduced: list[int]) -> None:
    # Of its importer the other reductions are missing.
    agrees_with_opencv(single(op, uniform(1, 1, 7, 9, 4), Fixed(np.array(reduced, np.int32)), keep_dims=keep))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_products_and_means_of_integers(dtype: Any) -> None:
    x = np.array([[[2, -3, 5], [-7, 1, -1]]], dtype)
    axis = Fixed(np.array(2, np.int32))
    agrees(single("Prod", x, axis), np.array([[-30, 7]], dtype))
    # 4 / 3 and -7 / 3 are rounded towards zero.
    agrees(single("Mean", x, axis), np.array([[1, -2]], dtype))


def test_dimensions_may_be_one_number_and_default_to_go() -> None:
    x = uniform(1, 1, 3, 4)
    agrees(single("Sum", x, Fixed(np.array(-2, np.int32))), x.sum(axis=1))


@pytest.mark.parametrize("op", sorted(REDUCTIONS))
def test_without_dimensions_nothing_is_reduced(op: str) -> None:
    x = uniform(1, 1, 3, 4)
    agrees(single(op, x, Fixed(np.zeros(0, np.int32))), np.abs(x) if op == "EuclideanNorm" else x)


@pytest.mark.parametrize(("op", "definition"), [("All", np.all), ("Any", np.any)])
@pytest.mark.parametrize("keep", [True, False])
def test_truth_of_all_or_any(op: str, definition: Callable[..., Any], keep: bool) -> None:
    x = np.array([[[True, True], [True, False], [False, False]]])
    expected = definition(x, axis=2, keepdims=keep)
    agrees(single(op, x, Fixed(np.array([2], np.int32)), keep_dims=keep, T=None), expected)


@pytest.mark.parametrize(("op", "definition"), [("ArgMax", np.argmax), ("ArgMin", np.argmin)])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@FEW
@given(shape=SHAPES, data=st.data(), short=st.booleans(), seed=SEEDS)
def test_place_of_the_first_extreme_item(
    *,
    op: str,
    definition: Callable[..., Any],
    dtype: Any,
    shape: tuple[int, ...],
    data: st.DataObject,
    short: bool,
    seed: int,
) -> None:
    # OpenCV counts the dimensions of an image in its own layout. Few different items, so that some are equal.
    x = whole(seed, *shape, limit=2).astype(dtype)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    kind = np.int32 if short else np.int64
    made = single(op, x, Fixed(np.array(axis, np.int32)), output_type=kind)
    agrees(made, definition(x, axis=axis).astype(kind))


def test_places_are_int64_unless_said_otherwise() -> None:
    x = uniform(1, 1, 5)
    agrees(single("ArgMax", x, Fixed(np.array(1, np.int32))), x.argmax(axis=1))


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_largest_items_and_their_places(count: int) -> None:
    x = np.array([[[3, 1, 4, 1, 5], [2, 6, 6, 2, 2]]], np.float32)
    order = np.argsort(-x, axis=-1, kind="stable")[..., :count]
    expected = np.take_along_axis(x, order, -1), order.astype(np.int32)
    agrees(single("TopKV2", x, Fixed(np.array(count, np.int32)), outputs=2, sorted=True), *expected)
    agrees(single("TopK", x, outputs=2, k=count), *expected)


def test_places_of_the_largest_items_may_be_int64() -> None:
    x = uniform(1, 1, 5)
    order = np.argsort(-x, axis=-1)[:, :2]
    made = single("TopKV2", x, Fixed(np.array(2, np.int32)), outputs=2, index_type=np.int64)
    agrees(made, np.take_along_axis(x, order, -1), order)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_running_sums(exclusive: bool, reverse: bool, dtype: Any) -> None:
    x = whole(1, 1, 3, 4, dtype=dtype, limit=9)
    turned = x[:, ::-1] if reverse else x
    sums = np.cumsum(turned, axis=1) - (turned if exclusive else 0)
    expected = (sums[:, ::-1] if reverse else sums).astype(dtype)
    agrees(single("Cumsum", x, Fixed(np.array(-2, np.int32)), exclusive=exclusive, reverse=reverse), expected)


X = np.zeros((1, 4), np.float32)
AXIS = Fixed(np.array([1], np.int32))


@pytest.mark.parametrize(
    ("op", "operands", "fields", "message"),
    [
        ("Sum", [X, np.zeros(1, np.int32)], {}, "its operand 1 is computed; only a constant can be imported"),
        ("Sum", [X, Fixed(np.array([2], np.int32))], {}, "dimension 2 of a tensor that has 2"),
        ("Sum", [X, Fixed(np.array([1], np.float32))], {}, "its operand 1 holds float32, not integers"),
        ("Sum", [X], {}, "it has no operand 1"),
        ("Sum", [X.astype(bool), AXIS], {}, "operands of BOOL; they must be one of FLOAT"),
        ("All", [X, AXIS], {}, "operands of FLOAT; they must be one of BOOL"),
        ("EuclideanNorm", [X.astype(np.int32), AXIS], {}, "operands of INT32; they must be one of FLOAT"),
        ("Mean", [np.zeros((1, 0), np.int32), AXIS], {}, "a mean of no integers"),
        ("ArgMax", [X, Fixed(np.array([0, 1], np.int32))], {}, "its operand 1 has 2 items; one is needed"),
        ("ArgMax", [X, AXIS], {"output_type": np.int16}, "places of the element type int16"),
        ("ArgMax", [X, AXIS], {"output_type": True}, "its attribute output_type has another type than 'type'"),
        ("TopKV2", [X, Fixed(np.array(5, np.int32))], {}, "the 5 largest items of the shape [1, 4]"),
        ("TopKV2", [X, Fixed(np.array(-1, np.int32))], {}, "the -1 largest items of the shape [1, 4]"),
        ("TopK", [X], {}, "it lacks the attribute k"),
        ("Cumsum", [X, Fixed(np.array(2, np.int32))], {}, "dimension 2 of a tensor that has 2"),
    ],
)
def test_reduction_that_cannot_be_says_why(op: str, operands: list[Any], fields: dict[str, Any], message: str) -> None:
    assert refusal(op, *operands, **fields).startswith(message)
