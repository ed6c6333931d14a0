"""Items taken by their places in frozen TensorFlow graphs."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

from tests.support.tensorflow_movement import folded
from tests.support.tensorflow_operator import Fixed, Operand, agrees, refusal, single

# OpenCV's importer has none of these operators with indices that are computed, so NumPy is asked.


def items(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).integers(-100, 100, shape).astype(dtype)


def places(*shape: int, below: int, seed: int = 1, dtype: str = "int32") -> np.ndarray:
    return np.random.default_rng(seed).integers(0, below, shape).astype(dtype)


def scalar(number: int) -> Fixed:
    return Fixed(np.asarray(number, np.int32))


def gathered(x: np.ndarray, indices: np.ndarray, axis: int, batch: int) -> np.ndarray:
    """Item by item: ``y[b, o, i, r] = x[b, o, indices[b, i], r]``."""
    shape = (*x.shape[:axis], *indices.shape[batch:], *x.shape[axis + 1 :])
    found = np.empty(shape, x.dtype)
    inner = indices.ndim - batch
    for place in itertools.product(*map(range, shape)):
        index = indices[(*place[:batch], *place[axis : axis + inner])]
        found[place] = x[(*place[:axis], index, *place[axis + inner :])]
    return found


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
def test_gather_takes_slices_along_the_first_dimension(shape: tuple[int, ...], dtype: str) -> None:
    table, indices = items(7, 4, dtype=dtype), places(*shape, below=7, dtype="int64")
    (found,) = folded("Gather", Fixed(table), Fixed(indices), Tparams=table.dtype)
    np.testing.assert_array_equal(found, table[indices])


def test_gather_looks_computed_indices_up_in_a_table() -> None:
    table, indices = items(7, 4), places(1, 3, below=7)
    agrees(single("Gather", Fixed(table), indices), table[indices])


@pytest.mark.parametrize("kind", ["int32", "int64", "uint8", "int16"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_gather_v2_takes_slices_along_any_dimension(axis: int, kind: str) -> None:
    x = items(1, 3, 4)
    indices = places(1, 2, below=x.shape[axis], dtype=kind)
    agrees(single("GatherV2", x, indices, scalar(axis)), np.take(x, indices, axis))


@pytest.mark.parametrize(
    ("shape", "picked", "axis", "batch"),
    [
        ((1, 5), (1, 3), 1, 1),
        ((1, 4, 5), (1, 3), 2, 1),
        ((1, 4, 5, 2), (1, 4, 3, 2), 2, 2),
        ((1, 4, 3, 5), (1, 4, 2), -1, -1),
        ((1, 4, 5), (1, 4), 2, 2),
    ],
    ids=["row", "dimension between", "two", "from the back", "one each"],
)
def test_each_batch_has_its_own_indices(shape: tuple[int, ...], picked: tuple[int, ...], axis: int, batch: int) -> None:
    x = items(*shape)
    indices = places(*picked, below=shape[axis])
    wanted = gathered(x, indices, axis % len(shape), batch % len(picked) if batch < 0 else batch)
    agrees(single("GatherV2", x, indices, scalar(axis), batch_dims=batch), wanted)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gather_nd_takes_slices_at_places(depth: int) -> None:
    x = items(1, 3, 4)
    indices = np.stack([places(1, 5, below=dim, seed=dim) for dim in x.shape[:depth]], -1)
    agrees(single("GatherNd", x, indices), x[tuple(np.moveaxis(indices, -1, 0))])


def one_hot(indices: np.ndarray, depth: int, axis: int, on: Any, off: Any) -> np.ndarray:
    """Item by item, from the definition."""
    shape = list(indices.shape)
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, depth)
    found = np.full(shape, off)
    for place in itertools.product(*map(range, indices.shape)):
        if 0 <= indices[place] < depth:
            where = list(place)
            where.insert(axis if axis >= 0 else len(where) + 1 + axis, int(indices[place]))
            found[tuple(where)] = on
    return found


@pytest.mark.parametrize(
    ("on", "off"),
    [(np.float32(2.5), np.float32(-1)), (np.int32(3), np.int32(0)), (np.bool_(1), np.bool_(0))],
    ids=["float32", "int32", "bool"],
)
@pytest.mark.parametrize("kind", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_an_index_out_of_range_names_no_place(axis: int, kind: str, on: np.generic, off: np.generic) -> None:
    numbers = np.array([[0, 3, 4, 1, -1 if kind != "uint8" else 255, 2]])
    indices = numbers.astype(kind)
    made = single("OneHot", indices, scalar(4), Fixed(np.asarray(on)), Fixed(np.asarray(off)), axis=axis, T=on.dtype)
    agrees(made, one_hot(numbers, 4, axis, on, off))


def test_one_hot_adds_a_last_dimension_when_it_names_none() -> None:
    indices = places(1, 3, below=4)
    ends = [Fixed(np.float32(number).reshape(())) for number in (1, 0)]
    agrees(single("OneHot", indices, scalar(4), *ends), np.eye(4, dtype=np.float32)[indices])


X = items(1, 4)
PLACES = places(1, 2, below=4)
ENDS = (Fixed(np.asarray(1, np.float32)), Fixed(np.asarray(0, np.float32)))
REFUSED: dict[str, tuple[tuple[str, *tuple[Operand, ...]], dict[str, Any], str]] = {
    "axis": (("GatherV2", X, PLACES, scalar(2)), {}, "dimension 2 of a tensor that has 2"),
    "real indices": (("GatherV2", X, items(1, 2), scalar(1)), {}, "indices of FLOAT"),
    "batch": (
        ("GatherV2", X, PLACES, scalar(0)),
        {"batch_dims": 1},
        r"1 batch dimensions of \[1, 4\] and \[1, 2\], along",
    ),
    "batches": (("GatherV2", X, places(3, below=4), scalar(1)), {"batch_dims": 1}, r"of \[1, 4\] and \[3\]"),
    "places": (("GatherNd", X, places(1, 3, below=1)), {}, "GatherND"),
    "depth": (("OneHot", PLACES, scalar(-1), *ENDS), {}, "-1 places for indices of INT32"),
    "real hot": (("OneHot", X, scalar(3), *ENDS), {}, "3 places for indices of FLOAT"),
    "memory": (("OneHot", PLACES, scalar(1 << 30), *ENDS), {}, "an array of 1073741824 items; at most"),
    "two items": (
        ("OneHot", PLACES, scalar(3), Fixed(np.ones(2, np.float32)), ENDS[1]),
        {},
        r"the shape \[\] for the 2",
    ),
    "where": (("Where", X), {}, "how many items it finds depends on the data"),
    "boxes": (("CropAndResize", items(1, 4, 4, 2), X), {}, "boxes that are computed"),
}


@pytest.mark.parametrize(("case", "attributes", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[str, *tuple[Operand, ...]], attributes: dict[str, Any], reason: str) -> None:
    assert re.search(reason, refusal(*case, **attributes))
