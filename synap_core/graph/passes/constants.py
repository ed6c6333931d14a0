"""Nodes whose operands are all constants, and nodes that nothing needs."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from synap_core.graph.annotations import quant_of
from synap_core.graph.build import MAX_FOLDED_ITEMS
from synap_core.graph.edit import Editor, is_operator
from synap_core.graph.evaluate import evaluate
from synap_core.graph.passes.rule import ANY, Rule
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import type_of


class FoldConstants(Rule[ir.Node]):
    """A node of constants becomes a constant.

    Not when an output is a cut or a graph output, when a result that is stored as integers is to be quantized in
    another way, when the operator cannot be computed here, or when the results of the pass would have more than
    ``MAX_FOLDED_ITEMS`` items: a small file can ask for any number.
    """

    name: ClassVar[str] = "fold-constants"
    op_types: ClassVar[frozenset[str]] = ANY

    def __init__(self, budget: int = MAX_FOLDED_ITEMS) -> None:
        self._budget = budget
        self._results: list[ir.TensorProtocol] = []

    def match(self, node: ir.Node, editor: Editor) -> ir.Node | None:  # noqa: ARG002 - as the base class has it
        """A node with constants alone."""
        constant = node.inputs and all(value is None or value.const_value is not None for value in node.inputs)
        return node if constant and is_operator(node) else None

    def check(self, found: ir.Node, editor: Editor) -> str | None:
        """Whether its results can be computed."""
        if any(editor.is_pinned(value) for value in found.outputs):
            return "a result is an output or a cut"
        items = sum(type_of(value).size for value in found.outputs)
        if items > self._budget:
            return f"the constants would have {items} items more"
        results = _computed(found)
        if results is None:
            return f"{found.op_type} is not computed here"
        for value, tensor in zip(found.outputs, results, strict=True):
            if isinstance(tensor, QuantizedTensor) and quant_of(value) not in (None, tensor.quant):
                return f"{value.name!r} is quantized in another way"
        self._results = results
        return None

    def rewrite(self, found: ir.Node, editor: Editor) -> None:
        """Put constants in the place of its outputs."""
        for value, tensor in zip(tuple(found.outputs), self._results, strict=True):
            self._budget -= tensor.size
            editor.merge(value, editor.constant(tensor, quant_of(value)))


def _computed(node: ir.Node) -> list[ir.TensorProtocol] | None:
    attributes = {
        name: attribute.value.numpy() if attribute.type == ir.AttributeType.TENSOR else attribute.value
        for name, attribute in node.attributes.items()
    }
    tensors = [None if value is None else value.const_value for value in node.inputs]
    return evaluate(node.op_type, tensors, attributes, [type_of(value) for value in node.outputs])


class RemoveUnused(Rule[ir.Node]):
    """A node goes whose results nothing needs, opaque ones included, and then those that only it needed.

    Not when an output is a graph output (those of variables are) or a cut.
    """

    name: ClassVar[str] = "remove-unused"
    op_types: ClassVar[frozenset[str]] = ANY

    def match(self, node: ir.Node, editor: Editor) -> ir.Node | None:
        """A node that is not needed."""
        return None if editor.is_used(node) else node

    def rewrite(self, found: ir.Node, editor: Editor) -> None:
        """Remove it."""
        editor.drop(found)
