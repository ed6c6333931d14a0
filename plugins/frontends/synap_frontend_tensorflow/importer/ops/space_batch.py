"""Blocks of pixels turned into samples, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.ops.padding import padded
from synap_frontend_tensorflow.importer.ops.reshaping import moved, reshaped
from synap_frontend_tensorflow.importer.ops.slicing import sliced
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of pixels; one number for each dimension that has any, from the one behind the samples on.

    Attributes:
        sides: Of the blocks.
        before: Pixels that are added, or cut off, in front.
        after: Those behind.
    """

    sides: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@operator("SpaceToBatchND", "SpaceToBatch")
def space_to_batch_nd(call: Call) -> ir.Value:
    """Pixels of one place in their blocks become a sample of their own; zeros are put around the image before."""
    blocks = _blocks(call)
    spatial = len(blocks.sides)
    batch, *image = shape_of(call.input(0))
    depth = image[spatial:]
    whole = [sum(parts) for parts in zip(blocks.before, image[:spatial], blocks.after, strict=True)]
    if any(length % side for length, side in zip(whole, blocks.sides, strict=True)):
        msg = f"blocks of {list(blocks.sides)} of {whole} pixels"
        raise UnsupportedError(msg)
    rest = [0] * len(depth)
    x = padded(call, call.input(0), [0, *blocks.before, *rest], [0, *blocks.after, *rest])
    steps = [length // side for length, side in zip(whole, blocks.sides, strict=True)]
    pairs = [length for pair in zip(steps, blocks.sides, strict=True) for length in pair]
    parts = reshaped(call, x, [batch, *pairs, *depth])
    turned = moved(call, "Transpose", parts, perm=_sides_first(spatial, len(depth)))
    return reshaped(call, turned, [batch * math.prod(blocks.sides), *steps, *depth])


@operator("BatchToSpaceND", "BatchToSpace")
def batch_to_space_nd(call: Call) -> ir.Value:
    """Samples become pixels of one place in their blocks; what is too much at the edges is cut off afterwards."""
    crops = _blocks(call)
    spatial = len(crops.sides)
    batch, *small = shape_of(call.input(0))
    depth = small[spatial:]
    samples, left = divmod(batch, math.prod(crops.sides))
    whole = [length * side for length, side in zip(small[:spatial], crops.sides, strict=True)]
    kept = [range(low, size - high) for low, high, size in zip(crops.before, crops.after, whole, strict=True)]
    if left or any(places.stop < places.start for places in kept):
        msg = f"{batch} samples of {small[:spatial]} pixels for blocks of {list(crops.sides)} cut by "
        msg += f"{list(crops.before)} and {list(crops.after)}"
        raise UnsupportedError(msg)
    parts = reshaped(call, call.input(0), [*crops.sides, samples, *small])
    order = [int(axis) for axis in np.argsort(_sides_first(spatial, len(depth)))]
    image = reshaped(call, moved(call, "Transpose", parts, perm=order), [samples, *whole, *depth])
    return sliced(call, image, [range(samples), *kept, *map(range, depth)])


def _blocks(call: Call) -> Blocks:
    """Sides of the blocks and the edges; the older operators have the sides of two dimensions as an attribute."""
    rank = len(shape_of(call.input(0)))
    sides = call.integers(1) if call.type.endswith("ND") else (call.integer("block_size"),) * 2
    ends = call.integers(2 if call.type.endswith("ND") else 1)
    if len(ends) != 2 * len(sides) or not 0 < len(sides) < rank or min(sides) < 1 or min(ends) < 0:
        msg = f"blocks of {list(sides)} and edges of {list(ends)} pixels of the shape {list(shape_of(call.input(0)))}"
        raise UnsupportedError(msg)
    return Blocks(sides, ends[::2], ends[1::2])


def _sides_first(spatial: int, depth: int) -> list[int]:
    """Order that takes ``[N, (steps, side) per dimension, ...]`` to ``[sides, N, steps, ...]``."""
    steps, sides = range(1, 1 + 2 * spatial, 2), range(2, 2 + 2 * spatial, 2)
    return [*sides, 0, *steps, *range(1 + 2 * spatial, 1 + 2 * spatial + depth)]
