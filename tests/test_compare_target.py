"""``synap compare`` for a target whose delegates quantize: the layers are those of a conversion for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.canonical_models import small_net
from tests.support.cli import Synap
from tests.support.toynpu import ToyNpu, toy_host

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
IMAGES = f"{DIGITS}/*.png"


@pytest.fixture
def metafile(tmp_path: Path) -> Callable[[str], Path]:
    def write(data_type: str) -> Path:
        path = tmp_path / "meta.yaml"
        lines = ["inputs: [{means: 0, scale: 255}]", "outputs: [{name: logits}]"]
        lines.append(f"quantization: {{dataset: '{IMAGES}', data_type: {data_type}}}\n")
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def test_lines_that_are_suggested_for_a_target_convert_for_it(
    synap: Synap, metafile: Callable[[str], Path], tmp_path: Path
) -> None:
    model = ["--model", DIGITS / "digits.onnx", "--target", "VS680"]
    compared = synap("compare", *model, "--meta", metafile("uint8"))
    suggested = re.findall(r"^    ('@[^']+'): int16$", compared.out, re.MULTILINE)
    assert suggested
    # Pooling is done with the convolution in front of it on this target.
    assert any("MaxPool" in layer for layer in re.findall(r"^(\S+) +uint8", compared.out, re.MULTILINE))
    raised = ", ".join(f"{layer}: int16" for layer in suggested)
    converted = synap("convert", *model, "--meta", metafile(f"{{'*': uint8, {raised}}}"), "--out-dir", tmp_path / "out")
    assert converted.code == 0, converted.err
    again = synap("compare", *model, "--meta", metafile(f"{{'*': uint8, {raised}}}"))
    assert _sqnr(again.out) > _sqnr(compared.out) + 3


def _sqnr(text: str) -> float:
    found = re.search(r"^logits +\S+ +([\d.]+)", text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


def test_layers_of_delegates_that_do_not_quantize_have_no_types(synap: Synap, metafile: Callable[[str], Path]) -> None:
    meta = metafile("uint8")
    meta.write_text(f"{meta.read_text()}delegate: {{'*': npu, conv2: cpu, relu2: cpu}}\n", encoding="utf-8")
    found = synap("compare", "--model", DIGITS / "digits.onnx", "--target", "VS680", "--meta", meta)
    assert found.code == 0, found.err
    layers = [line.split()[0] for line in found.out.splitlines() if re.match(r"^\S+ +(uint8|float16)", line)]
    assert any(layer.startswith("Conv_conv1") for layer in layers)
    assert not any(layer.startswith("Conv_conv2") for layer in layers)


def test_layers_that_a_delegate_refuses_are_told(synap: Synap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = toy_host(ToyNpu({"GlobalAveragePool": "it has no means"}))
    monkeypatch.setattr("synap_core.cli.compare.load_host", lambda _: host)
    model, meta = tmp_path / "net.onnx", tmp_path / "meta.yaml"
    model.write_bytes(small_net().SerializeToString())
    meta.write_text("quantization: {dataset: random}\n", encoding="utf-8")
    found = synap("compare", "--model", model, "--meta", meta, "--target", "TOY")
    assert found.code == 0, found.err
    assert "layer 'pool' (GlobalAveragePool) runs on cpu, not on toynpu, because it has no means" in found.err


def test_a_target_without_such_delegates_is_compared_as_one_graph(
    synap: Synap, metafile: Callable[[str], Path]
) -> None:
    found = synap("compare", "--model", DIGITS / "digits.onnx", "--target", "SL1620", "--meta", metafile("uint8"))
    assert found.code == 0, found.err
    assert "Conv_conv1_Relu_relu1_0" in found.out
