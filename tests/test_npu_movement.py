"""Operations that move the integers of ``.tflite`` models, as the reference kernels of LiteRT do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from synap_core.graph.build import GraphBuilder
from synap_core.tensors import QuantParams
from tests.support.canonical import real, stored
from tests.support.npu_exact import is_exact, joined
from tests.support.npu_program import Compiled, only, quantized
from tests.support.single_operator import FEW, QUANTIZED, SEEDS, Tensor, constant, options, sample

VERSIONS = {"SQUEEZE": 1, "EXPAND_DIMS": 1, "RESHAPE": 1, "DEPTH_TO_SPACE": 1}
"""Of operators; 2 for the others."""

WITHOUT_16_BITS = frozenset({"DEPTH_TO_SPACE", "SPACE_TO_DEPTH"})
"""Operators whose kernels lack a type."""


def indices(*numbers: object) -> Tensor:
    return constant(np.asarray(numbers, np.int32))


def moves(
    folder: Path, name: str, operands: list[Any], shape: Any, dtype: str, operator: str, given: Any = None
) -> None:
    """Check an operator that moves items of a tensor ``x``, which stands for a shape among the operands."""
    rng = np.random.default_rng(7)
    x = quantized(rng, [], dtype, -4)
    inputs = [replace(x, shape=item) if isinstance(item, list) else item for item in operands]
    shapes = shape if isinstance(shape, tuple) else (shape,)
    arrays = [sample(rng, item) for item in inputs if item.data is None]
    is_exact(
        folder,
        name,
        inputs,
        [replace(x, shape=item) for item in shapes],
        arrays,
        given=given,
        version=VERSIONS.get(name, 2),
        operator=operator,
    )


AXIS_1, AXIS_2 = (constant(np.asarray(axis, np.int32)) for axis in (1, 2))

CASES: dict[str, tuple[Any, ...]] = {
    "transpose": ("TRANSPOSE", [[1, 2, 3, 4], indices(0, 3, 1, 2)], [1, 4, 2, 3], "Permute"),
    "reshape": ("RESHAPE", [[1, 2, 3, 4], indices(1, 6, 4)], [1, 6, 4], "Reshape"),
    "squeeze": ("SQUEEZE", [[1, 1, 3, 1, 4]], [1, 3, 4], "Reshape", options("Squeeze", squeezeDims=[1, 3])),
    "expand": ("EXPAND_DIMS", [[1, 3, 4], AXIS_1], [1, 1, 3, 4], "Reshape"),
    "slice": ("SLICE", [[1, 4, 5], indices(0, 1, 2), indices(1, 2, 3)], [1, 2, 3], "Slice"),
    "strides": (
        "STRIDED_SLICE",
        [[1, 6, 5], indices(0, 5, 0), indices(1, 0, 5), indices(1, -2, 2)],
        [1, 3, 3],
        "Slice",
        options("StridedSlice"),
    ),
    "split": ("SPLIT", [AXIS_1, [1, 6]], ([1, 3], [1, 3]), "Split", options("Split", numSplits=2)),
    "uneven split": (
        "SPLIT_V",
        [[1, 2, 6], indices(1, 2, 3), AXIS_2],
        ([1, 2, 1], [1, 2, 2], [1, 2, 3]),
        "Split",
        options("SplitV", numSplits=3),
    ),
    "unpack": ("UNPACK", [[1, 2, 3]], ([1, 3], [1, 3]), "Split", options("Unpack", num=2, axis=1)),
    "pack": ("PACK", [[1, 2, 3], [1, 2, 3]], [1, 2, 2, 3], "Concat", options("Pack", valuesCount=2, axis=1)),
    "concatenation": (
        "CONCATENATION",
        [[1, 2, 3], [1, 2, 1], [1, 2, 5]],
        [1, 2, 9],
        "Concat",
        options("Concatenation", axis=2, fusedActivationFunction=0),
    ),
    "gather": ("GATHER", [[1, 5, 4], indices(4, 0, 0)], [1, 3, 4], "Gather", options("Gather", axis=1)),
    "gather of places": ("GATHER_ND", [[1, 5, 4], indices([[0, 1, 2], [0, 4, 3]])], [1, 2], None),
    "tile": ("TILE", [[1, 2, 3], indices(1, 2, 3)], [1, 4, 9], "Tile"),
    "broadcast": ("BROADCAST_TO", [[1, 1, 3], indices(1, 4, 3)], [1, 4, 3], "ExpandBroadcast"),
    "depth to space": ("DEPTH_TO_SPACE", [[1, 2, 3, 8]], [1, 4, 6, 2], None, options("DepthToSpace", blockSize=2)),
    "space to depth": ("SPACE_TO_DEPTH", [[1, 4, 6, 2]], [1, 2, 3, 8], None, options("SpaceToDepth", blockSize=2)),
    "reverse": ("REVERSE_V2", [[1, 3, 4], indices(1)], [1, 3, 4], "Slice"),
    "select": ("SELECT_V2", [Tensor(shape=[1, 3, 1], dtype="bool"), [1, 3, 4], [1, 1, 4]], [1, 3, 4], "Select"),
    "pad": ("PAD", [[1, 2, 3], indices([0, 0], [1, 2], [0, 3])], [1, 5, 6], "Pad"),
    "pad with a computed number": ("PADV2", [[1, 2, 3], indices([0, 0], [1, 2], [0, 3]), [1]], [1, 5, 6], "Pad"),
    "mirror": (
        "MIRROR_PAD",
        [[1, 3, 4], indices([0, 0], [1, 2], [0, 3])],
        [1, 6, 7],
        "Pad",
        options("MirrorPad", mode=0),
    ),
    "mirror with the edge": (
        "MIRROR_PAD",
        [[1, 3, 4], indices([0, 0], [1, 2], [0, 3])],
        [1, 6, 7],
        "Gather",
        options("MirrorPad", mode=1),
    ),
}


TYPED = [
    pytest.param(case, dtype, id=f"{name} {dtype}")
    for name, case in CASES.items()
    for dtype in QUANTIZED
    if dtype != "int16" or case[0] not in WITHOUT_16_BITS
]


@pytest.mark.parametrize(("case", "dtype"), TYPED)
def test_integers_are_moved_as_they_are(case: tuple[Any, ...], dtype: str, tmp_path: Path) -> None:
    name, operands, shape, operator, *given = case
    moves(tmp_path, name, operands, shape, dtype, operator, *given)


@FEW
@given(exponents=st.lists(st.floats(-7, -2), min_size=1, max_size=3), axis=st.integers(1, 2), seed=SEEDS)
def test_joined_tensors_of_other_steps_are_those_of_the_kernel(
    *, tmp_path: Path, exponents: list[float], axis: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    inputs = [quantized(rng, [1, 16, 16], "uint8", exponent) for exponent in (-4, *exponents)]
    shape = [1, 16, 16]
    shape[axis] *= len(inputs)
    y = replace(inputs[0] if seed % 2 else quantized(rng, [], "uint8", -4), shape=shape)
    # All integers of each.
    arrays = [rng.permutation(256).astype(np.uint8).reshape(1, 16, 16) for _ in inputs]
    made = options("Concatenation", axis=axis, fusedActivationFunction=0)
    is_exact(tmp_path, "CONCATENATION", inputs, y, arrays, given=made, version=2, operator="Concat")


@pytest.mark.parametrize("exponent", [-6, -5, -3])
def test_ties_of_joined_tensors_go_as_in_the_kernel(exponent: int, tmp_path: Path) -> None:
    scales = (2.0**exponent, 2.0**-4)
    inputs = [Tensor(shape=[1, 256], dtype="uint8", scale=scale, zero_point=100) for scale in scales]
    y = Tensor(shape=[1, 512], dtype="uint8", scale=2.0**-4, zero_point=90)
    arrays = [np.arange(256).astype(np.uint8)[None]] * 2
    made = options("Concatenation", axis=1, fusedActivationFunction=0)
    is_exact(tmp_path, "CONCATENATION", inputs, y, arrays, given=made, version=2, operator="Concat")


# Without LiteRT, which has no such kernels

AFFINE = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.05,), zero_point=(20,))
OTHER = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.07,), zero_point=(30,))
FIXED = QuantParams(dtype="int16", scheme="dynamic_fixed_point", fractional_length=9)
HALF = QuantParams(dtype="float16", scheme="float16")
ITEMS = {
    "affine": (AFFINE, np.arange(24, dtype=np.uint8)),
    "fixed point": (FIXED, np.arange(-12000, 12000, 1000, dtype=np.int16)),
    "half": (HALF, np.linspace(-3, 3, 24).astype(np.float16)),
}
BY_ITEMS = pytest.mark.parametrize(("quant", "items"), ITEMS.values(), ids=list(ITEMS))

NODES: dict[str, tuple[str, list[int], list[object], dict[str, Any], str]] = {
    "elements": ("GatherElements", [4, 6], [np.asarray([[1, 0, 3, 3, 2, 0]])], {"axis": 0}, "GatherElements"),
    "places": ("GatherND", [4, 6], [np.asarray([[1, 2], [3, 5]])], {}, "GatherNd"),
    "sequences": (
        "ReverseSequence",
        [4, 6],
        [np.asarray([1, 2, 3, 4, 3, 2])],
        {"time_axis": 0, "batch_axis": 1},
        "ReverseSequence",
    ),
    "blocks": ("DepthToSpace", [1, 24, 1, 1], [], {"blocksize": 2, "mode": "CRD"}, "Depth2Space"),
    "pixels": ("SpaceToDepth", [1, 1, 4, 6], [], {"blocksize": 2}, "Space2Depth"),
    "flat": ("Flatten", [2, 3, 4], [], {"axis": 2}, "Reshape"),
    "backwards": (
        "Slice",
        [4, 6],
        [np.asarray([-1]), np.asarray([-9]), np.asarray([1]), np.asarray([-2])],
        {},
        "Slice",
    ),
    "wide": ("Expand", [4, 1, 6], [np.asarray([4, 5, 6])], {}, "ExpandBroadcast"),
    "same": ("Identity", [4, 6], [], {}, "Copy"),
}


def model_of(
    op_type: str, operands: list[Any], quants: list[QuantParams | None], result: Any, **attributes: Any
) -> ir.Model:
    """A graph of one node; operands that are shapes (lists) are inputs, arrays are constants."""
    build = GraphBuilder("one")
    values = [
        build.input(f"x{i}", ir.DataType.FLOAT if quant else ir.DataType.INT64, operand, quant=quant)
        if isinstance(operand, list)
        else build.constant(operand)
        for i, (operand, quant) in enumerate(zip(operands, quants, strict=True))
    ]
    y = build.emit(op_type, values, attributes)
    return build.finish([build.name_value(y, "y", "y", result)])


def written(model: ir.Model) -> Compiled:
    """The program of a graph as it is: nothing is simplified before."""
    return joined(model, list, simplify=False)


def expected(op_type: str, arrays: list[np.ndarray], **attributes: Any) -> np.ndarray:
    """The result of the standard operator, by ONNX's reference implementation."""
    names = [f"x{i}" for i in range(len(arrays))]
    node = onnx.helper.make_node(op_type, names, ["y"], **attributes)
    return ReferenceEvaluator(node).run(None, dict(zip(names, arrays, strict=True)))[0]


