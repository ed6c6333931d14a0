"""Dilated convolutions that are written with blocks of pixels as samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from synap_core.graph.passes.dilations import DilateConv
from synap_core.graph.types import shape_of
from tests.support.passes import Net, annotated, int8, normalised, op_types, origins, reasons
from tests.support.single_operator import FEW

Pairs = Sequence[tuple[int, int]]


def order(spatial: int, rest: int) -> list[int]:
    """Order that takes ``[N, (steps, side) per dimension, ...]`` to ``[sides, N, steps, ...]``."""
    inner = range(1 + 2 * spatial, 1 + 2 * spatial + rest)
    return [*range(2, 2 + 2 * spatial, 2), 0, *range(1, 1 + 2 * spatial, 2), *inner]


def samples_of(net: Net, x: ir.Value, sides: Sequence[int], edges: Pairs) -> ir.Value:
    """Blocks made samples."""
    spatial, rest = len(sides), len(shape_of(x)) - 1 - len(sides)
    if any(map(any, edges)):
        ends = [[0, *(pair[side] for pair in edges), *[0] * rest] for side in (0, 1)]
        x = net("Pad", x, net.integers(*ends[0], *ends[1]))
    batch, *lengths = shape_of(x)
    steps = [length // side for length, side in zip(lengths, sides, strict=False)]
    pairs = [number for pair in zip(steps, sides, strict=True) for number in pair]
    parts = net("Reshape", x, net.integers(batch, *pairs, *lengths[spatial:]))
    turned = net("Transpose", parts, perm=order(spatial, rest))
    return net("Reshape", turned, net.integers(batch * math.prod(sides), *steps, *lengths[spatial:]))


def image_of(net: Net, samples: ir.Value, sides: Sequence[int], crops: Pairs) -> ir.Value:
    """Samples made an image."""
    spatial, (batch, *lengths) = len(sides), shape_of(samples)
    count, rest = batch // math.prod(sides), lengths[spatial:]
    parts = net("Reshape", samples, net.integers(*sides, count, *lengths))
    back = [int(axis) for axis in np.argsort(order(spatial, len(rest)))]
    whole = [length * side for length, side in zip(lengths, sides, strict=False)]
    joined = net("Reshape", net("Transpose", parts, perm=back), net.integers(count, *whole, *rest))
    cut = [(axis + 1, pair, whole[axis]) for axis, pair in enumerate(crops) if any(pair)]
    if not cut:
        return joined
    starts, ends = [pair[0] for _, pair, _ in cut], [length - pair[1] for _, pair, length in cut]
    axes = [axis for axis, _, _ in cut]
    return net("Slice", joined, *(net.integers(*numbers) for numbers in (starts, ends, axes, [1] * len(cut))))


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """The three operators around images ``[1, 9, 12, 2]``, channels last."""

    sides: Sequence[int] = (2, 3)
    edges: Pairs = ((2, 3), (3, 3))
    crops: Pairs = ((0, 0), (0, 0))
    attributes: dict[str, Any] | None = None
    sizes: tuple[int, int] = (9, 12)

    def build(self, net: Net, between: Callable[[ir.Value], ir.Value] = lambda value: value) -> ir.Value:
        samples = samples_of(net, net.input(1, *self.sizes, 2), self.sides, self.edges)
        found = net.conv(net.to_nchw(samples), 4, **(self.attributes or {"kernel": 2}))
        return image_of(net, net.to_nhwc(between(found)), self.sides, self.crops)


def dilated(model: ir.Model) -> list[int]:
    (node,) = [node for node in model.graph if node.op_type == "Conv"]
    return [*node.attributes["dilations"].as_ints(), *node.attributes["pads"].as_ints()]


def test_a_convolution_of_blocks_is_a_dilated_one() -> None:
    net = Net()
    model = net.model(Pattern(crops=((1, 2), (0, 1))).build(net))
    before = [name for layer in origins(model) for name in layer]
    report = normalised(model, DilateConv)
    assert op_types(model) == ["Transpose", "Conv", "Transpose"]
    assert dilated(model) == [2, 3, 1, 3, 1, 2]
    assert sorted(origins(model)[1]) == sorted(before)
    assert reasons(report, DilateConv) == []


def test_channels_second_have_blocks_of_one() -> None:
    net = Net()
    samples = samples_of(net, net.input(1, 2, 8, 9), (1, 2, 3), ((0, 0), (2, 2), (3, 3)))
    model = net.model(image_of(net, net.conv(samples, 4, 3), (1, 2, 3), ((0, 0), (1, 0), (0, 2))))
    normalised(model, DilateConv)
    assert op_types(model) == ["Conv"]
    assert dilated(model) == [2, 3, 1, 3, 2, 1]


def test_volumes_have_blocks_in_three_dimensions() -> None:
    net = Net()
    samples = samples_of(net, net.input(1, 1, 4, 6, 8), (1, 2, 3, 2), ((0, 0), (2, 0), (3, 0), (0, 2)))
    found = net("Conv", samples, net.weights(3, 1, 2, 2, 2))
    model = net.model(image_of(net, found, (1, 2, 3, 2), ((0, 0),) * 4))
    normalised(model, DilateConv)
    assert dilated(model) == [2, 3, 2, 2, 3, 0, 0, 0, 2]


def test_sequences_are_images_without_height() -> None:
    net = Net()
    samples = samples_of(net, net.input(1, 11, 2), (4,), ((8, 1),))
    batch, length, depth = shape_of(samples)
    tall = net("Reshape", samples, net.integers(batch, 1, length, depth))
    found = net.to_nhwc(net("Conv", net.to_nchw(tall), net.weights(3, 2, 1, 3)))
    flat = net("Reshape", found, net.integers(batch, length - 2, 3))
    model = net.model(image_of(net, flat, (4,), ((0, 1),)))
    normalised(model, DilateConv)
    assert op_types(model) == ["Reshape", "Transpose", "Conv", "Transpose", "Reshape"]
    assert dilated(model) == [1, 4, 0, 8, 0, 0]


NUMBERS = st.tuples(st.integers(0, 3), st.integers(0, 3))


@FEW
@given(
    sides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    sizes=st.tuples(st.integers(2, 8), st.integers(2, 8)),
    low=NUMBERS,
    crops=st.tuples(NUMBERS, NUMBERS),
    pads=st.tuples(*[st.integers(0, 1)] * 4),
    step=st.integers(1, 2),
)
def test_every_convolution_of_blocks_keeps_its_numbers(
    *,
    sides: tuple[int, int],
    sizes: tuple[int, int],
    low: tuple[int, int],
    crops: Pairs,
    pads: tuple[int, ...],
    step: int,
) -> None:
    edges = [(first, -(size + first) % side + 2 * side) for size, first, side in zip(sizes, low, sides, strict=True)]
    whole = [size + sum(edge) for size, edge in zip(sizes, edges, strict=True)]
    places = [n // s + low + high - step for n, s, low, high in zip(whole, sides, pads[:2], pads[2:], strict=True)]
    left = [n * s - sum(crop) for n, s, crop in zip(places, sides, crops, strict=True)]
    assume(min(*places, *left) > 0)
    attributes = {"kernel": 2, "dilations": (step, step), "pads": pads}
    net = Net()
    pattern = Pattern(sides=sides, edges=edges, crops=crops, attributes=attributes, sizes=sizes)
    model = net.model(pattern.build(net))
    report = normalised(model, DilateConv)
    refused = reasons(report, DilateConv)
    assert len(refused) + (op_types(model) == ["Transpose", "Conv", "Transpose"]) == 1
    assert set(refused) <= {"more is cut off than is padded"}


PLAIN = Pattern()
REFUSED: dict[str, tuple[Pattern, str]] = {
    "steps": (replace(PLAIN, attributes={"kernel": 1, "strides": (1, 2)}, sizes=(9, 12)), "has steps"),
    "automatic padding": (replace(PLAIN, attributes={"kernel": 1, "auto_pad": "SAME_UPPER"}), "pads automatically"),
    "channels": (replace(PLAIN, sides=(1, 1, 2), edges=((0, 0),) * 3, crops=((0, 0),) * 3), "channels have blocks"),
    "crops": (replace(PLAIN, crops=((3, 0), (0, 0))), "more is cut off than is padded"),
}


@pytest.mark.parametrize(("pattern", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_blocks_stay(pattern: Pattern, reason: str) -> None:
    net = Net()
    model = net.model(pattern.build(net))
    before = op_types(model)
    report = normalised(model, DilateConv)
    assert op_types(model) == before
    assert [reason in found for found in reasons(report, DilateConv)] == [True]


def test_a_result_that_is_quantized_in_another_way_stays() -> None:
    net = Net()
    model = net.model(PLAIN.build(net, between=lambda value: annotated(value, int8())))
    before = op_types(model)
    report = normalised(model, DilateConv)
    assert op_types(model) == before
    assert ["quantized in another way" in found for found in reasons(report, DilateConv)] == [True]


def test_a_value_in_between_that_others_read_stays() -> None:
    net = Net()
    seen: list[ir.Value] = []

    def between(value: ir.Value) -> ir.Value:
        seen.append(value)
        return value

    found = PLAIN.build(net, between=between)
    model = net.model(found, net("Neg", seen[0]))
    before = op_types(model)
    normalised(model, DilateConv)
    assert op_types(model) == before


@pytest.mark.parametrize("op_type", ["Pad", "Reshape", "Transpose", "Conv"])
def test_a_value_in_between_that_is_a_cut_stays(op_type: str) -> None:
    net = Net()
    model = net.model(PLAIN.build(net))
    cut = next(node.outputs[0] for node in model.graph if node.op_type == op_type)
    before = op_types(model)
    normalised(model, DilateConv, keep=[cut])
    if op_type == "Pad":
        # What is in front of the blocks may be: it is their image then.
        assert op_types(model) == ["Pad", "Transpose", "Conv", "Transpose"]
    else:
        assert op_types(model) == before


def test_blocks_of_other_sides_are_no_image_of_these() -> None:
    net = Net()
    samples = samples_of(net, net.input(1, 8, 12, 2), (2, 3), ((0, 0), (0, 0)))
    model = net.model(image_of(net, net.to_nhwc(net.conv(net.to_nchw(samples), 4)), (3, 2), ((0, 0), (0, 0))))
    before = op_types(model)
    normalised(model, DilateConv)
    assert op_types(model) == before


def test_all_passes_leave_a_convolution_with_its_padding() -> None:
    net = Net()
    model = net.model(Pattern(crops=((0, 1), (0, 0))).build(net))
    normalised(model)
    assert op_types(model) == ["Transpose", "Conv", "Transpose"]
