"""Sparse constants made dense.

The schema stores a tensor as a tree: a level per dimension in traversal order, first those of the tensor (counted in
blocks), then those inside a block. A dense level has every index; a compressed one lists, for each node of the level
above, the indices that are there. The items are the leaves in order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synap_core.api import GraphError
from synap_frontend_tflite.flatbuffer import Generated

DENSE, COMPRESSED = 0, 1
"""Formats of a level (``DimensionType`` of the schema)."""


@dataclass(frozen=True, slots=True)
class _Level:
    """One dimension of the tree.

    Attributes:
        size: Indices it has.
        step: Items between neighbouring indices in the dense tensor.
        metadata: ``DimensionMetadata`` of the schema's object API.
    """

    size: int
    step: int
    metadata: Generated


def dense(items: np.ndarray, shape: tuple[int, ...], sparsity: Generated, *, slack: int = 0) -> np.ndarray:
    """Make a sparse tensor dense; what is not stored is 0.

    Args:
        items: The stored items, flat.
        shape: Shape of the tensor. The caller bounds its size, which bounds the work.
        sparsity: ``SparsityParameters`` of the schema's object API.
        slack: Items that may stand behind those of the tensor, to fill a byte.

    Raises:
        GraphError: The encoding is damaged.
    """
    size = math.prod(shape)
    # Where each node of the level reached so far begins in the dense tensor.
    offsets = np.zeros(1, np.int64)
    for level in _levels(shape, sparsity):
        offsets = _children(offsets, level, size)
    if not len(offsets) <= items.size <= len(offsets) + slack:
        _damaged(f"{items.size} items for {len(offsets)} places")
    result = np.zeros(size, items.dtype)
    result[offsets] = items[: len(offsets)]
    return result.reshape(shape)


def _levels(shape: tuple[int, ...], sparsity: Generated) -> list[_Level]:
    order, metadata = _integers(sparsity.traversalOrder), list(sparsity.dimMetadata or [])
    rank = len(shape)
    if sorted(order) != list(range(len(order))) or len(metadata) != len(order) or len(order) < rank:
        _damaged(f"the traversal order {order} of {len(metadata)} levels")
    blocks = _blocks(shape, _integers(sparsity.blockMap), dict(zip(order, metadata, strict=True)))
    steps = [math.prod(shape[axis + 1 :]) for axis in range(rank)]
    levels = []
    for number, table in zip(order, metadata, strict=True):
        if number < rank:
            block = blocks.get(number, 1)
            levels.append(_Level(shape[number] // block, steps[number] * block, table))
        else:
            axis = _integers(sparsity.blockMap)[number - rank]
            levels.append(_Level(blocks[axis], steps[axis], table))
    return levels


def _blocks(shape: tuple[int, ...], axes: list[int], metadata: dict[int, Generated]) -> dict[int, int]:
    """Sizes of the blocks by the dimension they divide."""
    rank = len(shape)
    if len(axes) != len(metadata) - rank or len(set(axes)) < len(axes) or any(not 0 <= a < rank for a in axes):
        _damaged(f"the block map {axes} for {len(metadata)} levels of {rank} dimensions")
    blocks = {}
    for position, axis in enumerate(axes):
        block = int(metadata[rank + position].denseSize)
        if block < 1 or shape[axis] % block:
            _damaged(f"blocks of {block} in a dimension of {shape[axis]}")
        blocks[axis] = block
    return blocks


def _children(offsets: np.ndarray, level: _Level, limit: int) -> np.ndarray:
    """Where the nodes of the next level begin."""
    if level.metadata.format == DENSE:
        if int(level.metadata.denseSize) != level.size:
            _damaged(f"a level of {level.metadata.denseSize} indices where {level.size} are needed")
        if len(offsets) * level.size > limit:
            _damaged("more items than the tensor has")
        return (offsets[:, None] + np.arange(level.size, dtype=np.int64) * level.step).reshape(-1)
    if level.metadata.format != COMPRESSED:
        _damaged(f"a level of format {level.metadata.format}")
    segments, indices = _vector(level.metadata.arraySegments), _vector(level.metadata.arrayIndices)
    counts = np.diff(segments)
    if len(counts) != len(offsets) or segments[0] != 0 or segments[-1] != len(indices) or (counts < 0).any():
        _damaged(f"{len(segments)} segment bounds of {len(indices)} indices for {len(offsets)} rows")
    if len(indices) > limit or (len(indices) and not 0 <= indices.min() <= indices.max() < level.size):
        _damaged(f"an index outside a level of {level.size}")
    children: np.ndarray = np.repeat(offsets, counts) + indices * level.step
    return children


def _vector(table: Generated) -> np.ndarray:
    values = None if table is None else table.values
    return np.asarray([] if values is None else values, np.int64)


def _integers(values: Sequence[int] | None) -> list[int]:
    return [] if values is None else [int(value) for value in values]


def _damaged(what: str) -> None:
    msg = f"a sparse constant is damaged: {what}"
    raise GraphError(msg)
