"""Blocks of pixels turned into channels or samples, and back, in frozen TensorFlow graphs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.single_operator import FEW, constant, options, tensor
from tests.support.tensorflow_models import GraphComposer
from tests.support.tensorflow_movement import image
from tests.support.tensorflow_operator import (
    Fixed,
    Operand,
    Single,
    agrees,
    agrees_with_litert,
    agrees_with_opencv,
    refusal,
    single,
)

# Of the operators alone OpenCV's importer has none: it takes SpaceToBatchND for part of a dilated convolution.


def items(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).integers(-100, 100, shape).astype(dtype)


def row(*numbers: int) -> Fixed:
    return Fixed(np.asarray(numbers, np.int32))


def pairs(*edges: tuple[int, int]) -> Fixed:
    return Fixed(np.asarray(edges, np.int32))


def depth_of(x: np.ndarray, block: int) -> np.ndarray:
    """SpaceToDepth of NHWC, pixel by pixel."""
    batch, height, width, depth = x.shape
    found = np.empty((batch, height // block, width // block, block * block * depth), x.dtype)
    for i, j in itertools.product(range(height), range(width)):
        first = (i % block * block + j % block) * depth
        found[:, i // block, j // block, first : first + depth] = x[:, i, j]
    return found


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32"])
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("shape", "block"), [((1, 4, 6, 3), 2), ((1, 6, 3, 2), 3), ((1, 2, 2, 3), 1)], ids=str)
def test_blocks_become_channels_and_blocks_again(
    shape: tuple[int, ...], block: int, data_format: str, dtype: str
) -> None:
    x = items(*shape, dtype=dtype)
    deep = depth_of(x, block)
    if data_format == "NCHW":
        x, deep = (array.transpose(0, 3, 1, 2) for array in (x, deep))
    agrees(single("SpaceToDepth", x, block_size=block, data_format=data_format), deep)
    agrees(single("DepthToSpace", deep, block_size=block, data_format=data_format), x)


def test_blocks_agree_with_litert() -> None:
    x = items(1, 4, 6, 8)
    made = single("SpaceToDepth", x, block_size=2)
    agrees_with_litert(made, "SPACE_TO_DEPTH", [tensor(x.shape)], options("SpaceToDepth", blockSize=2))


def batches_of(x: np.ndarray, sides: Sequence[int], edges: Sequence[tuple[int, int]]) -> np.ndarray:
    """SpaceToBatchND: sample ``(side offsets, n)`` has every ``side``-th pixel from the offset on."""
    rest = x.ndim - 1 - len(sides)
    padded = np.pad(x, [(0, 0), *edges, *[(0, 0)] * rest])
    offsets = itertools.product(*map(range, sides))
    parts = (
        padded[(slice(None), *(slice(first, None, side) for first, side in zip(offset, sides, strict=True)))]
        for offset in offsets
    )
    return np.concatenate(list(parts))


CASES = {
    "image": ((1, 5, 7, 3), (2, 3), ((1, 2), (0, 2))),
    "row": ((1, 7, 3), (4,), ((0, 1),)),
    "volume": ((1, 2, 4, 6, 2), (1, 2, 3), ((0, 0), (1, 1), (0, 0))),
    "nchw": ((1, 3, 4, 6), (1, 2, 2), ((0, 0), (1, 1), (2, 0))),
    "nothing": ((1, 4, 6, 3), (1, 1), ((0, 0), (0, 0))),
}


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
@pytest.mark.parametrize(("shape", "sides", "edges"), CASES.values(), ids=list(CASES))
def test_blocks_become_samples_and_blocks_again(
    shape: tuple[int, ...], sides: tuple[int, ...], edges: tuple[tuple[int, int], ...], dtype: str
) -> None:
    x = items(*shape, dtype=dtype)
    samples = batches_of(x, sides, edges)
    agrees(single("SpaceToBatchND", x, row(*sides), pairs(*edges)), samples)
    composer = GraphComposer()
    source = composer.placeholder("x", shape, dtype)
    numbers = [composer.constant(np.asarray(sides, np.int32)), composer.constant(np.asarray(edges, np.int32))]
    # Something in between, as an input has one sample.
    between = composer.node("Identity", [composer.node("SpaceToBatchND", [source, *numbers], T=x.dtype)], T=x.dtype)
    composer.node("BatchToSpaceND", [between, *numbers], "y", T=x.dtype)
    agrees(Single(data=composer.serialize(), inputs={"x": x}, outputs=["y"]), x)


def test_samples_agree_with_litert() -> None:
    x = items(1, 5, 6, 2)
    operands = [tensor(x.shape), constant(np.array([2, 3], np.int32)), constant(np.array([[1, 0], [0, 3]], np.int32))]
    made = single("SpaceToBatchND", x, row(2, 3), pairs((1, 0), (0, 3)))
    agrees_with_litert(made, "SPACE_TO_BATCH_ND", operands, options("SpaceToBatchND"))


def test_the_older_operators_have_square_blocks() -> None:
    x = items(1, 4, 5, 2)
    edges = ((1, 1), (0, 1))
    agrees(single("SpaceToBatch", x, pairs(*edges), block_size=2), batches_of(x, (2, 2), edges))
    composer = GraphComposer()
    ends = composer.constant(np.asarray(edges, np.int32))
    samples = composer.node("SpaceToBatch", [composer.placeholder("x", x.shape), ends], block_size=2)
    composer.node("BatchToSpace", [samples, ends], "y", block_size=2)
    agrees(Single(data=composer.serialize(), inputs={"x": x}, outputs=["y"]), x)


def dilated(
    x: np.ndarray,
    weights: np.ndarray,
    sides: Sequence[int],
    edges: Sequence[tuple[int, int]],
    crops: Sequence[tuple[int, int]],
    op: str = "Conv2D",
    **attributes: Any,
) -> Single:
    """The three operators that older versions made of a dilated convolution."""
    composer = GraphComposer()
    block = composer.constant(np.asarray(sides, np.int32))
    before, after = (composer.constant(np.asarray(ends, np.int32)) for ends in (edges, crops))
    samples = composer.node("SpaceToBatchND", [image(composer, "x", x.shape), block, before])
    if x.ndim == 3:
        samples = composer.node("ExpandDims", [samples, composer.constant(1)])
    window = {"strides": [1, 1, 1, 1], "padding": "VALID", "data_format": "NHWC"} | attributes
    found = composer.node(op, [samples, composer.constant(weights)], "conv", **window)
    if x.ndim == 3:
        found = composer.node("Squeeze", [found], squeeze_dims=[1])
    composer.node("BatchToSpaceND", [found, block, after], "y")
    composer.node("Relu", ["y"], "behind")
    return Single(data=composer.serialize(), inputs={"x": x}, outputs=["y"])


def same_edges(size: int, kernel: int, rate: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """What is padded and cut off so that a dilated convolution keeps the size."""
    total = (kernel - 1) * rate
    extra = -(size + total) % rate
    return (total // 2, total - total // 2 + extra), (0, extra)


@pytest.mark.parametrize("op", ["Conv2D", "DepthwiseConv2dNative"])
@pytest.mark.parametrize(("size", "rate"), [((9, 12), 2), ((8, 7), 3), ((5, 6), 4)], ids=str)
def test_a_dilated_convolution_of_older_versions_agrees_with_opencv(size: tuple[int, int], rate: int, op: str) -> None:
    edges, crops = zip(*(same_edges(length, 3, rate) for length in size), strict=True)
    weights = items(3, 3, 2, 4, seed=1) / np.float32(100)
    made = dilated(items(1, *size, 2), weights, (rate, rate), edges, crops, op)
    # OpenCV's importer has no BatchToSpaceND then, but what is behind it.
    agrees_with_opencv(replace(made, outputs=["behind"]))


@FEW
@given(
    sizes=st.tuples(st.integers(2, 8), st.integers(2, 8)),
    rates=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    low=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    more=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    crops=st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
    spread=st.integers(1, 2),
    stride=st.sampled_from([1, 1, 2]),
    padding=st.sampled_from(["VALID", "SAME"]),
)
def test_any_convolution_of_samples_has_the_numbers_of_the_three_operators(
    *,
    sizes: tuple[int, int],
    rates: tuple[int, int],
    low: tuple[int, int],
    more: tuple[int, int],
    crops: tuple[tuple[int, int], tuple[int, int]],
    spread: int,
    stride: int,
    padding: str,
) -> None:
    """The three run one by one in NumPy and a model of the convolution alone."""
    columns = zip(sizes, rates, low, more, strict=True)
    edges = tuple((first, -(size + first) % rate + rate * times) for size, rate, first, times in columns)
    x, weights = items(1, *sizes, 2), items(2, 2, 2, 3, seed=1) / np.float32(100)
    samples = batches_of(x, rates, edges)
    assume(padding == "SAME" or min(samples.shape[1:3]) > spread)
    window = {"strides": [1, stride, stride, 1], "padding": padding, "dilations": [1, spread, spread, 1]}
    parts = [single("Conv2D", sample[None], Fixed(weights), **window)()[0] for sample in samples]
    small = np.concatenate(parts)
    whole = np.empty((1, *np.multiply(small.shape[1:3], rates), 3), np.float32)
    for number, offset in enumerate(itertools.product(*map(range, rates))):
        whole[0, offset[0] :: rates[0], offset[1] :: rates[1]] = small[number]
    ends = [(first, size - last) for (first, last), size in zip(crops, whole.shape[1:3], strict=True)]
    assume(all(first < last for first, last in ends))
    expected = whole[:, slice(*ends[0]), slice(*ends[1])]
    agrees(dilated(x, weights, rates, edges, crops, **window), expected)


def test_a_dilated_convolution_of_sequences_has_its_numbers() -> None:
    x, weights = items(1, 11, 2), items(1, 3, 2, 4, seed=1) / np.float32(100)
    # Padded in front alone, as sequences are whose future is not known.
    made = dilated(x, weights, (4,), ((8, 1),), ((0, 1),))
    expected = np.zeros((1, 11, 4))
    for place, tap in itertools.product(range(11), range(3)):
        before = place - 4 * (2 - tap)
        expected[0, place] += x[0, before] @ weights[0, tap] if before >= 0 else 0
    agrees(made, expected.astype(np.float32))


def test_channels_second_have_blocks_of_one_channel() -> None:
    x, weights = items(1, 2, 8, 9), items(3, 3, 2, 4, seed=1) / np.float32(100)
    edges, crops = zip(*(same_edges(length, 3, 2) for length in (8, 9)), strict=True)
    composer = GraphComposer()
    block = composer.constant([1, 2, 2])
    before, after = (composer.constant(np.asarray([(0, 0), *ends], np.int32)) for ends in (edges, crops))
    samples = composer.node("SpaceToBatchND", [composer.placeholder("x", x.shape), block, before])
    window = {"strides": [1, 1, 1, 1], "padding": "VALID", "data_format": "NCHW"}
    found = composer.node("Conv2D", [samples, composer.constant(weights)], **window)
    composer.node("BatchToSpaceND", [found, block, after], "y")
    made = Single(data=composer.serialize(), inputs={"x": x}, outputs=["y"])
    (expected,) = dilated(x.transpose(0, 2, 3, 1), weights, (2, 2), edges, crops)()
    agrees(made, expected.transpose(0, 3, 1, 2))


def test_samples_that_are_an_output_themselves_are_computed_too() -> None:
    x, weights = items(1, 4, 4, 2), items(3, 3, 2, 4, seed=1)
    made = dilated(x, weights, (2, 2), ((2, 2), (2, 2)), ((0, 0), (0, 0)))
    both = Single(data=made.data, inputs=made.inputs, outputs=["conv", "y"])
    samples, whole = both()
    np.testing.assert_allclose(whole[0, 1::2, ::2], samples[2], rtol=1e-6)


X = items(1, 4, 6, 3)
REFUSED: dict[str, tuple[tuple[str, *tuple[Operand, ...]], dict[str, Any], str]] = {
    "space": (("SpaceToDepth", X), {"block_size": 4}, "blocks of 4x4 of 4x6 pixels"),
    "depth": (("DepthToSpace", X), {"block_size": 2}, "blocks of 2x2 of 3 channels"),
    "no block": (("SpaceToDepth", X), {"block_size": 0}, "blocks of 0x0 of 4x6 pixels"),
    "no size": (("DepthToSpace", X), {}, "it lacks the attribute block_size"),
    "vectors": (("SpaceToDepth", X), {"block_size": 2, "data_format": "NCHW_VECT_C"}, "the data format NCHW_VECT_C"),
    "rank": (("SpaceToDepth", items(1, 4, 4)), {"block_size": 2}, "four dimensions|4 dimensions are needed"),
    "pixels": (("SpaceToBatchND", X, row(2, 4), pairs((0, 0), (0, 0))), {}, r"blocks of \[2, 4\] of \[4, 6\] pixels"),
    "computed": (("SpaceToBatchND", X, row(2), np.zeros((1, 2), np.int32)), {}, "operand 2 is computed"),
    "edges": (("SpaceToBatchND", X, row(2, 2), pairs((0, 0))), {}, r"blocks of \[2, 2\] and edges of \[0, 0\] pixels"),
    "negative": (("SpaceToBatchND", X, row(2), pairs((-2, 0))), {}, r"edges of \[-2, 0\] pixels"),
    "samples": (
        ("BatchToSpaceND", X, row(2, 1), pairs((0, 0), (0, 0))),
        {},
        r"1 samples of \[4, 6\] pixels for blocks of \[2, 1\]",
    ),
    "crops": (("BatchToSpaceND", X, row(1, 1), pairs((3, 2), (0, 0))), {}, r"cut by \[3, 0\] and \[2, 0\]"),
    "old crops": (("BatchToSpace", X, pairs((4, 1), (0, 0))), {"block_size": 1}, r"cut by \[4, 0\] and \[1, 0\]"),
}


@pytest.mark.parametrize(("case", "attributes", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refusal(case: tuple[str, *tuple[Operand, ...]], attributes: dict[str, Any], reason: str) -> None:
    assert re.search(reason, refusal(*case, **attributes))
