"""Cutting a model at the tensors that the metafile names."""

from __future__ import annotations

from pathlib import Path

import pytest

from synap_core.errors import InputError
from synap_core.metafile import default_metafile
from synap_core.selection import Selection, select
from tests.support.metafiles import metafile
from tests.support.toy_source import GraphModel, graph_model, six_graph

SHAPE = "shape: [1, 4]"


def cut(source: GraphModel, folder: Path, text: str) -> Selection:
    return select(source, metafile(folder, text))


def names(selection: Selection) -> list[str]:
    return [layer.name for layer in selection.layers]


def two_inputs() -> GraphModel:
    return graph_model(["a", "b"], [("abs", ["a"], ["t"]), ("add", ["t", "b"], ["y"]), ("neg", ["y"], ["z"])], ["z"])


def test_without_names_the_whole_model_is_selected() -> None:
    selection = select(six_graph(), default_metafile())
    assert names(selection) == ["c1", "c2", "c3", "c4", "c5", "c6"]
    assert (selection.inputs, selection.outputs) == (("x",), ("t4", "t6"))


@pytest.mark.acceptance("P28")
def test_p28_layers_behind_a_requested_output_are_dropped(tmp_path: Path) -> None:
    selection = cut(six_graph(), tmp_path, "outputs: [{name: t3}]")
    assert names(selection) == ["c1", "c2", "c3"]


def test_layers_before_a_requested_input_are_dropped(tmp_path: Path) -> None:
    selection = cut(six_graph(), tmp_path, f"inputs: [{{name: t2, {SHAPE}}}]")
    assert (names(selection), selection.inputs) == (["c3", "c4", "c5", "c6"], ("t2",))


def test_outputs_keep_the_order_of_the_metafile(tmp_path: Path) -> None:
    assert cut(six_graph(), tmp_path, "outputs: [{name: t6}, {name: t1}]").outputs == ("t6", "t1")


def test_several_intermediate_inputs_can_be_requested(tmp_path: Path) -> None:
    text = f"inputs: [{{name: t3, {SHAPE}}}, {{name: t5, {SHAPE}}}]"
    assert names(cut(six_graph(), tmp_path, text)) == ["c4", "c6"]


def test_dead_layers_are_dropped() -> None:
    source = graph_model(["x"], [("used", ["x"], ["y"]), ("dead", ["x"], ["z"])], ["y"])
    assert names(select(source, default_metafile())) == ["used"]


@pytest.mark.acceptance("P25")
def test_p25_requested_input_that_is_not_needed_is_an_error(tmp_path: Path) -> None:
    text = f"inputs: [{{name: a, {SHAPE}}}, {{name: b, {SHAPE}}}]\noutputs: [{{name: t}}]"
    with pytest.raises(InputError, match=r"meta.yaml:1:\d+: input 'b' is not needed for the requested outputs"):
        cut(two_inputs(), tmp_path, text)


@pytest.mark.acceptance("P26")
def test_p26_needed_input_that_is_not_requested_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input 'b' is needed for the requested outputs but not listed"):
        cut(two_inputs(), tmp_path, f"inputs: [{{name: t, {SHAPE}}}]")


@pytest.mark.acceptance("N8")
@pytest.mark.parametrize("written", ["x:0", "x/0"])
def test_n8_colon_may_be_written_as_slash(tmp_path: Path, written: str) -> None:
    source = graph_model(["in"], [("abs", ["in"], ["x:0"]), ("neg", ["x:0"], ["y"])], ["y"])
    assert cut(source, tmp_path, f"outputs: [{{name: '{written}'}}]").outputs == ("x:0",)


def test_one_part_of_a_joined_name_is_accepted_while_it_is_unambiguous(tmp_path: Path) -> None:
    operators = [("1", ["in"], ["conv/Relu;conv/bias"]), ("2", ["conv/Relu;conv/bias"], ["dense/Relu;conv/bias"])]
    source = graph_model(["in"], operators, ["dense/Relu;conv/bias"])
    assert cut(source, tmp_path, "outputs: [{name: conv/Relu}]").outputs == ("conv/Relu;conv/bias",)
    with pytest.raises(InputError, match="the tensor name 'conv/bias' is ambiguous: 2 tensors have it"):
        cut(source, tmp_path, "outputs: [{name: conv/bias}]")


