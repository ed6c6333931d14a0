"""Damaged and malicious ``.onnx`` files in the importer: an error of one line, or an opaque layer."""

from __future__ import annotations

import random
import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from synap_core.api import InputError
from tests.support.canonical import opaque_reasons, whole
from tests.support.onnx_damage import damaged
from tests.support.onnx_models import (
    F32,
    called,
    choice,
    conv5,
    flattened,
    googlenet_like,
    model,
    node,
    open_made,
    quantized,
    value,
)
from tests.support.onnx_node_tests import node_tests, open_as_it_is

X, Y = [value("x", [1, 4])], [value("y", [1, 4])]
GENERATOR = np.random.default_rng(0)
INT64, BOOL = TensorProto.INT64, TensorProto.BOOL


def canonical(folder: Path, made: onnx.ModelProto) -> ir.Model:
    opened = open_made(folder, made)
    return opened.canonical(whole(opened))


def refusals(sources: Sequence[onnx.ModelProto], count: int, folder: Path) -> set[str]:
    """Import damaged models; messages of those that are refused, none of which has a second line."""
    rng = random.Random(20240229)
    found = set()
    for number in range(count):
        content = damaged(sources[number % len(sources)], "bytes" if number % 4 == 0 else "meaning", rng)
        try:
            opened = open_as_it_is(content, folder)
            opened.canonical(whole(opened))
            opened.support()
        except InputError as error:
            found.add(str(error))
    assert not any("\n" in text for text in found)
    return found


def test_random_damage_ends_in_one_line_or_not_at_all(tmp_path: Path) -> None:
    sources = [conv5(GENERATOR), googlenet_like(GENERATOR), choice(), called(21, 10), quantized(GENERATOR)]
    assert len(refusals([*sources, flattened(GENERATOR)], 600, tmp_path)) > 50


def test_random_damage_to_every_operator_ends_in_one_line_or_not_at_all(tmp_path: Path) -> None:
    sources = [test.model for test in node_tests()][::3]
    assert len(refusals(sources, len(sources), tmp_path)) > 50


def body(nodes: Sequence[onnx.NodeProto], inputs: Sequence[onnx.ValueInfoProto], *outputs: str) -> onnx.GraphProto:
    kinds = {"on": BOOL}
    results = [value(name, [] if name in kinds else [1, 4], kinds.get(name, TensorProto.FLOAT)) for name in outputs]
    return helper.make_graph(nodes, "body", inputs, results)


def counted(inner: Sequence[onnx.NodeProto], last: str, depth: int) -> onnx.NodeProto:
    """A loop of 1,000 iterations."""
    inputs = [value(f"i{depth}", [], INT64), value(f"go{depth}", [], BOOL), value(f"v{depth}", [1, 4])]
    graph = body([*inner, node("Identity", "yes", "on")], inputs, "on", last)
    return node("Loop", f"m yes {'x' if depth == 0 else f'v{depth - 1}'}", f"w{depth}", f"loop{depth}", body=graph)


def test_loops_in_loops_end_at_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap_frontend_onnx.importer.interpreter.MAX_STEPS", 500)
    inner = counted([node("Relu", "v2", "r2")], "r2", 2)
    middle = counted([inner], "w2", 1)
    outer = counted([middle], "w1", 0)
    made = model([outer, node("Neg", "w0", "y")], X, Y, {"m": np.array(1000), "yes": np.array(True)})
    made.graph.value_info.append(value("w0", [1, 4]))
    graph = canonical(tmp_path, made)
    assert opaque_reasons(graph) == ["Loop: functions and loops have more than 500 operators, repetitions included"]
    assert [item.op_type for item in graph.graph] == ["Loop", "Neg"]


def test_branches_deep_inside_of_each_other_stay_opaque(tmp_path: Path) -> None:
    last = node("Relu", "x", "t")
    for _ in range(27):
        graph = body([last], [], last.output[0])
        last = node(
            "If", "yes", f"{last.output[0]}t", then_branch=graph, else_branch=body([node("Neg", "x", "n")], [], "n")
        )
    made = model([last, node("Identity", last.output[0], "y")], X, Y, {"yes": np.array(True)})
    assert opaque_reasons(canonical(tmp_path, made)) == [
        "If: functions and bodies are more than 24 deep inside of each other"
    ]


