"""Tensors made of a few numbers in ``.tflite`` models, in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.canonical import conforms
from tests.support.single_operator import FEW, SEEDS, agrees, constant, options, refusal, sample, single, tensor
from tests.support.tflite_models import ModelBuilder

SOME = settings(FEW, max_examples=10)
"""As many for each element type as are enough for all of them together."""

MOVED = ("float32", "uint8", "int8", "int16", "int32", "int64", "bool")
"""Element types that the kernels move; the first integers are quantized."""

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(lambda dims: [1, *dims])
INDICES = st.sampled_from(["int32", "int64"])


def numbers(*values: int, dtype: str = "int32") -> Any:
    return constant(np.asarray(values, dtype))


@pytest.mark.parametrize(("index", "code"), [("int32", 2), ("int64", 4)])
@pytest.mark.parametrize("shape", [[1, 3, 2], [5]], ids=str)
def test_shape(shape: list[int], index: str, code: int, tmp_path: Path) -> None:
    agrees(tmp_path, "SHAPE", [tensor(shape)], tensor([len(shape)], index), options("Shape", outType=code))


def test_rank(tmp_path: Path) -> None:
    agrees(tmp_path, "RANK", [tensor([1, 3, 2])], tensor([], "int32"), options("Rank"))


@pytest.mark.parametrize("dtype", ["float32", "int8", "int16", "int32", "int64", "bool"])
@SOME
@given(shape=SHAPES, index=INDICES, seed=SEEDS)
def test_fill(*, dtype: str, tmp_path: Path, shape: list[int], index: str, seed: int) -> None:
    filler = tensor([], dtype)
    operands = [numbers(*shape, dtype=index), filler.filled(sample(np.random.default_rng(seed), filler))]
    agrees(tmp_path, "FILL", operands, tensor(shape, dtype), options("Fill"), units=0)


def test_fill_with_a_computed_item(tmp_path: Path) -> None:
    agrees(tmp_path, "FILL", [numbers(2, 3), tensor([])], tensor([2, 3]), options("Fill"), units=0)


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, data=st.data(), index=INDICES, seed=SEEDS)
def test_broadcast_to(
    *, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, index: str, seed: int
) -> None:
    wanted = [*data.draw(st.lists(st.integers(1, 3), max_size=2)), *shape]
    narrow = [1, *(dim if data.draw(st.booleans()) else 1 for dim in shape[1:])]
    operands = [tensor(narrow, dtype), numbers(*wanted, dtype=index)]
    result, made = tensor(wanted, dtype), options("BroadcastTo")
    agrees(tmp_path, "BROADCAST_TO", operands, result, made, seed=seed, units=0, version=3)


def test_broadcast_args_decide_a_shape(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 3]), builder.tensor("y", [2, 4, 3])
    first, second = (
        builder.constant(name, np.asarray(dims, np.int32)) for name, dims in (("a", [4, 3]), ("b", [2, 1, 1]))
    )
    wanted = builder.tensor("wanted", [3], "int32")
    builder.operator("BROADCAST_ARGS", [first, second], [wanted])
    builder.operator("BROADCAST_TO", [x, wanted], [y], options("BroadcastTo"), version=3)
    conforms(builder.finish([x], [y]), tmp_path, [sample(np.random.default_rng(1), tensor([1, 3]))])


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64", "bool"])
@SOME
@given(shape=SHAPES, data=st.data(), index=INDICES, seed=SEEDS)
def test_tile(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, index: str, seed: int) -> None:
    times = [data.draw(st.integers(1, 3)) for _ in shape]
    wanted = [dim * count for dim, count in zip(shape, times, strict=True)]
    operands = [tensor(shape, dtype), numbers(*times, dtype=index)]
    agrees(tmp_path, "TILE", operands, tensor(wanted, dtype), options("Tile"), seed=seed, units=0)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
@SOME
@given(start=st.integers(-20, 20), count=st.integers(1, 30), step=st.sampled_from([-3, -1, 1, 2, 7]))
def test_range(*, dtype: str, tmp_path: Path, start: int, count: int, step: int) -> None:
    # Tenths have no exact float, so that the order of additions shows.
    factor = 0.1 if dtype == "float32" else 1
    limit = start + count * step - (step > 0) + (step < 0) if factor == 1 else start + (count - 0.5) * step
    operands = [constant(np.asarray(value * factor, dtype)) for value in (start, limit, step)]
    length = len(range(start, int(limit), step)) if factor == 1 else count
    made, result = options("Range"), tensor([length], dtype)
    content = single("RANGE", operands, [result], made)
    if length:
        conforms(content, tmp_path, [], relative=0)


def test_a_long_float_range_adds_its_step_up(tmp_path: Path) -> None:
    operands = [constant(np.asarray(value, np.float32)) for value in (0, 999.95, 0.1)]
    conforms(single("RANGE", operands, [tensor([10000])], options("Range")), tmp_path, [], relative=0)


X = tensor([1, 4])
REFUSED = {
    "computed": (("FILL", [tensor([2], "int32"), tensor([])], X, options("Fill")), "operand 0 is computed"),
    "negative": (("FILL", [numbers(1, -4), tensor([])], X, options("Fill")), "a result of the shape [1, -4]"),
    "several items": (("FILL", [numbers(1, 4), tensor([2])], X, options("Fill")), "shape [] for the 2 items"),
    "broadcast": (
        ("BROADCAST_TO", [X, numbers(2, 1)], tensor([2, 4]), options("BroadcastTo")),
        "the shape [1, 4] broadcast to [2, 1]",
    ),
    "shapes": (
        ("BROADCAST_ARGS", [numbers(2, 3), numbers(4)], tensor([2], "int32")),
        "the shapes [2, 3] and [4], which do not broadcast",
    ),
    "copies": (("TILE", [X, numbers(2)], tensor([2, 4]), options("Tile")), "[2] copies along the dimensions"),
    "other quantization": (
        ("TILE", [tensor([1, 4], "int8"), numbers(1, 2)], tensor([1, 8], "int8", 0.07), options("Tile")),
        "differ in quantization",
    ),
    "no step": (("RANGE", [numbers(0), numbers(4), numbers(0)], tensor([4], "int32"), options("Range")), "steps of 0"),
    "no number": (
        ("RANGE", [numbers(0, 1), numbers(4), numbers(1)], tensor([4], "int32"), options("Range")),
        "operand 0 is int32 [2], not one number",
    ),
    "endless": (
        ("RANGE", [numbers(0), numbers(1 << 30), numbers(1)], tensor([4], "int32"), options("Range")),
        "it needs an array of 1073741824 items",
    ),
    "computed limit": (
        ("RANGE", [numbers(0), tensor([], "int32"), numbers(1)], tensor([4], "int32"), options("Range")),
        "operand 1 is computed",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[Any, ...], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)
