"""Conditions of old graphs: the branch that a constant condition takes is imported, the other one is not looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synap_core.api import InputError, ModelRequest
from synap_frontend_tensorflow.model import TensorflowModel
from tests.support.canonical import run, whole
from tests.support.tensorflow_models import GraphComposer, computed, opened, reason

X = np.array([[-1.0, 0.5, 2.0, -3.0]], np.float32)


def conditional(graph: GraphComposer, condition: str, name: str = "cond") -> str:
    """What ``cond`` of TensorFlow 1 writes: negated, behind something random, if the condition holds, else the root."""
    graph.node("Switch", [condition, condition], name=f"{name}/Switch", T=bool)
    graph.node("Identity", [f"{name}/Switch:1"], name=f"{name}/switch_t", T=bool)
    graph.node("Identity", [f"{name}/Switch"], name=f"{name}/switch_f", T=bool)
    graph.node("Identity", [condition], name=f"{name}/pred_id", T=bool)
    for branch in ("yes", "no"):
        graph.node("Switch", ["root", f"{name}/pred_id"], name=f"{name}/{branch}/Switch")
    graph.node("RandomUniform", [f"{name}/yes/Switch:1"], name=f"{name}/noise")
    graph.node("Neg", [f"{name}/yes/Switch:1"], name=f"{name}/negative")
    graph.node("Add", [f"{name}/negative", f"{name}/noise"], name=f"{name}/yes")
    graph.node("Identity", [f"{name}/no/Switch"], name=f"{name}/no")
    return graph.node("Merge", [f"{name}/no", f"{name}/yes"], name=f"{name}/Merge", N=2)


def rooted() -> GraphComposer:
    graph = GraphComposer()
    graph.placeholder("x", [-1, 4])
    graph.node("Relu", ["x"], name="root")
    return graph


def false(graph: GraphComposer, kind: str) -> str:
    """A condition that does not hold, written in different ways."""
    if kind == "constant":
        return graph.constant(np.array(False))
    if kind == "default":
        return graph.node("PlaceholderWithDefault", [graph.constant(np.array(False))], name="keras_learning_phase")
    if kind == "logic":
        yes = graph.constant(np.array(True))
        no = graph.node("LogicalNot", [graph.node("Identity", [yes], T=bool)], T=None)
        both = graph.node("LogicalAnd", [graph.placeholder("unknown", [], "bool"), no], T=None)
        return graph.node("LogicalOr", [no, both], T=None)
    return graph.placeholder(kind, [], "bool")


@pytest.mark.parametrize("kind", ["constant", "default", "logic", "phase_train", "net/is_training", "a/learning_phase"])
def test_the_branch_of_a_constant_condition_is_taken(kind: str) -> None:
    graph = rooted()
    graph.node("Exp", [conditional(graph, false(graph, kind))], name="y")
    (found,) = computed(graph.serialize(), {"x": X}, ["y"])
    np.testing.assert_allclose(found, np.exp(np.maximum(X, 0)), rtol=1e-6)


def test_a_placeholder_taken_to_be_false_is_noted() -> None:
    graph = rooted()
    merged = conditional(graph, false(graph, "phase_train"))
    model = opened(graph.serialize(), {"x": [1, 4]}, [merged])
    assert model.notes == ("placeholder 'phase_train' was taken to be false: the model is converted for inference",)
    assert [layer.name for layer in model.layers] == ["x", "root", "cond/no/Switch", "cond/no", "cond/Merge"]


def test_conditions_inside_branches_are_settled_as_well() -> None:
    graph = rooted()
    graph.node("Switch", ["root", graph.constant(np.array(True))], name="outer")
    graph.node("Switch", [false(graph, "constant"), graph.constant(np.array(True))], name="inner/pred", T=bool)
    graph.node("Switch", ["outer:1", "inner/pred:1"], name="inner")
    graph.node("Neg", ["inner:1"], name="yes")
    graph.node("Abs", ["inner"], name="no")
    graph.node("Merge", ["yes", "no"], name="inner/merge", N=2)
    graph.node("Exp", ["outer"], name="other")
    graph.node("Merge", ["other", "inner/merge"], name="y", N=2)
    (found,) = computed(graph.serialize(), {"x": X}, ["y"])
    np.testing.assert_array_equal(found, np.maximum(X, 0))


@pytest.mark.parametrize("holds", [False, True])
def test_constants_belong_to_a_branch_by_what_runs_before_them(*, holds: bool) -> None:
    graph = rooted()
    condition = graph.constant(np.array(holds))
    graph.node("Switch", [condition, condition], name="Switch", T=bool)
    graph.node("Identity", ["Switch:1"], name="switch_t", T=bool)
    graph.node("Identity", ["Switch"], name="switch_f", T=bool)
    for name, value, pivot in (("half", 0.5, "switch_t"), ("two", 2.0, "switch_f")):
        graph.constant(value, name=name)
        graph.graph.node[-1].input.append(f"^{pivot}")
    graph.node("Merge", ["two", "half"], name="factor", N=2)
    graph.node("Mul", ["root", "factor"], name="y")
    (found,) = computed(graph.serialize(), {"x": X}, ["y"])
    np.testing.assert_array_equal(found, np.maximum(X, 0) * np.float32(0.5 if holds else 2))


def test_a_condition_that_is_computed_is_refused_and_says_what_to_do() -> None:
    graph = rooted()
    zero = graph.constant(np.float32(0))
    largest = graph.node("Max", ["root", graph.constant([0, 1])], Tidx=np.int32)
    graph.node("Switch", ["root", graph.node("Greater", [largest, zero])], name="choice")
    assert reason(graph.serialize(), {"x": [1, 4]}, ["choice"]) == (
        "a condition that is computed decides which nodes run: name outputs that do without it, or freeze the graph "
        "with a constant condition"
    )


def test_other_placeholders_of_truth_values_cannot_be_guessed() -> None:
    graph = rooted()
    merged = conditional(graph, false(graph, "flip"))
    with pytest.raises(
        InputError, match=r"placeholder 'flip' \(bool .* inputs; freeze the graph with a constant in its"
    ):
        opened(graph.serialize(), {"x": [1, 4]}, [merged])


def test_a_phase_that_is_an_input_is_not_taken_to_be_false() -> None:
    graph = rooted()
    merged = conditional(graph, false(graph, "phase_train"))
    model = opened(graph.serialize(), {"x": [1, 4], "phase_train": [1]}, [merged])
    assert model.notes == ()
    assert model.support()[-1].status == "opaque"


@pytest.mark.parametrize("output", ["cond/negative", "cond/yes/Switch:1", "cond/yes"])
def test_outputs_in_the_other_branch_are_refused(output: str) -> None:
    graph = rooted()
    conditional(graph, false(graph, "constant"))
    graph.node("Identity", ["cond/negative"], name="out", T=np.float32)
    with pytest.raises(InputError, match=f"output '{output}' is in a branch of the graph that is not taken"):
        opened(graph.serialize(), {"x": [1, 4]}, [output])


def test_a_cut_behind_a_condition_does_without_it() -> None:
    graph = rooted()
    graph.node("Neg", [conditional(graph, false(graph, "phase_train"))], name="y")
    (found,) = computed(graph.serialize(), {"cond/Merge": X}, ["y"])
    np.testing.assert_array_equal(found, -X)
    (found,) = computed(graph.serialize(), {"cond/negative": X, "cond/noise": X}, ["cond/yes"])
    np.testing.assert_array_equal(found, X + X)


def test_a_graph_that_is_looked_at_shows_no_conditions_among_its_outputs(tmp_path: Path) -> None:
    graph = rooted()
    graph.node("Exp", [conditional(graph, false(graph, "phase_train"))], name="y")
    path = tmp_path / "net.pb"
    path.write_bytes(graph.serialize())
    model = TensorflowModel.open(ModelRequest(path=path, inspect=True))
    assert (model.inputs, model.outputs) == (("x", "phase_train"), ("y",))
    assert {item.status for item in model.support()} == {"imported"}


def test_loops_with_conditions_are_still_named() -> None:
    graph = rooted()
    graph.node("Enter", ["root"], name="enter")
    graph.node("Merge", ["enter", "next"], name="merge", N=2)
    graph.node("LoopCond", [graph.node("Less", ["merge", graph.constant(3.0)])], name="again", T=None)
    graph.node("Switch", ["merge", "again"], name="switch")
    graph.node("NextIteration", ["switch:1"], name="next")
    graph.node("Exit", ["switch"], name="exit")
    with pytest.raises(InputError, match="nodes read each other in a loop"):
        opened(graph.serialize(), {"x": [1, 4]}, ["exit"])


def test_a_long_chain_of_conditions_needs_no_deep_stack() -> None:
    graph = rooted()
    last, truth = "root", false(graph, "constant")
    for number in range(1500):
        truth = graph.node("LogicalNot", [truth], name=f"not{number}", T=None)
        graph.node("Switch", [last, truth], name=f"s{number}")
        last = graph.node("Merge", [f"s{number}", f"s{number}:1"], name=f"m{number}", N=2)
    model = opened(graph.serialize(), {"x": [1, 4]}, [last])
    np.testing.assert_array_equal(run(model.canonical(whole(model)), [X])[0], np.maximum(X, 0))


def kept(graph: GraphComposer, keep: str, *, old: bool) -> str:
    """Dropout as TensorFlow 1.0 and as 1.15 and later write it."""
    zero, one = graph.constant(0.0), graph.constant(1.0)
    shape = graph.node("Shape", ["root"])
    random = graph.node("RandomUniform", [shape], dtype=np.float32, T=np.int32)
    spread = graph.node("Mul", [random, graph.node("Sub", [one, zero])])
    shifted = graph.node("Add", [spread, zero])
    if old:
        mask = graph.node("Floor", [graph.node("Add", [keep, shifted])])
        return graph.node("Mul", [graph.node("RealDiv", ["root", keep]), mask])
    share = graph.node("Sub", [one, keep])
    mask = graph.node("Cast", [graph.node("GreaterEqual", [shifted, share])], SrcT=bool, DstT=np.float32, T=None)
    return graph.node("Mul", [graph.node("Mul", ["root", graph.node("RealDiv", [one, keep])]), mask])


@pytest.mark.parametrize("old", [True, False], ids=["floor", "greater"])
@pytest.mark.parametrize("kind", ["constant", "default", "keep_prob", "net/dropout_keep_prob"])
def test_dropout_that_keeps_everything_is_none(kind: str, *, old: bool) -> None:
    graph = rooted()
    keep = graph.constant(1.0) if kind in ("constant", "default") else graph.placeholder(kind, [])
    keep = graph.node("PlaceholderWithDefault", [keep]) if kind == "default" else keep
    graph.node("Neg", [kept(graph, keep, old=old)], name="y")
    model = opened(graph.serialize(), {"x": [1, 4]}, ["y"])
    named = kind not in ("constant", "default")
    assert model.notes == (f"placeholder {kind!r} was taken to be 1: the model is converted for inference",) * named
    assert "RandomUniform" not in {layer.type for layer in model.layers}
    np.testing.assert_array_equal(run(model.canonical(whole(model)), [X])[0], -np.maximum(X, 0))


@pytest.mark.parametrize("old", [True, False], ids=["floor", "greater"])
def test_dropout_that_drops_items_is_refused(*, old: bool) -> None:
    graph = rooted()
    graph.node("Neg", [kept(graph, graph.constant(0.75), old=old)], name="y")
    model = opened(graph.serialize(), {"x": [1, 4]}, ["y"])
    with pytest.raises(
        InputError, match="its result is random, as that of dropout in training: freeze the graph for inf"
    ):
        model.canonical(whole(model))


def test_other_random_numbers_are_not_taken_for_dropout() -> None:
    graph = rooted()
    random = graph.node("RandomUniform", [graph.node("Shape", ["root"])], dtype=np.float32, T=np.int32)
    double = graph.node("Mul", [random, graph.constant(2.0)])
    graph.node("Floor", [graph.node("Add", [double, graph.constant(1.0)])], name="mask")
    graph.node("Mul", ["root", "mask"], name="y")
    model = opened(graph.serialize(), {"x": [1, 4]}, ["y"])
    assert model.support()[-1].status == "opaque"


@pytest.mark.parametrize("number", [np.nan, np.inf, 1.0])
def test_conditions_that_are_numbers_settle_nothing(number: float) -> None:
    graph = rooted()
    graph.node("Switch", ["root", graph.constant(np.float32(number))], name="s")
    model = opened(graph.serialize(), {"x": [1, 4]}, ["s"])
    assert model.support()[-1].reason.startswith("a condition that is computed decides")
