"""Reshapes, and the transposes that are no more than that."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from synap_core.graph.annotations import quant_of, set_quant
from synap_core.graph.edit import Editor
from synap_core.graph.passes.permutations import moves_data, permutation_of
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.turning import reshaped
from synap_core.graph.passes.values import quant_refusal
from synap_core.graph.types import shape_of

RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


class TransposeToReshape(Rule[ir.Node]):
    """A transpose that moves no data, because the dimensions it moves are 1, becomes a Reshape.

    Not when dimensions of another size change their order.
    """

    name: ClassVar[str] = "transpose-to-reshape"
    op_types: ClassVar[frozenset[str]] = frozenset({"Transpose"})

    def match(self, node: ir.Node, editor: Editor) -> ir.Node | None:  # noqa: ARG002 - as the base class has it
        """A transpose that moves no data."""
        value = node.inputs[0]
        return node if value is not None and not moves_data(shape_of(value), permutation_of(node)) else None

    def rewrite(self, found: ir.Node, editor: Editor) -> None:
        """Reshape instead."""
        _reshape(editor, found, found.inputs[0])


class MergeReshapes(Rule[tuple[ir.Node, ir.Node]]):
    """Reshape, Flatten, Squeeze or Unsqueeze behind another one: the second reads what the first does.

    Not when the value between them is a cut, quantized in another way than the one before, or quantized by channel.
    """

    name: ClassVar[str] = "merge-reshapes"
    op_types: ClassVar[frozenset[str]] = RESHAPES

    def match(self, node: ir.Node, editor: Editor) -> tuple[ir.Node, ir.Node] | None:
        """The first reshape and the second."""
        first = editor.producer(node.inputs[0], *RESHAPES)
        return None if first is None else (first, node)

    def check(self, found: tuple[ir.Node, ir.Node], editor: Editor) -> str | None:
        """Whether the value between them can be left out."""
        source, between = found[0].inputs[0], found[0].outputs[0]
        quant = quant_of(between)
        if quant is not None and quant.axis is not None:
            return f"{between.name!r} is quantized by channel"
        return None if source is None else quant_refusal(editor, source, quant, between)

    def rewrite(self, found: tuple[ir.Node, ir.Node], editor: Editor) -> None:
        """Reshape once."""
        first, second = found
        source = first.inputs[0]
        if source is not None and quant_of(source) is None:
            set_quant(source, quant_of(first.outputs[0]))
        _reshape(editor, second, source)


def _reshape(editor: Editor, node: ir.Node, source: ir.Value | None) -> None:
    """Put a Reshape of some value in the place of a node."""
    if source is not None:
        old = node.outputs[0]
        editor.take_over(old, reshaped(editor, source, shape_of(old), before=node))
