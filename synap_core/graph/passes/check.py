"""Structural check of a canonical graph: cheap enough to run after every pass."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from synap_core.graph.annotations import quant_of, states_of, twin_of
from synap_core.graph.types import GraphError, shape_of


def check(model: ir.Model, keep: Collection[str] = ()) -> None:
    """Check that names are unique, values are computed before they are used, types static and annotations sane.

    Args:
        model: The model.
        keep: Names of values that must exist.

    Raises:
        GraphError: The first problem that was found.
    """
    graph = model.graph
    known: dict[str, ir.Value] = {}
    for value in (*graph.inputs, *graph.initializers.values()):
        _define(value, known)
    nodes: set[str] = set()
    for node in graph:
        _check_node(node, known, nodes)
        for value in node.outputs:
            _define(value, known)
    for value in graph.outputs:
        _require(known.get(str(value.name)) is value, f"output {value.name!r} is not computed")
    for name in keep:
        _require(name in known, f"value {name!r} is gone")
    _check_states(model)


def _define(value: ir.Value, known: dict[str, ir.Value]) -> None:
    name = value.name or ""
    _require(bool(name), "a value has no name")
    _require(name not in known, f"two values are called {name!r}")
    known[name] = value
    static = value.shape is not None and all(type(dim) is int for dim in value.shape)
    _require(static and value.dtype is not None, f"value {value.name!r} has no static type")
    if value.is_initializer():
        tensor = value.const_value
        same = tensor is not None and tensor.dtype == value.dtype and tensor.shape == value.shape
        _require(same, f"constant {value.name!r} has items of another type")
    _check_annotations(value)


def _check_annotations(value: ir.Value) -> None:
    quant, twin = quant_of(value), twin_of(value)
    shape = shape_of(value) if quant is not None or twin is not None else ()
    if quant is not None and quant.axis is not None:
        fits = 0 <= quant.axis < len(shape) and len(quant.scale) == shape[quant.axis]
        _require(fits, f"the quantization of {value.name!r} does not fit its shape {list(shape)}")
    if twin is not None:
        fits = sorted(twin.permutation) == list(range(len(shape)))
        _require(fits, f"{value.name!r} is no twin of another layout")


def _check_node(node: ir.Node, known: dict[str, ir.Value], names: set[str]) -> None:
    _require(bool(node.name) and node.name not in names, f"the name {node.name!r} of a node is not unique")
    names.add(str(node.name))
    for attribute in node.attributes.values():
        inner = attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        _require(not inner, f"node {node.name!r} has a graph of its own")
    for value in node.inputs:
        _require(
            value is None or known.get(str(value.name)) is value,
            f"node {node.name!r} uses {None if value is None else value.name!r} before it is computed",
        )


def _check_states(model: ir.Model) -> None:
    inputs = {value.name for value in model.graph.inputs}
    outputs = {value.name for value in model.graph.outputs}
    for state in states_of(model):
        _require(state.input in inputs and state.output in outputs, f"variable {state.name!r} is cut off")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise GraphError(problem)
