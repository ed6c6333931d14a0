"""``--frontend X --model M``: a frontend that does not read the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli import Synap
from tests.support.onnx_models import conv5
from tests.support.tflite_models import six

WriteModel = Callable[..., Path]


@pytest.mark.parametrize("command", ["ops", "convert", "compare"])
@pytest.mark.parametrize(
    ("frontend", "other", "name"), [("onnx", "tflite", "net.tflite"), ("tflite", "onnx", "net.onnx")]
)
def test_a_file_of_another_format_is_not_called_damaged(
    synap: Synap, model_file: WriteModel, tmp_path: Path, command: str, frontend: str, other: str, name: str
) -> None:
    content = six() if other == "tflite" else conv5(np.random.default_rng(0)).SerializeToString()
    path = model_file(content, name)
    meta = tmp_path / "meta.yaml"
    meta.write_text("quantization: {dataset: random}", encoding="utf-8")
    words = {"ops": [], "convert": ["--target", "SL1620", "--out-dir", tmp_path / "out"], "compare": ["--meta", meta]}
    result = synap(command, "--frontend", frontend, "--model", path, *words[command])
    assert result.code == 1
    assert f"{path}: this is no {frontend} file: it looks like {other}; " in result.error
    assert result.error.endswith(f"leave --frontend out, or give --frontend {other}")


def test_the_right_frontend_reads_a_file_of_any_name(synap: Synap, model_file: WriteModel) -> None:
    path = model_file(conv5(np.random.default_rng(0)).SerializeToString(), "net.bin")
    result = synap("ops", "--frontend", "onnx", "--model", path)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "5 imported, 0 opaque, 0 unknown"


def test_what_no_frontend_knows_is_left_to_the_one_that_is_named(synap: Synap, model_file: WriteModel) -> None:
    result = synap("ops", "--frontend", "tflite", "--model", model_file(b"nothing that anyone knows", "net.bin"))
    assert result.code == 1
    assert "not a TensorFlow Lite model" in result.error


def test_an_unknown_frontend_is_named(synap: Synap, model_file: WriteModel) -> None:
    result = synap("ops", "--frontend", "onxx", "--model", model_file(six()))
    assert result.code == 1
    assert "onxx" in result.error
