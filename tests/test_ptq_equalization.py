"""Cross-layer equalization: what the graph computes, in ONNX Runtime before and after, and how even it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from synap_core.api import QuantParams
from synap_core.graph.build import GraphBuilder
from synap_core.quantization.parameters import annotate
from synap_core.quantization.runner import runnable
from synap_quantization_ptq.equalization import MARGIN, equalize
from tests.support.canonical import run
from tests.support.comparison import ListRunner, MinMaxQuantizer, OnnxSession

Real = NDArray[np.float32]

SHAPE = (1, 3, 8, 8)


class Engine:
    """Runs a graph in ONNX Runtime."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        return run(self._model, list(feeds.values()))


class Samples:
    """A runner with samples in memory."""

    jobs = 1

    def __init__(self, inputs: Sequence[Real]) -> None:
        self._inputs = inputs
        self.opened = 0

    @property
    def count(self) -> int:
        return len(self._inputs)

    def samples(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        for index in indices:
            yield {"x": self._inputs[index]}

    def open(self, model: ir.Model, outputs: Sequence[str] | None = None) -> Engine:
        self.opened += 1
        return Engine(runnable(model, outputs))


def weights(rng: np.random.Generator, shape: Sequence[int], spread: float = 3) -> Real:
    """Weights whose output channels are of very different sizes."""
    sizes = np.exp(rng.uniform(-spread, spread, size=(shape[0], *[1] * (len(shape) - 1))))
    return np.asarray(rng.normal(size=shape) * sizes / np.sqrt(np.prod(shape[1:])), np.float32)


def activation(build: GraphBuilder, value: ir.Value, kind: str) -> ir.Value:
    if kind == "Clip":
        return build.emit("Clip", [value, build.constant(0.0), build.constant(6.0)])
    if kind == "narrow":
        return build.emit("Clip", [value, build.constant(-0.5), build.constant(6.0)])
    return value if kind == "none" else build.emit(kind, [value])


def chain(rng: np.random.Generator, kind: str, *, bias: bool = True) -> ir.Model:
    """Pointwise, depthwise and pointwise convolution with an activation after each but the last."""
    build = GraphBuilder("chain")
    value = build.input("x", ir.DataType.FLOAT, SHAPE)
    for place, (shape, group) in enumerate((((16, 3, 1, 1), 1), ((16, 1, 3, 3), 16), ((4, 16, 1, 1), 1))):
        operands = [value, build.constant(weights(rng, shape), f"w{place}")]
        if bias:
            operands.append(build.constant(rng.normal(size=shape[0]).astype(np.float32), f"b{place}"))
        value = build.emit("Conv", operands, {"group": group, "pads": [shape[2] // 2] * 4})
        value = activation(build, value, kind if place < 2 else "none")
    return build.finish([value])


def inputs(rng: np.random.Generator, count: int = 5) -> list[Real]:
    return [rng.normal(size=SHAPE).astype(np.float32) for _ in range(count)]


def constant(model: ir.Model, name: str) -> Real:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return np.asarray(tensor.numpy())


def unevenness(made: Real, read: Real) -> float:
    """Largest ratio between what makes a channel and what reads it, over the smallest."""
    ratios = made / read
    return float(ratios.max() / ratios.min())


@pytest.mark.parametrize("kind", ["Relu", "LeakyRelu", "none", "Clip", "narrow"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
def test_graph_computes_the_same_on_the_samples(kind: str, bias: bool, rng: np.random.Generator) -> None:
    model, samples = chain(rng, kind, bias=bias), inputs(rng)
    before = [run(model, [sample])[0] for sample in samples]
    old = constant(model, "w0")
    (note,) = equalize(model, Samples(samples))
    assert np.abs(constant(model, "w0") / old - 1).max() > 0.1
    assert "32 channels between 2 pairs" in note
    for sample, expected in zip(samples, before, strict=True):
        # Sums of up to 48 products in float32, each rounded anew.
        np.testing.assert_allclose(run(model, [sample])[0], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_channels_become_even_along_a_chain(rng: np.random.Generator) -> None:
    model = chain(rng, "Relu")

    def sizes() -> list[float]:
        first, middle, last = (np.abs(constant(model, f"w{place}")) for place in range(3))
        made, between = first.max(axis=(1, 2, 3)), middle.max(axis=(1, 2, 3))
        return [unevenness(made, between), unevenness(between, last.max(axis=(0, 2, 3)))]

    assert min(sizes()) > 10
    equalize(model, Samples(inputs(rng)))
    assert max(sizes()) < 1.1


def test_nothing_runs_where_nothing_depends_on_the_samples(rng: np.random.Generator) -> None:
    runner = Samples(inputs(rng))
    assert "equalized 32 of 32" in equalize(chain(rng, "Relu", bias=False), runner)[0]
    assert runner.opened == 0


def test_channels_that_come_near_the_limit_of_a_clip_are_left_alone(rng: np.random.Generator) -> None:
    model, samples = chain(rng, "Clip"), inputs(rng)
    name = str(next(node for node in model.graph if node.op_type == "Conv").outputs[0].name)
    largest = np.max([run(runnable(model, [name]), [sample])[0].max(axis=(0, 2, 3)) for sample in samples], axis=0)
    old_weights, old_bias = constant(model, "w0"), constant(model, "b0")
    equalize(model, Samples(samples))
    factors = old_bias / constant(model, "b0")
    near = largest * MARGIN > 6
    assert near.any()
    assert not near.all()
    np.testing.assert_array_equal(constant(model, "w0")[near], old_weights[near])
    np.testing.assert_allclose(factors[near], 1)
    assert (np.abs(factors[~near] - 1) > 0.1).any()
    assert (largest[~near] / factors[~near] * MARGIN <= 6 * 1.0001).all()


DEAD = 5
"""Channel that a normalisation has switched off."""


def dead_channel(rng: np.random.Generator, size: float, bias: float, *, reads: float = 1, loud: float = 1) -> ir.Model:
    """Two convolutions with a ReLU between them; all weights of one channel are nearly as small as wanted, or zero.

    Args:
        rng: Makes weights and biases.
        size: What the weights of the dead channel are multiplied by.
        bias: Its bias.
        reads: What the weights that read it are multiplied by.
        loud: What all weights and other biases of the first convolution are multiplied by.
    """
    build = GraphBuilder("dead")
    first, biases = (rng.normal(size=shape) * 0.3 * loud for shape in ((8, 3, 3, 3), 8))
    second = rng.normal(size=(4, 8, 3, 3)) * 0.3
    first[DEAD] *= size / loud
    biases[DEAD] = bias
    second[:, DEAD] *= reads
    w0, b0, w1 = (array.astype(np.float32) for array in (first, biases, second))
    pads = {"pads": [1] * 4}
    x = build.input("x", ir.DataType.FLOAT, SHAPE)
    made = build.emit("Relu", [build.emit("Conv", [x, build.constant(w0, "w0"), build.constant(b0, "b0")], pads)])
    return build.finish([build.emit("Conv", [made, build.constant(w1, "w1")], pads)])


def reach(model: ir.Model, samples: Sequence[Real]) -> Real:
    """Largest number of each channel between the convolutions."""
    name = str(next(node for node in model.graph if node.op_type == "Relu").outputs[0].name)
    return np.max([run(runnable(model, [name]), [sample])[0].max(axis=(0, 2, 3)) for sample in samples], axis=0)


@pytest.mark.parametrize("loud", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-20, 1e-3])
def test_channel_that_is_mostly_its_bias_becomes_no_larger_than_the_largest_other(
    size: float, loud: float, rng: np.random.Generator
) -> None:
    model, samples = dead_channel(rng, size, 0.5 * loud, loud=loud), inputs(rng)
    before = [run(model, [sample])[0] for sample in samples]
    equalize(model, Samples(samples))
    found = reach(model, samples)
    assert 0 < found[DEAD] <= np.delete(found, DEAD).max() * 1.0001
    read = np.abs(constant(model, "w1")).max(axis=(0, 2, 3))
    assert read[DEAD] <= np.delete(read, DEAD).max() * 1.0001
    for sample, expected in zip(samples, before, strict=True):
        np.testing.assert_allclose(run(model, [sample])[0], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("bias", [0.5, 50.0])
def test_large_weights_that_read_a_channel_of_bias_do_not_grow(bias: float, rng: np.random.Generator) -> None:
    model, samples = dead_channel(rng, 1e-20, bias, reads=30), inputs(rng)
    old = np.abs(constant(model, "w1")[:, DEAD]).max()
    equalize(model, Samples(samples))
    assert np.abs(constant(model, "w1")[:, DEAD]).max() <= old * 1.0001
    assert reach(model, samples)[DEAD] <= max(np.delete(reach(model, samples), DEAD).max(), bias) * 1.0001


@pytest.mark.parametrize("bias", [0.5, 0.0])
def test_other_channels_are_divided_as_published_beside_a_dead_one(bias: float, rng: np.random.Generator) -> None:
    model = dead_channel(rng, 1e-20, bias)
    w0, w1 = constant(model, "w0"), constant(model, "w1")
    published = np.sqrt(np.abs(w0).max(axis=(1, 2, 3)) / np.abs(w1).max(axis=(0, 2, 3)))
    equalize(model, Samples(inputs(rng)))
    # Section 4.1 of the source: s = sqrt(r1 * r2) / r2 = sqrt(r1 / r2).
    factors = w0[:, 0, 0, 0] / constant(model, "w0")[:, 0, 0, 0]
    np.testing.assert_allclose(np.delete(factors, DEAD), np.delete(published, DEAD), rtol=1e-5)


def test_channel_that_never_passes_the_function_is_divided_by_what_its_weights_ask_for(
    rng: np.random.Generator,
) -> None:
    model = dead_channel(rng, 0.01, -3.0)
    w0, w1 = constant(model, "w0")[DEAD], constant(model, "w1")[:, DEAD]
    samples = inputs(rng)
    equalize(model, Samples(samples))
    expected = np.sqrt(np.abs(w0).max() / np.abs(w1).max())
    np.testing.assert_allclose(w0 / constant(model, "w0")[DEAD], expected, rtol=1e-5)
    assert reach(model, samples)[DEAD] == 0


@pytest.mark.parametrize("size", [0.0, 1e-20])
def test_equalizing_a_model_with_a_dead_channel_costs_no_accuracy(size: float, rng: np.random.Generator) -> None:
    samples = [{"x": sample} for sample in inputs(rng, 8)]
    ratios = []
    for even in (False, True):
        model = dead_channel(np.random.default_rng(3), size, 0.5)
        if even:
            equalize(model, ListRunner(samples))
        found = MinMaxQuantizer(model, ListRunner(samples)).run()
        quantized = annotate(found.plan, found.parameters)
        pairs = [
            (OnnxSession(model).run(feeds)[0], OnnxSession(runnable(quantized)).run(feeds)[0]) for feeds in samples
        ]
        signal, noise = sum(float((y**2).sum()) for y, _ in pairs), sum(float(((y - q) ** 2).sum()) for y, q in pairs)
        ratios.append(10 * np.log10(signal / noise))
    assert ratios[0] > 30
    assert ratios[1] > ratios[0] - 1


def two(rng: np.random.Generator, how: str) -> ir.Model:
    """Two convolutions with something between them or about them that must not be scaled."""
    build = GraphBuilder("two")
    value = build.input("x", ir.DataType.FLOAT, SHAPE)
    kernel = weights(rng, (3, 3, 1, 1))
    if how == "quantized":
        quant = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(0,))
        first = build.quantized_constant(np.arange(-4, 5, dtype=np.int8).reshape(3, 3, 1, 1), quant, "w0")
    else:
        first = build.constant(kernel, "w0")
    second = first if how == "shared" else build.constant(weights(rng, (6, 3, 1, 1)), "w1")
    middle = build.emit("Conv", [value, first])
    result = build.emit("Sigmoid", [middle]) if how == "sigmoid" else middle
    if how == "limits":
        result = build.emit("Clip", [middle, build.constant(1.0), build.constant(6.0)])
    if how == "computed":
        result = build.emit("Clip", [middle, build.emit("ReduceMax", [value], {"keepdims": 0}), build.constant(6.0)])
    if how == "twice":
        result = build.emit("Add", [result, build.emit("Relu", [result])])
    last = build.emit("Conv", [result, second])
    return build.finish([middle, last] if how == "output" else [last])


@pytest.mark.parametrize("how", ["quantized", "shared", "sigmoid", "limits", "computed", "twice", "output"])
def test_what_cannot_be_scaled_is_left_alone(how: str, rng: np.random.Generator) -> None:
    model = two(rng, how)
    before = {name: constant(model, name).tobytes() for name in model.graph.initializers}
    assert equalize(model, Samples([])) == ("equalized 0 of 0 channels between 0 pairs of convolutions",)
    assert {name: constant(model, name).tobytes() for name in model.graph.initializers} == before
