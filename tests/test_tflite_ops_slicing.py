"""Parts of tensors in ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.canonical import conforms, imported, opaque_reasons
from tests.support.single_operator import FEW, SEEDS, agrees, constant, options, refusal, sample, single, tensor

SOME = settings(FEW, max_examples=10)
"""As many for each element type as are enough for all of them together."""

MOVED = ("float32", "uint8", "int8", "int16", "int32", "int64", "bool")
"""Element types that the kernels move; the first integers are quantized."""

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(lambda dims: [1, *dims])


def numbers(*values: int, dtype: str = "int32") -> np.ndarray:
    return np.asarray(values, dtype)


def parts_agree(
    folder: Path, name: str, inputs: Sequence[Any], shapes: Sequence[Sequence[int]], made: Any, *, dtype: str, seed: int
) -> None:
    """Check an operator with several outputs; the items are moved exactly."""
    content = single(name, inputs, [tensor(shape, dtype) for shape in shapes], made)
    rng = np.random.default_rng(seed)
    given_arrays = [sample(rng, one) for one in inputs if one.data is None]
    assert len(conforms(content, folder, given_arrays, units=0, relative=0)) == len(shapes)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int16", "int32"])
@SOME
@given(shape=SHAPES, count=st.integers(1, 4), data=st.data(), seed=SEEDS)
def test_split(*, dtype: str, tmp_path: Path, shape: list[int], count: int, data: st.DataObject, seed: int) -> None:
    axis = data.draw(st.integers(1 - len(shape), len(shape) - 1).filter(lambda axis: axis % len(shape) != 0))
    parts = [list(shape) for _ in range(count)]
    shape[axis] *= count
    operands = [constant(numbers(axis)), tensor(shape, dtype)]
    parts_agree(tmp_path, "SPLIT", operands, parts, options("Split", numSplits=count), dtype=dtype, seed=seed)


@pytest.mark.parametrize("dtype", MOVED[:-1])
@SOME
@given(shape=SHAPES, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), data=st.data(), seed=SEEDS)
def test_split_v(
    *, dtype: str, tmp_path: Path, shape: list[int], sizes: list[int], data: st.DataObject, seed: int
) -> None:
    axis = data.draw(st.integers(1 - len(shape), len(shape) - 1).filter(lambda axis: axis % len(shape) != 0))
    parts = [[*shape[: axis % len(shape)], size, *shape[axis % len(shape) + 1 :]] for size in sizes]
    shape[axis] = sum(sizes)
    if data.draw(st.booleans()):
        sizes[data.draw(st.integers(0, len(sizes) - 1))] = -1
    operands = [tensor(shape, dtype), constant(numbers(*sizes)), constant(np.asarray(axis, np.int32))]
    parts_agree(tmp_path, "SPLIT_V", operands, parts, options("SplitV", numSplits=len(sizes)), dtype=dtype, seed=seed)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int16", "int32", "bool"])
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_unpack(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count, part = shape[axis], list(np.delete(shape, axis))
    made = options("Unpack", num=count, axis=axis)
    parts_agree(tmp_path, "UNPACK", [tensor(shape, dtype)], [part] * count, made, dtype=dtype, seed=seed)


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS, index=st.sampled_from(["int32", "int64"]))
def test_slice(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int, index: str) -> None:
    begin = [data.draw(st.integers(0, dim - 1)) for dim in shape]
    counts = [data.draw(st.integers(1, dim - start)) for dim, start in zip(shape, begin, strict=True)]
    to_the_end = [
        data.draw(st.booleans()) and start + count == dim
        for start, count, dim in zip(begin, counts, shape, strict=True)
    ]
    sizes = [-1 if rest else count for rest, count in zip(to_the_end, counts, strict=True)]
    operands = [tensor(shape, dtype), constant(numbers(*begin, dtype=index)), constant(numbers(*sizes, dtype=index))]
    agrees(tmp_path, "SLICE", operands, tensor(counts, dtype), options("Slice"), seed=seed, units=0)


STEPS = st.sampled_from([1, 1, 2, 3, -1, -2])
BOUNDS = st.integers(-7, 7)
KINDS = st.sampled_from(["range", "range", "index", "new"])


@st.composite
def entries(
    draw: st.DrawFn, shape: Sequence[int]
) -> tuple[tuple[Any, ...], list[tuple[int, int, int]], dict[str, int]]:
    """An index expression of NumPy, and the same as numbers and masks of STRIDED_SLICE."""
    index: list[Any] = []
    rows: list[tuple[int, int, int]] = []
    masks = dict.fromkeys(("begin", "end", "ellipsis", "newAxis", "shrinkAxis"), 0)
    left = draw(st.integers(0, len(shape)))
    ellipsis = draw(st.integers(0, left)) if left < len(shape) and draw(st.booleans()) else None
    place = 0
    while place < left or (ellipsis is not None and Ellipsis not in index):
        bit = 1 << len(rows)
        if ellipsis is not None and place == ellipsis and Ellipsis not in index:
            index.append(Ellipsis)
            rows.append((0, 0, 1))
            masks["ellipsis"] |= bit
            continue
        kind = draw(KINDS)
        dim = shape[place if Ellipsis not in index else place + len(shape) - left]
        if kind == "new":
            index.append(None)
            rows.append((draw(BOUNDS), draw(BOUNDS), 1))
            masks["newAxis"] |= bit
            continue
        place += 1
        if kind == "index":
            number = draw(st.integers(-dim, dim - 1))
            index.append(number)
            rows.append((number, draw(BOUNDS), 1))
            masks["shrinkAxis"] |= bit
            continue
        begin, end, step = draw(BOUNDS), draw(BOUNDS), draw(STEPS)
        open_begin, open_end = draw(st.booleans()), draw(st.booleans())
        index.append(slice(None if open_begin else begin, None if open_end else end, step))
        rows.append((begin, end, step))
        masks["begin"] |= bit * open_begin
        masks["end"] |= bit * open_end
    return tuple(index), rows, {f"{name}Mask": mask for name, mask in masks.items()}


@pytest.mark.parametrize("dtype", MOVED)
@FEW
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_strided_slice(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    index, rows, masks = data.draw(entries(shape))
    wanted = np.empty(shape)[index].shape
    assume(rows and 0 not in wanted and len(wanted) < 6)
    operands = [tensor(shape, dtype), *(constant(numbers(*column)) for column in zip(*rows, strict=True))]
    made = options("StridedSlice", **masks)
    agrees(tmp_path, "STRIDED_SLICE", operands, tensor(wanted, dtype), made, seed=seed, units=0)


@pytest.mark.parametrize("begin", [1, -3], ids=["from the front", "from the back"])
def test_strided_slice_of_lengths_instead_of_ends(begin: int, tmp_path: Path) -> None:
    columns = [constant(numbers(0, begin)), constant(numbers(1, 3)), constant(numbers(1, 2))]
    made = options("StridedSlice", offset=True)
    agrees(tmp_path, "STRIDED_SLICE", [tensor([1, 5]), *columns], tensor([1, 2]), made, units=0)


def test_an_open_begin_of_a_dropped_dimension_is_its_first_index(tmp_path: Path) -> None:
    columns = [constant(numbers(0, 2)), constant(numbers(1, 3)), constant(numbers(1, 1))]
    made = options("StridedSlice", beginMask=2, shrinkAxisMask=2)
    agrees(tmp_path, "STRIDED_SLICE", [tensor([1, 5]), *columns], tensor([1]), made, units=0, relative=0)


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_reverse(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    # The kernel takes neighbouring dimensions only.
    first = data.draw(st.integers(0, len(shape) - 1))
    axes = range(first, data.draw(st.integers(first, len(shape) - 1)) + 1)
    operands = [tensor(shape, dtype), constant(numbers(*axes))]
    agrees(tmp_path, "REVERSE_V2", operands, tensor(shape, dtype), options("ReverseV2"), seed=seed, units=0)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16", "int32", "int64"])
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS, index=st.sampled_from(["int32", "int64"]))
def test_reverse_sequence(
    *, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int, index: str
) -> None:
    batch, time = data.draw(st.permutations(range(len(shape))))[:2]
    lengths = [data.draw(st.integers(1, shape[time])) for _ in range(shape[batch])]
    made = options("ReverseSequence", seqDim=time, batchDim=batch)
    operands = [tensor(shape, dtype), tensor([shape[batch]], index)]
    arrays = [sample(np.random.default_rng(seed), operands[0]), numbers(*lengths, dtype=index)]
    agrees(tmp_path, "REVERSE_SEQUENCE", operands, tensor(shape, dtype), made, arrays=arrays, units=0)


def test_a_whole_slice_needs_no_node(tmp_path: Path) -> None:
    operands = [tensor([1, 3]), constant(numbers(0, 0)), constant(numbers(-1, 3))]
    model, _ = imported(single("SLICE", operands, [tensor([1, 3])], options("Slice")), tmp_path)
    assert [node.op_type for node in model.graph] == ["Identity"]


def strided(*columns: Sequence[int], shape: Sequence[int] = (1, 4), **fields: Any) -> tuple[Any, ...]:
    operands = [tensor(shape), *(constant(numbers(*column)) for column in columns)]
    return "STRIDED_SLICE", operands, tensor([1, 4]), options("StridedSlice", **fields)


X = tensor([1, 4])
REFUSED = {
    "computed begin": (
        ("SLICE", [X, tensor([2], "int32"), constant(numbers(1, 1))], tensor([1, 1]), options("Slice")),
        "operand 1 is computed; only a constant can be imported",
    ),
    "rank": (
        ("SLICE", [X, constant(numbers(0)), constant(numbers(1))], X, options("Slice")),
        "a block at [0] of size [1] of the shape [1, 4]",
    ),
    "beyond": (
        ("SLICE", [X, constant(numbers(0, 2)), constant(numbers(1, 3))], X, options("Slice")),
        "goes beyond the shape [1, 4]",
    ),
    "no step": (strided([0, 0], [1, 4], [1, 0]), "steps [1, 0]"),
    "too many entries": (strided([0] * 3, [1] * 3, [1] * 3), "3 entries for 2 dimensions"),
    "ellipsis of nothing": (strided([0] * 3, [1] * 3, [1] * 3, ellipsisMask=2), "3 entries for 2 dimensions"),
    "two ellipses": (strided([0, 0], [1, 4], [1, 1], ellipsisMask=3), "several ellipses"),
    "offset and masks": (strided([0, 0], [1, 4], [1, 1], offset=True, endMask=1), "together with masks"),
    "index": (strided([0, 4], [1, 4], [1, 1], shrinkAxisMask=2), "dimension 4 of a tensor that has 4"),
    "other quantization": (
        ("REVERSE_V2", [tensor([1, 4], "int8"), constant(numbers(1))], tensor([1, 4], "int8", 0.07)),
        "differ in quantization",
    ),
    "sequences": (
        ("REVERSE_SEQUENCE", [X, tensor([1], "int32")], X, options("ReverseSequence", seqDim=1, batchDim=1)),
        "sequences along dimension 1",
    ),
    "parts": (
        ("SPLIT", [constant(numbers(1)), X], X, options("Split", numSplits=3)),
        "3 equal parts of 4 for 1 outputs",
    ),
    "lengths": (
        ("SPLIT_V", [X, constant(numbers(5)), constant(numbers(1))], X, options("SplitV", numSplits=1)),
        "parts of the lengths [5] of 4",
    ),
    "outputs": (
        ("UNPACK", [X], tensor([1]), options("Unpack", num=4, axis=1)),
        "1 outputs for a dimension of length 4",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[Any, ...], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)


def test_an_index_that_is_out_of_range_names_its_length(tmp_path: Path) -> None:
    model, _ = imported(
        single(
            *strided([0, -5], [1, 4], [1, 1], shrinkAxisMask=2)[:2],
            [tensor([1])],
            options("StridedSlice", shrinkAxisMask=2),
        ),
        tmp_path,
    )
    assert opaque_reasons(model) == ["STRIDED_SLICE: dimension -5 of a tensor that has 4"]
