"""Items chosen in ``.tflite`` models, in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.canonical import conforms
from tests.support.single_operator import (
    FEW,
    SEEDS,
    agrees,
    constant,
    options,
    refusal,
    sample,
    single,
    tensor,
)

SOME = settings(FEW, max_examples=10)
"""As many for each element type as are enough for all of them together."""

MOVED = ("float32", "uint8", "int8", "int16", "int32", "int64", "bool")
"""Element types that the kernels move; the first integers are quantized."""

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(lambda dims: [1, *dims])


def few(shape: list[int], dtype: str, seed: int) -> np.ndarray:
    """Items of few different values, so that many are equal."""
    low, high = (0, 3) if dtype in {"uint8", "bool"} else (-2, 2)
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, low=st.booleans(), seed=SEEDS)
def test_select(*, dtype: str, tmp_path: Path, shape: list[int], low: bool, seed: int) -> None:
    condition = tensor(shape[:1] if low else shape, "bool")
    operands = [condition, tensor(shape, dtype), tensor(shape, dtype)]
    agrees(tmp_path, "SELECT", operands, tensor(shape, dtype), options("Select"), seed=seed, units=0)


@pytest.mark.parametrize("dtype", ["float32", "int16", "int32"])
def test_the_condition_of_select_runs_along_the_first_dimension(dtype: str, tmp_path: Path) -> None:
    # Constants, as the batch of an input must be 1.
    values = [tensor([3, 2], dtype).filled(few([3, 2], dtype, seed)) for seed in (1, 2)]
    arrays = [np.asarray([True, False, True])]
    operands = [tensor([3], "bool"), *values]
    agrees(tmp_path, "SELECT", operands, tensor([3, 2], dtype), options("Select"), arrays=arrays, units=0)


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_select_v2(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    narrow = [[1, *(dim if data.draw(st.booleans()) else 1 for dim in shape[1:])] for _ in range(3)]
    # Some without the dimensions in front.
    shapes = [one[data.draw(st.sampled_from([0, len(shape) - 1])) :] for one in narrow]
    wanted = np.broadcast_shapes(*map(tuple, shapes))
    operands = [tensor(one, kind) for one, kind in zip(shapes, ("bool", dtype, dtype), strict=True)]
    agrees(tmp_path, "SELECT_V2", operands, tensor(wanted, dtype), options("SelectV2"), seed=seed, units=0)


@pytest.mark.parametrize("name", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32"])
@SOME
@given(shape=SHAPES, data=st.data(), index=st.sampled_from(["int32", "int64"]), seed=SEEDS)
def test_arg_max(
    *, name: str, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, index: str, seed: int
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    operands = [tensor(shape, dtype), constant(np.asarray(axis, np.int32))]
    made = options({"ARG_MAX": "ArgMax", "ARG_MIN": "ArgMin"}[name], outputType={"int32": 2, "int64": 4}[index])
    result = tensor(np.delete(shape, axis).tolist(), index)
    agrees(tmp_path, name, operands, result, made, arrays=[few(shape, dtype, seed)])


def test_arg_max_of_truth_values(tmp_path: Path) -> None:
    operands = [tensor([1, 4], "bool"), constant(np.asarray(1, np.int32))]
    arrays = [np.asarray([[False, True, False, True]])]
    agrees(tmp_path, "ARG_MAX", operands, tensor([1], "int32"), options("ArgMax", outputType=2), arrays=arrays)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64"])
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_top_k(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    count = data.draw(st.integers(1, shape[-1]))
    wanted = [*shape[:-1], count]
    operands = [tensor(shape, dtype, zero_point=3), constant(np.asarray(count, np.int32))]
    results = [tensor(wanted, dtype, zero_point=3), tensor(wanted, "int32")]
    content = single("TOPK_V2", operands, results, options("TopKV2"))
    conforms(content, tmp_path, [few(shape, dtype, seed)], units=0, relative=0)


@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64", "bool"])
@SOME
@given(shape=SHAPES, depth=st.integers(1, 4), data=st.data(), seed=SEEDS)
def test_one_hot(
    *, dtype: str, index: str, tmp_path: Path, shape: list[int], depth: int, data: st.DataObject, seed: int
) -> None:
    axis = data.draw(st.integers(-1, len(shape)))
    place = axis % (len(shape) + 1)
    rng = np.random.default_rng(seed)
    ends = [tensor([], dtype) for _ in range(2)]
    operands = [
        tensor(shape, index),
        constant(np.asarray(depth, np.int32)),
        *(one.filled(sample(rng, one)) for one in ends),
    ]
    result = tensor([*shape[:place], depth, *shape[place:]], dtype)
    arrays = [rng.integers(-2, depth + 1, shape, endpoint=True).astype(index)]
    agrees(tmp_path, "ONE_HOT", operands, result, options("OneHot", axis=axis), arrays=arrays, units=0)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int16", "int32", "int64"])
@SOME
@given(shape=SHAPES, seed=SEEDS)
def test_matrix_diag(*, dtype: str, tmp_path: Path, shape: list[int], seed: int) -> None:
    # The kernel writes stored zeros, whatever they stand for.
    x, y = (tensor(dims, dtype, zero_point=3) for dims in (shape, [*shape, shape[-1]]))
    agrees(tmp_path, "MATRIX_DIAG", [x], y, options("MatrixDiag"), seed=seed, units=0)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int16", "int32", "int64"])
@SOME
@given(shape=SHAPES.map(lambda dims: [*dims, 3]), height=st.integers(1, 5), seed=SEEDS)
def test_matrix_set_diag(*, dtype: str, tmp_path: Path, shape: list[int], height: int, seed: int) -> None:
    shape[-2] = height if len(shape) > 2 else 1
    x, diagonal = tensor(shape, dtype), tensor([*shape[:-2], min(shape[-2:])], dtype)
    agrees(
        tmp_path, "MATRIX_SET_DIAG", [x, diagonal], tensor(shape, dtype), options("MatrixSetDiag"), seed=seed, units=0
    )


def number(value: int) -> Any:
    return constant(np.asarray(value, np.int32))


X = tensor([1, 4])
MASK = tensor([1, 4], "bool")
REFUSED = {
    "where": (("WHERE", [MASK], tensor([4, 2], "int64"), options("Where")), "how many items it finds depends"),
    "unique": (("UNIQUE", [tensor([4])], tensor([4]), options("Unique")), "how many items it finds depends"),
    "shapes": (("SELECT_V2", [MASK, tensor([1, 3]), X], X, options("SelectV2")), "Where"),
    "condition": (("SELECT", [tensor([3], "bool"), X, X], X, options("Select")), "its result is FLOAT [3, 4]"),
    "other quantization": (
        ("SELECT", [MASK, *(tensor([1, 4], "int8", scale) for scale in (0.05, 0.07))], tensor([1, 4], "int8")),
        "operand 2 and its output differ in quantization",
    ),
    "computed axis": (
        ("ARG_MAX", [X, tensor([1], "int32")], tensor([1], "int32"), options("ArgMax", outputType=2)),
        "operand 1 is computed",
    ),
    "axis": (
        ("ARG_MIN", [X, number(2)], tensor([1], "int32"), options("ArgMin", outputType=2)),
        "dimension 2 of a tensor that has 2",
    ),
    "too many": (
        ("TOPK_V2", [X, number(5)], tensor([1, 5]), options("TopKV2")),
        "the 5 largest items of the shape [1, 4]",
    ),
    "places": (
        ("ONE_HOT", [tensor([1, 4], "int32"), number(-1), number(1), number(0)], X, options("OneHot", axis=-1)),
        "-1 places for indices of INT32",
    ),
    "memory": (
        ("ONE_HOT", [tensor([1, 4], "int32"), number(1 << 30), number(1), number(0)], X, options("OneHot", axis=-1)),
        "it needs an array of 1073741824 items",
    ),
    "diagonal of a scalar": (("MATRIX_DIAG", [tensor([])], tensor([1]), options("MatrixDiag")), "no dimensions"),
    "large diagonal": (
        ("MATRIX_DIAG", [tensor([1, 5000])], tensor([1, 5000, 5000]), options("MatrixDiag")),
        "it needs an array of 25000000 items",
    ),
    "diagonal": (
        ("MATRIX_SET_DIAG", [tensor([1, 2, 3]), tensor([1, 3])], tensor([1, 2, 3]), options("MatrixSetDiag")),
        "diagonals [1, 3] of matrices [1, 2, 3]",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[Any, ...], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)
