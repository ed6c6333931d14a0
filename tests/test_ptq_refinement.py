"""Refinement of weights and biases, against ONNX Runtime and brute force."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import set_quant
from synap_core.graph.build import GraphBuilder
from synap_core.graph.groups import Group, group
from synap_core.quantization.calibrate import calibrate
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.interface import Observer
from synap_core.quantization.parameters import Parameters, annotate, solve
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import make_plan
from synap_core.quantization.runner import GraphRunner
from synap_core.tensors import QuantParams
from synap_quantization_ptq import refinement
from synap_quantization_ptq.algorithm import PostTraining
from synap_quantization_ptq.options import SearchingOptions, StandardOptions
from synap_quantization_ptq.refinement import layers, moments, refine, rounding
from synap_quantization_ptq.refinement.judge import Judge
from synap_quantization_ptq.refinement.layers import Stream, peak_items
from synap_quantization_ptq.refinement.moments import Seen
from synap_quantization_ptq.refinement.products import Product
from synap_quantization_ptq.refinement.ranges import search
from synap_quantization_ptq.refinement.rounding import Rounding, damp
from synap_quantization_ptq.refinement.steps import MOST_ROWS, SHARES, fitted_steps, shared_step
from synap_quantization_ptq.refinement.sweep import Material, Recipe, product_means, products, sweep
from synap_quantization_ptq.refinement.workers import Workers
from synap_runtime_onnx.graph_session import GraphSession

FLOAT = ir.DataType.FLOAT

sweep_module = sys.modules[Material.__module__]  # the package has a function of its name


class Arrays:
    """Samples in memory."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = arrays

    @property
    def count(self) -> int:
        return len(self.arrays)

    def samples(self, indices: Sequence[int]) -> list[Mapping[str, np.ndarray]]:  # type: ignore[override]  # of any iterable
        return [{"x": self.arrays[index]} for index in indices]

    def describe(self, index: int) -> str:
        return str(index)


def runner_of(arrays: Sequence[np.ndarray]) -> GraphRunner:
    return GraphRunner(GraphSession, Arrays(arrays), 2)  # type: ignore[arg-type]  # a list is as good as an iterator


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(2) as made:
        yield made


def squared_error(rows: np.ndarray, integers: np.ndarray, scale: float, covariance: np.ndarray) -> float:
    error = rows - integers * scale
    return float(np.sum(error @ covariance * error))


@pytest.mark.parametrize("seed", range(8))
def test_rounding_is_near_the_best_of_all_roundings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    terms = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    covariance = (terms.T @ terms / 200)[None]
    rows, scale = rng.normal(size=(1, 1, 6)), 0.4
    steps, zeros = np.full((1, 1), scale), np.zeros((1, 1))
    found = Rounding(covariance).integers(rows, steps, zeros, (-8, 7))
    low = np.floor(rows[0, 0] / scale) - 1
    every = [low + np.asarray(moves) for moves in itertools.product(range(4), repeat=6)]
    best = min(squared_error(rows[0], candidate[None], scale, covariance[0]) for candidate in every)
    nearest = squared_error(rows[0], np.rint(rows[0] / scale), scale, covariance[0])
    result = squared_error(rows[0], found[0], scale, covariance[0])
    assert result <= nearest
    # Successive rounding is no search over all; on these it is never more than twice the optimum.
    assert result <= 2 * best


def test_rounding_with_uncorrelated_terms_is_to_the_nearest() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 5, 7))
    found = Rounding(np.stack([np.eye(7)] * 2)).integers(rows, np.full((2, 5), 0.1), np.full((2, 5), 3.0), (-128, 127))
    np.testing.assert_array_equal(found, np.rint(rows / 0.1) + 3)


