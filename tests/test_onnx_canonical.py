"""The canonical graph of ``.onnx`` models: names, origins, parts, constants, and what stays opaque."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from synap_core.api import BoundarySpec, InputError, Slice
from synap_core.graph.annotations import is_opaque, origins_of, reason_of, source_of
from synap_core.graph.types import shape_of
from synap_core.host import PluginHost
from synap_core.payloads import Frontend
from synap_frontend_onnx.importer.registry import operator
from synap_frontend_onnx.importer.table import operator_table
from synap_frontend_onnx.model import OnnxModel
from tests.support.canonical import opaque_reasons, run, whole
from tests.support.onnx_models import (
    F32,
    Oracle,
    assert_near,
    called,
    choice,
    conv5,
    flattened,
    googlenet_like,
    model,
    node,
    open_made,
    save_external,
    value,
)
from tests.support.onnx_node_tests import open_as_it_is

X, Y = [value("x", [1, 4])], [value("y", [1, 4])]


def operators(graph: ir.Model) -> list[str]:
    return [item.op_type for item in graph.graph]


def canonical(folder: Path, made: onnx.ModelProto, *inputs: BoundarySpec) -> ir.Model:
    opened = open_made(folder, made, *inputs)
    return opened.canonical(whole(opened))


def agrees(folder: Path, made: onnx.ModelProto, rng: np.random.Generator) -> ir.Model:
    """Check that the graph computes what ONNX Runtime computes with the model itself; no layer may be opaque."""
    opened = open_made(folder, made)
    graph = opened.canonical(whole(opened))
    assert opaque_reasons(graph) == []
    arrays = [rng.normal(size=opened.tensors[name].shape).astype(F32) for name in opened.inputs]
    for got, expected in zip(run(graph, arrays), Oracle(made)(arrays), strict=True):
        assert_near(got, expected)
    return graph


@pytest.mark.parametrize(
    ("build", "kinds"),
    [
        (conv5, {"Conv": 2, "Relu": 1, "Sigmoid": 1, "Add": 1}),
        (flattened, {"Relu": 1, "Reshape": 1, "MatMul": 1}),
        (lambda _: called(), {"Relu": 1, "Tanh": 1, "Neg": 1, "Abs": 1}),
    ],
    ids=["row", "computed shape", "functions"],
)
def test_model_is_imported_and_shape_arithmetic_disappears(
    tmp_path: Path, rng: np.random.Generator, build: Callable[[np.random.Generator], onnx.ModelProto], kinds: Any
) -> None:
    opened = open_made(tmp_path, build(rng))
    graph = opened.canonical(whole(opened))
    assert Counter(operators(graph)) == kinds
    arrays = [rng.normal(size=opened.tensors["x"].shape).astype(F32)]
    content = opened.slice(whole(opened))
    np.testing.assert_array_equal(run(graph, arrays)[0], Oracle(content)(arrays)[0])


def test_graph_is_of_the_boards_operator_set(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = canonical(tmp_path, conv5(rng))
    assert (graph.graph.opset_imports, graph.ir_version) == ({"": 19}, 9)


def test_every_tensor_has_its_own_name_and_every_node_its_layer(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = canonical(tmp_path, conv5(rng))
    values = [v for item in graph.graph for v in item.outputs]
    assert [v.name for v in values] == [source_of(v) for v in values] == ["a", "b", "c", "d", "y"]
    assert [(o.name, o.type, o.index) for item in graph.graph for o in origins_of(item)] == [
        ("conv1", "Conv", 0), ("relu", "Relu", 1), ("conv2", "Conv", 2), ("sigmoid", "Sigmoid", 3), ("add", "Add", 4)
    ]  # fmt: skip
    assert [source_of(v) for v in graph.graph.inputs] == ["x"]
    assert set(graph.graph.initializers) == {"w1", "w2"}


def test_nodes_of_an_expanded_function_come_from_the_layer_that_calls_it(tmp_path: Path) -> None:
    graph = canonical(tmp_path, called())
    assert [origins_of(item)[0].name for item in graph.graph] == ["relu", "call", "call", "abs"]
    assert [item.outputs[0].name for item in graph.graph if origins_of(item)[0].name == "call"][-1] == "f"


def test_parts_in_a_row_equal_the_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    opened = open_made(tmp_path, conv5(rng))
    layers = [layer for layer in opened.layers if layer.index is not None]
    first = opened.canonical(Slice(layers=tuple(layers[:3]), inputs=("x",), outputs=("b", "c")))
    second = opened.canonical(Slice(layers=tuple(layers[3:]), inputs=("c", "b"), outputs=("y",)))
    x = rng.normal(size=(1, 3, 8, 8)).astype(F32)
    b, c = run(first, [x])
    np.testing.assert_array_equal(run(second, [c, b])[0], run(opened.canonical(whole(opened)), [x])[0])


def test_part_brings_along_the_layers_that_compute_its_constants(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [node("Exp", "k", "e", "weights"), node("Relu", "x", "r", "relu"), node("Mul", "r e", "y", "mul")]
    opened = open_made(tmp_path, model(nodes, X, Y, {"k": rng.normal(size=(1, 4)).astype(F32)}))
    (mul,) = [layer for layer in opened.layers if layer.name == "mul"]
    graph = opened.canonical(Slice(layers=(mul,), inputs=("r",), outputs=("y",)))
    assert operators(graph) == ["Mul"]
    assert set(graph.graph.initializers) == {"e"}


def test_part_without_a_tensor_it_needs_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    opened = open_made(tmp_path, conv5(rng))
    (add,) = [layer for layer in opened.layers if layer.name == "add"]
    with pytest.raises(InputError, match="the part needs tensor 'd', which it neither computes nor takes"):
        opened.canonical(Slice(layers=(add,), inputs=("c",), outputs=("y",)))


@pytest.mark.parametrize(
    ("outputs", "names"),
    [(("x", "y"), ["x/output", "y"]), (("y", "y"), ["y", "y/output"]), (("k", "y"), ["k", "y"])],
    ids=["an input", "twice", "a constant"],
)
def test_output_that_is_something_else_already_gets_a_name(
    tmp_path: Path, outputs: tuple[str, ...], names: list[str]
) -> None:
    opened = open_made(tmp_path, model([node("Add", "x k", "y")], X, Y, {"k": np.ones((1, 4), F32)}))
    part = whole(opened)
    graph = opened.canonical(Slice(layers=part.layers, inputs=part.inputs, outputs=outputs))
    assert [str(v.name).split("_")[0] for v in graph.graph.outputs] == names
    results = run(graph, [np.zeros((1, 4), F32)])
    np.testing.assert_array_equal(results[names.index("y")], np.ones((1, 4), F32))


def test_one_constant_may_have_several_names(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [node("Identity", "k", "i"), node("Mul", "x k", "m"), node("Add", "m i", "y")]
    agrees(tmp_path, model(nodes, X, Y, {"k": rng.normal(size=(1, 4)).astype(F32)}), rng)


def test_weights_in_another_file_are_read_when_they_are_used(tmp_path: Path, rng: np.random.Generator) -> None:
    made = model([node("Gemm", "x w", "y")], X, Y, {"w": rng.normal(size=(4, 4)).astype(F32)})
    path = save_external(made, tmp_path / "net.onnx")
    opened = open_made(tmp_path, path.read_bytes())
    x = rng.normal(size=(1, 4)).astype(F32)
    np.testing.assert_array_equal(run(opened.canonical(whole(opened)), [x])[0], Oracle(path)([x])[0])


def test_open_dimensions_take_the_sizes_of_the_metafile(tmp_path: Path) -> None:
    made = model([node("Relu", "x", "y")], [value("x", ["n", 3, "h", "w"])], [value("y", ["n", 3, "h", "w"])])
    graph = canonical(tmp_path, made, BoundarySpec(shape=(1, 3, 5, 7)))
    assert [shape_of(v) for v in (*graph.graph.inputs, *graph.graph.outputs)] == [(1, 3, 5, 7)] * 2


def test_fixed_batch_becomes_one(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = canonical(tmp_path, googlenet_like(rng, 4))
    assert {shape_of(v)[0] for item in graph.graph for v in item.outputs} == {1}


def test_type_that_data_decide_is_the_one_the_model_declares(tmp_path: Path) -> None:
    inputs = [value("x", [1, 4]), value("s", [2], TensorProto.INT64)]
    made = model([node("Reshape", "x s", "y")], inputs, [value("y", [2, 2])])
    graph = canonical(tmp_path, made)
    assert opaque_reasons(graph) == []
    np.testing.assert_array_equal(run(graph, [np.ones((1, 4), F32), np.array([2, 2])])[0], np.ones((2, 2), F32))


OPAQUE: Mapping[str, tuple[Sequence[onnx.NodeProto], str]] = {
    "data-dependent": ([node("NonZero", "x", "n")], "NonZero: the shape of its result depends on data"),
    "random": ([node("RandomNormalLike", "x", "n")], "RandomNormalLike: its result is random"),
    "unknown domain": ([node("Fancy", "x", "n", domain="mine")], "mine.Fancy: no importer for the operator mine.Fancy"),
    "training": (
        [node("Dropout", "x - yes", "n")],
        "Dropout: it drops items at random, as for training",
    ),
    "sequence": (
        [node("SequenceConstruct", "x", "q"), node("SequenceAt", "q zero", "n")],
        "SequenceConstruct: the graph has tensors only, no sequences of them",
    ),
}


@pytest.mark.parametrize(("nodes", "reason"), OPAQUE.values(), ids=OPAQUE)
def test_layer_that_cannot_be_expressed_is_opaque_with_a_reason(
    tmp_path: Path, nodes: Sequence[onnx.NodeProto], reason: str
) -> None:
    constants = {"yes": np.array(True), "zero": np.array(0)}
    made = model([*nodes, node("Relu", "x", "y")], X, Y, constants, imports={"mine": 1})
    graph = canonical(tmp_path, made)
    assert opaque_reasons(graph)[0] == reason
    assert [item.op_type for item in graph.graph if not is_opaque(item)] == ["Relu"]


def test_layers_behind_a_result_without_a_shape_are_opaque_too(tmp_path: Path) -> None:
    nodes = [node("NonZero", "x", "n", "nz"), node("Neg", "n", "m", "neg"), node("Relu", "x", "y")]
    graph = canonical(tmp_path, model(nodes, X, Y))
    assert opaque_reasons(graph)[1] == "Neg: it needs the result of layer 'nz', which cannot be imported"
    assert [len(item.outputs) for item in graph.graph if is_opaque(item)] == [0, 0]


def test_layers_behind_an_opaque_one_with_a_known_shape_are_imported(tmp_path: Path) -> None:
    nodes = [node("Fancy", "x", "n", domain="mine"), node("Relu", "n", "y", "relu")]
    made = model(nodes, X, Y, imports={"mine": 1})
    made.graph.value_info.append(value("n", [1, 4]))
    graph = canonical(tmp_path, made)
    assert operators(graph) == ["mine.Fancy", "Relu"]
    assert graph.graph[0].inputs[0] is graph.graph.inputs[0]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("NonZero", "x", "y", "nz")], "tensor 'y' cannot be an output of a converted model: the shape of its"),
        (
            [node("NonZero", "x", "n", "nz"), node("Neg", "n", "y")],
            "tensor 'y' cannot be an output of a converted model: it needs the result of layer 'nz'",
        ),
    ],
    ids=["itself", "what it needs"],
)
def test_output_without_a_shape_is_refused(tmp_path: Path, nodes: Sequence[onnx.NodeProto], message: str) -> None:
    made = model(nodes, X, [value("y", [2, None], TensorProto.INT64)])
    with pytest.raises(InputError, match=message):
        canonical(tmp_path, made)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (value("x", [1, "n"]), "tensor 'x' cannot be an input of a converted model: its shape is not known"),
        (value("x", [1, 4], TensorProto.STRING), "the graph has no tensors of its type"),
    ],
    ids=["open", "text"],
)
def test_input_without_a_type_is_refused(tmp_path: Path, source: onnx.ValueInfoProto, message: str) -> None:
    made = model([node("Identity", "x", "y")], [source], [value("y", [1, None], source.type.tensor_type.elem_type)])
    opened = open_made(tmp_path, made, lenient=True)
    with pytest.raises(InputError, match=message):
        opened.canonical(whole(opened))


def test_declared_shape_that_contradicts_the_operator_makes_the_layer_opaque(tmp_path: Path) -> None:
    made = model([node("Fancy", "x", "f", domain="mine"), node("Relu", "f", "y")], X, Y, imports={"mine": 1})
    made.functions.append(
        helper.make_function("mine", "Fancy", ["a"], ["b"], [node("Relu", "a", "b")], [helper.make_opsetid("", 17)])
    )
    opened = open_made(tmp_path, made)
    opened.analysis.types["f"].type.tensor_type.shape.dim[1].dim_value = 5
    assert opaque_reasons(opened.canonical(whole(opened)))[0] == (
        "mine.Fancy: output 'f' is float [1, 4]; the model says float [1, 5]"
    )


def test_support_lists_every_layer_with_its_status(tmp_path: Path) -> None:
    nodes = [
        node("Relu", "x", "y", "relu"),
        node("NonZero", "x", "n", "nz"),
        node("Fancy", "x", "f", "fancy", domain="mine"),
    ]
    opened = open_made(tmp_path, model(nodes, X, Y, imports={"mine": 1}))
    assert [(s.layer.name, s.status, s.reason) for s in opened.support()] == [
        ("relu", "imported", ""),
        ("nz", "opaque", "the shape of its result depends on data"),
        ("fancy", "unknown", "no importer for the operator mine.Fancy"),
    ]


def test_a_second_entry_for_an_operator_version_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="two entries for Clip from version 6 on"):
        operator("Clip", since=6)(lambda call: call.input(0))


def test_table_lists_all_operators_of_the_package() -> None:
    rows = operator_table()
    schemas = onnx.defs.get_all_schemas_with_history()
    # Programs of other tests may have registered operators of their own.
    known = {f"{s.domain}.{s.name}" if s.domain else s.name for s in schemas if s.domain != "synap.npu"}
    assert known <= {row.name for row in rows}
    assert not any(row.name.startswith("synap.") for row in rows)
    clip = [(row.since, row.how) for row in rows if row.name == "Clip"]
    assert clip == [((6,), "converted"), ((11, 12, 13), "as is")]
    assert {row.how for row in rows} == {"as is", "converted", "function body", "opaque"}
    assert all(row.note for row in rows if row.how == "opaque")


def test_frontend_lists_its_operators(host: PluginHost) -> None:
    found = {item.name: item for item in host.find(Frontend, "onnx").operators()}
    assert (found["Conv"].status, found["Conv"].note) == ("imported", "")
    assert (found["Unique"].status, found["Unique"].note) == ("opaque", "the shape of its result depends on data")
    assert found["com.microsoft.FusedConv"].status == "imported"


def body(nodes: Sequence[onnx.NodeProto], inputs: str = "", outputs: str = "t", **kinds: int) -> onnx.GraphProto:
    """A body of control flow; tensors have one row of four items where no element type is given."""

    def described(name: str) -> onnx.ValueInfoProto:
        return value(name, [] if name in kinds else [1, 4], kinds.get(name, TensorProto.FLOAT))

    return helper.make_graph(
        nodes, "body", [described(n) for n in inputs.split()], [described(n) for n in outputs.split()]
    )


@pytest.mark.parametrize("chosen", [True, False])
def test_branch_that_a_constant_chooses_is_imported(tmp_path: Path, rng: np.random.Generator, chosen: bool) -> None:
    branches = {"then_branch": body([node("Relu", "x", "t")]), "else_branch": body([node("Neg", "x", "t")])}
    made = model([node("If", "c", "y", "choose", **branches)], X, Y, {"c": np.array(chosen)})
    assert operators(agrees(tmp_path, made, rng)) == ["Relu" if chosen else "Neg"]


def test_branch_that_data_choose_stays_opaque(tmp_path: Path) -> None:
    graph = canonical(tmp_path, choice())
    assert opaque_reasons(graph) == ["If: its condition must be constant"]
    assert [v.name for v in graph.graph.outputs] == ["y"]


def loop(limit: Sequence[onnx.NodeProto], **constants: Any) -> onnx.ModelProto:
    """``v`` doubles each time, and each value is a scan output."""
    inner = [node("Add", "v v", "w"), node("Identity", "w", "s"), *limit]
    kinds = {"i": TensorProto.INT64, "go": TensorProto.BOOL, "on": TensorProto.BOOL}
    graph = body(inner, "i go v", "on w s", **kinds)
    nodes = [node("Loop", "m go x" if "m" in constants else "- go x", "y all", "loop", body=graph)]
    return model(nodes, X, [*Y, value("all", [None, 1, 4])], {"go": np.array(True), **constants})


@pytest.mark.parametrize(
    ("limit", "constants", "count"),
    [
        ([node("Identity", "go", "on")], {"m": np.array(3)}, 3),
        ([node("Less", "i two", "on")], {"two": np.array(2)}, 3),
        ([node("Less", "i two", "on")], {"m": np.array(9), "two": np.array(1)}, 2),
    ],
    ids=["trip count", "condition", "both"],
)
def test_loop_of_constant_length_is_unrolled(
    tmp_path: Path, rng: np.random.Generator, limit: Sequence[onnx.NodeProto], constants: Any, count: int
) -> None:
    made = loop(limit, **constants)
    # The runtime tells the length that shape inference leaves open.
    made.graph.output[1].CopyFrom(value("all", [count, 1, 4]))
    graph = agrees(tmp_path, made, rng)
    assert Counter(operators(graph))["Add"] == count


@pytest.mark.parametrize(
    ("limit", "constants", "reason"),
    [
        (
            [node("ReduceSum", "w", "t", keepdims=0), node("Cast", "t", "on", to=TensorProto.BOOL)],
            {},
            "depends on data",
        ),
        ([node("Identity", "go", "on")], {}, "it has more than 20 iterations"),
        ([node("Identity", "go", "on")], {"m": np.array(1 << 60)}, "it has more than 20 iterations"),
    ],
    ids=["data", "endless", "long"],
)
def test_loop_of_another_length_stays_opaque(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: Sequence[onnx.NodeProto], constants: Any, reason: str
) -> None:
    monkeypatch.setattr("synap_frontend_onnx.importer.ops.control_flow.MAX_ITERATIONS", 20)
    made = loop(limit, **constants)
    del made.graph.output[1:]
    (found,) = opaque_reasons(canonical(tmp_path, made))
    assert reason in found


def test_loop_without_iterations_gives_what_it_got(tmp_path: Path) -> None:
    made = loop([node("Identity", "go", "on")], m=np.array(0))
    made.graph.output[1].CopyFrom(value("all", [0, 1, 4]))
    x = np.ones((1, 4), F32)
    y, pieces = run(canonical(tmp_path, made), [x])
    np.testing.assert_array_equal(y, x)
    assert pieces.shape == (0, 1, 4)


def test_body_with_other_outputs_than_the_loop_stays_opaque(tmp_path: Path) -> None:
    made = loop([node("Identity", "go", "on")], m=np.array(2))
    opened = open_made(tmp_path, made)
    (layer,) = opened.graph.nodes
    del layer.proto.attribute[0].g.output[2:]
    assert opaque_reasons(opened.canonical(Slice(layers=whole(opened).layers, inputs=("x",), outputs=("y",)))) == [
        "Loop: its body has 3 inputs and 2 outputs; 3 and 3 are needed"
    ]


@pytest.mark.parametrize(
    ("last", "constants", "expected"),
    [
        (node("NonZero", "k", "y"), {"k": np.array([[0, 1], [1, 0]])}, [[0, 1], [1, 0]]),
        (
            node("Compress", "k c", "y", axis=1),
            {"k": np.array([[5, 6], [7, 8]]), "c": np.array([False, True])},
            [[6], [8]],
        ),
        (node("Compress", "k c", "y"), {"k": np.array([[5, 6], [7, 8]]), "c": np.array([True, False, True])}, [5, 7]),
        (node("Unsqueeze", "k a", "y"), {"k": np.array([5]), "a": np.array(0)}, [[5]]),
        (node("Size", "k", "y"), {"k": np.zeros((3, 4))}, 12),
    ],
    ids=["places", "chosen columns", "chosen items", "single axis", "size"],
)
def test_what_data_decide_is_decided_for_constants(
    tmp_path: Path, last: onnx.NodeProto, constants: Mapping[str, Any], expected: Any
) -> None:
    made = model([node("Relu", "x", "r"), last], X, [value("r", [1, 4])], constants)
    opened = open_made(tmp_path, made)
    graph = opened.canonical(Slice(layers=whole(opened).layers, inputs=("x",), outputs=("r", "y")))
    assert opaque_reasons(graph) == []
    np.testing.assert_array_equal(graph.graph.outputs[1].const_value.numpy(), expected)


def test_scan_is_unrolled_in_the_directions_it_names(tmp_path: Path, rng: np.random.Generator) -> None:
    scanned = helper.make_graph(
        [node("Add", "s a", "t"), node("Sub", "t b", "o")],
        "body",
        [value(name, [4]) for name in "sab"],
        [value(name, [4]) for name in "to"],
    )
    attributes = {"scan_input_axes": [0, 1], "scan_input_directions": [0, 1], "scan_output_axes": [1]}
    last = node("Scan", "s x z", "y all", "scan", body=scanned, num_scan_inputs=2, **attributes)
    last.attribute.append(helper.make_attribute("scan_output_directions", [1]))
    inputs = [value("s", [4]), value("x", [3, 4]), value("z", [4, 3])]
    made = model([last], inputs, [value("y", [4]), value("all", [4, 3])])
    opened = open_as_it_is(made.SerializeToString(), tmp_path)
    graph = opened.canonical(whole(opened))
    assert Counter(operators(graph))["Sub"] == 3
    arrays = [rng.normal(size=shape).astype(F32) for shape in ((4,), (3, 4), (4, 3))]
    for got, expected in zip(run(graph, arrays), Oracle(made)(arrays), strict=True):
        np.testing.assert_array_equal(got, expected)


def function(name: str, nodes: Sequence[onnx.NodeProto], **more: Any) -> onnx.FunctionProto:
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, ["p"], ["q"], list(nodes), sets, **more)


def reference(to: str, name: str) -> onnx.AttributeProto:
    return onnx.AttributeProto(name=name, ref_attr_name=to, type=onnx.AttributeProto.FLOAT)


@pytest.mark.parametrize("given", [{}, {"slope": 0.5}], ids=["default", "given"])
def test_attributes_of_a_call_are_bound_in_functions_of_functions(
    tmp_path: Path, rng: np.random.Generator, given: dict[str, float]
) -> None:
    leaky = node("LeakyRelu", "p", "q")
    leaky.attribute.append(reference("slope", "alpha"))
    inner = node("leaky", "p", "q", domain="mine")
    inner.attribute.append(reference("slope", "slope"))
    functions = [
        function("leaky", [leaky], attributes=["slope"]),
        function("outer", [inner], attribute_protos=[helper.make_attribute("slope", 0.25)]),
    ]
    made = model(
        [node("outer", "x", "y", domain="mine", **given)], X, Y, imports={"mine": 1}, functions=functions, ir=9
    )
    graph = canonical(tmp_path, made)
    x = rng.normal(size=(1, 4)).astype(F32)
    slope = F32(given.get("slope", 0.25))
    np.testing.assert_array_equal(run(graph, [x])[0], np.where(x < 0, x * slope, x))


def test_functions_too_deep_inside_of_each_other_stay_opaque(tmp_path: Path) -> None:
    functions = [function(f"f{i}", [node(f"f{i + 1}", "p", "q", domain="mine")]) for i in range(30)]
    functions.append(function("f30", [node("Relu", "p", "q")]))
    made = model([node("f0", "x", "y", domain="mine")], X, Y, imports={"mine": 1}, functions=functions)
    made.graph.value_info.append(value("y", [1, 4]))
    (reason,) = opaque_reasons(canonical(tmp_path, made))
    assert reason == "mine.f0: functions and bodies are more than 24 deep inside of each other"


def test_constants_of_a_function_are_read_once(tmp_path: Path, rng: np.random.Generator) -> None:
    big = rng.normal(size=(1, 5000)).astype(F32)
    body_nodes = [node("Constant", "", "k", value=onnx.numpy_helper.from_array(big)), node("Mul", "p k", "q")]
    nodes = [node("f", "x", "t", domain="mine"), node("f", "t", "y", domain="mine")]
    ends = [value("x", [1, 5000])], [value("y", [1, 5000])]
    made = model(nodes, *ends, imports={"mine": 1}, functions=[function("f", body_nodes)])
    graph = agrees(tmp_path, made, rng)
    assert len(graph.graph.initializers) == 1


def test_node_that_fails_halfway_leaves_nothing_behind(tmp_path: Path) -> None:
    nodes = [node("Exp", "p", "e"), node("Neg", "e", "n"), node("NonZero", "n", "q")]
    made = model(
        [node("f", "x", "z", "call", domain="mine"), node("Relu", "x", "y")],
        X,
        Y,
        imports={"mine": 1},
        functions=[function("f", nodes)],
    )
    graph = canonical(tmp_path, made)
    assert operators(graph) == ["mine.f", "Relu"]
    assert reason_of(graph.graph[0]) == "the shape of its result depends on data"


def test_dead_ends_of_the_model_itself_are_kept(tmp_path: Path) -> None:
    made = model([node("Relu", "x", "y"), node("Exp", "x", "unused")], X, Y)
    assert operators(canonical(tmp_path, made)) == ["Relu", "Exp"]


def test_model_opened_without_its_batch_changed_is_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    opened = open_made(tmp_path, conv5(rng))
    assert isinstance(opened, OnnxModel)
    first, second = (ir.to_proto(opened.canonical(whole(opened))).SerializeToString() for _ in range(2))
    assert first == second
