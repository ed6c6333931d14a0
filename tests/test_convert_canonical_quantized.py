"""Conversions that quantize for a delegate that compiles canonical graphs, from model and samples to numbers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from PIL import Image

from synap_core.api import Group, Support, Target, quant_of
from synap_core.assign import assign, dequantize
from synap_core.bundle_writer import pack_bundle
from synap_core.conversion import Conversion, Converted
from synap_core.convert import ConvertRequest, convert, write
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.network import Network
from synap_core.payloads import OutputFormat
from synap_core.restrictions import IDLE_ACCURACY
from tests.support.canonical import Reference
from tests.support.canonical_models import IMAGE, detection_like, float_tflite, int8_net, small_net, two_branches
from tests.support.onnx_models import F32, model, node, value
from tests.support.tflite_models import chain
from tests.support.toynpu import CAPABILITIES, ToyNpu, toy_host

Run = Callable[..., Converted]

FAST = "options: {rounding: nearest, bias_correction: false}"
"""Without refinements, which these tests are not about."""

SAMPLES = 6


@pytest.fixture
def toy() -> ToyNpu:
    return ToyNpu()


@pytest.fixture
def toys(toy: ToyNpu) -> PluginHost:
    return toy_host(toy)


@pytest.fixture
def samples(tmp_path: Path) -> list[np.ndarray]:
    """Arrays that the networks take, in a folder."""
    rng = np.random.default_rng(7)
    (tmp_path / "samples").mkdir()
    found = [rng.normal(size=IMAGE).astype(F32) for _ in range(SAMPLES)]
    for number, array in enumerate(found):
        np.save(tmp_path / f"samples/{number}.npy", array)
    return found


@pytest.fixture
def run(toys: PluginHost, tmp_path: Path, samples: list[np.ndarray]) -> Run:
    """Convert the content of a model, quantized as some lines say."""

    def call(
        content: bytes | onnx.ModelProto,
        *quantization: str,
        head: str = "",
        dataset: str = "samples/*.npy",
        host: PluginHost | None = None,
        **settings: object,
    ) -> Converted:
        assert len(samples) == SAMPLES
        data = content if isinstance(content, bytes) else content.SerializeToString()
        path = tmp_path / ("net.tflite" if isinstance(content, bytes) else "net.onnx")
        path.write_bytes(data)
        lines = "".join(f"  {line}\n" for line in (FAST, f"dataset: {dataset}", *quantization))
        (tmp_path / "meta.yaml").write_text(f"{head}\nquantization:\n{lines}", encoding="utf-8")
        request = ConvertRequest(model=path, target="TOY", meta=tmp_path / "meta.yaml", jobs=1, **settings)  # type: ignore[arg-type]  # fields of the request
        return convert(request, host or toys)

    return call


def types(conversion: Conversion) -> list[tuple[str, str, str]]:
    """Delegate, and types of the inputs and outputs of each subgraph."""
    return [
        (delegate, " ".join(t.dtype for t in s.inputs), " ".join(t.dtype for t in s.outputs))
        for delegate, s in zip(conversion.delegates, conversion.subgraphs, strict=True)
    ]


def predicted(conversion: Conversion, host: PluginHost, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    net = Network(pack_bundle(conversion), host=host, isolate=False)
    return [dequantize(array, tensor) for array, tensor in zip(net.predict(inputs), net.outputs, strict=True)]


def expected(made: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def step(conversion: Conversion) -> float:
    """One step of the only output."""
    quant = conversion.outputs[0].quant
    assert quant is not None
    return quant.scale[0] if quant.fractional_length is None else 2.0**-quant.fractional_length


@pytest.mark.parametrize(
    ("lines", "dtype", "steps"),
    [
        (("data_type: uint8",), "uint8", 4),
        (("data_type: int8",), "int8", 4),
        (("data_type: int8", "scheme: perchannel_symmetric_affine"), "int8", 3),
        (("data_type: int16",), "int16", 4),
        (("data_type: uint8", "mode: full"), "uint8", 4),
        (("data_type: uint8", "algorithm: kl_divergence"), "uint8", 12),
    ],
    ids=["uint8", "int8", "per channel", "int16", "full", "kl"],
)
def test_quantized_model_is_a_few_steps_off(
    run: Run, toy: ToyNpu, toys: PluginHost, samples: list[np.ndarray], lines: tuple[str, ...], dtype: str, steps: int
) -> None:
    # Each of five roundings, and those of the weights, move the output by about a step of its own.
    conversion = run(small_net(), *lines).conversion
    assert types(conversion) == [("toynpu", dtype, dtype)]
    assert {asked for _, asked in toy.asked} == {dtype}
    for x in samples:
        difference = predicted(conversion, toys, [x])[0] - expected(small_net(), [x])[0]
        assert np.abs(difference).max() <= steps * step(conversion)


def test_mixed_types_are_converted_inside(run: Run, toy: ToyNpu, toys: PluginHost, samples: list[np.ndarray]) -> None:
    conversion = run(small_net(), "data_type: {'*': uint8, conv2: int16, fc: float16}").conversion
    assert types(conversion) == [("toynpu", "uint8", "float16")]
    asked = {layer_id: dtype for layer_id, dtype in toy.asked if not layer_id.startswith("Convert_")}
    assert asked["Conv_conv2_Relu_relu2_2"] == "int16"
    assert asked["Gemm_fc_6"] == "float16"
    assert {layer_id for layer_id, _ in toy.asked if layer_id.startswith("Convert_")} == {
        "Convert_b_int16",
        "Convert_d_uint8",
        "Convert_f_float16",
    }
    found, wanted = predicted(conversion, toys, [samples[0]])[0], expected(small_net(), [samples[0]])[0]
    np.testing.assert_allclose(found, wanted, atol=0.02)


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (
            "{'*': cpu, conv2: toynpu, relu2: toynpu}",
            [("cpu", "float32", "float32"), ("toynpu", "float32", "float32"), ("cpu", "float32", "float32")],
        ),
        (
            "{'*': toynpu, conv2: cpu}",
            [("toynpu", "uint8", "float32"), ("cpu", "float32", "float32"), ("toynpu", "float32", "uint8")],
        ),
        (
            "{'*': toynpu, conv2: toynpu fast=1}",
            [("toynpu", "uint8", "uint8"), ("toynpu", "uint8", "uint8"), ("toynpu", "uint8", "uint8")],
        ),
    ],
    ids=["cpu-npu-cpu", "npu-cpu-npu", "two kinds of npu"],
)
def test_layers_on_cpu_stay_float32(
    run: Run,
    toy: ToyNpu,
    toys: PluginHost,
    samples: list[np.ndarray],
    rules: str,
    wanted: list[tuple[str, str, str]],
) -> None:
    conversion = run(small_net(), head=f"delegate: {rules}").conversion
    assert types(conversion) == wanted
    pack_bundle(conversion)  # refuses tensors whose ends differ
    for subgraph in toy.compiled:
        graph = subgraph.graph
        assert graph is not None
        ends = {id(v) for v in (*graph.graph.inputs, *graph.graph.outputs)}
        inner = [v for group in subgraph.groups for v in group.nodes[-1].outputs if id(v) not in ends]
        assert all(quant_of(v) is not None for v in inner)
    for x in samples:
        difference = predicted(conversion, toys, [x])[0] - expected(small_net(), [x])[0]
        assert np.abs(difference).max() <= 0.02  # two steps of the unsplit network's output


def test_edge_between_two_types_is_converted_by_its_reader(
    run: Run, toys: PluginHost, samples: list[np.ndarray]
) -> None:
    head = "delegate: {'*': toynpu, conv2: toynpu fast=1}"
    conversion = run(small_net(), "data_type: {'*': uint8, conv2: int16}", head=head).conversion
    assert types(conversion) == [
        ("toynpu", "uint8", "uint8"),
        ("toynpu", "uint8", "int16"),
        ("toynpu", "int16", "uint8"),
    ]
    groups = [[group.layer_id for group in subgraph.groups] for subgraph in conversion.subgraphs]
    assert (groups[1][0], groups[2][0]) == ("Convert_b_int16", "Convert_c_uint8")
    difference = predicted(conversion, toys, [samples[1]])[0] - expected(small_net(), [samples[1]])[0]
    assert np.abs(difference).max() <= 4 * step(conversion)


def test_tensor_read_by_cpu_and_npu_crosses_as_float32(run: Run, toys: PluginHost, samples: list[np.ndarray]) -> None:
    head = "delegate: {'*': toynpu, conv_right: cpu, sigmoid_right: cpu}"
    conversion = run(two_branches(), head=head).conversion
    assert types(conversion) == [
        ("toynpu", "uint8", "float32"),
        ("toynpu", "float32", "uint8"),
        ("cpu", "float32", "float32"),
    ]
    wanted = expected(two_branches(), [samples[0]])
    for found, right in zip(predicted(conversion, toys, [samples[0]]), wanted, strict=True):
        np.testing.assert_allclose(found, right, atol=0.1)


def test_dequantized_output_is_float32(run: Run, toys: PluginHost, samples: list[np.ndarray]) -> None:
    plain = run(small_net()).conversion
    real = run(small_net(), head="outputs: [{dequantize: true}]").conversion
    assert types(real) == [("toynpu", "uint8", "float32")]
    found, stored = (predicted(conversion, toys, [samples[2]])[0] for conversion in (real, plain))
    np.testing.assert_allclose(found, stored, rtol=1e-6)


def test_images_are_assigned_as_the_samples_were_read(run: Run, toys: PluginHost, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    (tmp_path / "images").mkdir()
    images = [rng.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(SAMPLES)]
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(tmp_path / f"images/{number}.png")
    head = "inputs: [{means: [120, 128, 136], scale: 64, format: rgb}]"
    conversion = run(small_net(), head=head, dataset="images/*.png").conversion
    tensor = conversion.inputs[0]
    assert (tensor.dtype, tensor.mean, tensor.scale) == ("uint8", (120.0, 128.0, 136.0), 64.0)
    net = Network(pack_bundle(conversion), host=toys, isolate=False)
    real = (images[0].transpose(2, 0, 1)[None].astype(F32) - np.array([120, 128, 136], F32).reshape(1, 3, 1, 1)) / 64
    (raw,) = net.predict([assign(images[0].transpose(2, 0, 1)[None], net.inputs[0])])
    wanted = expected(small_net(), [real])[0]
    assert np.abs(dequantize(raw, net.outputs[0]) - wanted).max() <= 4 * step(conversion)


def test_layout_of_the_source_does_not_keep_the_ends_from_being_quantized(run: Run) -> None:
    # Movements of the model itself stay float16 at its ends; these transposes are none of its layers.
    conversion = run(float_tflite(), "mode: standard", dataset="random").conversion
    assert types(conversion) == [("toynpu", "uint8", "uint8")]


def test_input_that_is_not_normalised_says_so_in_the_bundle(run: Run) -> None:
    # Runtimes would otherwise infer another normalisation from the quantization.
    tensor = run(small_net()).conversion.inputs[0]
    assert (tensor.mean, tensor.scale) == ((0.0, 0.0, 0.0), 1.0)


def test_other_layout_is_calibrated_with_the_same_samples(run: Run, toys: PluginHost, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    (tmp_path / "nhwc").mkdir()
    arrays = [rng.normal(size=(1, 8, 8, 3)).astype(F32) for _ in range(3)]
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"nhwc/{number}.npy", array)
    plain = run(float_tflite(), dataset="nhwc/*.npy").conversion
    turned = run(float_tflite(), dataset="nhwc/*.npy", head="data_layout: nchw").conversion
    assert turned.inputs[0].shape == (1, 3, 8, 8)
    assert turned.inputs[0].quant == plain.inputs[0].quant
    assert turned.outputs[0].quant == plain.outputs[0].quant
    (found,) = predicted(turned, toys, [arrays[0].transpose(0, 3, 1, 2)])
    wanted = Reference(float_tflite())([arrays[0]])[0]
    assert np.abs(found - wanted.transpose(0, 3, 1, 2)).max() <= 3 * step(turned)


def test_reports_are_written_beside_the_bundle(run: Run, toys: PluginHost, tmp_path: Path) -> None:
    converted = run(small_net(), "algorithm: kl_divergence")
    files = write(converted.conversion, toys.find(OutputFormat, "synap"), tmp_path / "out", toys).files
    assert {path.name for path in files} == {
        "model.synap",
        "model_info.txt",
        "quantization_info.yaml",
        "quantization_entropy.txt",
    }
    info = yaml.safe_load((tmp_path / "out/quantization_info.yaml").read_text(encoding="utf-8"))
    assert "@Conv_conv1_Relu_relu1_0:out0" in json.dumps(info)


def test_type_of_a_layer_on_cpu_has_no_effect(run: Run) -> None:
    converted = run(small_net(), "data_type: {'*': uint8, conv2: int16}", head="delegate: {'*': toynpu, conv2: cpu}")
    (warning,) = converted.warnings
    assert warning.endswith("int16 has no effect on layer '@Conv_conv2_2', which runs as the model says")
    assert not run(small_net(), head="delegate: {'*': toynpu, conv2: cpu}").warnings


def test_report_lists_only_what_is_quantized(run: Run) -> None:
    listings = run(small_net(), head="delegate: {'*': toynpu, conv2: cpu}").conversion.listings
    text = listings["quantization_info.yaml"]
    assert "Conv_conv1" in text
    assert "Conv_conv2" not in text


def test_second_conversion_takes_the_calibration_from_the_cache(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="synap_core")
    first = run(small_net(), cache_dir=tmp_path / "cache").conversion
    assert "calibration is taken from the cache" not in caplog.text
    second = run(small_net(), cache_dir=tmp_path / "cache").conversion
    assert "calibration is taken from the cache" in caplog.text
    assert pack_bundle(first) == pack_bundle(second)
    caplog.clear()
    run(small_net(), cache_dir=tmp_path / "cache", head="delegate: {'*': toynpu, conv2: cpu}")
    assert "calibration is taken from the cache" not in caplog.text


def test_wanted_accuracy_raises_layers(run: Run, toys: PluginHost, samples: list[np.ndarray]) -> None:
    converted = run(small_net(), target_accuracy=45.0)
    raised = [note for note in converted.conversion.notes if "is raised to int16" in note]
    assert raised
    signal, noise = 0.0, 0.0
    for x in samples:
        wanted = expected(small_net(), [x])[0]
        signal += float(np.square(wanted).sum())
        noise += float(np.square(predicted(converted.conversion, toys, [x])[0] - wanted).sum())
    assert 10 * np.log10(signal / noise) >= 45.0


def test_layers_are_only_raised_to_types_that_the_delegate_has(run: Run) -> None:
    class NoWideConvolutions(ToyNpu):
        def _operations(self, group: Group, dtype: str, target: Target) -> Support:
            if dtype == "int16" and group.nodes[0].op_type == "Conv":
                return Support(ok=False, reason="it has no int16")
            return super()._operations(group, dtype, target)

    toy = NoWideConvolutions()
    converted = run(small_net(), target_accuracy=30.0, host=toy_host(toy))
    raised = [note for note in converted.conversion.notes if "is raised to" in note]
    assert not any("Conv_" in note and "int16" in note for note in raised)
    assert types(converted.conversion)[0][0] == "toynpu"


def test_accuracy_without_a_quantization_has_no_effect(run: Run, toys: PluginHost, tmp_path: Path) -> None:
    (tmp_path / "plain.onnx").write_bytes(small_net().SerializeToString())
    converted = convert(ConvertRequest(model=tmp_path / "plain.onnx", target="TOY", target_accuracy=40.0), toys)
    assert converted.warnings == (IDLE_ACCURACY,)
    assert run is not None


def test_opaque_layer_in_front_of_what_is_quantized_is_named(run: Run) -> None:
    head = "delegate: {'*': toynpu, b: cpu}"
    message = (
        r"samples cannot pass through layers in front of those that are to be quantized: 'b' .*begin the model behind"
    )
    with pytest.raises(InputError, match=message):
        run(detection_like(), head=head, dataset="random")


def test_opaque_layer_behind_what_is_quantized_does_not_matter(run: Run) -> None:
    conversion = run(detection_like(), head="delegate: {'*': cpu, a: toynpu}", dataset="random").conversion
    assert types(conversion) == [("toynpu", "uint8", "float32"), ("cpu", "float32", "float32")]


def test_quantized_model_is_not_quantized_again(run: Run) -> None:
    with pytest.raises(InputError, match="the model is quantized already: layer 'conv'"):
        run(int8_net(), dataset="random")


def test_quantization_needs_one_delegate_that_can(run: Run) -> None:
    with pytest.raises(InputError, match="delegate 'cpu' doesn't support quantization .*; assign the layers to toynpu"):
        run(chain(["a"]), head="delegate: cpu", dataset="random")
    host = toy_host(ToyNpu(capabilities=CAPABILITIES - {"quantization"}))
    with pytest.raises(InputError, match="no installed delegate of TOY offers it"):
        run(chain(["a"]), dataset="random", host=host)


def test_refusal_depends_on_the_data_type(run: Run) -> None:
    class NoInt16(ToyNpu):
        def _operations(self, group: Group, dtype: str, target: Target) -> Support:
            if dtype == "int16":
                return Support(ok=False, reason="it has no int16")
            return super()._operations(group, dtype, target)

    assert types(run(small_net(), host=toy_host(NoInt16())).conversion) == [("toynpu", "uint8", "uint8")]
    mixed = "data_type: {'*': uint8, conv2: int16}"
    with pytest.raises(InputError, match=r"'conv2' \(Conv\), because it has no int16"):
        run(small_net(), mixed, host=toy_host(NoInt16()))
    converted = run(small_net(), mixed, host=toy_host(NoInt16()), fallback="cpu")
    assert converted.conversion.delegates == ("toynpu", "cpu", "toynpu")


def test_refused_conversion_is_that_of_the_layers_that_read_it(run: Run) -> None:
    class NoConversions(ToyNpu):
        def _operations(self, group: Group, dtype: str, target: Target) -> Support:
            if group.layer_id.startswith("Convert_"):
                return Support(ok=False, reason="it cannot convert")
            return super()._operations(group, dtype, target)

    mixed = "data_type: {'*': uint8, conv2: int16}"
    message = r"\d layers cannot run on toynpu: 'conv2' \(Conv\), because it cannot convert; .*'pool'"
    with pytest.raises(InputError, match=message):
        run(small_net(), mixed, host=toy_host(NoConversions()))


def test_weights_of_layers_on_cpu_cannot_be_evened_out(run: Run, tmp_path: Path) -> None:
    # Evening out scales the channels of one convolution up and those of the next one down.
    rng = np.random.default_rng(10)
    uneven = np.geomspace(0.01, 1, 8, dtype=F32).reshape(8, 1, 1, 1)
    constants = {
        "w1": (rng.normal(0, 0.4, (8, 3, 3, 3)) * uneven).astype(F32),
        "w2": rng.normal(0, 0.2, (8, 8, 3, 3)).astype(F32),
    }
    nodes = [
        node("Conv", "x w1", "a", "conv1", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b", "relu"),
        node("Conv", "b w2", "y", "conv2", pads=[1, 1, 1, 1]),
    ]
    made = model(nodes, [value("x", IMAGE)], [value("y", [1, 8, 8, 8])], constants)
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    section = "quantization: {dataset: samples/*.npy, options: {equalize: true}}"
    (tmp_path / "even.yaml").write_text(f"delegate: {{'*': toynpu, conv2: cpu}}\n{section}", encoding="utf-8")
    request = ConvertRequest(model=tmp_path / "net.onnx", target="TOY", meta=tmp_path / "even.yaml")
    with pytest.raises(InputError, match="changes weights of layers that run in the source format"):
        convert(request, toy_host(ToyNpu()))
    assert run is not None
