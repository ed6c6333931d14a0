"""Float models of the zoo that the npu delegate quantizes, their real samples, and what they compute in float."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from PIL import Image

from benchmarks.quantization import samples as photos
from tests.support.canonical import Reference
from tests.support.npu_zoo import threaded

SAMPLES = 20
"""To calibrate on, and others to evaluate, where a model does not say more."""

TEXT_SHAPE = (1, 3, 224, 320)
"""Of the text detector, which takes any multiples of 32."""


@dataclass(frozen=True, kw_only=True)
class FloatModel:
    """A model and its samples.

    Attributes:
        path: Below the zoo's folder of models.
        samples: Gives those of ``calibration`` or ``evaluation``, given the zoo.
        head: Lines of the metafile that it needs.
        evaluation: How many samples to evaluate. Where a result is a few numbers, which way each rounding goes changes
            the ratio of few samples by decibels.
        slow: Its tests take minutes together.
    """

    path: str
    samples: Callable[[Path, str], Iterator[np.ndarray]]
    head: str = ""
    evaluation: int = SAMPLES
    slow: bool = False

    @property
    def name(self) -> str:
        """What the tests call it."""
        return Path(self.path).stem


def _images(size: int, mean: float, scale: float, *, nhwc: bool = True) -> Callable[[Path, str], Iterator[np.ndarray]]:
    def found(zoo: Path, subset: str) -> Iterator[np.ndarray]:
        for path in photos.imagenet(zoo, subset):
            with Image.open(path) as image:
                made = photos.to_tensor(image, (size, size), mean, scale)
            yield np.ascontiguousarray(made.transpose(0, 2, 3, 1)) if nhwc else made

    return found


def _text(zoo: Path, subset: str) -> Iterator[np.ndarray]:
    """Photos of text, smaller than in the benchmark."""
    height, width = TEXT_SHAPE[2:]
    for image in photos._text_images(zoo, subset):
        yield photos.to_tensor(image, (width, height), 127.5, 127.5, bgr=True)


def _machine_sounds(zoo: Path, subset: str) -> Iterator[np.ndarray]:
    """Windows of five of the frames of a machine's sound that the zoo has, forwards and backwards."""
    archive = np.load(zoo / "reference/ad01_fp32.tflite.npz")
    frames = np.concatenate([archive[f"s{sample}_input_0"].reshape(5, 128) for sample in range(3)])
    order = frames if subset == "calibration" else frames[::-1]
    both = np.concatenate([order, order])
    for start in range(SAMPLES):
        yield np.ascontiguousarray(both[start : start + 5].reshape(1, 640))


def _angles(_zoo: Path, subset: str) -> Iterator[np.ndarray]:
    half = 0.0 if subset == "calibration" else 0.5
    for number in range(SAMPLES):
        yield np.full((1, 1), (number + half) / SAMPLES * 2 * np.pi, np.float32)


MODELS = (
    FloatModel(path="classification/efficientnet-lite0.onnx", samples=photos.classification, slow=True),
    FloatModel(path="detection/FastestDet.onnx", samples=photos.detection, slow=True),
    FloatModel(path="detection/digits_det_160.onnx", samples=photos.scenes),
    FloatModel(
        path="ocr/ch_PP-OCRv4_det_infer.onnx",
        samples=_text,
        head=f"inputs: [{{name: x, shape: {list(TEXT_SHAPE)}}}]",
        slow=True,
    ),
    FloatModel(path="detection/face_detection_front.tflite", samples=_images(128, 127.5, 127.5)),
    FloatModel(
        path="mlperf_tiny/vww_96_float.tflite",
        samples=_images(96, 0, 255),
        evaluation=60,
    ),
    FloatModel(
        path="mlperf_tiny/pretrainedResnet.tflite",
        samples=_images(32, 0, 1),
        evaluation=60,
    ),
    FloatModel(path="mlperf_tiny/ad01_fp32.tflite", samples=_machine_sounds),
    FloatModel(path="misc/hello_world_float.tflite", samples=_angles),
)


def chosen(model: FloatModel, zoo: Path, subset: str) -> list[np.ndarray]:
    """The samples of a subset that are used."""
    count = SAMPLES if subset == "calibration" else model.evaluation
    return list(itertools.islice(model.samples(zoo, subset), count))


def in_float(zoo: Path, model: FloatModel) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
    """The model itself: LiteRT's reference kernels, or ONNX Runtime without optimisation."""
    path = zoo / f"models/{model.path}"
    if path.suffix == ".tflite":
        reference = Reference(path)
        details = reference.outputs

        def compute(array: np.ndarray) -> Sequence[np.ndarray]:
            reference([array])
            return [reference.tensor(detail["index"]).copy() for detail in details]

        return compute
    session = unoptimised(onnx.load(path))
    (name,) = (value.name for value in session.get_inputs())
    return lambda array: session.run(None, {name: array})


def unoptimised(model: onnx.ModelProto) -> Any:
    """A session that computes what is written."""
    options = threaded()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


KINDS: Mapping[str, str] = {
    "uint8": "data_type: uint8",
    "int8": "data_type: int8, scheme: perchannel_symmetric_affine",
    "int16": "data_type: int16",
    "float16": "data_type: float16",
}
"""Types, in the metafile's words."""