@BY_ITEMS
@pytest.mark.parametrize(("op_type", "shape", "operands", "attributes", "operator"), NODES.values(), ids=list(NODES))
def test_every_type_is_moved(
    op_type: str,
    shape: list[int],
    operands: list[Any],
    attributes: dict[str, Any],
    operator: str,
    quant: QuantParams,
    items: np.ndarray,
) -> None:
    array = items.reshape(shape)
    model = model_of(op_type, [shape, *operands], [quant, *[None] * len(operands)], quant, **attributes)
    model_nodes = [node.op_type for node in model.graph]
    program = written(model)
    (found,) = program([array])
    assert (program.types, model_nodes) == ([operator], [op_type])
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, expected(op_type, [array, *operands], **attributes))


@BY_ITEMS
def test_places_may_be_computed(quant: QuantParams, items: np.ndarray) -> None:
    program = written(model_of("Gather", [[4, 6], [3]], [quant, None], quant, axis=0))
    found = program([items.reshape(4, 6), np.asarray([2, 0, 3])])[0]
    assert program.types == ["Gather"]
    np.testing.assert_array_equal(found, items.reshape(4, 6)[[2, 0, 3]])


@BY_ITEMS
def test_scattered_items_keep_their_integers(quant: QuantParams, items: np.ndarray) -> None:
    program = written(model_of("ScatterND", [[4, 6], np.asarray([[1], [3]]), [2, 6]], [quant, None, quant], quant))
    wanted = items.reshape(4, 6).copy()
    wanted[[1, 3]] = items[:12].reshape(2, 6)
    assert program.types == ["ScatterNd"]
    np.testing.assert_array_equal(program([items.reshape(4, 6), items[:12].reshape(2, 6)])[0], wanted)


