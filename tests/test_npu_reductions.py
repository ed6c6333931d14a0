"""Axes of integers made one number, as the reference kernels of LiteRT compute it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.build import GraphBuilder
from synap_core.graph.quantized import scale_and_zero_point
from synap_core.tensors import QuantParams
from tests.support.canonical import real, stored
from tests.support.npu_exact import is_exact
from tests.support.npu_program import compiled, only, quantized
from tests.support.single_operator import FEW, QUANTIZED, SEEDS, Tensor, constant, options, sample

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(lambda dims: [1, *dims])
MEANS = [("MEAN", dtype) for dtype in QUANTIZED]
# LiteRT's reference kernel of sums takes the bytes of all types for uint8.
SUMS = [*MEANS, ("SUM", "uint8")]
EXTREMES = [(name, dtype) for name in ("REDUCE_MAX", "REDUCE_MIN") for dtype in QUANTIZED]


def reduced(data: st.DataObject, shape: list[int]) -> tuple[list[int], bool, list[int]]:
    """Axes, whether they stay, and the shape of the result."""
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1).map(sorted))
    keep = data.draw(st.booleans())
    return axes, keep, list(np.zeros(shape).sum(axis=tuple(axes), keepdims=keep).shape)


@pytest.mark.parametrize(("name", "dtype"), SUMS, ids=[" ".join(case) for case in SUMS])
@FEW
@given(shape=SHAPES, data=st.data(), ratio=st.floats(-4, 4), same=st.booleans(), narrow=st.booleans(), seed=SEEDS)
def test_means_and_sums_are_those_of_the_kernel(
    *,
    name: str,
    dtype: str,
    tmp_path: Path,
    shape: list[int],
    data: st.DataObject,
    ratio: float,
    same: bool,
    narrow: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    axes, keep, wanted = reduced(data, shape)
    x = quantized(rng, shape, dtype, -4)
    y = replace(x, shape=wanted) if same else quantized(rng, wanted, dtype, -4 + ratio)
    limits = {"low": 0 if dtype == "uint8" else -3, "high": 3} if narrow else {}
    given_options, operands = options("Reducer", keepDims=keep), [x, constant(np.asarray(axes, np.int32))]
    is_exact(tmp_path, name, operands, y, [sample(rng, x, **limits)], given=given_options, version=2)


@pytest.mark.parametrize(("name", "dtype"), SUMS, ids=[" ".join(case) for case in SUMS])
@pytest.mark.parametrize("items", [7, 49, 100, 3000])
def test_many_items_give_the_integer_of_the_kernel(
    name: str, dtype: str, items: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    """As the global mean of a network, whose multiplier the number of items is divided into."""
    x = quantized(rng, [1, items, 200], dtype, -5)
    y = quantized(rng, [1, 200], dtype, -6 if name == "MEAN" else -1)
    operands = [x, constant(np.asarray([1], np.int32))]
    made = options("Reducer", keepDims=False)
    program = is_exact(tmp_path, name, operands, y, [sample(rng, x)], given=made, version=2, operator="Reduce")
    attributes = only(program).form.attributes
    assert (attributes["type"], attributes["axes"]) == (name.lower(), (1,))


@pytest.mark.parametrize(("name", "dtype"), EXTREMES, ids=[" ".join(case) for case in EXTREMES])
@FEW
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_extremes_are_those_of_the_kernel(
    *, name: str, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    axes, keep, wanted = reduced(data, shape)
    x = quantized(rng, shape, dtype, -4)
    given_options, operands = options("Reducer", keepDims=keep), [x, constant(np.asarray(axes, np.int32))]
    y = replace(x, shape=wanted)
    program = is_exact(tmp_path, name, operands, y, [sample(rng, x)], given=given_options, version=3)
    assert not any(found.startswith("(") for found in program.types)


@pytest.mark.parametrize("name", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_places_of_extremes_are_those_of_the_kernel(
    name: str, dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    x = quantized(rng, [1, 30, 40], dtype, -4)
    y = Tensor(shape=[1, 30], dtype="int64")
    operands = [x, constant(np.asarray(2, np.int32))]
    made = options("ArgMax" if name == "ARG_MAX" else "ArgMin", outputType=4)
    arrays = [sample(rng, x, 3, 20)]
    is_exact(tmp_path, name, operands, y, arrays, given=made, version=2, operator=name.replace("_", "").title())


# Without LiteRT, which has no such kernels

AFFINE = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.05,), zero_point=(20,))
OTHER = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.02,), zero_point=(-40,))
FIXED = QuantParams(dtype="int16", scheme="dynamic_fixed_point", fractional_length=9)
FINER = QuantParams(dtype="int8", scheme="dynamic_fixed_point", fractional_length=4)


def model_of(
    op_type: str, quants: list[QuantParams], result: QuantParams | None, shape: list[int], **attributes: int
) -> ir.Model:
    """A graph of one node; a reduction is along axis 1."""
    build = GraphBuilder("one")
    inputs = [build.input(f"x{i}", ir.DataType.FLOAT, shape, quant=quant) for i, quant in enumerate(quants)]
    axes = [build.constant([1])] if op_type.startswith("Reduce") else []
    y = build.emit(op_type, [*inputs, *axes], attributes)
    return build.finish([build.name_value(y, "y", "y", result)])


def integers(rng: np.random.Generator, quant: QuantParams, shape: list[int]) -> np.ndarray:
    info = np.iinfo(quant.dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(quant.dtype)


@pytest.mark.parametrize("quants", [(AFFINE, OTHER), (FIXED, FIXED), (FIXED, FINER), (FINER, FIXED)], ids=range(4))
@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("items", [1, 2, 5, 64, 1000])
def test_reductions_are_within_a_unit_of_real_numbers(
    op_type: str, quants: tuple[QuantParams, QuantParams], items: int, rng: np.random.Generator
) -> None:
    shape = [2, items, 60]
    array = integers(rng, quants[0], shape)
    program = compiled(model_of(op_type, [quants[0]], quants[1], shape, keepdims=0))
    compute = {"ReduceMean": np.mean, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min}[op_type]
    scale, point = scale_and_zero_point(quants[0], 3)
    wanted = stored(compute((array.astype(np.int64) - point) * scale, axis=1), quants[1])
    assert program.types == ["Reduce"]
    assert np.abs(program([array])[0].astype(int) - wanted).max() <= 1


def test_sums_that_leave_32_bits_are_computed_in_real_numbers(rng: np.random.Generator) -> None:
    shape = [1, 1 << 17, 1]
    array = integers(rng, FIXED, shape)
    program = compiled(model_of("ReduceMean", [FIXED], FIXED, shape))
    assert program.types == ["(ReduceMean)"]
    assert np.abs(program([array])[0].astype(int) - np.rint(array.mean())).max() <= 1


def test_products_are_computed_in_real_numbers() -> None:
    assert compiled(model_of("ReduceProd", [AFFINE], OTHER, [1, 3, 4])).types == ["(ReduceProd)"]


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_of_equal_extremes_the_wanted_one_is_named(op_type: str, last: int, rng: np.random.Generator) -> None:
    array = rng.integers(-3, 4, (2, 50, 30)).astype(np.int16)
    program = compiled(model_of(op_type, [FIXED], None, [2, 50, 30], axis=1, keepdims=0, select_last_index=last))
    (found,) = program([array])
    search = np.argmax if op_type == "ArgMax" else np.argmin
    wanted = 49 - search(array[:, ::-1], axis=1) if last else search(array, axis=1)
    assert program.types == [op_type.title()]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("quant", [AFFINE, FIXED], ids=["8", "16"])
@pytest.mark.parametrize(
    ("op_type", "compare"),
    [
        ("Equal", np.equal),
        ("Greater", np.greater),
        ("GreaterOrEqual", np.greater_equal),
        ("Less", np.less),
        ("LessOrEqual", np.less_equal),
    ],
)
def test_integers_of_one_step_are_compared_as_they_are(
    op_type: str, compare: np.ufunc, quant: QuantParams, rng: np.random.Generator
) -> None:
    arrays = [rng.integers(-9, 10, (1, 500)).astype(quant.dtype) for _ in range(2)]
    program = compiled(model_of(op_type, [quant, quant], None, [1, 500]))
    assert program.types == ["RelationalOps"]
    np.testing.assert_array_equal(program(arrays)[0], compare(*arrays))


def test_integers_of_other_steps_are_compared_as_real_numbers(rng: np.random.Generator) -> None:
    arrays = [integers(rng, AFFINE, [1, 500]) for _ in range(2)]
    program = compiled(model_of("Less", [AFFINE, OTHER], None, [1, 500]))
    assert program.types == ["(Less)"]
    np.testing.assert_array_equal(program(arrays)[0], real(arrays[0], AFFINE) < real(arrays[1], OTHER))
