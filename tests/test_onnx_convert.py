"""Conversions of ONNX models, from file to bundle and numbers."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image

from synap_core.bundle_writer import pack_bundle
from synap_core.conversion import Conversion
from synap_core.convert import Converted, ConvertRequest, convert
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.network import Network
from synap_core.source import BoundarySpec, ModelRequest
from synap_frontend_onnx.model import OnnxModel
from tests.support.cli import Synap
from tests.support.onnx_models import (
    F32,
    Oracle,
    assert_near,
    choice,
    conv5,
    flattened,
    googlenet_like,
    model,
    node,
    run_in_a_row,
    value,
)

ROOT = Path(__file__).parents[1]
Run = Callable[..., Converted]


@pytest.fixture
def run(host: PluginHost, tmp_path: Path) -> Run:
    """Convert a model with the text of a metafile."""

    def call(made: onnx.ModelProto | Path, meta: str = "", target: str = "SL1620") -> Converted:
        path = made if isinstance(made, Path) else tmp_path / "net.onnx"
        if isinstance(made, onnx.ModelProto):
            path.write_bytes(made.SerializeToString())
        metafile = tmp_path / "meta.yaml"
        metafile.write_text(meta, encoding="utf-8")
        return convert(ConvertRequest(model=path, target=target, meta=metafile if meta else None), host)

    return call


def archive(conversion: Conversion) -> dict[str, bytes]:
    members = zipfile.ZipFile(io.BytesIO(pack_bundle(conversion)))
    return {name: members.read(name) for name in members.namelist()}


def meta_json(conversion: Conversion, index: int = 0) -> Any:
    return json.loads(archive(conversion)[f"{index}/subgraph_{index}.json"])


def layer_indices(conversion: Conversion) -> list[list[int | None]]:
    return [[layer.index for layer in subgraph.part.layers] for subgraph in conversion.subgraphs]


def check_numbers(conversion: Conversion, source: onnx.ModelProto | Path, feeds: dict[str, np.ndarray]) -> None:
    """The members give the bits of the model without graph optimisation, and `Network` its numbers with it."""
    expected, optimised = (
        dict(zip((oracle := Oracle(source, optimise=optimise)).outputs, oracle(feeds), strict=True))
        for optimise in (False, True)
    )
    got = run_in_a_row([artifact.model for artifact in conversion.artifacts], feeds)
    with Network(pack_bundle(conversion)) as network:
        outputs = network.predict([feeds[tensor.name] for tensor in network.inputs])
        for tensor, output in zip(network.outputs, outputs, strict=True):
            np.testing.assert_array_equal(got[tensor.label], expected[tensor.label])
            assert_near(output, optimised[tensor.label])


@pytest.mark.acceptance("E9")
@pytest.mark.parametrize("target", ["SL1620", "VS680", "GENERIC"])
def test_e9_members_and_delegate(run: Run, rng: np.random.Generator, target: str) -> None:
    conversion = run(conv5(rng), "delegate: cpu num_threads=2", target).conversion
    assert sorted(archive(conversion)) == ["0/subgraph_0.json", "0/subgraph_0.onnx", "bundle.json"]
    meta = meta_json(conversion)
    assert meta["delegate"] == "onnx cpu=1 num_threads=2"
    x = {"shape": [1, 3, 8, 8], "format": "nchw", "dtype": "float32", "name": "x"}
    assert meta["Inputs"]["x"].items() >= x.items()
    check_numbers(conversion, conv5(np.random.default_rng(20240229)), {"x": rng.random((1, 3, 8, 8), F32)})


@pytest.mark.acceptance("E14")
def test_e14_foreign_layout_is_refused(run: Run, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="nhwc"):
        run(conv5(rng), "data_layout: nhwc\ndelegate: cpu")
    assert run(conv5(rng), "data_layout: nchw\ndelegate: cpu").conversion.delegates == ("cpu",)


@pytest.mark.acceptance("P8", "P9", "P15")
def test_p8_p9_p15_row_cut_around_one_operator(run: Run, rng: np.random.Generator) -> None:
    made = googlenet_like(rng, "N")
    conversion = run(made, "delegate: {'*': cpu, '9': gpu}").conversion
    assert layer_indices(conversion) == [[*range(9)], [9], [*range(10, 14)]]
    assert [subgraph.name for subgraph in conversion.subgraphs] == ["subgraph_0", "subgraph_1", "subgraph_2"]
    assert [(s.part.inputs, s.part.outputs) for s in conversion.subgraphs] == [
        (("input",), ("norm2_Y",)),
        (("norm2_Y",), ("pool2_Y",)),
        (("pool2_Y",), ("loss3/loss3_Y",)),
    ]
    boundary = [t for s in conversion.subgraphs for t in (*s.inputs, *s.outputs)]
    assert {(t.dtype, t.quant, t.label == t.name) for t in boundary} == {("float32", None, True)}
    assert [t.name for t in (*conversion.inputs, *conversion.outputs)] == ["input", "loss3/loss3_Y"]
    check_numbers(conversion, made, {"input": rng.random((1, 3, 16, 16), F32)})


@pytest.mark.acceptance("P16")
def test_p16_converting_again_gives_the_same_models(run: Run, rng: np.random.Generator) -> None:
    made = googlenet_like(rng)
    first, second = (run(made, "delegate: {'*': cpu, '9': gpu}").conversion for _ in range(2))
    assert [artifact.model for artifact in first.artifacts] == [artifact.model for artifact in second.artifacts]


@pytest.mark.acceptance("P23")
def test_p23_rule_by_node_name(run: Run, rng: np.random.Generator) -> None:
    made = conv5(rng)
    conversion = run(made, "delegate: {'*': cpu, conv2: gpu}").conversion
    on_gpu = [s for s, d in zip(conversion.subgraphs, conversion.delegates, strict=True) if d == "gpu"]
    assert [[layer.name for layer in subgraph.part.layers] for subgraph in on_gpu] == [["conv2"]]
    check_numbers(conversion, made, {"x": rng.random((1, 3, 8, 8), F32)})


@pytest.mark.acceptance("T3")
@pytest.mark.parametrize(
    ("kind", "dtype", "name"),
    [("Cast", TensorProto.INT64, "int64"), ("Cast", TensorProto.BOOL, "bool"), ("Cast", TensorProto.DOUBLE, "float64")],
)
def test_t3_type_that_cannot_cross_a_boundary_is_named(run: Run, kind: str, dtype: int, name: str) -> None:
    nodes = [node(kind, "x", "t", "there", to=dtype), node(kind, "t", "y", "back", to=TensorProto.FLOAT)]
    made = model(nodes, [value("x", [1, 4])], [value("y", [1, 4])])
    with pytest.raises(InputError, match=f"tensor 't': type {name} cannot cross"):
        run(made, "delegate: {'*': cpu, back: gpu}")
    assert run(made, "delegate: cpu").conversion.delegates == ("cpu",)


@pytest.mark.acceptance("N7")
def test_n7_dynamic_batch_is_1_in_the_bundle(run: Run, rng: np.random.Generator) -> None:
    made = flattened(rng, "N")
    conversion = run(made, "delegate: {'*': cpu, dense: gpu}").conversion
    shapes = {t.name: t.shape for s in conversion.subgraphs for t in (*s.inputs, *s.outputs)}
    assert shapes == {"x": (1, 3, 4), "flat": (1, 12), "y": (1, 5)}
    assert conversion.notes == ("the open batch of 'x' was set to 1",)
    check_numbers(conversion, made, {"x": rng.random((1, 3, 4), F32)})


def test_arithmetic_on_shapes_never_crosses_a_boundary(run: Run, rng: np.random.Generator) -> None:
    conversion = run(flattened(rng, "N"), "delegate: {'*': cpu, relu: gpu, dense: gpu}").conversion
    assert {t.dtype for s in conversion.subgraphs for t in (*s.inputs, *s.outputs)} == {"float32"}


def test_control_flow_in_parts(run: Run, rng: np.random.Generator) -> None:
    made = choice()
    conversion = run(made, "delegate: {'*': cpu, abs: gpu}").conversion
    assert len(conversion.subgraphs) == 2
    check_numbers(conversion, made, {"x": rng.normal(size=(1, 4)).astype(F32)})
    check_numbers(conversion, made, {"x": -np.ones((1, 4), F32)})


def test_cut_at_named_tensors(run: Run, rng: np.random.Generator) -> None:
    made = conv5(rng)
    meta = (
        "inputs: [{name: b, shape: [1, 4, 8, 8], means: 0, scale: 2}]\noutputs: [{name: d}, {name: c}]\ndelegate: cpu"
    )
    conversion = run(made, meta).conversion
    assert [t.name for t in (*conversion.inputs, *conversion.outputs)] == ["b", "d", "c"]
    assert meta_json(conversion)["Inputs"]["b"]["mean"] == [0.0] * 4


def test_operator_the_boards_lack_is_warned_about(run: Run) -> None:
    made = model([node("Gelu", "x", "y", "act")], [value("x", [1, 4])], [value("y", [1, 4])], opset=20, ir=9)
    (warning,) = run(made, "delegate: cpu").warnings
    assert "Gelu of operator set 20" in warning


def test_info_shows_layers_as_a_viewer_does(synap: Synap, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(flattened(rng, "N").SerializeToString())
    result = synap("info", path)
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    assert ["7", "MatMul", "1x5", "float32", "dense"] in lines
    assert ["0", "x", "1x3x4", "float32", "nchw"] in lines
    assert ["Runs", "as", "it", "is", "on:", "cpu,", "gpu"] in lines


REAL = [
    "classification/efficientnet-lite0",
    "detection/FastestDet",
    "detection/digits_det_160",
    "ocr/ch_PP-OCRv4_det_infer",
]


def real_model(zoo: Path, name: str) -> tuple[Path, np.ndarray]:
    """Path of a model and one real input."""
    if name == "example":
        image = np.asarray(Image.open(ROOT / "examples/digits/3.png").convert("L").resize((8, 8)), F32) / 16
        return ROOT / "examples/digits/digits.onnx", image.reshape(1, 1, 8, 8)
    samples = np.load(zoo / f"reference/{Path(name).name}.onnx.npz")
    return zoo / f"models/{name}.onnx", samples["s0_input_0"]


@pytest.mark.zoo
@pytest.mark.parametrize("name", [*REAL, "example"])
def test_real_model_whole_and_in_pieces_gives_its_numbers(run: Run, zoo: Path, name: str) -> None:
    path, x = real_model(zoo, name)
    shape = f"inputs: [{{shape: {list(x.shape)}}}]\n"
    conversion = run(path, f"{shape}delegate: cpu").conversion
    feeds = {conversion.inputs[0].name: x}
    check_numbers(conversion, path, feeds)
    cut = random.Random(name)
    for _ in range(2):
        chosen = sorted(cut.sample([layer.index or 0 for layer in conversion.subgraphs[0].part.layers], 2))
        rules = ", ".join(f"'{index}': gpu" for index in chosen)
        parts = run(path, f"{shape}delegate: {{'*': cpu, {rules}}}").conversion
        assert len(parts.subgraphs) >= 3
        check_numbers(parts, path, feeds)


@pytest.mark.zoo
@pytest.mark.parametrize("name", REAL)
def test_every_tensor_of_a_real_model_has_a_shape(zoo: Path, name: str) -> None:
    path, x = real_model(zoo, name)
    source = OnnxModel.open(ModelRequest(path=path, inputs=(BoundarySpec(shape=x.shape),)))
    assert [tensor.name for tensor in source.tensors.values() if not tensor.static] == []
