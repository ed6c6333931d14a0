"""Tidy a graph when all its layers are imported."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import is_opaque, quant_of, set_quant, source_of


def clean(model: ir.Model) -> None:
    """Remove what nothing reads, and annotate values of which only the rounded ones are read."""
    for node in reversed(list(model.graph)):
        if not is_opaque(node) and not any(_is_needed(value) for value in node.outputs):
            model.graph.remove(node, safe=True)
    for name, value in list(model.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            model.graph.initializers.pop(name)
    for node in model.graph:
        if node.op_type == "Identity" and not node.domain:
            _annotate_operand(node)


def _is_needed(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output() or source_of(value) is not None


def _annotate_operand(node: ir.Node) -> None:
    """Hand the annotation of a copy to a value that is read as this copy alone."""
    value, quant = node.inputs[0], quant_of(node.outputs[0])
    if quant is None or value is None or value.producer() is None or value.is_graph_output():
        return
    if len(value.uses()) == 1 and quant_of(value) is None:
        set_quant(value, quant)
