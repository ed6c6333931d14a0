"""Tensors made of shapes and of a few numbers, and element types, in frozen TensorFlow graphs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from synap_frontend_tensorflow.importer.ops.shapes import _integers
from synap_frontend_tensorflow.importer.registry import UnsupportedError
from synap_frontend_tensorflow.schema import INT32
from tests.support.tensorflow_movement import folded
from tests.support.tensorflow_operator import Fixed, Operand, Single, agrees, refusal, single

# What is computed from shapes alone leaves OpenCV's importer nothing to run, so NumPy is asked.


def items(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).integers(-100, 100, shape).astype(dtype)


def row(*numbers: int, dtype: str = "int32") -> Fixed:
    return Fixed(np.asarray(numbers, dtype))


def scalar(number: float, dtype: str = "int32") -> Fixed:
    return Fixed(np.asarray(number, dtype))


def op_types(made: Single) -> list[str]:
    return [node.op_type for node in made.model.graph]


def gives(found: Sequence[np.ndarray], *expected: np.ndarray) -> None:
    """Check constants with their types; real numbers up to their rounding."""
    for array, wanted in zip(found, expected, strict=True):
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(array, wanted, rtol=1e-6, atol=1e-6 if wanted.dtype.kind == "f" else 0)


@pytest.mark.parametrize("kind", [np.int32, np.int64, None], ids=["int32", "int64", "no type"])
def test_shape_and_size_are_constants(kind: type[np.generic] | None) -> None:
    x = items(1, 3, 4)
    gives(folded("Shape", x, out_type=kind), np.asarray([1, 3, 4], kind or np.int32))
    gives(folded("Size", x, out_type=kind), np.asarray(12, kind or np.int32))


def test_sizes_that_the_type_cannot_hold_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="sizes up to 3000000000 in int32"):
        _integers(SimpleNamespace(kind=lambda *_: INT32), [1, 3_000_000_000])  # type: ignore[arg-type]  # all it asks


def test_rank_is_a_constant() -> None:
    gives(folded("Rank", items(1, 3, 4)), np.asarray(3, np.int32))


def test_shapes_of_several_tensors() -> None:
    found = folded("ShapeN", items(1, 3), items(1, 2, 2), N=2, out_type=np.int64)
    gives(found, np.array([1, 3], np.int64), np.array([1, 2, 2], np.int64))


@pytest.mark.parametrize("number", [np.float32(2.5), np.int32(7), np.bool_(1)], ids=["float32", "int32", "bool"])
def test_fill_copies_a_number(number: np.generic) -> None:
    gives(folded("Fill", row(2, 3, dtype="int64"), Fixed(np.asarray(number))), np.full((2, 3), number))


def test_a_computed_number_is_copied_into_a_shape() -> None:
    x = items(1)
    agrees(single("Fill", row(2, 3), x), np.broadcast_to(x, (2, 3)))


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool"])
@pytest.mark.parametrize(("op", "number"), [("ZerosLike", 0), ("OnesLike", 1)])
def test_as_many_zeros_or_ones_as_a_tensor_has_items(op: str, number: int, dtype: str) -> None:
    gives(folded(op, items(1, 3, dtype=dtype)), np.full((1, 3), number, dtype))


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 3, 1), (5, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_broadcast_to_copies_along_dimensions_of_length_one(shape: tuple[int, ...], dtype: str) -> None:
    x = items(1, 3, 1, dtype=dtype)
    agrees(single("BroadcastTo", x, row(*shape)), np.broadcast_to(x, shape))


def test_the_shape_that_two_shapes_broadcast_to_is_a_constant() -> None:
    gives(folded("BroadcastArgs", row(2, 1), row(4, 1, 3)), np.array([4, 2, 3], np.int32))


@pytest.mark.parametrize("times", [(1, 2, 3), (2, 1, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool"])
def test_tile_repeats_a_tensor(times: tuple[int, ...], dtype: str) -> None:
    # OpenCV's importer fails on the repeats of a Tile.
    x = items(1, 2, 3, dtype=dtype)
    agrees(single("Tile", x, row(*times)), np.tile(x, times))


RANGES = {
    "up": (2, 11, 3, "int32"),
    "down": (5, -5, -4, "int64"),
    "nothing": (3, 3, 1, "int32"),
    "real": (0.0, 1.0, 0.1, "float32"),
    "short of the limit": (-1.0, 1.05, 0.5, "float32"),
}


@pytest.mark.parametrize(("start", "limit", "step", "dtype"), RANGES.values(), ids=list(RANGES))
def test_range_stops_before_its_limit(start: float, limit: float, step: float, dtype: str) -> None:
    operands = [scalar(number, dtype) for number in (start, limit, step)]
    gives(folded("Range", *operands, Tidx=np.dtype(dtype)), np.arange(start, limit, step).astype(dtype))


@pytest.mark.parametrize(("first", "last", "count"), [(0, 1, 5), (3, -2, 4), (2, 7, 1)], ids=str)
def test_lin_space_has_both_ends(first: float, last: float, count: int) -> None:
    found = folded("LinSpace", scalar(first, "float32"), scalar(last, "float32"), scalar(count))
    gives(found, np.linspace(first, last, count, dtype=np.float32))


@pytest.mark.parametrize("target", ["int32", "int64", "uint8", "float32", "float64", "float16", "bool"])
@pytest.mark.parametrize("source", ["int32", "int64", "uint8", "float32", "bool"])
def test_cast_between_types(source: str, target: str) -> None:
    x = np.array([[0, 1, 2, 77, 100]]).astype(source)
    agrees(single("Cast", x, SrcT=np.dtype(source), DstT=np.dtype(target), Truncate=False), x.astype(target))


def test_cast_drops_what_is_behind_the_point() -> None:
    x = np.array([[-2.7, -0.4, 0.6, 1.5, 2.5]], np.float32)
    agrees(single("Cast", x, SrcT=np.float32, DstT=np.int32), np.array([[-2, 0, 0, 1, 2]], np.int32))
    agrees(single("Cast", x, SrcT=np.float32, DstT=np.bool_), np.ones((1, 5), bool))


def test_cast_to_the_same_type_needs_no_node() -> None:
    assert op_types(single("Cast", items(1, 3), SrcT=np.float32, DstT=np.float32)) == ["Identity"]


X = items(1, 3)
REFUSED: dict[str, tuple[tuple[str, *tuple[Operand, ...]], dict[str, Any], str]] = {
    "type of a shape": (("Shape", X), {"out_type": np.float32}, "shapes of float32"),
    "computed shape": (("Fill", np.zeros(2, np.int32), scalar(1)), {"T": np.int32}, "operand 0 is computed"),
    "shorter": (("BroadcastTo", X, row(3)), {}, r"the shape \[1, 3\] broadcast to \[3\]"),
    "other length": (("BroadcastTo", X, row(1, 4)), {}, r"the shapes \[1, 3\] and \[1, 4\], which do not broadcast"),
    "smaller": (("BroadcastTo", X, row(1, 1)), {}, r"the shape \[1, 3\] broadcast to \[1, 1\]"),
    "copies": (("Tile", X, row(2)), {}, r"\[2\] copies along the dimensions of the shape \[1, 3\]"),
    "negative copies": (("Tile", X, row(1, -1)), {}, r"\[1, -1\] copies along"),
    "complex": (("Cast", X), {"DstT": np.complex64}, "FLOAT turned into complex64"),
    "cut": (("Cast", X), {"DstT": np.float16, "Truncate": True}, "FLOAT cut off, not rounded, to FLOAT16"),
    "no type": (("Cast", X), {}, "it lacks the attribute DstT"),
}


@pytest.mark.parametrize(("case", "attributes", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[str, *tuple[Operand, ...]], attributes: dict[str, Any], reason: str) -> None:
    assert re.search(reason, refusal(*case, **attributes))


CONSTANT: dict[str, tuple[tuple[str, *tuple[Fixed, ...]], str]] = {
    "negative": (("Fill", row(2, -1), scalar(1)), r"a result of the shape \[2, -1\]"),
    "two numbers": (("Fill", row(2), row(1, 2)), r"the shape \[\] for the 2 items"),
    "shapes": (("BroadcastArgs", row(2), row(3)), r"the shapes \[2\] and \[3\], which do not broadcast"),
    "no step": (("Range", scalar(0), scalar(3), scalar(0)), "a range from 0 to 3 in steps of 0"),
    "wrong way": (("Range", scalar(0), scalar(3), scalar(-1)), "a range from 0 to 3 in steps of -1"),
    "without end": (
        ("Range", scalar(0, "float32"), scalar(np.inf, "float32"), scalar(1, "float32")),
        "a range from 0.0 to inf",
    ),
    "memory": (("Range", scalar(0), scalar(1 << 30), scalar(1)), "an array of 1073741824 items; at most"),
    "several": (("Range", row(0, 1), scalar(3), scalar(1)), r"operand 0 is int32 \[2\], not one number"),
    "no numbers": (("LinSpace", scalar(0, "float32"), scalar(3, "float32"), scalar(0)), "0 numbers from 0.0"),
}


@pytest.mark.parametrize(("case", "reason"), CONSTANT.values(), ids=list(CONSTANT))
def test_refusal_of_constants(case: tuple[str, *tuple[Fixed, ...]], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        folded(*case)
