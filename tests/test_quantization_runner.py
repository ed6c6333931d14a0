"""Running graphs on samples: what they compute, from several threads, quantized or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.api import GraphBuilder, InputError, ModelExecutionError, ModelRequest, QuantParams, Slice
from synap_core.graph.annotations import set_quant
from synap_core.host import PluginHost
from synap_core.model_files import open_model
from synap_core.plugin_policy import PluginPolicy, PolicyLayer
from synap_core.quantization.dataset import open_dataset
from synap_core.quantization.runner import GraphRunner, available_cores, find_engine, runnable
from synap_core.selection import select
from synap_runtime_onnx import graph_session
from tests.support.metafiles import metafile

F32 = np.float32


class Samples:
    """Samples that are in memory."""

    def __init__(self, made: Sequence[Mapping[str, np.ndarray]]) -> None:
        self.made = made
        self.count = len(made)

    def samples(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        return (self.made[i] for i in indices)

    def describe(self, index: int) -> str:
        return f"sample-{index}"


def chain(weight: np.ndarray) -> tuple[ir.Model, dict[str, str]]:
    """Product of x and weight, then Relu, then + 1; and the names of the three values."""
    build = GraphBuilder("chain")
    x = build.input("x", ir.DataType.FLOAT, (2, weight.shape[0]))
    product = build.emit("MatMul", [x, build.constant(weight, "weight")])
    relu = build.emit("Relu", [product])
    last = build.emit("Add", [relu, build.constant(F32(1))])
    names = {"product": str(product.name), "relu": str(relu.name), "last": str(last.name)}
    return build.finish([last]), names


@pytest.fixture
def runner(host: PluginHost) -> GraphRunner:
    made = [{"x": np.random.default_rng(i).normal(size=(2, 3)).astype(F32)} for i in range(4)]
    return GraphRunner(find_engine(host), Samples(made), jobs=2)


def test_outputs_are_those_asked_for_in_their_order(runner: GraphRunner, rng: np.random.Generator) -> None:
    weight = rng.normal(size=(3, 5)).astype(F32)
    graph, names = chain(weight)
    session = runner.open(graph, [names["relu"], "x", names["product"]])
    for feeds in runner.samples(range(runner.count)):
        relu, x, product = session.run(feeds)
        np.testing.assert_array_equal(x, feeds["x"])
        np.testing.assert_allclose(product, feeds["x"].astype(np.float64) @ weight, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(relu, np.maximum(product, 0))


def test_outputs_are_those_of_the_graph_by_default(runner: GraphRunner, rng: np.random.Generator) -> None:
    weight = rng.normal(size=(3, 5)).astype(F32)
    session = runner.open(chain(weight)[0])
    feeds = next(runner.samples([2]))
    expected = np.maximum(feeds["x"].astype(np.float64) @ weight, 0) + 1
    np.testing.assert_allclose(session.run(feeds)[0], expected, rtol=1e-5, atol=1e-6)


def test_the_graph_is_left_as_it_is(runner: GraphRunner) -> None:
    graph, names = chain(np.ones((3, 5), F32))
    before = ir.to_proto(graph).SerializeToString()
    runner.open(graph, [names["product"]])
    assert ir.to_proto(graph).SerializeToString() == before


def test_what_no_output_needs_is_left_out_and_the_rest_keeps_its_order(rng: np.random.Generator) -> None:
    build = GraphBuilder("branches")
    value = build.input("x", ir.DataType.FLOAT, (1, 4))
    unused = build.input("unused", ir.DataType.FLOAT, (1, 4))
    steps = []
    for _ in range(30):
        value = build.emit("Mul", [value, build.constant(rng.normal(size=4).astype(F32))])
        build.emit("Add", [value, unused])
        steps.append(str(value.name))
    wanted = [steps[9], steps[3], steps[19]]
    made = runnable(build.finish([value]), wanted)
    assert [node.outputs[0].name for node in made.graph] == steps[:20]
    assert [value.name for value in made.graph.outputs] == wanted
    assert len(made.graph.initializers) == 20


def test_unknown_output_is_a_key_error(runner: GraphRunner) -> None:
    with pytest.raises(KeyError, match="nothing"):
        runner.open(chain(np.ones((3, 5), F32))[0], ["nothing"])


def steps_of(values: np.ndarray, scale: float, zero_point: int, low: int, high: int) -> np.ndarray:
    """Round to steps, halves to even, as QuantizeLinear does."""
    integers = np.clip(np.rint(values.astype(np.float64) / scale) + zero_point, low, high)
    return np.asarray((integers - zero_point) * scale)


def test_annotated_values_are_rounded_to_their_steps(runner: GraphRunner) -> None:
    weight = np.eye(3, dtype=F32)
    graph, names = chain(weight)
    quant = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.25,), zero_point=(128,))
    short = QuantParams(dtype="int16", scheme="dynamic_fixed_point", fractional_length=4)
    relu = next(node.outputs[0] for node in graph.graph if node.op_type == "Relu")
    set_quant(graph.graph.inputs[0], quant)
    set_quant(relu, short)
    session = runner.open(graph, ["x", names["relu"]])
    feeds = next(runner.samples([1]))
    x, rounded = session.run(feeds)
    expected = steps_of(feeds["x"], 0.25, 128, 0, 255)
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(rounded, steps_of(np.maximum(expected, 0), 1 / 16, 0, -32768, 32767))


def test_two_roundings_in_a_row_both_happen(runner: GraphRunner) -> None:
    """An Identity between two types is a conversion; an optimiser that drops one of them changes the result."""
    build = GraphBuilder("conversion")
    x = build.input("x", ir.DataType.FLOAT, (2, 3))
    coarse = build.emit("Relu", [x])
    fine = build.emit("Identity", [coarse])
    set_quant(coarse, QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.3,), zero_point=(0,)))
    set_quant(fine, QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.25,), zero_point=(3,)))
    feeds = next(runner.samples([0]))
    (result,) = runner.open(build.finish([fine])).run(feeds)
    first = steps_of(np.maximum(feeds["x"], 0), float(F32(0.3)), 0, 0, 255).astype(F32)
    np.testing.assert_allclose(result, steps_of(first, 0.25, 3, 0, 255), rtol=1e-6)


def test_quantized_convolution_is_computed_in_real_numbers(runner: GraphRunner, rng: np.random.Generator) -> None:
    """Integer kernels would round the bias to steps of the product's scale, here to 0."""
    build = GraphBuilder("convolution")
    x = build.input("x", ir.DataType.FLOAT, (1, 3, 2, 2))
    quant = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(1.0,), zero_point=(0,))
    signed = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(1.0,), zero_point=(0,))
    integers = rng.integers(-2, 3, (4, 3, 1, 1)).astype(np.int8)
    bias = np.full(4, 0.3, F32)
    y = build.emit("Conv", [x, build.quantized_constant(integers, signed), build.constant(bias)])
    set_quant(x, quant)
    set_quant(y, QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.125,), zero_point=(128,)))
    feeds = {"x": rng.integers(0, 3, (1, 3, 2, 2)).astype(F32)}
    (result,) = runner.open(build.finish([y])).run(feeds)
    exact = np.einsum("oc,nchw->nohw", integers[:, :, 0, 0].astype(np.int64), feeds["x"].astype(np.int64)) + 0.3
    np.testing.assert_array_equal(result, steps_of(exact, 0.125, 128, 0, 255))


