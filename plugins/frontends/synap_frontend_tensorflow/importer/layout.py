"""Where the channels are: ``data_format``, and windows that move over the other dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.api import Attribute, Twin, set_twin, shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.registry import UnsupportedError

FORMATS = {"NHWC": (4, False), "NCHW": (4, True), "NDHWC": (5, False), "NCDHW": (5, True)}
"""Number of dimensions, and whether channels are second, by the names of the formats."""

FURTHEST = (1 << 31) - 1
"""Pixels that a window may reach or move: the numbers in files have 64 bits, and runtimes add them up."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Order of the dimensions of images or volumes.

    Attributes:
        rank: How many there are.
        first: Whether channels are the second dimension; else they are the last one.
    """

    rank: int
    first: bool

    @property
    def channels(self) -> int:
        """Dimension of the channels."""
        return 1 if self.first else self.rank - 1

    def spatial(self, items: Sequence[int]) -> tuple[int, ...]:
        """Those items of one per dimension that belong to height and width (and depth)."""
        return tuple(items[2:] if self.first else items[1:-1])

    def entered(self, call: Call, value: ir.Value) -> ir.Value:
        """A value with its channels second.

        Raises:
            UnsupportedError: It has another number of dimensions.
        """
        if len(shape_of(value)) != self.rank:
            msg = f"a tensor of shape {list(shape_of(value))}; {self.rank} dimensions are needed"
            raise UnsupportedError(msg)
        if self.first:
            return value
        return call.channels_first(value) if self.rank == 4 else call.emit("Transpose", value, perm=(0, 4, 1, 2, 3))

    def left(self, call: Call, value: ir.Value) -> ir.Value:
        """A result with its channels second in this order; noted on it whose twin it is."""
        if self.first:
            return value
        if self.rank == 4:
            return call.channels_last(value)
        if value.producer() is not None:
            set_twin(value, Twin(call.tensors[0], (0, 4, 1, 2, 3)))
        return call.emit("Transpose", value, perm=(0, 2, 3, 4, 1))


def layout_of(call: Call, default: str = "NHWC") -> Layout:
    """Layout that the attribute ``data_format`` names.

    Args:
        call: The operator.
        default: What an absent attribute stands for; tells the number of dimensions.

    Raises:
        UnsupportedError: It is not known, or one of another number of dimensions.
    """
    name = call.text("data_format", default)
    rank, first = FORMATS.get(name, (0, False))
    if rank != FORMATS[default][0]:
        msg = f"the data format {name}"
        raise UnsupportedError(msg)
    return Layout(rank, first)


def steps(layout: Layout, items: Sequence[int], what: str) -> tuple[int, ...]:
    """Steps over height and width (and depth) of one number per dimension.

    Args:
        layout: Order of the dimensions.
        items: The numbers.
        what: What they are, for the message.

    Raises:
        UnsupportedError: One is not positive, or there are steps over samples or channels.
    """
    found = layout.spatial(items)
    if len(items) != layout.rank or min(items) < 1 or items[0] != 1 or items[layout.channels] != 1:
        msg = f"{what} of {list(items)}; they must be positive, and 1 for samples and channels"
        raise UnsupportedError(msg)
    return found


@dataclass(frozen=True, slots=True)
class Window:
    """A window that moves over height and width (and depth); one number per dimension.

    Attributes:
        kernel: Its sides.
        strides: Steps from one place to the next.
        dilations: Distance of its items.
        before: Padding in front.
        after: Padding behind.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """Pixels from its first to its last item."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def places(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """How many places it has in an image of these sizes."""
        parts = zip(sizes, self.extents, self.strides, self.before, self.after, strict=True)
        return tuple((low + size + high - extent) // step + 1 for size, extent, step, low, high in parts)

    def attributes(self, *, dilated: bool = True) -> dict[str, Attribute]:
        """What a Conv or a pool (not dilated) is told."""
        more: dict[str, Attribute] = {"dilations": self.dilations} if dilated else {}
        pads = (*self.before, *self.after)
        return {"kernel_shape": self.kernel, "strides": self.strides, "pads": pads} | more


def window_of(
    call: Call,
    layout: Layout,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None = None,
) -> Window:
    """The window of the attributes ``strides``, ``dilations``, ``padding`` and ``explicit_paddings``.

    ``SAME`` adds what the last window lacks, half of it (rounded down) in front, the rest behind.

    Args:
        call: The operator.
        layout: Order of the dimensions.
        sizes: Height and width (and depth) of the image.
        kernel: Sides of the window.
        strides: One per dimension of the image, where they are no attribute.

    Raises:
        UnsupportedError: The attributes cannot be, or it does not fit into the image.
    """
    given = call.integer_list("strides") if strides is None else strides
    moves = steps(layout, given, "strides")
    spread = steps(layout, call.integer_list("dilations", ()) or [1] * layout.rank, "dilations")
    window = Window(tuple(kernel), moves, spread, (0,) * len(moves), (0,) * len(moves))
    before, after = _padding(call, layout, sizes, window)
    padded = Window(window.kernel, moves, spread, before, after)
    reach = max(*padded.extents, *moves, *spread, *before, *after)
    if min(padded.kernel) < 1 or min(padded.places(sizes)) < 1 or reach > FURTHEST:
        msg = f"a window of {list(padded.extents)} on an image of {list(sizes)} pixels"
        raise UnsupportedError(msg)
    return padded


def _padding(
    call: Call, layout: Layout, sizes: Sequence[int], window: Window
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    scheme = call.text("padding")
    if scheme == "VALID":
        return window.before, window.after
    if scheme == "EXPLICIT":
        return _explicit(call, layout)
    if scheme != "SAME":
        msg = f"the padding scheme {scheme}"
        raise UnsupportedError(msg)
    parts = zip(sizes, window.extents, window.strides, strict=True)
    totals = [max((-(-size // step) - 1) * step + extent - size, 0) for size, extent, step in parts]
    return tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)


def _explicit(call: Call, layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pairs = call.integer_list("explicit_paddings")
    before, after = pairs[::2], pairs[1::2]
    others = (before, after) if len(pairs) == 2 * layout.rank else ()
    if not others or min(pairs) < 0 or any(side[0] or side[layout.channels] for side in others):
        msg = f"explicit paddings of {list(pairs)}; they must be {2 * layout.rank} numbers, 0 for samples and channels"
        raise UnsupportedError(msg)
    return layout.spatial(before), layout.spatial(after)