def test_rounding_is_the_same_in_parts_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    terms = rng.normal(size=(3, 90, 70)) @ rng.normal(size=(3, 70, 70))
    covariance = terms.transpose(0, 2, 1) @ terms / 90
    damp(covariance, 0.01)
    rows, zeros = rng.normal(size=(3, 9, 70)), np.full((3, 9), 2.0)
    steps = np.abs(rows).max(axis=2) / 5
    whole = Rounding(covariance).integers(rows, steps, zeros, (-4, 7))
    monkeypatch.setattr(rounding, "ROUNDED_ITEMS", 4 * 70)
    monkeypatch.setattr(rounding, "POLISHED_ITEMS", 2 * 70)
    np.testing.assert_array_equal(Rounding(covariance).integers(rows, steps, zeros, (-4, 7)), whole)
    assert (whole.min(), whole.max()) == (-4, 7)
    # No move of a single weight is left that would lower the error: the oracle tries them all.
    errors = rows - (whole - 2) * steps[:, :, None]
    for part, row in np.ndindex(3, 9):
        least = errors[part, row] @ covariance[part] @ errors[part, row]
        for column, move in itertools.product(range(70), (-1, 1)):
            if -4 <= whole[part, row, column] + move <= 7:
                moved = errors[part, row].copy()
                moved[column] -= move * steps[part, row]
                assert moved @ covariance[part] @ moved >= least * (1 - 1e-9)


def test_a_matrix_that_is_no_covariance_has_the_factors_of_its_diagonal() -> None:
    """Rounding errors can leave one where terms hardly vary; other groups keep their own factors."""
    broken, good = np.asarray([[4.0, 5, 0], [5, 1, 0], [0, 0, 1]]), np.asarray([[4.0, 2, 0], [2, 5, 0], [0, 0, 1]])
    factors = rounding._factor(np.stack([broken, good]))
    np.testing.assert_array_equal(factors[0], np.diag([2.0, 1, 1]))
    np.testing.assert_allclose(factors[1] @ factors[1].T, good)


def test_damping_adds_a_share_of_the_mean_variance_and_one_where_there_is_none() -> None:
    covariance = np.stack([np.diag([1.0, 3.0]), np.zeros((2, 2))])
    np.testing.assert_allclose(damp(covariance, 0.5), [1.0, 1.0])
    np.testing.assert_allclose(covariance, [np.diag([2.0, 4.0]), np.eye(2)])


def test_smaller_fixed_point_steps_are_taken_where_little_is_cut_off() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 4, 64)) * 0.1
    rows[0, 0, 0] = 1.01
    quant = QuantParams(dtype="int8", scheme="dynamic_fixed_point", fractional_length=6)
    assert fitted_steps(quant, rows, np.eye(64)[None]).fractional_length == 7
    heavy = np.eye(64)
    heavy[0, 0] = 1e4
    assert fitted_steps(quant, rows, heavy[None]).fractional_length == 6


def affine(scale: float) -> QuantParams:
    return QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(scale,), zero_point=(128,))


@pytest.mark.parametrize("count", [6, 3 * MOST_ROWS])
def test_shared_step_is_smaller_where_what_is_cut_off_matters_little(count: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, size=(1, count, 32))
    rows[0, 0, 0] = 1.3
    weights = np.ones(32)
    weights[0] = 1e-3
    whole = affine(1.3 / 127)
    found = shared_step(whole, rows, np.diag(weights)[None], Rounding(np.diag(weights)[None])).scale[0] / whole.scale[0]
    errors = []
    for share in SHARES:  # uncorrelated terms are rounded to the nearest
        steps = rows / (whole.scale[0] * share)
        errors.append(float(np.sum(np.square(steps - np.clip(np.rint(steps), -128, 127)) * weights) * share**2))
    assert found < 1
    # Of many rows only some are looked at.
    chosen = errors[int(np.argmin(np.abs(np.asarray(SHARES) - found)))]
    assert chosen <= min(errors) * (1 if count <= MOST_ROWS else 1.05)


def test_shared_step_covers_all_weights_where_the_large_ones_matter() -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, size=(1, 3 * MOST_ROWS, 32))
    rows[0, -1, 0] = 1.3
    heavy = np.eye(32)
    heavy[0, 0] = 1e4
    whole = affine(1.3 / 127)
    assert shared_step(whole, rows, heavy[None], Rounding(heavy[None])) == whole


def network() -> ir.Model:
    """Two convolutions and a pool; one channel of the first is far larger than the others."""
    rng = np.random.default_rng(5)
    builder = GraphBuilder("net")
    first = rng.normal(size=(8, 3, 3, 3)).astype(np.float32) * 0.2
    first[0] *= 30
    x = builder.input("x", FLOAT, (1, 3, 12, 12))
    y = builder.emit("Conv", [x, builder.constant(first, "w1"), builder.constant(np.ones(8, np.float32), "b1")])
    y = builder.emit("Relu", [y])
    second = rng.normal(size=(6, 8, 1, 1)).astype(np.float32)
    y = builder.emit("Conv", [y, builder.constant(second, "w2"), builder.constant(np.zeros(6, np.float32), "b2")])
    return builder.finish([builder.emit("GlobalAveragePool", [y])])


