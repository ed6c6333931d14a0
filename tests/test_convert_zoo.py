"""Conversions of real models, against LiteRT."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synap_core.bundle_writer import pack_bundle
from synap_core.convert import ConvertRequest, convert, write
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.model_files import open_model
from synap_core.names import is_operator
from synap_core.network import Network
from synap_core.payloads import OutputFormat
from synap_core.source import ModelRequest
from tests.support.canonical import Reference
from tests.support.litert import Oracle, random_array

RUNNABLE = (
    "audio/micro_speech_quantized",
    "classification/mobilenet_v1_0.25_128_quant",
    "classification/mobilenet_v1_0.5_160_quant",
    "classification/tf2_mobilenet_v2_1.0_224_ptq",
    "detection/face_detection_front",
    "detection/ssd_mobilenet_v1_coco_quant_postprocess",
    "misc/hello_world_float",
    "misc/hello_world_int8",
    "misc/keras_lstm_mnist_ptq",
    "misc/split_concat",
    "mlperf_tiny/ad01_fp32",
    "mlperf_tiny/ad01_int8",
    "mlperf_tiny/kws_ref_model",
    "mlperf_tiny/kws_ref_model_float32",
    "mlperf_tiny/pretrainedResnet",
    "mlperf_tiny/pretrainedResnet_quant",
    "mlperf_tiny/vww_96_float",
    "mlperf_tiny/vww_96_int8",
)
"""Models that LiteRT loads; `test_every_real_model_is_in_the_list_above_or_refused` keeps the list complete."""


BOXES = "detection/ssd_mobilenet_v1_coco_quant_postprocess"


@pytest.mark.zoo
def test_anchors_are_put_into_the_format_on_every_path(host: PluginHost, zoo: Path, tmp_path: Path) -> None:
    meta = tmp_path / "meta.yaml"
    meta.write_text(
        "outputs:\n- {name: Squeeze, format: 'tflite_detection_boxes anchors=${ANCHORS}'}\n- {name: convert_scores}\n"
    )
    model = zoo / "models/detection/ssd_mobilenet_v1_coco_quant_postprocess.tflite"
    conversion = convert(ConvertRequest(model=model, target="SL1620", meta=meta), host).conversion
    kind, _, anchors = conversion.outputs[0].data_format.partition(" anchors=")
    values = json.loads(anchors)
    assert (kind, len(values), " " in anchors) == ("tflite_detection_boxes", 1917 * 4, False)
    assert all(value == round(value, 6) for value in values)
    assert "CUSTOM:TFLite_Detection_PostProcess" not in {layer.type for layer in conversion.subgraphs[0].part.layers}


@pytest.mark.zoo
@pytest.mark.acceptance("E6", "E7")
def test_e6_e7_named_input_is_described_with_its_normalisation(host: PluginHost, zoo: Path, tmp_path: Path) -> None:
    model = zoo / "models/classification/tf2_mobilenet_v2_1.0_224_ptq.tflite"
    name = next(
        tensor["name"]
        for tensor in Oracle(model).tensors()
        if tuple(tensor["shape"]) == (1, 112, 112, 96) and "Relu6" in tensor["name"]
    )
    meta = tmp_path / "meta.yaml"
    meta.write_text(f"delegate: gpu\ninputs: [{{name: '{name}', shape: [1, 112, 112, 96], means: 0, scale: 1}}]\n")
    conversion = convert(ConvertRequest(model=model, target="VS680", meta=meta), host).conversion
    archive = zipfile.ZipFile(io.BytesIO(pack_bundle(conversion)))
    (tensor,) = json.loads(archive.read("0/subgraph_0.json"))["Inputs"].values()
    assert (tensor["scale"], tensor["format"], tensor["name"], tensor["data_format"]) == (1, "nhwc", name, "")
    assert tensor["mean"] == [0] * 96


@pytest.mark.zoo
@pytest.mark.acceptance("E19")
@pytest.mark.parametrize("name", RUNNABLE)
def test_e19_real_model_converts_for_the_gpu(host: PluginHost, zoo: Path, tmp_path: Path, name: str) -> None:
    meta = tmp_path / "meta.yaml"
    meta.write_text("delegate: {'*': gpu}\n")
    request = ConvertRequest(model=zoo / "models" / f"{name}.tflite", target="VS680", meta=meta)
    assert convert(request, host).conversion.delegates == ("gpu",)


@pytest.mark.zoo
@pytest.mark.acceptance("E19")
@pytest.mark.parametrize("name", RUNNABLE)
def test_e19_real_model_converts_for_the_npu(host: PluginHost, zoo: Path, tmp_path: Path, name: str) -> None:
    meta = tmp_path / "meta.yaml"
    meta.write_text("delegate: {'*': npu}\n")
    request = ConvertRequest(model=zoo / "models" / f"{name}.tflite", target="VS680", meta=meta)
    if name != BOXES:
        assert convert(request, host).conversion.delegates == ("npu",)
        return
    with pytest.raises(InputError, match="1 layer cannot run on npu: 'TFLite_Detection_PostProcess'"):
        convert(request, host)
    assert convert(replace(request, fallback="cpu"), host).conversion.delegates == ("npu", "cpu")


@pytest.mark.zoo
@pytest.mark.acceptance("E8")
def test_e8_cut_model_with_a_part_on_the_npu_gives_a_bundle_that_runs(
    host: PluginHost, zoo: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = zoo / "models/classification/tf2_mobilenet_v2_1.0_224_ptq.tflite"
    source = open_model(host, ModelRequest(path=path))
    layers = [layer for layer in source.layers if is_operator(layer)]
    of_shape = {source.tensors[layer.outputs[0]].shape: layer for layer in layers}
    start = next(la for la in layers if source.tensors[la.outputs[0]].shape == (1, 112, 112, 96))
    end = of_shape[1, 56, 56, 144]
    assert start.index is not None
    cut = f"inputs: [{{name: '{start.name}', shape: [1, 112, 112, 96]}}]\noutputs: [{{name: '{end.name}'}}]\n"
    parts = {}
    for unit in ("npu", "gpu"):
        rules = f"'*': cpu, '{start.index + 1}': {unit}, '{start.index + 2}': {unit}, '{end.index}': gpu"
        meta = tmp_path / "meta.yaml"
        meta.write_text(f"{cut}delegate: {{{rules}}}\n")
        parts[unit] = convert(ConvertRequest(model=path, target="VS680", meta=meta), host).conversion
        assert parts[unit].delegates == (unit, "cpu", "gpu")
    written = write(parts["npu"], host.find(OutputFormat, "synap"), tmp_path / "out", host)
    assert written.files[0].name == "model.synap"
    network = Network(written.files[0], host=host, isolate=False)
    items = [random_array(rng, network.inputs[0].shape, np.dtype(network.inputs[0].dtype).type)]
    (found,) = network.predict(items)
    # The same pieces as TensorFlow Lite models; the program follows the reference kernels, and what is for the GPU runs
    # without XNNPACK on a host.
    first, second, third = (artifact.model for artifact in parts["gpu"].artifacts)
    (wanted,) = Oracle(third, xnnpack=False)(Oracle(second)(Reference(first)(items)))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.zoo
@pytest.mark.parametrize("name", RUNNABLE)
def test_real_model_gives_what_litert_gives_bit_for_bit(
    host: PluginHost, zoo: Path, name: str, rng: np.random.Generator
) -> None:
    path = zoo / "models" / f"{name}.tflite"
    conversion = convert(ConvertRequest(model=path, target="SL1620"), host).conversion
    network = Network(pack_bundle(conversion), host=host, isolate=False)
    oracle = Oracle(path)
    reference = np.load(zoo / "reference" / f"{Path(name).name}.tflite.npz")
    count = len(oracle.inputs)
    samples = [[reference[f"s{s}_input_{k}"] for k in range(count)] for s in range(2)]
    random = [random_array(rng, tensor.shape, np.dtype(tensor.dtype).type) for tensor in network.inputs]
    for inputs in (*samples, random):
        oracle_again = Oracle(path)
        network.reset()
        for got, want in zip(network.predict(inputs), oracle_again(inputs), strict=True):
            np.testing.assert_array_equal(got, want)
            assert got.dtype == want.dtype


@pytest.mark.zoo
def test_every_real_model_is_in_the_list_above_or_refused(host: PluginHost, zoo: Path) -> None:
    refused, loaded = {}, set()
    for path in sorted((zoo / "models").rglob("*.tflite")):
        try:
            conversion = convert(ConvertRequest(model=path, target="SL1620"), host).conversion
            Network(pack_bundle(conversion), host=host, isolate=False)
            loaded.add(f"{path.parent.name}/{path.stem}")
        except InputError as error:
            refused[path.stem] = str(error)
    assert loaded == set(RUNNABLE)
    assert set(refused) == {"person_detect", "unknown_custom_op"}
    assert "quantized_dimension must be in range" in refused["person_detect"]
    assert "tensor 'tensor_1' has no static shape" in refused["unknown_custom_op"]


@pytest.mark.zoo
def test_builtin_kernels_are_used_when_xnnpack_is_switched_off(
    host: PluginHost, zoo: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    meta = tmp_path / "meta.yaml"
    meta.write_text("delegate: cpu use_xnnpack=0 num_threads=2\n")
    path = zoo / "models/classification/mobilenet_v1_0.5_160_quant.tflite"
    conversion = convert(ConvertRequest(model=path, target="SL1620", meta=meta), host).conversion
    inputs = Oracle(path).random_inputs(rng)
    got = Network(pack_bundle(conversion), host=host, isolate=False).predict(inputs)[0]
    np.testing.assert_array_equal(got, Oracle(path, xnnpack=False)(inputs)[0])
    assert (got != Oracle(path)(inputs)[0]).any()  # so the option did make a difference


QUANTIZED = tuple(name for name in RUNNABLE if re.search("quant|int8|ptq|kws_ref_model$", name))


@pytest.mark.zoo
@pytest.mark.parametrize("name", QUANTIZED)
def test_real_quantized_model_cut_in_three_equals_the_whole_bit_for_bit(
    host: PluginHost, zoo: Path, tmp_path: Path, name: str, rng: np.random.Generator
) -> None:
    path = zoo / "models" / f"{name}.tflite"
    operators = [layer for layer in open_model(host, ModelRequest(path=path)).layers if is_operator(layer)]
    inputs = Oracle(path).random_inputs(rng)
    expected = Oracle(path, xnnpack=False)(inputs)
    meta = tmp_path / "meta.yaml"
    for _ in range(3):
        first, second = sorted(rng.choice(len(operators), size=2, replace=len(operators) < 2))
        # The gpu delegate runs on LiteRT's own kernels on a host, so the cpu parts must not use XNNPACK's either.
        rules = {index: "gpu" if first <= index < second else "cpu use_xnnpack=0" for index in range(len(operators))}
        meta.write_text(f"delegate: {json.dumps(rules)}\n")
        conversion = convert(ConvertRequest(model=path, target="VS680", meta=meta), host).conversion
        with Network(pack_bundle(conversion), host=host, isolate=False) as network:
            for got, want in zip(network.predict(inputs), expected, strict=True):
                np.testing.assert_array_equal(got, want)
