"""Model-local functions: which there are, and which of them a set of nodes needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from synap_core.api import InputError
from synap_frontend_onnx.protos import STANDARD_DOMAINS, FunctionProto, GraphProto, ModelProto, NodeProto

FunctionKey = tuple[str, str, str]
"""Domain, name and overload."""

MAX_EXPANDED_NODES = 1_000_000
"""Nodes of a model in which every call is replaced by the function's body: calls in calls grow exponentially."""


def collect_functions(model: ModelProto) -> dict[FunctionKey, FunctionProto]:
    """Functions of a model by key, in the file's order.

    Raises:
        InputError: One is defined twice, or calls go in a circle or expand to a model without bounds.
    """
    functions: dict[FunctionKey, FunctionProto] = {}
    for function in model.functions:
        key = (_domain(function.domain), function.name, function.overload)
        if key in functions:
            msg = f"the function {function.domain}.{function.name} is defined twice"
            raise InputError(msg, hint="the file is damaged: export it again")
        functions[key] = function
    _check_calls(model, functions)
    return functions


def needed_functions(
    nodes: Iterable[NodeProto], functions: Mapping[FunctionKey, FunctionProto]
) -> dict[FunctionKey, FunctionProto]:
    """Functions that nodes call, also from their bodies and through other functions."""
    found: set[FunctionKey] = set()
    pending = [key for node in nodes for key in calls(node, functions)] if functions else []
    while pending:
        key = pending.pop()
        if key not in found:
            found.add(key)
            pending += [other for node in functions[key].node for other in calls(node, functions)]
    return {key: function for key, function in functions.items() if key in found}


def calls(node: NodeProto, functions: Mapping[FunctionKey, FunctionProto]) -> Iterator[FunctionKey]:
    """Keys of the functions that a node and the nodes in its bodies call, with repetitions."""
    for inner in with_inner_nodes(node):
        key = (_domain(inner.domain), inner.op_type, inner.overload)
        if key in functions:
            yield key


def with_inner_nodes(node: NodeProto) -> Iterator[NodeProto]:
    """A node and all nodes in its bodies."""
    yield node
    for attribute in node.attribute:
        bodies: list[GraphProto] = [attribute.g] if attribute.HasField("g") else []
        for body in (*bodies, *attribute.graphs):
            for inner in body.node:
                yield from with_inner_nodes(inner)


def _domain(name: str) -> str:
    return "" if name in STANDARD_DOMAINS else name


def _check_calls(model: ModelProto, functions: Mapping[FunctionKey, FunctionProto]) -> None:
    """Add up what each call expands to, innermost functions first."""
    called = {
        key: [other for node in function.node for other in calls(node, functions)]
        for key, function in functions.items()
    }
    callers: dict[FunctionKey, list[FunctionKey]] = {key: [] for key in functions}
    waiting = {key: len(set(others)) for key, others in called.items()}
    for key, others in called.items():
        for other in set(others):
            callers[other].append(key)
    sizes: dict[FunctionKey, int] = {}
    ready = [key for key, count in waiting.items() if count == 0]
    while ready:
        key = ready.pop()
        sizes[key] = min(len(functions[key].node) + sum(sizes[k] for k in called[key]), MAX_EXPANDED_NODES + 1)
        for caller in callers[key]:
            waiting[caller] -= 1
            if waiting[caller] == 0:
                ready.append(caller)
    circular = next((key for key in functions if key not in sizes), None)
    if circular is not None:
        msg = f"the calls of the function {circular[0]}.{circular[1]} never end"
        raise InputError(msg, hint="the file is damaged: export it again")
    total = sum(sizes[key] for node in model.graph.node for key in calls(node, functions)) if functions else 0
    if total > MAX_EXPANDED_NODES:
        msg = f"the calls of functions expand to more than {MAX_EXPANDED_NODES} operators"
        raise InputError(msg, hint="export the model without functions in functions")