def planned() -> Plan:
    model = network()
    groups = group(model)
    ids = [item.layer_id for item in groups] + [input_layer_id(value) for value in model.graph.inputs]
    return make_plan(model, groups, dict.fromkeys(ids, "uint8"), scheme="asymmetric_affine")


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.normal(size=(1, 3, 12, 12)).astype(np.float32).cumsum(axis=3) * 0.3 for _ in range(count)]


def started(count: int) -> tuple[Plan, Parameters, GraphRunner, Mapping[str, Observer]]:
    plan, runner = planned(), runner_of(images(count))
    seen = calibrate(plan, PostTraining(StandardOptions()), runner)
    return plan, solve(plan, {k: o.range() for k, o in seen.observers.items()}), runner, seen.observers


def material_of(plan: Plan, runner: GraphRunner, workers: Workers, real: int = 0) -> Material:
    everything = range(runner.count)
    means = product_means(plan, runner, everything)
    return Material(
        plan=plan, runner=runner, quantized=everything, real=everything[:real], means=means, workers=workers
    )


def operand_of(layer: Group) -> str:
    value = layer.nodes[0].inputs[0]
    assert value is not None
    return str(value.name)


def noise(plan: Plan, parameters: Parameters, arrays: Sequence[np.ndarray]) -> float:
    real, other = GraphSession(plan.graph), runner_of(arrays).open(annotate(plan, parameters))
    return sum(float(np.sum(np.square(real.run({"x": a})[0] - other.run({"x": a})[0]))) for a in arrays)


def test_stream_gives_what_the_whole_quantized_graph_gives(workers: Workers) -> None:
    plan, parameters, runner, _ = started(3)
    stream = Stream(plan, parameters, runner, range(3), workers)
    for item in plan.groups[:-1]:
        stream.advance(item.nodes)
    name = operand_of(plan.groups[-1])
    found = list(map(stream.reader(name), range(stream.count)))
    whole = runner.open(annotate(plan, parameters), [name], integers=True)
    for result, array in zip(found, images(3), strict=True):
        quant = parameters.activations["x"]
        integers = np.clip(np.rint(array / np.float32(quant.scale[0])) + quant.zero_point[0], 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(result, whole.run({"x": integers})[0])


@pytest.mark.parametrize("quantized", [True, False], ids=["quantized", "real"])
def test_values_that_are_computed_again_are_those_that_would_be_kept(
    monkeypatch: pytest.MonkeyPatch, workers: Workers, quantized: bool
) -> None:
    monkeypatch.setattr(layers, "LATE_GROWTH", 1)
    plan, parameters, runner, _ = started(5)
    passed = []
    for least in (1, 1 << 40):
        monkeypatch.setattr(layers, "LATE_ITEMS", least)
        stream = Stream(plan, parameters if quantized else None, runner, range(5), workers)
        stream.advance(plan.groups[0].nodes)
        assert ("x" in stream._kept) == (least == 1)
        name = operand_of(plan.groups[1])
        values = [stream.reader(name)(sample).copy() for sample in range(5)]
        stream.advance(plan.groups[1].nodes)
        after = str(plan.groups[1].nodes[-1].outputs[0].name)
        passed.append((values, [stream.reader(after)(sample).copy() for sample in range(5)]))
    (again, then), (kept, later) = passed
    # Real numbers are kept in float16, and computed in float32.
    for one, other in zip([*again, *then], [*kept, *later], strict=True):
        np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=0 if quantized else 2e-3, atol=1e-2)


@pytest.mark.parametrize(("count", "corrected"), [(40, True), (3, False)])
def test_weights_are_corrected_only_where_there_are_enough_positions(
    workers: Workers, count: int, corrected: bool
) -> None:
    plan, parameters, runner, _ = started(40)
    # Inputs that are cut off at half of their range: corrected weights make up for it. Each has 27 of them.
    halved = dict(parameters.activations)
    halved["x"] = replace(halved["x"], scale=(halved["x"].scale[0] / 2,))
    start = replace(parameters, activations=halved)
    material = material_of(plan, runner, workers, real=count)
    plain = sweep(material, start, Recipe(name="r", correction=1e-12))
    tried = sweep(material, start, Recipe(name="r", correction=0.5))
    same = np.array_equal(plain.constants["w1"].integers, tried.constants["w1"].integers)
    assert same is not corrected


