"""Operators that pick items by their indices, or find the indices."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType

REDUCTIONS = ("none", "add", "mul", "max", "min")


@rule("Gather")
def gather(node: Operands) -> list[TensorType]:
    """The dimension of the axis replaced by those of the indices."""
    data, indices = node.type(0), node.type(1)
    axis = node.axis(data.rank, 0)
    return [TensorType(data.dtype, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))]


@rule("GatherElements")
def gather_elements(node: Operands) -> list[TensorType]:
    """Of the shape of the indices, which fit into the data but along the axis."""
    data, indices = node.type(0), node.type(1)
    _fit_along(node, data, indices)
    return [TensorType(data.dtype, indices.shape)]


def _fit_along(node: Operands, data: TensorType, indices: TensorType) -> None:
    axis = node.axis(data.rank, 0)
    if indices.rank != data.rank or any(
        i > d for at, (i, d) in enumerate(zip(indices.shape, data.shape, strict=True)) if at != axis
    ):
        node.refuse(f"indices of shape {list(indices.shape)} for data of shape {list(data.shape)} along axis {axis}")


@rule("GatherND")
def gather_nd(node: Operands) -> list[TensorType]:
    """A slice of the data for each index."""
    data, indices = node.ranked(0, 1), node.ranked(1, 1)
    batch, depth = node.integer("batch_dims", 0), indices.shape[-1]
    if not 0 <= batch < indices.rank or data.shape[:batch] != indices.shape[:batch] or batch + depth > data.rank:
        node.refuse(
            f"indices of shape {list(indices.shape)} for data of shape {list(data.shape)} with batch_dims {batch}"
        )
    return [TensorType(data.dtype, indices.shape[:-1] + data.shape[batch + depth :])]


@rule("ScatterElements")
def scatter_elements(node: Operands) -> list[TensorType]:
    """As the data; there is one update for each index."""
    data, indices = node.type(0), node.type(1)
    _fit_along(node, data, indices)
    node.shaped(2, *indices.shape)
    node.word("reduction", "none", REDUCTIONS)
    return [data]


@rule("ScatterND")
def scatter_nd(node: Operands) -> list[TensorType]:
    """As the data; there is an update slice for each index."""
    data, indices, updates = node.ranked(0, 1), node.ranked(1, 1), node.type(2)
    depth = indices.shape[-1]
    if depth > data.rank or updates.shape != indices.shape[:-1] + data.shape[depth:]:
        shapes = ", ".join(str(list(each.shape)) for each in (data, indices, updates))
        node.refuse(f"data, indices and updates of the shapes {shapes}")
    node.word("reduction", "none", REDUCTIONS)
    return [data]


@rule("ArgMax", "ArgMin")
def extreme(node: Operands) -> list[TensorType]:
    """Positions along the axis, int64."""
    first = node.type(0)
    axis = node.axis(first.rank, 0)
    node.require(first.shape[axis] > 0, f"axis {axis} of the shape {list(first.shape)} has no items")
    kept = (1,) if node.flag("keepdims", 1) else ()
    return [TensorType(ir.DataType.INT64, (*first.shape[:axis], *kept, *first.shape[axis + 1 :]))]


@rule("TopK")
def top_k(node: Operands) -> list[TensorType]:
    """Values, and their positions along the axis as int64."""
    first = node.type(0)
    axis = node.axis(first.rank, -1)
    node.shaped(1, 1)
    count = node.known_integer(1)
    node.require(0 <= count <= first.shape[axis], f"the {count} largest of {first.shape[axis]} along axis {axis}")
    shape = (*first.shape[:axis], count, *first.shape[axis + 1 :])
    return [TensorType(first.dtype, shape), TensorType(ir.DataType.INT64, shape)]


@rule("OneHot")
def one_hot(node: Operands) -> list[TensorType]:
    """The indices with one more dimension, as long as the depth."""
    indices = node.ranked(0, 1)
    depth = node.known(1)
    axis = node.axis(indices.rank + 1, -1)
    node.require(depth.size == 1 and bool(depth[0] >= 1), f"a depth of {depth.tolist()}, which must be at least 1")
    node.require(bool(depth[0] < 1 << 40), f"a depth of {depth[0]}, which is too large")
    node.shaped(2, 2)
    return [TensorType(node.type(2).dtype, (*indices.shape[:axis], int(depth[0]), *indices.shape[axis:]))]


@rule("TfIdfVectorizer")
def term_weights(node: Operands) -> list[TensorType]:
    """A weight for each term of the pool, of each row."""
    first = node.ranked(0, 1, 2)
    places = node.integers("ngram_indexes") or (-1,)
    node.require(min(places) >= 0, f"attribute ngram_indexes is {list(places)}, not a list of positions")
    return [TensorType(ir.DataType.FLOAT, (*first.shape[:-1], max(places) + 1))]


@rule("Compress")
def compress(node: Operands) -> list[TensorType]:
    """The items, or slices along an axis, for which a constant condition holds."""
    first, condition = node.type(0), node.ranked(1, 1, 1)
    axis = node.axis(first.rank) if "axis" in node.attributes else None
    dim = first.size if axis is None else first.shape[axis]
    node.require(condition.size <= dim, f"a condition of {condition.size} items for {dim}")
    count = int(np.count_nonzero(node.needed(1)))
    shape = (count,) if axis is None else (*first.shape[:axis], count, *first.shape[axis + 1 :])
    return [TensorType(first.dtype, shape)]


@rule("NonZero")
def non_zero(node: Operands) -> list[TensorType]:
    """Where items of a constant are not zero, ``(rank, n)``."""
    first = node.ranked(0, 1)
    return [TensorType(ir.DataType.INT64, (first.rank, int(np.count_nonzero(node.needed(0)))))]


@rule("NonMaxSuppression", "Unique")
def unpredictable(node: Operands) -> list[TensorType]:
    """How many items there are is known only when the network runs."""
    return node.refuse("the shape of its result depends on data")
