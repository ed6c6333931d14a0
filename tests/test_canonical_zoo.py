"""Whole models of the zoo: imported, normalised, written as ONNX and run, against their reference outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from synap_core.graph.passes import normalise
from synap_core.graph.qdq import to_qdq
from synap_core.host import PluginHost
from synap_core.model_files import open_model
from synap_core.source import BoundarySpec, ModelRequest, Slice, SourceModel
from tests.support.canonical import Reference, opaque_reasons, run, whole
from tests.support.litert import Oracle
from tests.support.streaming import Stream

pytestmark = pytest.mark.zoo

FLOAT_MODELS = {
    "classification/efficientnet-lite0.onnx": 1e-4,
    "detection/FastestDet.onnx": 1e-4,
    "detection/digits_det_160.onnx": 1e-4,
    "detection/face_detection_front.tflite": 1e-4,
    "mlperf_tiny/ad01_fp32.tflite": 1e-4,
    # Its weights are int8: the kernels quantize the activations on the way, ours computes in real numbers. The two
    # reference runtimes differ from each other by 1.27 %.
    "mlperf_tiny/kws_ref_model_float32.tflite": 2e-2,
    "mlperf_tiny/pretrainedResnet.tflite": 1e-4,
    "mlperf_tiny/vww_96_float.tflite": 1e-4,
    "misc/hello_world_float.tflite": 1e-4,
    "ocr/ch_PP-OCRv4_det_infer.onnx": 1e-4,
}
"""Largest error allowed, of the larger of the range and the largest magnitude of an output."""

QUANTIZED_MODELS = (
    "audio/micro_speech_quantized.tflite",
    "classification/mobilenet_v1_0.25_128_quant.tflite",
    "classification/mobilenet_v1_0.5_160_quant.tflite",
    "classification/tf2_mobilenet_v2_1.0_224_ptq.tflite",
    "misc/hello_world_int8.tflite",
    "misc/keras_lstm_mnist_ptq.tflite",
    "misc/split_concat.tflite",
    "mlperf_tiny/ad01_int8.tflite",
    "mlperf_tiny/kws_ref_model.tflite",
    "mlperf_tiny/pretrainedResnet_quant.tflite",
    "mlperf_tiny/vww_96_int8.tflite",
)


class Samples:
    """Reference inputs and outputs of a model."""

    def __init__(self, zoo: Path, model: str) -> None:
        with np.load(zoo / "reference" / f"{Path(model).name}.npz") as stored:
            self._arrays = {name: stored[name] for name in stored.files}
        self.count = json.loads(str(self._arrays["meta"]))["samples"]

    def arrays(self, sample: int, what: str) -> list[np.ndarray]:
        """Inputs (``input``), reference outputs (``output``) or those of the second runtime (``alt_output``)."""
        found = []
        while (array := self._arrays.get(f"s{sample}_{what}_{len(found)}")) is not None:
            found.append(array)
        return found


def opened(zoo: Path, model: str, samples: Samples, sample: int = 0) -> SourceModel:
    """A model of the zoo; one with open dimensions gets those of a sample."""
    shapes = tuple(BoundarySpec(shape=array.shape) for array in samples.arrays(sample, "input"))
    request = ModelRequest(path=zoo / "models" / model, inputs=shapes if model.endswith(".onnx") else ())
    return open_model(PluginHost(), request)


def written(source: SourceModel, part: Slice | None = None) -> ir.Model:
    """The graph as users get it, as far as the checker of ONNX lets it pass."""
    model = source.canonical(part or whole(source))
    assert opaque_reasons(model) == []
    normalise(model)
    exported = to_qdq(model)
    onnx.checker.check_model(ir.to_proto(exported), full_check=True)
    return exported


@pytest.mark.parametrize("model", FLOAT_MODELS)
def test_float_model_gives_the_reference_numbers(zoo: Path, model: str) -> None:
    samples = Samples(zoo, model)
    for sample in range(samples.count):
        inputs = samples.arrays(sample, "input")
        found = run(written(opened(zoo, model, samples, sample)), inputs)
        for result, expected in zip(found, samples.arrays(sample, "output"), strict=True):
            size = max(float(np.ptp(expected)), float(np.abs(expected).max()))
            assert np.abs(result - expected).max() <= FLOAT_MODELS[model] * size


def mean_difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    differences = [np.abs(a.astype(np.int64) - b).ravel() for a, b in zip(found, expected, strict=True)]
    return float(np.concatenate(differences).mean())


@pytest.mark.parametrize("model", QUANTIZED_MODELS)
def test_quantized_model_is_as_near_to_the_reference_kernels_as_xnnpack(zoo: Path, model: str) -> None:
    samples = Samples(zoo, model)
    # The reference outputs were made one after the other: variables kept their values from sample to sample.
    stream = Stream(written(opened(zoo, model, samples)))
    ours, theirs = [], []
    for sample in range(samples.count):
        reference = samples.arrays(sample, "output")
        ours.append(mean_difference(stream(samples.arrays(sample, "input")), reference))
        theirs.append(mean_difference(samples.arrays(sample, "alt_output"), reference))
    assert np.mean(ours) <= 1.5 * np.mean(theirs)


def test_detector_in_front_of_its_post_processing_is_as_near_as_xnnpack(zoo: Path) -> None:
    # The post-processing is a custom operator that no ONNX operator matches: it stays opaque, and on the cpu delegate.
    model = "detection/ssd_mobilenet_v1_coco_quant_postprocess.tflite"
    samples = Samples(zoo, model)
    source = opened(zoo, model, samples)
    *layers, post_process = whole(source).layers
    part = Slice(layers=tuple(layers), inputs=tuple(source.inputs), outputs=post_process.inputs)
    graph = written(source, part)
    content = source.slice(part)
    reference, peer = Reference(content), Oracle(content)
    ours, theirs = [], []
    for sample in range(samples.count):
        inputs = samples.arrays(sample, "input")
        expected = reference(inputs)
        ours.append(mean_difference(run(graph, inputs), expected))
        theirs.append(mean_difference(peer(inputs), expected))
    assert np.mean(ours) <= 1.5 * np.mean(theirs)
    (reason,) = opaque_reasons(source.canonical(whole(source)))
    assert reason.startswith("CUSTOM:TFLite_Detection_PostProcess: ")


def test_person_detector_gives_what_its_own_runtime_gave(zoo: Path) -> None:
    # LiteRT refuses the file; the reference is the runtime for microcontrollers, whose kernels are integer ones, too.
    model = "misc/person_detect.tflite"
    samples = Samples(zoo, model)
    graph = written(opened(zoo, model, samples))
    for sample in range(samples.count):
        found = run(graph, samples.arrays(sample, "input"))
        assert np.abs(found[0].astype(int) - samples.arrays(sample, "output")[0]).max() <= 1


def test_custom_operator_that_no_runtime_knows_stays_opaque(zoo: Path) -> None:
    request = ModelRequest(path=zoo / "models/misc/unknown_custom_op.tflite")
    source = open_model(PluginHost(), request)
    (reason,) = opaque_reasons(source.canonical(whole(source)))
    assert "fake-op-double" in reason
