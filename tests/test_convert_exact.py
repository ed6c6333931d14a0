"""Delegates that compute in float32 what the canonical graph says, for formats that they do not run as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from synap_core.bundle_writer import pack_bundle
from synap_core.convert import Converted, ConvertRequest, convert
from synap_core.errors import InputError, PluginError
from synap_core.network import Network
from synap_core.payloads import Delegate
from tests.support.canonical import Reference
from tests.support.canonical_models import detection_like, int8_net, small_net
from tests.support.foreign import MAGIC, SUFFIX, add_foreign
from tests.support.onnx_models import model, node, value
from tests.support.tflite_models import chain, counter
from tests.support.toynpu import ToyNpu, toy_host

Run = Callable[..., Converted]

DATASET = "quantization: {dataset: '*.npy', data_type: int8, scheme: asymmetric_affine}\n"


@pytest.fixture
def run(tmp_path: Path, rng: np.random.Generator) -> Run:
    """Convert a model of the foreign format; there are samples for one input of ``[1, 3, 8, 8]``."""
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", rng.normal(size=(1, 3, 8, 8)).astype(np.float32))

    def call(
        content: bytes | onnx.ModelProto, meta: str = "", target: str = "TOY", fallback: str | None = None,
        refuses: dict[str, str] | None = None,
    ) -> Converted:  # fmt: skip
        path, text = tmp_path / f"net{SUFFIX}", tmp_path / "meta.yaml"
        path.write_bytes(MAGIC + (content if isinstance(content, bytes) else content.SerializeToString()))
        text.write_text(meta, encoding="utf-8")
        request = ConvertRequest(model=path, target=target, meta=text if meta else None, fallback=fallback)
        return convert(request, add_foreign(toy_host(ToyNpu(refuses))))

    return call


def predict(converted: Converted, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    net = Network(pack_bundle(converted.conversion), host=toy_host(ToyNpu()), isolate=False)
    return list(net.predict(inputs))


def image(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(1, 3, 8, 8)).astype(np.float32)


def reference(proto: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(zip([i.name for i in session.get_inputs()], inputs, strict=True))))


def operators(converted: Converted, index: int) -> set[str]:
    proto = onnx.load_from_string(converted.conversion.artifacts[index].model)
    onnx.checker.check_model(proto, full_check=True)
    # What the ONNX Runtime of the boards loads.
    assert (proto.ir_version, proto.opset_import[0].version) <= (9, 19)
    return {node.op_type for node in proto.graph.node}


def test_model_of_another_format_runs_on_cpu_in_float32(run: Run, rng: np.random.Generator) -> None:
    converted = run(small_net(), "delegate: cpu")
    (artifact,) = converted.conversion.artifacts
    assert (artifact.model_file, artifact.delegate) == ("subgraph_0.onnx", "onnx cpu=1 ")
    assert [(t.name, t.dtype, t.quant) for t in (*artifact.inputs, *artifact.outputs)] == [
        ("x", "float32", None),
        ("y", "float32", None),
    ]
    x = image(rng)
    np.testing.assert_allclose(predict(converted, [x])[0], reference(small_net(), [x])[0], rtol=1e-5, atol=1e-6)
    assert converted.warnings == ()


def test_nodes_are_named_after_their_layers(run: Run) -> None:
    (artifact,) = run(small_net(), "delegate: cpu").conversion.artifacts
    names = [node.name for node in onnx.load_from_string(artifact.model).graph.node]
    assert names == ["conv1", "relu1", "conv2", "relu2", "pool", "flatten", "fc"]


def test_layers_on_cpu_stay_in_float32_beside_others_in_float16(run: Run, rng: np.random.Generator) -> None:
    converted = run(small_net(), "delegate: {'*': toynpu, conv2: cpu, relu2: cpu}")
    assert converted.conversion.delegates == ("toynpu", "cpu", "toynpu")
    middle = converted.conversion.artifacts[1]
    assert {t.dtype for t in (*middle.inputs, *middle.outputs)} == {"float32"}
    assert operators(converted, 1) == {"Conv", "Relu"}
    assert "Cast" in operators(converted, 0)
    x = image(rng)
    np.testing.assert_allclose(predict(converted, [x])[0], reference(small_net(), [x])[0], rtol=0.01, atol=0.01)


def test_layers_on_cpu_are_not_quantized_with_the_others(run: Run, rng: np.random.Generator) -> None:
    meta = "delegate: {'*': toynpu, conv2: cpu, relu2: cpu}\n" + DATASET
    converted = run(small_net(), meta)
    assert operators(converted, 1) == {"Conv", "Relu"}
    assert "QuantizeLinear" in operators(converted, 0)
    middle = converted.conversion.artifacts[1]
    assert [(t.dtype, t.quant) for t in (*middle.inputs, *middle.outputs)] == [("float32", None)] * 2
    x = image(rng)
    (result,), (expected,) = predict(converted, [x]), reference(small_net(), [x])
    np.testing.assert_allclose(
        result.astype(np.float32) if result.dtype == np.float32 else _real(converted, result), expected, atol=0.1
    )


def _real(converted: Converted, stored: np.ndarray) -> np.ndarray:
    quant = converted.conversion.outputs[0].quant
    assert quant is not None
    return (stored.astype(np.float64) - quant.zero_point[0]) * quant.scale[0]


def test_a_type_for_a_layer_on_cpu_has_no_effect(run: Run) -> None:
    rules = DATASET.replace("data_type: int8", "data_type: {'*': int8, conv2: int16}")
    rules = rules.replace(", scheme: asymmetric_affine", "")
    converted = run(small_net(), "delegate: {'*': toynpu, conv2: cpu}\n" + rules)
    (warning,) = converted.warnings
    assert "int16 has no effect on layer '@Conv_conv2_2', which runs as the model says" in warning


def test_quantization_needs_a_layer_that_can_be_quantized(run: Run) -> None:
    with pytest.raises(InputError, match="delegate 'cpu' doesn't support quantization"):
        run(small_net(), "delegate: cpu\n" + DATASET)


def test_integers_of_a_quantized_model_stay_at_its_boundary(run: Run, rng: np.random.Generator) -> None:
    converted = run(int8_net(), "delegate: cpu")
    x = rng.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    result, expected = predict(converted, [x])[0], Reference(int8_net())([x])[0]
    assert result.dtype == np.int8
    # The convolution and the sum behind it can each be a unit off: the kernels round in integers.
    assert np.abs(result.astype(int) - expected.astype(int)).max() <= 2


def test_refused_layers_fall_back_to_cpu(run: Run, rng: np.random.Generator) -> None:
    refuses = {"GlobalAveragePool": "it has no means"}
    with pytest.raises(InputError, match="it has no means; run them on cpu: --fallback cpu does it"):
        run(small_net(), refuses=refuses)
    converted = run(small_net(), refuses=refuses, fallback="cpu")
    assert converted.conversion.delegates == ("toynpu", "cpu", "toynpu")
    assert converted.warnings == (
        "layer 'pool' (GlobalAveragePool) runs on cpu, not on toynpu, because it has no means",
    )
    x = image(rng)
    np.testing.assert_allclose(predict(converted, [x])[0], reference(small_net(), [x])[0], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("fallback", ["cpu", None])
def test_layers_that_no_graph_expresses_run_nowhere(run: Run, fallback: str | None) -> None:
    message = "'b' .*it cannot be expressed in ONNX operators.*; end the model in front of them, with 'outputs'"
    with pytest.raises(InputError, match=message):
        run(detection_like(), fallback=fallback)


def test_only_formats_of_the_graph_run_on_gpu(run: Run) -> None:
    with pytest.raises(InputError, match="cannot run on gpu because it runs the formats onnx, tflite, not foreign"):
        run(chain(["a"]), "delegate: gpu")


def test_variables_are_refused(run: Run) -> None:
    with pytest.raises(InputError, match="layers that keep variables cannot run as plain operators: .*'old'"):
        run(counter(), "delegate: cpu")


def test_input_that_both_read_is_float32_for_both(run: Run, rng: np.random.Generator) -> None:
    nodes = [node("Sigmoid", "x", "a", "left"), node("Tanh", "x", "b", "right"), node("Add", "a b", "y", "sum")]
    net = model(nodes, [value("x", [1, 3, 8, 8])], [value("y", [1, 3, 8, 8])])
    converted = run(net, "delegate: {'*': toynpu, right: cpu}\n" + DATASET)
    assert converted.conversion.inputs[0].dtype == "float32"
    on_cpu = converted.conversion.delegates.index("cpu")
    assert operators(converted, on_cpu) == {"Tanh"}
    x = image(rng)
    np.testing.assert_allclose(_real(converted, predict(converted, [x])[0]), reference(net, [x])[0], atol=0.05)


def test_a_delegate_in_float32_cannot_quantize() -> None:
    with pytest.raises(PluginError, match="computes in float32, so it cannot declare to quantize"):
        _delegate("float32", frozenset({"quantization"}))
    with pytest.raises(PluginError, match="has the real type 'bfloat16', not float16 or float32"):
        _delegate("bfloat16", frozenset())


def _delegate(real_type: str, capabilities: frozenset[str]) -> Delegate:
    def nothing(*_: object) -> None:
        """Is never called."""

    return Delegate(
        name="d",
        summary="d",
        formats=frozenset(),
        support=nothing,  # type: ignore[arg-type]  # never called
        compile=nothing,  # type: ignore[arg-type]  # never called
        capabilities=capabilities,
        real_type=real_type,
    )