@pytest.mark.zoo
def test_model_of_the_zoo_gives_its_reference_outputs_on_a_data_set(
    host: PluginHost, zoo: Path, tmp_path: Path
) -> None:
    reference = np.load(zoo / "reference" / "efficientnet-lite0.onnx.npz")
    for i in range(2):
        np.save(tmp_path / f"s{i}.npy", reference[f"s{i}_input_0"])
    meta = metafile(tmp_path, "inputs: [{}]\nquantization: {dataset: 's*.npy'}")
    request = ModelRequest(path=zoo / "models" / "classification" / "efficientnet-lite0.onnx")
    source = open_model(host, request, None)
    selection = select(source, meta)
    graph = source.canonical(Slice(layers=selection.layers, inputs=selection.inputs, outputs=selection.outputs))
    runner = GraphRunner(find_engine(host), open_dataset(source, selection, meta, graph))
    session = runner.open(graph)
    for i, feeds in enumerate(runner.samples(range(runner.count))):
        # The reference ran without optimisations: sums in another order.
        np.testing.assert_allclose(session.run(feeds)[0], reference[f"s{i}_output_0"], rtol=1e-4, atol=1e-4)


def test_one_session_serves_several_threads(runner: GraphRunner, rng: np.random.Generator) -> None:
    weight = rng.normal(size=(3, 5)).astype(F32)
    session = runner.open(chain(weight)[0])
    inputs = [rng.normal(size=(2, 3)).astype(F32) for _ in range(40)]
    alone = [session.run({"x": x})[0] for x in inputs]
    found: dict[int, np.ndarray] = {}

    def work(offset: int) -> None:
        for i in range(offset, len(inputs), 4):
            found[i] = session.run({"x": inputs[i]})[0]

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, expected in enumerate(alone):
        np.testing.assert_array_equal(found[i], expected)


def test_small_outputs_do_not_hold_on_to_the_memory_of_the_session(runner: GraphRunner) -> None:
    session = runner.open(chain(np.ones((3, 5), F32))[0])
    (output,) = session.run({"x": np.ones((2, 3), F32)})
    assert output.base is None
    assert output.flags.owndata
    del session
    np.testing.assert_array_equal(output, np.full((2, 5), 4, F32))


def test_wrong_input_is_one_line(runner: GraphRunner) -> None:
    session = runner.open(chain(np.ones((3, 5), F32))[0])
    with pytest.raises(ModelExecutionError, match="chain: ONNX Runtime could not run the graph: ") as caught:
        session.run({"x": np.zeros((2, 4), F32)})
    assert "\n" not in str(caught.value)


def test_graph_that_is_refused_is_one_line(runner: GraphRunner) -> None:
    graph, _ = chain(np.ones((3, 5), F32))
    graph.graph[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelExecutionError, match="chain: ONNX Runtime refused the graph: .*NoSuchOperator"):
        runner.open(graph)


def test_graph_that_is_too_large_says_so(runner: GraphRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_session, "MAX_MODEL_BYTES", 50)
    with pytest.raises(InputError, match="constants of the graph take 64 bytes; at most 50 can be run"):
        runner.open(chain(np.ones((3, 5), F32))[0])


def test_as_many_jobs_as_cores_by_default(host: PluginHost) -> None:
    runner = GraphRunner(find_engine(host), Samples([]))
    assert runner.jobs == available_cores() >= 1
    assert GraphRunner(find_engine(host), Samples([]), jobs=3).jobs == 3


def test_without_an_engine_the_error_says_who_disabled_it() -> None:
    host = PluginHost(PluginPolicy((PolicyLayer(source="the test", disable=("runtime-onnx",)),)))
    with pytest.raises(InputError, match="no enabled runtime can run the graph.*disabled by the test; enable it with"):
        find_engine(host)
