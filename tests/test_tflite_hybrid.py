"""Layers of ``.tflite`` models with integer weights and inputs of real numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_core.api import ModelRequest
from synap_frontend_tflite.model import TfliteModel
from tests.support.canonical import Reference, imported, run
from tests.support.cli import Synap
from tests.support.tflite_models import ModelBuilder

WriteModel = Callable[..., Path]


def dense_row(kinds: list[str], rng: np.random.Generator, input_type: str = "float32", name: str = "y") -> bytes:
    """Dense layers of 16 units in a row, each with weights of some type."""
    builder = ModelBuilder()
    scale = None if input_type == "float32" else 0.05
    first = last = builder.tensor("x", [1, 16], input_type, scale=scale)
    for index, kind in enumerate(kinds):
        if kind == "float32":
            weights = builder.constant(f"w{index}", rng.normal(size=(16, 16)).astype(np.float32))
        else:
            stored = rng.integers(-127, 128, (16, 16)).astype(np.int8)
            weights = builder.tensor(f"w{index}", [16, 16], kind, data=stored, scale=0.01)
        out = builder.tensor(f"{name}{index}", [1, 16], input_type, scale=scale)
        builder.operator("FULLY_CONNECTED", [last, weights, -1], [out], schema.FullyConnectedOptionsT())
        last = out
    return builder.finish([first], [last])


def notes(path: Path) -> tuple[str, ...]:
    return TfliteModel.open(ModelRequest(path=path)).notes


def test_note_counts_the_layers_and_names_the_first(model_file: WriteModel, rng: np.random.Generator) -> None:
    (note,) = notes(model_file(dense_row(["float32", "int8", "int8"], rng)))
    assert note.startswith("2 layers have integer weights and inputs of real numbers (first: 'y1', FULLY_CONNECTED)")


def test_long_names_are_shortened(model_file: WriteModel, rng: np.random.Generator) -> None:
    (note,) = notes(model_file(dense_row(["int8"], rng, name="n" * 500)))
    assert note.startswith("1 layer has")
    assert len(note) < 320


@pytest.mark.parametrize(("kind", "input_type"), [("float32", "float32"), ("int8", "int8")])
def test_other_models_have_no_such_note(
    model_file: WriteModel, rng: np.random.Generator, kind: str, input_type: str
) -> None:
    assert notes(model_file(dense_row([kind], rng, input_type))) == ()


def test_damaged_operators_without_inputs_have_no_note(model_file: WriteModel) -> None:
    builder = ModelBuilder()
    x, y, weights = builder.tensor("x", [1, 2]), builder.tensor("y", [1, 2]), np.ones((2, 2), np.int8)
    builder.operator("ABS", [x], [y])
    builder.operator("FULLY_CONNECTED", [-1, builder.tensor("w", [2, 2], "int8", data=weights)], [])
    assert notes(model_file(builder.finish([x], [y]))) == ()


def test_the_note_is_true(tmp_path: Path, rng: np.random.Generator) -> None:
    content = dense_row(["int8"], rng)
    model, _ = imported(content, tmp_path)
    x = rng.normal(size=(1, 16)).astype(np.float32)
    (found,), (wanted,) = run(model, [x]), Reference(content)([x])
    difference = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert 1e-4 < difference < 0.03


def test_conversion_to_one_graph_prints_the_note(
    synap: Synap, model_file: WriteModel, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = model_file(dense_row(["int8"], rng))
    result = synap(
        "convert", "--model", path, "--target", "GENERIC", "--out-dir", tmp_path / "out", "--out-format", "onnx"
    )
    assert result.code == 0, result.err
    assert "Note: 1 layer has integer weights" in result.out + result.err


@pytest.mark.zoo
def test_the_hybrid_model_of_the_zoo_is_one_of_them(zoo: Path) -> None:
    noted = {
        path.stem for path in (zoo / "models").glob("*/*.tflite") if any("integer weights" in n for n in notes(path))
    }
    assert noted == {"kws_ref_model_float32"}
