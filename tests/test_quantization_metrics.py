"""Figures of quantized tensors, against NumPy on all data at once."""

from __future__ import annotations

import math
import threading

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from synap_core.graph.build import GraphBuilder
from synap_core.quantization.dataset import in_order
from synap_core.quantization.metrics import Candidate, Comparer, Errors, figures_as_text, format_db
from tests.support.comparison import ListRunner

FLOAT = ir.DataType.FLOAT


def pairs(count: int = 3) -> st.SearchStrategy[list[tuple[np.ndarray, np.ndarray]]]:
    numbers = st.floats(-100, 100, width=32).map(lambda x: 0.0 if abs(x) < 1e-3 else x)
    array = arrays.arrays(np.float32, (2, 3), elements=numbers)
    return st.lists(st.tuples(array, array), min_size=1, max_size=count)


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_figures_of_many_tensors_are_those_of_one_long_tensor(tensors: list[tuple[np.ndarray, np.ndarray]]) -> None:
    total = Errors()
    for y, q in tensors:
        total.add(Errors.between(y, q))
    y = np.concatenate([y.ravel() for y, _ in tensors]).astype(np.longdouble)
    q = np.concatenate([q.ravel() for _, q in tensors]).astype(np.longdouble)
    assert total.max_error == pytest.approx(float(np.max(np.abs(y - q))), rel=1e-12)
    if np.any(y) and np.any(y != q):
        assert total.sqnr_db == pytest.approx(float(10 * np.log10(np.sum(y**2) / np.sum((y - q) ** 2))), abs=1e-9)
    if np.any(y) and np.any(q):
        norms = np.sqrt(np.sum(y**2)) * np.sqrt(np.sum(q**2))
        assert total.cosine == pytest.approx(float(np.sum(y * q) / norms), abs=1e-12)


ZERO, ONES = np.zeros(4, np.float32), np.ones(4, np.float32)
INFINITE = np.array([1, np.inf, -np.inf, np.nan], np.float32)


@pytest.mark.parametrize(
    ("reference", "values", "cosine", "sqnr_db", "max_error"),
    [
        pytest.param(ONES, ONES, 1.0, math.inf, 0.0, id="identical"),
        pytest.param(ZERO, ZERO, 1.0, math.inf, 0.0, id="both zero"),
        pytest.param(ZERO, ONES, 0.0, -math.inf, 1.0, id="noise without signal"),
        pytest.param(ONES, ZERO, 0.0, 0.0, 1.0, id="signal lost"),
        pytest.param(ONES, -ONES, -1.0, 10 * math.log10(1 / 4), 2.0, id="opposite"),
        pytest.param(INFINITE, INFINITE, 1.0, math.inf, 0.0, id="the same infinities"),
        pytest.param(INFINITE, ONES, math.nan, -math.inf, math.inf, id="infinities lost"),
        pytest.param(ONES, INFINITE, math.nan, -math.inf, math.inf, id="infinities made"),
        pytest.param(np.array([True, False]), np.array([True, True]), 0.5**0.5, 0.0, 1.0, id="truth values"),
        pytest.param(np.array(3, np.int64), np.array(3, np.int64), 1.0, math.inf, 0.0, id="scalar"),
        pytest.param(np.zeros((0, 2)), np.zeros((0, 2)), 1.0, math.inf, 0.0, id="no items"),
    ],
)
def test_edge_cases_have_the_documented_figures(
    reference: np.ndarray, values: np.ndarray, cosine: float, sqnr_db: float, max_error: float
) -> None:
    figures = Errors.between(reference, values).figures()
    assert figures.cosine == pytest.approx(cosine, nan_ok=True)
    assert figures.sqnr_db == pytest.approx(sqnr_db)
    assert figures.max_error == max_error


def test_noise_far_below_the_signal_is_not_lost_in_rounding() -> None:
    y = np.full(1000, 1e4, np.float32)
    q = y.copy()
    q[0] = np.nextafter(q[0], np.float32(np.inf))
    step = float(q[0]) - 1e4
    assert Errors.between(y, q).sqnr_db == pytest.approx(10 * math.log10(1000 * 1e8 / step**2), abs=1e-9)


def test_ratios_are_shown_with_one_decimal() -> None:
    assert [format_db(value) for value in (math.inf, 31.25, -3.0, -math.inf)] == ["exact", "31.2", "-3.0", "-inf"]
    assert figures_as_text(Errors.between(ONES, ONES).figures()) == ("1.00000", "exact", "0")


def test_no_cosine_is_shown_where_a_single_sample_becomes_infinite() -> None:
    errors = Errors.between(ONES, ONES)
    errors.add(Errors.between(ONES, np.array([1, 1, 1, np.inf], np.float32)))
    errors.add(Errors.between(ONES, ONES))
    assert figures_as_text(errors.figures()) == ("nan", "-inf", "inf")


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_order_and_few_items_are_taken_ahead(jobs: int) -> None:
    taken = 0
    first_may_end = threading.Event()

    def items() -> object:
        nonlocal taken
        for item in range(20):
            taken += 1
            yield item

    def work(item: int) -> int:
        if jobs > 1 and item == 0:
            first_may_end.wait(5)
        first_may_end.set()
        return item * item

    results = in_order(work, items(), threads=jobs, ahead=jobs - 1)  # type: ignore[arg-type]  # a generator of numbers
    assert [next(results), next(results)] == [0, 1]
    assert taken <= jobs + 2
    assert list(results) == [n * n for n in range(2, 20)]


def test_errors_of_a_worker_are_raised() -> None:
    with pytest.raises(ZeroDivisionError, match="division"):
        list(in_order(lambda n: 1 // n, [1, 0], threads=2, ahead=1))


def scaled(factor: float) -> ir.Model:
    """Two values: the input times a factor, named alike in all models, and that squared."""
    build = GraphBuilder("g", ["x", "a", "b"])
    x = build.input("x", FLOAT, (5,))
    a = build.emit("Mul", [x, build.constant(np.array(factor, np.float32))])
    a.name = "a"
    b = build.emit("Mul", [a, a])
    b.name = "b"
    return build.finish([b])


@pytest.mark.parametrize("jobs", [1, 2])
def test_comparer_sums_over_the_samples_it_was_given(jobs: int, rng: np.random.Generator) -> None:
    samples = [{"x": rng.normal(size=5).astype(np.float32)} for _ in range(7)]
    runner = ListRunner(samples, jobs)
    comparer = Comparer(runner, [1, 4, 6], scaled(2.0))
    first, second = comparer.measure(
        [Candidate(model=scaled(2.5), names=("a", "b")), Candidate(model=scaled(2.0), names=("b",))]
    )
    x = np.concatenate([samples[i]["x"] for i in (1, 4, 6)]).astype(np.float64)
    assert first["a"].noise == pytest.approx(np.sum((0.5 * x) ** 2), rel=1e-6)
    assert first["b"].noise == pytest.approx(np.sum((2.25 * x * x) ** 2), rel=1e-6)
    assert first["b"].signal == pytest.approx(np.sum((4 * x * x) ** 2), rel=1e-6)
    assert second["b"].figures().sqnr_db == math.inf
    assert list(second) == ["b"]


def test_comparer_gives_the_same_sums_with_any_number_of_threads(rng: np.random.Generator) -> None:
    samples = [{"x": rng.normal(size=5).astype(np.float32)} for _ in range(20)]
    found = [
        Comparer(ListRunner(samples, jobs), range(20), scaled(2.0)).measure(
            [Candidate(model=scaled(2.1), names=("b",))]
        )
        for jobs in (1, 2, 5)
    ]
    assert found[0] == found[1] == found[2]