@pytest.mark.parametrize(
    ("op_type", "operands", "quants"),
    [
        ("Transpose", [[4, 6]], [AFFINE]),
        ("ScatterND", [[4, 6], np.asarray([[1]]), [1, 6]], [OTHER, None, AFFINE]),
        ("Pad", [[4, 6], np.asarray([0, 1, 0, 1])], [AFFINE, None]),
    ],
    ids=["step", "operands", "pad"],
)
def test_items_of_other_steps_are_moved_as_real_numbers(
    op_type: str, operands: list[Any], quants: list[QuantParams | None]
) -> None:
    assert written(model_of(op_type, operands, quants, OTHER)).types == [f"({op_type})"]


def test_sums_of_scattered_items_are_computed_in_real_numbers() -> None:
    model = model_of("ScatterND", [[4, 6], np.asarray([[1]]), [1, 6]], [AFFINE, None, AFFINE], AFFINE, reduction="add")
    assert written(model).types == ["(ScatterND)"]


@pytest.mark.parametrize(("number", "stored"), [(None, 20), (0.0, 20), (1.0, 40), (-7.0, 0), (1000.0, 255)], ids=str)
def test_a_number_around_is_stored_as_an_integer(number: float | None, stored: int) -> None:
    operands = [[2, 3], np.asarray([1, 0, 0, 2]), *([] if number is None else [np.float32(number)])]
    program = written(model_of("Pad", operands, [AFFINE, *[None] * (len(operands) - 1)], AFFINE))
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert only(program).form.attributes["value"] == stored
    np.testing.assert_array_equal(program([array])[0], np.pad(array, ((1, 0), (0, 2)), constant_values=stored))


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_items_are_repeated_around(mode: str, dtype: str) -> None:
    quant = AFFINE if dtype == "uint8" else FIXED
    program = written(model_of("Pad", [[2, 3], np.asarray([1, 2, 0, 1])], [quant, None], quant, mode=mode))
    array = np.arange(100, 106).astype(dtype).reshape(2, 3)
    assert program.types == ["Pad"]
    np.testing.assert_array_equal(program([array])[0], np.pad(array, ((1, 0), (2, 1)), mode=mode))


