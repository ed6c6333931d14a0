"""Canonical graphs of real ``.tflite`` models, against LiteRT's reference kernels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_core.graph.annotations import quant_of, states_of
from synap_core.graph.qdq import to_qdq
from synap_core.source import Layer, ModelRequest, Slice
from synap_frontend_tflite.model import TfliteModel
from tests.support.canonical import Reference, imported, opaque_reasons, real, run, stored, whole
from tests.support.streaming import Stream

pytestmark = pytest.mark.zoo

FLOAT = {
    "detection/face_detection_front": 1e-4,
    "misc/hello_world_float": 1e-4,
    "mlperf_tiny/ad01_fp32": 1e-4,
    "mlperf_tiny/pretrainedResnet": 1e-4,
    "mlperf_tiny/vww_96_float": 1e-4,
    # Its weights are of int8: the kernels round each input to 8 bits on their own, and two of them differ by 1.4 %.
    "mlperf_tiny/kws_ref_model_float32": 2e-2,
}
"""Models of real numbers, and what their outputs may differ by, of the largest value or the range."""

QUANTIZED = (
    "audio/micro_speech_quantized",
    "classification/mobilenet_v1_0.25_128_quant",
    "classification/mobilenet_v1_0.5_160_quant",
    "classification/tf2_mobilenet_v2_1.0_224_ptq",
    "detection/ssd_mobilenet_v1_coco_quant_postprocess",
    "misc/hello_world_int8",
    "misc/keras_lstm_mnist_ptq",
    "misc/person_detect",
    "misc/split_concat",
    "misc/unknown_custom_op",
    "mlperf_tiny/ad01_int8",
    "mlperf_tiny/kws_ref_model",
    "mlperf_tiny/pretrainedResnet_quant",
    "mlperf_tiny/vww_96_int8",
)

OPAQUE = {
    "detection/ssd_mobilenet_v1_coco_quant_postprocess": [
        (
            "CUSTOM:TFLite_Detection_PostProcess: box decoding and non-maximum suppression run on the CPU: "
            "leave it to the cpu delegate"
        )
    ],
    "misc/unknown_custom_op": ["CUSTOM:fake-op-double: custom operator 'fake-op-double' is known to no importer"],
}
"""Layers that the canonical graph cannot express."""


def _opened(zoo: Path, name: str) -> TfliteModel:
    return TfliteModel.open(ModelRequest(path=zoo / f"models/{name}.tflite"))


def _samples(zoo: Path, name: str) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Inputs and reference outputs of each sample."""
    archive = np.load(zoo / f"reference/{Path(name).name}.tflite.npz")
    for sample in range(json.loads(str(archive["meta"]))["samples"]):
        inputs, outputs = (
            [archive[key] for key in sorted(archive.files) if key.startswith(f"s{sample}_{kind}_")]
            for kind in ("input", "output")
        )
        yield inputs, outputs


def _loadable(zoo: Path, name: str) -> bytes:
    """The file, with what LiteRT refuses to load put right: the quantized dimension of vectors, which have but one."""
    content = (zoo / f"models/{name}.tflite").read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    vectors = [
        tensor.quantization
        for tensor in model.subgraphs[0].tensors
        if tensor.quantization is not None and tensor.shape is not None and len(tensor.shape) == 1
    ]
    if not any(quantization.quantizedDimension for quantization in vectors):
        return content
    for quantization in vectors:
        quantization.quantizedDimension = 0
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_the_lists_are_complete(zoo: Path) -> None:
    names = {f"{path.parent.name}/{path.stem}" for path in (zoo / "models").glob("*/*.tflite")}
    assert names == {*FLOAT, *QUANTIZED}


@pytest.mark.parametrize("name", FLOAT)
def test_models_of_real_numbers_compute_what_the_reference_does(zoo: Path, name: str) -> None:
    source = _opened(zoo, name)
    model = source.canonical(whole(source))
    assert opaque_reasons(model) == []
    for inputs, outputs in _samples(zoo, name):
        for found, wanted in zip(run(model, inputs), outputs, strict=True):
            size = max(float(np.ptp(wanted)), float(np.abs(wanted).max()))
            assert np.abs(found - wanted).max() <= FLOAT[name] * size


@pytest.mark.parametrize("name", QUANTIZED)
def test_only_known_layers_of_quantized_models_stay_opaque(zoo: Path, name: str) -> None:
    source = _opened(zoo, name)
    assert opaque_reasons(source.canonical(whole(source))) == OPAQUE.get(name, [])


@pytest.mark.parametrize("name", sorted(set(QUANTIZED) - {"misc/unknown_custom_op"}))
def test_every_quantized_layer_is_within_one_step_of_the_kernel(zoo: Path, name: str) -> None:
    """Each layer alone, from the exact integers that the reference kernels give it."""
    source = _opened(zoo, name)
    reference = Reference(_loadable(zoo, name))
    inputs, _ = next(_samples(zoo, name))
    reference(inputs)
    computed = [layer for layer in whole(source).layers if layer.outputs and not layer.type.startswith("CUSTOM:")]
    assert computed
    worst = {layer.name: _difference(source, layer, reference) for layer in computed}
    assert {layer: steps for layer, steps in worst.items() if steps > 1} == {}


