"""Reductions and running sums; real numbers are summed in float64 and rounded once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from synap_core.graph.folding.registry import Array, Computed, Constants, computes, has_nan
from synap_core.graph.rules.reduction import reduced_axes

Axes = tuple[int, ...]


def _log_sum_exp(x: Array, axes: Axes, keep: bool) -> Array:
    """Shifted by the greatest item, so that nothing overflows."""
    top = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    shift = top if keep else np.squeeze(top, axes)
    return np.asarray(np.log(np.sum(np.exp(x - top), axis=axes, keepdims=keep)) + shift)


REAL: dict[str, Callable[[Array, Axes, bool], Array]] = {
    "ReduceL1": lambda x, axes, keep: np.sum(np.abs(x), axis=axes, keepdims=keep),
    "ReduceL2": lambda x, axes, keep: np.sqrt(np.sum(np.square(x), axis=axes, keepdims=keep)),
    "ReduceLogSum": lambda x, axes, keep: np.log(np.sum(x, axis=axes, keepdims=keep)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMean": lambda x, axes, keep: np.sum(x, axis=axes, keepdims=keep) / (x.size // max(_kept(x, axes), 1)),
    "ReduceProd": lambda x, axes, keep: np.prod(x, axis=axes, keepdims=keep),
    "ReduceSum": lambda x, axes, keep: np.sum(x, axis=axes, keepdims=keep),
    "ReduceSumSquare": lambda x, axes, keep: np.sum(np.square(x), axis=axes, keepdims=keep),
}

WRAPPING: dict[str, Callable[[Array, Axes, bool], Array]] = {
    "ReduceL1": lambda x, axes, keep: np.sum(np.abs(x), axis=axes, keepdims=keep, dtype=x.dtype),
    "ReduceProd": lambda x, axes, keep: np.prod(x, axis=axes, keepdims=keep, dtype=x.dtype),
    "ReduceSum": lambda x, axes, keep: np.sum(x, axis=axes, keepdims=keep, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: np.sum(np.square(x), axis=axes, keepdims=keep, dtype=x.dtype),
}
"""Of integers; their means and roots are rounded differently everywhere."""


def _kept(x: Array, axes: Axes) -> int:
    """Number of results of a reduction."""
    return int(np.prod([dim for axis, dim in enumerate(x.shape) if axis not in axes], dtype=np.int64))


@computes(*REAL)
def reduction(node: Constants) -> Computed:
    """Without any axes nothing is reduced, and the function of each item is left."""
    array, keep = node.items(), node.flag("keepdims", 1)
    axes = reduced_axes(node, array.ndim)
    if not array.size:
        return None
    if array.dtype.kind == "f":
        return [np.asarray(REAL[node.op_type](array.astype(np.float64), axes, keep)).astype(array.dtype)]
    found = WRAPPING.get(node.op_type)
    return None if found is None else [np.asarray(found(array, axes, keep))]


@computes("ReduceMax", "ReduceMin")
def extreme(node: Constants) -> Computed:
    """The greatest or the least item."""
    array = node.items()
    if has_nan(array) or not array.size:
        return None
    reduce = np.max if node.op_type == "ReduceMax" else np.min
    return [np.asarray(reduce(array, axis=reduced_axes(node, array.ndim), keepdims=node.flag("keepdims", 1)))]


@computes("ArgMax", "ArgMin")
def position(node: Constants) -> Computed:
    """The first or the last of equal ones."""
    array = node.items()
    axis, last = node.axis(array.ndim, 0), node.flag("select_last_index")
    if has_nan(array) or not array.size:
        return None
    find = np.argmax if node.op_type == "ArgMax" else np.argmin
    found = find(np.flip(array, axis) if last else array, axis=axis, keepdims=node.flag("keepdims", 1))
    return [np.asarray(array.shape[axis] - 1 - found if last else found, np.int64)]


@computes("CumSum")
def cumulative(node: Constants) -> Computed:
    """Sums of the items so far, one after the other in the type of the items."""
    array = node.items()
    axis = node.axis_of(int(node.items(1).reshape(-1)[0]), array.ndim)
    reverse = node.flag("reverse")
    array = np.flip(array, axis) if reverse else array
    found = np.cumsum(array, axis=axis, dtype=array.dtype)
    if node.flag("exclusive"):
        found = np.roll(found, 1, axis)
        found[(slice(None),) * axis + (slice(0, 1),)] = 0
    return [np.flip(found, axis) if reverse else found]
