"""Parts of tensors in frozen TensorFlow graphs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.single_operator import FEW, SEEDS
from tests.support.tensorflow_movement import imaged
from tests.support.tensorflow_operator import Fixed, Operand, agrees, agrees_with_opencv, refusal, single

MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(lambda dims: [1, *dims])


def items(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).integers(-100, 100, shape).astype(dtype)


def row(*numbers: int, dtype: str = "int32") -> Fixed:
    return Fixed(np.asarray(numbers, dtype))


def scalar(number: int) -> Fixed:
    return Fixed(np.asarray(number, np.int32))


def masks(**given: int) -> dict[str, int]:
    return dict.fromkeys(MASKS, 0) | given


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_the_first_part_of_an_image_agrees_with_opencv(axis: int) -> None:
    agrees_with_opencv(imaged("Split", scalar(axis), items(1, 4, 6, 8), num_split=2))


@pytest.mark.parametrize("axis", [1, -1, 2, -3])
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_split_into_equal_parts(axis: int, count: int) -> None:
    x = items(1, 6, 12)[..., None][..., [0] * 6]
    made = single("Split", scalar(axis), x, outputs=count, num_split=count, T=x.dtype)
    agrees(made, *np.split(x, count, axis))


@pytest.mark.parametrize("sizes", [(1, 4, 2), (3, -1), (-1,), (0, 7)], ids=str)
def test_split_into_parts_of_given_lengths(sizes: tuple[int, ...]) -> None:
    # OpenCV's importer has no SplitV.
    x = items(1, 3, 7)
    known = [size if size >= 0 else 7 - sum(other for other in sizes if other >= 0) for size in sizes]
    made = single("SplitV", x, row(*sizes), scalar(2), outputs=len(sizes), num_split=len(sizes))
    agrees(made, *np.split(x, np.cumsum(known)[:-1], 2))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_unpack_drops_the_dimension(axis: int | None) -> None:
    x = items(1, 3, 4)
    length = x.shape[axis or 0]
    made = single("Unpack", x, outputs=length, num=length, axis=axis)
    agrees(made, *np.moveaxis(x, axis or 0, 0))


@pytest.mark.parametrize(
    ("begin", "size"),
    [((0, 1, 2, 3), (1, 2, -1, 4)), ((0, 0, 0, 0), (1, 4, 6, 5)), ((0, 3, 0, 7), (1, 1, 6, 1))],
    ids=["inner", "first", "one row"],
)
def test_a_block_of_an_image_agrees_with_opencv(begin: Sequence[int], size: Sequence[int]) -> None:
    agrees_with_opencv(imaged("Slice", items(1, 4, 6, 8), row(*begin), row(*size)))


@FEW
@given(shape=SHAPES, data=st.data(), dtype=st.sampled_from(["float32", "int32", "uint8", "bool"]))
def test_slice(shape: list[int], data: st.DataObject, dtype: str) -> None:
    x = items(*shape, dtype=dtype)
    begin = [data.draw(st.integers(0, dim - 1)) for dim in shape]
    rest = [dim - start for dim, start in zip(shape, begin, strict=True)]
    size = [data.draw(st.sampled_from([-1, *range(1, length + 1)])) for length in rest]
    ends = [None if count == -1 else start + count for start, count in zip(begin, size, strict=True)]
    found = x[tuple(slice(*pair) for pair in zip(begin, ends, strict=True))]
    agrees(single("Slice", x, row(*begin, dtype="int64"), row(*size, dtype="int64"), Index=np.int64), found)


def test_a_size_that_names_a_fixed_batch_takes_the_one_sample() -> None:
    x = items(1, 5)
    agrees(single("Slice", x, row(0, 1), row(8, 3)), x[:, 1:4])


def test_all_of_a_tensor_needs_no_node() -> None:
    made = single("Slice", items(1, 5), row(0, 0), row(1, -1))
    assert [node.op_type for node in made.model.graph] == ["Identity"]


@pytest.mark.parametrize(
    ("columns", "given"),
    [
        (((0, 1, 0, 0), (1, 4, 6, 8), (1, 1, 2, 1)), {}),
        (((0, 1, 2, 0), (0, 0, 4, 0), (1, 1, 1, 1)), {"begin_mask": 9, "end_mask": 11}),
        (((0, 0, 0, 2), (0, 0, 0, 7), (1, 1, 1, 3)), {"begin_mask": 7, "end_mask": 7}),
    ],
    ids=["steps", "open", "channels"],
)
def test_a_strided_slice_of_an_image_agrees_with_opencv(
    columns: Sequence[Sequence[int]], given: dict[str, int]
) -> None:
    agrees_with_opencv(
        imaged("StridedSlice", items(1, 4, 6, 8), *(row(*column) for column in columns), **masks(**given))
    )


@st.composite
def indices(
    draw: st.DrawFn, shape: Sequence[int]
) -> tuple[tuple[Any, ...], list[tuple[int, int, int]], dict[str, int]]:
    """An index expression of NumPy, and the same as rows and masks of StridedSlice.

    Bits of masks that have no effect are set at random.
    """
    bounds, bits = st.integers(-7, 7), st.booleans()
    taken = draw(st.integers(0, len(shape)))
    kinds: list[tuple[str, int]] = [("dimension", axis) for axis in range(taken)]
    if draw(bits):
        place = draw(st.integers(0, taken))
        behind = [("dimension", axis + len(shape) - taken) for axis in range(place, taken)]
        kinds = [*kinds[:place], ("ellipsis", 0), *behind]
    for _ in range(draw(st.integers(0, 2))):
        kinds.insert(draw(st.integers(0, len(kinds))), ("new", 0))
    index: list[Any] = []
    rows: list[tuple[int, int, int]] = []
    found = masks()
    for kind, axis in kinds:
        bit = 1 << len(rows)
        begin, end, step = draw(bounds), draw(bounds), draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        open_begin, open_end, more = draw(bits), draw(bits), draw(bits)
        if kind == "ellipsis":
            index.append(Ellipsis)
            found["ellipsis_mask"] |= bit
            # An ellipsis comes before the other two.
            found["new_axis_mask"] |= bit * more
        elif kind == "new":
            index.append(None)
            found["new_axis_mask"] |= bit
            found["shrink_axis_mask"] |= bit * more
        elif more:
            begin, step = draw(st.integers(-shape[axis], shape[axis] - 1)), abs(step)
            index.append(begin)
            found["shrink_axis_mask"] |= bit
        else:
            index.append(slice(None if open_begin else begin, None if open_end else end, step))
        found["begin_mask"] |= bit * open_begin
        found["end_mask"] |= bit * open_end
        rows.append((begin, end, step))
    return tuple(index), rows, found


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool"])
@FEW
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_strided_slice(*, dtype: str, shape: list[int], data: st.DataObject, seed: int) -> None:
    index, rows, found = data.draw(indices(shape))
    x = items(*shape, seed=seed, dtype=dtype)
    assume(rows and x[index].size)
    agrees(single("StridedSlice", x, *(row(*column) for column in zip(*rows, strict=True)), **found), x[index])


def test_an_ellipsis_of_no_dimensions_takes_nothing() -> None:
    x = items(1, 4)
    columns = [row(0, 0, 1), row(1, 0, 3), row(1, 1, 1)]
    agrees(single("StridedSlice", x, *columns, **masks(ellipsis_mask=2)), x[:, 1:3])


def test_missing_masks_are_empty() -> None:
    x = items(1, 4)
    agrees(single("StridedSlice", x, row(0, 1), row(1, 3), row(1, 1)), x[:, 1:3])


X = items(1, 4)
Case = tuple[tuple[str, *tuple[Operand, ...]], dict[str, Any], str]
ONES = row(1, 1)
REFUSED: dict[str, Case] = {
    "computed begin": (("Slice", X, np.zeros(2, np.int32), ONES), {}, "operand 1 is computed; only a constant"),
    "rank": (("Slice", X, row(0), row(1)), {}, r"a block at \[0\] of size \[1\] of the shape \[1, 4\]"),
    "beyond": (("Slice", X, row(0, 2), row(1, 3)), {}, r"at \[0, 2\] of size \[1, 3\] goes beyond the shape \[1, 4\]"),
    "no step": (("StridedSlice", X, row(0, 0), row(1, 4), row(1, 0)), {}, r"and steps \[1, 0\]"),
    "columns": (("StridedSlice", X, row(0), row(1, 4), ONES), {}, r"begins \[0\], ends \[1, 4\] and steps \[1, 1\]"),
    "entries": (("StridedSlice", X, row(0, 0, 0), row(1, 1, 1), row(1, 1, 1)), {}, "3 entries for 2 dimensions"),
    "ellipses": (("StridedSlice", X, row(0, 0), ONES, ONES), {"ellipsis_mask": 3}, "several ellipses"),
    "index": (
        ("StridedSlice", X, row(0, 4), ONES, ONES),
        {"shrink_axis_mask": 2},
        "dimension 4 of a tensor that has 4",
    ),
    "step of an index": (
        ("StridedSlice", X, row(0, 3), ONES, row(1, -1)),
        {"shrink_axis_mask": 2},
        "an index with a step of -1",
    ),
    "parts": (("Split", scalar(1), X), {"num_split": 3}, "3 equal parts of 4"),
    "no parts": (("Split", scalar(1), X), {"num_split": 0}, "0 equal parts of 4"),
    "lengths": (("SplitV", X, row(5), scalar(1)), {"num_split": 1}, r"parts of the lengths \[5\] of 4"),
    "number of lengths": (("SplitV", X, row(4), scalar(1)), {"num_split": 2}, r"parts of the lengths \[4\] of 4"),
    "outputs": (("Unpack", X), {"axis": 1, "num": 3}, "3 outputs for a dimension of length 4"),
    "number": (("Unpack", X), {"axis": 1}, "it lacks the attribute num"),
}


@pytest.mark.parametrize(("case", "attributes", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[str, *tuple[Operand, ...]], attributes: dict[str, Any], reason: str) -> None:
    assert re.search(reason, refusal(*case, **attributes))
