"""Changes of the shape in ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap_core.graph.annotations import quant_of
from tests.support.canonical import conforms, imported
from tests.support.single_operator import FEW, SEEDS, agrees, constant, options, refusal, sample, single, tensor
from tests.support.tflite_models import ModelBuilder

SOME = settings(FEW, max_examples=10)
"""As many for each element type as are enough for all of them together."""

MOVED = ("float32", "uint8", "int8", "int16", "int32", "int64", "bool")
"""Element types that the kernels move; the first integers are quantized."""

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(lambda dims: [1, *dims])


def numbers(*values: int) -> np.ndarray:
    return np.asarray(values, np.int32)


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, order=st.permutations(range(4)), by_option=st.booleans(), seed=SEEDS)
def test_reshape(*, dtype: str, tmp_path: Path, shape: list[int], order: list[int], by_option: bool, seed: int) -> None:
    wanted = [shape[place] for place in order if place < len(shape)]
    operands = [tensor(shape, dtype, zero_point=5)]
    if not by_option:
        operands.append(constant(numbers(*wanted)))
    made = options("Reshape", newShape=wanted if by_option else None)
    agrees(tmp_path, "RESHAPE", operands, tensor(wanted, dtype, zero_point=5), made, seed=seed, units=0)


def undeclared(asked: Sequence[int], by_option: bool) -> bytes:
    """A reshape of ``[1, 6]`` whose output's shape the file leaves open."""
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 6])
    y = builder.tensor("y", [1, 1], signature=[-1, -1])
    shape = [] if by_option else [builder.constant("shape", numbers(*asked))]
    builder.operator("RESHAPE", [x, *shape], [y], options("Reshape", newShape=list(asked)))
    return builder.finish([x], [y])


@pytest.mark.parametrize("by_option", [True, False], ids=["option", "operand"])
@pytest.mark.parametrize("asked", [(2, -1), (6, 1), (-1,)], ids=str)
def test_reshape_of_an_output_that_the_file_leaves_open(asked: Sequence[int], by_option: bool, tmp_path: Path) -> None:
    conforms(undeclared(asked, by_option), tmp_path, [sample(np.random.default_rng(1), tensor([1, 6]))])