def _difference(source: TfliteModel, layer: Layer, reference: Reference) -> int:
    """Steps by which the results of one layer differ."""
    model = source.canonical(Slice(layers=(layer,), inputs=layer.inputs, outputs=layer.outputs))
    assert opaque_reasons(model) == []
    quants = [quant_of(value) for value in model.graph.outputs]
    given = [reference.tensor(int(tensor)) for tensor in layer.inputs]
    if states_of(model):
        # What a recurrent layer computes at one step goes into the next: it must round in between.
        results = Stream(to_qdq(model))(given)
    else:
        given = [real(array, quant_of(value)) for array, value in zip(given, model.graph.inputs, strict=True)]
        results = [stored(array, quant) for array, quant in zip(run(model, given), quants, strict=True)]
    wanted = [reference.tensor(int(tensor)) for tensor in layer.outputs]
    pairs = zip(results, wanted, strict=True)
    return max(int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max(initial=0)) for a, b in pairs)


def _one_step(content: bytes) -> bytes:
    """The recurrent layer of the LSTM model alone, for one step of its sequence."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    (layer,) = (op for op in graph.operators if op.intermediates is not None)
    graph.operators = [layer]
    graph.inputs, graph.outputs = layer.inputs[:1], layer.outputs
    model.signatureDefs = []
    for tensor in (graph.tensors[layer.inputs[0]], graph.tensors[layer.outputs[0]]):
        tensor.shape = np.array([1, 1, tensor.shape[2]], np.int32)
        tensor.shapeSignature = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_each_step_of_a_recurrent_layer_is_that_of_the_kernel(zoo: Path, tmp_path: Path) -> None:
    """From the exact states of the kernel, whose sigmoid is off by up to 6 steps of 2**-15, its tanh by up to 12."""
    path = zoo / "models/misc/keras_lstm_mnist_ptq.tflite"
    content = _one_step(path.read_bytes())
    model, source = imported(content, tmp_path)
    stream, alone, complete = Stream(to_qdq(model)), Reference(content), Reference(path)
    (layer,) = whole(source).layers
    states = {state.input: index for state, index in zip(states_of(model), (17, 18), strict=True)}
    off: dict[type, list[int]] = {np.int8: [], np.int16: []}
    for inputs, _ in _samples(zoo, "misc/keras_lstm_mnist_ptq"):
        complete(inputs)
        for row in np.moveaxis(complete.tensor(int(layer.inputs[0])), 1, 0):
            stream.variables = {name: alone.tensor(index).copy() for name, index in states.items()}
            (found,), (wanted,) = stream([row[:, None]]), alone([row[:, None]])
            off[np.int8] += list(np.abs(found.astype(int) - wanted).flat)
            cell = next(array for array in stream.variables.values() if array.dtype == np.int16)
            off[np.int16] += list(np.abs(cell.astype(int) - alone.tensor(18)).flat)
    assert {dtype: max(units) <= 1 for dtype, units in off.items()} == {np.int8: True, np.int16: True}
    # A sum of float32 that is just off a half makes one.
    assert max(np.count_nonzero(units) for units in off.values()) <= len(off[np.int8]) / 500


def test_a_recurrent_layer_computes_what_the_kernel_does(zoo: Path) -> None:
    """Over all steps of a sequence, from the states that the layer itself computed: samples, and what is like them."""
    name = "misc/keras_lstm_mnist_ptq"
    source = _opened(zoo, name)
    (layer,) = (layer for layer in whole(source).layers if "LSTM" in layer.type)
    model = to_qdq(source.canonical(Slice(layers=(layer,), inputs=layer.inputs, outputs=layer.outputs)))
    values, differing = 0, 0
    for image in _images(zoo, name, 60):
        reference = Reference(zoo / f"models/{name}.tflite")
        reference([image])
        (found,) = Stream(model)([reference.tensor(int(layer.inputs[0]))])
        off = np.abs(found.astype(int) - reference.tensor(int(layer.outputs[0])))
        assert off.max() <= 1
        values, differing = values + off.size, differing + np.count_nonzero(off)
    # With sums of real numbers and functions of them, a twelfth would be off, and of as many some by two.
    assert differing <= values / 1000


def _images(zoo: Path, name: str, count: int) -> Iterator[np.ndarray]:
    """The samples, and images like them: with noise, moved, and with parts of another."""
    rng = np.random.default_rng(5)
    samples = [inputs[0] for inputs, _ in _samples(zoo, name)]
    for number in range(count):
        image = samples[number % len(samples)]
        if number >= len(samples):
            noise = np.clip(image.astype(int) + rng.integers(-20, 20, image.shape), -128, 127).astype(image.dtype)
            moved = np.roll(image, tuple(rng.integers(-4, 5, 2)), (1, 2))
            mixed = np.where(rng.random(image.shape) < 0.5, image, samples[rng.integers(len(samples))])
            image = (noise, moved, mixed)[number % 3]
        yield image


def test_a_recurrent_model_computes_what_the_kernels_do(zoo: Path) -> None:
    """The images of three digits one after the other: the states go on."""
    name = "misc/keras_lstm_mnist_ptq"
    source = _opened(zoo, name)
    stream = Stream(to_qdq(source.canonical(whole(source))))
    reference = Reference(zoo / f"models/{name}.tflite")
    for inputs, _ in _samples(zoo, name):
        (found,), (wanted,) = stream(inputs), reference(inputs)
        assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 1
        assert found.argmax() == wanted.argmax()
