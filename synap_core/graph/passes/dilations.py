"""Dilated convolutions that are written with blocks of pixels as samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from synap_core.graph.annotations import quant_of, set_quant
from synap_core.graph.edit import Attributes, Editor, is_operator
from synap_core.graph.passes.permutations import Permutation, annotate_along, inverse, permutation_of, permuted
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.turning import reshaped, turned
from synap_core.graph.passes.values import integers, integers_of, operand, word_of
from synap_core.graph.types import TensorType, shape_of, type_of


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of the pixels of an image; one number for each dimension behind that of the samples.

    Attributes:
        image: The image.
        sides: Of the blocks.
        before: Pixels that are added, or cut off, in front.
        after: Those behind.
        nodes: What makes samples of the blocks, or an image of the samples again.
    """

    image: ir.Value
    sides: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    nodes: tuple[ir.Node, ...]

    def columns(self) -> list[tuple[int, int, int]]:
        """Side and ends by dimension."""
        return list(zip(self.sides, self.before, self.after, strict=True))


@dataclass(frozen=True, slots=True)
class Dilated:
    """A convolution of blocks.

    Attributes:
        layer: The Conv.
        order: Takes the dimensions of the blocks to those of the Conv; None where they are the same.
        flat: Whether the images have no height, which the Conv needs.
        made: How the blocks were made.
        joined: How they become an image again.
        nodes: What lies between.
    """

    layer: ir.Node
    order: Permutation | None
    flat: bool
    made: Blocks
    joined: Blocks
    nodes: tuple[ir.Node, ...]

    def columns(self) -> list[tuple[int, int, int]]:
        """For each spatial dimension of the Conv: side of the blocks, and what is padded minus what is cut off."""
        pairs = zip(self.made.columns(), self.joined.columns(), strict=True)
        found = [(side, before - first, after - last) for (side, before, after), (_, first, last) in pairs]
        whole = [(1, 0, 0), *[(1, 0, 0)] * self.flat, *found]
        return list(whole if self.order is None else permuted(whole, self.order))

    def pads(self) -> list[int]:
        """Padding of the dilated convolution: in front of the spatial dimensions, then behind."""
        columns = self.columns()[2:]
        own = integers_of(self.layer, "pads") or (0,) * (2 * len(columns))
        edges = [low for _, low, _ in columns] + [high for _, _, high in columns]
        return [edge + pad * column[0] for edge, pad, column in zip(edges, own, columns * 2, strict=True)]


