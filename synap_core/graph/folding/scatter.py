"""Updates of single items. Two of one item have no order, so they are not computed."""

from __future__ import annotations

import math

import numpy as np

from synap_core.graph.folding.registry import Array, Computed, Constants, computes


@computes("ScatterElements", any_type=True)
def scatter_elements(node: Constants) -> Computed:
    """Each index takes the place of its own along the axis."""
    data, indices = node.items(0), node.items(1)
    axis = node.axis(data.ndim, 0)
    places = list(np.ogrid[tuple(map(slice, indices.shape))])
    places[axis] = _wrapped(node, indices, data.shape[axis])
    flat = np.ravel_multi_index(np.broadcast_arrays(*places), data.shape)
    return _updated(node, data, np.asarray(flat), data.size)


@computes("ScatterND", any_type=True)
def scatter_nd(node: Constants) -> Computed:
    """Each list of indices names a slice."""
    data, indices = node.items(0), node.items(1)
    depth = indices.shape[-1]
    flat = np.zeros(indices.shape[:-1], np.int64)
    for axis in range(depth):
        flat = flat * data.shape[axis] + _wrapped(node, indices[..., axis], data.shape[axis])
    return _updated(node, data, flat, math.prod(data.shape[:depth]))


def _wrapped(node: Constants, indices: Array, dim: int) -> Array:
    """Indices counted from the front."""
    node.require(bool(((indices >= -dim) & (indices < dim)).all()), f"an index is out of the range of {dim}")
    return np.where(indices < 0, indices + dim, indices).astype(np.int64)


def _updated(node: Constants, data: Array, places: Array, count: int) -> Computed:
    """A copy of the data, as ``count`` slices, with those at some places replaced."""
    if node.word("reduction", "none", ("none", "add", "mul", "max", "min")) != "none":
        return None
    places = places.reshape(-1)
    if len(np.unique(places)) != places.size:
        return None
    if data.size and places.size:
        data = data.copy()
        data.reshape(count, -1)[places] = node.items(2).reshape(places.size, -1)
    return [data]
