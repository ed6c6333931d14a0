"""``synap compare``."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from synap_core.cli.compare import SAME_DATA, command
from synap_core.cli.shell import run_command
from synap_core.request import ConvertRequest
from tests.support.cli import Result, Synap
from tests.support.comparison import ListRunner, MinMaxQuantizer, Network

Compare = Callable[..., Result]


def small_graph(rng: np.random.Generator) -> tuple[ir.Model, ListRunner]:
    net = Network(rng, (1, 16))
    y = net.x
    for number in range(4):
        weights = rng.normal(size=(16, 16)) / 4
        if number == 2:
            weights[0, 0] *= 40
        y = net.dense(y, 16, weights)
    return net.finish(y), ListRunner(net.samples(12))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> list[tuple[object, dict[str, object]]]:
    """A pipeline that quantizes a small graph, whatever the model is, and remembers what it was asked."""
    calls: list[tuple[object, dict[str, object]]] = []
    graph, runner = small_graph(rng)

    def open_quantizer(request: object, _: object, **settings: object) -> MinMaxQuantizer:
        calls.append((request, settings))
        return MinMaxQuantizer(graph, runner)

    module = types.ModuleType("pipeline")
    module.open_quantizer = open_quantizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "synap_core.quantization.pipeline", module)
    return calls


@pytest.fixture
def compare(synap: Synap, tmp_path: Path) -> Compare:
    def run(*args: object) -> Result:
        def entry(words: list[str]) -> object:
            return run_command(command, words, "synap compare")

        return synap("--model", tmp_path / "net.onnx", "--meta", tmp_path / "meta.yaml", *args, entry=entry)

    return run


def columns(lines: Sequence[str]) -> list[list[str]]:
    return [re.split(r"  +", line) for line in lines]


def test_layers_are_listed_by_damage(asked: list[object], compare: Compare) -> None:
    result = compare()
    assert result.code == 0
    lines = result.out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("LAYER"))
    rows = columns(lines[start : lines.index("", start)])
    assert rows[0] == ["LAYER", "TYPE", "COSINE", "SQNR", "MAX ERROR", "ALONE", "DAMAGE"]
    assert rows[1][:2] == ["Gemm_n2_2", "uint8"]
    damages = [float(row[-1]) for row in rows[1:]]
    assert damages == sorted(damages)
    assert len(damages) == 5
    assert "Outputs, on 10 samples:" in lines
    assert "    '@Gemm_n2_2': int16" in lines
    assert len(asked) == 1


def test_data_of_the_metafile_is_used_with_a_warning_that_figures_are_optimistic(
    asked: list[tuple[object, dict[str, object]]], compare: Compare, tmp_path: Path
) -> None:
    assert f"Note: {SAME_DATA}" in compare().out
    assert "optimistic" in SAME_DATA
    (tmp_path / "one.jpg").touch()
    pattern = f"{tmp_path}/*.jpg"
    assert "Note" not in compare(pattern, "random").out
    assert [settings["samples"] for _, settings in asked] == [(), (pattern, "random")]


@pytest.mark.usefixtures("asked")
def test_number_of_samples_can_be_chosen(compare: Compare) -> None:
    assert "on 1 sample:" in compare("--samples", 1).out
    assert "on 12 samples:" in compare("--samples", 100).out


def test_request_names_what_to_quantize(
    asked: list[tuple[object, dict[str, object]]], compare: Compare, tmp_path: Path
) -> None:
    words = ["--weights", "w.bin", "--frontend", "onnx", "--target", "SL1680", "--jobs", 3, "--cache-dir", "kept"]
    assert compare(*words).code == 0
    expected = ConvertRequest(
        model=tmp_path / "net.onnx",
        meta=tmp_path / "meta.yaml",
        weights=Path("w.bin"),
        frontend="onnx",
        target="SL1680",
        whole_graph=True,
        jobs=3,
        cache_dir=Path("kept"),
    )
    assert [request for request, _ in asked] == [expected]


@pytest.mark.usefixtures("asked")
def test_only_the_worst_layers_are_printed_on_demand(compare: Compare) -> None:
    out = compare("--top", 2).out
    assert "... and 3 layers that lose less" in out
    assert "... and 1 layer that loses less" in compare("--top", 4).out
    assert "Gemm_n2_2" in out


@pytest.mark.usefixtures("asked")
def test_without_layers_alone_two_columns_are_empty(compare: Compare) -> None:
    out = compare("--no-alone").out
    line = next(line for line in out.splitlines() if line.startswith("Gemm_n2_2"))
    assert len(re.split(r"  +", line)) == 5
    assert "nothing can be suggested" in out


@pytest.mark.usefixtures("asked")
def test_json_is_one_document(compare: Compare, tmp_path: Path) -> None:
    result = compare("--json", "--html", tmp_path / "page.html")
    data = json.loads(result.out)
    assert data["model"] == str(tmp_path / "net.onnx")
    assert data["notes"] == [SAME_DATA]
    assert data["layers"][0]["layer_id"] == "Gemm_n2_2"
    assert data["suggestion"]["layers"]["Gemm_n2_2"] == "int16"
    assert data["samples"] == 10
    assert (tmp_path / "page.html").is_file()


@pytest.mark.usefixtures("asked")
def test_page_is_written_and_mentioned(compare: Compare, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    out = compare("--html", page).out
    assert f"{page}: {page.stat().st_size:,} bytes" in out.splitlines()
    text = page.read_text(encoding="utf-8")
    assert "Quantization accuracy of net.onnx" in text
    assert "uint8: 5 layers and inputs" in text
    assert SAME_DATA in text


def test_a_page_that_cannot_be_written_is_told_before_the_work(
    asked: list[object], compare: Compare, tmp_path: Path
) -> None:
    result = compare("--html", tmp_path / "missing" / "page.html")
    assert result.code == 1
    assert "there is no folder" in result.error
    assert asked == []


@pytest.mark.usefixtures("asked")
def test_a_folder_in_place_of_the_page_is_an_error(compare: Compare, tmp_path: Path) -> None:
    result = compare("--html", tmp_path)
    assert result.code == 1
    assert "cannot write the page" in result.error


def quantizable(folder: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """A model, samples beside it, and a metafile to quantize it with."""
    graph, runner = small_graph(rng)
    model, meta = folder / "net.onnx", folder / "meta.yaml"
    model.write_bytes(ir.to_proto(graph).SerializeToString())
    for name in ("used", "other"):
        (folder / name).mkdir()
    for number, feeds in enumerate(runner.samples(range(12))):
        np.save(folder / ("used" if number < 8 else "other") / f"{number}.npy", feeds["x"])
    meta.write_text("quantization:\n  data_type: uint8\n  dataset: used/*.npy\n", encoding="utf-8")
    return model, meta


def compared(synap: Synap, *args: object) -> dict[str, object]:
    def entry(words: list[str]) -> object:
        return run_command(command, words, "synap compare")

    result = synap(*args, "--json", entry=entry)
    assert result.code == 0, result.err
    data: dict[str, object] = json.loads(result.out)
    return data


def refused(synap: Synap, *args: object) -> str:
    result = synap(*args, entry=lambda words: run_command(command, words, "synap compare"))
    assert result.code == 1
    return result.error


def test_a_pattern_that_the_shell_replaced_is_told_to_be_put_in_quotes(
    synap: Synap, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, meta = quantizable(tmp_path, rng)
    files = sorted((tmp_path / "other").iterdir())
    assert refused(synap, "--model", model, "--meta", meta, *files) == (
        f"Error: {len(files)} SAMPLES for 1 input(s) of the model; put the pattern in quotes, "
        f'"{tmp_path}/other/*.npy" for example: without them the shell makes file names of it'
    )


def test_patterns_for_another_number_of_inputs_are_not_taken_for_files(
    synap: Synap, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, meta = quantizable(tmp_path, rng)
    error = refused(synap, "--model", model, "--meta", meta, tmp_path / "other/*", tmp_path / "used/*")
    assert error == "Error: 2 SAMPLES for 1 input(s) of the model; give one pattern, in quotes, for each input"


def test_samples_that_are_not_there_are_told_without_the_metafile(
    asked: list[object], compare: Compare, tmp_path: Path
) -> None:
    result = compare(tmp_path / "none/*.npy")
    assert result.error == f"Error: no file matches the samples '{tmp_path}/none/*.npy'; relative names start here"
    assert compare(tmp_path).error == f"Error: no file matches the samples '{tmp_path}'; give files, not folders"
    assert asked == []


def test_samples_of_another_kind_are_told_without_the_metafile(
    synap: Synap, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, meta = quantizable(tmp_path, rng)
    (tmp_path / "image.png").touch()
    error = refused(synap, "--model", model, "--meta", meta, tmp_path / "image.png")
    assert error.startswith("Error: input 'x' (1x16) takes no images: ")


def test_data_set_of_the_metafile_is_blamed_where_it_is_wrong(
    synap: Synap, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, meta = quantizable(tmp_path, rng)
    meta.write_text("quantization: {dataset: [used/*.npy, other/*.npy]}", encoding="utf-8")
    error = refused(synap, "--model", model, "--meta", meta, tmp_path / "other/*.npy")
    assert error.startswith(f"Error: {meta}:1:")
    assert "the model has 1 input(s) but there are 2 quantization dataset(s)" in error


@pytest.mark.parametrize("folder", ["used", "other"])
def test_figures_of_outputs_are_those_of_the_written_model(
    folder: str, synap: Synap, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, meta = quantizable(tmp_path, rng)
    files = [] if folder == "used" else [tmp_path / folder / "*.npy"]
    data = compared(synap, "--model", model, "--meta", meta, *files)
    out = tmp_path / "out"
    words = ["--model", model, "--meta", meta, "--target", "GENERIC", "--out-dir", out, "--out-format", "onnx"]
    assert synap("convert", *words).code == 0
    # Pairs of QuantizeLinear and DequantizeLinear would otherwise become integer kernels that round on their own.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    sessions = [onnxruntime.InferenceSession(path, options) for path in (model, out / "model.onnx")]
    samples = [np.load(path) for path in sorted((tmp_path / folder).glob("*.npy"))]
    y, q = (np.stack([session.run(None, {"x": x})[0] for x in samples]).astype(np.float64) for session in sessions)
    (output,) = data["outputs"]  # type: ignore[misc]  # JSON
    # What is written holds the same numbers; sums of float32 may come in another order.
    assert output["sqnr_db"] == pytest.approx(10 * np.log10(np.sum(y**2) / np.sum((y - q) ** 2)), abs=0.05)
    assert output["cosine"] == pytest.approx(np.vdot(y, q) / np.linalg.norm(y) / np.linalg.norm(q), abs=1e-4)
    assert output["max_error"] == pytest.approx(np.max(np.abs(y - q)), rel=0.05)
    assert data["samples"] == len(samples)


def test_suggested_lines_improve_the_model(synap: Synap, tmp_path: Path, rng: np.random.Generator) -> None:
    model, meta = quantizable(tmp_path, rng)
    before = compared(synap, "--model", model, "--meta", meta)
    lines = before["suggestion"]["metafile"]  # type: ignore[index]  # JSON
    meta.write_text(f"{lines}\n  dataset: used/*.npy\n", encoding="utf-8")
    after = compared(synap, "--model", model, "--meta", meta, "--no-alone")
    ratios = [data["outputs"][0]["sqnr_db"] for data in (before, after)]  # type: ignore[index]  # JSON
    assert ratios[1] > ratios[0] + 1


def test_a_metafile_without_quantization_is_an_error(synap: Synap, tmp_path: Path, rng: np.random.Generator) -> None:
    model, meta = quantizable(tmp_path, rng)
    meta.write_text("delegate: cpu\n", encoding="utf-8")
    result = synap("--model", model, "--meta", meta, entry=lambda words: run_command(command, words, "synap compare"))
    assert result.code == 1
    assert "asks for no quantization" in result.error


@pytest.mark.zoo
def test_efficientnet_is_compared_layer_by_layer(synap: Synap, zoo: Path, tmp_path: Path) -> None:
    meta = tmp_path / "meta.yaml"
    images = zoo / "images/imagenet"
    meta.write_text(
        "inputs:\n  - {format: rgb, means: [127, 127, 127], scale: 128}\n"
        f"quantization:\n  data_type: int8\n  scheme: perchannel_symmetric_affine\n  dataset: '{images}/n0144*.jpg'\n"
        "  options: {rounding: nearest, bias_correction: false}\n",
        encoding="utf-8",
    )
    model = zoo / "models/classification/efficientnet-lite0.onnx"
    data = compared(synap, "--model", model, "--meta", meta, "--samples", 2, f"{images}/n0153*.jpg")
    layers = data["layers"]
    assert isinstance(layers, list)
    assert len(layers) > 60
    assert {layer["data_type"] for layer in layers if not layer["conversion"]} == {"int8"}
    # One layer alone does less harm than all of them together.
    (output,) = data["outputs"]  # type: ignore[misc]  # JSON
    assert all(layer["damage_sqnr_db"] == "inf" or layer["damage_sqnr_db"] > output["sqnr_db"] for layer in layers)
    assert output["cosine"] > 0.9
