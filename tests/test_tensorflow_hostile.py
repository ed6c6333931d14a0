"""Damaged and malicious frozen graphs: each ends in one line, or works."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synap_core.api import InputError, ModelRequest
from synap_core.graph.passes import normalise
from synap_core.graph.qdq import to_qdq
from synap_frontend_tensorflow import reader, schema
from synap_frontend_tensorflow.importer import whole as whole_model
from synap_frontend_tensorflow.model import TensorflowModel
from synap_frontend_tensorflow.sniff import looks_like_graph
from tests.support.canonical import whole
from tests.support.fuzzing import damaged
from tests.support.tensorflow_models import GraphComposer, Shape, boundary, opened, reason

WriteModel = Callable[..., Path]

MIB = 1 << 20


def network(rng: np.random.Generator) -> GraphComposer:
    """A graph with operators of many kinds, constants and attributes of all kinds among them."""
    graph = GraphComposer()
    graph.placeholder("x", [-1, 8, 8, 3])
    weights = graph.constant(rng.normal(size=(3, 3, 3, 4)).astype(np.float32), name="w")
    strides = {"strides": [1, 1, 1, 1], "padding": "SAME", "data_format": "NHWC"}
    graph.node("Conv2D", ["x", graph.node("Identity", [weights], name="read")], name="conv", **strides)
    graph.tensor("bias", schema.FLOAT, [4], float_val=[0.5])
    graph.node("BiasAdd", ["conv", "bias"], name="add", data_format="NHWC")
    graph.node("Relu6", ["add", "^bias"], name="relu")
    graph.node("Split", [graph.constant(3), "relu"], name="split", num_split=2)
    graph.node("ConcatV2", ["split:1", "split", graph.constant(3)], name="joined", N=2, Tidx=np.int32)
    graph.node("MaxPool", ["joined"], name="pool", ksize=[1, 2, 2, 1], **{**strides, "strides": [1, 2, 2, 1]})
    graph.node("Shape", ["pool"], name="shape", out_type=np.int32)
    bounds = [graph.constant([value]) for value in (0, 1, 1)]
    graph.node("StridedSlice", ["shape", *bounds], name="batch", shrink_axis_mask=1, T=np.int32, Index=np.int32)
    graph.node("Pack", ["batch", graph.constant(-1)], name="pack", axis=0, N=2, T=np.int32)
    graph.node("Reshape", ["pool", "pack"], name="flat", Tshape=np.int32)
    graph.node("FakeQuantWithMinMaxArgs", ["flat"], name="round", min=0.0, max=6.0, num_bits=8, T=None)
    graph.node("Softmax", ["round"], name="y", shapes=[Shape((1, 2))], words=["a", "b"])
    return graph


def fed(path: Path) -> None:
    """Read a file in every way."""
    request = ModelRequest(path=path, inputs=boundary({"x": [1, 8, 8, 3]}), outputs=boundary(["y"]))
    TensorflowModel.open(ModelRequest(path=path, inspect=True)).support()
    model = TensorflowModel.open(request)
    graph = model.canonical(whole(model))
    normalise(graph)
    to_qdq(graph)


def outcome(path: Path) -> str:
    """The message a file is refused with; nothing for one that works."""
    try:
        fed(path)
    except InputError as error:
        text = str(error)
        assert text.startswith(f"{path}: ")
        assert "\n" not in text
        return text
    return ""


def test_the_undamaged_network_works(model_file: WriteModel, rng: np.random.Generator) -> None:
    assert outcome(model_file(network(rng).serialize(), "net.pb")) == ""


def test_every_truncation_ends_in_one_line(model_file: WriteModel, rng: np.random.Generator) -> None:
    content = network(rng).serialize()
    for length in range(0, len(content) - 20, 13):
        assert outcome(model_file(content[:length], "net.pb"))


def test_random_damage_ends_in_one_line_or_not_at_all(model_file: WriteModel, rng: np.random.Generator) -> None:
    content = network(rng).serialize()
    choose = random.Random(20240229)
    others = [content, GraphComposer().serialize()]
    refused = sum(bool(outcome(model_file(damaged(content, others, choose), "net.pb"))) for _ in range(400))
    assert 130 < refused < 400


def test_damage_inside_the_messages_ends_in_one_line_or_not_at_all(
    model_file: WriteModel, rng: np.random.Generator
) -> None:
    """What a parser refuses at once hides what lies behind it, so the damage is done to valid messages."""
    content = network(rng)
    choose = random.Random(7)
    refused = 0
    for _ in range(400):
        made = schema.new("GraphDef")
        made.CopyFrom(content.graph)
        for _ in range(choose.randint(1, 3)):
            disturb(choose.choice(made.node), list(made.node), choose)
        refused += bool(outcome(model_file(schema.serialize(made), "net.pb")))
    assert 130 < refused < 400


def disturb(node: Any, nodes: list[Any], choose: random.Random) -> None:
    other = choose.choice(nodes)
    kind = choose.randrange(7)
    if kind == 0:
        node.op = other.op
    elif kind == 1 and node.input:
        node.input[choose.randrange(len(node.input))] = choose.choice([other.name, f"{other.name}:1", f"^{other.name}"])
    elif kind == 2 and node.input:
        del node.input[choose.randrange(len(node.input))]
    elif kind == 3 and node.attr:
        del node.attr[choose.choice(sorted(node.attr))]
    elif kind == 4 and node.attr and other.attr:
        node.attr[choose.choice(sorted(node.attr))].CopyFrom(other.attr[choose.choice(sorted(other.attr))])
    elif kind == 5 and "value" in node.attr:
        tensor = node.attr["value"].tensor
        tensor.tensor_shape.dim.add(size=choose.choice([0, 1, -1, 3, 1 << 40, (1 << 63) - 1]))
    elif kind == 6:
        for key in sorted(node.attr):
            value = node.attr[key]
            if value.list.i:
                value.list.i[choose.randrange(len(value.list.i))] = choose.choice([0, -1, 1 << 40, -(1 << 63)])


def test_a_few_bytes_cannot_ask_for_gigabytes() -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1, 4])
    graph.tensor("splat", schema.FLOAT, [100_000, 100_000], float_val=[1.0])
    graph.node("Add", ["x", "splat"], name="y")
    tracemalloc.start()
    model = opened(graph.serialize(), {"x": [1, 4]}, ["y"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MIB
    reasons = {item.layer.name: item.reason for item in model.support()}
    assert "more than 33554432 items that the file does not hold" in reasons["splat"]
    assert reasons["y"].startswith("it needs the result of 'splat' (Const), which cannot be imported: a constant of")


@pytest.mark.parametrize("kind", ["Fill", "BroadcastTo", "Tile"])
def test_operators_cannot_ask_for_gigabytes_either(kind: str) -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1, 1])
    large = graph.constant([1 << 24, 1 << 24])
    operands = [large, graph.constant(1.0)] if kind == "Fill" else ["x", large]
    graph.node(kind, operands, name="y", index_type=np.int32, Tmultiples=np.int32, Tidx=np.int32)
    assert reason(graph.serialize(), {"x": [1, 1]}, ["y"])


def test_a_long_chain_needs_no_deep_stack() -> None:
    graph = GraphComposer()
    last = graph.placeholder("x", [1, 4])
    for number in range(10_000, 0, -1):  # names in the order that sorts worst
        last = graph.node("Relu", [last], name=f"n{number}")
    reordered = schema.new("GraphDef")
    reordered.node.extend(reversed(graph.graph.node))
    model = opened(schema.serialize(reordered), {"x": [1, 4]}, [last])
    assert len(model.layers) == 10_001
    assert len(model.canonical(whole(model)).graph) == 10_000


def test_more_nodes_than_a_graph_may_have_end_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap_core.graph.build.MAX_NODES", 50)
    graph = GraphComposer()
    last = graph.placeholder("x", [1, 4])
    for number in range(60):
        last = graph.node("Relu", [last], name=f"n{number}")
    with pytest.raises(InputError, match="net.pb: node 'n50' cannot be imported: the graph gets more than 50 nodes"):
        opened(graph.serialize(), {"x": [1, 4]}, [last])


def test_files_of_too_many_nodes_or_bytes_are_not_read(model_file: WriteModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model_file(GraphComposer().serialize() + b"\x0a\x00" * 2000, "net.pb")
    monkeypatch.setattr(reader, "MAX_NODES", 1000)
    assert "the graph has 2000 nodes; at most 1000 are read" in outcome(path)
    monkeypatch.setattr(reader, "MAX_FILE_BYTES", 1000)
    assert "the file has 4004 bytes; a frozen graph has at most 1000" in outcome(path)


def duplicate(graph: GraphComposer) -> None:
    graph.node("Relu", ["x"], name="relu")


def reads_itself(graph: GraphComposer) -> None:
    graph.graph.node[-1].input[0] = "y"


def reads_nothing(graph: GraphComposer) -> None:
    graph.graph.node[-1].input[0] = "nowhere\nError: forged"


def reads_far_output(graph: GraphComposer) -> None:
    for node in graph.graph.node:
        node.input.extend(f"{other.name}:99999" for other in graph.graph.node if other.name < "m")


def reads_its_own_number(graph: GraphComposer) -> None:
    graph.graph.node[-1].input[0] = "round:7"


def no_name(graph: GraphComposer) -> None:
    graph.graph.node[-1].name = ""


def no_operands(graph: GraphComposer) -> None:
    del graph.graph.node[-1].input[:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (duplicate, "two nodes have the name 'relu'; the file is damaged"),
        (reads_itself, "nodes read each other in a loop: 'y' (Softmax); the graph runs a loop"),
        (reads_nothing, "node 'y' (Softmax) reads 'nowhere\\nError: forged', which the graph lacks"),
        (reads_far_output, "a node reads output 99999 of"),
        (reads_its_own_number, "'y' cannot be an output of a converted model: it needs output 7 of 'round', which is"),
        (no_name, "this is no frozen graph, or it is truncated or damaged"),
        (no_operands, "'y' cannot be an output of a converted model: it has no operand 0"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_graphs_that_contradict_themselves_are_refused(
    change: Callable[[GraphComposer], None], message: str, model_file: WriteModel, rng: np.random.Generator
) -> None:
    graph = network(rng)
    change(graph)
    assert message in outcome(model_file(graph.serialize(), "net.pb"))


def test_deep_nesting_ends_in_one_line(model_file: WriteModel) -> None:
    made = b""
    for _ in range(3000):  # a list in a tensor in a list: field 1 in field 8 of an attribute, as far as it fits
        made = b"\x42" + _length(made) + made
        made = b"\x0a" + _length(made) + made
    entry = b"\x0a\x01k\x12" + _length(made) + made
    node = b"\x0a\x01x\x12\x04Relu\x2a" + _length(entry) + entry
    assert outcome(model_file(b"\x0a" + _length(node) + node, "net.pb"))


def _length(data: bytes) -> bytes:
    value, found = len(data), b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def test_shapes_without_end_are_no_shapes(model_file: WriteModel) -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1] * 100_000)
    graph.node("Relu", ["x"], name="y")
    model = TensorflowModel.open(ModelRequest(path=model_file(graph.serialize(), "net.pb"), inspect=True))
    assert (model.tensors["x"].shape, model.tensors["x"].static) == ((), False)
    with pytest.raises(InputError, match="placeholders: x \\(float32 of unknown shape\\)") as caught:
        opened(graph.serialize(), (), ())
    assert len(str(caught.value)) < 1000


def test_placeholders_larger_than_any_machine_are_not_imported(model_file: WriteModel) -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1 << 62, 1 << 62])
    graph.node("Relu", ["x"], name="y")
    model = TensorflowModel.open(ModelRequest(path=model_file(graph.serialize(), "net.pb"), inspect=True))
    assert not model.tensors["y"].static
    assert whole_model.MAX_ITEMS < 1 << 62


def test_a_graph_is_known_wherever_its_beginning_ends(rng: np.random.Generator) -> None:
    graph = network(rng)
    graph.node("Relu", ["y"], name="_private/name")
    content = graph.serialize()
    first = content.index(b"Placeholder") + len("Placeholder")
    assert all(looks_like_graph(content[:length]) for length in range(first, len(content) + 1))
    assert not any(looks_like_graph(content[:length]) for length in range(first - len("Placeholder")))


def test_any_bytes_can_be_looked_at(rng: np.random.Generator) -> None:
    content = network(rng).serialize()[:4096]
    choose = random.Random(3)
    for _ in range(3000):
        looks_like_graph(choose.randbytes(choose.randrange(64)))
        looks_like_graph(damaged(content, [content], choose))
