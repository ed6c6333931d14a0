"""The models of the benchmark: their data, and what makes a quantized one good."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quantization import metrics, samples
from benchmarks.quantization.metrics import Boxes

Outputs = Sequence[NDArray[np.float32]]
"""Each output of a model for all evaluation samples, ``(samples, ...)``."""

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A model with its data and its measure.

    Attributes:
        name: What the user calls it.
        model: File below the zoo's folder of models.
        input: Name of its input.
        shape: Shape of the input.
        outputs: Tensors to cut the model at; none for its own outputs.
        weights: File with its weights, for a format that keeps them apart.
        data: Yields the samples of ``calibration`` or ``evaluation``, given the zoo's folder.
        score: Figures of a model, given the zoo's folder, the float model's outputs and its own.
        columns: The figures to show, with their formats; the one that tells most about the task comes first.
    """

    name: str
    model: str
    input: str
    shape: tuple[int, ...]
    outputs: tuple[str, ...] = ()
    weights: str = ""
    data: Callable[[Path, str], Iterator[samples.Tensor]]
    score: Callable[[Path, Outputs, Outputs], Figures]
    columns: Mapping[str, str]


def score_classes(zoo: Path, exact: Outputs, outputs: Outputs) -> Figures:
    """Top-1 in %, points lost against float, agreement with float in %, cosine of the logits, SQNR in dB."""
    with (zoo / "images" / "imagenet" / "labels.csv").open(encoding="utf-8", newline="") as stream:
        label_of = {row["file"]: int(row["class_index"]) for row in csv.DictReader(stream)}
    labels = np.array([label_of[path.name] for path in samples.imagenet(zoo, "evaluation")])
    float_logits, logits = exact[0].reshape(len(labels), -1), outputs[0].reshape(len(labels), -1)
    top1 = 100 * float(np.mean(logits.argmax(1) == labels))
    return {
        "top1": top1,
        "loss": 100 * float(np.mean(float_logits.argmax(1) == labels)) - top1,
        "agreement": 100 * metrics.agreement(float_logits, logits),
        "cosine": metrics.mean_cosine(float_logits, logits),
        "sqnr": metrics.sqnr(float_logits, logits),
    }


def score_text(zoo: Path, exact: Outputs, outputs: Outputs) -> Figures:
    """Overlap with float of the map above 0.3, over all pixels of all samples, and of those with text; SQNR in dB."""
    lettered = len(exact[0]) - len(samples.photos(zoo))
    return {
        "iou": metrics.mask_iou(exact[0], outputs[0], 0.3),
        "text_iou": metrics.mask_iou(exact[0][:lettered], outputs[0][:lettered], 0.3),
        "sqnr": metrics.sqnr(exact[0], outputs[0]),
    }


def score_digits(zoo: Path, exact: Outputs, outputs: Outputs) -> Figures:
    """Mean AP at IoU 0.5 in %, points lost against float, SQNR of everything and of the class scores in dB."""
    present = digits_present(zoo)
    float_maps, maps = (
        np.concatenate([o.reshape(len(present), -1, 525) for o in part], 1) for part in (exact, outputs)
    )
    result, reference = (
        100 * metrics.mean_average_precision([decode_digits(item) for item in part], present)
        for part in (maps, float_maps)
    )
    return {
        "map50": result,
        "loss": reference - result,
        "sqnr": metrics.sqnr(float_maps, maps),
        "score_sqnr": metrics.sqnr(float_maps[:, 4:], maps[:, 4:]),
    }


def digits_present(zoo: Path, first: int = 30) -> list[Boxes]:
    """The digits of each scene from one on."""
    data = np.load(zoo / "images" / "digit_scenes_60.npz")
    ends = np.cumsum(data["counts"])
    return [
        Boxes(corners=data["boxes"][s:e], labels=data["labels"][s:e].astype(np.int64), scores=np.ones(e - s))
        for s, e in zip((ends - data["counts"])[first:], ends[first:], strict=True)
    ]


def decode_digits(output: NDArray[np.float32]) -> Boxes:
    """Boxes in one output ``(14, 525)``: cx, cy, w, h, ten scores; one class a box, score above 0.001, NMS at 0.6."""
    cells = output.T[output[4:].max(0) > 0.001]
    corners = np.concatenate([cells[:, :2] - cells[:, 2:4] / 2, cells[:, :2] + cells[:, 2:4] / 2], 1)
    found = Boxes(corners=corners, labels=cells[:, 4:].argmax(1), scores=cells[:, 4:].max(1))
    return metrics.suppress(found, 0.6)


