"""Variables that handles refer to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_core.graph.annotations import states_of
from tests.support.canonical import imported, opaque_reasons
from tests.support.streaming import Stream, follows
from tests.support.tflite_models import ModelBuilder, counter


def _handle_options(name: str) -> schema.VarHandleOptionsT:
    options = schema.VarHandleOptionsT()
    options.container, options.sharedName = "", name
    return options


def _assign(builder: ModelBuilder, name: str, value: int) -> None:
    handle = builder.tensor(f"handle of {name} {len(builder.graph.tensors)}", [], "resource")
    builder.operator("VAR_HANDLE", [], [handle], _handle_options(name))
    builder.operator("ASSIGN_VARIABLE", [handle, value], [], schema.AssignVariableOptionsT())


def _read(builder: ModelBuilder, name: str, result: int) -> None:
    handle = builder.tensor(f"handle of {name} {len(builder.graph.tensors)}", [], "resource")
    builder.operator("VAR_HANDLE", [], [handle], _handle_options(name))
    builder.operator("READ_VARIABLE", [handle], [result], schema.ReadVariableOptionsT())


def _initialized(builder: ModelBuilder, **values: np.ndarray) -> None:
    """Add the subgraph that assigns first values; the builder's current one is the main one again."""
    main = builder.graph
    builder.new_graph("init")
    for name, array in values.items():
        _assign(builder, name, builder.constant(f"first {name}", array))
    builder.graph = main


def _call_once(builder: ModelBuilder) -> None:
    once = schema.CallOnceOptionsT()
    once.initSubgraphIndex = 1
    builder.operator("CALL_ONCE", [], [], once)


STEPS = [[np.array([[1, 2]], np.float32)], [np.array([[3, -4]], np.float32)], [np.array([[0.5, 0]], np.float32)]]


def test_a_counter_goes_on_from_run_to_run(tmp_path: Path) -> None:
    follows(counter(), tmp_path, STEPS)


def test_a_variable_is_an_input_and_an_output_with_a_first_value(tmp_path: Path) -> None:
    model, _ = imported(counter(), tmp_path)
    (state,) = states_of(model)
    assert (state.name, state.input, state.output) == ("/total", "/total/old", "/total/new")
    np.testing.assert_array_equal(state.initial.numpy(), np.full((1, 2), 10, np.float32))
    assert [value.name for value in model.graph.inputs] == ["x", "/total/old"]
    assert [value.name for value in model.graph.outputs] == ["y", "/total/new"]
    assert [node.op_type for node in model.graph].count("Add") == 1


def test_two_variables_that_change_places_keep_apart(tmp_path: Path) -> None:
    """Both are read before either is assigned: the new value of one is the old one of the other."""
    builder = ModelBuilder()
    x, y = builder.tensor("x", [2]), builder.tensor("y", [2])
    a, b = builder.tensor("a", [2]), builder.tensor("b", [2])
    _call_once(builder)
    _read(builder, "left", a)
    _read(builder, "right", b)
    _assign(builder, "left", b)
    _assign(builder, "right", a)
    builder.operator("ADD", [x, a], [y], schema.AddOptionsT())
    _initialized(builder, left=np.array([1, 2], np.float32), right=np.array([30, 40], np.float32))
    follows(builder.finish([x], [y]), tmp_path, [[np.zeros(2, np.float32)]] * 3)


