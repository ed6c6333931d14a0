"""Concatenation in ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap_core.graph.annotations import quant_of
from tests.support.canonical import imported, run
from tests.support.single_operator import FEW, SEEDS, agrees, options, refusal, sample, single, tensor

SOME = settings(FEW, max_examples=10)
"""As many for each element type as are enough for all of them together."""

MOVED = ("float32", "uint8", "int8", "int16", "int32", "int64")
"""Element types of the kernels; the first integers are quantized."""

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(lambda dims: [1, *dims])


@pytest.mark.parametrize("dtype", [*MOVED, "bool"])
@SOME
@given(shape=SHAPES, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), data=st.data(), seed=SEEDS)
def test_concatenation(
    *, dtype: str, tmp_path: Path, shape: list[int], sizes: list[int], data: st.DataObject, seed: int
) -> None:
    axis = data.draw(st.integers(1 - len(shape), len(shape) - 1).filter(lambda axis: axis % len(shape) != 0))
    parts = [[*shape[: axis % len(shape)], size, *shape[axis % len(shape) + 1 :]] for size in sizes]
    shape[axis] = sum(sizes)
    operands = [tensor(part, dtype) for part in parts]
    made = options("Concatenation", axis=axis)
    agrees(tmp_path, "CONCATENATION", operands, tensor(shape, dtype), made, seed=seed, units=0)


@SOME
@given(
    scales=st.lists(st.floats(0.01, 0.1), min_size=2, max_size=3),
    points=st.lists(st.integers(-90, 90), min_size=3, max_size=3),
    seed=SEEDS,
)
def test_operands_of_other_quantization(*, tmp_path: Path, scales: list[float], points: list[int], seed: int) -> None:
    pairs = zip(scales, points, strict=False)
    operands = [tensor([1, 40], "uint8", scale=scale, zero_point=point) for scale, point in pairs]
    result = tensor([1, 40 * len(scales)], "uint8", scale=0.07, zero_point=11)
    # The kernel rounds in float32; the real numbers are rounded once.
    agrees(tmp_path, "CONCATENATION", operands, result, options("Concatenation", axis=1), seed=seed, units=1)


def test_every_operand_keeps_its_own_quantization(tmp_path: Path) -> None:
    operands = [tensor([1, 2], "int8", scale=0.05), tensor([1, 2], "int8", scale=0.1)]
    content = single("CONCATENATION", operands, [tensor([1, 4], "int8", scale=0.2)], options("Concatenation", axis=1))
    model, _ = imported(content, tmp_path)
    (joined,) = model.graph
    quants = [quant_of(value) for value in (*joined.inputs, joined.outputs[0]) if value is not None]
    assert [quant and round(quant.scale[0], 6) for quant in quants] == [0.05, 0.1, 0.2]


def test_a_fused_activation_clamps_the_joined_tensor(tmp_path: Path) -> None:
    # LiteRT has no kernel for it, so the expectation is written by hand.
    made = options("Concatenation", axis=1, fusedActivationFunction=3)
    model, _ = imported(single("CONCATENATION", [tensor([1, 3])] * 2, [tensor([1, 6])], made), tmp_path)
    x, y = np.asarray([[-1, 2, 7]], np.float32), np.asarray([[5, 6, -3]], np.float32)
    (found,) = run(model, [x, y])
    np.testing.assert_array_equal(found, [[0, 2, 6, 5, 6, 0]])


@pytest.mark.parametrize("dtype", MOVED)
@SOME
@given(shape=SHAPES, count=st.integers(1, 3), data=st.data(), seed=SEEDS)
def test_pack(*, dtype: str, tmp_path: Path, shape: list[int], count: int, data: st.DataObject, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    wanted = np.stack([np.empty(shape)] * count, axis=axis).shape
    made = options("Pack", valuesCount=count, axis=axis)
    agrees(tmp_path, "PACK", [tensor(shape, dtype)] * count, tensor(wanted, dtype), made, seed=seed, units=0)


def test_pack_of_scalars(tmp_path: Path) -> None:
    made = options("Pack", valuesCount=2, axis=0)
    arrays = [sample(np.random.default_rng(3), tensor([])) for _ in range(2)]
    agrees(tmp_path, "PACK", [tensor([])] * 2, tensor([2]), made, arrays=arrays, units=0)


REFUSED = {
    "axis": (
        ("CONCATENATION", [tensor([1, 4])] * 2, tensor([1, 8]), options("Concatenation", axis=2)),
        "dimension 2 of a tensor that has 2",
    ),
    "shapes": (
        ("CONCATENATION", [tensor([1, 4]), tensor([1, 1, 4])], tensor([1, 8]), options("Concatenation", axis=1)),
        "along axis 1",
    ),
    "int16": (
        (
            "CONCATENATION",
            [tensor([1, 4], "int16"), tensor([1, 4], "int16", 0.2)],
            tensor([1, 8], "int16"),
            options("Concatenation", axis=1),
        ),
        "operand 1 and its output differ in quantization",
    ),
    "activation": (
        (
            "CONCATENATION",
            [tensor([1, 4], "int32")] * 2,
            tensor([1, 8], "int32"),
            options("Concatenation", axis=1, fusedActivationFunction=1),
        ),
        "the activation function RELU of INT32",
    ),
    "packed shapes": (
        ("PACK", [tensor([1, 4]), tensor([1, 3])], tensor([2, 1, 4]), options("Pack", valuesCount=2, axis=0)),
        "shape [1, 1, 4] for the 3 items",
    ),
    "packed quantization": (
        (
            "PACK",
            [tensor([1, 4], "int8"), tensor([1, 4], "int8", 0.2)],
            tensor([2, 1, 4], "int8"),
            options("Pack", valuesCount=2, axis=0),
        ),
        "operand 1 and its output differ in quantization",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[Any, ...], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)
