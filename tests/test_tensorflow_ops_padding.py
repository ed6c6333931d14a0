"""Items around those of tensors in frozen TensorFlow graphs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.support.tensorflow_operator import Fixed, Operand, agrees, agrees_with_opencv, refusal, single

EDGES = {
    "height and width": ((0, 0), (1, 2), (3, 0), (0, 0)),
    "channels": ((0, 0), (0, 0), (0, 0), (2, 1)),
    "everything": ((1, 0), (1, 2), (0, 3), (2, 1)),
    "nothing": ((0, 0), (0, 0), (0, 0), (0, 0)),
}
BY_EDGES = pytest.mark.parametrize("edges", EDGES.values(), ids=list(EDGES))
TYPES = ["float32", "int8", "uint8", "int16", "int32", "int64", "bool"]


def items(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).integers(-100, 100, shape).astype(dtype)


def pairs(*edges: tuple[int, int], dtype: str = "int32") -> Fixed:
    return Fixed(np.asarray(edges, dtype))


@BY_EDGES
def test_zeros_around_an_image_agree_with_opencv(edges: tuple[tuple[int, int], ...]) -> None:
    agrees_with_opencv(single("Pad", items(1, 4, 6, 8), pairs(*edges)))


@pytest.mark.parametrize("dtype", TYPES)
@BY_EDGES
def test_zeros_around_a_tensor(edges: tuple[tuple[int, int], ...], dtype: str) -> None:
    x = items(1, 3, 4, 2, dtype=dtype)
    agrees(single("Pad", x, pairs(*edges, dtype="int64")), np.pad(x, edges))


@pytest.mark.parametrize("dtype", TYPES)
@BY_EDGES
def test_copies_of_a_number_around_a_tensor(edges: tuple[tuple[int, int], ...], dtype: str) -> None:
    # OpenCV's importer has no PadV2.
    x, number = items(1, 3, 4, 2, dtype=dtype), np.asarray(17, dtype)
    agrees(single("PadV2", x, pairs(*edges), Fixed(number)), np.pad(x, edges, constant_values=number))


@pytest.mark.parametrize("edges", [EDGES["height and width"], EDGES["nothing"]], ids=["some", "none"])
def test_an_image_mirrored_without_its_edge_agrees_with_opencv(edges: tuple[tuple[int, int], ...]) -> None:
    agrees_with_opencv(single("MirrorPad", items(1, 4, 6, 8), pairs(*edges), mode="REFLECT"))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
@pytest.mark.parametrize("edges", [((0, 0), (2, 1), (0, 3)), ((0, 0), (0, 0), (3, 2)), ((0, 0),) * 3], ids=str)
def test_a_tensor_mirrored_with_or_without_its_edge(edges: tuple[tuple[int, int], ...], mode: str, dtype: str) -> None:
    # OpenCV's importer takes SYMMETRIC for REFLECT.
    x = items(1, 3, 4, dtype=dtype)
    agrees(single("MirrorPad", x, pairs(*edges), mode=mode), np.pad(x, edges, mode=mode.lower()))


def test_a_whole_tensor_is_mirrored_with_its_edge() -> None:
    x = items(1, 3)
    made = single("MirrorPad", x, pairs((1, 1), (3, 3)), mode="SYMMETRIC")
    agrees(made, np.pad(x, ((1, 1), (3, 3)), mode="symmetric"))


X = items(1, 3)
REFUSED: dict[str, tuple[tuple[str, *tuple[Operand, ...]], dict[str, Any], str]] = {
    "computed": (("Pad", X, np.zeros((1, 2), np.int32)), {}, "operand 1 is computed; only a constant"),
    "rank": (("Pad", X, pairs((0, 1))), {}, r"the paddings \[0, 1\] of 2 dimensions"),
    "negative": (("Pad", X, pairs((0, 0), (-1, 1))), {}, r"the paddings \[0, 0, -1, 1\] of 2 dimensions"),
    "transposed": (("Pad", X, Fixed(np.zeros((4, 1), np.int32))), {}, "of 2 dimensions"),
    "numbers": (("PadV2", X, pairs((0, 0), (1, 1)), Fixed(np.ones(2, np.float32))), {}, r"the shape \[\] for the 2"),
    "reflection": (
        ("MirrorPad", X, pairs((0, 0), (3, 0))),
        {"mode": "REFLECT"},
        r"mirror images \(REFLECT\) of \[0, 3\] and \[0, 0\] items of the shape \[1, 3\]",
    ),
    "symmetry": (("MirrorPad", X, pairs((0, 0), (0, 4))), {"mode": "SYMMETRIC"}, r"\(SYMMETRIC\) of \[0, 0\] and"),
    "mode": (("MirrorPad", X, pairs((0, 0), (1, 0))), {"mode": "WRAP"}, r"mirror images \(WRAP\)"),
    "no mode": (("MirrorPad", X, pairs((0, 0), (1, 0))), {}, "it lacks the attribute mode"),
}


@pytest.mark.parametrize(("case", "attributes", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[str, *tuple[Operand, ...]], attributes: dict[str, Any], reason: str) -> None:
    assert re.search(reason, refusal(*case, **attributes))
