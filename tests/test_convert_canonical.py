"""Conversions for a delegate that compiles canonical graphs: what is not quantized here, from model to numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_core.api import quant_of, to_qdq
from synap_core.assign import dequantize
from synap_core.bundle_reader import read_bundle
from synap_core.bundle_writer import pack_bundle
from synap_core.conversion import Conversion, Converted
from synap_core.convert import ConvertRequest, convert
from synap_core.errors import InputError, PluginError
from synap_core.host import PluginHost
from synap_core.model_info import render_model_info
from synap_core.network import Network
from tests.support.canonical import Reference
from tests.support.canonical_models import IMAGE, float_tflite, int8_net, small_net, two_branches
from tests.support.onnx_models import model, node, quantized, value
from tests.support.tflite_models import ModelBuilder, chain, counter
from tests.support.toynpu import CAPABILITIES, ToyNpu, toy_host

Run = Callable[..., Converted]

HALF = 2.0**-10
"""Two units in the last place of float16 near 1; sums of a few roundings of numbers of that size stay below some."""


@pytest.fixture
def toy() -> ToyNpu:
    return ToyNpu()


@pytest.fixture
def toys(toy: ToyNpu) -> PluginHost:
    return toy_host(toy)


@pytest.fixture
def run(toys: PluginHost, tmp_path: Path) -> Run:
    """Convert the content of a model with the text of a metafile."""

    def call(
        content: bytes | onnx.ModelProto, meta: str = "", host: PluginHost | None = None, **settings: object
    ) -> Converted:
        data = content if isinstance(content, bytes) else content.SerializeToString()
        path = tmp_path / ("net.tflite" if isinstance(content, bytes) else "net.onnx")
        path.write_bytes(data)
        text = tmp_path / "meta.yaml"
        text.write_text(meta, encoding="utf-8")
        target = str(settings.pop("target", "TOY"))
        request = ConvertRequest(model=path, target=target, meta=text if meta else None, **settings)  # type: ignore[arg-type]  # fields of the request
        return convert(request, host or toys)

    return call


def network(conversion: Conversion, host: PluginHost) -> Network:
    return Network(pack_bundle(conversion), host=host, isolate=False)


def real_outputs(conversion: Conversion, host: PluginHost, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    net = network(conversion, host)
    return [dequantize(array, tensor) for array, tensor in zip(net.predict(inputs), net.outputs, strict=True)]


def expected(made: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def operators(conversion: Conversion, index: int = 0) -> list[str]:
    graph = conversion.subgraphs[index].graph
    assert graph is not None
    return [n.op_type for n in graph.graph]


def types(conversion: Conversion) -> list[tuple[str, str, str]]:
    """Delegate, and types of the inputs and outputs of each subgraph."""
    return [
        (delegate, " ".join(t.dtype for t in s.inputs), " ".join(t.dtype for t in s.outputs))
        for delegate, s in zip(conversion.delegates, conversion.subgraphs, strict=True)
    ]


def test_float_model_becomes_float16_inside_and_at_its_ends(
    run: Run, toy: ToyNpu, toys: PluginHost, rng: np.random.Generator
) -> None:
    conversion = run(small_net()).conversion
    assert types(conversion) == [("toynpu", "float16", "float16")]
    graph = toy.compiled[0].graph
    assert graph is not None
    stored = {str(v.name) for v in graph.graph.initializers.values() if (q := quant_of(v)) and q.dtype == "float16"}
    assert len(stored) == 6  # three weights and three biases
    assert {dtype for _, dtype in toy.asked} == {"float16"}
    x = rng.normal(size=IMAGE).astype(np.float32)
    (found,) = real_outputs(conversion, toys, [x])
    np.testing.assert_allclose(found, expected(small_net(), [x])[0], atol=4 * HALF)


def test_prequantized_model_computes_what_its_whole_graph_does(
    run: Run, toys: PluginHost, rng: np.random.Generator
) -> None:
    conversion = run(int8_net()).conversion
    assert types(conversion) == [("toynpu", "int8", "int8")]
    assert conversion.inputs[0].quant is not None
    whole = run(int8_net(), whole_graph=True).conversion.graph
    assert whole is not None
    session = onnxruntime.InferenceSession(ir.to_proto(to_qdq(whole)).SerializeToString())
    reference = Reference(int8_net())
    for _ in range(5):
        x = rng.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
        (found,) = network(conversion, toys).predict([x])
        np.testing.assert_array_equal(found, session.run(None, {"x": x})[0])
        # The kernels round the sums of integers twice; real numbers in between are rounded once.
        assert np.abs(found.astype(int) - reference([x])[0].astype(int)).max() <= 2


def test_layer_that_was_quantized_before_is_one_operation(run: Run, toy: ToyNpu) -> None:
    run(int8_net())
    groups = {group.layer_id: [n.op_type for n in group.nodes] for group in toy.compiled[0].groups}
    assert groups["ADD_sum_2"] == ["Add", "Relu"]
    assert not any("Convert" in layer_id for layer_id in groups)
    assert {dtype for _, dtype in toy.asked} == {"int8"}


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ("{'*': toynpu, pool: cpu}", ["toynpu", "cpu", "toynpu"]),
        ("{'*': cpu, pool: toynpu}", ["cpu", "toynpu", "cpu"]),
        ("{'*': toynpu, pool: toynpu fast=1}", ["toynpu"] * 3),
        ("{'*': toynpu, pool...: cpu}", ["toynpu", "cpu"]),
    ],
    ids=["npu-cpu-npu", "cpu-npu-cpu", "two kinds of npu", "npu-cpu"],
)
def test_split_prequantized_model_keeps_the_types_of_its_tensors(
    run: Run, toys: PluginHost, rng: np.random.Generator, rules: str, wanted: list[str]
) -> None:
    conversion = run(int8_net(), f"delegate: {rules}").conversion
    assert types(conversion) == [(delegate, "int8", "int8") for delegate in wanted]
    x = rng.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    (found,) = network(conversion, toys).predict([x])
    assert np.abs(found.astype(int) - Reference(int8_net())([x])[0].astype(int)).max() <= 2


def as_written(content: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run a model without any optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return list(onnxruntime.InferenceSession(content, options).run(None, feeds))


@pytest.mark.parametrize("seed", range(6))
def test_however_it_is_split_a_quantized_model_computes_the_same(run: Run, seed: int) -> None:
    random = np.random.default_rng(seed)
    kinds = ["toynpu", "toynpu a=1", "toynpu b=1"]
    rules = {name: kinds[random.integers(3)] for name in ("conv", "pool", "sum", "y")}
    layout = ["nhwc", "nchw"][seed % 2]
    conversion = run(int8_net(), f"data_layout: {layout}\ndelegate: {rules}").conversion
    whole = run(int8_net(), whole_graph=True).conversion.graph
    assert whole is not None
    x = random.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    (wanted,) = as_written(ir.to_proto(to_qdq(whole)).SerializeToString(), {"x": x})
    turned = layout == "nchw"
    known = {conversion.inputs[0].label: x.transpose(0, 3, 1, 2) if turned else x}
    for subgraph, artifact in zip(conversion.subgraphs, conversion.artifacts, strict=True):
        assert subgraph.graph is not None
        names = [str(v.name) for v in subgraph.graph.graph.inputs]
        feeds = {name: known[tensor.label] for name, tensor in zip(names, subgraph.inputs, strict=True)}
        results = as_written(artifact.model, feeds)
        known |= {tensor.label: array for tensor, array in zip(subgraph.outputs, results, strict=True)}
    found = known[conversion.outputs[0].label]
    np.testing.assert_array_equal(found.transpose(0, 2, 3, 1) if turned else found, wanted)


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (
            "{'*': cpu, conv2: toynpu, relu2: toynpu}",
            [("cpu", "float32", "float32"), ("toynpu", "float32", "float32"), ("cpu", "float32", "float32")],
        ),
        (
            "{'*': toynpu, conv2: cpu}",
            [("toynpu", "float16", "float32"), ("cpu", "float32", "float32"), ("toynpu", "float32", "float16")],
        ),
        (
            "{'*': toynpu, conv2: toynpu fast=1}",
            [("toynpu", "float16", "float16"), ("toynpu", "float16", "float16"), ("toynpu", "float16", "float16")],
        ),
    ],
    ids=["cpu-npu-cpu", "npu-cpu-npu", "two kinds of npu"],
)
def test_tensors_that_cpu_touches_are_float32_on_both_sides(
    run: Run, toys: PluginHost, rng: np.random.Generator, rules: str, wanted: list[tuple[str, str, str]]
) -> None:
    conversion = run(small_net(), f"delegate: {rules}").conversion
    assert types(conversion) == wanted
    x = rng.normal(size=IMAGE).astype(np.float32)
    (found,) = real_outputs(conversion, toys, [x])
    np.testing.assert_allclose(found, expected(small_net(), [x])[0], atol=4 * HALF)


def test_branches_on_two_delegates_run_side_by_side(run: Run, toys: PluginHost, rng: np.random.Generator) -> None:
    meta = "delegate: {'*': toynpu, conv_right: cpu, sigmoid_right: cpu}"
    conversion = run(two_branches(), meta).conversion
    assert conversion.delegates == ("toynpu", "toynpu", "cpu")
    bundle = read_bundle(pack_bundle(conversion), "bundle")
    assert [subgraph.inputs for subgraph in bundle.subgraphs] == [((-1, 0),), ((0, 0),), ((0, 0),)]
    x = rng.normal(size=IMAGE).astype(np.float32)
    for found, wanted in zip(real_outputs(conversion, toys, [x]), expected(two_branches(), [x]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=4 * HALF)


def test_work_that_two_subgraphs_could_share_is_done_in_each(run: Run, toys: PluginHost) -> None:
    # Both convolutions read one tensor, transposed in the same way.
    conversion = run(float_tflite(), "delegate: {'*': toynpu, left: toynpu a=1, right: toynpu b=1}").conversion
    assert len(conversion.delegates) == 4
    assert all(operators(conversion, index).count("Conv") <= 1 for index in range(4))
    x = np.random.default_rng(5).normal(size=(1, 8, 8, 3)).astype(np.float32)
    (found,) = real_outputs(conversion, toys, [x])
    np.testing.assert_allclose(found, Reference(float_tflite())([x])[0], atol=8 * HALF)


def test_model_quantized_with_nodes_takes_and_gives_its_integers(
    run: Run, toys: PluginHost, rng: np.random.Generator
) -> None:
    made = quantized(rng)
    conversion = run(made).conversion
    assert types(conversion) == [("toynpu", "uint8", "uint8")]
    assert operators(conversion) == ["Conv"]
    x = rng.normal(size=(1, 3, 4, 4)).astype(np.float32)
    (found,) = real_outputs(conversion, toys, [x])
    np.testing.assert_array_equal(found, expected(made, [x])[0])


def test_float_part_of_a_quantized_model_becomes_float16(run: Run, toys: PluginHost, rng: np.random.Generator) -> None:
    build = ModelBuilder()
    x = build.tensor("x", (1, 8), "int8", scale=0.05, zero_point=3)
    names = ("real", "root", "y")
    real, root = (build.tensor(name, (1, 8)) for name in names[:2])
    y = build.tensor("y", (1, 8), "int8", scale=0.02, zero_point=-128)
    build.operator("DEQUANTIZE", [x], [real], version=2)
    build.operator("EXP", [real], [root])
    build.operator("QUANTIZE", [root], [y], version=2)
    content = build.finish([x], [y])
    toy = ToyNpu()
    host = toy_host(toy)
    conversion = run(content, host=host).conversion
    assert types(conversion) == [("toynpu", "int8", "int8")]
    assert operators(conversion) == ["Identity", "Exp", "Identity"]
    assert [dtype for _, dtype in toy.asked] == ["float16", "float16", "int8"]
    items = rng.integers(-20, 40, (1, 8)).astype(np.int8)
    (found,) = network(conversion, toys).predict([items])
    # exp(1.85) = 6.4 has an error of 0.002 in float16, a tenth of a step.
    assert np.abs(found.astype(int) - Reference(content)([items])[0].astype(int)).max() <= 1


def test_dequantized_output_is_float32_and_converted_inside(
    run: Run, toy: ToyNpu, toys: PluginHost, rng: np.random.Generator
) -> None:
    conversion = run(int8_net(), "outputs: [{dequantize: true}]").conversion
    assert types(conversion) == [("toynpu", "int8", "float32")]
    assert conversion.outputs[0].quant is None
    assert operators(conversion)[-1] == "Identity"
    assert toy.compiled[0].groups[-1].layer_id == "Convert_y_float32"
    x = rng.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    (found,) = network(conversion, toys).predict([x])
    (stored,) = network(run(int8_net()).conversion, toys).predict([x])
    np.testing.assert_array_equal(found, stored.astype(np.float32) * np.float32(0.1))


def test_dequantization_is_asked_of_the_delegate_that_computes_the_output(run: Run) -> None:
    meta = "outputs: [{dequantize: true}]\ndelegate: {'*': toynpu, y: cpu}"
    with pytest.raises(
        InputError, match="delegate 'cpu' doesn't support output dequantization .*; assign the layers to toynpu"
    ):
        run(int8_net(), meta)
    assert types(run(int8_net(), meta.replace("y: cpu", "pool: cpu")).conversion)[-1] == ("toynpu", "int8", "float32")


def test_global_dequantization_says_which_outputs_it_does_not_reach(run: Run) -> None:
    meta = "dequantize_outputs: true\ndelegate: {'*': toynpu, sigmoid_right: cpu}"
    converted = run(two_branches(), meta)
    assert [tensor.dtype for tensor in converted.conversion.outputs] == ["float32", "float32"]
    (warning,) = converted.warnings
    assert warning.endswith("'dequantize_outputs' has no effect on outputs that other delegates compute: 'right'")


def test_output_that_cpu_reads_in_integers_cannot_be_dequantized(run: Run) -> None:
    build = ModelBuilder()
    x, y, z = (build.tensor(name, (1, 4), "int8", scale=0.1) for name in "xyz")
    build.operator("ABS", [x], [y])
    build.operator("ABS", [y], [z])
    meta = "outputs: [{dequantize: true}, {}]\ndelegate: {'*': toynpu, z: cpu}"
    with pytest.raises(InputError, match="output 'y' cannot be dequantized: a delegate that runs tflite uses it, too"):
        run(build.finish([x], [y, z]), meta)


@pytest.mark.parametrize("rules", ["toynpu", "{'*': toynpu, pool: toynpu fast=1}"], ids=["whole", "split"])
def test_other_layout_is_that_of_all_boundaries_and_leaves_no_transposes(
    run: Run, toys: PluginHost, rng: np.random.Generator, rules: str
) -> None:
    conversion = run(int8_net(), f"data_layout: nchw\ndelegate: {rules}").conversion
    for subgraph in conversion.subgraphs:
        assert {tensor.layout for tensor in (*subgraph.inputs, *subgraph.outputs)} == {"nchw"}
    assert [tensor.shape for tensor in (*conversion.inputs, *conversion.outputs)] == [(1, 3, 8, 8), (1, 8, 4, 4)]
    assert all("Transpose" not in operators(conversion, index) for index in range(len(conversion.subgraphs)))
    x = rng.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    (found,) = network(conversion, toys).predict([x.transpose(0, 3, 1, 2)])
    (plain,) = network(run(int8_net()).conversion, toys).predict([x])
    np.testing.assert_array_equal(found, plain.transpose(0, 3, 1, 2))


def test_own_layout_keeps_transposes_inside(run: Run) -> None:
    conversion = run(int8_net(), "data_layout: nhwc").conversion
    assert (conversion.inputs[0].layout, conversion.inputs[0].shape) == ("nhwc", (1, 8, 8, 3))
    assert operators(conversion).count("Transpose") == 2


@pytest.mark.parametrize(
    ("content", "meta", "message"),
    [
        (
            int8_net(),
            "data_layout: nchw\ndelegate: {'*': toynpu, pool: cpu}",
            "'cpu' doesn't support data_layout 'nchw'",
        ),
        (small_net(), "data_layout: nhwc", "data_layout 'nhwc' is not possible for the format onnx"),
        (
            small_net(),
            "inputs: [{preprocess: {type: rgb}}]",
            "input preprocessing 'rgb' cannot be built into a model yet",
        ),
    ],
    ids=["cpu", "onnx", "preprocessing"],
)
def test_what_cannot_be_done_is_refused(run: Run, content: bytes | onnx.ModelProto, meta: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(content, meta)


def test_normalisation_of_the_metafile_reaches_the_description(run: Run) -> None:
    meta = "inputs: [{means: [1, 2, 3], scale: 4, format: rgb}]\noutputs: [{format: scores}]"
    conversion = run(small_net(), meta).conversion
    tensor = conversion.inputs[0]
    assert (tensor.mean, tensor.scale, tensor.data_format) == ((1.0, 2.0, 3.0), 4.0, "rgb")
    assert conversion.outputs[0].data_format == "scores"


def test_tensors_of_64_bits_cannot_cross_to_another_subgraph(run: Run) -> None:
    nodes = [
        node("ArgMax", "x", "i", "argmax", axis=1, keepdims=0),
        node("Gather", "t i", "y", "gather", axis=0),
    ]
    made = model(nodes, [value("x", [1, 6])], [value("y", [1, 2])], {"t": np.ones((6, 2), np.float32)})
    assert types(run(made).conversion) == [("toynpu", "float16", "float16")]
    with pytest.raises(InputError, match="tensor 'i': type int64 cannot cross the boundary"):
        run(made, "delegate: {'*': toynpu, gather: cpu}")


def test_indices_of_32_bits_cross_as_they_are(run: Run, toys: PluginHost, rng: np.random.Generator) -> None:
    nodes = [
        node("ArgMax", "x", "i", "argmax", axis=1, keepdims=1),
        node("Cast", "i", "j", "cast", to=onnx.TensorProto.INT32),
        node("Add", "j j", "k", "add"),
    ]
    made = model(nodes, [value("x", [1, 6])], [value("k", [1, 1], onnx.TensorProto.INT32)])
    conversion = run(made, "delegate: {'*': toynpu, add: cpu}").conversion
    assert types(conversion) == [("toynpu", "float16", "int32"), ("cpu", "int32", "int32")]
    x = rng.normal(size=(1, 6)).astype(np.float32)
    np.testing.assert_array_equal(network(conversion, toys).predict([x])[0], expected(made, [x])[0])


def test_constant_result_of_a_subgraph_is_handed_out(run: Run, toys: PluginHost) -> None:
    nodes = [node("Relu", "x", "a", "one"), node("Shape", "x", "s", "shape"), node("Cast", "s", "c", "cast", to=1)]
    made = model([*nodes, node("Add", "a c", "y", "add")], [value("x", [1, 2])], [value("y", [1, 2])])
    x = np.array([[-1.0, 2.0]], np.float32)
    conversion = run(made, "delegate: {'*': toynpu, add: cpu}").conversion
    np.testing.assert_array_equal(real_outputs(conversion, toys, [x])[0], [[1.0, 4.0]])


def test_constants_beyond_float16_are_reported(run: Run) -> None:
    nodes = [node("Mul", "x w", "y", "scale")]
    made = model(nodes, [value("x", [1, 2])], [value("y", [1, 2])], {"w": np.array([[1e6, 1]], np.float32)})
    (warning,) = run(made).warnings
    assert warning == "layer '@Mul_scale_0' has constants up to 1e+06, more than float16 can hold: they become 65504"


def test_constants_that_are_no_numbers_are_reported_as_such(run: Run) -> None:
    nodes = [node("Mul", "x w", "y", "scale")]
    for items, words in (([np.nan, 1], ["are NaN (not a number)"]), ([np.inf, np.nan], ["are NaN", "infinite const"])):
        made = model(nodes, [value("x", [1, 2])], [value("y", [1, 2])], {"w": np.array([items], np.float32)})
        warnings = run(made).warnings
        assert len(warnings) == len(words)
        assert all(word in warning for word, warning in zip(words, warnings, strict=True))


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ("{'*': toynpu, y: cpu}", [["ABS"], ["DEQUANTIZE", "FULLY_CONNECTED"]]),
        ("{'*': cpu, y: toynpu}", [["ABS"], ["DEQUANTIZE", "FULLY_CONNECTED"]]),
        ("{'*': cpu, w: toynpu}", [["DEQUANTIZE", "ABS", "FULLY_CONNECTED"]]),
    ],
    ids=["npu-cpu", "cpu-npu", "cpu"],
)
def test_layers_that_compute_constants_go_with_those_that_read_them(
    run: Run, toys: PluginHost, rng: np.random.Generator, rules: str, wanted: list[list[str]]
) -> None:
    # Converters store weights in float16, with an operator that widens them.
    build = ModelBuilder()
    half = rng.normal(size=(4, 8)).astype(np.float16)
    x, a = build.tensor("x", (1, 8)), build.tensor("a", (1, 8))
    stored, w = build.constant("half", half), build.tensor("w", (4, 8))
    y = build.tensor("y", (1, 4))
    build.operator("DEQUANTIZE", [stored], [w])
    build.operator("ABS", [x], [a])
    build.operator("FULLY_CONNECTED", [a, w, -1], [y], schema.FullyConnectedOptionsT())
    conversion = run(build.finish([x], [y]), f"delegate: {rules}").conversion
    assert [[layer.type for layer in subgraph.part.layers] for subgraph in conversion.subgraphs] == wanted
    items = rng.normal(size=(1, 8)).astype(np.float32)
    product = np.abs(items) @ half.astype(np.float32).T
    np.testing.assert_allclose(real_outputs(conversion, toys, [items])[0], product, atol=16 * HALF)


def test_variables_stay_with_the_layers_that_use_them(run: Run) -> None:
    # The toy has no variables; that it says so shows that its graph has them.
    with pytest.raises(InputError, match="subgraph_0: it has no variables"):
        run(counter())


def test_delegate_gets_parameters_profiling_and_a_cache(run: Run, toy: ToyNpu, tmp_path: Path) -> None:
    run(chain(["a"]), profiling=True, cache_dir=tmp_path / "cache")
    subgraph = toy.compiled[0]
    assert subgraph.parameters is not None
    assert subgraph.parameters.model_dump() == {"cores": 2}
    assert subgraph.profiling
    assert subgraph.cache is not None
    run(chain(["a"]), "delegate: cpu")
    assert len(toy.compiled) == 1


def test_wrong_parameters_of_a_target_are_an_error_of_its_plugin(run: Run) -> None:
    host = toy_host(ToyNpu(), parameters={"cores": "many"})
    message = "target 'TOY' has wrong parameters for delegate 'toynpu': cores: .*integer.*; report it"
    with pytest.raises(PluginError, match=message):
        run(chain(["a"]), host=host)


def test_listings_of_the_delegate_are_in_the_report(run: Run) -> None:
    text = render_model_info(run(chain(["a", "b"])).conversion)
    assert "Operations:\n\nABS_a_0\nABS_b_1" in text


def test_delegate_that_changes_the_operations_is_found_out(run: Run, toy: ToyNpu) -> None:
    object.__setattr__(toy.delegate, "group", lambda _model, groups, _target, _keep: groups[1:])
    with pytest.raises(PluginError, match="delegate 'toynpu' grouped other nodes than it was given"):
        run(chain(["a", "b"]))


def test_joined_operations_are_asked_about_and_compiled(run: Run, toy: ToyNpu) -> None:
    def joined(_model: object, groups: Sequence[object], *_: object) -> list[object]:
        from synap_core.api import Group, layer_id

        origins = tuple(origin for group in groups for origin in group.origins)  # type: ignore[attr-defined]  # groups
        nodes = tuple(n for group in groups for n in group.nodes)  # type: ignore[attr-defined]  # groups
        return [Group(layer_id=layer_id(origins), nodes=nodes, origins=origins)]

    object.__setattr__(toy.delegate, "group", joined)
    run(chain(["a", "b"]))
    assert toy.asked == [("ABS_a_ABS_b_0", "float16")]
    assert [group.layer_id for group in toy.compiled[0].groups] == ["ABS_a_ABS_b_0"]


def test_native_formats_are_not_compiled_from_canonical_graphs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        pytest.fail("canonical() was called")

    monkeypatch.setattr("synap_frontend_tflite.model.TfliteModel.canonical", forbidden)
    assert run(chain(["a"]), "delegate: cpu").conversion.delegates == ("cpu",)


def test_capabilities_are_those_that_a_delegate_declares(run: Run) -> None:
    host = toy_host(ToyNpu(capabilities=CAPABILITIES - {"dequantize", "layout"}))
    for meta, what in (
        ("outputs: [{dequantize: true}]", "output dequantization"),
        ("data_layout: nchw", "data_layout"),
    ):
        with pytest.raises(InputError, match=f"delegate 'toynpu' doesn't support {what}"):
            run(int8_net(), meta, host=host)