def test_weights_are_the_same_when_layers_are_run_again(monkeypatch: pytest.MonkeyPatch, workers: Workers) -> None:
    plan, parameters, runner, _ = started(12)
    material = material_of(plan, runner, workers)
    kept = sweep(material, parameters, Recipe(name="r", bias=True))
    monkeypatch.setattr(layers, "LATE_ITEMS", 1)
    monkeypatch.setattr(layers, "LATE_GROWTH", 1)
    again = sweep(material, parameters, Recipe(name="r", bias=True))
    for key, tensor in kept.constants.items():
        np.testing.assert_array_equal(tensor.integers, again.constants[key].integers)


def test_peak_counts_operands_instead_of_what_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LATE_ITEMS", 1)
    # The first convolution makes 800 items of 432, which is less than twice as many.
    monkeypatch.setattr(layers, "LATE_GROWTH", 1)
    assert peak_items(planned()) == 3 * 144 + 6 * 100


def test_peak_is_the_most_that_layers_need_at_a_time() -> None:
    assert peak_items(planned()) == 8 * 100 + 6 * 100


def test_bias_correction_keeps_the_mean_of_every_product(workers: Workers) -> None:
    plan, parameters, runner, _ = started(6)
    material = material_of(plan, runner, workers)
    corrected = sweep(material, parameters, Recipe(name="b", rounding=False, bias=True))
    for product, bias in zip(products(plan).values(), ("b1", "b2"), strict=True):
        model = annotate(plan, corrected)
        found = next(value for node in model.graph for value in node.outputs if value.name == product.output)
        set_quant(found, None)
        session = runner.open(model, [product.output])
        mean = np.mean([session.run({"x": array})[0].mean(axis=(0, 2, 3)) for array in images(6)], axis=0)
        step = corrected.constants[bias].quant.scale[0]
        np.testing.assert_allclose(mean, material.means[product.output], atol=step)


@pytest.mark.parametrize("correction", [0.0, 0.5])
def test_refined_parameters_are_better_on_other_samples(workers: Workers, correction: float) -> None:
    plan, parameters, runner, _ = started(24)
    material = material_of(plan, runner, workers, real=24)
    refined = sweep(material, parameters, Recipe(name="r", bias=True, correction=correction))
    others = [array + 0.1 for array in images(40)[24:]]
    assert noise(plan, refined, others) < noise(plan, parameters, others) / 2


def test_damage_is_the_noise_of_one_rounded_tensor_at_the_output(workers: Workers) -> None:
    plan, parameters, runner, _ = started(5)
    quant = parameters.activations["x"]
    real = GraphSession(plan.graph)
    noise_of, signal = 0.0, 0.0
    for array in images(5):
        step = np.float32(quant.scale[0])
        rounded = (np.clip(np.rint(array / step) + quant.zero_point[0], 0, 255) - quant.zero_point[0]) * step
        exact, other = (real.run({"x": a.astype(np.float32)})[0] for a in (array, rounded))
        noise_of += float(np.linalg.norm(exact - other))
        signal += float(np.linalg.norm(exact))
    assert Judge(plan, runner, range(5), workers).damage("x", quant) == pytest.approx(
        (noise_of / signal) ** 2, rel=1e-3
    )


def saturating() -> tuple[Plan, Parameters, GraphRunner, Mapping[str, Observer]]:
    """Of two channels the large one saturates behind its rounding, and the small one is what the output shows."""
    builder = GraphBuilder("net")
    x = builder.input("x", FLOAT, (1, 2, 16, 16))
    kernel = np.asarray([[1, 0], [0, 1]], np.float32).reshape(2, 2, 1, 1)
    y = builder.emit("Conv", [x, builder.constant(kernel, "w1"), builder.constant(np.zeros(2, np.float32), "b1")])
    scaled = np.asarray([[0.01, 0], [0, 1]], np.float32).reshape(2, 2, 1, 1)
    y = builder.emit("Conv", [y, builder.constant(scaled, "w2"), builder.constant(np.zeros(2, np.float32), "b2")])
    model = builder.finish([y])
    groups = group(model)
    ids = [item.layer_id for item in groups] + [input_layer_id(value) for value in model.graph.inputs]
    plan = make_plan(model, groups, dict.fromkeys(ids, "uint8"), scheme="asymmetric_affine")
    rng = np.random.default_rng(3)
    arrays = [
        (rng.laplace(size=(1, 2, 16, 16)) * np.asarray([1.0, 0.02]).reshape(1, 2, 1, 1)).astype(np.float32)
        for _ in range(20)
    ]
    runner = runner_of(arrays)
    seen = calibrate(plan, PostTraining(SearchingOptions()), runner)
    return plan, solve(plan, {k: o.range() for k, o in seen.observers.items()}), runner, seen.observers


