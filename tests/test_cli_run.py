"""``synap run``, as a user meets it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synap_core.imaging import decode_image, fit
from tests.support.cli import Synap
from tests.support.litert import Oracle
from tests.support.tflite_models import (
    ModelBuilder,
    chain,
    counter,
    crashes_while_running,
    never_ends,
    schema,
    six,
)


def save_image(path: Path, rng: np.random.Generator, size: int = 4) -> np.ndarray:
    pixels = rng.integers(0, 256, size=(size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def image_model() -> bytes:
    """The mean of each channel of a 4x4 image, uint8."""
    builder = ModelBuilder()
    x = builder.tensor("image", [1, 4, 4, 3], "uint8", scale=1 / 255)
    y = builder.tensor("means", [1, 3], "uint8", scale=1 / 255)
    axes = builder.constant("axes", np.array([1, 2], np.int32))
    builder.operator("MEAN", [x, axes], [y], schema.ReducerOptionsT())
    return builder.finish([x], [y])


def test_image_goes_in_and_classes_come_out(
    synap: Synap, converted: Callable[..., Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    bundle = converted(image_model())
    (bundle.parent / "info.json").write_text('{"labels": ["red", "green", "blue"]}')
    pixels = save_image(tmp_path / "x.png", rng)
    result = synap("run", "-m", bundle, tmp_path / "x.png", "--top5", "--save-outputs", tmp_path / "o.npz", "-r", "3")
    assert (result.code, result.err) == (0, "")
    expected = Oracle(image_model())([pixels[None]])[0]
    saved = load(tmp_path / "o.npz")
    assert list(saved) == ["means"]
    np.testing.assert_array_equal(saved["means"], expected)
    best = int(np.argmax(expected))
    lines = result.out.splitlines()
    assert "Output 0: means 1x3 uint8" in lines
    assert sum(line.startswith("Predict #") for line in lines) == 3
    header = lines.index(next(line for line in lines if line.startswith("Class")))
    assert lines[header + 1].split() == [str(best), f"{expected[0, best] / 255:.4f}", ["red", "green", "blue"][best]]


def test_json_result_has_values_and_timings(
    synap: Synap, converted: Callable[..., Path], rng: np.random.Generator, tmp_path: Path
) -> None:
    x = rng.normal(size=(1, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    result = synap("run", "-m", converted(six()), tmp_path / "x.npy", "--json", "-r", "2")
    data = json.loads(result.out)
    assert data["outputs"][0]["values"] == np.abs(x).ravel().tolist()
    assert [output["name"] for output in data["outputs"]] == ["c4", "c6"]
    assert (len(data["times_ms"]), len(data["subgraph_times_ms"])) == (2, 1)
    assert set(data["timings_ms"]) == {"init", "min", "median", "max", "stddev", "mean"}
    assert "not those of a device" in data["notice"]


def test_times_of_several_subgraphs_are_shown(synap: Synap, converted: Callable[..., Path]) -> None:
    bundle = converted(six(), "delegate: {'*': cpu, c5...: cpu num_threads=1}")
    assert "Subgraph times (ms), last prediction:  0: " in synap("run", "-m", bundle, "zero").out


@pytest.mark.parametrize("token", ["zero", "random", "value:7"])
def test_inputs_without_a_file(synap: Synap, converted: Callable[..., Path], token: str) -> None:
    result = synap("run", "-m", converted(chain(["a"])), token)
    assert (result.code, result.err) == (0, "")


def test_two_outputs_of_one_name_are_saved_with_a_number(
    synap: Synap, converted: Callable[..., Path], tmp_path: Path
) -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 2])
    first, second = builder.tensor("file", [1, 2]), builder.tensor("file", [1, 2])
    builder.operator("ABS", [x], [first])
    builder.operator("NEG", [x], [second])
    bundle = converted(builder.finish([x], [first, second]))
    assert synap("run", "-m", bundle, "zero", "--save-outputs", tmp_path / "o.npz").code == 0
    assert list(load(tmp_path / "o.npz")) == ["file", "file#1"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere.png"], "nowhere.png"),
        ([], "0 inputs were given, the model has 1: 'x' 1x4 float32"),
        (["zero", "zero"], "2 inputs were given, the model has 1: 'x' 1x4 float32"),
        (["zero", "--top5"], "--top5 needs a model with one output; this one has 2"),
        (["zero", "--save-outputs", "/nowhere/o.npz"], "cannot save the outputs: No such file or directory"),
    ],
)
def test_wrong_run_ends_in_one_line(
    synap: Synap, converted: Callable[..., Path], args: list[str], message: str
) -> None:
    result = synap("run", "-m", converted(six()), *args)
    assert result.code == 1
    assert message in result.error


def test_outputs_are_dumped_as_they_are_and_as_floats(
    synap: Synap,
    converted: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = save_image(tmp_path / "x.png", rng)
    assert synap("run", "-m", converted(image_model()), "x.png", "--dump-raw", "--dump-out").code == 0
    expected = Oracle(image_model())([pixels[None]])[0]
    np.testing.assert_array_equal(np.fromfile("output_raw_0.dat", np.uint8), expected[0])
    scale = np.float32(1 / 255)
    np.testing.assert_array_equal(np.fromfile("output_float_0.dat", "<f4"), expected[0].astype(np.float32) * scale)


def test_outputs_replace_no_special_file_and_follow_no_planted_link(
    synap: Synap, converted: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = converted(six())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert "this is not a regular file" in synap("run", "-m", bundle, "zero", "--save-outputs", "folder").error
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".output_raw_0.dat.partial").symlink_to("victim")
    assert synap("run", "-m", bundle, "zero", "--dump-raw").code == 0
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe_is_no_bundle(synap: Synap, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.synap")
    assert "not a regular file" in synap("run", "-m", tmp_path / "model.synap", "zero").error


def test_infinite_result_is_valid_json(synap: Synap, converted: Callable[..., Path], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[np.inf, 1, -2, 3]], np.float32))
    result = synap("run", "-m", converted(six()), tmp_path / "x.npy", "--json")
    assert json.loads(result.out, parse_constant=pytest.fail)["outputs"][0]["values"] == ["inf", 1, 2, 3]


def test_model_is_looked_for_in_the_working_folder(
    synap: Synap, converted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = converted(six())
    monkeypatch.chdir(bundle.parent)
    assert "Model: model.synap" in synap("run", "zero").out
    monkeypatch.chdir(tmp_path)
    assert "no model given, and none of model.synap, model.nb is in this folder" in synap("run", "zero").error


def test_old_pair_of_model_and_metadata_is_loaded(
    synap: Synap, converted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with zipfile.ZipFile(converted(six())) as archive:
        (tmp_path / "model.nb").write_bytes(archive.read("0/subgraph_0.tflite"))
        (tmp_path / "model.json").write_bytes(archive.read("0/subgraph_0.json"))
    monkeypatch.chdir(tmp_path)
    assert "Model: model.nb" in synap("run", "zero").out
    result = synap("run", "--nb", "model.nb", "--meta", "model.json", "zero")
    assert (result.code, result.err) == (0, "Warning: --nb is deprecated; use --model\n")
    (tmp_path / "model.nb").write_bytes(b"EBGX" + bytes(64))
    assert "compiled NPU image" in synap("run", "zero").error


def test_single_model_is_shown_and_run_with_the_metadata_beside_it_or_refused_alike(
    synap: Synap, tmp_path: Path
) -> None:
    model = Path(__file__).parents[1] / "examples" / "digits" / "digits_int8.tflite"
    made = synap("convert", "--model", model, "--target", "VS680", "--out-format", "nb", "--out-dir", tmp_path)
    assert made.code == 0
    net = (tmp_path / "model.nb").rename(tmp_path / "net.nb")
    (tmp_path / "model.json").rename(tmp_path / "net.json")
    shown, ran = synap("info", net), synap("run", "-m", net, "zero")
    assert (shown.code, shown.err, ran.code, ran.err) == (0, "", 0, "")
    assert shown.out.startswith(f"{net}: compiled model, {net.stat().st_size:,} bytes\n")
    assert "FullyConnected" in shown.out
    assert "probabilities" in ran.out
    (tmp_path / "net.json").unlink()
    alone = f"{net}: this is a single model, and its metadata, 'net.json', is not beside it; copy it there"
    for arguments in (["info", net], ["info", "--dot", net], ["run", "-m", net, "zero"], ["report", net]):
        result = synap(*arguments)
        assert result.code == 1
        assert alone in result.error


def test_binary_for_the_chip_is_described_by_its_metadata_and_not_run(synap: Synap, tmp_path: Path) -> None:
    meta = {"Inputs": {"x": {"shape": [1, 4], "dtype": "int8"}}, "Outputs": {"y": {"shape": [1, 2], "dtype": "int8"}}}
    (tmp_path / "net.nb").write_bytes(b"EBGX" + bytes(60))
    for arguments in (["info", tmp_path / "net.nb"], ["run", "-m", tmp_path / "net.nb", "zero"]):
        assert "compiled NPU image (EBG); only the NPU of a board can execute" in synap(*arguments).error
    (tmp_path / "net.json").write_text(json.dumps(meta))
    shown = synap("info", tmp_path / "net.nb")
    assert (shown.code, shown.err) == (0, "")
    assert "1x4" in shown.out
    assert "Layers not shown: this is a binary for the chip's own processor" in shown.out
    assert "compiled NPU image (EBG); only the NPU" in synap("run", "-m", tmp_path / "net.nb", "zero").error


def test_model_can_be_loaded_and_run_several_times(synap: Synap, converted: Callable[..., Path]) -> None:
    result = synap("run", "-m", converted(counter()), "zero", "-r", "2", "--rr", "3", "--fps", "100")
    assert [line.split(":")[0] for line in result.out.splitlines() if line.startswith("Predict")] == [
        f"Predict #{number}" for number in range(6)
    ]


def test_options_of_the_device_program_are_accepted_and_reported(synap: Synap, converted: Callable[..., Path]) -> None:
    result = synap("run", "-m", converted(six()), "zero", "--cma", "--allocator", "synap")
    assert result.code == 0
    assert sorted(result.err.splitlines()) == [
        "Warning: --allocator has no effect on a host",
        "Warning: --cma has no effect on a host",
    ]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (crashes_while_running, [], "the runtime crashed (SIGSEGV) while running"),
        (never_ends, ["--timeout", "3"], "no answer within 3 s"),
    ],
    ids=["crash", "hang"],
)
def test_model_that_kills_or_hangs_its_runtime_ends_in_one_line(
    synap: Synap, converted: Callable[..., Path], model: Callable[[], bytes], options: list[str], message: str
) -> None:
    result = synap("run", "-m", converted(model()), "zero", *options)
    assert result.code == 1
    assert message in result.error


def test_bundle_that_is_none(synap: Synap, dense3_file: Path, tmp_path: Path) -> None:
    assert "does not begin like a ZIP archive" in synap("run", "-m", dense3_file, "zero").error
    assert "file not found" in synap("run", "-m", tmp_path / "nowhere.synap", "zero").error


@pytest.mark.zoo
def test_real_photo_gives_what_litert_gives(synap: Synap, zoo: Path, out: Path, tmp_path: Path) -> None:
    model = zoo / "models/classification/mobilenet_v1_0.25_128_quant.tflite"
    assert synap("convert", "--model", model, "--target", "SL1620", "--out-dir", out).code == 0
    photo = zoo / "images/photos/cat.jpg"
    result = synap("run", "-m", out / "model.synap", photo, "--top5", "--save-outputs", tmp_path / "o.npz", "--json")
    assert result.code == 0
    pixels, _ = fit(decode_image(photo), 128, 128)
    expected = Oracle(model)([pixels[None]])[0]
    np.testing.assert_array_equal(load(tmp_path / "o.npz")["MobilenetV1/Predictions/Reshape_1"], expected)
    best = json.loads(result.out)["top5"][0]
    assert expected[0, best["class_index"]] == expected.max()
