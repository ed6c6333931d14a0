"""``--out-format onnx`` and ``synap ops``, from the command line to numbers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.support.canonical import Reference
from tests.support.cli import Synap
from tests.support.tflite_models import ModelBuilder, counter, dense3, six

WriteModel = Callable[..., Path]


def exported(folder: Path) -> onnx.ModelProto:
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    return model


def run_file(folder: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession((folder / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def quantized_sum() -> bytes:
    """int8 ``y = relu(a + b)`` on images, and a copy of it as uint8."""
    builder = ModelBuilder()
    a = builder.tensor("a", (1, 2, 2, 3), "int8", scale=0.5, zero_point=3)
    b = builder.tensor("b", (1, 2, 2, 3), "int8", scale=0.25, zero_point=-7)
    y = builder.tensor("y", (1, 2, 2, 3), "int8", scale=0.5, zero_point=-128)
    options = schema.AddOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    builder.operator("ADD", [a, b], [y], options)
    return builder.finish([a, b], [y])


def custom_after_abs() -> bytes:
    builder = ModelBuilder()
    x, y, z = (builder.tensor(name, (1, 4)) for name in "xyz")
    builder.operator("ABS", [x], [y])
    builder.operator("CUSTOM", [y], [z], custom="magic")
    return builder.finish([x], [z])


def test_float_model_is_one_graph_that_gives_the_same_numbers(
    synap: Synap, model_file: WriteModel, tmp_path: Path
) -> None:
    content = dense3(np.random.default_rng(3))
    path, out = model_file(content), tmp_path / "out"
    result = synap("convert", "--model", path, "--target", "GENERIC", "--out-dir", out, "--out-format", "onnx")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "Conversion successful"
    assert sorted(p.name for p in out.iterdir()) == ["cache", "model.onnx"]
    model = exported(out)
    assert (model.opset_import[0].version, model.ir_version) == (19, 9)
    x = np.array([[0.7]], np.float32)
    np.testing.assert_allclose(run_file(out, {"dense_input": x})[0], Reference(content)([x])[0], rtol=1e-5, atol=1e-6)


def test_quantized_model_keeps_its_boundary_and_its_steps(synap: Synap, model_file: WriteModel, tmp_path: Path) -> None:
    content, out = quantized_sum(), tmp_path / "out"
    result = synap(
        "convert", "--model", model_file(content), "--target", "VS680", "--out-dir", out, "--out-format", "onnx"
    )
    assert result.code == 0, result.err
    graph = exported(out).graph
    names = [(v.name, v.type.tensor_type.elem_type) for v in (*graph.input, *graph.output)]
    assert names == [(name, onnx.TensorProto.INT8) for name in ("a", "b", "y")]
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, (1, 2, 2, 3), np.int8) for _ in range(2))
    difference = run_file(out, {"a": a, "b": b})[0].astype(int) - Reference(content)([a, b])[0]
    assert np.abs(difference).max() <= 1


def test_same_model_gives_the_same_bytes(synap: Synap, model_file: WriteModel, tmp_path: Path) -> None:
    path = model_file(quantized_sum())
    for name in ("one", "two"):
        synap("convert", "--model", path, "--target", "GENERIC", "--out-dir", tmp_path / name, "--out-format", "onnx")
    assert (tmp_path / "one/model.onnx").read_bytes() == (tmp_path / "two/model.onnx").read_bytes()


def test_layers_that_cannot_be_expressed_are_all_named(synap: Synap, model_file: WriteModel, tmp_path: Path) -> None:
    builder = ModelBuilder()
    tensors = [builder.tensor(name, (1, 4)) for name in "xyz"]
    for before, after in itertools.pairwise(tensors):
        builder.operator("CUSTOM", [before], [after], custom="magic")
    path = model_file(builder.finish(tensors[:1], tensors[-1:]))
    out = tmp_path / "out"
    result = synap("convert", "--model", path, "--target", "GENERIC", "--out-dir", out, "--out-format", "onnx")
    assert result.code == 1
    assert "2 layers cannot be expressed in ONNX operators: 'y' (CUSTOM:magic)" in result.error
    assert "'z' (CUSTOM:magic)" in result.error
    assert not (out / "model.onnx").exists()


def test_cut_in_front_of_such_a_layer_helps(synap: Synap, model_file: WriteModel, tmp_path: Path) -> None:
    meta = tmp_path / "meta.yaml"
    meta.write_text("outputs: [{name: y}]\n", encoding="utf-8")
    path, out = model_file(custom_after_abs()), tmp_path / "out"
    result = synap(
        "convert", "--model", path, "--meta", meta, "--target", "GENERIC", "--out-dir", out, "--out-format", "onnx"
    )
    assert result.code == 0, result.err
    x = np.array([[-1, 2, -3, 4]], np.float32)
    np.testing.assert_array_equal(run_file(out, {"x": x})[0], np.abs(x))


def test_variables_become_inputs_and_outputs(synap: Synap, model_file: WriteModel, tmp_path: Path) -> None:
    content, out = counter(), tmp_path / "out"
    path = model_file(content)
    result = synap("convert", "--model", path, "--target", "GENERIC", "--out-dir", out, "--out-format", "onnx")
    assert result.code == 0, result.err
    (note,) = [line for line in result.out.splitlines() if line.startswith("Note: variable")]
    assert "feed output '/total/new' into input '/total/old'" in note
    x, reference = np.array([[1, 2]], np.float32), Reference(content)
    with np.load(out / "model_state.npz") as first:
        state = first["/total/old"]
    for _ in range(3):
        y, state = run_file(out, {"x": x, "/total/old": state})
        np.testing.assert_array_equal(y, reference([x])[0])


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        ("delegate: cpu\n", "meta.yaml:1:1: 'delegate' has no effect on a graph of the whole model"),
        ("inputs: [{means: 1, scale: 2}]\n", "'means' has no effect on a graph of the whole model"),
        ("quantization: {data_type: int8}\n", "meta.yaml:1:1: no 'dataset', so the model is not quantized"),
    ],
    ids=["delegate", "means", "quantization"],
)
def test_option_without_effect_is_reported(
    synap: Synap, model_file: WriteModel, tmp_path: Path, meta: str, text: str
) -> None:
    path = tmp_path / "meta.yaml"
    path.write_text(meta, encoding="utf-8")
    arguments = ("--target", "GENERIC", "--out-dir", tmp_path / "out", "--out-format", "onnx", "--profiling")
    result = synap("convert", "--model", model_file(six()), "--meta", path, *arguments)
    assert result.code == 0
    assert text in result.err
    assert "Warning: --profiling has no effect with --out-format onnx" in result.err


def test_what_the_graph_cannot_hold_is_refused(synap: Synap, model_file: WriteModel, tmp_path: Path) -> None:
    path = tmp_path / "meta.yaml"
    path.write_text("outputs: [{dequantize: true}]\n", encoding="utf-8")
    arguments = ("--target", "GENERIC", "--out-dir", tmp_path / "out", "--out-format", "onnx")
    result = synap("convert", "--model", model_file(quantized_sum()), "--meta", path, *arguments)
    assert result.code == 1
    assert "output dequantization cannot be written as one graph of the whole model" in result.error


def test_operators_of_a_frontend_are_listed(synap: Synap) -> None:
    result = synap("ops", "--frontend", "tflite")
    assert result.code == 0, result.err
    rows = dict(line.split()[:2] for line in result.out.splitlines()[1:])
    assert (rows["CONV_2D"], rows["HASHTABLE_FIND"]) == ("imported", "opaque")


def test_layers_of_a_model_are_listed_with_reasons(synap: Synap, model_file: WriteModel) -> None:
    path = model_file(custom_after_abs())
    result = synap("ops", "--model", path)
    assert result.out.splitlines()[-1] == "1 imported, 0 opaque, 1 unknown"
    (row,) = [line for line in result.out.splitlines() if "CUSTOM:magic" in line]
    assert row.split()[:4] == ["1", "CUSTOM:magic", "z", "unknown"]
    listed = json.loads(synap("ops", "--model", path, "--json").out)
    assert [(entry["name"], entry["status"]) for entry in listed] == [("y", "imported"), ("z", "unknown")]


def test_open_dimensions_are_fixed_by_a_metafile(synap: Synap, tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"], name="r")
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["n", "size"]) for name in "xy"]
    path, meta = tmp_path / "open.onnx", tmp_path / "meta.yaml"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]), ir_version=9), path)
    assert "give its shape in the metafile" in synap("ops", "--model", path).error
    meta.write_text("inputs: [{name: x, shape: [1, 4]}]\n", encoding="utf-8")
    assert synap("ops", "--model", path, "--meta", meta).out.splitlines()[-1] == "1 imported, 0 opaque, 0 unknown"


def test_listing_needs_a_frontend_or_a_model(synap: Synap) -> None:
    result = synap("ops")
    assert result.code == 2
    assert "give --frontend or --model" in result.err


def quantized_variable(synap: Synap, tmp_path: Path, dtype: str) -> Path:
    """Convert the model that counts, quantized with three samples; gives the folder."""
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.array([[number - 1, 2 * number]], np.float32))
    (tmp_path / "net.tflite").write_bytes(counter())
    (tmp_path / "meta.yaml").write_text(
        f"quantization: {{data_type: {dtype}, dataset: '*.npy', options: {{rounding: nearest}}}}\n", encoding="utf-8"
    )
    result = synap(
        "convert", "--model", tmp_path / "net.tflite", "--meta", tmp_path / "meta.yaml", "--target", "GENERIC",
        "--out-dir", tmp_path / "out", "--out-format", "onnx",
    )  # fmt: skip
    assert result.code == 0, result.err
    return tmp_path / "out"


@pytest.mark.parametrize(("dtype", "steps"), [("uint8", 256), ("int16", 65536)])
def test_variables_of_a_quantized_model_are_real_numbers_outside(
    synap: Synap, tmp_path: Path, dtype: str, steps: int
) -> None:
    out = quantized_variable(synap, tmp_path, dtype)
    names = {v.name: v.type.tensor_type.elem_type for v in (*exported(out).graph.input, *exported(out).graph.output)}
    assert set(names.values()) == {onnx.TensorProto.FLOAT}
    with np.load(out / "model_state.npz") as first:
        state = first["/total/old"]
    np.testing.assert_array_equal(state, [[10, 10]])
    total = np.array([[10.0, 10.0]])
    for number in range(3):
        x = np.array([[number - 1, 2 * number]], np.float32) / 4
        y, state = run_file(out, {"x": x, "/total/old": state})
        total += x
        # Each inference rounds the input, the sum and the variable; the range is 14, or 16 if it is a power of two.
        np.testing.assert_allclose(y, total, atol=3 * (number + 1) * 32 / steps)


def test_reports_lie_beside_the_model(synap: Synap, tmp_path: Path) -> None:
    out = quantized_variable(synap, tmp_path, "uint8")
    assert sorted(path.name for path in out.iterdir()) == [
        "cache",
        "model.onnx",
        "model_state.npz",
        "quantization_info.yaml",
    ]
    report = (out / "quantization_info.yaml").read_text(encoding="utf-8")
    assert "'@Input_x:out0':" in report
    assert "'@Input_/total/old:out0':" in report
