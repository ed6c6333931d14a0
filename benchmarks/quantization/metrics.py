"""Figures that say how close two models are, and how good a detector is; NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Indices = NDArray[np.integer]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxes:
    """Boxes of one image.

    Attributes:
        corners: ``(N, 4)``: x1, y1, x2, y2, in any unit.
        labels: ``(N,)``: class of each.
        scores: ``(N,)``: confidence of each; ones for what is known to be there.
    """

    corners: Array
    labels: Indices
    scores: Array


def agreement(one: Array, other: Array) -> float:
    """Share of rows of ``(N, C)`` scores whose best class is the same, in [0, 1]."""
    return float(np.mean(one.argmax(1) == other.argmax(1)))


def mean_cosine(one: Array, other: Array) -> float:
    """Mean over the rows of ``(N, C)`` of the cosine of the angle between them; a row of zeros counts 0."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(1) / np.where(norms > 0, norms, 1)))


def sqnr(exact: Array, approximate: Array) -> float:
    """Power of a signal against that of its error, over all items at once, in dB; infinite when there is no error."""
    signal = exact.astype(np.float64)
    noise = float(np.square(signal - approximate).sum())
    if noise == 0:
        return np.inf
    return 10 * float(np.log10(max(float(np.square(signal).sum()), np.finfo(np.float64).tiny) / noise))


def mask_iou(exact: Array, approximate: Array, threshold: float) -> float:
    """Items above a threshold in both, against those in either; 1 when there are none."""
    one, other = exact > threshold, approximate > threshold
    either = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / either if either else 1.0


def box_iou(one: Array, other: Array) -> NDArray[np.float64]:
    """Overlap of each of ``(N, 4)`` with each of ``(M, 4)`` corners, ``(N, M)`` in [0, 1]; 0 for boxes without area."""
    a, b = one[:, None].astype(np.float64), other[None].astype(np.float64)
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    common = sides.prod(-1)
    union = _area(a) + _area(b) - common
    return np.where(union > 0, common / np.where(union > 0, union, 1), 0.0)


def _area(corners: Array) -> Array:
    """Area of ``(..., 4)`` corners; 0 for those that are the wrong way round."""
    area: Array = np.clip(corners[..., 2:] - corners[..., :2], 0, None).prod(-1)
    return area


def suppress(boxes: Boxes, overlap: float) -> Boxes:
    """Greedy non-maximum suppression within each class: best first, without those that overlap a better one by more."""
    order = np.argsort(-boxes.scores, kind="stable")
    corners, labels = boxes.corners[order], boxes.labels[order]
    clash = (box_iou(corners, corners) > overlap) & (labels[:, None] == labels[None])
    kept = np.ones(len(order), bool)
    for index in range(len(order)):
        if kept[index]:
            kept[index + 1 :] &= ~clash[index, index + 1 :]
    chosen = order[kept]
    return Boxes(corners=boxes.corners[chosen], labels=boxes.labels[chosen], scores=boxes.scores[chosen])


def match(found: Boxes, present: Boxes, overlap: float) -> NDArray[np.bool_]:
    """Which found boxes, taken from the best score down, hit a box of their class that no better one has hit.

    Args:
        found: What a detector says.
        present: What is there.
        overlap: Least IoU of a hit.

    Returns:
        ``(N,)``, in the order of ``found``.
    """
    hits = np.zeros(len(found.scores), bool)
    ious = box_iou(found.corners, present.corners)
    ious[found.labels[:, None] != present.labels[None]] = -1
    for index in np.argsort(-found.scores, kind="stable"):
        best = int(ious[index].argmax()) if ious.shape[1] else 0
        if ious.shape[1] and ious[index, best] >= overlap:
            hits[index] = True
            ious[:, best] = -1
    return hits


def f1(found: Sequence[Boxes], present: Sequence[Boxes], overlap: float = 0.5) -> float:
    """Twice the hits over all images, against the boxes found and present together; 1 when there are none."""
    hits = sum(int(match(f, p, overlap).sum()) for f, p in zip(found, present, strict=True))
    total = sum(len(f.scores) + len(p.scores) for f, p in zip(found, present, strict=True))
    return 2 * hits / total if total else 1.0


def average_precision(scores: Array, hits: NDArray[np.bool_], present: int) -> float:
    """Area under the precision envelope, at the 101 recalls of COCO.

    Args:
        scores: ``(N,)``: confidence of each box found in all images.
        hits: ``(N,)``: whether it is right.
        present: Number of boxes that are there, at least 1.

    Source: COCO's evaluation, ``cocoeval.py``: precision made non-increasing, read at recalls 0, 0.01, ... 1.
    """
    right = hits[np.argsort(-scores, kind="stable")].cumsum()
    recall = right / present
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(recall, np.linspace(0, 1, 101), side="left")].mean())


def mean_average_precision(found: Sequence[Boxes], present: Sequence[Boxes], overlap: float = 0.5) -> float:
    """Mean, over the classes that are there, of the average precision over all images."""
    hits = np.concatenate([match(f, p, overlap) for f, p in zip(found, present, strict=True)])
    scores = np.concatenate([f.scores for f in found])
    labels = np.concatenate([f.labels for f in found])
    classes, counts = np.unique(np.concatenate([p.labels for p in present]), return_counts=True)
    return float(
        np.mean(
            [
                average_precision(scores[labels == label], hits[labels == label], int(count))
                for label, count in zip(classes, counts, strict=True)
            ]
        )
    )
