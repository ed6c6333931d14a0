"""Splitting layers into subgraphs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.api import Layer, ModelRequest
from synap_core.bundle_reader import read_bundle
from synap_core.bundle_writer import pack_bundle
from synap_core.conversion import Conversion
from synap_core.convert import ConvertRequest, convert
from synap_core.delegate_rules import Assignment
from synap_core.errors import InputError
from synap_core.layer_graph import LayerGraph, reachable
from synap_core.model_files import open_model
from synap_core.names import is_operator
from synap_core.partition import Part, partition
from synap_core.selection import Cut
from tests.support.cli import Synap
from tests.support.hosts import host_with, stand_in_delegate
from tests.support.onnx_models import conv5
from tests.support.toy_source import GraphModel, graph_model, six_graph

DELEGATES = tuple(Assignment(name) for name in ("npu", "gpu", "cpu"))


@dataclass
class Case:
    """A graph, what is requested of it, and where each layer runs."""

    source: GraphModel
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    assigned: dict[int, Assignment]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    inputs = [f"in{i}" for i in range(draw(st.integers(1, 10)))]
    tensors = list(inputs)
    operators = []
    for number in range(draw(st.integers(1, 50))):
        read = draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3, unique=True))
        written = [f"t{number}_{k}" for k in range(draw(st.integers(1, 2)))]
        operators.append((f"op{number}", read, written))
        tensors += written
    source = graph_model(inputs, operators, [])
    computed = tensors[len(inputs) :]
    outputs = tuple(draw(st.lists(st.sampled_from(computed), min_size=1, max_size=4, unique=True)))
    layers = Cut(source, inputs, outputs).needed(keep_state=False)
    choice = st.sampled_from(DELEGATES)
    assigned = {layer.index: draw(choice) for layer in layers if layer.index is not None}
    return Case(source, tuple(inputs), outputs, layers, assigned)


@given(cases())
@pytest.mark.acceptance("P1", "P2", "P3", "P4", "P5", "P6", "P7")
def test_random_graphs_are_split_consistently(case: Case) -> None:
    parts = partition(case.layers, case.assigned, case.inputs, case.outputs)
    ids = [layer.index for part in parts for layer in part.part.layers]
    assert sorted(ids) == sorted(layer.index for layer in case.layers)  # P1: every layer, once
    known = set(case.inputs)
    for number, part in enumerate(parts):
        layers = part.part.layers
        assert {case.assigned[layer.index] for layer in layers} == {part.assignment}  # P2
        made = {tensor for layer in layers for tensor in layer.outputs}
        read = {tensor for layer in layers for tensor in layer.inputs} - made
        unread = set(case.inputs) - {t for layer in case.layers for t in layer.inputs} if number == 0 else set()
        assert set(part.part.inputs) == read | unread  # P3
        assert set(part.part.outputs) <= made  # P4
        assert set(part.part.inputs) <= known  # P6: nothing is read before it is computed
        assert list(part.part.inputs) == sorted(part.part.inputs)
        known |= set(part.part.outputs)
    assert set(case.outputs) <= known  # P5: what crosses a boundary is handed over


@given(cases())
def test_one_delegate_gives_one_subgraph(case: Case) -> None:
    assigned = dict.fromkeys(case.assigned, DELEGATES[0])
    assert len(partition(case.layers, assigned, case.inputs, case.outputs)) == 1


@given(cases())
def test_execution_order_inside_a_subgraph_is_that_of_the_model(case: Case) -> None:
    for part in partition(case.layers, case.assigned, case.inputs, case.outputs):
        indices = [layer.index for layer in part.part.layers]
        assert indices == sorted(indices)  # type: ignore[type-var]  # operators have an index


def layers_of(parts: tuple[Part, ...]) -> list[list[str]]:
    return [[layer.name for layer in part.part.layers] for part in parts]


def split(source: GraphModel, delegates: str, *, branch_split: bool = True) -> tuple[Part, ...]:
    layers = tuple(layer for layer in source.layers if is_operator(layer))
    assigned = {i: Assignment(name) for i, name in enumerate(delegates.split())}
    return partition(layers, assigned, source.inputs, source.outputs, branch_split=branch_split)


@pytest.mark.acceptance("P17", "P18")
def test_p17_p18_branches_on_different_delegates_do_not_wait_for_each_other() -> None:
    parts = split(six_graph(), "npu npu npu npu gpu gpu")
    assert layers_of(parts) == [["c1", "c2"], ["c3", "c4"], ["c5", "c6"]]
    assert [part.part.inputs for part in parts] == [("x",), ("t2",), ("t2",)]


@pytest.mark.acceptance("P17")
def test_p17_without_branch_split_the_trunk_takes_its_branch_along() -> None:
    parts = split(six_graph(), "npu npu npu npu gpu gpu", branch_split=False)
    assert layers_of(parts) == [["c1", "c2", "c3", "c4"], ["c5", "c6"]]
    assert parts[1].part.inputs == ("t2",)
    assert parts[0].part.outputs == ("t2", "t4")


def diamond() -> GraphModel:
    """conv1 -> relu -> {conv2, sigmoid} -> add."""
    edges = [("conv1", ["x"], ["a"]), ("relu", ["a"], ["b"]), ("conv2", ["b"], ["c"]), ("sigmoid", ["b"], ["d"])]
    return graph_model(["x"], [*edges, ("add", ["c", "d"], ["y"])], ["y"])


def test_side_branch_joins_neither_what_is_before_nor_what_is_behind() -> None:
    parts = split(diamond(), "cpu cpu gpu cpu cpu")
    assert layers_of(parts) == [["conv1", "relu"], ["conv2"], ["sigmoid"], ["add"]]
    greedy = split(diamond(), "cpu cpu gpu cpu cpu", branch_split=False)
    assert layers_of(greedy) == [["conv1", "relu", "sigmoid"], ["conv2"], ["add"]]


def test_independent_branches_of_one_delegate_stay_together() -> None:
    source = graph_model(["x", "z"], [("a", ["x"], ["s"]), ("b", ["z"], ["t"]), ("c", ["s", "t"], ["y"])], ["y"])
    assert layers_of(split(source, "cpu cpu gpu")) == [["a", "b"], ["c"]]


@given(cases())
def test_no_two_subgraphs_of_one_delegate_could_be_merged(case: Case) -> None:
    parts = partition(case.layers, case.assigned, case.inputs, case.outputs)
    graph = LayerGraph(case.layers)
    number = {layer.index: i for i, layer in enumerate(case.layers)}
    groups = [[number[layer.index] for layer in part.part.layers] for part in parts]
    before = [reachable([i], graph.predecessors.__getitem__) for i in range(len(graph))]
    behind = [reachable([i], graph.successors.__getitem__) for i in range(len(graph))]

    def foreign(layers: set[int], delegate: Assignment) -> set[int]:
        return {i for i in layers if case.assigned[_index(case.layers[i])] != delegate}

    for part, group in zip(parts, groups, strict=True):
        # Inside a subgraph nobody waits for a foreign layer that another member does not wait for, and the reverse.
        for sets in (before, behind):
            assert len({frozenset(foreign(sets[i], part.assignment)) for i in group}) == 1
    for k, (part, group) in enumerate(zip(parts, groups, strict=True)):
        for other, members in zip(parts[k + 1 :], groups[k + 1 :], strict=True):
            if other.assignment == part.assignment:
                pairs = [(sets[group[0]], sets[members[0]]) for sets in (before, behind)]
                assert any(foreign(a, part.assignment) != foreign(b, part.assignment) for a, b in pairs)


def _index(layer: Layer) -> int:
    assert layer.index is not None
    return layer.index


@given(cases())
def test_greedy_growth_is_consistent_too(case: Case) -> None:
    parts = partition(case.layers, case.assigned, case.inputs, case.outputs, branch_split=False)
    known = set(case.inputs)
    for part in parts:
        assert set(part.part.inputs) <= known
        known |= set(part.part.outputs)
    assert set(case.outputs) <= known
    split_parts = partition(case.layers, case.assigned, case.inputs, case.outputs)
    assert len(parts) <= len(split_parts)


def test_different_options_give_different_subgraphs() -> None:
    layers = tuple(layer for layer in six_graph().layers if is_operator(layer))
    assigned = {i: Assignment("cpu", "num_threads=2" if i < 3 else "") for i in range(6)}
    parts = partition(layers, assigned, ("x",), ("t4", "t6"), branch_split=False)
    assert layers_of(parts) == [["c1", "c2", "c3"], ["c4", "c5", "c6"]]


def test_boundary_ids_are_sorted_as_text() -> None:
    source = graph_model(["9", "10"], [("add", ["9", "10"], ["y"])], ["y"])
    assert split(source, "cpu")[0].part.inputs == ("10", "9")


def test_input_nobody_reads_stays_an_input_of_the_first_subgraph() -> None:
    source = graph_model(["x", "unused"], [("a", ["x"], ["t"]), ("b", ["t"], ["y"])], ["y"])
    parts = split(source, "cpu gpu")
    assert [part.part.inputs for part in parts] == [("unused", "x"), ("t",)]


def streaming() -> GraphModel:
    operators = [("read", [], ["old"]), ("add", ["x", "old"], ["y"]), ("assign", ["y"], [])]
    return graph_model(["x"], operators, ["y"], {"read": "v", "assign": "v"})


def test_layers_that_share_a_variable_stay_together() -> None:
    assert len(split(streaming(), "cpu cpu cpu")) == 1
    with pytest.raises(InputError, match="layers 'read' and 'add' work on one variable but run on different delegates"):
        split(streaming(), "cpu gpu cpu")
    with pytest.raises(InputError, match="layers 'read' and 'assign' share the variable 'v' but run in different"):
        split(streaming(), "cpu gpu cpu", branch_split=False)


def test_variable_keeps_its_layers_in_one_subgraph_even_where_branches_could_part() -> None:
    operators = [
        ("read", [], ["old"]),
        ("far", ["x"], ["f"]),
        ("add", ["f", "old"], ["y"]),
        ("assign", ["y"], []),
        ("peek", ["old"], ["z"]),
    ]
    source = graph_model(["x"], operators, ["y", "z"], {"read": "v", "assign": "v"})
    parts = split(source, "cpu gpu cpu cpu cpu")
    assert layers_of(parts) == [["far"], ["read", "add", "assign", "peek"]]


@pytest.mark.acceptance("P24")
@pytest.mark.parametrize(("options", "subgraphs"), [(["--no-branch-split"], 3), ([], 4)], ids=["greedy", "branches"])
def test_p24_tensor_that_skips_a_subgraph_comes_from_the_one_that_computes_it(
    synap: Synap, tmp_path: Path, rng: np.random.Generator, options: list[str], subgraphs: int
) -> None:
    model, meta, out = tmp_path / "conv5.onnx", tmp_path / "meta.yaml", tmp_path / "out"
    model.write_bytes(conv5(rng).SerializeToString())
    meta.write_text("delegate: {'*': cpu, '2': gpu}")
    args = ["--model", model, "--meta", meta, "--target", "SL1620", "--out-dir", out]
    assert synap("convert", *args, *options).code == 0
    with zipfile.ZipFile(out / "model.synap") as archive:
        graph = json.loads(archive.read("bundle.json"))["graph"]
    assert len(graph) == subgraphs
    if subgraphs == 3:
        assert graph[2]["inputs"] == [{"subgraph": 1, "out": 0}, {"subgraph": 0, "out": 1}]


@pytest.fixture(scope="module")
def mobilenet(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Conversion]:
    """MobileNetV2 cut at a 112x112x96 input and a 56x56x144 output: operators 4 and 5 npu, 10 gpu, the rest cpu."""
    model = zoo / "models/classification/tf2_mobilenet_v2_1.0_224_ptq.tflite"
    host = host_with(stand_in_delegate("npu"))

    def run() -> Conversion:
        source = open_model(host, ModelRequest(path=model))
        tensors = source.tensors
        layers = [layer for layer in source.layers if is_operator(layer)]
        start = next(layer for layer in layers if tensors[layer.outputs[0]].shape == (1, 112, 112, 96))
        wide = [layer for layer in layers if tensors[layer.outputs[0]].shape == (1, 56, 56, 144)]
        assert start.index is not None
        first = start.index + 1
        meta = tmp_path_factory.mktemp("p10") / "meta.yaml"
        meta.write_text(
            f"inputs: [{{name: '{start.name}', shape: [1, 112, 112, 96]}}]\n"
            f"outputs: [{{name: '{wide[-1].name}'}}]\n"
            f"delegate: {{'*': cpu, '{first}': npu, '{first + 1}': npu, '{wide[-1].index}': gpu}}\n"
        )
        return convert(ConvertRequest(model=model, target="VS680", meta=meta), host).conversion

    return run


@pytest.mark.zoo
@pytest.mark.acceptance("P10", "P12", "P14")
def test_p10_real_model_gives_three_subgraphs(mobilenet: Callable[[], Conversion]) -> None:
    conversion = mobilenet()
    assert conversion.delegates == ("npu", "cpu", "gpu")
    assert [subgraph.name for subgraph in conversion.subgraphs] == ["subgraph_0", "subgraph_1", "subgraph_2"]
    for before, after in zip(conversion.artifacts, conversion.artifacts[1:], strict=False):
        assert {t.label for t in after.inputs} & {t.label for t in before.outputs}
    for artifact in conversion.artifacts:
        for tensor in (*artifact.inputs, *artifact.outputs):
            assert conversion.source.tensors[tensor.label].name == tensor.name


@pytest.mark.zoo
@pytest.mark.acceptance("P11")
def test_p11_boundaries_keep_shape_type_and_quantization(mobilenet: Callable[[], Conversion]) -> None:
    conversion = mobilenet()
    outer = {t.label for t in (*conversion.inputs, *conversion.outputs)}
    inner = [t for a in conversion.artifacts for t in (*a.inputs, *a.outputs) if t.label not in outer]
    assert {t.shape for t in inner} >= {(1, 56, 56, 24)}
    by_label: dict[str, set[object]] = {}
    for tensor in inner:
        source = conversion.source.tensors[tensor.label]
        assert (tensor.shape, tensor.dtype, tensor.quant) == (source.shape, source.dtype, source.quant)
        assert tensor.quant is not None
        by_label.setdefault(tensor.label, set()).add((tensor.shape, tensor.dtype, tensor.quant))
    assert all(len(descriptions) == 1 for descriptions in by_label.values())


@pytest.mark.zoo
@pytest.mark.acceptance("P16")
def test_p16_slices_are_the_same_in_every_run(mobilenet: Callable[[], Conversion]) -> None:
    first, second = mobilenet(), mobilenet()
    assert [a.model for a in first.artifacts] == [a.model for a in second.artifacts]
    assert pack_bundle(first) == pack_bundle(second)


@pytest.mark.zoo
def test_bundle_of_the_real_model_is_consistent(mobilenet: Callable[[], Conversion]) -> None:
    bundle = read_bundle(pack_bundle(mobilenet()), "model.synap")
    assert bundle.order == (0, 1, 2)
    assert [tensor.shape for tensor in bundle.input_tensors] == [(1, 112, 112, 96)]
