"""Explicit paddings in front of operators that pad themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from synap_core.graph.annotations import quant_of
from synap_core.graph.edit import Attributes, Editor, is_operator
from synap_core.graph.passes.permutations import permutation_of, permuted, quant_along
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.turning import turned
from synap_core.graph.passes.values import integer_of, integers, integers_of, operand, scalar, word_of
from synap_core.graph.types import shape_of, type_of

NON_NEGATIVE = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt"})
PASSING = frozenset({"AveragePool", "Concat", "Identity", "MaxPool", "Reshape", "Transpose"})
"""Operators whose results are not negative, and those for which that holds when it does for their operands."""

MAX_LOOK_BACK = 32
"""Values that are looked at to find out whether one may be negative."""


@dataclass(frozen=True, slots=True)
class Padded:
    """A padding and the operator behind it.

    Attributes:
        pad: The Pad.
        transpose: A Transpose between them, or None.
        layer: The Conv, AveragePool or MaxPool.
    """

    pad: ir.Node
    transpose: ir.Node | None
    layer: ir.Node


class FoldPad(Rule[Padded]):
    """A Pad of constant zeros, or of minus infinity for a MaxPool, becomes part of the operator behind it.

    A Transpose may stand between them; it moves to the operand of the Pad.

    Not when batch or channels are padded, or anything is cropped; when the number is computed, not exactly zero (a
    MaxPool takes zeros where no operand is negative), or the padding not by a constant; when the padded value is a cut
    or quantized in another way than the operand; when the operator pads automatically, or is a pool that rounds its
    size up, is dilated, does not count the zeros it pads itself, or gets a window of padding alone; when the transposed
    value is used elsewhere.
    """

    name: ClassVar[str] = "fold-pad"
    op_types: ClassVar[frozenset[str]] = frozenset({"AveragePool", "Conv", "MaxPool"})

    def match(self, node: ir.Node, editor: Editor) -> Padded | None:
        """The padding in front of an operator."""
        transpose = editor.producer(node.inputs[0], "Transpose")
        pad = editor.producer(node.inputs[0] if transpose is None else transpose.inputs[0], "Pad")
        return None if pad is None else Padded(pad, transpose, node)

    def check(self, found: Padded, editor: Editor) -> str | None:
        """Whether the operator pads in the same way."""
        begin, end = _spatial(found)
        layer = found.layer
        if not begin:
            return "batch or channels are padded, something is cropped, or the padding is computed"
        if word_of(layer, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return "the operator pads automatically"
        if layer.op_type != "Conv" and (reason := _pool_refusal(layer, begin, end)) is not None:
            return reason
        return _number_refusal(found) or _values_refusal(editor, found)

    def rewrite(self, found: Padded, editor: Editor) -> None:
        """Let the operator pad."""
        layer, source = found.layer, found.pad.inputs[0]
        if source is not None and found.transpose is not None:
            source = turned(editor, source, permutation_of(found.transpose), before=layer)
        begin, end = _spatial(found)
        pads = [a + b for a, b in zip(_own_pads(layer, len(begin)), (*begin, *end), strict=True)]
        attributes: Attributes = {**layer.attributes, "pads": pads, "auto_pad": "NOTSET"}
        if layer.op_type == "AveragePool":
            attributes = {**attributes, "count_include_pad": 1}
        inputs = [source, *layer.inputs[1:]]
        types = [type_of(layer.outputs[0])]
        new = editor.insert(layer, layer.op_type, inputs, types, attributes, origins=[found.pad, layer])
        editor.take_over(layer.outputs[0], new.outputs[0])


def _spatial(found: Padded) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Paddings at the beginning and the end of the spatial dimensions; empty when others are padded, too."""
    pads, axes = integers(operand(found.pad, 1)), integers(operand(found.pad, 3))
    rank = len(shape_of(found.pad.outputs[0]))
    if pads is None or (axes is None and operand(found.pad, 3) is not None):
        return (), ()
    axes = tuple(range(rank)) if axes is None else axes
    sizes = [[0] * rank, [0] * rank]
    for position, axis in enumerate(axes):
        sizes[0][axis], sizes[1][axis] = pads[position], pads[len(axes) + position]
    order = tuple(range(rank)) if found.transpose is None else permutation_of(found.transpose)
    begin, end = (permuted(side, order) for side in sizes)
    usable = not any((*begin[:2], *end[:2])) and min(*begin, *end) >= 0
    return (begin[2:], end[2:]) if usable else ((), ())


def _own_pads(layer: ir.Node, dimensions: int) -> tuple[int, ...]:
    return integers_of(layer, "pads") or (0,) * (2 * dimensions)


def _pool_refusal(layer: ir.Node, begin: tuple[int, ...], end: tuple[int, ...]) -> str | None:
    own = _own_pads(layer, len(begin))
    if integer_of(layer, "ceil_mode", 0):
        return "the pool rounds its size up"
    if len(layer.outputs) > 1 or set(integers_of(layer, "dilations")) - {1}:
        return "the pool is dilated, or gives the places of what it found"
    if layer.op_type == "AveragePool" and any(own) and not integer_of(layer, "count_include_pad", 0):
        return "the pool does not count its own padding"
    kernel = integers_of(layer, "kernel_shape")
    pads = [a + b for a, b in zip(own, (*begin, *end), strict=True)]
    return None if all(pad < size for pad, size in zip(pads, kernel * 2, strict=True)) else "a window is all padding"


def _number_refusal(found: Padded) -> str | None:
    if word_of(found.pad, "mode", "constant") != "constant":
        return "the padding is no constant"
    value = operand(found.pad, 2)
    number = 0.0 if value is None else scalar(value)
    if number is None:
        return "the number to pad with is computed"
    if found.layer.op_type != "MaxPool":
        return None if number == 0 else f"it pads with {number:g}, not with zeros"
    if number == -math.inf or (number == 0 and is_non_negative(found.pad.inputs[0])):
        return None
    return f"it pads with {number:g}, which could be the largest number"


def _values_refusal(editor: Editor, found: Padded) -> str | None:
    source, padded = found.pad.inputs[0], found.pad.outputs[0]
    own = None if source is None else quant_of(source)
    if quant_of(padded) not in (None, own):
        return f"{padded.name!r} is quantized in another way than the operand"
    if found.transpose is None:
        return None
    behind = found.transpose.outputs[0]
    if editor.only_user(behind) is None:
        return f"{behind.name!r} is used elsewhere, too"
    same = quant_of(behind) in (None, quant_along(own, permutation_of(found.transpose)))
    return None if same else f"{behind.name!r} is quantized in another way than the operand"


def is_non_negative(value: ir.Value | None) -> bool:
    """Whether it is plain that no item of a value is negative."""
    pending = {value}
    seen: set[ir.Value | None] = set()
    while pending:
        value = pending.pop()
        node = None if value is None else value.producer()
        seen.add(value)
        if node is None or not is_operator(node) or len(seen) > MAX_LOOK_BACK:
            return False
        if node.op_type in PASSING:
            pending |= set(node.inputs if node.op_type == "Concat" else node.inputs[:1]) - seen
            continue
        low = scalar(operand(node, 1)) if node.op_type == "Clip" else None
        if node.op_type not in NON_NEGATIVE and (low is None or low < 0):
            return False
    return True
