"""Editing a canonical graph by hand."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import (
    Origin,
    Twin,
    origins_of,
    quant_of,
    set_origins,
    set_source,
    set_twin,
    source_of,
    twin_of,
)
from synap_core.graph.edit import Editor, is_operator
from synap_core.graph.passes.check import check
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import TensorType, type_of
from tests.support.passes import FLOAT, Net, annotated, int8, op_types, origins, value_named


def chain(*op_types: str) -> tuple[ir.Model, list[ir.Value]]:
    """Operators one after the other."""
    net = Net()
    values = [net.input(2, 3)]
    for op_type in op_types:
        values.append(net(op_type, values[-1]))
    return net.model(values[-1]), values


def test_unknown_value_cannot_be_kept() -> None:
    model, _ = chain("Abs")
    with pytest.raises(ValueError, match="there is no value 'cut' to keep"):
        Editor(model, ["cut"])


def test_cuts_and_outputs_are_pinned_and_cuts_hide_what_computes_them() -> None:
    model, (x, first, second, third) = chain("Abs", "Neg", "Exp")
    editor = Editor(model, [str(second.name)])
    assert [editor.is_pinned(value) for value in (x, first, second, third)] == [False, False, True, True]
    assert editor.producer(second) is None
    assert editor.producer(first, "Neg", "Abs") is model.graph[0]
    assert editor.producer(first, "Neg") is editor.producer(x) is editor.producer(None) is None
    assert editor.only_user(first) is model.graph[1]
    assert editor.only_user(second) is editor.only_user(third) is None


def test_opaque_nodes_are_no_operators() -> None:
    net = Net()
    model = net.model(*net.build.opaque("Abs", [net.input(2)], [TensorType(FLOAT, (2,))], "not known"))
    assert not is_operator(model.graph[0], "Abs")
    assert Editor(model).producer(model.graph.outputs[0], "Abs") is None


def test_new_nodes_and_constants_get_names_of_their_own() -> None:
    model, (x, first) = chain("Abs")
    model.graph.meta.clear()
    editor = Editor(model)
    constants = [editor.constant(np.ones(3, np.float32)) for _ in range(3)]
    names = [
        editor.insert(model.graph[0], "Add", [x, constant], [type_of(x)], origins=[model.graph[0]]).name
        for constant in constants
    ]
    assert len({*names, *(str(constant.name) for constant in constants)}) == 6
    assert op_types(model) == ["Add", "Add", "Add", "Abs"]
    check(model)
    assert first.is_graph_output()


def test_constant_carries_its_quantization() -> None:
    model, _ = chain("Abs")
    editor = Editor(model)
    assert quant_of(editor.constant(QuantizedTensor(np.ones(3, np.int8), int8()))) == int8()
    assert quant_of(editor.constant(np.ones(3, np.float32), int8(0.25))) == int8(0.25)


def test_inserted_node_takes_attributes_layers_and_leaves_out_absent_operands() -> None:
    model, (x, _) = chain("Abs")
    editor = Editor(model)
    attributes = {"perm": (1, 0), "table": np.ones(2, np.float32), "old": ir.AttrInt64("old", 3)}
    node = editor.insert(
        model.graph[0], "Transpose", [x, None, None], [TensorType(FLOAT, (3, 2))], attributes, origins=model.graph
    )
    assert node.inputs == (x,)
    assert list(node.attributes["perm"].as_ints()) == [1, 0]
    assert node.attributes["table"].type == ir.AttributeType.TENSOR
    assert node.attributes["old"].as_int() == 3
    assert [origin.name for origin in origins_of(node)] == ["abs0"]


def test_new_value_takes_over_name_annotations_and_uses() -> None:
    model, (_, first, second) = chain("Abs", "Neg")
    annotated(second, int8())
    set_source(second, "5")
    set_twin(second, Twin("6", (1, 0)))
    name = str(second.name)
    editor = Editor(model, [name])
    new = editor.insert(model.graph[1], "Exp", [first], [type_of(first)], origins=list(model.graph)).outputs[0]
    annotated(new, int8(0.125))
    editor.take_over(second, new)
    assert op_types(model) == ["Abs", "Exp"]
    assert value_named(model, name) is new is model.graph.outputs[0]
    assert (quant_of(new), source_of(new), twin_of(new)) == (int8(), "5", Twin("6", (1, 0)))
    check(model, [name])


def test_value_that_takes_over_an_unquantized_one_is_not_quantized() -> None:
    model, (_, first, second) = chain("Abs", "Neg")
    editor = Editor(model)
    new = editor.insert(model.graph[1], "Exp", [first], [type_of(first)], origins=[]).outputs[0]
    editor.take_over(second, annotated(new, int8()))
    assert quant_of(new) is None


def test_merged_value_takes_the_name_that_must_stay() -> None:
    model, (_, first, second) = chain("Abs", "Identity")
    set_source(first, "5")
    set_source(second, "6")
    name = second.name
    editor = Editor(model)
    assert editor.merge_refusal(second, first) is None
    editor.merge(second, first)
    assert (first.name, source_of(first)) == (name, "6")
    assert origins(model) == [["abs0", "identity1"]]


def test_merged_value_takes_the_name_of_a_source_tensor_when_it_is_none() -> None:
    model, (_, first, second, _) = chain("Abs", "Identity", "Neg")
    set_source(second, "6")
    name = second.name
    Editor(model).merge(second, first)
    assert (first.name, source_of(first)) == (name, "6")


def test_merged_value_keeps_the_source_that_it_has() -> None:
    model, (_, first, second, _) = chain("Abs", "Identity", "Neg")
    set_twin(first, Twin("5", (1, 0)))
    name = first.name
    set_source(second, "6")
    set_source(first, "4")
    Editor(model).merge(second, first)
    assert (first.name, source_of(first), twin_of(first)) == (name, "4", Twin("5", (1, 0)))


def test_values_of_different_types_are_not_merged() -> None:
    net = Net()
    x = net.input(2, 3)
    y = net("Reshape", x, net.integers(3, 2))
    model = net.model(net("Abs", y))
    assert "another type" in str(Editor(model).merge_refusal(y, x))


def test_dropped_node_takes_along_what_only_it_needed() -> None:
    net = Net()
    x = net.input(2, 3)
    shared = net("Abs", x)
    dead = net("Neg", net("Exp", shared))
    model = net.model(net("Tanh", shared))
    editor = Editor(model)
    editor.drop(dead.producer())
    assert op_types(model) == ["Abs", "Tanh"]
    editor.drop(model.graph[0])
    editor.drop(None)
    assert op_types(model) == ["Abs", "Tanh"], "what is used stays"


def test_heir_gets_only_the_layers_that_have_no_node_left() -> None:
    net = Net()
    x = net.input(2)
    nodes = [net(op_type, x).producer() for op_type in ("Abs", "Neg", "Exp", "Tanh")]
    model = net.model(net("Sum", *(node.outputs[0] for node in nodes[2:])))  # type: ignore[union-attr]
    only, both = Origin("only", "X", 9), Origin("both", "X", 8)
    set_origins(nodes[0], [both, only])  # type: ignore[arg-type]
    set_origins(nodes[1], [both])  # type: ignore[arg-type]
    editor = Editor(model)
    editor.drop(nodes[0], heir=nodes[2])
    assert origins_of(nodes[2]) == (Origin("exp2", "EXP", 2), only)  # type: ignore[arg-type]
    editor.drop(nodes[1], heir=nodes[3])
    assert origins_of(nodes[3]) == (Origin("tanh3", "TANH", 3), both)  # type: ignore[arg-type]


def test_layers_are_counted_through_copies_and_merges() -> None:
    """A layer that two nodes share, in one tuple or in two, is lost with the second."""
    model, (x, first, second) = chain("Abs", "Neg")
    editor = Editor(model)
    copies = [
        editor.insert(model.graph[0], "Exp", [x], [type_of(x)], origins=[first.producer()])  # type: ignore[list-item]
        for _ in range(2)
    ]
    editor.inherit(copies[1], [second.producer()])  # type: ignore[list-item]
    editor.inherit(copies[1], [second.producer()])  # type: ignore[list-item]
    assert [origin.name for origin in origins_of(copies[1])] == ["abs0", "neg1"]
    keeper = editor.insert(model.graph[0], "Tanh", [x], [type_of(x)], origins=[])
    for node in copies:
        editor.drop(node, heir=keeper)
    assert origins_of(keeper) == ()


def test_touched_nodes_are_those_around_an_edit() -> None:
    model, values = chain("Abs", "Neg", "Identity", "Exp", "Tanh")
    nodes = list(model.graph)
    editor = Editor(model)
    editor.merge(values[3], values[2])
    assert set(editor.take_touched()) >= {nodes[1], nodes[3]}
    assert editor.take_touched() == []


def test_hoisted_node_stands_behind_its_operand() -> None:
    net = Net()
    x = net.input(2)
    y = net("Abs", x)
    z = net("Neg", y)
    first, second = net("Exp", x), net("Tanh", y)
    model = net.model(z, first, second)
    editor = Editor(model)
    editor.hoist(first.producer(), x)  # type: ignore[arg-type]
    editor.hoist(second.producer(), y)  # type: ignore[arg-type]
    assert op_types(model) == ["Exp", "Abs", "Tanh", "Neg"]
    check(model)
