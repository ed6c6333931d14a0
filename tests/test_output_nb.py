"""The legacy output format: one compiled model with its metadata beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synap_core.convert import ConvertRequest, convert, write
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.network import Network
from synap_core.payloads import OutputFormat
from tests.support.canonical_models import int8_net
from tests.support.cli import Synap
from tests.support.tflite_models import chain, dense3
from tests.support.toynpu import ToyNpu, toy_host

Write = Callable[..., tuple[Path, ...]]


@pytest.fixture
def nb_host() -> PluginHost:
    return toy_host(ToyNpu(model_file="model.nb"))


@pytest.fixture
def written(nb_host: PluginHost, tmp_path: Path) -> Write:
    """Convert a model and write it; gives the files."""

    def call(content: bytes, meta: str = "", host: PluginHost | None = None) -> tuple[Path, ...]:
        (tmp_path / "net.tflite").write_bytes(content)
        (tmp_path / "meta.yaml").write_text(meta)
        request = ConvertRequest(model=tmp_path / "net.tflite", target="TOY", meta=tmp_path / "meta.yaml")
        used = host or nb_host
        conversion = convert(request, used).conversion
        return write(conversion, used.find(OutputFormat, "nb"), tmp_path / "out", used).files

    return call


def test_one_compiled_model_and_its_metadata_are_written_and_run(
    written: Write, nb_host: PluginHost, rng: np.random.Generator
) -> None:
    files = written(dense3(rng))
    assert [path.name for path in files] == ["model.nb", "model.json", "model_info.txt"]
    meta = json.loads(files[1].read_text(encoding="utf-8"))
    assert list(meta) == ["Inputs", "Outputs", "Recurrent_connections", "secure", "delegate"]
    (tensor,) = meta["Inputs"].values()
    assert (tensor["dtype"], tensor["shape"], tensor["format"], tensor["data_format"]) == (
        "float16",
        [1, 1],
        "nhwc",
        "",
    )
    assert (meta["Recurrent_connections"], meta["secure"]) == ({}, False)
    net = Network(files[0], files[1], host=nb_host, isolate=False)
    assert net.predict([np.ones((1, 1), np.float32)])[0].shape == (1, 1)


def test_quantization_is_in_the_metadata(written: Write) -> None:
    meta = json.loads(written(int8_net())[1].read_text(encoding="utf-8"))
    (tensor,) = meta["Outputs"].values()
    assert tensor["quantizer"] == "asymmetric_affine"
    assert tensor["quantize"]["qtype"] == "int8"
    assert tensor["quantize"]["scale"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (
            "delegate: {'*': toynpu, b: cpu}",
            r"the model became 2 subgraphs \(toynpu, cpu\); --out-format nb holds only one",
        ),
        ("delegate: cpu", "delegate 'cpu' makes 'subgraph_0.tflite'; --out-format nb holds only a 'model.nb'"),
    ],
    ids=["several", "native"],
)
def test_anything_else_is_refused_with_advice(written: Write, tmp_path: Path, meta: str, message: str) -> None:
    with pytest.raises(InputError, match=f"{message}; assign all layers to .*--out-format synap"):
        written(chain(["a", "b"]), meta)
    assert not (tmp_path / "out" / "model.nb").exists()


def test_reports_of_a_quantization_are_written(written: Write, tmp_path: Path) -> None:
    files = written(chain(["a", "b"]), "quantization: {dataset: random}")
    assert [path.name for path in files][-1] == "quantization_info.yaml"
    assert [path.name for path in written(chain(["a", "b"]))] == ["model.nb", "model.json", "model_info.txt"]
    assert not (tmp_path / "out" / "quantization_info.yaml").exists()


@pytest.mark.acceptance("E18")
def test_e18_float_model_for_the_npu_has_ends_of_float16(synap: Synap, dense3_file: Path, out: Path) -> None:
    result = synap("convert", "--model", dense3_file, "--target", "VS680", "--out-dir", out, "--out-format", "nb")
    assert result.code == 0, result.err
    assert (out / "model.nb").is_file()
    meta = json.loads((out / "model.json").read_text(encoding="utf-8"))
    for tensors in (meta["Inputs"], meta["Outputs"]):
        (tensor,) = tensors.values()
        assert {key: tensor[key] for key in ("dtype", "shape", "format", "data_format")} == {
            "dtype": "float16",
            "shape": [1, 1],
            "format": "nhwc",
            "data_format": "",
        }
    assert (meta["secure"], meta["delegate"], meta["Recurrent_connections"]) == (False, "npu", {})
    net = Network(out / "model.nb", out / "model.json", isolate=False)
    assert net.predict([np.ones((1, 1), np.float32)])[0].dtype == np.float16


@pytest.mark.acceptance("E15")
@pytest.mark.parametrize("meta", ["outputs: [{dequantize: true}]", "inputs: [{}]\nquantization: {dataset: random}"])
def test_e15_what_cpu_cannot_do_is_refused_in_this_format_too(
    synap: Synap, dense3_file: Path, out: Path, tmp_path: Path, meta: str
) -> None:
    (tmp_path / "m.yaml").write_text(f"delegate: cpu\n{meta}", encoding="utf-8")
    arguments = ["--target", "VS680", "--out-dir", out, "--out-format", "nb", "--meta", tmp_path / "m.yaml"]
    result = synap("convert", "--model", dense3_file, *arguments)
    assert result.code == 1
    assert "delegate 'cpu' doesn't support" in result.error
