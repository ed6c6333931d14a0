"""The measures of `benchmarks/quantization` against brute force, and its verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quantization import metrics
from benchmarks.quantization.limits import Limit, check, mixed_output_advice
from benchmarks.quantization.measuring import Result
from benchmarks.quantization.metrics import Boxes
from benchmarks.quantization.report import table
from benchmarks.quantization.tasks import TASKS, decode_digits, decode_objects

GRID = 12

corner_lists = st.lists(st.tuples(*[st.integers(0, GRID - 1)] * 2, *[st.integers(1, 5)] * 2), min_size=1, max_size=6)
scored = st.lists(
    st.tuples(st.sampled_from([0.125, 0.25, 0.5, 0.75, 0.875]), st.booleans()), min_size=1, max_size=12
).map(lambda rows: sorted(rows, reverse=True))


def corners(rows: list[tuple[int, ...]]) -> np.ndarray:
    """Corners from x, y, width, height."""
    return np.array([(x, y, x + w, y + h) for x, y, w, h in rows], float)


def pixels(box: np.ndarray) -> set[tuple[int, int]]:
    """The unit squares that a box of whole numbers covers."""
    x1, y1, x2, y2 = box.astype(int)
    return set(itertools.product(range(x1, x2), range(y1, y2)))


def boxes(rows: list[tuple[int, ...]], labels: list[int], scores: Sequence[float]) -> Boxes:
    return Boxes(corners=corners(rows).reshape(-1, 4), labels=np.array(labels, int), scores=np.array(scores, float))


@given(corner_lists, corner_lists)
def test_box_overlap_is_the_share_of_common_pixels(one: list[tuple[int, ...]], other: list[tuple[int, ...]]) -> None:
    found = metrics.box_iou(corners(one), corners(other))
    for (i, a), (j, b) in itertools.product(enumerate(corners(one)), enumerate(corners(other))):
        expected = len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b))
        assert found[i, j] == pytest.approx(expected)


def test_boxes_without_area_overlap_nothing() -> None:
    flat = np.array([[3.0, 3.0, 3.0, 8.0]])
    assert metrics.box_iou(flat, flat) == 0


@given(corner_lists, st.randoms(use_true_random=False))
def test_suppression_keeps_a_box_unless_a_better_one_of_its_class_covers_it(
    rows: list[tuple[int, ...]], random: Random
) -> None:
    labels = [random.randrange(2) for _ in rows]
    scores = random.sample(range(100), len(rows))
    covered = [pixels(box) for box in corners(rows)]
    expected: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: -scores[i]):
        rivals = [k for k in expected if labels[k] == labels[index]]
        shares = [len(covered[k] & covered[index]) / len(covered[k] | covered[index]) for k in rivals]
        if all(share <= 0.3 for share in shares):
            expected.append(index)
    assert list(metrics.suppress(boxes(rows, labels, scores), 0.3).scores) == [scores[k] for k in expected]


@given(scored, st.integers(0, 3))
def test_average_precision_is_the_mean_best_precision_at_each_recall(rows: list[tuple[float, bool]], more: int) -> None:
    scores, hits = (np.array(column) for column in zip(*rows, strict=True))
    present = max(1, int(hits.sum()) + more)
    points = [(hits[: n + 1].sum() / present, hits[: n + 1].sum() / (n + 1)) for n in range(len(hits))]
    best = [max([p for r, p in points if r >= recall], default=0.0) for recall in np.linspace(0, 1, 101)]
    assert metrics.average_precision(scores, hits, present) == pytest.approx(np.mean(best))


def test_a_box_that_is_there_is_found_once_and_by_its_own_class() -> None:
    present = boxes([(0, 0, 4, 4), (6, 6, 4, 4)], [1, 2], [1, 1])
    found = boxes([(0, 0, 4, 4), (0, 0, 4, 3), (6, 6, 4, 4)], [1, 1, 1], [0.5, 0.9, 0.8])
    assert metrics.match(found, present, 0.5).tolist() == [False, True, False]
    assert metrics.f1([found], [present]) == 2 / 5


def test_mean_average_precision_counts_every_class_that_is_there_alike() -> None:
    present = [boxes([(0, 0, 4, 4)], [1], [1]), boxes([(0, 0, 4, 4), (6, 6, 4, 4)], [1, 2], [1, 1])]
    found = [boxes([(0, 0, 4, 4)], [1], [0.9]), boxes([(0, 0, 4, 4), (6, 6, 4, 4)], [1, 3], [0.8, 0.7])]
    assert metrics.mean_average_precision(present, present) == 1
    assert metrics.mean_average_precision(found, present) == 0.5


def test_nothing_found_is_no_precision_and_nothing_anywhere_is_agreement() -> None:
    nothing, one = boxes([], [], []), boxes([(0, 0, 4, 4)], [1], [1])
    assert metrics.mean_average_precision([nothing], [one]) == 0
    assert metrics.f1([nothing], [one]) == 0
    assert metrics.f1([nothing], [nothing]) == 1
    assert metrics.mask_iou(np.zeros(3), np.zeros(3), 0.3) == 1


def test_measures_of_tensors_equal_loops(rng: np.random.Generator) -> None:
    one, other = rng.normal(size=(2, 20, 4))
    same = [list(a).index(max(a)) == list(b).index(max(b)) for a, b in zip(one, other, strict=True)]
    assert metrics.agreement(one, other) == sum(same) / 20
    cosines = [a @ b / (a @ a) ** 0.5 / (b @ b) ** 0.5 for a, b in zip(one, other, strict=True)]
    assert metrics.mean_cosine(one, other) == pytest.approx(sum(cosines) / 20)
    pairs = list(zip(one.flat, other.flat, strict=True))
    signal, noise = sum(a * a for a, _ in pairs), sum((a - b) ** 2 for a, b in pairs)
    assert metrics.sqnr(one, other) == pytest.approx(10 * np.log10(signal / noise))
    both, either = (sum(f((a > 0.3, b > 0.3)) for a, b in pairs) for f in (all, any))
    assert metrics.mask_iou(one, other, 0.3) == both / either


def test_an_exact_copy_has_no_noise() -> None:
    assert metrics.sqnr(np.ones(3), np.ones(3)) == np.inf


def test_digits_are_decoded_from_centres_and_sizes_in_pixels() -> None:
    output = np.zeros((14, 525), np.float32)
    output[:, 7] = [50, 60, 20, 10, *np.eye(10)[3] * 0.5]
    found = decode_digits(output)
    assert found.corners.tolist() == [[40, 55, 60, 65]]
    assert (found.labels.tolist(), found.scores.tolist()) == ([3], [0.5])


def test_objects_are_decoded_from_cells() -> None:
    output = np.zeros((85, 22, 22), np.float32)
    output[0, 4, 10] = output[5 + 16, 4, 10] = 0.9
    found = decode_objects(output)  # the size is sigmoid(0), one half
    assert found.corners == pytest.approx(np.array([[10 / 22 - 0.25, 4 / 22 - 0.25, 10 / 22 + 0.25, 4 / 22 + 0.25]]))
    assert found.labels.tolist() == [16]
    assert found.scores == pytest.approx([0.9])


RESULTS = {"pp-ocr": {"a": Result(figures={"iou": 0.8}, seconds=3), "b": Result(seconds=2), "c": Result(failed="why")}}


@pytest.mark.parametrize(
    ("limit", "begins"),
    [
        (Limit(task="pp-ocr", variant="a", figure="iou", sense=">=", value=0.8), "met"),
        (Limit(task="pp-ocr", variant="a", figure="iou", sense=">=", value=0.81), "NOT met"),
        (Limit(task="pp-ocr", variant="a", figure="seconds", sense="<=", value=1.5, against="b"), "met"),
        (Limit(task="pp-ocr", variant="a", figure="seconds", sense="<=", value=1.4, against="b"), "NOT met"),
        (Limit(task="pp-ocr", variant="c", figure="iou", sense=">=", value=0), "NOT met"),
    ],
    ids=["reached", "missed", "multiple kept", "multiple exceeded", "failed"],
)
def test_a_bound_is_met_or_not(limit: Limit, begins: str) -> None:
    line = check(limit, RESULTS)
    assert line is not None
    assert line.startswith(begins)


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert check(Limit(task="digits", variant="a", figure="iou", sense=">=", value=0), RESULTS) is None
    assert check(Limit(task="pp-ocr", variant="a", figure="iou", sense=">=", value=1, against="d"), RESULTS) is None


def test_advice_about_a_mixed_output_has_to_name_it() -> None:
    told, silent = Result(notes=["'output0' mixes ranges"]), Result(notes=["done"])
    lines = mixed_output_advice({"digits": {"uint8-standard": told, "int8pc-standard": silent, "int16-auto": silent}})
    assert [line.split("  ")[0].strip() for line in lines] == ["met", "NOT met"]


def test_a_table_gives_multiples_of_onnx_runtime_and_reasons_of_failures() -> None:
    figures = {"iou": 0.5, "text_iou": 0.5, "sqnr": 10.0}
    lines = table(
        TASKS["pp-ocr"],
        figures,
        {
            "ort-int8": Result(figures=figures, seconds=2, peak_mb=100),
            "uint8-fast": Result(figures=figures, seconds=1, peak_mb=150),
            "uint8-auto": Result(failed="no memory"),
        },
    )
    assert lines[4].split() == ["uint8-fast", "0.500", "0.500", "10.00", "1.00", "0.50", "150", "1.50"]
    assert lines[5] == "uint8-auto  failed: no memory"