def matrices(op_type: str, weights: tuple[int, ...], bias: tuple[int, ...]) -> tuple[Plan, Parameters, GraphRunner]:
    """A product of matrices and an addition."""
    rng = np.random.default_rng(8)
    builder = GraphBuilder("net")
    shape = (6, 16) if op_type == "Gemm" else (1, 6, 16)
    x = builder.input("x", FLOAT, shape)
    weight = builder.constant(rng.normal(size=weights).astype(np.float32), "w")
    added = builder.constant(rng.normal(size=bias).astype(np.float32), "b")
    if op_type == "Gemm":
        y = builder.emit("Gemm", [x, weight, added])
    else:
        y = builder.emit("Add", [builder.emit("MatMul", [x, weight]), added])
    model = builder.finish([y])
    groups = group(model)
    ids = [item.layer_id for item in groups] + [input_layer_id(value) for value in model.graph.inputs]
    plan = make_plan(model, groups, dict.fromkeys(ids, "uint8"), scheme="asymmetric_affine")
    runner = runner_of([rng.normal(size=shape).astype(np.float32) for _ in range(12)])
    seen = calibrate(plan, PostTraining(StandardOptions()), runner)
    return plan, solve(plan, {k: o.range() for k, o in seen.observers.items()}), runner


MATRIX_BIASES = [("MatMul", shape) for shape in [(), (1,), (6,), (1, 6)]]
GEMM_BIASES = [("Gemm", shape) for shape in [(), (1,), (6,), (1, 6), (1, 1), (6, 1), (6, 6)]]


@pytest.mark.parametrize(("op_type", "bias"), MATRIX_BIASES + GEMM_BIASES)
def test_a_bias_of_any_shape_keeps_the_mean_of_the_product(
    workers: Workers, op_type: str, bias: tuple[int, ...]
) -> None:
    plan, parameters, runner = matrices(op_type, (16, 6), bias)
    parameters.constants["b"].integers[...] += 1000
    material = material_of(plan, runner, workers)
    corrected = sweep(material, parameters, Recipe(name="b", rounding=False, bias=True))
    model = annotate(plan, corrected)
    set_quant(model.graph.outputs[0], None)
    session = runner.open(model)
    found = np.mean([session.run(feeds)[0].reshape(6, 6).mean(axis=0) for feeds in runner.samples(range(12))], axis=0)
    mean = material.means[next(iter(products(plan).values())).output]
    if bias[-1:] != (6,):
        mean, found = mean.mean(), found.mean()  # there is no number for each channel
    np.testing.assert_allclose(found, mean, atol=corrected.constants["b"].quant.scale[0])


class Kept:
    """Values of samples as a stream keeps them."""

    def __init__(self, arrays: Sequence[np.ndarray], quant: QuantParams | None, workers: Workers) -> None:
        self.arrays = arrays
        self.count = len(arrays)
        self.workers = workers
        self._quant = quant

    def quant(self, name: str) -> QuantParams | None:
        assert name == "x"
        return self._quant

    def reader(self, name: str) -> Callable[[int], np.ndarray]:
        assert name == "x"
        return self.arrays.__getitem__


@pytest.mark.parametrize("middle", [0, 30_000])
def test_covariance_is_exact_however_far_the_terms_are_from_zero(workers: Workers, middle: int) -> None:
    """Squares of 30,000 have more digits than a float32, and hide that the terms vary by a few steps."""
    rng = np.random.default_rng(9)
    arrays = [
        np.rint(middle + rng.normal(size=(8, 5)) @ rng.normal(size=(5, 5)) * 4).astype(np.int16) for _ in range(20)
    ]
    quant = QuantParams(dtype="int16", scheme="dynamic_fixed_point", fractional_length=3)
    builder = GraphBuilder("one")
    x = builder.input("x", FLOAT, (8, 5))
    model = builder.finish([builder.emit("Gemm", [x, builder.constant(np.ones((5, 2), np.float32), "w")])])
    product = Product(node=model.graph[0], data="x", weight="w", bias=None, output="y", groups=1)
    seen = Seen(product, Kept(arrays, quant, workers), None, 64)  # type: ignore[arg-type]  # all of a stream it uses
    expected = np.cov(np.concatenate(arrays).astype(np.float64).T / 8, bias=True)
    np.testing.assert_allclose(seen.means, np.mean(arrays, axis=(0, 1))[None, None] / 8, rtol=1e-9)
    np.testing.assert_allclose(seen.covariance()[0], expected, rtol=1e-4, atol=1e-5)


