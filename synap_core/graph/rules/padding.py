"""Operators that add items at the edges, or cut them off."""

from __future__ import annotations

from collections.abc import Sequence

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType

MODES = ("constant", "reflect", "edge", "wrap")


@rule("Pad")
def pad(node: Operands) -> list[TensorType]:
    """Each dimension longer by its pads; negative ones cut off."""
    first = node.type(0)
    mode = node.word("mode", "constant", MODES)
    if node.has(2):
        node.require(node.type(2).size == 1, f"a fill value of shape {list(node.type(2).shape)}")
    dims = list(first.shape)
    for axis, (before, after) in pads_by_axis(node, first.rank).items():
        _check_source(node, mode, first.shape[axis] + min(before, 0) + min(after, 0), (before, after))
        dims[axis] += before + after
    return [TensorType(first.dtype, tuple(dims))]


def pads_by_axis(node: Operands, rank: int) -> dict[int, tuple[int, int]]:
    """Pads of a Pad before and after each axis that has any."""
    pads = node.known_integers(1)
    axes = node.axes_of(node.known_integers(3), rank) if node.has(3) else tuple(range(rank))
    node.require(len(pads) == 2 * len(axes), f"{len(pads)} pads for {len(axes)} axes, which need two each")
    return {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}


def _check_source(node: Operands, mode: str, left: int, pads: Sequence[int]) -> None:
    """All but a constant needs items to copy, ``left`` after cutting; a reflection does not repeat the edge."""
    copied = max(*pads, 0) if mode == "reflect" else 0
    if mode != "constant" and any(pads) and left <= copied:
        node.refuse(f"pads {list(pads)} in mode {mode} of {left} items")


@rule("CenterCropPad")
def center_crop_pad(node: Operands) -> list[TensorType]:
    """The dimensions given."""
    first = node.type(0)
    pads = centred_pads(node, first.shape)
    return [TensorType(first.dtype, tuple(dim + sum(pads.get(axis, ())) for axis, dim in enumerate(first.shape)))]


def centred_pads(node: Operands, shape: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Pads of a CenterCropPad before and after each axis that it changes; what is odd is added or cut off behind."""
    wanted = node.known_integers(1)
    axes = node.axes_of(node.integers("axes") or range(len(shape)), len(shape))
    if len(wanted) != len(axes) or min(wanted, default=0) < 0:
        node.refuse(f"the shape {list(wanted)} for {len(axes)} axes")
    more = {axis: dim - shape[axis] for axis, dim in zip(axes, wanted, strict=True)}
    before = {axis: count // 2 if count > 0 else -(-count // 2) for axis, count in more.items()}
    return {axis: (before[axis], count - before[axis]) for axis, count in more.items()}
