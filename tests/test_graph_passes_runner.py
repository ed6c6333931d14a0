"""The passes as a whole: order, report, checks, effort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.errors import SynapError
from synap_core.graph import passes
from synap_core.graph.annotations import State, Twin, set_states, set_twin
from synap_core.graph.edit import Editor
from synap_core.graph.passes import Pass, PassError, Refusal, Report, Rule, check, normalise
from synap_core.graph.passes.constants import RemoveUnused
from synap_core.graph.passes.scales import FoldScale
from synap_core.graph.types import GraphError, type_of
from synap_core.source import ModelRequest
from tests.support.canonical import whole
from tests.support.passes import FLOAT, Net, annotated, applied, by_channel, int8, normalised, op_types, value_named

RULES = [rule for single in passes.PASSES for rule in single.rules()]


def small() -> ir.Model:
    net = Net()
    return net.model(net("Neg", net("Abs", net.input(2, 3))))


def test_report_says_what_was_done_and_what_was_not() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 4), 4)
    y = annotated(net("Mul", x, net.weights(4, 1, 1)), int8())
    name = y.name
    report = normalise(net.model(net("Identity", net("Mul", y, net.weights(4, 1, 1)))))
    assert report.applied == {"remove-no-op": 1, "fold-scale": 1}
    refusal = f"fold-scale: not at layer 'mul2': {name!r} is quantized"
    assert report.lines() == ["remove-no-op: 1", "fold-scale: 1", refusal]


def test_report_cannot_be_changed_and_hostile_names_stay_in_one_line() -> None:
    report = Report({}, (Refusal("rule", "a\nb\x1b", "reason"),))
    with pytest.raises(FrozenInstanceError):
        report.applied = {}  # type: ignore[misc]
    assert report.lines() == [r"rule: not at layer 'a\nb\x1b': reason"]


def test_refusal_of_what_was_done_later_is_not_reported() -> None:
    """The value has another user at first, which is unused."""
    net = Net()
    x = net.conv(net.input(1, 4, 4, 4), 4)
    y = net("Mul", x, net.weights(4, 1, 1))
    net("Neg", x)
    model = net.model(y)
    report = applied(model, FoldScale, RemoveUnused)
    assert report.applied == {"fold-scale": 1, "remove-unused": 1}
    assert report.refusals == ()


def test_unknown_cut_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no value 'missing' to keep"):
        normalise(small(), ["missing"])


def test_every_rule_has_a_name_of_its_own_and_says_when_it_must_not_fire() -> None:
    kinds = {type(rule) for rule in RULES}
    assert len({kind.name for kind in kinds}) == len(kinds)
    assert [kind.__name__ for kind in kinds if "Not " not in (kind.__doc__ or "")] == []


class Break(Rule[ir.Node]):
    """Not a rule to keep: renames the first value like the second."""

    name = "break"
    op_types = frozenset({"Neg"})

    def match(self, node: ir.Node, editor: Editor) -> ir.Node | None:  # noqa: ARG002
        return node if node.inputs[0].name != node.outputs[0].name else None  # type: ignore[union-attr]

    def rewrite(self, found: ir.Node, editor: Editor) -> None:  # noqa: ARG002
        found.inputs[0].name = found.outputs[0].name  # type: ignore[union-attr]


def test_pass_that_leaves_an_invalid_graph_is_named() -> None:
    with pytest.raises(PassError, match="pass 'breaks' left an invalid graph: two values are called") as caught:
        passes._run(small(), (), (Pass("breaks", lambda: [Break()]),))
    assert isinstance(caught.value, RuntimeError)
    assert not isinstance(caught.value, SynapError)


def test_invalid_graph_is_refused_before_any_pass() -> None:
    model = small()
    model.graph[0].outputs[0].shape = None
    with pytest.raises(PassError, match="the graph to normalise is invalid: value '.*' has no static type"):
        normalise(model)


class Swap(Rule[ir.Node]):
    """Not a rule to keep: never ends."""

    name = "swap"
    op_types = frozenset({"Abs", "Neg"})

    def match(self, node: ir.Node, editor: Editor) -> ir.Node | None:  # noqa: ARG002
        return node

    def rewrite(self, found: ir.Node, editor: Editor) -> None:
        other = {"Abs": "Neg", "Neg": "Abs"}[found.op_type]
        old = found.outputs[0]
        new = editor.insert(found, other, found.inputs, [type_of(old)], origins=[found])
        editor.take_over(old, new.outputs[0])


def test_rules_that_undo_each_other_stop() -> None:
    model = small()
    report = applied(model, Swap)
    assert 10 < report.applied["swap"] < 1000
    assert len(model.graph) == 2


def rename(model: ir.Model) -> None:
    model.graph[0].outputs[0].name = "x"


def reorder(model: ir.Model) -> None:
    model.graph.insert_before(model.graph[0], model.graph[1])


def lose(model: ir.Model) -> None:
    value = ir.Value(name="elsewhere", shape=ir.Shape((2, 3)), type=ir.TensorType(FLOAT))
    model.graph.outputs[0] = value


def nest(model: ir.Model) -> None:
    inner = ir.Graph([], [], nodes=[], name="inner")
    model.graph[0].attributes.add(ir.AttrGraph("body", inner))


def mistype(model: ir.Model) -> None:
    value = ir.Value(name="c", shape=ir.Shape((2, 3)), type=ir.TensorType(FLOAT), const_value=ir.tensor(np.ones(3)))
    model.graph.initializers.add(value)


def cut_off(model: ir.Model) -> None:
    set_states(model, [State("memory", "x", "nowhere", ir.tensor(np.zeros(1)))])


def unname(model: ir.Model) -> None:
    model.graph[0].outputs[0].name = ""


def namesakes(model: ir.Model) -> None:
    model.graph[0].name = model.graph[1].name


DAMAGE: dict[str, tuple[Callable[[ir.Model], object], str]] = {
    "same name": (rename, "two values are called 'x'"),
    "no name": (unname, "a value has no name"),
    "nodes of one name": (namesakes, "of a node is not unique"),
    "late": (reorder, "before it is computed"),
    "output": (lose, "output 'elsewhere' is not computed"),
    "inner graph": (nest, "has a graph of its own"),
    "constant": (mistype, "has items of another type"),
    "variable": (cut_off, "variable 'memory' is cut off"),
    "axis": (lambda m: annotated(m.graph[0].outputs[0], by_channel(3, axis=2)), "does not fit its shape"),
    "channels": (lambda m: annotated(m.graph[0].outputs[0], by_channel(2, axis=1)), "does not fit its shape"),
    "twin": (lambda m: set_twin(m.graph[0].outputs[0], Twin("t", (0, 1, 2))), "no twin of another layout"),
}


@pytest.mark.parametrize(("damage", "problem"), DAMAGE.values(), ids=DAMAGE)
def test_check_finds(damage: Callable[[ir.Model], object], problem: str) -> None:
    model = small()
    check(model)
    damage(model)
    with pytest.raises(GraphError, match=problem):
        check(model)


def test_check_finds_a_lost_cut() -> None:
    with pytest.raises(GraphError, match="value 'cut' is gone"):
        check(small(), ["cut"])


def test_cut_in_the_middle_leaves_two_parts_that_can_be_taken_apart() -> None:
    """What is behind the cut is computed from it alone."""
    net = Net()
    x = net.input(1, 6, 6, 3)
    cut = net("Relu", net.to_nhwc(net.conv(net.to_nchw(x), 4)))
    name = str(cut.name)
    model = net.model(net("Mul", net.to_nhwc(net.conv(net.to_nchw(cut), 2)), net.weights(2)))
    normalised(model, keep=[cut])
    pending, seen = [*model.graph.outputs], set()
    while pending:
        value = pending.pop()
        seen.add(value.name)
        if value.name != name and value.producer() is not None:
            pending += [operand for operand in value.producer().inputs if operand is not None]  # type: ignore[union-attr]
    assert name in seen
    assert "x" not in seen
    assert value_named(model, name)


def repeated(blocks: int) -> ir.Model:
    """Residual blocks in channels-last layout."""
    net = Net()
    x = net.input(1, 4, 4, 2)
    for _ in range(blocks):
        y = net("Relu", net.to_nhwc(net.conv(net.to_nchw(x), 2)))
        x = net("Clip", net("Add", net("Mul", y, net.weights(2)), x), net.build.constant(-4.0))
    return net.model(x)


def test_effort_grows_with_the_number_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns tried, counted instead of timed: twice the network, twice the tries."""
    tries: Counter[int] = Counter()
    size = 0
    for kind in {type(rule) for rule in RULES}:
        original = kind.match

        def counted(self: Any, node: ir.Node, editor: Editor, original: Any = original) -> Any:
            tries[size] += 1
            return original(self, node, editor)

        monkeypatch.setattr(kind, "match", counted)
    for size in (20, 40, 80):
        normalise(repeated(size))
    assert tries[40] < 2.1 * tries[20]
    assert tries[80] < 2.1 * tries[40]


def test_long_networks_are_left_without_inner_transposes() -> None:
    model = repeated(60)
    normalised(model, relative=1e-4)  # the numbers grow over sixty blocks, and sums change their order in each
    assert op_types(model).count("Transpose") <= 2


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("classification/mobilenet_v1_0.5_160_quant", 1),
        ("classification/tf2_mobilenet_v2_1.0_224_ptq", 1),
        ("detection/ssd_mobilenet_v1_coco_quant_postprocess", 11),
        ("detection/face_detection_front", 5),
        ("mlperf_tiny/pretrainedResnet_quant", 1),
        ("audio/micro_speech_quantized", 0),
    ],
)
def test_real_networks_keep_few_transposes(zoo: Path, name: str, left: int) -> None:
    """One at the input, and one at each head that is flattened channels last; none where that moves nothing."""
    from synap_frontend_tflite.model import TfliteModel

    source = TfliteModel.open(ModelRequest(path=zoo / "models" / f"{name}.tflite"))
    model = source.canonical(whole(source))
    normalise(model)
    assert op_types(model).count("Transpose") == left
