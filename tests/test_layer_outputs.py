"""What operations give, shown one by one: against LiteRT and ONNX Runtime by themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from synap_core.api import LayerOutput, QuantParams, Runtime, hookimpl
from synap_core.channel import Message
from synap_core.errors import InputError, PluginError
from synap_core.executor import SubgraphLayers
from synap_core.host import PluginHost
from synap_core.layer_dump import dump_layers, file_name
from synap_core.layer_messages import layers_message, layers_of
from synap_core.network import Network
from tests.support.canonical import Reference
from tests.support.canonical_models import int8_net, small_net
from tests.support.cli import Synap
from tests.support.hosts import without
from tests.support.onnx_models import F32
from tests.support.tflite_models import counter, six

Bundle = Callable[..., Path]


@pytest.fixture
def bundle(synap: Synap, tmp_path: Path) -> Bundle:
    """Convert the content of a model and return the bundle."""

    def call(content: bytes, target: str = "SL1620", name: str = "net.tflite", meta: str = "") -> Path:
        (tmp_path / name).write_bytes(content)
        (tmp_path / "meta.yaml").write_text(meta)
        options = ["--model", tmp_path / name, "--target", target, "--out-dir", tmp_path / "o"]
        result = synap("convert", *options, "--meta", tmp_path / "meta.yaml")
        assert result.code == 0, result.err
        return tmp_path / "o" / "model.synap"

    return call


def output(layer: str, position: int = 0, name: str = "t", items: np.ndarray | None = None) -> LayerOutput:
    array = np.zeros(3, F32) if items is None else items
    return LayerOutput(position=position, layer=layer, type="Abs", name=name, items=array)


def test_tflite_operators_give_what_litert_gives(bundle: Bundle, rng: np.random.Generator) -> None:
    x = rng.normal(size=(1, 4)).astype(F32)
    reference = Reference(six())
    reference([x])
    expected = {item["name"]: reference.tensor(item["index"]) for item in reference.details()}
    with Network(bundle(six())) as network:
        (subgraph,) = network.run_layers([x])
    assert subgraph.outputs is not None
    assert [(item.layer, item.type) for item in subgraph.outputs] == [
        *(("c1", "ABS"), ("c2", "ABS"), ("c3", "NEG"), ("c4", "ABS"), ("c5", "EXP"), ("c6", "ABS")),
    ]
    for item in subgraph.outputs:
        np.testing.assert_array_equal(item.items, expected[item.name])


def test_onnx_nodes_give_what_onnx_runtime_gives(bundle: Bundle, rng: np.random.Generator) -> None:
    x = rng.normal(size=(1, 3, 8, 8)).astype(F32)
    model = small_net()
    with Network(bundle(model.SerializeToString(), name="net.onnx")) as network:
        (subgraph,) = network.run_layers([x])
    assert subgraph.outputs is not None
    found = {item.name: item.items for item in subgraph.outputs}
    names = [name for node in model.graph.node for name in node.output]
    for name in names:
        cut = onnx.ModelProto.FromString(model.SerializeToString())
        del cut.graph.output[:]
        cut.graph.output.add(name=name)
        (expected,) = ort.InferenceSession(cut.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )
        # Nodes that are joined when nothing is between them round differently.
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_program_operations_give_the_integers_of_the_reference_kernels(bundle: Bundle) -> None:
    x = np.random.default_rng(7).integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    reference = Reference(int8_net())
    reference([x])
    expected = {item["name"]: reference.tensor(item["index"]) for item in reference.details()}
    with Network(bundle(int8_net(), "VS680")) as network:
        (result,) = network.predict([x])
        (subgraph,) = network.run_layers([x])
    assert subgraph.outputs is not None
    by_layer = {item.layer: item for item in subgraph.outputs}
    for layer, tensor in (("CONV_2D_conv_MAX_POOL_2D_pool_0", "pool"), ("ADD_sum_2", "sum")):
        np.testing.assert_array_equal(by_layer[layer].items.transpose(0, 2, 3, 1), expected[tensor], err_msg=tensor)
    quant = by_layer["ADD_sum_2"].quant
    assert quant is not None
    assert (quant.dtype, quant.zero_point) == ("int8", (-128,))
    assert quant.scale == pytest.approx((1 / 9,))
    np.testing.assert_array_equal(subgraph.outputs[-1].items, result)
    np.testing.assert_array_equal(result, expected["y"])


def test_showing_layers_starts_from_the_initial_state_and_forgets_it(bundle: Bundle) -> None:
    x = np.ones((1, 2), F32)
    with Network(bundle(counter())) as network:
        assert [network.predict([x])[0][0, 0] for _ in range(2)] == [11, 12]
        (subgraph,) = network.run_layers([x])
        assert subgraph.outputs is not None
        sums = [item.items.tolist() for item in subgraph.outputs if item.type == "ADD"]
        assert sums == [[[11, 11]]]
        assert network.predict([x])[0][0, 0] == 11


def runtime_host(run_layers: Callable[[Sequence[np.ndarray]], Sequence[LayerOutput]] | None) -> PluginHost:
    """A host whose ``tflite`` runtime gives its inputs twice, and shows layers as a test wants."""
    executable = SimpleNamespace(notes=(), run=lambda _: [np.zeros((1, 4), F32)] * 2, reset=lambda: None)
    if run_layers is not None:
        executable.run_layers = run_layers
    host = PluginHost(without("runtime-tflite"))
    runtime = Runtime(
        name="tflite",
        summary="stand-in",
        load=lambda _: executable,  # type: ignore[arg-type, return-value]
    )
    record = host.register(
        SimpleNamespace(synap_runtimes=hookimpl(specname="synap_runtimes")(lambda: [runtime])), "test-runtime"
    )
    assert record.state == "enabled", record.reason
    return host


def test_runtime_need_not_show_layers(bundle: Bundle) -> None:
    network = Network(bundle(six()), host=runtime_host(None), isolate=False)
    assert [item.outputs for item in network.run_layers([np.zeros((1, 4), F32)])] == [None]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        pytest.param(["c1"], "runtime 'tflite' returned 'c1', which is not a LayerOutput", id="text"),
        pytest.param([output("a", items=np.array(["a"], object))], "something else than numbers for 't'", id="objects"),
        pytest.param([output("a", items=cast("np.ndarray", [1.0]))], "something else than numbers for 't'", id="list"),
    ],
)
def test_runtime_that_shows_something_else_is_blamed(bundle: Bundle, outputs: list[LayerOutput], message: str) -> None:
    network = Network(bundle(six()), host=runtime_host(lambda _: outputs), isolate=False)
    with pytest.raises(PluginError, match=message):
        network.run_layers([np.zeros((1, 4), F32)])


def test_layers_pass_through_a_message_unchanged() -> None:
    quant = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(3,))
    items = LayerOutput(
        position=4, layer="a b", type="Abs", name="n", items=np.arange(6, dtype=np.int8).reshape(2, 3), quant=quant
    )
    sent = layers_message([SubgraphLayers("0/m", (items, output("c"))), SubgraphLayers("1/m", None)])
    first, second = layers_of(Message(sent.kind, json.loads(json.dumps(sent.values)), sent.arrays))
    assert (first.model_name, second) == ("0/m", SubgraphLayers("1/m", None))
    assert first.outputs is not None
    assert (first.outputs[0].position, first.outputs[0].layer, first.outputs[0].quant) == (4, "a b", quant)
    np.testing.assert_array_equal(first.outputs[0].items, items.items)


@pytest.mark.parametrize("layer", ["../../etc/passwd", "a/b\\c", "\x00\n\x1b[2J", "", ".", "ü" * 500, "a" * 5000])
def test_file_names_are_safe_whatever_layers_are_called(layer: str, tmp_path: Path) -> None:
    name = file_name(0, 0, output(layer))
    assert Path(name).name == name
    assert name.isascii()
    assert name.isprintable()
    assert len(name) < 130
    assert dump_layers(tmp_path / "d", [SubgraphLayers("m", (output(layer),))]) == 1
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == sorted(["index.json", name])


def test_layers_of_one_name_have_files_of_their_own(tmp_path: Path) -> None:
    items = [output("a", 0), output("a", 1), output("a", 1, "second")]
    assert dump_layers(tmp_path, [SubgraphLayers("m", tuple(items)), SubgraphLayers("n", (output("a", 0),))]) == 4
    assert len(list(tmp_path.glob("*.npy"))) == 4
    index = json.loads((tmp_path / "index.json").read_text())
    assert len({entry["file"] for entry in index["tensors"]}) == 4


def test_dump_replaces_an_earlier_one_and_leaves_other_files_alone(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    dump_layers(folder, [SubgraphLayers("m", (output("old", 0), output("both", 1)))])
    (folder / "own.npy").write_text("precious")
    (tmp_path / "outside.npy").write_text("precious")
    index = json.loads((folder / "index.json").read_text())
    index["tensors"] += [{"file": "../outside.npy"}, {"file": "own.npy"}, {"file": 3}]
    (folder / "index.json").write_text(json.dumps(index))
    dump_layers(folder, [SubgraphLayers("m", (output("new", 0), output("both", 1)))])
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.json",
        "own.npy",
        "s0_0000_new.npy",
        "s0_0001_both.npy",
    ]
    assert (tmp_path / "outside.npy").read_text() == "precious"


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"tensors": [1]}', "[" * 100_000])
def test_damaged_index_of_an_earlier_dump_is_replaced(tmp_path: Path, index: str) -> None:
    (tmp_path / "index.json").write_text(index)
    dump_layers(tmp_path, [SubgraphLayers("m", (output("a"),))])
    assert len(json.loads((tmp_path / "index.json").read_text())["tensors"]) == 1


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("")
    with pytest.raises(InputError, match="cannot make the folder: .*; choose another folder with --dump-layers"):
        dump_layers(tmp_path / "d", [SubgraphLayers("m", ())])


def test_command_dumps_all_subgraphs_and_says_what_they_are(
    synap: Synap, bundle: Bundle, tmp_path: Path, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(1, 4)).astype(F32)
    np.save(tmp_path / "x.npy", x)
    path = bundle(six(), meta="delegate: {'*': cpu, c5...: cpu num_threads=1}")
    result = synap("run", "-m", path, tmp_path / "x.npy", "--dump-layers", tmp_path / "d")
    assert (result.code, result.err) == (0, "")
    assert f"{tmp_path / 'd'}: 6 tensors of 3 subgraphs" in result.out
    entries = json.loads((tmp_path / "d" / "index.json").read_text())["tensors"]
    where = {entry["layer"]: entry["subgraph"] for entry in entries}
    assert where["c1"] == where["c2"] == where["c5"] != where["c6"]
    (exp,) = (entry for entry in entries if entry["type"] == "EXP")
    assert (exp["shape"], exp["dtype"], exp["quantization"]) == ([1, 4], "float32", None)
    np.testing.assert_allclose(np.load(tmp_path / "d" / exp["file"]), np.exp(np.abs(x)), rtol=1e-6)
