"""Tidy a graph when all its nodes are imported, and complete its annotations."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import QuantParams, is_opaque, quant_of, set_quant, source_of, type_of

MOVEMENTS = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators whose results are items of their first operand: what these stand for, the results stand for, too."""


def clean(model: ir.Model) -> None:
    """Remove what failed attempts have left, and let values share the annotations of those that they are copies of."""
    for node in reversed(model.graph):
        needed = any(v.uses() or v.is_graph_output() or source_of(v) is not None for v in node.outputs)
        if not needed and not is_opaque(node):
            model.graph.remove(node, safe=True)
    for name, value in tuple(model.graph.initializers.items()):
        if not (value.uses() or value.is_graph_output()):
            model.graph.initializers.pop(name)
    for node in model.graph:
        if node.op_type == "Identity" and not node.domain:
            _annotate_operand(node)
    for node in model.graph:
        quant = None if node.domain else _moved(node)
        for value in node.outputs:
            free = quant_of(value) is None and not value.is_graph_output() and type_of(value).dtype == ir.DataType.FLOAT
            if quant is not None and free:
                set_quant(value, quant)


def _annotate_operand(node: ir.Node) -> None:
    """Let a value that is read through an annotated copy alone have the annotation itself."""
    value, quant = node.inputs[0], quant_of(node.outputs[0])
    if value is None or value.producer() is None or value.is_graph_output() or quant is None:
        return
    if len(value.uses()) == 1 and quant_of(value) is None:
        set_quant(value, quant)


def _moved(node: ir.Node) -> QuantParams | None:
    """Annotation of the items that a node moves; None when it computes, or when they have none in common."""
    if node.op_type != "Concat" and node.op_type not in MOVEMENTS:
        return None
    operands = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    quants = {None if value is None else quant_of(value) for value in operands}
    quant = quants.pop() if len(quants) == 1 else None
    return None if quant is None or quant.axis is not None else quant