def test_unknown_tensor_suggests_the_nearest(tmp_path: Path) -> None:
    source = graph_model(["in"], [("1", ["in"], ["MobilenetV1/Predictions"])], ["MobilenetV1/Predictions"])
    with pytest.raises(
        InputError,
        match=r"meta.yaml:1:\d+: tensor 'MobilenetV1/Prediction' not found.*did you mean 'MobilenetV1/Predictions'",
    ):
        cut(source, tmp_path, "outputs: [{name: MobilenetV1/Prediction}]")


def test_more_entries_than_inputs_is_an_error_with_both_counts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model has 1 inputs but 2 inputs are specified"):
        cut(six_graph(), tmp_path, "inputs: [null, null]")


def test_fewer_unnamed_entries_leave_the_rest_alone(tmp_path: Path) -> None:
    selection = cut(two_inputs(), tmp_path, "inputs: [{scale: 2}]")
    assert (selection.inputs, selection.input_entries) == (("a", "b"), {"a": 0})


def test_two_names_of_one_tensor_are_duplicates(tmp_path: Path) -> None:
    source = graph_model(["in"], [("abs", ["in"], ["x:0"])], ["x:0"])
    with pytest.raises(InputError, match="Duplicate output name: 'x/0' is the same tensor as 'x:0'"):
        cut(source, tmp_path, "outputs: [{name: 'x:0'}, {name: 'x/0'}]")


def test_output_that_is_an_input_leaves_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output 'x' is an input of the model"):
        cut(six_graph(), tmp_path, "outputs: [{name: x}]")


def test_input_computed_by_a_layer_that_is_needed_is_refused(tmp_path: Path) -> None:
    source = graph_model(["x"], [("split", ["x"], ["a", "b"]), ("add", ["a", "b"], ["y"])], ["y"])
    with pytest.raises(InputError, match="input 'a' is computed by a layer that is needed"):
        cut(source, tmp_path, f"inputs: [{{name: a, {SHAPE}}}, {{name: x, {SHAPE}}}]")


def streaming() -> GraphModel:
    """init; before -> [read] -> add -> [assign]; add -> after."""
    operators = [
        ("init", [], []),
        ("before", ["x"], ["t"]),
        ("read", [], ["old"]),
        ("add", ["t", "old"], ["sum"]),
        ("shrink", ["sum"], ["new"]),
        ("assign", ["new"], []),
        ("after", ["sum"], ["y"]),
    ]
    return graph_model(["x"], operators, ["y"], dict.fromkeys(("init", "read", "assign"), "v"))


def test_variables_are_kept_when_the_model_is_not_cut() -> None:
    assert names(select(streaming(), default_metafile())) == [
        "init",
        "before",
        "read",
        "add",
        "shrink",
        "assign",
        "after",
    ]


def test_variables_are_kept_when_the_cut_is_elsewhere(tmp_path: Path) -> None:
    selection = cut(streaming(), tmp_path, f"inputs: [{{name: t, {SHAPE}}}]")
    assert names(selection) == ["init", "read", "add", "shrink", "assign", "after"]


def test_variables_that_no_output_needs_are_dropped_with_all_their_layers(tmp_path: Path) -> None:
    assert names(cut(streaming(), tmp_path, "outputs: [{name: t}]")) == ["before"]


def test_cut_through_a_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="the cut separates 'read' and 'assign', which share the variable 'v'.*cut before or behind"
    ):
        cut(streaming(), tmp_path, f"inputs: [{{name: sum, {SHAPE}}}]")


def test_variable_that_is_only_written_is_kept_when_the_model_is_not_cut() -> None:
    source = graph_model(["x"], [("y", ["x"], ["y"]), ("log", ["x"], [])], ["y"], {"log": "v"})
    assert names(select(source, default_metafile())) == ["y", "log"]