def test_negative_pads_cut_off() -> None:
    program = written(model_of("Pad", [[2, 6], np.asarray([0, -1, 0, 2])], [AFFINE, None], AFFINE, mode="constant"))
    array = np.arange(12, dtype=np.uint8).reshape(2, 6)
    np.testing.assert_array_equal(program([array])[0], np.pad(array[:, 1:], ((0, 0), (0, 2)), constant_values=20))


FINE = QuantParams(dtype="int16", scheme="asymmetric_affine", scale=(0.14493584632873535,), zero_point=(-225,))
FINER = QuantParams(dtype="int16", scheme="asymmetric_affine", scale=(0.04038075730204582,), zero_point=(-362,))
JOINED = {
    "8 bits": (AFFINE, OTHER, AFFINE),
    "16 bits": (FIXED, AFFINE, FIXED),
    "mixed": (AFFINE, FIXED, OTHER),
    "no formula": (FINE, FINER, FINER),
}


@pytest.mark.parametrize("quants", JOINED.values(), ids=list(JOINED))
def test_joined_tensors_are_within_a_unit_of_real_numbers(
    quants: tuple[QuantParams, QuantParams, QuantParams], rng: np.random.Generator
) -> None:
    limits = [np.iinfo(quant.dtype) for quant in quants[:2]]
    arrays = [rng.integers(limit.min, limit.max + 1, (1, 500)).astype(limit.dtype) for limit in limits]
    program = written(model_of("Concat", [[1, 500], [1, 500]], list(quants[:2]), quants[2], axis=1))
    reals = np.concatenate([real(array, quant) for array, quant in zip(arrays, quants, strict=False)], axis=1)
    assert program.types == ["Concat"]
    assert np.abs(program(arrays)[0].astype(int) - stored(reals, quants[2])).max() <= 1


def test_joined_tensors_may_be_cut() -> None:
    build = GraphBuilder("cut")
    inputs = [build.input(f"x{i}", ir.DataType.FLOAT, [1, 256], quant=quant) for i, quant in enumerate((AFFINE, OTHER))]
    inner = build.emit("Concat", inputs, {"axis": 1})
    y = build.name_value(build.emit("Relu", [inner]), "y", "y", OTHER)
    program = joined(build.finish([y]), lambda groups: [replace(groups[0], nodes=(*groups[0].nodes, *groups[1].nodes))])
    (found,) = program([np.arange(256).astype(np.uint8)[None]] * 2)
    assert program.types == ["Concat"]
    assert found[0, :20].tolist() == [30] * 20
    np.testing.assert_array_equal(found[0, 256:], np.maximum(np.arange(256), 30))
