"""Which parts of a model fit the ONNX Runtime of the boards, which knows operator set 19 and IR version 9 at the most.

Most changes of later operator sets only admit more element types. A part that uses none of the others is written for
operator set 19; the rest keeps its version and may not load on a board.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synap_frontend_onnx.functions import needed_functions, with_inner_nodes
from synap_frontend_onnx.graph import Graph, Node
from synap_frontend_onnx.protos import (
    STANDARD_DOMAINS,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    Schema,
    TypeProto,
    ValueInfoProto,
    attributes,
    find_schema,
    type_text,
)

MAX_IR_VERSION = 9
MAX_OPSETS = {"": 19, "ai.onnx": 19, "ai.onnx.ml": 3}
"""Highest versions that ONNX Runtime 1.16 knows."""

REVIEWED_OPSETS = {"": 28, "ai.onnx.ml": 5}
"""Versions up to which equal signatures were compared with the operators' descriptions: they differ in types alone."""

TypeTexts = Mapping[str, str | None]
"""Types of tensors as operator definitions write them; names in bodies and functions are mostly not known."""

ONLY_OPTIONS_ADDED = frozenset({"Cast", "CastLike", "DequantizeLinear", "QuantizeLinear", "SpaceToDepth"})
"""Operators that only gained attributes, which mean what was before when they are absent."""


def blockers(graph: Graph, types: Mapping[str, ValueInfoProto]) -> dict[int, str]:
    """What keeps nodes from the boards' operator sets.

    Returns:
        For the index of each such node, the operator and the version it needs.
    """
    old = all(entry.version <= MAX_OPSETS.get(entry.domain, entry.version) for entry in graph.model.opset_import)
    if old and not any(function.overload for function in graph.functions.values()):
        return {}
    texts = {name: type_text(value.type) for name, value in types.items()}
    for name, tensor in graph.constants.items():
        texts[name] = type_text(TypeProto(tensor_type=TypeProto.Tensor(elem_type=tensor.data_type)))
    found = {}
    for node in graph.nodes:
        reason = _blocker(graph, node, texts)
        if reason is not None:
            found[node.index] = reason
    return found


def warnings_about(graph: Graph, found: Mapping[int, str]) -> tuple[str, ...]:
    """One line about all nodes with a blocker."""
    first = next((node for node in graph.nodes if node.index in found), None)
    if first is None:
        return ()
    kinds = list(dict.fromkeys(found.values()))
    more = f", {', '.join(kinds[1:])}" if len(kinds) > 1 else ""
    what = f"{found[first.index]}{more}"
    known = f"the boards' ONNX Runtime knows operator set {MAX_OPSETS['']} at the most"
    return (f"{known}: a cpu or gpu subgraph with {what} may not load there (first: layer {first.name!r})",)


def lower(model: ModelProto) -> None:
    """Write a model whose nodes have no blocker for the boards' versions."""
    for entry in _imports(model):
        entry.version = min(entry.version, MAX_OPSETS.get(entry.domain, entry.version))
    # Before version 4 every initializer is a graph input, too; functions came with version 8.
    least = 8 if model.functions else 4
    model.ir_version = max(min(model.ir_version, MAX_IR_VERSION), least)


def _imports(model: ModelProto) -> Iterable[OperatorSetIdProto]:
    yield from model.opset_import
    for function in model.functions:
        yield from function.opset_import


def _blocker(graph: Graph, node: Node, texts: TypeTexts) -> str | None:
    for inner in with_inner_nodes(node.proto):
        reason = _operator_blocker(inner, graph.opset(inner.domain), texts)
        if reason is not None:
            return reason
    for (_, name, overload), function in needed_functions([node.proto], graph.functions).items():
        versions = {entry.domain: entry.version for entry in function.opset_import}
        if overload:
            return f"the overloaded function {name}"
        for inner in (inner for call in function.node for inner in with_inner_nodes(call)):
            reason = _operator_blocker(inner, versions.get(inner.domain, 1), {})
            if reason is not None:
                return reason
    return None


def _operator_blocker(node: NodeProto, version: int, texts: TypeTexts) -> str | None:
    domain = "" if node.domain in STANDARD_DOMAINS else node.domain
    limit = MAX_OPSETS.get(domain)
    if limit is None or version <= limit:
        return None
    new, old = find_schema(node.op_type, version, domain), find_schema(node.op_type, limit, domain)
    if new is None or new.since_version <= limit:
        return None
    reviewed = new.since_version <= REVIEWED_OPSETS[domain]
    if old is not None and reviewed and _same_meaning(node, old, new) and _types_admitted(node, old, texts):
        return None
    return f"{node.op_type} of operator set {new.since_version}"


def _same_meaning(node: NodeProto, old: Schema, new: Schema) -> bool:
    given = dict(attributes(node))
    if node.op_type in ("AveragePool", "MaxPool") and given.get("ceil_mode", 0) != 0:
        return False
    if node.op_type in ONLY_OPTIONS_ADDED:
        return all(name in old.attributes for name in given)
    return signature(old) == signature(new)


def signature(schema: Schema) -> object:
    """Everything that a definition says about an operator's operands, results and attributes, but for types."""
    return (
        [(p.name, p.option, p.is_homogeneous, p.min_arity) for p in (*schema.inputs, *schema.outputs)],
        {name: (a.type, a.required, str(a.default_value)) for name, a in schema.attributes.items()},
    )


def _types_admitted(node: NodeProto, old: Schema, texts: TypeTexts) -> bool:
    """Whether the older definition takes the element types of all operands that are known."""
    allowed = {c.type_param_str: c.allowed_type_strs for c in old.type_constraints}
    for names, formals in ((node.input, old.inputs), (node.output, old.outputs)):
        for position, name in enumerate(names if formals else ()):
            formal = formals[min(position, len(formals) - 1)]
            text = texts.get(name)
            if text is not None and text not in allowed.get(formal.type_str, [formal.type_str]):
                return False
    return True
