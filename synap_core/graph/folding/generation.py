"""Tensors made of their shape or of a few numbers."""

from __future__ import annotations

import numpy as np

from synap_core.graph.folding.registry import Computed, Constants, computes
from synap_core.graph.rules.generation import asked_dims, constant_array


@computes("Constant", any_type=True)
def constant(node: Constants) -> Computed:
    """The attribute."""
    return [constant_array(node)]


@computes("ConstantOfShape", any_type=True)
def constant_of_shape(node: Constants) -> Computed:
    """One number everywhere, by default 0."""
    value = node.array("value")
    fill = np.zeros(1, np.float32) if value is None else value.reshape(-1)
    return [np.broadcast_to(fill, (*node.results[0].shape, 1))[..., 0]]


@computes("Shape", any_type=True)
def shape(node: Constants) -> Computed:
    """The dimensions asked for."""
    return [np.asarray(asked_dims(node), np.int64)]


@computes("Size", any_type=True)
def size(node: Constants) -> Computed:
    """The number of items."""
    return [np.asarray(node.type(0).size, np.int64)]


@computes("Range")
def spread(node: Constants) -> Computed:
    """The start and all multiples of the step from it; only where adding the step again and again gives the same."""
    start, delta, count = node.items(0).reshape(-1), node.items(2).reshape(-1), node.results[0].shape[0]
    found = start + np.arange(count).astype(start.dtype) * delta
    added = np.cumsum(np.concatenate([start, np.broadcast_to(delta, max(count - 1, 0))]), dtype=start.dtype)[:count]
    return [found] if np.array_equal(found, added) else None


@computes("EyeLike")
def eye_like(node: Constants) -> Computed:
    """Ones on a diagonal."""
    rows, columns = node.results[0].shape
    return [np.eye(rows, columns, _diagonal(node.integer("k", 0), rows, columns), node.item_type)]


@computes("Trilu")
def triangle(node: Constants) -> Computed:
    """Zeros on one side of a diagonal."""
    array = node.items()
    offset = _diagonal(int(node.items(1).reshape(-1)[0]) if node.has(1) else 0, *array.shape[-2:])
    kept = np.tri(array.shape[-2], array.shape[-1], offset - 1 if node.flag("upper", 1) else offset, dtype=np.bool_)
    return [np.where(kept != node.flag("upper", 1), array, array.dtype.type(0))]


def _diagonal(offset: int, rows: int, columns: int) -> int:
    """An offset that NumPy can count with; all beyond the matrix are alike."""
    return max(min(offset, columns + 1), -rows - 1)


@computes("OneHot")
def one_hot(node: Constants) -> Computed:
    """The second value where the place along the new axis is the index, the first one elsewhere."""
    indices, values = node.items(0), node.items(2)
    if indices.dtype.kind not in "iu":
        return None
    axis = node.axis(indices.ndim + 1, -1)
    depth = node.results[0].shape[axis]
    wide = indices.astype(np.int64)
    places = np.arange(depth).reshape(-1, *[1] * (indices.ndim - axis))
    return [np.where(np.expand_dims(np.where(wide < 0, wide + depth, wide), axis) == places, values[1], values[0])]


@computes("NonZero")
def non_zero(node: Constants) -> Computed:
    """Where items are not zero, ``(rank, n)``."""
    return [np.asarray(np.nonzero(node.items()), np.int64).reshape(node.results[0].shape)]
