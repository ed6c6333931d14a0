"""How many positions the windows of pools have in runtimes, where the shape inference of onnx finds other numbers.

Before operator set 22 it counts, when sizes are rounded up, a last window that begins behind the input. Runtimes leave
that one out in every operator set, as operator set 22 says. And they pad for ``SAME_UPPER`` and ``SAME_LOWER`` as if
there were no dilations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from synap_frontend_onnx.dimensions import dims_of, with_shape
from synap_frontend_onnx.graph import Node
from synap_frontend_onnx.protos import AttributeValue, TensorProto, ValueInfoProto, attributes

POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})

MAX_COUNT = 1 << 40
"""Positions along a dimension: no machine holds more."""

Options = Mapping[str, AttributeValue]
"""Attributes of a pool by name; text as such or as bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The windows along one spatial dimension.

    Attributes:
        dim: Items of the input.
        kernel: Items of a window.
        extent: From the first to the last of them; more than the kernel with dilations.
        stride: From one window to the next.
        begin: Padding in front.
        end: Padding behind.
        round_up: A last window may hang over the end, unless it begins behind the input.
    """

    dim: int
    kernel: int
    extent: int
    stride: int
    begin: int
    end: int
    round_up: bool

    @property
    def room(self) -> int:
        """Items of the padded input that the first window leaves; negative when it does not fit."""
        return self.dim + self.begin + self.end - self.extent

    @property
    def whole(self) -> int:
        """Number of windows that do not hang over."""
        return self.room // self.stride + 1

    @property
    def count(self) -> int:
        """Number of windows."""
        return self._rounded_up - self.leaves_out if self.round_up else self.whole

    @property
    def leaves_out(self) -> bool:
        """Whether a window that hangs over is left out because it begins behind the input."""
        return self.round_up and (self._rounded_up - 1) * self.stride >= self.dim + self.begin

    @property
    def _rounded_up(self) -> int:
        return -(-self.room // self.stride) + 1


def padded_for_strides(options: Options) -> bool:
    """Whether the padding is such that only the strides shrink the result."""
    return options.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER", b"SAME_UPPER", b"SAME_LOWER")


def is_dilated(options: Options) -> bool:
    """Whether there are gaps between the items of a window."""
    gaps = options.get("dilations")
    return isinstance(gaps, list) and any(gap != 1 for gap in gaps)


def axes_of(dims: Sequence[int], options: Options) -> tuple[Axis, ...] | None:
    """The windows of a pool.

    Args:
        dims: Spatial dimensions of its input.
        options: Its attributes.

    Returns:
        One for each dimension. None when the attributes do not fit the dimensions, or a window does not fit into the
        padded input, or has gaps and is smaller than strides that tell the padding: runtimes refuse or misread them.
    """
    kernel = _items(options, "kernel_shape", len(dims), 1)
    strides = _items(options, "strides", len(dims), 1)
    dilations = _items(options, "dilations", len(dims), 1)
    pads = _items(options, "pads", 2 * len(dims), 0)
    if not kernel or not strides or not dilations or not pads or "kernel_shape" not in options:
        return None
    axes = []
    for place, dim in enumerate(dims):
        begin, end = pads[place], pads[place + len(dims)]
        if padded_for_strides(options):
            begin, end = _same_padding(dim, kernel[place], strides[place], options)
        axes.append(
            Axis(
                dim=dim,
                kernel=kernel[place],
                extent=(kernel[place] - 1) * dilations[place] + 1,
                stride=strides[place],
                begin=begin,
                end=end,
                round_up=options.get("ceil_mode", 0) != 0,
            )
        )
    good = all(axis.begin + axis.end >= 0 and 0 < axis.count < MAX_COUNT for axis in axes)
    return tuple(axes) if good else None


def _items(options: Options, name: str, count: int, least: int) -> Sequence[int] | None:
    """An attribute that is a list of so many integers; full of the least value by default, None for another."""
    found = options.get(name) or [least] * count
    fits = isinstance(found, list) and len(found) == count
    return found if fits and all(isinstance(item, int) and item >= least for item in found) else None


def _same_padding(dim: int, kernel: int, stride: int, options: Options) -> tuple[int, int]:
    """In front and behind; the odd item belongs where the mode says."""
    needed = (-(-dim // stride) - 1) * stride + kernel - dim
    if not is_dilated(options):
        needed = max(needed, 0)
    small, large = needed // 2, needed - needed // 2
    return (small, large) if options["auto_pad"] in ("SAME_UPPER", b"SAME_UPPER") else (large, small)


def can_be_misjudged(node: Node) -> bool:
    """Whether a node is a pool whose result may have another shape than the shape inference finds."""
    if node.proto.op_type not in POOLS or not node.standard:
        return False
    options = _options_of(node)
    return options.get("ceil_mode", 0) != 0 or (padded_for_strides(options) and is_dilated(options))


def _options_of(node: Node) -> Options:
    """The attributes; none when one is of no known type: the checker has not seen the file yet."""
    try:
        return dict(attributes(node.proto))
    except ValueError:
        return {}


def misjudged(nodes: Iterable[Node], types: Mapping[str, ValueInfoProto]) -> dict[str, ValueInfoProto]:
    """Results of pools that have another shape in runtimes than was inferred.

    Args:
        nodes: Those to look at.
        types: What was inferred.

    Returns:
        Their types with the right shape, by name.
    """
    found = {}
    for node in filter(can_be_misjudged, nodes):
        given = types.get(node.proto.input[0]) if node.proto.input else None
        dims = None if given is None else dims_of(given.type)
        if given is None or dims is None:
            continue
        sizes = [dim for dim in dims[2:] if isinstance(dim, int)]
        axes = axes_of(sizes, _options_of(node)) if sizes and len(sizes) == len(dims) - 2 else None
        for place, name in enumerate(node.proto.output):
            right = [*dims[:2], *(axis.count for axis in axes or ())]
            if name and axes and (name not in types or dims_of(types[name].type) != right):
                found[name] = with_shape(_described(name, TensorProto.INT64 if place else _elem_type(given)), right)
    return found


def _elem_type(value: ValueInfoProto) -> int:
    return value.type.tensor_type.elem_type


def _described(name: str, elem_type: int) -> ValueInfoProto:
    value = ValueInfoProto(name=name)
    value.type.tensor_type.elem_type = elem_type
    return value