@pytest.mark.parametrize("stored", [numbers(), numbers(0)], ids=["empty", "old exporters"])
def test_reshape_to_a_scalar(stored: np.ndarray, tmp_path: Path) -> None:
    agrees(tmp_path, "RESHAPE", [tensor([1, 1])], tensor([]), options("Reshape", newShape=stored), units=0)


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_squeeze(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    ones = [axis for axis, dim in enumerate(shape) if dim == 1]
    named = data.draw(st.lists(st.sampled_from(ones), unique=True))
    dropped = set(named or ones)
    left = [dim for axis, dim in enumerate(shape) if axis not in dropped]
    signed = [axis - len(shape) * data.draw(st.booleans()) for axis in named]
    made = options("Squeeze", squeezeDims=signed)
    agrees(tmp_path, "SQUEEZE", [tensor(shape, dtype)], tensor(left, dtype), made, seed=seed, units=0)


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_expand_dims(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    wanted = list(np.expand_dims(np.empty(shape), axis).shape)
    operands = [tensor(shape, dtype), constant(numbers(axis))]
    agrees(tmp_path, "EXPAND_DIMS", operands, tensor(wanted, dtype), options("ExpandDims"), seed=seed, units=0)


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_transpose(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    result = tensor([shape[axis] for axis in order], dtype)
    operands = [tensor(shape, dtype), constant(numbers(*order))]
    agrees(tmp_path, "TRANSPOSE", operands, result, options("Transpose"), seed=seed, units=0)


def test_the_nodes_between_keep_the_quantization(tmp_path: Path) -> None:
    edges = constant(np.asarray([[1, 0], [0, 1]], np.int32))
    operands = [tensor([1, 3, 3, 2], "int8", zero_point=4), constant(numbers(2, 2)), edges]
    content = single("SPACE_TO_BATCH_ND", operands, [tensor([4, 2, 2, 2], "int8", zero_point=4)])
    model, _ = imported(content, tmp_path)
    assert [node.op_type for node in model.graph] == ["Pad", "Reshape", "Transpose", "Reshape"]
    assert len({quant_of(node.outputs[0]) for node in model.graph}) == 1


def test_constants_computed_from_shapes(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, shape = builder.tensor("x", [1, 3, 4]), builder.tensor("shape", [3], "int32")
    begin, end, step = (builder.constant(name, numbers(value)) for name, value in (("b", 1), ("e", 2), ("s", 1)))
    middle, rest = builder.tensor("middle", [], "int32"), builder.constant("rest", np.asarray(-1, np.int32))
    wanted, y = builder.tensor("wanted", [2], "int32"), builder.tensor("y", [1, 1], signature=[-1, -1])
    builder.operator("SHAPE", [x], [shape], options("Shape", outType=2))
    strided = options("StridedSlice", shrinkAxisMask=1)
    builder.operator("STRIDED_SLICE", [shape, begin, end, step], [middle], strided)
    builder.operator("PACK", [rest, middle], [wanted], options("Pack", valuesCount=2, axis=0))
    builder.operator("RESHAPE", [x, wanted], [y], options("Reshape"))
    conforms(builder.finish([x], [y]), tmp_path, [sample(np.random.default_rng(1), tensor([1, 3, 4]))])


def test_bits_of_a_type_taken_for_the_same_type(tmp_path: Path) -> None:
    agrees(tmp_path, "BITCAST", [tensor([1, 3])], tensor([1, 3]), units=0)


def test_bits_of_a_constant(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, bits = builder.tensor("x", [1, 2]), builder.constant("bits", np.asarray([[0x3F800000, 0x40000000]], np.int32))
    floats, y = builder.tensor("floats", [1, 2]), builder.tensor("y", [1, 2])
    builder.operator("BITCAST", [bits], [floats])
    builder.operator("ADD", [x, floats], [y], options("Add"))
    conforms(builder.finish([x], [y]), tmp_path, [np.asarray([[3, 4]], np.float32)])


REFUSED = {
    "other quantization": (
        (
            "RESHAPE",
            [tensor([1, 4], "int8"), constant(numbers(2, 2))],
            tensor([2, 2], "int8", 0.07),
            options("Reshape"),
        ),
        "operand 0 and its output differ in quantization",
    ),
    "items": (
        ("RESHAPE", [tensor([1, 4]), constant(numbers(3, 2))], tensor([3, 2]), options("Reshape")),
        "shape [3, 2] for the 4 items",
    ),
    "computed shape": (
        ("RESHAPE", [tensor([1, 4]), tensor([0], "int32")], tensor([]), options("Reshape")),
        "operand 1 is computed",
    ),
    "squeezed": (
        ("SQUEEZE", [tensor([1, 4])], tensor([4]), options("Squeeze", squeezeDims=[2])),
        "dimension 2 of a tensor that has 2",
    ),
    "squeezed length": (
        ("SQUEEZE", [tensor([1, 4])], tensor([1]), options("Squeeze", squeezeDims=[1])),
        "shape [1] for the 4 items",
    ),
    "axes": (
        ("EXPAND_DIMS", [tensor([1, 4]), constant(numbers(0, 1))], tensor([1, 1, 4]), options("ExpandDims")),
        "operand 1 has 2 items; one is needed",
    ),
    "order": (
        ("TRANSPOSE", [tensor([1, 4]), constant(numbers(1, 1))], tensor([4, 1]), options("Transpose")),
        "order [1, 1] for 2 dimensions",
    ),
    "float order": (
        ("TRANSPOSE", [tensor([1, 4]), constant(np.ones(2, np.float32))], tensor([4, 1]), options("Transpose")),
        "operand 1 holds float32, not integers",
    ),
    "bits": (
        ("BITCAST", [tensor([1, 4])], tensor([1, 4], "int32")),
        "bits of FLOAT taken for INT32",
    ),
    "bytes": (
        ("BITCAST", [constant(numbers(1, 2))], tensor([3])),
        "8 bytes for FLOAT [3]",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[str, list[object], object], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)
