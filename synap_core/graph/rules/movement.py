"""Operators that move items: the result has items of the input, in other places."""

from __future__ import annotations

from collections.abc import Sequence

from synap_core.graph.rules.registry import Operands, broadcast, rule
from synap_core.graph.types import TensorType

_LARGEST = ((1 << 31) - 1, (1 << 63) - 1)


@rule("Transpose")
def transpose(node: Operands) -> list[TensorType]:
    """Dimensions rearranged; by default reversed."""
    first = node.type(0)
    return [TensorType(first.dtype, tuple(first.shape[axis] for axis in permutation(node, first.rank)))]


def permutation(node: Operands, rank: int) -> tuple[int, ...]:
    """The permutation of a Transpose, by default the reversed axes."""
    perm = node.integers("perm")
    perm = tuple(range(rank))[::-1] if perm is None else perm
    node.require(sorted(perm) == list(range(rank)), f"{list(perm)} is no permutation of {rank} dimensions")
    return perm


@rule("Concat")
def concat(node: Operands) -> list[TensorType]:
    """Dimensions along the axis added up; the others are the same."""
    found = node.all_types()
    axis = node.axis(found[0].rank)
    shapes = [list(each.shape) for each in found]
    others = {(len(shape), *shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    node.require(len(others) == 1, f"inputs of the shapes {', '.join(map(str, shapes))} along axis {axis}")
    total = sum(shape[axis] for shape in shapes)
    return [TensorType(found[0].dtype, (*shapes[0][:axis], total, *shapes[0][axis + 1 :]))]


@rule("Split")
def split(node: Operands) -> list[TensorType]:
    """Pieces along the axis."""
    first = node.type(0)
    axis = node.axis(first.rank, 0)
    dim = first.shape[axis]
    sizes = node.known_integers(1) if node.has(1) else equal_pieces(node, dim)
    if sum(sizes) != dim or len(sizes) != node.outputs or min(sizes) < 0:
        node.refuse(f"pieces of {list(sizes)} for {node.outputs} outputs from {dim} along axis {axis}")
    return [TensorType(first.dtype, (*first.shape[:axis], size, *first.shape[axis + 1 :])) for size in sizes]


def equal_pieces(node: Operands, dim: int) -> list[int]:
    """Sizes of a Split into a number of pieces: the same rounded up, the last one takes what is left."""
    count = node.positive("num_outputs")
    node.require(count == node.outputs, f"{count} pieces for {node.outputs} outputs")
    size = -(-dim // count)
    return [size] * (count - 1) + [dim - size * (count - 1)]


@rule("Slice")
def slices(node: Operands) -> list[TensorType]:
    """Along each axis as many items as the steps hit."""
    first = node.type(0)
    dims = list(first.shape)
    for axis, found in slice_ranges(node, first.shape).items():
        dims[axis] = len(found)
    return [TensorType(first.dtype, tuple(dims))]


def slice_ranges(node: Operands, shape: Sequence[int]) -> dict[int, range]:
    """Indices that a Slice takes along each axis; bounds beyond the tensor are drawn in."""
    starts, ends = node.known_integers(1), node.known_integers(2)
    axes = node.known_integers(3) if node.has(3) else tuple(range(len(starts)))
    steps = node.known_integers(4) if node.has(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        node.refuse(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes and {len(steps)} steps")
    node.require(0 not in steps, "a step is 0")
    if any(step < 0 and end in _LARGEST for step, end in zip(steps, ends, strict=True)):
        node.refuse(f"backwards to {max(ends)}, which runtimes read as the first item or as the last one")
    bounds = zip(node.axes_of(axes, len(shape)), starts, ends, steps, strict=True)
    return {axis: _hits(start, end, step, shape[axis]) for axis, start, end, step in bounds}


def _hits(start: int, end: int, step: int, dim: int) -> range:
    """Indices from ``start`` to before ``end``; negative bounds count from behind, once."""
    start = start + dim if start < 0 else start
    end = end + dim if end < 0 else end
    if dim == 0 or step > 0:
        return range(min(max(start, 0), dim), min(max(end, 0), dim), abs(step))
    return range(min(max(start, 0), dim - 1), min(max(end, -1), dim - 1), step)


@rule("Expand")
def expand(node: Operands) -> list[TensorType]:
    """Broadcast with the shape given."""
    first = node.type(0)
    wanted = node.known_integers(1)
    node.require(all(dim >= 0 for dim in wanted), f"shape {list(wanted)} has a negative dimension")
    return [TensorType(first.dtype, broadcast(node.op_type, first.shape, wanted))]


@rule("Tile")
def tile(node: Operands) -> list[TensorType]:
    """Each dimension repeated."""
    first = node.type(0)
    repeats = node.known_integers(1)
    if len(repeats) != first.rank or min(repeats, default=0) < 0:
        node.refuse(f"repeats {list(repeats)} for a tensor of shape {list(first.shape)}")
    return [TensorType(first.dtype, tuple(dim * times for dim, times in zip(first.shape, repeats, strict=True)))]


@rule("DepthToSpace")
def depth_to_space(node: Operands) -> list[TensorType]:
    """Channels become blocks of rows and columns."""
    first = node.ranked(0, 4, 4)
    block = node.positive("blocksize")
    node.word("mode", "DCR", ("DCR", "CRD"))
    batch, channels, height, width = first.shape
    node.require(channels % block**2 == 0, f"{channels} channels are no multiple of the block {block} squared")
    return [TensorType(first.dtype, (batch, channels // block**2, height * block, width * block))]


@rule("SpaceToDepth")
def space_to_depth(node: Operands) -> list[TensorType]:
    """Blocks of rows and columns become channels."""
    first = node.ranked(0, 4, 4)
    block = node.positive("blocksize")
    batch, channels, height, width = first.shape
    node.require(height % block == 0 == width % block, f"{height} by {width} is no multiple of the block {block}")
    return [TensorType(first.dtype, (batch, channels * block**2, height // block, width // block))]
