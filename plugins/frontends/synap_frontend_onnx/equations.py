"""Equations of ``Einsum``: the shape inference of onnx never ends on some that are malformed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from synap_frontend_onnx.functions import with_inner_nodes
from synap_frontend_onnx.protos import STANDARD_DOMAINS, AttributeProto, ModelProto, NodeProto

_TERM = rb"[A-Za-z]*(\.\.\.)?[A-Za-z]*"
_EQUATION = re.compile(rb"%b(,%b)*(->%b)?" % (_TERM, _TERM, _TERM))
MAX_SHOWN = 60


def check_equations(model: ModelProto) -> None:
    """Check the equations of a model: those of functions and bodies, too.

    Raises:
        ValueError: One is malformed.
    """
    nodes = [inner for node in _all_nodes(model) for inner in with_inner_nodes(node)]
    contractions = [node for node in nodes if node.op_type == "Einsum" and node.domain in STANDARD_DOMAINS]
    equations = [a for node in contractions for a in node.attribute if a.name == "equation"]
    handed_on = {attribute.ref_attr_name for attribute in equations if attribute.ref_attr_name}
    for attribute in (*equations, *(_arguments(model, nodes, handed_on) if handed_on else ())):
        if attribute.type == AttributeProto.STRING and not attribute.ref_attr_name:
            _check(attribute)


def _all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def _arguments(model: ModelProto, nodes: list[NodeProto], names: set[str]) -> Iterator[AttributeProto]:
    """Attributes of calls, and defaults of functions, that may become an equation; known by their names."""
    given = [attribute for node in nodes for attribute in node.attribute]
    given += [attribute for function in model.functions for attribute in function.attribute_proto]
    count = 0
    while count < len(names):  # a function may hand on what it was handed
        count = len(names)
        names |= {attribute.ref_attr_name for attribute in given if attribute.ref_attr_name and attribute.name in names}
    return (attribute for attribute in given if attribute.name in names)


def _check(attribute: AttributeProto) -> None:
    if not _EQUATION.fullmatch(attribute.s.replace(b" ", b"")):
        shown = attribute.s[:MAX_SHOWN].decode("utf-8", errors="replace")
        msg = f"the Einsum equation {shown!r} is malformed: letters, '...', ',' and one '->' belong there"
        raise ValueError(msg)
