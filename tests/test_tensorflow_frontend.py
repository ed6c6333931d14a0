"""Opening frozen graphs: what the metafile has to say, layers, names, and files that are something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from synap_core.api import INPUT_TYPE, InputError, ModelRequest, Slice
from synap_core.host import PluginHost
from synap_core.model_files import SNIFF_BYTES, open_model
from synap_frontend_tensorflow import schema
from synap_frontend_tensorflow.model import TensorflowModel
from synap_frontend_tensorflow.sniff import looks_like_graph
from tests.support.canonical import opaque_reasons, run, whole
from tests.support.cli import Synap
from tests.support.onnx_models import conv5
from tests.support.tensorflow_models import GraphComposer, boundary, computed, opened, reason
from tests.support.tflite_models import six

WriteModel = Callable[..., Path]


def relus(*names: str, shape: Sequence[int] | None = (-1, 4)) -> GraphComposer:
    """A chain of layers behind the placeholder x."""
    graph = GraphComposer()
    last = graph.placeholder("x", shape)
    for name in names:
        last = graph.node("Relu", [last], name=name)
    return graph


def inspected(path: Path) -> TensorflowModel:
    return TensorflowModel.open(ModelRequest(path=path, inspect=True))


def refusal(data: bytes, inputs: object = (), outputs: Sequence[str] = ()) -> str:
    """The message that a graph is refused with, less the path of its file."""
    with pytest.raises(InputError, match="net.pb: ") as caught:
        opened(data, inputs, outputs)  # type: ignore[arg-type] - what `opened` takes
    assert "\n" not in str(caught.value)
    return str(caught.value).partition("net.pb: ")[2]


def test_layers_are_the_nodes_that_the_outputs_need_with_their_place_in_the_file() -> None:
    graph = relus("a")
    graph.constant([1.0], name="one")
    graph.node("Identity", ["one"], name="read")
    graph.node("Add", ["a", "read"], name="b")
    graph.node("Relu", ["b"], name="unneeded")
    model = opened(graph.serialize(), {"x": [1, 4]}, ["b"])
    assert [(layer.name, layer.type, layer.index, layer.inputs) for layer in model.layers] == [
        ("x", INPUT_TYPE, None, ()),
        ("a", "Relu", 1, ("x",)),
        ("b", "Add", 4, ("a",)),
    ]
    assert (model.format, model.layout, model.inputs, model.outputs) == ("tensorflow", "nhwc", ("x",), ("b",))
    assert model.anchors() == ()


def test_tensors_carry_the_shapes_and_types_that_follow_from_the_inputs() -> None:
    graph = relus("a", shape=(-1, 8, 8, 3))
    graph.node("Greater", ["a", graph.constant(0.5)], name="g")
    tensors = opened(graph.serialize(), {"x": [1, 8, 8, 3]}, ["g"]).tensors
    found = [(t.id, t.shape, t.dtype, t.layout, t.static, t.quant) for t in tensors.values()]
    assert found == [
        ("x", (1, 8, 8, 3), "float32", "nhwc", True, None),
        ("a", (1, 8, 8, 3), "float32", "nhwc", True, None),
        ("g", (1, 8, 8, 3), "bool", "nhwc", True, None),
    ]


def test_outputs_of_a_node_are_told_apart_by_number(rng: np.random.Generator) -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1, 6])
    graph.node("Split", [graph.constant(1), "x:0"], name="s", num_split=3)
    graph.node("Sub", ["s:2", "s"], name="y")
    model = opened(graph.serialize(), {"x:0": [1, 6]}, ["s:1", "y:0"])
    assert model.layers[1].outputs == ("s", "s:1", "s:2")
    assert model.outputs == ("s:1", "y")
    assert [model.tensors[tensor].name for tensor in (*model.inputs, *model.outputs)] == ["x:0", "s:1", "y:0"]
    x = rng.normal(size=(1, 6)).astype(np.float32)
    middle, difference = run(model.canonical(whole(model)), [x])
    np.testing.assert_array_equal(middle, x[:, 2:4])
    np.testing.assert_array_equal(difference, x[:, 4:] - x[:, :2])


def test_outputs_come_in_the_order_of_the_metafile(rng: np.random.Generator) -> None:
    graph = relus("a")
    graph.node("Neg", ["x"], name="b")
    x = rng.normal(size=(1, 4)).astype(np.float32)
    negative, positive = computed(graph.serialize(), {"x": x}, ["b", "a"])
    np.testing.assert_array_equal(negative, -x)
    np.testing.assert_array_equal(positive, np.maximum(x, 0))


def test_another_order_than_that_of_the_file_is_noted() -> None:
    graph = relus("a", "b")
    graph.placeholder("z", [-1, 4])
    graph.node("Split", [graph.constant(1), graph.node("Add", ["z", "b"])], name="s", num_split=2)
    inputs: dict[str, list[int]] = {"x": [1, 4], "z": [1, 4]}
    assert opened(graph.serialize(), inputs, ["a", "s", "s:1"]).notes == ()
    assert opened(graph.serialize(), dict(reversed(inputs.items())), ["s:1", "s", "a"]).notes == (
        "the inputs are in the order of the metafile; in the graph it is x, z",
        "the outputs are in the order of the metafile; in the graph it is a, s, s:1",
    )


def test_numbers_of_outputs_may_stand_behind_a_slash() -> None:
    graph = relus("net/a", "net/1")
    graph.node("Split", [graph.constant(1), "net/1"], name="s", num_split=2)
    model = opened(graph.serialize(), {"x/0": [1, 4]}, ["net/a/0", "s/1", "net/1"])
    assert model.outputs == ("net/a", "s:1", "net/1")
    assert refusal(graph.serialize(), {"x": [1, 4]}, ["nat/a/0"]).startswith(
        "tensor 'nat/a/0' not found in the graph; did you mean 'net/a'?"
    )


def test_nodes_in_any_order_are_sorted_and_parts_given_in_that_of_the_file_as_well(rng: np.random.Generator) -> None:
    graph = GraphComposer()
    graph.node("Add", ["b", "a"], name="y")
    graph.node("Neg", ["a"], name="b")
    graph.node("Relu", ["x"], name="a")
    graph.placeholder("x", [1, 4])
    model = opened(graph.serialize(), {"x": [1, 4]}, ["y"])
    assert [(layer.name, layer.index) for layer in model.layers] == [("x", None), ("a", 2), ("b", 1), ("y", 0)]
    part = Slice(layers=tuple(reversed(model.layers[1:])), inputs=("x",), outputs=("y",))
    x = rng.normal(size=(1, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(model.canonical(part), [x])[0], np.zeros((1, 4)))


def test_control_inputs_are_no_operands_and_need_not_be_imported(rng: np.random.Generator) -> None:
    graph = relus("a")
    graph.node("Assert", ["nowhere", "x"], name="check")
    graph.node("NoOp", ["^check", "^a"], name="init")
    graph.node("Neg", ["a", "^init", "^check"], name="y")
    x = rng.normal(size=(1, 4)).astype(np.float32)
    np.testing.assert_array_equal(computed(graph.serialize(), {"x": x}, ["y"])[0], -np.maximum(x, 0))


def test_constants_pass_through_any_number_of_copies(rng: np.random.Generator) -> None:
    graph = relus()
    last = graph.constant([1.0, 2.0, 3.0, 4.0])
    for kind in ("Identity", "Enter", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "Identity"):
        last = graph.node(kind, [last], frame_name="loop", message="none")
    graph.node("Mul", ["x", graph.node("PlaceholderWithDefault", [last], name="default")], name="y")
    x = rng.normal(size=(1, 4)).astype(np.float32)
    model = opened(graph.serialize(), {"x": [1, 4]}, ["y"])
    assert [layer.name for layer in model.layers] == ["x", "y"]
    np.testing.assert_allclose(run(model.canonical(whole(model)), [x])[0], x * np.array([1, 2, 3, 4], np.float32))


def test_copies_in_the_middle_are_layers_at_which_a_model_can_be_cut(rng: np.random.Generator) -> None:
    graph = relus("a")
    graph.node("Identity", ["a"], name="i")
    graph.node("IdentityN", ["i", "a"], name="n")
    graph.node("Neg", ["n:1"], name="y")
    data = graph.serialize()
    assert [layer.type for layer in opened(data, {"x": [1, 4]}, ["y"]).layers] == [
        INPUT_TYPE, "Relu", "Identity", "IdentityN", "Neg",
    ]  # fmt: skip
    x = rng.normal(size=(1, 4)).astype(np.float32)
    np.testing.assert_array_equal(computed(data, {"x": x}, ["i"])[0], np.maximum(x, 0))
    np.testing.assert_array_equal(computed(data, {"n:1": x}, ["y"])[0], -x)


def test_shapes_that_are_computed_in_the_graph_are_constants_in_every_part(rng: np.random.Generator) -> None:
    graph = relus("a", shape=(-1, 2, 3))
    graph.node("Shape", ["a"], name="shape")
    stack = [graph.constant([value]) for value in (0, 1, 1)]
    graph.node("StridedSlice", ["shape", *stack], name="batch", shrink_axis_mask=1)
    graph.node("Pack", ["batch", graph.constant(6)], name="pack", axis=0, N=2, T=np.int32)
    graph.node("Neg", ["a"], name="b")
    graph.node("Reshape", ["b", "pack"], name="y", Tshape=np.int32)
    model = opened(graph.serialize(), {"x": [1, 2, 3]}, ["y"])
    assert [layer.name for layer in model.layers] == ["x", "a", "b", "y"]
    last = Slice(layers=model.layers[3:], inputs=("b",), outputs=("y",))
    x = rng.normal(size=(1, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(run(model.canonical(last), [x])[0], x.reshape(1, 6))


def test_what_is_in_front_of_an_input_is_not_looked_at(rng: np.random.Generator) -> None:
    graph = GraphComposer()
    graph.node("Merge", ["again"], name="loop")
    graph.node("NextIteration", ["loop"], name="again")
    graph.node("DecodeJpeg", ["loop"], name="decode", T=None)
    graph.node("Cast", ["decode"], name="cast", SrcT=np.uint8, DstT=np.float32, T=None)
    graph.node("Mul", ["cast", graph.constant(2.0)], name="y")
    model = opened(graph.serialize(), {"decode": [1, 2, 2, 3]}, ["y"])
    assert model.tensors["decode"].dtype == "uint8"
    x = rng.integers(0, 256, (1, 2, 2, 3)).astype(np.uint8)
    np.testing.assert_array_equal(run(model.canonical(whole(model)), [x])[0], x.astype(np.float32) * 2)


@pytest.mark.parametrize(
    ("inputs", "outputs", "lacking"),
    [
        ((), ("y",), "inputs"),
        ({"x": [1, 4]}, (), "outputs"),
        ({"x": None}, ("y",), "inputs"),
        ((), (), "inputs and ou"),
    ],
    ids=["no inputs", "no outputs", "no shape", "neither"],
)
def test_a_metafile_that_does_not_tell_the_ends_is_told_what_there_is(
    inputs: object, outputs: Sequence[str], lacking: str
) -> None:
    graph = relus("a", "y", shape=(-1, 8, 8, 3))
    graph.constant([1.0], name="unread")
    graph.node("NoOp", ["^y"], name="init")
    text = refusal(graph.serialize(), inputs, outputs)
    assert f"(no {lacking}" in text
    assert "placeholders: x (float32 [?, 8, 8, 3]); nodes that none reads: y (Relu); give a metafile with '" in text
    assert ("inputs: [{name: x, shape: [1, 8, 8, 3]}]" in text) == ("inputs" in lacking)
    assert ("outputs: [{name: y}]" in text) == ("ou" in lacking)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"x": [1, 4]}, ["conv1/rellu"], "tensor 'conv1/rellu' not found in the graph; did you mean 'conv1/relu'?"),
        ({"conv1/rel:0": [1, 4]}, ["y"], "tensor 'conv1/rel:0' not found in the graph; did you mean 'conv1/relu'?"),
        ({"%": [1, 4]}, ["y"], "tensor '%' not found in the graph; placeholders: x (float32 [?, 4]); nodes that none"),
        ({"x": [1, 4]}, ["y:3"], "output 'y:3': node 'y' (Relu) has no output 3; name 'y' for its first output"),
        ({"x": [1, 4]}, ["c"], "output 'c' is a constant: it does not depend on data"),
        ({"x": [1, 4], "x:0": [1, 4]}, ["y"], "the metafile names the input 'x' twice; remove one of its entries"),
        ({"x": [1, 4]}, ["y", "y:0"], "the metafile names the output 'y' twice"),
        ({"x": [1, 5]}, ["y"], "the metafile gives input 'x' the shape [1, 5]; in the graph it is [?, 4]"),
        ({"x": [4]}, ["y"], "the metafile gives input 'x' the shape [4]; in the graph it is [?, 4]; give a shape that"),
    ],
    ids=["output", "input", "far off", "number", "constant", "input twice", "output twice", "size", "rank"],
)  # fmt: skip
def test_names_and_shapes_that_do_not_fit_are_refused(
    inputs: dict[str, list[int]], outputs: list[str], message: str
) -> None:
    graph = relus("conv1/relu", "y")
    graph.constant(1.0, name="c")
    assert refusal(graph.serialize(), inputs, outputs).startswith(message)


def test_a_placeholder_that_is_needed_and_not_listed_is_named() -> None:
    graph = relus("a")
    graph.placeholder("training", [], "bool")
    graph.node("Select", ["training", "a", "x"], name="y")
    text = refusal(graph.serialize(), {"x": [1, 4]}, ["y"])
    assert text.startswith("the outputs need the placeholder 'training' (bool of unknown shape), which is not among")
    assert text.endswith("among the inputs; freeze the graph with a constant in its place")
    graph.placeholder("keep", [-1, 4])
    graph.node("Mul", ["a", "keep"], name="z")
    text = refusal(graph.serialize(), {"x": [1, 4]}, ["z"])
    assert text.endswith("add it to 'inputs' in the metafile, or freeze the graph with a constant in its place")


def test_a_loop_that_the_outputs_need_is_named() -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1, 4])
    graph.node("Enter", ["x"], name="enter")
    graph.node("Merge", ["enter", "next"], name="merge")
    graph.node("Add", ["merge", "x"], name="body")
    graph.node("NextIteration", ["body"], name="next")
    graph.node("Exit", ["merge"], name="exit")
    text = refusal(graph.serialize(), {"x": [1, 4]}, ["exit"])
    assert text.startswith("nodes read each other in a loop: ")
    assert all(part in text for part in ("'merge' (Merge)", "'body' (Add)", "'next' (NextIteration)", "in front of"))


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ("DecodeJpeg", "it decodes files: cut the graph behind it with 'inputs' in the metafile"),
        ("QueueDequeueManyV2", "it feeds data from a queue or a data set: cut the graph behind it"),
        ("IteratorGetNext", "it feeds data from a queue or a data set: cut the graph behind it"),
        ("ReadVariableOp", "it is a variable: the graph is not frozen; freeze the graph first"),
        ("AssignAdd", "it changes a variable, for training"),
        ("ApplyGradientDescent", "it changes a variable, for training"),
        ("ReluGrad", "it computes a gradient or a loss, for training"),
        ("Exit", "it decides which nodes run: name outputs that do without it, or freeze the graph again"),
        ("StatefulPartitionedCall", "it runs functions: freeze the graph again, with functions inlined"),
        ("TensorArrayReadV3", "the graph has tensors only, no lists of them"),
        ("StringJoin", "it looks up a table or works on text"),
        ("RandomUniform", "its result is random, as that of dropout in training: freeze the graph for inference"),
        ("NonMaxSuppressionV3", "how many boxes it keeps depends on data"),
        ("helper", "it calls a function of the file: freeze the graph again with functions inlined"),
        ("Imaginary", "no importer for the operator Imaginary"),
    ],
)
def test_operators_that_cannot_be_imported_say_what_to_do(operator: str, message: str) -> None:
    graph = relus("a")
    graph.node(operator, ["a"], name="odd")
    graph.graph.functions.function.add().signature.name = "helper"
    assert reason(graph.serialize(), {"x": [1, 4]}, ["odd"]).startswith(message)


def test_layers_behind_one_that_cannot_be_imported_name_it() -> None:
    graph = relus("a")
    graph.node("Imaginary", ["a"], name="odd")
    graph.node("Relu", ["odd"], name="y")
    model = opened(graph.serialize(), {"x": [1, 4]}, ["y", "a"])
    why = "no importer for the operator Imaginary"
    assert [(item.layer.name, item.status, item.reason) for item in model.support()] == [
        ("a", "imported", ""),
        ("odd", "unknown", why),
        ("y", "opaque", f"it needs the result of 'odd' (Imaginary), which cannot be imported: {why}"),
    ]
    assert not model.tensors["y"].static
    part = Slice(layers=model.layers[1:3], inputs=("x",), outputs=("a",))
    assert opaque_reasons(model.canonical(part)) == [f"Imaginary: {why}"]
    with pytest.raises(
        InputError, match=f"'y' cannot be an output of a converted model: .*'odd' .* imported: {why}; cu"
    ):
        model.canonical(whole(model))
    with pytest.raises(InputError, match="'odd' cannot be an input of a converted model: its shape is not known"):
        model.canonical(Slice(layers=model.layers[3:], inputs=("odd",), outputs=("y",)))


def test_a_failed_attempt_leaves_nothing_behind(rng: np.random.Generator) -> None:
    graph = relus("a", shape=(1, 4, 4, 3))
    weights = graph.constant(rng.normal(size=(3, 3, 5, 2)).astype(np.float32))
    graph.node("Conv2D", ["a", weights], name="c", strides=[1, 1, 1, 1], padding="SAME", data_format="NHWC")
    model = opened(graph.serialize(), {"x": [1, 4, 4, 3]}, ["a", "c"])
    part = Slice(layers=model.layers[1:], inputs=("x",), outputs=("a",))
    assert [node.op_type for node in model.canonical(part).graph] == ["Relu", "Conv2D"]


def test_inputs_of_types_that_no_graph_has_are_refused() -> None:
    graph = GraphComposer()
    node = graph.graph.node.add(name="text", op="Placeholder")
    node.attr["dtype"].type = schema.STRING
    graph.node("DecodePng", ["text"], name="image", T=None)
    text = refusal(graph.serialize(), {"text": [1]}, ["image"])
    assert text.startswith("input 'text' is of type string, which no converted model has; name a tensor behind it")


def test_a_graph_that_is_looked_at_is_shown_as_it_is(model_file: WriteModel) -> None:
    graph = GraphComposer()
    graph.placeholder("image", [-1, -1, -1, 3])
    graph.placeholder("any", None)
    graph.node("Relu", ["image"], name="r")
    graph.node("Mean", ["r", graph.constant([1, 2])], name="pooled", keep_dims=False, Tidx=np.int32)
    graph.node("Neg", ["any"], name="n")
    model = inspected(model_file(graph.serialize(), "net.pb"))
    assert (model.inputs, model.outputs) == (("image", "any"), ("pooled", "n"))
    assert {t.id: (t.shape, t.static) for t in model.tensors.values()} == {
        "image": ((-1, -1, -1, 3), False),
        "any": ((), False),
        "r": ((-1, -1, -1, 3), False),
        "pooled": ((-1, 3), False),
        "n": ((), False),
    }
    with pytest.raises(InputError, match="tensor 'image' cannot be an input of a converted model: its shape is not"):
        model.canonical(whole(model))


def test_a_graph_with_a_loop_can_be_looked_at(model_file: WriteModel) -> None:
    graph = relus("a")
    graph.node("Merge", ["a", "next"], name="merge")
    graph.node("NextIteration", ["merge"], name="next")
    graph.node("Exit", ["merge"], name="exit")
    model = inspected(model_file(graph.serialize(), "net.pb"))
    assert [layer.name for layer in model.layers] == ["x", "a", "merge", "next", "exit"]


def test_no_part_is_a_model_of_the_format() -> None:
    model = opened(relus("a").serialize(), {"x": [1, 4]}, ["a"])
    with pytest.raises(InputError, match="no delegate runs parts of a frozen graph as they are; asked for 'a'"):
        model.slice(whole(model))


def test_weights_beside_the_graph_are_in_vain(model_file: WriteModel) -> None:
    path = model_file(relus("a").serialize(), "net.pb")
    request = ModelRequest(path=path, weights=path, inputs=boundary({"x": [1, 4]}), outputs=boundary(["a"]))
    assert TensorflowModel.open(request).warnings == ("--weights has no effect: a frozen graph holds its weights",)


def saved_model(graph: GraphComposer) -> bytes:
    made = schema.new("SavedModel")
    made.saved_model_schema_version = 1
    meta = made.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.graph_def.CopyFrom(graph.graph)
    return schema.serialize(made)


def meta_graph(graph: GraphComposer) -> bytes:
    made = schema.new("MetaGraphDef")
    made.meta_info_def.tensorflow_version = "2.15.0"
    made.graph_def.CopyFrom(graph.graph)
    return schema.serialize(made)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            saved_model(relus(*"abcdefgh")),
            "this is a SavedModel, of which the variables are in other files.*freeze it: conv",
        ),
        (meta_graph(relus("a")), "this is a MetaGraph, of which the variables are in other files.*freeze it: conv"),
        (b"# text\nnode {\n  name: 'x'\n}\n", "this graph is written as text; write it in binary: tf.io.write_graph"),
        (relus("a").serialize()[:-3], "this is no frozen graph, or it is truncated or damaged; give the GraphDef"),
        (b"", "this is no frozen graph, or it is truncated or damaged"),
        (b"\x0a\x03\x0a\x01a", "this is no frozen graph, or it is truncated or damaged"),
        (conv5(np.random.default_rng(0)).SerializeToString(), "this is no frozen graph"),
    ],
    ids=["SavedModel", "MetaGraph", "text", "truncated", "empty", "no operator", "onnx"],
)
def test_other_files_are_said_to_be_so(data: bytes, message: str, model_file: WriteModel) -> None:
    with pytest.raises(InputError, match=f"net.pb: {message}"):
        inspected(model_file(data, "net.pb"))


@pytest.mark.parametrize("name", ["saved_model.pb", "graph.pb"])
def test_a_saved_model_is_explained_whatever_it_is_called(name: str, model_file: WriteModel, host: PluginHost) -> None:
    with pytest.raises(InputError, match="this is a SavedModel"):
        open_model(host, ModelRequest(path=model_file(saved_model(relus(*"abcdefgh")), name)))


def test_files_of_other_formats_are_not_claimed(rng: np.random.Generator) -> None:
    others = {
        "onnx": conv5(rng).SerializeToString(),
        "tflite": six(),
        "text": b"name: 'net'\nlayer { name: 'a' type: 'ReLU' }\n",
        "caffemodel": b"\x0a\x05LeNet\xa2\x06\x10\x0a\x04conv\x12\x0bConvolution",
        "metadata": b"\x0a\x14\x10\x00\x1a\x04root\x22\x08_tf_keras",  # nodes that begin with a number
        "zip": b"PK\x03\x04" + bytes(60),
        "nothing": b"",
        "zeros": bytes(64),
        "newlines": b"\n" * 64,
    }
    assert [name for name, data in others.items() if looks_like_graph(data)] == []


def test_graphs_are_claimed_by_their_first_bytes(rng: np.random.Generator, host: PluginHost) -> None:
    graph = GraphComposer()
    graph.constant(rng.normal(size=9000).astype(np.float32), name="large")
    graph.node("Relu", ["large"])
    for data in (graph.serialize(), relus("a").serialize()):
        head = data[:SNIFF_BYTES]
        assert [name for name, item in host.frontends.items() if item.sniff(head)] == ["tensorflow"]


@pytest.mark.zoo
def test_only_graphs_of_the_zoo_are_claimed(zoo: Path) -> None:
    files = [path for path in (zoo / "models").rglob("*") if path.is_file()]
    claimed = {path.name for path in files if looks_like_graph(path.read_bytes()[:SNIFF_BYTES])}
    assert claimed == {path.name for path in (zoo / "models").rglob("*.pb")}


def test_the_command_line_shows_a_graph_and_its_operators(model_file: WriteModel, synap: Synap) -> None:
    path = model_file(relus("a", "y").serialize(), "net.pb")
    shown = synap("info", str(path))
    assert shown.code == 0
    assert "tensorflow" in shown.out
    assert "-1x4" in shown.out
    listed = synap("ops", "--frontend", "tensorflow")
    assert listed.code == 0
    assert {"Const", "Conv2D", "DecodeJpeg"} <= {line.split()[0] for line in listed.out.splitlines()}
