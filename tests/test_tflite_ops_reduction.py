"""Reductions of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.annotations import quant_of
from tests.support.canonical import imported, real, run
from tests.support.single_operator import (
    FEW,
    QUANTIZED,
    SEEDS,
    agrees,
    constant,
    options,
    refusal,
    sample,
    single,
    tensor,
)

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(lambda dims: [1, *dims])

NUMBERS = ("float32", "int32", "int64")
CASES = [
    *((name, dtype) for name in ("MEAN", "SUM") for dtype in NUMBERS),
    *((name, dtype) for name in ("REDUCE_MAX", "REDUCE_MIN") for dtype in (*NUMBERS, *QUANTIZED)),
    *((name, "bool") for name in ("REDUCE_ANY", "REDUCE_ALL")),
]


def reduced(data: st.DataObject, shape: list[int]) -> tuple[np.ndarray, bool, list[int]]:
    """Axes, whether their dimensions stay, and the shape of the result."""
    axes = data.draw(st.lists(st.integers(-len(shape), len(shape) - 1), max_size=4))
    keep = data.draw(st.booleans())
    wanted = np.zeros(shape).sum(axis=tuple({axis % len(shape) for axis in axes}), keepdims=keep).shape
    return np.asarray(axes, np.int32), keep, list(wanted)


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=[" ".join(case) for case in CASES])
@FEW
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_reduction(*, name: str, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    axes, keep, wanted = reduced(data, shape)
    operands = [tensor(shape, dtype, zero_point=3), constant(axes)]
    made = options("Reducer", keepDims=keep)
    agrees(tmp_path, name, operands, tensor(wanted, dtype, zero_point=3), made, seed=seed, units=0)


@pytest.mark.parametrize(("name", "dtype"), [*(("MEAN", dtype) for dtype in QUANTIZED), ("SUM", "uint8")])
@FEW
@given(shape=SHAPES, data=st.data(), scale=st.floats(0.1, 0.4), point=st.integers(-50, 50), seed=SEEDS)
def test_quantized_sums(
    *,
    name: str,
    dtype: str,
    tmp_path: Path,
    shape: list[int],
    data: st.DataObject,
    scale: float,
    point: int,
    seed: int,
) -> None:
    axes, keep, wanted = reduced(data, shape)
    operands = [tensor(shape, dtype, zero_point=-20), constant(axes)]
    count = 1 if name == "MEAN" else int(np.prod(shape) // max(1, np.prod(wanted)))
    result = tensor(wanted, dtype, scale=scale * count, zero_point=point)
    agrees(tmp_path, name, operands, result, options("Reducer", keepDims=keep), seed=seed)


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_quantized_sums_of_any_sign(dtype: str, tmp_path: Path) -> None:
    # LiteRT's reference kernel takes the bytes of all types for uint8, so the expectation is NumPy's.
    x, y = tensor([1, 3, 4], dtype, zero_point=-20), tensor([1, 4], dtype, scale=0.4, zero_point=5)
    axes = constant(np.asarray([1], np.int32))
    model, _ = imported(single("SUM", [x, axes], [y], options("Reducer", keepDims=False)), tmp_path)
    items = sample(np.random.default_rng(3), x)
    (found,) = run(model, [real(items, quant_of(model.graph.inputs[0]))])
    wanted = (items.astype(np.float64) - x.zero_point).sum(axis=1) * np.float64(x.scale)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", NUMBERS)
@FEW
@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=2), data=st.data(), seed=SEEDS)
def test_products(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    axes, keep, wanted = reduced(data, [1, *shape])
    operands = [tensor([1, *shape], dtype), constant(axes)]
    # Nine factors of at most eight: no product leaves the range of int32.
    arrays = [sample(np.random.default_rng(seed), operands[0], -8, 8)]
    made = options("Reducer", keepDims=keep)
    agrees(tmp_path, "REDUCE_PROD", operands, tensor(wanted, dtype), made, arrays=arrays)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@FEW
@given(length=st.integers(1, 3), keep=st.booleans(), seed=SEEDS)
def test_quantized_products(*, dtype: str, tmp_path: Path, length: int, keep: bool, seed: int) -> None:
    operands = [tensor([1, length, 4], dtype, scale=0.02), constant(np.asarray([1], np.int32))]
    result = tensor([1, 1, 4] if keep else [1, 4], dtype, scale=0.05)
    agrees(tmp_path, "REDUCE_PROD", operands, result, options("Reducer", keepDims=keep), seed=seed)


@pytest.mark.parametrize("name", ["MEAN", "SUM", "REDUCE_MAX"])
def test_a_scalar_stays_as_it_is(name: str, tmp_path: Path) -> None:
    operands = [tensor([]), constant(np.asarray([0], np.int32))]
    agrees(tmp_path, name, operands, tensor([]), options("Reducer", keepDims=False), units=0)


@pytest.mark.parametrize("dtype", NUMBERS)
@FEW
@given(shape=SHAPES, data=st.data(), exclusive=st.booleans(), reverse=st.booleans(), seed=SEEDS)
def test_cumsum(
    *,
    dtype: str,
    tmp_path: Path,
    shape: list[int],
    data: st.DataObject,
    exclusive: bool,
    reverse: bool,
    seed: int,
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    operands = [tensor(shape, dtype), constant(np.asarray(axis, np.int32))]
    made = options("Cumsum", exclusive=exclusive, reverse=reverse)
    agrees(tmp_path, "CUMSUM", operands, tensor(shape, dtype), made, seed=seed, units=0)


def case(name: str, shape: list[int], dtype: str, axes: Any, result: Any, kind: str = "Reducer") -> tuple[Any, ...]:
    return name, [tensor(shape, dtype), axes], result, options(kind)


AXIS = constant(np.asarray([1], np.int32))
REFUSED = {
    "computed axes": (
        case("SUM", [1, 4], "float32", tensor([1], "int32"), tensor([1])),
        "operand 1 is computed; only a constant",
    ),
    "axis": (
        case("SUM", [1, 4], "float32", constant(np.asarray([2], np.int32)), tensor([1])),
        "dimension 2 of a tensor that has 2",
    ),
    "other quantization": (
        case("REDUCE_MAX", [1, 4], "int8", AXIS, tensor([1], "int8", 0.07)),
        "operand 0 and its output differ in quantization",
    ),
    "narrow integers": (
        ("SUM", [tensor([1, 4], "uint16"), AXIS], tensor([1], "uint16"), options("Reducer")),
        "a sum of UINT16 without a quantization",
    ),
    "mean of nothing": (
        case("MEAN", [1, 0], "int32", AXIS, tensor([1], "int32")),
        "a mean of no integers",
    ),
    "quantized cumsum": (
        case("CUMSUM", [1, 4], "int8", constant(np.asarray(1, np.int32)), tensor([1, 4], "int8"), "Cumsum"),
        "sums of quantized items",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[Any, ...], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)
