"""Blocks of pixels of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.canonical import conforms, imported
from tests.support.single_operator import FEW, SEEDS, agrees, constant, options, refusal, sample, single, tensor
from tests.support.tflite_models import ModelBuilder

SOME = settings(FEW, max_examples=10)
"""As many for each element type as are enough for all of them together."""

LENGTHS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64"])
@SOME
@given(block=st.integers(1, 3), size=LENGTHS, depth=st.integers(1, 3), seed=SEEDS)
def test_space_to_depth(
    *, dtype: str, tmp_path: Path, block: int, size: tuple[int, int], depth: int, seed: int
) -> None:
    x = tensor([1, size[0] * block, size[1] * block, depth], dtype, zero_point=7)
    y = tensor([1, *size, depth * block * block], dtype, zero_point=7)
    agrees(tmp_path, "SPACE_TO_DEPTH", [x], y, options("SpaceToDepth", blockSize=block), seed=seed, units=0)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64"])
@SOME
@given(block=st.integers(1, 3), size=LENGTHS, depth=st.integers(1, 3), seed=SEEDS)
def test_depth_to_space(
    *, dtype: str, tmp_path: Path, block: int, size: tuple[int, int], depth: int, seed: int
) -> None:
    x = tensor([1, *size, depth * block * block], dtype, zero_point=7)
    y = tensor([1, size[0] * block, size[1] * block, depth], dtype, zero_point=7)
    agrees(tmp_path, "DEPTH_TO_SPACE", [x], y, options("DepthToSpace", blockSize=block), seed=seed, units=0)


@pytest.mark.parametrize(("name", "op_type"), [("SPACE_TO_DEPTH", "SpaceToDepth"), ("DEPTH_TO_SPACE", "DepthToSpace")])
def test_float_blocks_are_one_operator_between_transposes(name: str, op_type: str, tmp_path: Path) -> None:
    shapes = [[1, 2, 2, 1], [1, 1, 1, 4]]
    x, y = (tensor(shape) for shape in (shapes if name == "SPACE_TO_DEPTH" else shapes[::-1]))
    model, _ = imported(single(name, [x], [y], options(op_type, blockSize=2)), tmp_path)
    assert [node.op_type for node in model.graph] == ["Transpose", op_type, "Transpose"]


@pytest.mark.parametrize("spatial", [1, 2], ids=["3-D", "4-D"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int16", "int32", "int64"])
@SOME
@given(data=st.data(), depth=st.integers(1, 3), seed=SEEDS)
def test_space_to_batch(
    *, dtype: str, spatial: int, tmp_path: Path, data: st.DataObject, depth: int, seed: int
) -> None:
    sides = [data.draw(st.integers(1, 3)) for _ in range(spatial)]
    steps = [data.draw(st.integers(1, 3)) for _ in range(spatial)]
    before = [data.draw(st.integers(0, 1)) for _ in range(spatial)]
    whole = [side * step for side, step in zip(sides, steps, strict=True)]
    after = [data.draw(st.integers(0, max(0, min(2, n - b - 1)))) for n, b in zip(whole, before, strict=True)]
    before = [b if n - b - a > 0 else 0 for n, b, a in zip(whole, before, after, strict=True)]
    inner = [n - b - a for n, b, a in zip(whole, before, after, strict=True)]
    ends = np.asarray(list(zip(before, after, strict=True)), np.int32)
    operands = [tensor([1, *inner, depth], dtype, zero_point=7), constant(np.asarray(sides, np.int32)), constant(ends)]
    result = tensor([int(np.prod(sides)), *steps, depth], dtype, zero_point=7)
    agrees(tmp_path, "SPACE_TO_BATCH_ND", operands, result, options("SpaceToBatchND"), seed=seed, units=0)


def from_one_sample(x: Any, middle: list[int], sides: list[int], ends: np.ndarray, result: Any) -> bytes:
    """A model whose input, of batch 1, is reshaped before its samples become blocks."""
    builder = ModelBuilder()
    quantization = {"scale": x.scale, "zero_point": x.zero_point}
    first = builder.tensor("x", x.shape, x.dtype, **quantization)
    samples = builder.tensor("samples", middle, x.dtype, **quantization)
    y = builder.tensor("y", result.shape, x.dtype, **quantization)
    shape = builder.constant("shape", np.asarray(middle, np.int32))
    block, crops = builder.constant("block", np.asarray(sides, np.int32)), builder.constant("crops", ends)
    builder.operator("RESHAPE", [first, shape], [samples], options("Reshape"))
    builder.operator("BATCH_TO_SPACE_ND", [samples, block, crops], [y], options("BatchToSpaceND"))
    return builder.finish([first], [y])


@pytest.mark.parametrize("spatial", [1, 2], ids=["3-D", "4-D"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64"])
@SOME
@given(data=st.data(), depth=st.integers(1, 3), batch=st.integers(1, 2), seed=SEEDS)
def test_batch_to_space(
    *, dtype: str, spatial: int, tmp_path: Path, data: st.DataObject, depth: int, batch: int, seed: int
) -> None:
    sides = [data.draw(st.integers(1, 3)) for _ in range(spatial)]
    steps = [data.draw(st.integers(1, 3)) for _ in range(spatial)]
    whole = [side * step for side, step in zip(sides, steps, strict=True)]
    before = [data.draw(st.integers(0, min(1, n - 1))) for n in whole]
    after = [data.draw(st.integers(0, min(2, n - b - 1))) for n, b in zip(whole, before, strict=True)]
    kept = [n - b - a for n, b, a in zip(whole, before, after, strict=True)]
    middle = [batch * int(np.prod(sides)), *steps, depth]
    x = tensor([1, int(np.prod(middle))], dtype, zero_point=7)
    ends = np.asarray(list(zip(before, after, strict=True)), np.int32)
    content = from_one_sample(x, middle, sides, ends, tensor([batch, *kept, depth], dtype))
    conforms(content, tmp_path, [sample(np.random.default_rng(seed), x)], units=0, relative=0)


def numbers(*values: Any) -> Any:
    return constant(np.asarray(values, np.int32))


X = tensor([1, 4, 4, 3])
REFUSED = {
    "rank": (("SPACE_TO_DEPTH", [tensor([1, 4, 4])], X, options("SpaceToDepth", blockSize=2)), "blocks of 2x2"),
    "size": (
        ("SPACE_TO_DEPTH", [X], X, options("SpaceToDepth", blockSize=3)),
        "blocks of 3x3 of the shape [1, 4, 4, 3]",
    ),
    "depth": (
        ("DEPTH_TO_SPACE", [X], X, options("DepthToSpace", blockSize=2)),
        "blocks of 2x2 of the shape [1, 4, 4, 3]",
    ),
    "no block": (("DEPTH_TO_SPACE", [X], X, options("DepthToSpace", blockSize=0)), "blocks of 0x0"),
    "other quantization": (
        (
            "DEPTH_TO_SPACE",
            [tensor([1, 1, 1, 4], "int8")],
            tensor([1, 2, 2, 1], "int8", 0.07),
            options("DepthToSpace", blockSize=2),
        ),
        "differ in quantization",
    ),
    "computed": (
        ("SPACE_TO_BATCH_ND", [X, tensor([2], "int32"), numbers([0, 0], [0, 0])], X, options("SpaceToBatchND")),
        "operand 1 is computed",
    ),
    "odd": (
        ("SPACE_TO_BATCH_ND", [X, numbers(2, 2), numbers([0, 0], [0, 1])], X, options("SpaceToBatchND")),
        "blocks of [2, 2] of [4, 5] pixels",
    ),
    "negative": (
        ("SPACE_TO_BATCH_ND", [X, numbers(2, 2), numbers([0, 0], [0, -2])], X, options("SpaceToBatchND")),
        "edges of [0, 0, 0, -2] pixels",
    ),
    "samples": (
        ("BATCH_TO_SPACE_ND", [X, numbers(2, 2), numbers([0, 0], [0, 0])], X, options("BatchToSpaceND")),
        "1 samples of [4, 4] pixels for blocks of [2, 2]",
    ),
    "crops": (
        ("BATCH_TO_SPACE_ND", [X, numbers(1, 1), numbers([3, 2], [0, 0])], X, options("BatchToSpaceND")),
        "cut by [3, 0] and [2, 0]",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[Any, ...], reason: str, tmp_path: Path) -> None:
    assert reason in refusal(tmp_path, *case)
