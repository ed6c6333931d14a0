"""Operators that keep the items and their order, and give them another shape."""

from __future__ import annotations

import math

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType


@rule("Reshape")
def reshape(node: Operands) -> list[TensorType]:
    """The shape given: 0 takes over the input's dimension (unless ``allowzero``), a single -1 takes what is left."""
    first = node.type(0)
    wanted = node.known_integers(1)
    dims = list(wanted) if node.flag("allowzero") else _taken_over(node, first, wanted)
    if dims.count(-1) == 1:
        known = -math.prod(dims)
        dims[dims.index(-1)] = first.size // known if known > 0 else 0
    if min(dims, default=0) < 0 or math.prod(dims) != first.size:
        node.refuse(f"a tensor of shape {list(first.shape)} does not have the shape {list(wanted)}")
    return [TensorType(first.dtype, tuple(dims))]


def _taken_over(node: Operands, first: TensorType, wanted: tuple[int, ...]) -> list[int]:
    if any(dim == 0 for dim in wanted[first.rank :]):
        node.refuse(f"shape {list(wanted)} takes over a dimension that {list(first.shape)} does not have")
    return [dim or first.shape[axis] for axis, dim in enumerate(wanted)]


@rule("Flatten")
def flatten(node: Operands) -> list[TensorType]:
    """A matrix: the dimensions before the axis, and the others."""
    first = node.type(0)
    axis = node.integer("axis", 1)
    node.require(-first.rank <= axis <= first.rank, f"axis {axis} of a tensor of {first.rank} dimensions")
    axis = axis + first.rank if axis < 0 else axis
    return [TensorType(first.dtype, (math.prod(first.shape[:axis]), math.prod(first.shape[axis:])))]


@rule("Squeeze")
def squeeze(node: Operands) -> list[TensorType]:
    """Without dimensions of 1: those given, or all."""
    first = node.type(0)
    ones = [axis for axis, dim in enumerate(first.shape) if dim == 1]
    axes = node.axes_of(node.known_integers(1), first.rank) if node.has(1) else ones
    node.require(bool(axes) or not ones, "its list of axes is empty, which runtimes read as all or as none")
    node.require(set(axes) <= set(ones), f"axes {list(axes)} of shape {list(first.shape)} are not all 1")
    return [TensorType(first.dtype, tuple(dim for axis, dim in enumerate(first.shape) if axis not in axes))]


@rule("Unsqueeze")
def unsqueeze(node: Operands) -> list[TensorType]:
    """With more dimensions of 1, at the axes of the result given."""
    first = node.type(0)
    given = node.known_integers(1)
    axes = node.axes_of(given, first.rank + len(given))
    dims = list(first.shape)
    for axis in sorted(axes):
        dims.insert(axis, 1)
    return [TensorType(first.dtype, tuple(dims))]
