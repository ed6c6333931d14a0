"""Cutting parts out of ``.tflite`` files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_core.api import INPUT_TYPE, Layer, ModelRequest, Slice
from synap_frontend_tflite import flatbuffer
from synap_frontend_tflite.model import TfliteModel
from synap_frontend_tflite.slicer import slice_model
from tests.support.litert import Oracle
from tests.support.tflite_models import ModelBuilder, chain, counter, dense3

WriteModel = Callable[..., Path]


def open_model(path: Path) -> TfliteModel:
    return TfliteModel.open(ModelRequest(path=path))


def operators(model: TfliteModel) -> tuple[Layer, ...]:
    return tuple(layer for layer in model.layers if layer.type != INPUT_TYPE)


def dump(content: bytes) -> Any:
    """The whole file as JSON values, absent fields with their defaults."""
    return json.loads(json.dumps(_plain(schema.ModelT.InitFromPackedBuf(content, 0))))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "__dict__"):
        return {key: _plain(item) for key, item in vars(value).items()}
    return value


def boundary(content: bytes) -> tuple[list[int], list[int], int]:
    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    return graph.inputs.tolist(), graph.outputs.tolist(), len(graph.operators)


def rewritten(content: bytes) -> bytes:
    inputs, outputs, count = boundary(content)
    return slice_model(content, range(count), inputs, outputs)


@pytest.mark.acceptance("T1")
def test_t1_rewriting_without_filtering_keeps_everything(rng: np.random.Generator) -> None:
    content = dense3(rng)
    assert dump(rewritten(content)) == dump(content)


@pytest.mark.zoo
@pytest.mark.acceptance("T1")
@pytest.mark.parametrize(
    "name",
    [
        "classification/mobilenet_v1_0.25_128_quant",
        "detection/ssd_mobilenet_v1_coco_quant_postprocess",
        "misc/hello_world_float",
        "misc/keras_lstm_mnist_ptq",
        "mlperf_tiny/kws_ref_model_float32",
    ],
)
def test_t1_rewriting_a_real_model_keeps_everything(zoo: Path, name: str) -> None:
    content = (zoo / "models" / f"{name}.tflite").read_bytes()
    before, after = dump(content), dump(rewritten(content))
    # Buffers nobody refers to may go, so weights are compared where they are used.
    for model in (before, after):
        for owner in [*model["subgraphs"][0]["tensors"], *(model["metadata"] or [])]:
            owner["buffer"] = model["buffers"][owner["buffer"]]["data"]
        del model["buffers"]
        model["metadata"] = model["metadata"] or []
        model["signatureDefs"] = model["signatureDefs"] or []
    assert after == before


def test_whole_model_is_the_file_itself(model_file: WriteModel, rng: np.random.Generator) -> None:
    content = dense3(rng) + b"a zip archive of labels is often appended"
    model = open_model(model_file(content))
    part = Slice(layers=operators(model), inputs=model.inputs, outputs=model.outputs)
    assert model.slice(part) == content


@pytest.mark.acceptance("T2")
def test_t2_slice_drops_buffers_it_does_not_need_and_keeps_buffer_0(rng: np.random.Generator) -> None:
    content = dense3(rng)
    part = slice_model(content, [1], [3], [6])
    model = schema.ModelT.InitFromPackedBuf(part, 0)
    assert [len(buffer.data) if buffer.data is not None else 0 for buffer in model.buffers] == [0, 64, 64]
    assert [tensor.name for tensor in model.subgraphs[0].tensors] == [b"dense_0", b"w1", b"b1", b"dense_1"]


def test_slicing_twice_gives_the_same_bytes(rng: np.random.Generator) -> None:
    content = dense3(rng)
    assert slice_model(content, [1], [3], [6]) == slice_model(content, [1], [3], [6])


def test_weights_are_aligned_in_the_file(rng: np.random.Generator) -> None:
    part = slice_model(dense3(rng), [1, 2], [3], [9])
    root = flatbuffer.root_table(part)
    starts = [root.Buffers(i)._tab.Vector(root.Buffers(i)._tab.Offset(4)) for i in range(1, root.BuffersLength())]
    assert len(starts) == 4
    assert [start % 16 for start in starts] == [0] * 4


@pytest.mark.parametrize("cut", [1, 2])
def test_pieces_in_a_row_equal_the_whole(rng: np.random.Generator, cut: int) -> None:
    content = dense3(rng)
    # Tensor indices: 0 input; 1-3, 4-6, 7-9 weights, bias and output of the three layers.
    middle = 3 * cut
    first = Oracle(slice_model(content, range(cut), [0], [middle]))
    second = Oracle(slice_model(content, range(cut, 3), [middle], [9]))
    x = [np.array([[0.7]], np.float32)]
    np.testing.assert_array_equal(second(first(x))[0], Oracle(content)(x)[0])


@pytest.mark.zoo
@pytest.mark.parametrize("xnnpack", [True, False], ids=["xnnpack", "builtin"])
@pytest.mark.parametrize(
    "name",
    [
        "classification/mobilenet_v1_0.25_128_quant",
        "misc/keras_lstm_mnist_ptq",
        "mlperf_tiny/kws_ref_model",
        "mlperf_tiny/pretrainedResnet_quant",
    ],
)
def test_real_quantized_models_cut_at_any_single_tensor_equal_the_whole(
    zoo: Path, name: str, rng: np.random.Generator, *, xnnpack: bool
) -> None:
    path = zoo / "models" / f"{name}.tflite"
    model = open_model(path)
    layers = operators(model)
    cuts = [k for k in range(1, len(layers)) if _live(model, layers, k) == {layers[k - 1].outputs[0]}]
    oracle = Oracle(path, xnnpack=xnnpack)
    inputs = oracle.random_inputs(rng)
    expected = oracle(inputs)
    for k in rng.choice(cuts, size=min(3, len(cuts)), replace=False):
        middle = (layers[k - 1].outputs[0],)
        first = Oracle(model.slice(Slice(layers=layers[:k], inputs=model.inputs, outputs=middle)), xnnpack=xnnpack)
        second = Oracle(model.slice(Slice(layers=layers[k:], inputs=middle, outputs=model.outputs)), xnnpack=xnnpack)
        for got, want in zip(second(first(inputs)), expected, strict=True):
            np.testing.assert_array_equal(got, want)


def _live(model: TfliteModel, layers: tuple[Layer, ...], k: int) -> set[str]:
    made = set(model.inputs) | {t for layer in layers[:k] for t in layer.outputs}
    read = {t for layer in layers[k:] for t in layer.inputs} | set(model.outputs)
    return made & read


@pytest.mark.zoo
def test_custom_operator_keeps_its_options(zoo: Path) -> None:
    content = (zoo / "models/detection/ssd_mobilenet_v1_coco_quant_postprocess.tflite").read_bytes()
    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    last = len(graph.operators) - 1
    dynamic = graph.operators[last].inputs.tolist()[:2]
    part = slice_model(content, [last], dynamic, graph.outputs.tolist())
    kept = schema.ModelT.InitFromPackedBuf(part, 0)
    np.testing.assert_array_equal(kept.subgraphs[0].operators[0].customOptions, graph.operators[last].customOptions)
    shapes = [d["shape"].tolist() for d in Oracle(part).outputs]
    assert shapes == [[1, 10, 4], [1, 10], [1, 10], [1]]


def signed(rng: np.random.Generator) -> bytes:
    builder = ModelBuilder()
    x, a, y = (builder.tensor(name, [1, 2]) for name in "xay")
    builder.operator("ABS", [x], [a])
    builder.operator("NEG", [a], [y])
    builder.signature("serving_default", {"in": x}, {"out": y})
    builder.metadata("min_runtime_version", b"1.5.0")
    builder.metadata("TFLITE_METADATA", rng.bytes(8))
    return builder.finish([x], [y])


def test_signature_is_kept_while_it_fits_and_dropped_when_it_does_not(rng: np.random.Generator) -> None:
    content = signed(rng)
    whole = schema.ModelT.InitFromPackedBuf(slice_model(content, [0, 1], [0], [2]), 0)
    part = schema.ModelT.InitFromPackedBuf(slice_model(content, [1], [1], [2]), 0)
    assert [s.signatureKey for s in whole.signatureDefs] == [b"serving_default"]
    assert (whole.signatureDefs[0].inputs[0].tensorIndex, whole.signatureDefs[0].outputs[0].tensorIndex) == (0, 2)
    assert not part.signatureDefs


def test_metadata_is_kept_unless_it_describes_other_inputs(rng: np.random.Generator) -> None:
    content = signed(rng)
    whole = schema.ModelT.InitFromPackedBuf(slice_model(content, [0, 1], [0], [2]), 0)
    part = schema.ModelT.InitFromPackedBuf(slice_model(content, [1], [1], [2]), 0)
    assert [m.name for m in whole.metadata] == [b"min_runtime_version", b"TFLITE_METADATA"]
    assert [m.name for m in part.metadata] == [b"min_runtime_version"]
    assert bytes(part.buffers[part.metadata[0].buffer].data) == b"1.5.0"


def test_subgraphs_stay_when_a_kept_operator_calls_them() -> None:
    content = counter()
    whole = schema.ModelT.InitFromPackedBuf(rewritten(content), 0)
    without_state = schema.ModelT.InitFromPackedBuf(slice_model(content, [3], [0, 2], [3]), 0)
    assert (len(whole.subgraphs), len(without_state.subgraphs)) == (2, 1)
    oracle, x = Oracle(rewritten(content)), [np.ones((1, 2), np.float32)]
    assert [float(oracle(x)[0][0, 0]) for _ in range(3)] == [11, 12, 13]


def test_weights_behind_the_tables_are_taken_along() -> None:
    content = _with_external_buffer()
    part = slice_model(content, [1], [1], [3])
    np.testing.assert_array_equal(Oracle(part)([np.ones((1, 2), np.float32)])[0], [[4, 6]])


def _with_external_buffer() -> bytes:
    """Buffers of large models lie behind the flatbuffer, where 64-bit offsets point."""
    values = np.array([[3, 5]], np.float32)
    builder = ModelBuilder()
    x, a = builder.tensor("x", [1, 2]), builder.tensor("a", [1, 2])
    k, y = builder.constant("k", values), builder.tensor("y", [1, 2])
    builder.operator("ABS", [x], [a])
    builder.operator("ADD", [a, k], [y], schema.AddOptionsT())
    buffer = builder.model.buffers[-1]
    buffer.data = None
    # Offsets have a fixed width, so the length of the tables does not depend on them.
    buffer.offset, buffer.size = 1 << 20, values.nbytes
    length = len(builder.finish([x], [y]))
    buffer.offset = length
    return builder.finish([x], [y]) + values.tobytes()


def test_quantization_and_shape_signature_survive() -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 4], "int8", scale=0.25, zero_point=7, signature=[-1, 4])
    a = builder.tensor("a", [1, 4], "float32")
    y = builder.tensor("y", [1, 4], "int8", scale=0.5, zero_point=-1)
    builder.operator("DEQUANTIZE", [x], [a], schema.DequantizeOptionsT())
    builder.operator("QUANTIZE", [a], [y], schema.QuantizeOptionsT())
    graph = schema.ModelT.InitFromPackedBuf(slice_model(builder.finish([x], [y]), [0], [x], [a]), 0).subgraphs[0]
    assert graph.tensors[0].shapeSignature.tolist() == [-1, 4]
    assert (graph.tensors[0].quantization.scale.tolist(), graph.tensors[0].quantization.zeroPoint.tolist()) == (
        [0.25],
        [7],
    )


def test_order_of_inputs_follows_the_request(model_file: WriteModel) -> None:
    builder = ModelBuilder()
    a, b, y = (builder.tensor(name, [1, 2]) for name in "aby")
    builder.operator("SUB", [a, b], [y], schema.SubOptionsT())
    model = open_model(model_file(builder.finish([b, a], [y])))
    part = Slice(layers=operators(model), inputs=("0", "1"), outputs=("2",))
    names = [detail["name"] for detail in Oracle(model.slice(part)).inputs]
    assert names == ["a", "b"]


def test_chain_of_one_layer_parts_has_one_operator_each() -> None:
    content = chain(["a", "b", "c"])
    for k in range(3):
        graph = schema.ModelT.InitFromPackedBuf(slice_model(content, [k], [k], [k + 1]), 0).subgraphs[0]
        assert len(graph.operators) == 1
        assert len(graph.tensors) == 2
