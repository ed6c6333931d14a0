"""Changes of the shape and of the order of dimensions in frozen TensorFlow graphs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from synap_core.graph.annotations import quant_of
from tests.support.tensorflow_models import GraphComposer, canonical
from tests.support.tensorflow_movement import imaged
from tests.support.tensorflow_operator import Fixed, Single, agrees, agrees_with_opencv, refusal, single


def fixed(*numbers: int, dtype: str = "int32") -> Fixed:
    return Fixed(np.asarray(numbers, dtype))


def scalar(number: int) -> Fixed:
    return Fixed(np.asarray(number, np.int32))


def items(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(-100, 100, shape).astype(dtype)


def op_types(made: Single) -> list[str]:
    return [node.op_type for node in made.model.graph]


@pytest.mark.parametrize("shape", [(1, -1), (1, 6, 4, 8), (1, 4, 48), (-1, 192)], ids=str)
def test_reshape_of_an_image_agrees_with_opencv(shape: tuple[int, ...]) -> None:
    agrees_with_opencv(imaged("Reshape", items(1, 4, 6, 8), fixed(*shape)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int32", "int64", "bool"])
def test_reshape_keeps_the_order_of_the_items(dtype: str) -> None:
    x = items(1, 2, 3, 4, dtype=dtype)
    agrees(single("Reshape", x, fixed(4, -1, dtype="int64")), x.reshape(4, 6))


def test_an_empty_shape_is_that_of_a_scalar() -> None:
    x = items(1, 1)
    agrees(single("Reshape", x, Fixed(np.zeros(0, np.int32))), x.reshape(()))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((8, 12), (1, 12)), ((8, 3, -1), (1, 3, 4)), ((8, -1), (1, 12)), ((4, -1), (4, 3)), ((12, 1), (12, 1))],
    ids=str,
)
def test_a_fixed_batch_becomes_one_where_no_other_shape_fits(shape: Sequence[int], expected: Sequence[int]) -> None:
    x = items(1, 12)
    agrees(single("Reshape", x, fixed(*shape)), x.reshape(expected))


def test_shapes_computed_from_the_shape_of_an_input_are_constants() -> None:
    composer = GraphComposer()
    x = composer.placeholder("x", (-1, 4, 6, 8))
    shape = composer.node("Shape", [x], out_type=np.int32)
    ends = [composer.constant([number]) for number in (0, 1, 2, 3)]
    one = composer.constant([1])
    masks = dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask"), 0) | {"shrink_axis_mask": 1}
    parts = [
        composer.node("StridedSlice", [shape, begin, end, one], T=np.int32, Index=np.int32, **masks)
        for begin, end in itertools.pairwise(ends)
    ]
    pixels = composer.node("Mul", parts[1:], T=np.int32)
    wanted = composer.node("Pack", [parts[0], pixels, composer.constant(-1)], T=np.int32, N=3, axis=0)
    composer.node("Reshape", [x, wanted], "y", Tshape=np.int32)
    image = items(1, 4, 6, 8)
    made = Single(data=composer.serialize(), inputs={"x": image}, outputs=["y"])
    agrees(made, image.reshape(1, 24, 8))
    assert op_types(made) == ["Reshape"]


def test_squeeze_of_an_image_agrees_with_opencv() -> None:
    agrees_with_opencv(imaged("Squeeze", items(1, 1, 1, 8), squeeze_dims=[1, 2]))


@pytest.mark.parametrize(
    ("dims", "expected"),
    [([0, 2], (3, 4, 1)), ([-1], (1, 3, 1, 4)), ([], (3, 4)), (None, (3, 4))],
    ids=["named", "from the back", "none named", "no attribute"],
)
def test_squeeze_drops_dimensions_of_length_one(dims: list[int] | None, expected: tuple[int, ...]) -> None:
    x = items(1, 3, 1, 4, 1)
    agrees(single("Squeeze", x, squeeze_dims=dims), x.reshape(expected))


@pytest.mark.parametrize("axis", range(-4, 4))
def test_expand_dims_adds_one_of_length_one(axis: int) -> None:
    # OpenCV's importer has no ExpandDims of three dimensions.
    x = items(1, 3, 4)
    agrees(single("ExpandDims", x, scalar(axis)), np.expand_dims(x, axis))


def test_expand_dims_takes_its_axis_from_a_row_of_one_number() -> None:
    x = items(1, 3)
    agrees(single("ExpandDims", x, fixed(-1, dtype="int64")), x[..., None])


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_transpose(order: tuple[int, ...]) -> None:
    # OpenCV's importer takes the two orders between NHWC and NCHW alone, and only renames the layout for them.
    x = items(1, 3, 4, 5)
    agrees(single("Transpose", x, fixed(*order)), x.transpose(order))


def test_transpose_of_five_dimensions_of_integers() -> None:
    x = items(1, 2, 3, 4, 5, dtype="int32")
    agrees(single("Transpose", x, fixed(3, 1, 4, 0, 2, dtype="int64")), x.transpose(3, 1, 4, 0, 2))


def test_the_inverse_of_an_order_undoes_it() -> None:
    composer = GraphComposer()
    x, order = composer.placeholder("x", (1, 3, 4, 5)), composer.constant([2, 0, 3, 1])
    back = composer.node("InvertPermutation", [order], T=np.int32)
    composer.node("Transpose", [composer.node("Transpose", [x, order]), back], "y")
    image = items(1, 3, 4, 5)
    agrees(Single(data=composer.serialize(), inputs={"x": image}, outputs=["y"]), image)


@pytest.mark.parametrize("axes", [(1,), (-1,), (1, 3), (0, 1, 2, 3), ()], ids=str)
def test_reverse_v2_turns_dimensions_round(axes: tuple[int, ...]) -> None:
    x = items(1, 3, 4, 5)
    agrees(single("ReverseV2", x, Fixed(np.asarray(axes, np.int32))), np.flip(x, axes))


def test_the_older_reverse_has_a_truth_value_for_each_dimension() -> None:
    x = items(1, 3, 4)
    agrees(single("Reverse", x, Fixed(np.array([False, True, True]))), x[:, ::-1, ::-1])


def test_moved_items_keep_their_quantization() -> None:
    composer = GraphComposer()
    ends = [composer.constant(number) for number in (-1.0, 1.0)]
    value = composer.placeholder("x", (1, 4, 6, 8))
    value = composer.node("FakeQuantWithMinMaxVars", [value, *ends], "rounded", num_bits=8, T=None)
    moves: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "Transpose": ([[0, 2, 1, 3]], {}),
        "Slice": ([[0, 1, 0, 2], [1, 4, 4, 4]], {}),
        "Pad": ([[[0, 0], [1, 1], [2, 2], [0, 0]]], {}),
        "SpaceToDepth": ([], {"block_size": 2}),
        "ResizeBilinear": ([[6, 6]], {}),
        "Tile": ([[1, 1, 2, 1]], {}),
        "Reshape": ([[1, -1, 32]], {}),
        "GatherV2": ([[1, 0], 2], {}),
    }
    for op, (numbers, attributes) in moves.items():
        value = composer.node(op, [value, *map(composer.constant, numbers)], op, **attributes)
    composer.node("Relu", [value], "y")
    model = canonical(composer.serialize(), {"x": (1, 4, 6, 8)}, ["y"])
    found = {value.name: quant_of(value) for node in model.graph for value in node.outputs}
    assert found["rounded"] is not None
    assert {op: found[op] for op in moves} == dict.fromkeys(moves, found["rounded"])


X = items(1, 12)
REFUSED = {
    "items": (("Reshape", X, fixed(5, 2)), r"the shape \[5, 2\] for the 12 items of the shape \[1, 12\]"),
    "open dimensions": (("Reshape", X, fixed(-1, -1)), r"the shape \[-1, -1\] asked for; it must be a row"),
    "negative": (("Reshape", X, fixed(-2, 6)), r"the shape \[-2, 6\] asked for"),
    "matrix": (("Reshape", X, Fixed(np.array([[1, 12]], np.int32))), "it must be a row of lengths"),
    "computed": (("Reshape", X, np.array([1, 12], np.int32)), "operand 1 is computed; only a constant"),
    "real": (("Reshape", X, Fixed(np.array([1.0, 12.0]))), "operand 1 holds float64, not integers"),
    "axis": (("ExpandDims", X, scalar(3)), "dimension 3 of a tensor that has 3"),
    "axes": (("ExpandDims", X, fixed(0, 1)), "operand 1 has 2 items; one is needed"),
    "order": (("Transpose", X, fixed(0, 0)), r"the order \[0, 0\] for 2 dimensions"),
    "short order": (("Transpose", X, fixed(0)), r"the order \[0\] for 2 dimensions"),
    "reverse": (("ReverseV2", X, fixed(2)), "dimension 2 of a tensor that has 2"),
    "old reverse": (("Reverse", X, fixed(0, 1)), r"int32 \[2\] for 2 dimensions; one bool each is needed"),
    "sequences": (("ReverseSequence", X, np.array([3], np.int32)), "how many items it turns round depends on the data"),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[str, *tuple[np.ndarray | Fixed, ...]], reason: str) -> None:
    assert re.search(reason, refusal(*case))


def test_a_dimension_that_is_not_of_length_one_is_not_dropped() -> None:
    found = refusal("Squeeze", X, squeeze_dims=[1])
    assert found == "dimensions [1] dropped of the shape [1, 12]; their lengths must be 1"
