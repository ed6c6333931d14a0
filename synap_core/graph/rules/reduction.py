"""Operators that reduce dimensions to one item."""

from __future__ import annotations

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType

REDUCTIONS = tuple(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)


@rule(*REDUCTIONS)
def reduction(node: Operands) -> list[TensorType]:
    """The dimensions reduced become 1, or vanish."""
    first = node.type(0)
    axes = reduced_axes(node, first.rank)
    keep = node.flag("keepdims", 1)
    dims = [1 if axis in axes else dim for axis, dim in enumerate(first.shape) if keep or axis not in axes]
    return [TensorType(first.dtype, tuple(dims))]


def reduced_axes(node: Operands, rank: int) -> tuple[int, ...]:
    """Axes that a reduction reduces: those of its second input; without any all, or none if it says so."""
    given = node.known_integers(1) if node.has(1) else ()
    if not given:
        return () if node.flag("noop_with_empty_axes") else tuple(range(rank))
    return node.axes_of(given, rank)