def score_objects(_zoo: Path, exact: Outputs, outputs: Outputs) -> Figures:
    """F1 in % of the detections against those of the float model (IoU 0.5, same class), and SQNR in dB."""
    present, found = ([decode_objects(item) for item in part[0]] for part in (exact, outputs))
    return {"f1": 100 * metrics.f1(found, present), "sqnr": metrics.sqnr(exact[0], outputs[0])}


def decode_objects(output: NDArray[np.float32]) -> Boxes:
    """Boxes in one output ``(85, H, W)`` with a score above 0.3, after NMS at 0.45; the image is 1 wide and high.

    Source: FastestDet's test.py: score = objectness^0.6 * class^0.4, centre = cell + tanh, size = sigmoid.
    """
    height, width = output.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    score = np.clip(output[0], 0, None) ** 0.6 * np.clip(output[5:].max(0), 0, None) ** 0.4
    kept = score > 0.3
    x, y = (columns + np.tanh(output[1]))[kept] / width, (rows + np.tanh(output[2]))[kept] / height
    w, h = (1 / (1 + np.exp(-output[3:5])))[:, kept]
    corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
    return metrics.suppress(Boxes(corners=corners, labels=output[5:].argmax(0)[kept], scores=score[kept]), 0.45)


def score_two_classes(_zoo: Path, exact: Outputs, outputs: Outputs) -> Figures:
    """Agreement with float in %, mean and largest error of the second class's probability, SQNR in dB."""
    float_scores, scores = (part[0].reshape(len(part[0]), -1) for part in (exact, outputs))
    errors = np.abs(scores[:, 1] - float_scores[:, 1])
    return {
        "agreement": 100 * metrics.agreement(float_scores, scores),
        "mean_error": float(errors.mean()),
        "max_error": float(errors.max()),
        "sqnr": metrics.sqnr(float_scores, scores),
    }


DIGIT_COLUMNS = {"map50": ".2f", "loss": ".2f", "sqnr": ".2f", "score_sqnr": ".2f"}

TASKS = {
    task.name: task
    for task in (
        Task(
            name="efficientnet-lite0",
            model="classification/efficientnet-lite0.onnx",
            input="input",
            shape=(1, 3, 224, 224),
            data=samples.classification,
            score=score_classes,
            columns={"agreement": ".2f", "top1": ".2f", "loss": ".2f", "cosine": ".4f", "sqnr": ".2f"},
        ),
        Task(
            name="pp-ocr",
            model="ocr/ch_PP-OCRv4_det_infer.onnx",
            input="x",
            shape=(1, 3, samples.TEXT_SIZE[1], samples.TEXT_SIZE[0]),
            data=samples.text,
            score=score_text,
            columns={"iou": ".3f", "text_iou": ".3f", "sqnr": ".2f"},
        ),
        Task(
            name="digits",
            model="detection/digits_det_160.onnx",
            input="images",
            shape=(1, 3, 160, 160),
            data=samples.scenes,
            score=score_digits,
            columns=DIGIT_COLUMNS,
        ),
        Task(
            name="digits-cut",
            model="detection/digits_det_160.onnx",
            input="images",
            shape=(1, 3, 160, 160),
            outputs=("/Mul_output_0", "/Sigmoid_output_0"),
            data=samples.scenes,
            score=score_digits,
            columns=DIGIT_COLUMNS,
        ),
        Task(
            name="fastestdet",
            model="detection/FastestDet.onnx",
            input="input.1",
            shape=(1, 3, 352, 352),
            data=samples.detection,
            score=score_objects,
            columns={"f1": ".2f", "sqnr": ".2f"},
        ),
        Task(
            name="open-nsfw",
            model="caffe/open_nsfw_resnet50_1by2.prototxt",
            weights="caffe/open_nsfw_resnet50_1by2.caffemodel",
            input="data",
            shape=(1, 3, 224, 224),
            data=samples.whole_photos,
            score=score_two_classes,
            columns={"sqnr": ".2f", "agreement": ".2f", "mean_error": ".5f", "max_error": ".5f"},
        ),
    )
}
