"""Padding of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.single_operator import FEW, SEEDS, agrees, constant, options, refusal, sample, tensor

SOME = settings(FEW, max_examples=10)
"""As many for each element type as are enough for all of them together."""

DTYPES = ("float32", "uint8", "int8", "int16", "int32", "int64")
"""Element types of the kernels; the first integers are quantized."""

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(lambda dims: [1, *dims])
INDICES = st.sampled_from(["int32", "int64"])


def edges(data: st.DataObject, shape: list[int], most: int | None = None) -> list[list[int]]:
    """Numbers of items before and after each dimension."""
    limits = [3 if most is None else min(3, dim - most) for dim in shape]
    return [[data.draw(st.integers(0, limit)) for _ in range(2)] for limit in limits]


@pytest.mark.parametrize("dtype", DTYPES)
@SOME
@given(shape=SHAPES, data=st.data(), index=INDICES, seed=SEEDS)
def test_pad(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, index: str, seed: int) -> None:
    around = edges(data, shape)
    wanted = np.pad(np.zeros(shape), around).shape
    operands = [tensor(shape, dtype, zero_point=9), constant(np.asarray(around, index))]
    agrees(tmp_path, "PAD", operands, tensor(wanted, dtype, zero_point=9), options("Pad"), seed=seed, units=0)


@pytest.mark.parametrize("computed", [True, False], ids=["computed", "constant"])
@pytest.mark.parametrize("dtype", DTYPES)
@SOME
@given(shape=SHAPES, data=st.data(), index=INDICES, seed=SEEDS)
def test_pad_v2(
    *, dtype: str, computed: bool, tmp_path: Path, shape: list[int], data: st.DataObject, index: str, seed: int
) -> None:
    around = edges(data, shape)
    result = tensor(np.pad(np.zeros(shape), around).shape, dtype, zero_point=9)
    filler = tensor([1], dtype, zero_point=9)
    if not computed:
        filler = filler.filled(sample(np.random.default_rng(seed + 1), filler))
    operands = [tensor(shape, dtype, zero_point=9), constant(np.asarray(around, index)), filler]
    agrees(tmp_path, "PADV2", operands, result, options("PadV2"), seed=seed, units=0)


@pytest.mark.parametrize("mode", [0, 1], ids=["reflect", "symmetric"])
@pytest.mark.parametrize("dtype", DTYPES)
@SOME
@given(shape=SHAPES, data=st.data(), index=INDICES, seed=SEEDS)
def test_mirror_pad(
    *, dtype: str, mode: int, tmp_path: Path, shape: list[int], data: st.DataObject, index: str, seed: int
) -> None:
    around = edges(data, shape, 1 - mode)
    result = tensor(np.pad(np.zeros(shape), around).shape, dtype, zero_point=9)
    operands = [tensor(shape, dtype, zero_point=9), constant(np.asarray(around, index))]
    agrees(tmp_path, "MIRROR_PAD", operands, result, options("MirrorPad", mode=mode), seed=seed, units=0)


@pytest.mark.parametrize("dtype", DTYPES)
@SOME
@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_dilate(*, dtype: str, tmp_path: Path, shape: list[int], data: st.DataObject, seed: int) -> None:
    steps = [data.draw(st.integers(1, 3)) for _ in shape]
    wanted = [(dim - 1) * step + 1 for dim, step in zip(shape, steps, strict=True)]
    filler = tensor([], dtype, zero_point=9)
    filler = filler.filled(sample(np.random.default_rng(seed + 1), filler))
    operands = [tensor(shape, dtype, zero_point=9), constant(np.asarray(steps, np.int32)), filler]
    agrees(tmp_path, "DILATE", operands, tensor(wanted, dtype, zero_point=9), seed=seed, units=0)


def pads(*rows: tuple[int, int]) -> Any:
    return constant(np.asarray(rows, np.int32))


X = tensor([1, 3])
REFUSED = {
    "computed": (("PAD", [X, tensor([4], "int32")], X, options("Pad")), "operand 1 is computed"),
    "rank": (("PAD", [X, pads((1, 1))], X, options("Pad")), "the paddings [1, 1] of 2 dimensions"),
    "negative": (("PAD", [X, pads((0, 0), (0, -1))], X, options("Pad")), "the paddings [0, 0, 0, -1]"),
    "other quantization": (
        ("PAD", [tensor([1, 3], "int8"), pads((0, 0), (0, 1))], tensor([1, 4], "int8", 0.07), options("Pad")),
        "operand 0 and its output differ in quantization",
    ),
    "filler": (
        ("PADV2", [X, pads((0, 0), (0, 1)), tensor([2])], tensor([1, 4]), options("PadV2")),
        "shape [] for the 2 items",
    ),
    "filler's quantization": (
        (
            "PADV2",
            [tensor([1, 3], "int8"), pads((0, 0), (0, 1)), tensor([1], "int8", 0.07)],
            tensor([1, 4], "int8"),
            options("PadV2"),
        ),
        "operand 2 and its output differ in quantization",
    ),
    "reflected": (
        ("MIRROR_PAD", [X, pads((0, 0), (0, 3))], tensor([1, 6]), options("MirrorPad", mode=0)),
        "mirror images of [0, 0] and [0, 3] items of the shape [1, 3]",
    ),
    "mirrored": (
        ("MIRROR_PAD", [X, pads((0, 0), (0, 4))], tensor([1, 7]), options("MirrorPad", mode=1)),
        "mirror images of [0, 0] and [0, 4] items",
    ),
    "memory": (
        (
            "MIRROR_PAD",
            [tensor([1, 1 << 28]), pads((0, 0), (0, 1))],
            tensor([1, (1 << 28) + 1]),
            options("MirrorPad", mode=1),
        ),
        "it needs an array of 805306368 items",
    ),
    "steps": (
        ("DILATE", [X, constant(np.asarray([1, 0], np.int32)), constant(np.zeros((), np.float32))], X),
        "steps of [1, 0] for the shape [1, 3]",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[Any, ...], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)
