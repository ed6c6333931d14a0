"""Windows that convolutions and pools slide over the spatial dimensions of an input ``(N, C, D1, ..., Dn)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synap_core.graph.rules.registry import Operands

AUTO_PAD = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


@dataclass(frozen=True, slots=True)
class Window:
    """How a window moves; each tuple has one item per spatial dimension.

    Attributes:
        kernel: Its size in items, all at least 1.
        strides: Steps, all at least 1.
        dilations: Distance of its items, all at least 1.
        begins: Padding in front, not negative; 0 where ``auto_pad`` decides.
        ends: Padding behind, likewise.
        auto_pad: ``NOTSET``, ``SAME_UPPER``, ``SAME_LOWER`` or ``VALID``.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    auto_pad: str = "NOTSET"

    @property
    def extents(self) -> tuple[int, ...]:
        """Items of the input from the first to the last of the window."""
        return tuple((size - 1) * gap + 1 for size, gap in zip(self.kernel, self.dilations, strict=True))

    @property
    def is_same(self) -> bool:
        """Whether it is padded so that only the strides shrink the result."""
        return self.auto_pad.startswith("SAME")


def window_of(node: Operands, kernel: Sequence[int]) -> Window:
    """The window of a node whose kernel has a size; attributes that are absent have their defaults.

    Raises:
        GraphError: An attribute has the wrong length or a value out of range.
    """
    rank = len(kernel)
    auto_pad = node.word("auto_pad", "NOTSET", AUTO_PAD)
    pads = items(node, "pads", 2 * rank, 0)
    if auto_pad != "NOTSET":
        node.require(not any(pads), f"attribute pads is {list(pads)} beside auto_pad {auto_pad}")
    return Window(
        tuple(kernel),
        items(node, "strides", rank, 1),
        items(node, "dilations", rank, 1),
        pads[:rank],
        pads[rank:],
        auto_pad,
    )


def kernel_shape(node: Operands, rank: int) -> tuple[int, ...]:
    """The required attribute ``kernel_shape`` of a window of some rank."""
    node.require("kernel_shape" in node.attributes, "attribute kernel_shape is missing")
    return items(node, "kernel_shape", rank, 1)


def items(node: Operands, name: str, count: int, least: int) -> tuple[int, ...]:
    """An attribute that is a list of so many integers, with a lower limit, which is the default too.

    Raises:
        GraphError: It is not such a list.
    """
    found = node.integers(name)
    found = (least,) * count if found is None else found
    if len(found) != count or min(found, default=least) < least:
        node.refuse(f"attribute {name} is {list(found)}, not {count} integers of at least {least}")
    return found


def slid(node: Operands, dims: Sequence[int], window: Window, *, round_up: bool = False) -> tuple[int, ...]:
    """Positions of a window along each spatial dimension.

    Args:
        node: For messages.
        dims: Spatial dimensions of the input.
        window: What moves over them.
        round_up: Count a last position that hangs over the end, unless it begins behind the input (``ceil_mode``).

    Raises:
        GraphError: The window does not fit into the padded input.
    """
    if window.is_same:
        return tuple(-(-dim // stride) for dim, stride in zip(dims, window.strides, strict=True))
    result = []
    for axis, (dim, extent, stride) in enumerate(zip(dims, window.extents, window.strides, strict=True)):
        room = dim + window.begins[axis] + window.ends[axis] - extent
        count = (-(-room // stride) if round_up else room // stride) + 1
        count -= round_up and (count - 1) * stride >= dim + window.begins[axis]
        node.require(count > 0, f"a window of {extent} items in {room + extent}, with padding, of axis {axis + 2}")
        result.append(count)
    return tuple(result)
