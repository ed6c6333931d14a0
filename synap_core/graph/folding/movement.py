"""Operators that only move items: the integers of a quantized constant move just as well as real numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from synap_core.graph.folding.registry import Array, Computed, Constants, computes
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.rules.movement import permutation, slice_ranges


@dataclass(frozen=True, slots=True)
class Move:
    """How an operator moves the items of its first input.

    Attributes:
        change: Moves the items of an array.
        axis: Where an axis is afterwards that the move leaves whole; None for one that it does not.
    """

    change: Callable[[Array], Array]
    axis: Callable[[int], int | None]


def move(source: Array | QuantizedTensor, how: Move) -> Array | QuantizedTensor | None:
    """Move items; None where the channels of a quantized constant would not stay together."""
    if not isinstance(source, QuantizedTensor):
        return how.change(source)
    axis = source.quant.axis
    target = None if axis is None else how.axis(axis)
    return None if target is None and axis is not None else source.mapped(how.change, target)


def as_stored(node: Constants, position: int = 0) -> Array | QuantizedTensor:
    """An input as it is stored: a quantized constant stays one."""
    found = node.constants[position] if position < len(node.constants) else None
    return found if isinstance(found, QuantizedTensor) else node.items(position)


Moving = Callable[[Constants], Move]


def moves(*op_types: str) -> Callable[[Moving], Moving]:
    """Register a move as the computation of operators with one output."""

    def register(function: Moving) -> Moving:
        def compute(node: Constants) -> Computed:
            moved = move(as_stored(node), function(node))
            return None if moved is None else [moved]

        computes(*op_types, any_type=True)(compute)
        return function

    return register


def untouched(*touched: int) -> Callable[[int], int | None]:
    """Axes stay where they are; those touched are not whole afterwards."""
    return lambda axis: None if axis in touched else axis


@moves("Identity")
def identity(_: Constants) -> Move:
    """Every item stays."""
    return Move(lambda array: array, untouched())


@moves("Transpose")
def transpose(node: Constants) -> Move:
    """Axes rearranged."""
    perm = permutation(node, node.type(0).rank)
    return Move(lambda array: array.transpose(perm), perm.index)


@moves("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def reshape(node: Constants) -> Move:
    """Another shape; an axis is whole if it has as many items, and as many in front of it."""
    before, after = node.type(0).shape, node.results[0].shape

    def target(axis: int) -> int | None:
        wanted = math.prod(before[:axis]), before[axis]
        return next((to for to, dim in enumerate(after) if (math.prod(after[:to]), dim) == wanted), None)

    return Move(lambda array: array.reshape(after), target)


@moves("Slice")
def slices(node: Constants) -> Move:
    """Some of the items of some axes."""
    shape = node.type(0).shape
    ranges = slice_ranges(node, shape)
    index = tuple(_as_slice(ranges[axis]) if axis in ranges else slice(None) for axis in range(len(shape)))
    return Move(itemgetter(index), untouched(*(axis for axis, hit in ranges.items() if hit != range(shape[axis]))))


def _as_slice(hits: range) -> slice:
    """A range as a slice; one that runs backwards to the first item has no end."""
    return slice(hits.start, hits.stop if hits.stop >= 0 else None, hits.step) if hits else slice(0, 0)


@computes("Split", any_type=True)
def split(node: Constants) -> Computed:
    """One piece after the other."""
    axis = node.axis(node.type(0).rank, 0)
    start, pieces = 0, []
    for result in node.results:
        piece = (*[slice(None)] * axis, slice(start, start + result.shape[axis]))
        moved = move(as_stored(node), Move(itemgetter(piece), untouched(axis)))
        if moved is None:
            return None
        pieces.append(moved)
        start += result.shape[axis]
    return pieces


@computes("Concat", any_type=True)
def concat(node: Constants) -> Computed:
    """Quantized constants only with others of the same parameters, and not along their channels."""
    axis = node.axis(node.type(0).rank)
    tensors = [found for found in node.constants if isinstance(found, QuantizedTensor)]
    if not tensors:
        return [np.concatenate(node.all_items(), axis)]
    quant = tensors[0].quant
    if len(tensors) != len(node.constants) or any(each.quant != quant for each in tensors) or quant.axis == axis:
        return None
    return [QuantizedTensor(np.concatenate([each.integers for each in tensors], axis), quant)]


@moves("Gather")
def gather(node: Constants) -> Move:
    """Slices of an axis."""
    axis, indices = node.axis(node.type(0).rank, 0), node.items(1)
    more = indices.ndim - 1

    def target(other: int) -> int | None:
        return None if other == axis else other if other < axis else other + more

    return Move(lambda array: np.take(array, indices, axis), target)


@moves("GatherElements")
def gather_elements(node: Constants) -> Move:
    """An item for each index; the other indices are those of the index itself."""
    axis, indices = node.axis(node.type(0).rank, 0), node.items(1)
    part = tuple(slice(None) if at == axis else slice(dim) for at, dim in enumerate(indices.shape))
    return Move(lambda array: np.take_along_axis(array[part], indices, axis), lambda _: None)


@moves("GatherND")
def gather_nd(node: Constants) -> Move:
    """A slice for each list of indices."""
    batch, indices, shape = node.integer("batch_dims", 0), node.items(1), node.results[0].shape
    lead, depth = math.prod(indices.shape[:batch]), indices.shape[-1]
    lists = indices.reshape(lead, math.prod(indices.shape[batch:-1]), depth)

    def change(array: Array) -> Array:
        stacked: Array = array.reshape(lead, *array.shape[batch:])
        found: Array = stacked[(np.arange(lead)[:, None], *np.moveaxis(lists, -1, 0))]
        return found.reshape(shape)

    return Move(change, lambda _: None)


@moves("Expand")
def expand(node: Constants) -> Move:
    """Axes of one item repeated."""
    before, after = node.type(0).shape, node.results[0].shape
    more = len(after) - len(before)
    return Move(
        lambda array: np.broadcast_to(array, after),
        lambda axis: axis + more if before[axis] == after[axis + more] else None,
    )


@moves("Tile")
def tile(node: Constants) -> Move:
    """Axes repeated as a whole."""
    repeats = node.known_integers(1)
    return Move(
        lambda array: np.tile(array, repeats), untouched(*(at for at, times in enumerate(repeats) if times != 1))
    )


@moves("DepthToSpace")
def depth_to_space(node: Constants) -> Move:
    """Channels become blocks; ``DCR`` takes the place in the block from the upper digits of the channel."""
    block = node.positive("blocksize")
    batch, channels, height, width = node.type(0).shape
    upper = node.word("mode", "DCR", ("DCR", "CRD")) == "DCR"
    rest = channels // block**2
    split_up = (batch, block, block, rest, height, width) if upper else (batch, rest, block, block, height, width)
    order = (0, 3, 4, 1, 5, 2) if upper else (0, 1, 4, 2, 5, 3)
    shape = node.results[0].shape
    return Move(lambda array: array.reshape(split_up).transpose(order).reshape(shape), lambda _: None)


@moves("SpaceToDepth")
def space_to_depth(node: Constants) -> Move:
    """Blocks become channels, the place in the block in the upper digits."""
    block = node.positive("blocksize")
    batch, channels, height, width = node.type(0).shape
    split_up = (batch, channels, height // block, block, width // block, block)
    shape = node.results[0].shape
    return Move(lambda array: array.reshape(split_up).transpose(0, 3, 5, 1, 2, 4).reshape(shape), lambda _: None)


@moves("ReverseSequence")
def reverse_sequence(node: Constants) -> Move:
    """The first items of each sequence of the batch, backwards."""
    time, lengths = node.integer("time_axis", 0), node.items(1).astype(np.int64)
    steps = node.type(0).shape[time]
    if not ((lengths >= 0) & (lengths <= steps)).all():
        node.refuse(f"lengths out of 0 to {steps}")
    at = np.arange(steps)[:, None]
    source = np.where(at < lengths, lengths - 1 - at, at)
    index = (source, np.arange(len(lengths))) if time == 0 else (np.arange(len(lengths))[:, None], source.T)
    return Move(itemgetter(index), untouched(0, 1))


@moves("Compress")
def compress(node: Constants) -> Move:
    """The items, or slices along an axis, for which the condition holds."""
    kept = np.flatnonzero(node.items(1))
    if "axis" not in node.attributes:
        return Move(lambda array: array.reshape(-1)[kept], lambda _: None)
    axis = node.axis(node.type(0).rank)
    return Move(lambda array: np.take(array, kept, axis), untouched(axis))
