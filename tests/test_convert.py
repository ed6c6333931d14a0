"""Conversions of TensorFlow Lite models, from file to bundle and numbers."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_core.bundle_reader import read_bundle
from synap_core.bundle_writer import pack_bundle
from synap_core.conversion import Conversion
from synap_core.convert import Converted, ConvertRequest, convert, prepare_out_dir, write
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.model_info import render_model_info
from synap_core.network import Network
from synap_core.staging import staging_folder
from synap_core.version import toolkit_version
from tests.support.hosts import without
from tests.support.litert import Oracle
from tests.support.tflite_models import ModelBuilder, chain, counter, dense3, six

WriteModel = Callable[..., Path]


@pytest.fixture
def run(host: PluginHost, model_file: WriteModel, tmp_path: Path) -> Callable[..., Converted]:
    """Convert the content of a model with the text of a metafile."""

    def call(content: bytes, meta: str = "", target: str = "SL1620", *, profiling: bool = False) -> Converted:
        path = tmp_path / "meta.yaml"
        path.write_text(meta, encoding="utf-8")
        request = ConvertRequest(
            model=model_file(content), target=target, meta=path if meta else None, profiling=profiling
        )
        return convert(request, host)

    return call


def meta_json(conversion: Conversion, index: int = 0) -> Any:
    archive = zipfile.ZipFile(io.BytesIO(pack_bundle(conversion)))
    return json.loads(archive.read(f"{index}/subgraph_{index}.json"))


def predict(conversion: Conversion, inputs: list[np.ndarray], host: PluginHost) -> tuple[np.ndarray, ...]:
    return Network(pack_bundle(conversion), host=host, isolate=False).predict(inputs)


def quantized(dtype: str = "int8", shape: tuple[int, ...] = (1, 4, 4, 3), zero_point: int = -128) -> bytes:
    builder = ModelBuilder()
    x = builder.tensor("x", shape, dtype, scale=1 / 255, zero_point=zero_point)
    y = builder.tensor("y", shape, dtype, scale=1 / 255, zero_point=zero_point)
    options = schema.Pool2DOptionsT()
    options.padding, options.strideW, options.strideH, options.filterWidth, options.filterHeight = 0, 1, 1, 2, 2
    builder.operator("MAX_POOL_2D", [x], [y], options)
    return builder.finish([x], [y])


@pytest.mark.acceptance("E12", "E13")
@pytest.mark.parametrize("target", ["SL1620", "GENERIC", "DVF120"])
@pytest.mark.parametrize("meta", ["", "delegate: default", "delegate:", "{}"], ids=["none", "default", "null", "empty"])
def test_e12_e13_default_is_the_first_delegate_of_the_target(
    run: Callable[..., Converted], rng: np.random.Generator, target: str, meta: str
) -> None:
    conversion = run(dense3(rng), meta, target).conversion
    assert conversion.delegates == ("cpu",)
    assert meta_json(conversion)["delegate"] == "tflite gpu=0 "


@pytest.mark.acceptance("E10")
@pytest.mark.parametrize(("delegate", "text"), [("cpu", "tflite gpu=0"), ("gpu", "tflite gpu=1")])
def test_e10_options_of_the_delegate_reach_the_runtime(
    run: Callable[..., Converted], rng: np.random.Generator, delegate: str, text: str
) -> None:
    conversion = run(dense3(rng), f"delegate: {delegate} num_threads=2", "VS680").conversion
    assert meta_json(conversion)["delegate"] == f"{text} num_threads=2"


@pytest.mark.parametrize(("delegate", "option"), [("cpu", "gpu=1"), ("gpu", "num_threads=2 gpu=0")])
def test_option_that_the_delegate_sets_itself_is_refused(
    run: Callable[..., Converted], rng: np.random.Generator, delegate: str, option: str
) -> None:
    with pytest.raises(InputError, match=f"option 'gpu' of delegate '{delegate}' is set by the delegate itself"):
        run(dense3(rng), f"delegate: {delegate} {option}")


@pytest.mark.acceptance("E1", "E2", "E3", "E4")
def test_e1_to_e4_three_subgraphs_in_a_row_equal_the_model(
    run: Callable[..., Converted], host: PluginHost, rng: np.random.Generator
) -> None:
    content = dense3(rng)
    conversion = run(content, "delegate: {'*': cpu, '1': gpu}", "VS680").conversion
    assert conversion.delegates == ("cpu", "gpu", "cpu")
    bundle = json.loads(zipfile.ZipFile(io.BytesIO(pack_bundle(conversion))).read("bundle.json"))
    assert [entry["inputs"] for entry in bundle["graph"]] == [[{"subgraph": k - 1, "out": 0}] for k in range(3)]
    for index in range(3):
        meta = meta_json(conversion, index)
        assert {t["dtype"] for part in ("Inputs", "Outputs") for t in meta[part].values()} == {"float32"}
    one = [np.ones((1, 1), np.float32)]
    members = [Oracle(artifact.model) for artifact in conversion.artifacts]
    np.testing.assert_array_equal(members[2](members[1](members[0](one)))[0], Oracle(content)(one)[0])
    np.testing.assert_array_equal(predict(conversion, one, host)[0], Oracle(content)(one)[0])


@pytest.mark.acceptance("E11")
@pytest.mark.parametrize(
    ("delegate", "target", "allowed"),
    [("gpu", "GENERIC", "cpu"), ("npu", "SL1620", "cpu, gpu")],
    ids=["gpu on GENERIC", "npu on SL1620"],
)
def test_e11_delegate_that_the_target_lacks(
    run: Callable[..., Converted], rng: np.random.Generator, delegate: str, target: str, allowed: str
) -> None:
    match = rf"meta.yaml:1:\d+: delegate '{delegate}' is not supported for target SoC {target}; allowed: {allowed}$"
    with pytest.raises(InputError, match=match):
        run(dense3(rng), f"delegate: {delegate}", target)


def test_target_whose_default_is_not_available_says_what_to_type(
    run: Callable[..., Converted], model_file: WriteModel, rng: np.random.Generator
) -> None:
    content = dense3(rng)
    match = "VS680: delegate 'npu', the default of this target, is not available.*write 'delegate: cpu' .or gpu. in"
    with pytest.raises(InputError, match=match):
        convert(ConvertRequest(model=model_file(content), target="VS680"), PluginHost(without("delegate-npu")))
    assert run(content, "delegate: cpu", "VS680").conversion.delegates == ("cpu",)


@pytest.mark.acceptance("E14")
def test_e14_foreign_layout_is_refused(run: Callable[..., Converted], rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="meta.yaml:1:1.*delegate 'cpu' doesn't support data_layout 'nchw'"):
        run(dense3(rng), "data_layout: nchw")
    assert run(dense3(rng), "data_layout: NHWC").conversion.delegates == ("cpu",)


@pytest.mark.acceptance("E15")
@pytest.mark.parametrize(
    ("meta", "capability"),
    [
        ("outputs: [{dequantize: true}]", "dequantize"),
        ("dequantize_outputs: true", "dequantize"),
        ("denormalize_outputs: true", "dequantize"),
        ("inputs: [{}]\nquantization: {dataset: random}", "quantization"),
        ("inputs: [{preprocess: {type: nv12}}]", "preprocess"),
        ("security: {encryption_key: k, signature_key: k, model_certificate: k, vendor_certificate: k}", "security"),
    ],
)
def test_e15_what_the_delegate_cannot_do_is_refused_by_capability(
    run: Callable[..., Converted], tmp_path: Path, rng: np.random.Generator, meta: str, capability: str
) -> None:
    (tmp_path / "k").write_bytes(b"key")
    match = rf"meta.yaml:\d+:\d+: delegate 'cpu' doesn't support .* \(capability '{capability}'\); no installed"
    with pytest.raises(InputError, match=match):
        run(dense3(rng), meta)


def test_profiling_is_refused_by_capability(run: Callable[..., Converted], rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="delegate 'cpu' doesn't support --profiling"):
        run(dense3(rng), profiling=True)


@pytest.mark.parametrize(
    ("meta", "warning"),
    [
        ("optimize: false", "'optimize' has no effect"),
        ("quantization: {data_type: int8}", "no 'dataset', so the model is not quantized"),
        ("inputs: [{preprocess: {type: none, crop: true}}]", "'size' and 'crop' have no effect"),
    ],
)
def test_option_without_effect_is_reported(
    run: Callable[..., Converted], rng: np.random.Generator, meta: str, warning: str
) -> None:
    (line,) = run(dense3(rng), meta).warnings
    assert warning in line
    assert "meta.yaml:1:" in line


@pytest.mark.acceptance("E16")
def test_e16_quantized_boundary_is_described_as_in_the_file(run: Callable[..., Converted]) -> None:
    tensor = next(iter(meta_json(run(quantized(shape=(1, 2, 2, 7))).conversion)["Inputs"].values()))
    scale = float(np.float32(1 / 255))
    assert tensor["quantizer"] == "asymmetric_affine"
    assert tensor["quantize"] == {
        "qtype": "int8",
        "max_value": 0.0,
        "min_value": 0.0,
        "scale": scale,
        "zero_point": -128,
    }
    assert "dtype" not in tensor
    assert "mean" not in tensor


def test_int8_image_input_gets_explicit_normalisation_and_a_note(run: Callable[..., Converted]) -> None:
    conversion = run(quantized()).conversion
    (tensor,) = conversion.inputs
    assert tensor.mean == (0.0, 0.0, 0.0)
    assert tensor.scale == pytest.approx(255, rel=1e-6)
    assert any("int8 without means and scale" in note for note in conversion.notes)


def test_uint8_image_input_is_left_to_the_device(run: Callable[..., Converted]) -> None:
    (tensor,) = run(quantized("uint8", zero_point=0)).conversion.inputs
    assert (tensor.mean, tensor.scale) == (None, None)


@pytest.mark.acceptance("R5")
@pytest.mark.parametrize(
    ("meta", "mean"),
    [
        ("inputs: [{means: 127.5}]", [127.5, 127.5, 127.5]),
        ("inputs: [{means: 0, scale: 1}]", [0.0, 0.0, 0.0]),
        ("inputs: [{means: [1, 2, 3]}]", [1.0, 2.0, 3.0]),
    ],
)
def test_r5_mean_is_a_list_with_one_entry_per_channel(
    run: Callable[..., Converted], meta: str, mean: list[float]
) -> None:
    assert next(iter(meta_json(run(quantized(), meta).conversion)["Inputs"].values()))["mean"] == mean


def test_mean_of_a_tensor_without_channels_has_one_entry(
    run: Callable[..., Converted], rng: np.random.Generator
) -> None:
    (tensor,) = run(dense3(rng), "inputs: [{means: 3}]").conversion.inputs
    assert tensor.mean == (3.0,)


@pytest.mark.parametrize(
    ("meta", "mean", "scale"), [("scale: 255", (0.0,) * 3, 255.0), ("means: 128", (128.0,) * 3, 1.0)]
)
def test_missing_one_of_means_and_scale_is_written_out(
    run: Callable[..., Converted], meta: str, mean: tuple[float, ...], scale: float
) -> None:
    (tensor,) = run(quantized(), f"inputs: [{{{meta}}}]").conversion.inputs
    assert (tensor.mean, tensor.scale) == (mean, scale)


@pytest.mark.parametrize(
    ("scale", "zero_point", "message"),
    [
        (float("nan"), 0, "a quantization scale must be a positive number"),
        (float("inf"), 0, "a quantization scale must be a positive number"),
        (-0.5, 0, "a quantization scale must be a positive number"),
        (0.5, 1 << 40, "a zero point must be a 32-bit integer"),
    ],
)
def test_quantization_that_makes_no_sense_is_refused(
    run: Callable[..., Converted], scale: float, zero_point: int, message: str
) -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 2], "int8", scale=scale, zero_point=zero_point)
    y = builder.tensor("y", [1, 2])
    builder.operator("DEQUANTIZE", [x], [y], schema.DequantizeOptionsT())
    with pytest.raises(InputError, match=f"tensor 'x': {message}"):
        run(builder.finish([x], [y]))


def test_weights_of_a_format_that_has_none_are_warned_about(
    host: PluginHost, model_file: WriteModel, rng: np.random.Generator
) -> None:
    path = model_file(dense3(rng))
    (warning,) = convert(ConvertRequest(model=path, weights=path, target="SL1620"), host).warnings
    assert "--weights has no effect" in warning


@pytest.mark.parametrize("name", ["model.synap", "quantization_info.yaml", "model_info.txt"])
def test_folder_in_the_way_of_a_result_changes_nothing(
    run: Callable[..., Converted], host: PluginHost, tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    out = tmp_path / "out"
    (out / name).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{name}: a folder stands where a result has to go"):
        write(run(dense3(rng)).conversion, host.output_formats["synap"], out, host)
    assert files(out) == {name}


def test_wrong_count_of_means_is_refused(run: Callable[..., Converted]) -> None:
    with pytest.raises(InputError, match=r"meta.yaml:1:\d+: bad item count in 'means': 2 values for 3 channels of 'x'"):
        run(quantized(), "inputs: [{means: [1, 2]}]")


@pytest.mark.acceptance("P13")
def test_p13_entries_belong_to_the_network_tensors(run: Callable[..., Converted]) -> None:
    meta = (
        "input_format: RGB\noutput_format: confidence_array\ndelegate: {'1': cpu num_threads=1}\n"
        "inputs: [{means: 3, scale: 2, security: secure}]\noutputs: [{security: any}]\n"
    )
    conversion = run(chain(["a", "b"]), meta).conversion
    first, second = conversion.artifacts
    assert [(t.mean, t.scale, t.security) for t in (*first.inputs, *second.inputs)] == [
        ((3.0,), 2.0, "secure"),
        (None, None, "any"),
    ]
    assert [t.security for t in (*first.outputs, *second.outputs)] == ["secure-if-input-secure", "any"]
    formats = [(t.name, t.data_format) for a in conversion.artifacts for t in (*a.inputs, *a.outputs)]
    assert formats == [("x", "rgb"), ("a", ""), ("a", ""), ("b", "confidence_array")]


def test_own_format_replaces_the_global_one(run: Callable[..., Converted]) -> None:
    conversion = run(chain(["a"]), "input_format: rgb\ninputs: [{format: BGR keep_proportions=0}]").conversion
    assert conversion.inputs[0].data_format == "BGR keep_proportions=0"


def test_model_without_anchors_gets_an_empty_list(run: Callable[..., Converted]) -> None:
    conversion = run(chain(["a"]), "output_format: 'x anchors=${ANCHORS}'").conversion
    assert conversion.outputs[0].data_format == "x anchors=[]"


@pytest.mark.acceptance("T3")
@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_t3_type_that_a_bundle_cannot_describe_is_refused(run: Callable[..., Converted], dtype: str) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 4]), builder.tensor("best", [1], dtype)
    axis = builder.constant("axis", np.array(1, np.int32))
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT64
    builder.operator("ARG_MAX", [x, axis], [y], options)
    with pytest.raises(InputError, match=f"tensor 'best': type {dtype} cannot cross the boundary.*allowed: float32"):
        run(builder.finish([x], [y]))


def test_per_channel_quantization_at_a_boundary_is_refused(run: Callable[..., Converted]) -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 2], "int8", scale=[0.5, 0.25])
    y = builder.tensor("y", [1, 2])
    builder.operator("DEQUANTIZE", [x], [y], schema.DequantizeOptionsT())
    with pytest.raises(InputError, match="tensor 'x': per-channel quantization cannot cross the boundary"):
        run(builder.finish([x], [y]))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("[1, 4]", None),
        ("[16, 4]", None),  # the batch is ignored
        ("[1, 5]", r"meta.yaml:1:\d+: shape \[1, 5\] does not fit tensor 'x', which has \[1, 4\]"),
        ("[1, 4, 1]", r"does not fit tensor 'x'"),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["named", "by position"])
def test_shape_must_be_the_models_own(
    run: Callable[..., Converted], shape: str, message: str | None, *, named: bool
) -> None:
    meta = f"inputs: [{{{'name: x, ' if named else ''}shape: {shape}}}]"
    if message is None:
        assert run(chain(["a"]), meta).conversion.inputs[0].shape == (1, 4)
    else:
        with pytest.raises(InputError, match=message):
            run(chain(["a"]), meta)


def custom_output() -> bytes:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 2]), builder.tensor("y", [])
    builder.graph.tensors[y].hasRank = False
    builder.operator("CUSTOM", [x], [y], custom="mystery")
    return builder.finish([x], [y])


def test_unknown_output_shape_comes_from_the_metafile(run: Callable[..., Converted]) -> None:
    with pytest.raises(InputError, match="tensor 'y' has no static shape; give it in the metafile"):
        run(custom_output())
    assert run(custom_output(), "outputs: [{shape: [1, 10, 4]}]").conversion.outputs[0].shape == (1, 10, 4)


def test_dynamic_input_dimension_is_refused(run: Callable[..., Converted]) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 1], signature=[-1, -1]), builder.tensor("y", [1, 1])
    builder.operator("ABS", [x], [y])
    with pytest.raises(InputError, match="tensor 'x' has no static shape; export the model with static shapes"):
        run(builder.finish([x], [y]))


def test_changed_batch_is_noted_in_the_report(run: Callable[..., Converted]) -> None:
    conversion = run(chain(["a"], shape=(8, 4))).conversion
    assert conversion.inputs[0].shape == (1, 4)
    assert "- the fixed batch of 8 was changed to 1" in render_model_info(conversion)


def test_variables_keep_their_state_between_predictions(run: Callable[..., Converted], host: PluginHost) -> None:
    network = Network(pack_bundle(run(counter()).conversion), host=host, isolate=False)
    x = [np.ones((1, 2), np.float32)]
    assert [float(network.predict(x)[0][0, 0]) for _ in range(3)] == [11, 12, 13]
    network.reset()
    assert float(network.predict(x)[0][0, 0]) == 11


def test_cut_through_a_variable_is_refused(run: Callable[..., Converted]) -> None:
    with pytest.raises(InputError, match="'CALL_ONCE_0' and 'ASSIGN_VARIABLE_4' work on one variable"):
        run(counter(), "delegate: {'*': cpu, '4': cpu num_threads=1}")


@pytest.mark.parametrize(
    ("meta", "inputs", "outputs"),
    [
        ("inputs: [{name: c1, shape: [1, 4]}]", ["c1"], ["c4", "c6"]),
        ("outputs: [{name: c5}, {name: c3}]", ["x"], ["c5", "c3"]),
        ("inputs: [{name: c3, shape: [1, 4]}, {name: c2, shape: [1, 4]}]", ["c3", "c2"], ["c4", "c6"]),
        ("inputs: [{name: c2, shape: [1, 4]}]\noutputs: [{name: c6}]", ["c2"], ["c6"]),
    ],
)
def test_cut_out_part_computes_what_the_whole_does(
    run: Callable[..., Converted],
    host: PluginHost,
    rng: np.random.Generator,
    meta: str,
    inputs: list[str],
    outputs: list[str],
) -> None:
    conversion = run(six(), meta).conversion
    assert ([t.name for t in conversion.inputs], [t.name for t in conversion.outputs]) == (inputs, outputs)
    x = rng.normal(size=(1, 4)).astype(np.float32)
    values = {"x": x, "c1": np.abs(x), "c2": np.abs(x), "c3": -np.abs(x), "c4": np.abs(x)}
    given = [values[name] for name in inputs]
    values |= {"c5": np.exp(values["c2"]), "c6": np.exp(values["c2"])}
    for got, name in zip(predict(conversion, given, host), outputs, strict=True):
        np.testing.assert_allclose(got, values[name], rtol=1e-6)  # exp may round differently


@pytest.mark.acceptance("E17")
def test_e17_model_info(run: Callable[..., Converted]) -> None:
    conversion = run(six(), "delegate: {'*': cpu, '4': cpu num_threads=1}").conversion
    lines = render_model_info(conversion).splitlines()
    assert lines[0] == f"Model converted with SyNAP toolkit {toolkit_version()}"
    assert lines[2:7] == ["inputs:", "  - name: x", "    shape: [1, 4]", "    type: float32", "outputs:"]
    count = len(conversion.artifacts)
    assert f"subgraphs: {count}" in lines
    for index in range(count):
        assert f"Detailed input/output information for subgraph_{index}:" in lines
        assert f"Detailed graph information for subgraph_{index}:" in lines
    assert "2      NEG   1x4 float32  c3" in lines


def test_model_whose_layers_stay_native_never_builds_another_graph(
    run: Callable[..., Converted], monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    def forbidden(*_: object) -> None:
        pytest.fail("canonical() was called")

    monkeypatch.setattr("synap_frontend_tflite.model.TfliteModel.canonical", forbidden)
    run(dense3(rng))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.acceptance("C14")
def test_c14_output_folder_holds_the_results_and_the_cache(
    run: Callable[..., Converted], host: PluginHost, tmp_path: Path, rng: np.random.Generator
) -> None:
    out = tmp_path / "deep" / "out"
    prepare_out_dir(out)
    written = write(run(dense3(rng)).conversion, host.output_formats["synap"], out, host)
    assert files(out) == {"cache", "model.synap", "model_info.txt"}
    assert [path.name for path in written.files] == ["model.synap", "model_info.txt"]
    assert read_bundle((out / "model.synap").read_bytes(), "x").order == (0,)


def test_stale_reports_go_and_other_files_stay(
    run: Callable[..., Converted], host: PluginHost, tmp_path: Path, rng: np.random.Generator
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("quantization_info.yaml", "model.synap", "notes.txt"):
        (out / name).write_text("old")
    write(run(dense3(rng)).conversion, host.output_formats["synap"], out, host)
    assert files(out) == {"model.synap", "model_info.txt", "notes.txt"}
    assert (out / "notes.txt").read_text() == "old"


def test_full_disk_ends_in_one_line_and_leaves_the_old_result(
    run: Callable[..., Converted],
    host: PluginHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.synap").write_text("old")
    converted = run(dense3(rng))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="out: cannot write the output: No space left on device; nothing was changed"):
        write(converted.conversion, host.output_formats["synap"], out, host)
    monkeypatch.undo()
    assert files(out) == {"model.synap"}
    assert (out / "model.synap").read_text() == "old"


def test_out_dir_that_cannot_be_written_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("tempfile.mkdtemp", denied)
    with (
        pytest.raises(InputError, match="cannot write to the output folder: Permission denied; choose another folder"),
        staging_folder(tmp_path),
    ):
        pytest.fail("the folder was given out")


def test_out_dir_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot make the folder: Not a directory; choose another folder"):
        prepare_out_dir(tmp_path / "file" / "out")
