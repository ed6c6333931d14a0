"""Several tensors made one in frozen TensorFlow graphs."""

from __future__ import annotations

import re

import numpy as np
import pytest

from synap_core.graph.annotations import quant_of
from synap_frontend_tensorflow.importer.registry import UnsupportedError
from tests.support.tensorflow_models import GraphComposer, canonical
from tests.support.tensorflow_movement import folded, imaged
from tests.support.tensorflow_operator import Fixed, Operand, agrees, agrees_with_opencv, refusal, single


def items(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).integers(-100, 100, shape).astype(dtype)


def scalar(number: int) -> Fixed:
    return Fixed(np.asarray(number, np.int32))


LENGTHS = {1: [(4, 6, 8), (1, 6, 8), (2, 6, 8)], 2: [(4, 6, 8), (4, 1, 8)], 3: [(4, 6, 8), (4, 6, 3), (4, 6, 1)]}
"""Shapes of images that fit along an axis."""


@pytest.mark.parametrize("axis", LENGTHS)
@pytest.mark.parametrize("op", ["Concat", "ConcatV2"])
def test_images_joined_agree_with_opencv(op: str, axis: int) -> None:
    parts = [items(1, *shape, seed=seed) for seed, shape in enumerate(LENGTHS[axis])]
    operands = [scalar(axis), *parts] if op == "Concat" else [*parts, scalar(axis)]
    agrees_with_opencv(imaged(op, *operands, N=len(parts)))


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_tensors_are_joined_along_any_dimension(axis: int, dtype: str) -> None:
    parts = [items(1, 3, 4, seed=seed, dtype=dtype) for seed in range(3)]
    agrees(single("ConcatV2", *parts, scalar(axis), N=3, Tidx=np.int32), np.concatenate(parts, axis))


def test_constants_are_joined_with_what_is_computed() -> None:
    x, row = items(1, 3), items(1, 2, seed=1)
    agrees(single("ConcatV2", Fixed(row), x, scalar(1), N=2), np.concatenate([row, x], 1))


def test_one_tensor_alone_stays_as_it_is() -> None:
    x = items(1, 3)
    made = single("ConcatV2", x, scalar(1), N=1)
    agrees(made, x)
    assert [node.op_type for node in made.model.graph] == ["Identity"]


def test_rows_stacked_in_front_agree_with_opencv() -> None:
    # Of Pack OpenCV's importer has this alone.
    agrees_with_opencv(imaged("Pack", items(1, 12), items(1, 12, seed=1), axis=0, N=2))


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -4, None])
def test_tensors_are_stacked_along_a_new_dimension(axis: int | None, dtype: str) -> None:
    parts = [items(1, 3, 4, seed=seed, dtype=dtype) for seed in range(3)]
    agrees(single("Pack", *parts, axis=axis, N=3), np.stack(parts, axis or 0))


def test_a_single_tensor_stacked_gets_a_dimension() -> None:
    x = items(1, 3)
    agrees(single("Pack", x, axis=1, N=1), x[:, None])


def test_numbers_of_two_quantizations_are_joined_without_one() -> None:
    composer = GraphComposer()
    names = [composer.placeholder(name, (1, 4)) for name in "ab"]
    ends = [[composer.constant(number) for number in pair] for pair in ((-1.0, 1.0), (-4.0, 4.0))]
    sides = [
        composer.node("FakeQuantWithMinMaxVars", [x, *pair], num_bits=8, narrow_range=False, T=None)
        for x, pair in zip(names, ends, strict=True)
    ]
    axis = composer.constant(1)
    composer.node("ConcatV2", [*sides, axis], "mixed", N=2)
    composer.node("ConcatV2", [sides[0], sides[0], axis], "alike", N=2)
    for name in ("mixed", "alike"):
        composer.node("Relu", [name], f"behind_{name}")
    model = canonical(composer.serialize(), {"a": (1, 4), "b": (1, 4)}, ["behind_mixed", "behind_alike"])
    found = {value.name: quant_of(value) for node in model.graph for value in node.outputs}
    assert found["mixed"] is None
    assert found["alike"] == found[sides[0]] is not None


X = items(1, 3)
REFUSED: dict[str, tuple[tuple[str, *tuple[Operand, ...]], str]] = {
    "axis": (("ConcatV2", X, X, scalar(2)), "dimension 2 of a tensor that has 2"),
    "old axis": (("Concat", scalar(-3), X, X), "dimension -3 of a tensor that has 2"),
    "computed axis": (("ConcatV2", X, X, np.zeros(1, np.int32)), "operand 2 is computed; only a constant"),
    "shapes": (("ConcatV2", X, items(1, 2, 1), scalar(0)), "Concat"),
    "stacked shapes": (("Pack", X, items(1, 2)), r"tensors of the shapes \[1, 3\], \[1, 2\] made one"),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[str, *tuple[Operand, ...]], reason: str) -> None:
    assert re.search(reason, refusal(*case))


def test_no_tensors_make_none() -> None:
    with pytest.raises(UnsupportedError, match="no tensors to join"):
        folded("ConcatV2", scalar(0))
