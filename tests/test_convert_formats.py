"""Caffe networks and frozen TensorFlow graphs, from the command line to results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from synap_core.bundle_writer import pack_bundle
from synap_core.convert import Converted, ConvertRequest, convert
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.network import Network
from tests.support.cli import Synap

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
FORMATS = ("caffe", "tensorflow")
SHAPES = {"caffe": [1, 1, 8, 8], "tensorflow": [1, 8, 8, 1]}


def request(kind: str, folder: Path, meta: str = "", target: str = "SL1620") -> ConvertRequest:
    """The request to convert the digits network of a format."""
    path = folder / "meta.yaml"
    image = f"{{name: image, shape: {SHAPES[kind]}, means: 0, scale: 255}}"
    path.write_text(f"inputs: [{image}]\noutputs: [{{name: probabilities}}]\n{meta}", encoding="utf-8")
    if kind == "caffe":
        files = {"model": DIGITS / "digits.prototxt", "weights": DIGITS / "digits.caffemodel"}
    else:
        files = {"model": DIGITS / "digits.pb"}
    return ConvertRequest(**files, target=target, meta=path)


def images() -> np.ndarray:
    """The sample images, ``(5, 1, 8, 8)`` in 0..1."""
    pixels = [np.asarray(Image.open(path), np.float32)[None] / 255 for path in sorted(DIGITS.glob("*.png"))]
    return np.stack(pixels)


def expected() -> np.ndarray:
    """What the same network gives in ONNX Runtime, ``(5, 10)``."""
    session = ort.InferenceSession(DIGITS / "digits.onnx", providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images()])


def predicted(converted: Converted, *, nhwc: bool) -> np.ndarray:
    """Real numbers of the output for the sample images."""
    (output,) = converted.conversion.outputs
    rows = []
    with Network(pack_bundle(converted.conversion), isolate=False) as net:
        for image in images():
            given = np.ascontiguousarray(image[None].transpose(0, 2, 3, 1)) if nhwc else image[None]
            rows.append(
                net.predict([given.astype(np.float32) if net.inputs[0].dtype == "float32" else _raw(net, given)])
            )
    stored = np.concatenate([row[0] for row in rows]).astype(np.float64)
    if output.quant is None:
        return stored
    return (stored - output.quant.zero_point[0]) * output.quant.scale[0]


def _raw(net: Network, real: np.ndarray) -> np.ndarray:
    quant = net.inputs[0].quant
    assert quant is not None
    limits = np.iinfo(net.inputs[0].dtype)
    units = np.rint(real / quant.scale[0]) + quant.zero_point[0]
    return np.clip(units, limits.min, limits.max).astype(net.inputs[0].dtype)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_network_gives_what_the_same_one_in_onnx_gives(host: PluginHost, tmp_path: Path, kind: str) -> None:
    converted = convert(request(kind, tmp_path), host)
    assert converted.conversion.delegates == ("cpu",)
    assert [a.delegate for a in converted.conversion.artifacts] == ["onnx cpu=1 "]
    assert converted.warnings == ()
    np.testing.assert_allclose(predicted(converted, nhwc=kind == "tensorflow"), expected(), atol=1e-6)


@pytest.mark.parametrize("kind", FORMATS)
def test_layers_can_be_divided_over_delegates(host: PluginHost, tmp_path: Path, kind: str) -> None:
    meta = "delegate: {'*': cpu, conv2: npu}\n"
    converted = convert(request(kind, tmp_path, meta, "VS680"), host)
    assert converted.conversion.delegates == ("cpu", "npu", "cpu")
    np.testing.assert_allclose(predicted(converted, nhwc=kind == "tensorflow"), expected(), atol=0.01)


SCHEMES = {
    "uint8": "data_type: uint8",
    "int8 per channel": "data_type: int8, scheme: perchannel_symmetric_affine",
    "int8": "data_type: int8, scheme: asymmetric_affine",
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_network_is_quantized_for_the_npu(host: PluginHost, tmp_path: Path, kind: str, scheme: str) -> None:
    meta = f"quantization: {{dataset: '{DIGITS}/*.png', {SCHEMES[scheme]}}}\n"
    converted = convert(request(kind, tmp_path, meta, "VS680"), host)
    assert converted.conversion.delegates == ("npu",)
    found = predicted(converted, nhwc=kind == "tensorflow")
    np.testing.assert_array_equal(found.argmax(1), expected().argmax(1))
    np.testing.assert_allclose(found, expected(), atol=0.1)


@pytest.mark.parametrize(("kind", "layout"), [("caffe", "nchw"), ("tensorflow", "nhwc")])
def test_tensors_have_the_layout_of_the_format(host: PluginHost, tmp_path: Path, kind: str, layout: str) -> None:
    converted = convert(request(kind, tmp_path, target="VS680"), host)
    (tensor,) = converted.conversion.inputs
    assert (tensor.layout, tensor.shape) == (layout, (1, 1, 8, 8) if layout == "nchw" else (1, 8, 8, 1))


def test_layout_of_a_graph_can_be_changed_on_the_npu(host: PluginHost, tmp_path: Path) -> None:
    converted = convert(request("tensorflow", tmp_path, "data_layout: nchw\n", "VS680"), host)
    (tensor,) = converted.conversion.inputs
    assert (tensor.layout, tensor.shape) == ("nchw", (1, 1, 8, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "net.caffemodel"],
            "net.caffemodel: these are the weights of a Caffe model; its layers are in another file; give --model net",
        ),
        (["--model", "saved"], "saved: this is a SavedModel, of which the variables are in other files; only frozen "),
        (["--model", "net.meta"], "net.meta: this is a graph that is not frozen, of which the variables are in other "),
        (["--model", "folder"], "folder: this model is a folder; give the file inside it"),
    ],
)
def test_parts_of_models_are_refused_with_advice(
    synap: Synap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.caffemodel", "net.meta"):
        (tmp_path / name).write_bytes(b"\x00")
    (tmp_path / "folder").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").write_bytes(b"\x08\x01")
    result = synap("convert", *arguments, "--target", "SL1620", "--out-dir", tmp_path / "out")
    assert result.code == 1
    assert result.err.startswith(f"Error: {message}")
    assert "freeze it: " in result.err or "frozen" not in message


def test_outputs_without_dimensions_are_refused(host: PluginHost, tmp_path: Path) -> None:
    text = """
        input: "data" input_shape { dim: 1 dim: 4 }
        layer { name: "sum" type: "Reduction" bottom: "data" top: "sum" reduction_param { axis: 0 } }
    """
    path = tmp_path / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="tensor 'sum' has no dimensions .*; cut the model at another tensor"):
        convert(ConvertRequest(model=path, target="SL1620"), host)


def test_shapes_that_are_not_known_are_shown_as_such(synap: Synap, tmp_path: Path) -> None:
    text = """
        input: "data" input_shape { dim: 1 dim: 4 }
        layer { name: "odd" type: "Permute" bottom: "data" top: "odd" }
    """
    (tmp_path / "net.prototxt").write_text(text, encoding="utf-8")
    result = synap("info", tmp_path / "net.prototxt")
    assert result.code == 0
    assert any(line.split()[1:3] == ["odd", "?"] for line in result.out.splitlines() if "odd" in line)


REFERENCES = {
    "caffe/open_nsfw_resnet50_1by2.prototxt": "",
    "caffe/lenet_v1proto.prototxt": "",
    "caffe/lenet_v2proto.prototxt": "",
    "caffe/cifar10_full.prototxt": "",
    "mlperf_tiny_frozen/vww_96_frozen.pb": "[1, 96, 96, 3]",
    "mlperf_tiny_frozen/resnet8_frozen.pb": "[1, 32, 32, 3]",
    "mlperf_tiny_frozen/kws_ref_frozen.pb": "[1, 49, 10, 1]",
    "mlperf_tiny_frozen/ad01_frozen.pb": "[1, 640]",
}
"""Models of the zoo, and the shape of the input where a metafile must give it."""


@pytest.mark.zoo
@pytest.mark.parametrize("name", REFERENCES)
def test_bundles_give_the_reference_outputs(host: PluginHost, zoo: Path, tmp_path: Path, name: str) -> None:
    path, shape = zoo / "models" / name, REFERENCES[name]
    meta = tmp_path / "meta.yaml"
    meta.write_text(f"inputs: [{{name: input, shape: {shape}}}]\noutputs: [{{name: Identity}}]\n", encoding="utf-8")
    weights = None if shape else path.with_suffix(".caffemodel")
    asked = ConvertRequest(model=path, weights=weights, target="SL1620", meta=meta if shape else None)
    converted = convert(asked, host)
    assert converted.conversion.delegates == ("cpu",)
    reference = path.name if shape else f"{path.stem}.caffemodel"
    archive: Mapping[str, np.ndarray] = np.load(zoo / f"reference/{reference}.npz")
    with Network(pack_bundle(converted.conversion), isolate=False) as net:
        for sample in range(3):
            (found,) = net.predict([archive[f"s{sample}_input_0"]])
            exact = archive[f"s{sample}_output_0"].reshape(found.shape)
            # Sums of 640 products reach 7,500 in the autoencoder: float32 rounds them to 5e-4.
            np.testing.assert_allclose(found, exact, rtol=0, atol=1e-4 * max(1, float(np.abs(exact).max())))
            assert found.argmax() == exact.argmax()