def doubling(depth: int) -> onnx.ModelProto:
    """Functions that call the next one twice each."""
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    functions = [
        helper.make_function(
            "d",
            f"f{i}",
            ["a"],
            ["c"],
            [node(f"f{i + 1}", "a", "b", domain="d"), node(f"f{i + 1}", "b", "c", domain="d")],
            sets,
        )
        for i in range(depth)
    ]
    functions.append(helper.make_function("d", f"f{depth}", ["a"], ["b"], [node("Relu", "a", "b")], sets))
    return model([node("f0", "x", "y", domain="d")], X, Y, imports={"d": 1}, functions=functions)


def test_functions_that_double_end_at_a_budget(tmp_path: Path) -> None:
    (reason,) = opaque_reasons(canonical(tmp_path, doubling(16)))
    assert reason == "d.f0: functions and loops have more than 20000 operators, repetitions included"


UNBOUNDED = {
    "fill": [node("ConstantOfShape", "large", "z")],
    "expand": [node("Expand", "one large", "z")],
    "repeat": [node("Tile", "one large", "z")],
    "one hot": [node("OneHot", "large many ends", "z")],
}


@pytest.mark.parametrize("nodes", UNBOUNDED.values(), ids=UNBOUNDED)
def test_constants_without_bounds_are_not_computed(tmp_path: Path, nodes: Sequence[onnx.NodeProto]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    constants = {
        "large": np.array([1 << 34]),
        "one": np.ones(1, F32),
        "many": np.array(1 << 34),
        "ends": np.array([0, 1], F32),
    }
    more = [node("ReduceMax", "z", "m", keepdims=0), node("Add", "x m", "y")]
    graph = canonical(tmp_path, model([*nodes, *more], X, Y, constants))
    assert graph.graph.outputs[0].name == "y"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


def test_many_constants_share_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap_core.graph.build.MAX_FOLDED_ITEMS", 10_000)
    nodes = [node("Exp", "k", "e0"), *(node("Sin", f"e{i}", f"e{i + 1}") for i in range(9))]
    made = model([*nodes, node("Add", "x e9", "y")], X, Y, {"k": np.zeros((2000, 4), F32)})
    made.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2000
    graph = canonical(tmp_path, made)
    assert [item.op_type for item in graph.graph][:-1] == ["Sin"] * 9


def test_shape_beyond_any_memory_is_refused(tmp_path: Path) -> None:
    shape = [1, 1 << 31, 1 << 31, 1 << 31]
    made = model([node("Identity", "x", "y", "copy")], [value("x", shape)], [value("y", shape)])
    message = r"tensor 'x' cannot be an input of a converted model: its shape \[1, 2147483648, .* is too large"
    with pytest.raises(InputError, match=message):
        canonical(tmp_path, made)


def test_chain_of_4000_layers_is_imported_layer_by_layer(tmp_path: Path) -> None:
    kinds = ["Relu", "Neg", "Abs", "Identity"]
    nodes = [node(kinds[i % 4], f"t{i}" if i else "x", f"t{i + 1}", f"n{i}") for i in range(4000)]
    graph = canonical(tmp_path, model(nodes, X, [value("t4000", [1, 4])]))
    assert [item.op_type for item in graph.graph] == kinds * 1000


def test_unknown_attribute_of_a_foreign_operator_does_no_harm(tmp_path: Path) -> None:
    odd = node(
        "FusedConv", "x k", "f", domain="com.microsoft", activation=3, kernel_shape="text", activation_params=[1]
    )
    made = model([odd, node("Relu", "x", "y")], X, Y, {"k": np.ones((1, 1), F32)}, imports={"com.microsoft": 1})
    (reason,) = opaque_reasons(canonical(tmp_path, made))
    assert reason.startswith("com.microsoft.FusedConv: ")
