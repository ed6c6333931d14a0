"""Blocks of pixels turned into channels or samples, and back."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.padding import padded
from synap_frontend_tflite.importer.ops.reshaping import keeps_quant, moved, reshaped, same_meaning
from synap_frontend_tflite.importer.ops.slicing import sliced
from synap_frontend_tflite.importer.registry import UnsupportedError, operator


@operator("SPACE_TO_DEPTH")
def space_to_depth(op: Operator) -> ir.Value:
    """Blocks of pixels become channels: those of the first pixel first, row by row."""
    same_meaning(op, 0)
    x, block = op.input(0), _block(op)
    if type_of(x).dtype == ir.DataType.FLOAT:
        return op.channels_last(_channelwise(op, "SpaceToDepth", block))
    batch, height, width, depth = shape_of(x)
    parts = reshaped(op, x, [batch, height // block, block, width // block, block, depth])
    turned = moved(op, "Transpose", parts, perm=[0, 1, 3, 2, 4, 5])
    return reshaped(op, turned, [batch, height // block, width // block, depth * block * block])


@operator("DEPTH_TO_SPACE")
def depth_to_space(op: Operator) -> ir.Value:
    """Channels become blocks of pixels: the first channels the first pixel, row by row."""
    same_meaning(op, 0)
    x, block = op.input(0), _block(op)
    if type_of(x).dtype == ir.DataType.FLOAT:
        return op.channels_last(_channelwise(op, "DepthToSpace", block, mode="DCR"))
    batch, height, width, depth = shape_of(x)
    parts = reshaped(op, x, [batch, height, width, block, block, depth // (block * block)])
    turned = moved(op, "Transpose", parts, perm=[0, 1, 3, 2, 4, 5])
    return reshaped(op, turned, [batch, height * block, width * block, depth // (block * block)])


def _channelwise(op: Operator, op_type: str, block: int, **attributes: str) -> ir.Value:
    x = op.channels_first(op.input(0))
    return keeps_quant(x, op.emit(op_type, x, blocksize=block, **attributes))


def _block(op: Operator) -> int:
    """Side of the blocks, which must divide the image, or their size the channels."""
    shape, block = shape_of(op.input(0)), op.integer("blockSize")
    lengths, part = (shape[3:], block * block) if op.type == "DEPTH_TO_SPACE" else (shape[1:3], block)
    if len(shape) != 4 or block < 1 or any(length % part for length in lengths):
        msg = f"blocks of {block}x{block} of the shape {list(shape)}"
        raise UnsupportedError(msg)
    return block


@operator("SPACE_TO_BATCH_ND")
def space_to_batch_nd(op: Operator) -> ir.Value:
    """Pixels of one place in their blocks become a sample of their own; zeros are put around the image before."""
    same_meaning(op, 0)
    sides, before, after = _windows(op)
    batch, spatial, depth = _split_shape(op.input(0), len(sides))
    whole = [sum(lengths) for lengths in zip(before, spatial, after, strict=True)]
    if any(length % side for length, side in zip(whole, sides, strict=True)):
        msg = f"blocks of {list(sides)} of {whole} pixels"
        raise UnsupportedError(msg)
    rest = [0] * len(depth)
    x = padded(op, op.input(0), [0, *before, *rest], [0, *after, *rest])
    steps = [length // side for length, side in zip(whole, sides, strict=True)]
    pairs = [length for pair in zip(steps, sides, strict=True) for length in pair]
    parts = reshaped(op, x, [batch, *pairs, *depth])
    turned = moved(op, "Transpose", parts, perm=_sides_first(len(sides), len(depth)))
    return reshaped(op, turned, [batch * math.prod(sides), *steps, *depth])


@operator("BATCH_TO_SPACE_ND")
def batch_to_space_nd(op: Operator) -> ir.Value:
    """Samples become pixels of one place in their blocks; what is too much at the edges is cut off afterwards."""
    same_meaning(op, 0)
    sides, before, after = _windows(op)
    batch, spatial, depth = _split_shape(op.input(0), len(sides))
    samples, left = divmod(batch, math.prod(sides))
    whole = [length * side for length, side in zip(spatial, sides, strict=True)]
    if left or any(sum(ends) > length for *ends, length in zip(before, after, whole, strict=True)):
        msg = f"{batch} samples of {list(spatial)} pixels for blocks of {list(sides)} cut by {before} and {after}"
        raise UnsupportedError(msg)
    parts = reshaped(op, op.input(0), [*sides, samples, *spatial, *depth])
    order = [int(axis) for axis in np.argsort(_sides_first(len(sides), len(depth)))]
    image = reshaped(op, moved(op, "Transpose", parts, perm=order), [samples, *whole, *depth])
    kept = [range(start, length - end) for start, end, length in zip(before, after, whole, strict=True)]
    return sliced(op, image, [range(samples), *kept, *map(range, depth)])


def _windows(op: Operator) -> tuple[tuple[int, ...], list[int], list[int]]:
    """Sides of the blocks, and the pixels that are padded or cut off before and after, for each spatial dimension."""
    sides, ends, rank = op.integers(1), op.integers(2), len(shape_of(op.input(0)))
    if len(ends) != 2 * len(sides) or not 0 < len(sides) < rank or min(sides) < 1 or min(ends) < 0:
        msg = f"blocks of {list(sides)} and edges of {list(ends)} pixels of the shape {list(shape_of(op.input(0)))}"
        raise UnsupportedError(msg)
    return sides, list(ends[::2]), list(ends[1::2])


def _split_shape(x: ir.Value, spatial: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    shape = shape_of(x)
    return shape[0], shape[1 : 1 + spatial], shape[1 + spatial :]


def _sides_first(spatial: int, depth: int) -> list[int]:
    """Order that takes ``[N, (steps, side) per dimension, ...]`` to ``[sides, N, steps, ...]``."""
    steps, sides = range(1, 1 + 2 * spatial, 2), range(2, 2 + 2 * spatial, 2)
    return [*sides, 0, *steps, *range(1 + 2 * spatial, 1 + 2 * spatial + depth)]