def test_a_value_read_behind_an_assignment_is_the_new_one(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y, again = builder.tensor("x", [2]), builder.tensor("y", [2]), builder.tensor("again", [2])
    _call_once(builder)
    _assign(builder, "kept", x)
    _read(builder, "kept", again)
    builder.operator("ADD", [again, again], [y], schema.AddOptionsT())
    _initialized(builder, kept=np.array([7, 7], np.float32))
    content = builder.finish([x], [y])
    follows(content, tmp_path, [[np.array([1, 2], np.float32)], [np.array([3, 4], np.float32)]])
    assert states_of(imported(content, tmp_path)[0]) == ()


def test_integers_of_a_variable_mean_what_its_reader_says(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y, old = (builder.tensor(name, [1, 2], "int8", scale=0.5, zero_point=3) for name in ("x", "y", "old"))
    _call_once(builder)
    _read(builder, "total", old)
    builder.operator("ADD", [x, old], [y], schema.AddOptionsT())
    _assign(builder, "total", y)
    _initialized(builder, total=np.array([[5, -20]], np.int8))
    content = builder.finish([x], [y])
    steps = [[np.array([[4, 3]], np.int8)], [np.array([[1, 9]], np.int8)], [np.array([[0, 0]], np.int8)]]
    # Sums of numbers with one scale are exact.
    follows(content, tmp_path, steps, rounded=True)
    (state,) = states_of(imported(content, tmp_path)[0])
    np.testing.assert_array_equal(state.initial.numpy(), [[1.0, -11.5]])


def _without_first_value() -> bytes:
    builder = ModelBuilder()
    x, y, old = builder.tensor("x", [1]), builder.tensor("y", [1]), builder.tensor("old", [1])
    _read(builder, "lost", old)
    builder.operator("ADD", [x, old], [y], schema.AddOptionsT())
    _assign(builder, "lost", y)
    return builder.finish([x], [y])


def _computed_first_value() -> bytes:
    builder = ModelBuilder()
    x, y, old = builder.tensor("x", [1]), builder.tensor("y", [1]), builder.tensor("old", [1])
    _call_once(builder)
    _read(builder, "total", old)
    builder.operator("ADD", [x, old], [y], schema.AddOptionsT())
    main = builder.graph
    builder.new_graph("init")
    _assign(builder, "total", builder.constant("replaced", np.zeros(1, np.float32)))
    computed = builder.tensor("computed", [1])
    builder.operator("ABS", [builder.constant("start", np.ones(1, np.float32))], [computed])
    _assign(builder, "total", computed)
    builder.graph = main
    return builder.finish([x], [y])


def _other_type() -> bytes:
    builder = ModelBuilder()
    x, y, old = builder.tensor("x", [3]), builder.tensor("y", [3]), builder.tensor("old", [1])
    _call_once(builder)
    _read(builder, "total", old)
    builder.operator("ADD", [x, old], [y], schema.AddOptionsT())
    _assign(builder, "total", y)
    _initialized(builder, total=np.zeros(1, np.float32))
    return builder.finish([x], [y])


def _other_scale() -> bytes:
    builder = ModelBuilder()
    x, y = (builder.tensor(name, [1], "int8", scale=0.5) for name in "xy")
    old = builder.tensor("old", [1], "int8", scale=0.25)
    _call_once(builder)
    _read(builder, "total", old)
    builder.operator("ADD", [x, old], [y], schema.AddOptionsT())
    _assign(builder, "total", y)
    _initialized(builder, total=np.zeros(1, np.int8))
    return builder.finish([x], [y])


@pytest.mark.parametrize(
    ("content", "culprit", "reason"),
    [
        pytest.param(_without_first_value(), "READ_VARIABLE", "is not in the file", id="first value unknown"),
        pytest.param(_computed_first_value(), "READ_VARIABLE", "is not in the file", id="first value computed"),
        pytest.param(_other_type(), "ASSIGN_VARIABLE", "changes its type", id="other shape"),
        pytest.param(_other_scale(), "ASSIGN_VARIABLE", "changes its quantization", id="other scale"),
    ],
)
def test_a_variable_is_expressed_for_all_layers_or_none(
    tmp_path: Path, content: bytes, culprit: str, reason: str
) -> None:
    model, _ = imported(content, tmp_path)
    reasons = opaque_reasons(model)
    assert [reason in text for text in reasons if text.startswith(culprit)] == [True]
    shared = [text for text in reasons if not text.startswith(culprit)]
    assert shared
    assert all("it shares the variable" in text for text in shared)
    assert states_of(model) == ()
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_without_a_handle_nothing_is_read(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1]), builder.tensor("y", [1])
    builder.operator("READ_VARIABLE", [x], [y], schema.ReadVariableOptionsT())
    model, _ = imported(builder.finish([x], [y]), tmp_path)
    assert opaque_reasons(model) == ["READ_VARIABLE: its first operand is no handle of a variable"]


def test_the_first_run_of_an_unrounded_graph_sees_real_first_values(tmp_path: Path) -> None:
    stream = Stream(imported(counter(), tmp_path)[0])
    np.testing.assert_array_equal(stream([np.zeros((1, 2), np.float32)])[0], np.full((1, 2), 10, np.float32))
    np.testing.assert_array_equal(stream.variables["/total/old"], np.full((1, 2), 10, np.float32))
