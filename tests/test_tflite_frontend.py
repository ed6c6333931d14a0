"""Opening ``.tflite`` files: layers, tensors, damaged and unusual files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_core.api import INPUT_TYPE, InputError, ModelRequest
from synap_frontend_tflite.model import TfliteModel
from tests.support.tflite_models import ModelBuilder, chain, counter, dense3, six

WriteModel = Callable[..., Path]


def open_model(path: Path) -> TfliteModel:
    return TfliteModel.open(ModelRequest(path=path))


def test_layers_are_named_after_their_first_output(model_file: WriteModel) -> None:
    model = open_model(model_file(six()))
    assert [(layer.name, layer.type, layer.index) for layer in model.layers] == [
        ("x", INPUT_TYPE, None),
        ("c1", "ABS", 0),
        ("c2", "ABS", 1),
        ("c3", "NEG", 2),
        ("c4", "ABS", 3),
        ("c5", "EXP", 4),
        ("c6", "ABS", 5),
    ]


@pytest.mark.acceptance("N5")
def test_n5_constants_and_absent_optional_inputs_are_no_edges(model_file: WriteModel) -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 2])
    weights = builder.constant("w", np.ones((3, 2), np.float32))
    y = builder.tensor("y", [1, 3])
    builder.operator("FULLY_CONNECTED", [x, weights, -1], [y], schema.FullyConnectedOptionsT())
    model = open_model(model_file(builder.finish([x], [y])))
    assert model.layers[1].inputs == (str(x),)
    assert set(model.tensors) == {str(x), str(y)}


def test_tensors_carry_shape_type_and_quantization(model_file: WriteModel) -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 4], "int8", scale=0.5, zero_point=-3)
    y = builder.tensor("y", [1, 4], "float32")
    builder.operator("DEQUANTIZE", [x], [y], schema.DequantizeOptionsT())
    tensors = open_model(model_file(builder.finish([x], [y]))).tensors
    quant = tensors[str(x)].quant
    assert quant is not None
    assert (quant.dtype, quant.scheme, quant.scale, quant.zero_point) == ("int8", "asymmetric_affine", (0.5,), (-3,))
    assert (tensors[str(y)].dtype, tensors[str(y)].shape, tensors[str(y)].quant) == ("float32", (1, 4), None)


def test_unnamed_tensors_get_a_name(model_file: WriteModel) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor(None, [1, 2]), builder.tensor(None, [1, 2])
    builder.operator("ABS", [x], [y])
    model = open_model(model_file(builder.finish([x], [y])))
    assert [layer.name for layer in model.layers] == ["tensor_0", "ABS_0"]


@pytest.mark.acceptance("N6")
def test_n6_operators_that_share_a_variable_say_so(model_file: WriteModel) -> None:
    layers = {layer.type: layer for layer in open_model(model_file(counter())).layers}
    shared = frozenset({"/total"})
    assert {name for name, layer in layers.items() if layer.state == shared} == {
        "CALL_ONCE",
        "VAR_HANDLE",
        "READ_VARIABLE",
        "ASSIGN_VARIABLE",
    }


def test_every_truncation_ends_in_one_line(model_file: WriteModel, rng: np.random.Generator) -> None:
    content = dense3(rng)
    for length in range(8, len(content), 37):
        path = model_file(content[:length])
        with pytest.raises(InputError, match="truncated or damaged|below") as caught:
            open_model(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_random_damage_ends_in_one_line_or_not_at_all(model_file: WriteModel, rng: np.random.Generator) -> None:
    content = counter()
    refused = 0
    for _ in range(1500):
        damaged = bytearray(content)
        for position in rng.integers(8, len(content), size=rng.integers(1, 6)):
            damaged[position] = rng.integers(256)
        try:
            open_model(model_file(bytes(damaged)))
        except InputError:
            refused += 1
    assert refused > 300


def _with(change: Callable[[ModelBuilder], None], inputs: list[int], outputs: list[int]) -> bytes:
    builder = ModelBuilder()
    change(builder)
    return builder.finish(inputs, outputs)


def _reads_later(builder: ModelBuilder) -> None:
    x, y, z = (builder.tensor(name, [1, 2]) for name in "xyz")
    builder.operator("ADD", [x, z], [y], schema.AddOptionsT())
    builder.operator("ABS", [y], [z])


def _writes_twice(builder: ModelBuilder) -> None:
    x, y = (builder.tensor(name, [1, 2]) for name in "xy")
    builder.operator("ABS", [x], [y])
    builder.operator("NEG", [x], [y])


def _bad_index(builder: ModelBuilder) -> None:
    x, _ = (builder.tensor(name, [1, 2]) for name in "xy")
    builder.operator("ABS", [x], [77])


def _bad_buffer(builder: ModelBuilder) -> None:
    x, y = (builder.tensor(name, [1, 2]) for name in "xy")
    builder.graph.tensors[x].buffer = 500
    builder.operator("ABS", [x], [y])


def _negative_dimension(builder: ModelBuilder) -> None:
    x, y = builder.tensor("x", [1, -5]), builder.tensor("y", [1, 2])
    builder.operator("ABS", [x], [y])


def _output_is_constant(builder: ModelBuilder) -> None:
    builder.tensor("x", [1, 2])
    builder.constant("k", np.ones((1, 2), np.float32))


@pytest.mark.parametrize(
    ("change", "inputs", "outputs", "message"),
    [
        (_reads_later, [0], [2], r"operator 0 \(ADD\) reads a tensor that is only written later: 'z'"),
        (_writes_twice, [0], [1], r"operator 1 \(NEG\) writes a tensor twice: 'y'"),
        (_bad_index, [0], [1], "an index in the file is 77; it must be below 2"),
        (_bad_buffer, [0], [1], "an index in the file is 500; it must be below 1"),
        (_negative_dimension, [0], [1], r"tensor 'x' has the shape \[1, -5\]"),
        (_output_is_constant, [0], [1], "output 'k' is a constant"),
        (_writes_twice, [0, 0], [1], "lists an input twice"),
    ],
)
def test_inconsistent_file_is_refused(
    model_file: WriteModel, change: Callable[[ModelBuilder], None], inputs: list[int], outputs: list[int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_model(model_file(_with(change, inputs, outputs)))


def test_shared_vectors_cannot_make_the_reader_loop(
    model_file: WriteModel, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synap_frontend_tflite.reader.MAX_VALUES", 10)
    with pytest.raises(InputError, match="more than 10 numbers in shapes and lists"):
        open_model(model_file(dense3(rng)))
    monkeypatch.setattr("synap_frontend_tflite.reader.MAX_ITEMS", 5)
    with pytest.raises(InputError, match="more than 5 tensors"):
        open_model(model_file(dense3(rng)))


def test_file_without_identifier_is_refused(model_file: WriteModel) -> None:
    with pytest.raises(InputError, match="not a TensorFlow Lite model"):
        open_model(model_file(b"\x08\x07onnx is not this" * 10))


def test_dynamic_dimension_behind_the_batch_is_marked(model_file: WriteModel) -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 1], signature=[-1, -1])
    y = builder.tensor("y", [1, 1], signature=[-1, 1])
    builder.operator("ABS", [x], [y])
    tensors = open_model(model_file(builder.finish([x], [y]))).tensors
    assert (tensors[str(x)].static, tensors[str(y)].static) == (False, True)


def test_output_of_a_custom_operator_without_rank_has_no_static_shape(model_file: WriteModel) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 2]), builder.tensor("y", [])
    builder.graph.tensors[y].hasRank = False
    builder.operator("CUSTOM", [x], [y], custom="mystery")
    model = open_model(model_file(builder.finish([x], [y])))
    assert model.tensors[str(y)].static is False
    assert model.layers[1].type == "CUSTOM:mystery"


@pytest.mark.zoo
def test_detection_post_process_gives_shapes_and_anchors(zoo: Path) -> None:
    model = open_model(zoo / "models/detection/ssd_mobilenet_v1_coco_quant_postprocess.tflite")
    assert [model.tensors[t].shape for t in model.outputs] == [(1, 10, 4), (1, 10), (1, 10), (1,)]
    anchors = np.array(model.anchors()).reshape(-1, 4)
    assert len(anchors) == 1917
    # Anchor centres lie in the image, and the first one is that of the top left cell of the 19 x 19 grid.
    assert anchors[:, :2].min() > 0
    assert anchors[:, :2].max() < 1
    np.testing.assert_allclose(anchors[0, :2], 0.5 / 19, atol=0.005)


def test_model_without_detection_has_no_anchors(model_file: WriteModel) -> None:
    assert open_model(model_file(chain(["a"]))).anchors() == ()


@pytest.mark.zoo
@pytest.mark.acceptance("N1", "N2", "N3", "N4")
def test_n1_to_n4_real_network_as_a_graph(zoo: Path) -> None:
    path = zoo / "models/classification/tf2_mobilenet_v2_1.0_224_ptq.tflite"
    model = open_model(path)
    operators = [layer for layer in model.layers if layer.type != INPUT_TYPE]
    stored = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).subgraphs[0]
    # N1: by position; the second operator has one input that is not constant and one output.
    assert [layer.index for layer in operators] == list(range(len(stored.operators)))
    assert (len(operators[1].inputs), len(operators[1].outputs)) == (1, 1)
    # N2: tensors by their index in the file, with its names and shapes.
    for key, tensor in model.tensors.items():
        assert (tensor.name, tensor.shape) == (
            stored.tensors[int(key)].name.decode(),
            tuple(stored.tensors[int(key)].shape),
        )
    # N3: constants are no nodes; each operator writes one tensor and reads two at the most.
    assert len(model.tensors) == len(operators) + 1
    edges = sum(len(layer.inputs) + len(layer.outputs) for layer in operators)
    additions = sum(layer.type == "ADD" for layer in operators)
    assert (additions, edges) == (10, 2 * len(operators) + additions)
    # N4: the first edge leads from the model input to the first operator.
    assert operators[0].inputs == model.inputs