class DilateConv(Rule[Dilated]):
    """A convolution between blocks made samples and samples made an image is a dilated one of the image.

    Samples are the pixels of one place in their blocks, so neighbours of a sample are as far apart in the image as the
    blocks are long. Zeros around the image, and what is cut off the result, become the padding.

    Not when the convolution has steps or pads automatically; when channels have blocks; when more is cut off than
    padded; when a value in between is a cut, used elsewhere or quantized in another way than the image or the result.
    """

    name: ClassVar[str] = "dilate-conv"
    op_types: ClassVar[frozenset[str]] = frozenset({"Conv"})

    def match(self, node: ir.Node, editor: Editor) -> Dilated | None:
        """The blocks in front of a convolution and behind it."""
        first = editor.producer(node.inputs[0], "Transpose")
        order = None if first is None else permutation_of(first)
        source = node.inputs[0] if first is None else first.inputs[0]
        last = node if order is None else _next(editor, node, "Transpose")
        if last is None or (order is not None and permutation_of(last) != inverse(order)):
            return None
        nodes = (node,) if first is None else (first, node, last)
        made, joined, flat = _made(editor, source), _joined(editor, last), False
        if made is None and joined is None:
            low, high = editor.producer(source, "Reshape"), _next(editor, last, "Reshape")
            flat = low is not None and high is not None and _is_flat(low.inputs[0], low.outputs[0])
            flat = flat and high is not None and _is_flat(high.outputs[0], high.inputs[0])
            if low is not None and high is not None and flat:
                made, joined, nodes = _made(editor, low.inputs[0]), _joined(editor, high), (low, *nodes, high)
        if made is None or joined is None or made.sides != joined.sides:
            return None
        return Dilated(node, order, flat, made, joined, nodes)

    def check(self, found: Dilated, editor: Editor) -> str | None:  # noqa: ARG002 - all it needs was found
        """Whether the convolution moves on by single pixels, and the edges can be padding."""
        layer, columns = found.layer, found.columns()
        if set(integers_of(layer, "strides")) - {1} or word_of(layer, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return "the convolution has steps or pads automatically"
        if any(column != (1, 0, 0) for column in columns[:2]):
            return "samples or channels have blocks"
        if min(found.pads()) < 0:
            return "more is cut off than is padded"
        return _quant_refusal(found)

    def rewrite(self, found: Dilated, editor: Editor) -> None:
        """Convolve the image."""
        layer, source = found.layer, found.made.image
        if found.flat:
            source = reshaped(editor, source, (shape_of(source)[0], 1, *shape_of(source)[1:]), layer)
        if found.order is not None:
            source = turned(editor, source, found.order, before=layer)
        sides = [side for side, _, _ in found.columns()[2:]]
        own = integers_of(layer, "dilations") or (1,) * len(sides)
        dilations = [step * side for step, side in zip(own, sides, strict=True)]
        given: Attributes = {**layer.attributes, "dilations": dilations, "pads": found.pads(), "auto_pad": "NOTSET"}
        result = found.joined.image
        shape = shape_of(result)
        shape = (shape[0], 1, *shape[1:]) if found.flat else shape
        kind = TensorType(type_of(result).dtype, shape if found.order is None else permuted(shape, found.order))
        origins = [*found.made.nodes, *found.nodes, *found.joined.nodes]
        new = editor.insert(layer, "Conv", [source, *layer.inputs[1:]], [kind], given, origins=origins).outputs[0]
        if found.flat or found.order is None:
            set_quant(new, quant_of(result))
        else:
            annotate_along(new, result, found.order)
        if found.order is not None:
            new = turned(editor, new, inverse(found.order), before=layer)
        new = reshaped(editor, new, shape_of(result), layer) if found.flat else new
        editor.take_over(result, new)


def _made(editor: Editor, value: ir.Value | None) -> Blocks | None:
    """The image whose blocks became samples: padded, cut into blocks, with the places in them in front."""
    merged = editor.producer(value, "Reshape")
    turn = None if merged is None else editor.producer(merged.inputs[0], "Transpose")
    parts = None if turn is None else editor.producer(turn.inputs[0], "Reshape")
    image = None if parts is None else parts.inputs[0]
    if merged is None or turn is None or parts is None or image is None:
        return None
    sides = _sides(image, parts.outputs[0], merged.outputs[0], permutation_of(turn))
    if sides is None:
        return None
    pad = editor.producer(image, "Pad")
    zeros = None if pad is None or len(pad.inputs) != 2 or "mode" in pad.attributes else integers(operand(pad, 1))
    source = None if pad is None else pad.inputs[0]
    if pad is None or zeros is None or source is None or zeros[0] or zeros[len(sides) + 1] or min(zeros) < 0:
        nothing = (0,) * len(sides)
        return Blocks(image, sides, nothing, nothing, (parts, turn, merged))
    return Blocks(source, sides, zeros[1 : len(sides) + 1], zeros[len(sides) + 2 :], (pad, parts, turn, merged))


def _joined(editor: Editor, node: ir.Node) -> Blocks | None:
    """The image that samples become again: places in their blocks behind the blocks, joined, and cut."""
    parts = _next(editor, node, "Reshape")
    turn = None if parts is None else _next(editor, parts, "Transpose")
    merged = None if turn is None else _next(editor, turn, "Reshape")
    if parts is None or turn is None or merged is None:
        return None
    image = merged.outputs[0]
    sides = _sides(image, turn.outputs[0], node.outputs[0], inverse(permutation_of(turn)))
    if sides is None:
        return None
    nothing = (0,) * len(sides)
    cut = _next(editor, merged, "Slice")
    starts, ends, axes, steps = (None if cut is None else integers(operand(cut, place)) for place in (1, 2, 3, 4))
    if cut is None or starts is None or ends is None or axes is None or steps is None or 0 in axes or set(steps) != {1}:
        return Blocks(image, sides, nothing, nothing, (parts, turn, merged))
    shape = shape_of(image)
    before, after = ([0] * len(shape) for _ in range(2))
    for axis, start, end in zip(axes, starts, ends, strict=True):
        places = range(shape[axis])[start:end]
        before[axis], after[axis] = places.start, shape[axis] - places.stop
    return Blocks(cut.outputs[0], sides, tuple(before[1:]), tuple(after[1:]), (parts, turn, merged, cut))


def _sides(image: ir.Value, parts: ir.Value, samples: ir.Value, order: Permutation) -> tuple[int, ...] | None:
    """Sides of the blocks of each dimension behind that of the samples; None where there are none.

    Args:
        image: ``(N, L, ..., rest)``.
        parts: The same with ``(steps, side)`` in the place of each length ``L`` that has blocks.
        samples: ``(sides * N, steps, ..., rest)``.
        order: Takes ``parts`` to ``(sides, N, steps, ..., rest)``.
    """
    whole, pairs, small = shape_of(image), shape_of(parts), shape_of(samples)
    spatial = len(pairs) - len(whole)
    rest = range(1 + 2 * spatial, len(pairs))
    steps, places = range(1, 1 + 2 * spatial, 2), range(2, 2 + 2 * spatial, 2)
    if spatial < 1 or len(whole) != len(small) or order != (*places, 0, *steps, *rest):
        return None
    sides = tuple(pairs[axis] for axis in places)
    lengths = [pairs[axis] * side for axis, side in zip(steps, sides, strict=True)]
    inner = [pairs[axis] for axis in rest]
    if whole != (pairs[0], *lengths, *inner) or small != (
        pairs[0] * math.prod(sides),
        *(pairs[axis] for axis in steps),
        *inner,
    ):
        return None
    return (*sides, *[1] * len(inner))


def _next(editor: Editor, node: ir.Node, op_type: str) -> ir.Node | None:
    """The node of some operator that alone reads the result of another one, which may vanish."""
    user = editor.only_user(node.outputs[0])
    return user if user is not None and is_operator(user, op_type) and user.inputs[0] is node.outputs[0] else None


def _is_flat(low: ir.Value | None, high: ir.Value | None) -> bool:
    """Whether a value has one more dimension of length 1, behind that of the samples."""
    if low is None or high is None:
        return False
    return shape_of(high) == (shape_of(low)[0], 1, *shape_of(low)[1:])


def _quant_refusal(found: Dilated) -> str | None:
    """Why what is quantized in between is of importance."""
    place = found.nodes.index(found.layer)
    sides = (
        (found.made.image, [*found.made.nodes, *found.nodes[:place]]),
        (found.joined.image, [*found.nodes[place:], *found.joined.nodes]),
    )
    for value, nodes in sides:
        for node in nodes:
            between = node.outputs[0]
            if quant_of(between) not in (None, quant_of(value)):
                return f"{between.name!r} is quantized in another way than {value.name!r}"
    return None
