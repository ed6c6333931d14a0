"""Opening ``.onnx`` files: layers, tensors, constants and the shapes of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from synap_core.api import INPUT_TYPE, BoundarySpec, InputError, ModelRequest
from synap_frontend_onnx.model import OnnxModel
from synap_frontend_onnx.sniff import looks_like_onnx
from tests.support.onnx_models import (
    Oracle,
    called,
    choice,
    conv5,
    flattened,
    model,
    node,
    open_made,
    value,
    whole,
)


def stored(made: onnx.ModelProto) -> bytes:
    return made.SerializeToString()


def producer_first() -> bytes:
    """Fields in another order than serializers choose; the format allows any."""
    made = conv5(np.random.default_rng(0))
    graph = onnx.ModelProto(graph=made.graph)
    rest = onnx.ModelProto(ir_version=made.ir_version, opset_import=made.opset_import)
    return (
        onnx.ModelProto(producer_name="pytorch", doc_string="ä" * 3000).SerializeToString()
        + stored(graph)
        + stored(rest)
    )


@pytest.mark.parametrize(
    "content",
    [stored(conv5(np.random.default_rng(0))), stored(called()), producer_first(), b"\x08\x03\x12\x05caffe"],
    ids=["usual", "functions", "producer first", "cut inside a field"],
)
def test_sniff_accepts_models(content: bytes) -> None:
    assert looks_like_onnx(content[:4096])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1c\x00\x00\x00TFL3" + bytes(100),
        b"\x08\x00\x00\x00TFL3" + bytes(100),
        b"PK\x03\x04" + bytes(60),
        b"ir_version: 8\ngraph {}",
        b"2 is a number, and this is a text that begins with it",
        b"\x0a\x05input\x12\x03abc",
        b"\x08\xff\xff\x7f" + bytes(8),
        b"\x89PNG\r\n\x1a\n",
        b"\x12\x04\xff\xfe\xfd\xfc\x08\x07",
    ],
    ids=["empty", "tflite", "tflite 8", "zip", "text", "text 2", "caffe", "huge version", "png", "no text"],
)
def test_sniff_rejects_other_files(content: bytes) -> None:
    assert not looks_like_onnx(content)


def test_index_is_the_position_in_the_file_and_constants_are_no_layers(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    layers = open_made(tmp_path, flattened(rng)).layers
    assert [(layer.index, layer.name) for layer in layers] == [
        (None, "x"),
        (0, "relu"),
        (1, "shape"),
        (3, "gather"),
        (4, "unsqueeze"),
        (5, "concat"),
        (6, "reshape"),
        (7, "dense"),
    ]


def test_arithmetic_on_shapes_is_no_edge(tmp_path: Path, rng: np.random.Generator) -> None:
    by_name = {layer.name: layer for layer in open_made(tmp_path, flattened(rng)).layers}
    assert by_name["reshape"].inputs == ("r",)
    assert by_name["concat"].inputs == ()


def test_layer_without_a_name_is_named_after_its_first_output(tmp_path: Path) -> None:
    nodes = [node("Split", "x", "- b", axis=1, num_outputs=2), node("Relu", "b", "y", "last")]
    layers = open_made(tmp_path, model(nodes, [value("x", [1, 4])], [value("y", [1, 2])], opset=18)).layers
    assert [(layer.name, layer.type, layer.outputs) for layer in layers[1:]] == [
        ("b", "Split", ("b",)),
        ("last", "Relu", ("y",)),
    ]


def test_operators_of_other_domains_show_their_domain(tmp_path: Path) -> None:
    assert [layer.type for layer in open_made(tmp_path, called()).layers] == [INPUT_TYPE, "Relu", "mine.outer", "Abs"]


def test_absent_optional_inputs_are_no_edges(tmp_path: Path) -> None:
    nodes = [node("Clip", "x - top", "y", "clip")]
    opened_model = open_made(tmp_path, model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], {"top": np.float32(1)}))
    assert opened_model.layers[1].inputs == ("x",)
    (y,) = Oracle(whole(opened_model))([np.array([[-2, 0, 1, 3]], np.float32)])
    assert y.tolist() == [[-2, 0, 1, 1]]


def test_what_bodies_read_counts_as_input_of_the_node(tmp_path: Path) -> None:
    by_name = {layer.name: layer for layer in open_made(tmp_path, choice()).layers}
    assert by_name["choose"].inputs == ("positive", "r", "x")


def test_tensors_carry_shape_and_type(tmp_path: Path) -> None:
    tensors = open_made(tmp_path, choice()).tensors
    assert {name: (t.shape, t.dtype, t.layout) for name, t in tensors.items() if name in ("x", "s", "positive")} == {
        "x": ((1, 4), "float32", "nchw"),
        "s": ((), "float32", "nchw"),
        "positive": ((), "bool", "nchw"),
    }


def test_tensor_of_an_unknown_operator_has_no_static_shape(tmp_path: Path) -> None:
    nodes = [node("Mystery", "x", "m", domain="acme"), node("Relu", "m", "y")]
    made = model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], imports={"acme": 1})
    tensors = open_made(tmp_path, made).tensors
    assert (tensors["m"].static, tensors["m"].dtype) == (False, "unknown")
    assert (tensors["y"].static, tensors["y"].shape) == (True, (1, 4))


def test_nodes_in_wrong_order_are_sorted_and_keep_their_index(tmp_path: Path, rng: np.random.Generator) -> None:
    made = conv5(rng)
    expected = [node.name for node in made.graph.node]
    reverse = list(made.graph.node)[::-1]
    del made.graph.node[:]
    made.graph.node.extend(reverse)
    layers = open_made(tmp_path, made).layers[1:]
    assert {layer.name: layer.index for layer in layers} == {name: 4 - i for i, name in enumerate(expected)}
    position = {layer.name: i for i, layer in enumerate(layers)}
    assert position["conv1"] < position["relu"] < min(position["conv2"], position["sigmoid"])
    assert position["add"] == 4


def test_initializers_that_old_files_list_as_inputs_are_constants(tmp_path: Path, rng: np.random.Generator) -> None:
    made = conv5(rng)
    made.ir_version = 3
    made.opset_import[0].version = 7
    made.graph.input.extend(value(tensor.name, tensor.dims) for tensor in made.graph.initializer)
    old = open_made(tmp_path, made)
    assert old.inputs == ("x",)
    x = [rng.normal(size=(1, 3, 8, 8)).astype(np.float32)]
    np.testing.assert_array_equal(Oracle(whole(old))(x)[0], Oracle(made)(x)[0])


def sparse_tensor(positions: Sequence[Any], shape: Sequence[int] = (2, 3)) -> onnx.SparseTensorProto:
    values = helper.make_tensor("k", TensorProto.FLOAT, [2], [5, 7])
    indices = numpy_helper.from_array(np.array(positions, np.int64), "indices")
    return helper.make_sparse_tensor(values, indices, shape)


DENSE = [[0, 5, 0], [0, 0, 7]]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"value": numpy_helper.from_array(np.array([[1, 2], [3, 4]], np.float32))}, [[1, 2], [3, 4]]),
        ({"value_float": 1.5}, 1.5),
        ({"value_floats": [1.5, 2.5]}, [1.5, 2.5]),
        ({"value_int": 7}, 7),
        ({"value_ints": [7, 8]}, [7, 8]),
        ({"value_string": "a"}, "a"),
        ({"value_strings": ["a", "b"]}, ["a", "b"]),
        ({"sparse_value": sparse_tensor([1, 5])}, DENSE),
        ({"sparse_value": sparse_tensor([[0, 1], [1, 2]])}, DENSE),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_every_form_of_constant_node_becomes_a_constant(
    tmp_path: Path, attributes: dict[str, Any], expected: object
) -> None:
    nodes = [node("Constant", "", "k", **attributes), node("Take", "x k", "y", domain="acme")]
    opened_model = open_made(tmp_path, model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], imports={"acme": 1}))
    assert [layer.type for layer in opened_model.layers] == [INPUT_TYPE, "acme.Take"]
    (k,) = whole(opened_model).graph.initializer
    assert (k.name, numpy_helper.to_array(k).tolist()) == ("k", expected)


def test_sparse_initializer_is_made_dense(tmp_path: Path) -> None:
    made = model([node("Add", "x k", "y")], [value("x", [2, 3])], [value("y", [2, 3])])
    made.graph.input[0].CopyFrom(value("x", [1, 2, 3]))
    made.graph.output[0].CopyFrom(value("y", [1, 2, 3]))
    made.graph.sparse_initializer.append(sparse_tensor([1, 5]))
    part = whole(open_made(tmp_path, made))
    assert not part.graph.sparse_initializer
    assert Oracle(part)([np.zeros((1, 2, 3), np.float32)])[0].tolist() == [DENSE]


def test_output_that_is_a_constant_is_refused_unless_others_are_named(tmp_path: Path) -> None:
    made = model([node("Relu", "x", "y")], [value("x", [1, 4])], [value("y", [1, 4])], {"k": np.zeros((1, 2), "f4")})
    made.graph.output.append(value("k", [1, 2]))
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(InputError, match=r"output 'k' is a constant.*outputs: \[\{name: y\}\]"):
        OnnxModel.open(ModelRequest(path=path))
    assert OnnxModel.open(ModelRequest(path=path, outputs=(BoundarySpec(name="y"),))).outputs == ("y",)


def test_anchors_are_empty(tmp_path: Path) -> None:
    assert open_made(tmp_path, called()).anchors() == ()
