"""Gathering and scattering of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.canonical import imported, run
from tests.support.single_operator import FEW, SEEDS, agrees, constant, options, refusal, sample, single, tensor

SOME = settings(FEW, max_examples=10)
"""As many for each element type as are enough for all of them together."""

MOVED = ("float32", "uint8", "int8", "int16", "int32", "int64", "bool")
"""Element types that the kernels move; the first integers are quantized."""

SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=3).map(lambda dims: [1, *dims])
INDICES = st.sampled_from(["int32", "int64"])


def numbers(*values: Any) -> Any:
    return constant(np.asarray(values, np.int32))


def indexed(
    folder: Path, name: str, operands: list[Any], result: Any, made: Any, arrays: dict[int, np.ndarray]
) -> None:
    """Check an operator that moves items; some operands get given items, the others drawn ones."""
    rng = np.random.default_rng(7)
    computed = {place: one for place, one in enumerate(operands) if one.data is None}
    items = [arrays.get(place, sample(rng, one)) for place, one in computed.items()]
    agrees(folder, name, operands, result, made, arrays=items, units=0)


@pytest.mark.parametrize("computed", [True, False], ids=["computed", "constant"])
@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, data=st.data(), index=INDICES, seed=SEEDS)
def test_gather(
    *, dtype: str, computed: bool, tmp_path: Path, shape: list[int], data: st.DataObject, index: str, seed: int
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    positive = axis % len(shape)
    batch = data.draw(st.integers(0, positive))
    rest = data.draw(st.lists(st.integers(1, 3), min_size=int(batch == 0), max_size=2))
    wanted = [*shape[:batch], *rest] if batch else [1, *rest]
    picks = np.random.default_rng(seed).integers(0, shape[positive], wanted).astype(index)
    result = [*shape[:positive], *wanted[batch:], *shape[positive + 1 :]]
    operands = [tensor(shape, dtype), tensor(wanted, index) if computed else constant(picks)]
    made = options("Gather", axis=axis, batchDims=batch)
    indexed(tmp_path, "GATHER", operands, tensor(result, dtype), made, {1: picks})


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, data=st.data(), index=INDICES, seed=SEEDS)
def test_gather_nd(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, index: str, seed: int) -> None:
    depth = data.draw(st.integers(1, len(shape)))
    wanted = [1, *data.draw(st.lists(st.integers(1, 3), max_size=2))]
    rng = np.random.default_rng(seed)
    picks = np.stack([rng.integers(0, dim, wanted) for dim in shape[:depth]], axis=-1).astype(index)
    result = tensor([*wanted, *shape[depth:]], dtype)
    operands = [tensor(shape, dtype), tensor(picks.shape, index)]
    indexed(tmp_path, "GATHER_ND", operands, result, options("GatherNd"), {1: picks})


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@SOME
@given(rows=st.integers(1, 5), count=st.integers(1, 4), width=st.integers(1, 3), seed=SEEDS)
def test_embedding_lookup(*, dtype: str, tmp_path: Path, rows: int, count: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = tensor([rows, width], dtype)
    picks = rng.integers(0, rows, [count]).astype(np.int32)
    operands = [tensor([count], "int32"), table.filled(sample(rng, table))]
    indexed(tmp_path, "EMBEDDING_LOOKUP", operands, tensor([count, width], dtype), None, {0: picks})


def test_embedding_lookup_of_real_numbers_in_a_quantized_table(tmp_path: Path) -> None:
    table = np.arange(-6, 6, dtype=np.int8).reshape(4, 3)
    operands = [tensor([2], "int32"), constant(table, scale=0.25)]
    agrees(tmp_path, "EMBEDDING_LOOKUP", operands, tensor([2, 3]), arrays=[np.asarray([3, 1], np.int32)])


@pytest.mark.parametrize("dtype", ["float32", "int8", "int32", "int64", "bool"])
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_scatter_nd(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    depth = data.draw(st.integers(1, len(shape)))
    count = data.draw(st.integers(1, 3))
    rng = np.random.default_rng(seed)
    places = np.stack([rng.integers(0, dim, [1, count]) for dim in shape[:depth]], axis=-1).astype(np.int32)
    # With another zero point the stored integers, which the kernel adds, are not the numbers.
    updates = tensor([1, count, *shape[depth:]], dtype, zero_point=7)
    # Of int8 no sum may leave the range: the kernel wraps around there.
    items = sample(rng, updates, -40, 40) if dtype == "int8" else sample(rng, updates)
    operands = [tensor(places.shape, "int32"), updates, constant(np.asarray(shape, np.int32))]
    agrees(
        tmp_path,
        "SCATTER_ND",
        operands,
        tensor(shape, dtype, zero_point=7),
        options("ScatterNd"),
        arrays=[places, items],
        units=0,
    )


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize(("shape", "segments"), [([5], [0, 0, 2, 3, 3]), ([1, 3], [1])], ids=["items", "slices"])
def test_segment_sum(shape: list[int], segments: list[int], dtype: str, tmp_path: Path) -> None:
    # LiteRT has no reference kernel for it, so the expectation is NumPy's.
    wanted = [segments[-1] + 1, *shape[1:]]
    content = single("SEGMENT_SUM", [tensor(shape, dtype), numbers(*segments)], [tensor(wanted, dtype)])
    data = sample(np.random.default_rng(3), tensor(shape, dtype))
    expected = np.zeros(wanted, dtype)
    np.add.at(expected, segments, data)
    model, _ = imported(content, tmp_path)
    np.testing.assert_array_equal(run(model, [data])[0], expected)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64"])
@pytest.mark.parametrize("one", [True, False], ids=["one item", "items"])
@SOME
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=3), data=st.data(), index=INDICES, seed=SEEDS)
def test_sparse_to_dense(
    *, dtype: str, one: bool, tmp_path: Path, shape: list[int], data: st.DataObject, index: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count = data.draw(st.integers(1, int(np.prod(shape))))
    flat = np.sort(rng.choice(int(np.prod(shape)), count, replace=False))
    places = np.stack(np.unravel_index(flat, shape), axis=-1).astype(index)
    if len(shape) == 1 and data.draw(st.booleans()):
        places = places[:, 0]
    values, filler = tensor([] if one else [count], dtype), tensor([], dtype)
    operands = [
        constant(places),
        constant(np.asarray(shape, index)),
        values.filled(sample(rng, values)) if one else values,
        filler.filled(sample(rng, filler)),
    ]
    arrays = [] if one else [sample(rng, values)]
    made = options("SparseToDense", validateIndices=True)
    agrees(tmp_path, "SPARSE_TO_DENSE", operands, tensor(shape, dtype), made, arrays=arrays, units=0)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int32", "int64", "bool"])
@SOME
@given(shape=SHAPES, data=st.data(), index=INDICES)
def test_dynamic_update_slice(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, index: str) -> None:
    block = [data.draw(st.integers(1, dim)) for dim in shape]
    start = [data.draw(st.integers(-2, dim + 1)) for dim in shape]
    operands = [tensor(shape, dtype), tensor(block, dtype), tensor([len(shape)], index)]
    items = {2: np.asarray(start, index)}
    indexed(tmp_path, "DYNAMIC_UPDATE_SLICE", operands, tensor(shape, dtype), options("DynamicUpdateSlice"), items)


X = tensor([1, 4])
REFUSED = {
    "axis": (("GATHER", [X, numbers(0)], X, options("Gather", axis=2)), "dimension 2 of a tensor that has 2"),
    "batch": (
        ("GATHER", [X, numbers([0], [1])], X, options("Gather", axis=1, batchDims=1)),
        "1 batch dimensions of [1, 4] and [2, 1]",
    ),
    "indices": (("GATHER", [X, tensor([1])], X, options("Gather")), "indices of FLOAT"),
    "other quantization": (
        ("GATHER", [tensor([1, 4], "int8"), numbers(0)], tensor([1, 4], "int8", 0.07), options("Gather")),
        "differ in quantization",
    ),
    "computed shape": (
        ("SCATTER_ND", [numbers([0]), tensor([1]), tensor([1], "int32")], tensor([4]), options("ScatterNd")),
        "operand 2 is computed",
    ),
    "negative shape": (
        ("SCATTER_ND", [numbers([0]), tensor([1]), numbers(-4)], tensor([4]), options("ScatterNd")),
        "a result of the shape [-4]",
    ),
    "computed segments": (
        ("SEGMENT_SUM", [tensor([4]), tensor([4], "int32")], tensor([2]), options("SegmentSum")),
        "operand 1 is computed",
    ),
    "unsorted segments": (
        ("SEGMENT_SUM", [tensor([2]), numbers(1, 0)], tensor([2]), options("SegmentSum")),
        "2 segment numbers for the shape [2], which must be sorted",
    ),
    "places": (
        (
            "SPARSE_TO_DENSE",
            [numbers([0, 1]), numbers(4), tensor([1]), constant(np.zeros((), np.float32))],
            tensor([4]),
            options("SparseToDense"),
        ),
        "places [1, 2] and items [1] for the shape [4]",
    ),
    "block": (
        ("DYNAMIC_UPDATE_SLICE", [X, tensor([1, 5]), numbers(0, 0)], X, options("DynamicUpdateSlice")),
        "a block [1, 5] in a tensor [1, 4]",
    ),
    "begin": (
        ("DYNAMIC_UPDATE_SLICE", [X, tensor([1, 2]), numbers(0)], X, options("DynamicUpdateSlice")),
        "a begin of shape [1] for 2 dimensions",
    ),
    "memory": (
        (
            "DYNAMIC_UPDATE_SLICE",
            [tensor([1, 1 << 28]), tensor([1, 1 << 27]), numbers(0, 0)],
            tensor([1, 1 << 28]),
            options("DynamicUpdateSlice"),
        ),
        "it needs an array of 268435456 items",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[Any, ...], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)