def test_products_with_too_many_terms_are_rounded_to_the_nearest(
    monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    plan, parameters, runner = matrices("Gemm", (16, 6), (6,))
    material = material_of(plan, runner, workers)
    changed = []
    for most in (16, 15):
        monkeypatch.setattr(sweep_module, "MOST_TERMS", most)
        found = sweep(material, parameters, Recipe(name="r", bias=True)).constants
        changed.append(not np.array_equal(found["w"].integers, parameters.constants["w"].integers))
    assert changed == [True, False]


def test_covariance_does_not_depend_on_how_samples_are_parted(
    monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    arrays = [np.arange(40, dtype=np.uint8).reshape(8, 5) * number for number in range(1, 8)]
    builder = GraphBuilder("one")
    x = builder.input("x", FLOAT, (8, 5))
    model = builder.finish([builder.emit("Gemm", [x, builder.constant(np.ones((5, 2), np.float32), "w")])])
    product = Product(node=model.graph[0], data="x", weight="w", bias=None, output="y", groups=1)
    found = []
    for large in (1, 1 << 22):
        monkeypatch.setattr(moments, "LARGE_RESULT", large)
        seen = Seen(product, Kept(arrays, None, workers), None, 64)  # type: ignore[arg-type]  # all of a stream it uses
        found.append((seen.means, seen.covariance()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_product_of_nothing_is_left_alone() -> None:
    plan, _, _ = matrices("Gemm", (16, 6), (6,))
    (product,) = products(plan).values()
    product.node.inputs[0].shape = ir.Shape([0, 16])  # type: ignore[union-attr]  # it is there
    assert not products(plan)


def test_one_matrix_for_each_of_a_batch_is_rounded_to_the_nearest() -> None:
    plan, parameters, runner = matrices("MatMul", (3, 16, 4), (4,))
    assert refine(plan, parameters, {}, runner, StandardOptions()) is parameters


def test_search_narrows_ranges_whose_large_numbers_do_not_matter_and_lowers_their_damage(workers: Workers) -> None:
    plan, parameters, runner, observers = saturating()
    judge = Judge(plan, runner, range(0, 20, 2), workers)
    found = search(plan, parameters, observers, SearchingOptions().searched_ranges, judge, judge)
    changed = [key for key in plan.slots if found.activations[key] != parameters.activations[key]]
    assert "x" in changed
    others = Judge(plan, runner, range(1, 20, 2), workers)
    for key in changed:
        assert found.activations[key].scale < parameters.activations[key].scale
        assert others.damage(key, found.activations[key]) < others.damage(key, parameters.activations[key])
    assert others.ranges_db(found) > others.ranges_db(parameters) + 1


def test_search_leaves_ranges_that_nothing_is_better_than(workers: Workers) -> None:
    plan, parameters, runner, observers = started(8)
    judge = Judge(plan, runner, range(8), workers)
    found = search(plan, parameters, observers, (("min_max", None),), judge, judge)
    assert found.activations == parameters.activations


def test_searching_is_no_worse_than_the_standard_on_samples_held_back() -> None:
    plan, _, runner, _ = started(20)
    held = [array for index, array in enumerate(images(20)) if index % 5 == 4]
    errors = []
    for options in (StandardOptions(), SearchingOptions()):
        seen = calibrate(plan, PostTraining(options), runner)
        parameters = solve(plan, {key: item.range() for key, item in seen.observers.items()})
        result = refine(plan, parameters, seen.observers, runner, options)
        errors.append(noise(plan, result, held))
    assert errors[1] <= errors[0] * 10**0.03  # what is simpler is kept unless another is 0.3 dB better


@pytest.mark.parametrize("options", [StandardOptions(), SearchingOptions()], ids=["standard", "auto"])
def test_ranges_that_cut_off_what_a_single_sample_has_lose_on_samples_from_all_over(
    workers: Workers, options: StandardOptions | SearchingOptions
) -> None:
    """That sample is none of those held back, which are better off without it."""
    arrays = images(20)
    arrays[0] = arrays[0] * 64
    plan, runner = planned(), runner_of(arrays)
    observers = calibrate(plan, PostTraining(options), runner).observers
    whole = solve(plan, {k: o.range() for k, o in observers.items()})
    few = calibrate(plan, PostTraining(options), runner_of(arrays[1:])).observers
    cut = solve(plan, {k: o.range() for k, o in few.items()})
    held = [4, 9, 14, 19]
    judge = Judge(plan, runner, held, workers)
    before, tried = (refinement._Judged("r", judge.sqnr_db(parameters), parameters) for parameters in (whole, cut))
    assert tried.sqnr_db > before.sqnr_db + 10
    trial = refinement._Trial(
        material=material_of(plan, runner, workers),
        observers=observers,
        options=options,
        recipes=(),
        fitted=[index for index in range(20) if index not in held],
        judge=judge,
    )
    for ratio in (Judge.sqnr_db, Judge.ranges_db):
        assert trial._wide_gain_db(before, tried, ratio) < -3


def test_too_few_samples_leave_the_nearest_rounding_and_say_so() -> None:
    plan, parameters, runner, observers = started(4)
    result = refine(plan, parameters, observers, runner, StandardOptions())
    assert result.constants is parameters.constants
    assert "refinement takes 10 samples, there are 4" in result.notes[-1]


@pytest.mark.parametrize(("count", "told"), [(20, True), (80, False)])
def test_too_few_numbers_at_the_outputs_leave_the_nearest_rounding_and_say_so(count: int, *, told: bool) -> None:
    """One number a sample: of every fifth sample there are 4 or 16."""
    rng = np.random.default_rng(4)
    builder = GraphBuilder("one")
    x = builder.input("x", FLOAT, (1, 8))
    weight = builder.constant(rng.normal(size=(8, 1)).astype(np.float32), "w")
    model = builder.finish([builder.emit("MatMul", [x, weight])])
    groups = group(model)
    ids = [item.layer_id for item in groups] + [input_layer_id(value) for value in model.graph.inputs]
    plan = make_plan(model, groups, dict.fromkeys(ids, "uint8"), scheme="asymmetric_affine")
    runner = runner_of([rng.normal(size=(1, 8)).astype(np.float32) for _ in range(count)])
    seen = calibrate(plan, PostTraining(StandardOptions()), runner)
    parameters = solve(plan, {key: item.range() for key, item in seen.observers.items()})
    result = refine(plan, parameters, seen.observers, runner, StandardOptions())
    assert (result.constants is parameters.constants and result.activations is parameters.activations) or not told
    assert ("takes 16 numbers at the outputs of samples held back, there are 4 for 4 of 20" in result.notes[-1]) == told


def test_what_is_kept_is_best_on_samples_held_back_and_is_told() -> None:
    plan, parameters, runner, observers = started(20)
    result = refine(plan, parameters, observers, runner, StandardOptions())
    held = [array for index, array in enumerate(images(20)) if index % 5 == 4]
    assert noise(plan, result, held) <= noise(plan, parameters, held)
    assert "dB at the outputs on 4 samples held back" in result.notes[-1]


def test_options_can_ask_for_one_refinement_without_any_comparison() -> None:
    plan, parameters, runner, observers = started(6)
    options = StandardOptions(rounding="nearest", bias_correction=True)
    result = refine(plan, parameters, observers, runner, options)
    assert result.notes == parameters.notes
    np.testing.assert_array_equal(result.constants["w1"].integers, parameters.constants["w1"].integers)
    assert not np.array_equal(result.constants["b2"].integers, parameters.constants["b2"].integers)


def test_refinement_is_the_same_however_many_threads_there_are() -> None:
    plan, parameters, _, observers = started(12)
    results = []
    for jobs in (1, 3):
        runner = GraphRunner(GraphSession, Arrays(images(12)), jobs)  # type: ignore[arg-type]  # a list is as good as an iterator
        results.append(refine(plan, replace(parameters), observers, runner, StandardOptions()))
    for key, tensor in results[0].constants.items():
        np.testing.assert_array_equal(tensor.integers, results[1].constants[key].integers)
