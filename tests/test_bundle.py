"""Writing and reading bundles."""

from __future__ import annotations

import io
import json
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synap_core.api import Artifact, InputError, PluginError, QuantParams, TensorMeta
from synap_core.bundle_reader import load_bundle, read_bundle
from synap_core.bundle_writer import pack_bundle, tensor_metadata, wire
from synap_core.conversion import Conversion
from synap_core.delegate_rules import Assignment
from synap_core.describe import Describer
from synap_core.names import is_operator
from synap_core.network import Network
from synap_core.partition import partition
from synap_core.payloads import Target
from synap_core.selection import select
from synap_core.subgraphs import Subgraph
from tests.support.metafiles import metafile
from tests.support.toy_source import GraphModel, graph_model

TARGET = Target(name="SOC", summary="", delegates=("cpu",))


def bundle_of(source: GraphModel, delegates: str, folder: Path, meta_text: str = "") -> Conversion:
    """Convert a graph; the delegate of each operator is given by position."""
    meta = metafile(folder, meta_text)
    selection = select(source, meta)
    names = delegates.split()
    operators = [layer for layer in source.layers if is_operator(layer)]
    assigned = {i: Assignment(name) for i, (name, _) in enumerate(zip(names, operators, strict=True))}
    describer = Describer(source, meta, selection)
    parts = partition(selection.layers, assigned, selection.inputs, selection.outputs)
    subgraphs = tuple(
        Subgraph(
            index=i,
            source=source,
            part=part.part,
            inputs=tuple(describer.input(t) for t in part.part.inputs),
            outputs=tuple(describer.output(t) for t in part.part.outputs),
            options="",
            target=TARGET,
        )
        for i, part in enumerate(parts)
    )
    artifacts = tuple(
        Artifact(
            model_file=f"{s.name}.toy",
            meta_file=f"{s.name}.json",
            model=source.slice(s.part),
            inputs=s.inputs,
            outputs=s.outputs,
            delegate="toy",
        )
        for s in subgraphs
    )
    return Conversion(
        source=source,
        target=TARGET,
        inputs=tuple(describer.input(t) for t in selection.inputs),
        outputs=tuple(describer.output(t) for t in selection.outputs),
        subgraphs=subgraphs,
        artifacts=artifacts,
        delegates=tuple(part.assignment.delegate for part in parts),
    )


def row(count: int = 3) -> GraphModel:
    """Operators in a row; the last one has a second output, and each but it one that nobody reads."""
    operators = [(f"o{k}", [f"t{k - 1}" if k else "x"], [f"t{k}", f"u{k}"]) for k in range(count)]
    return graph_model(["x"], operators, [f"u{count - 1}"])


def archive(content: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(content))


def bundle_json(content: bytes) -> Any:
    return json.loads(archive(content).read("bundle.json"))


@pytest.fixture
def three(tmp_path: Path) -> bytes:
    return pack_bundle(bundle_of(row(), "a b a", tmp_path))


@pytest.mark.acceptance("B1", "B2", "B9")
def test_b1_b2_b9_members_are_stored_under_the_subgraph_index_in_order(three: bytes) -> None:
    infos = archive(three).infolist()
    assert [info.filename for info in infos] == [
        "bundle.json",
        "0/subgraph_0.toy",
        "0/subgraph_0.json",
        "1/subgraph_1.toy",
        "1/subgraph_1.json",
        "2/subgraph_2.toy",
        "2/subgraph_2.json",
    ]
    for info in infos:
        assert info.compress_type == zipfile.ZIP_STORED
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert (info.create_system, info.external_attr >> 16, info.flag_bits, info.create_version) == (3, 0o600, 0, 20)


@pytest.mark.acceptance("B3", "B4", "B5", "B6", "B7")
def test_b3_to_b7_wiring(three: bytes) -> None:
    bundle = bundle_json(three)
    assert list(bundle) == ["graph", "outputs"]
    assert [list(entry) for entry in bundle["graph"]] == [["inputs", "model", "meta"]] * 3
    assert bundle["graph"][0]["inputs"] == [{"subgraph": -1, "out": 0}]
    assert bundle["graph"][1]["inputs"] == [{"subgraph": 0, "out": 0}]
    assert bundle["graph"][2]["inputs"] == [{"subgraph": 1, "out": 0}]
    assert bundle["outputs"] == [{"subgraph": 2, "out": 0}]


@pytest.mark.acceptance("B5")
def test_b5_second_output_of_the_third_subgraph_is_referenced(tmp_path: Path) -> None:
    source = row()
    source.outputs = ["u2", "t2"]
    assert bundle_json(pack_bundle(bundle_of(source, "a b a", tmp_path)))["outputs"] == [
        {"subgraph": 2, "out": 1},
        {"subgraph": 2, "out": 0},
    ]


@pytest.mark.acceptance("B6")
def test_b6_extra_outputs_nobody_reads_are_accepted(tmp_path: Path) -> None:
    conversion = bundle_of(row(), "a b a", tmp_path)
    extra = replace(conversion.artifacts[1].outputs[0], label="extra")
    artifacts = list(conversion.artifacts)
    artifacts[1] = replace(artifacts[1], outputs=(*artifacts[1].outputs, extra))
    content = pack_bundle(replace(conversion, artifacts=tuple(artifacts)))
    assert "extra" in json.loads(archive(content).read("1/subgraph_1.json"))["Outputs"]
    assert len(read_bundle(content, "x").subgraphs) == 3


@pytest.mark.acceptance("B8")
def test_b8_same_conversion_gives_the_same_bytes_seconds_apart(tmp_path: Path) -> None:
    first = pack_bundle(bundle_of(row(), "a b a", tmp_path))
    time.sleep(2.1)  # ZIP timestamps count in steps of two seconds
    assert pack_bundle(bundle_of(row(), "a b a", tmp_path)) == first


def test_json_members_are_indented_by_one_space(three: bytes) -> None:
    for name in ("bundle.json", "0/subgraph_0.json"):
        text = archive(three).read(name).decode()
        assert text == json.dumps(json.loads(text), indent=1)


@pytest.mark.acceptance("B10")
def test_b10_tensor_that_is_output_and_input_of_a_later_subgraph_is_listed_once(tmp_path: Path) -> None:
    source = graph_model(["x"], [("a", ["x"], ["t"]), ("b", ["t"], ["y"])], ["t", "y"])
    bundle = bundle_json(pack_bundle(bundle_of(source, "a b", tmp_path)))
    assert bundle["outputs"] == [{"subgraph": 0, "out": 0}, {"subgraph": 1, "out": 0}]
    assert bundle["graph"][1]["inputs"] == [{"subgraph": 0, "out": 0}]


@pytest.mark.acceptance("B11")
def test_b11_tensor_with_two_shapes_is_an_error(tmp_path: Path) -> None:
    conversion = bundle_of(row(), "a b a", tmp_path)
    artifacts = list(conversion.artifacts)
    artifacts[1] = replace(artifacts[1], inputs=(replace(artifacts[1].inputs[0], shape=(1, 5)),))
    with pytest.raises(PluginError, match="tensor 't0' is registered with two different types or shapes"):
        pack_bundle(replace(conversion, artifacts=tuple(artifacts)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": b""}, "a model of bytes, not empty"),
        ({"model": "text"}, "a model of bytes"),
        ({"meta_file": "subgraph_0.toy"}, "two file names"),
        ({"model_file": "../../etc/x"}, r"must have a base name, not '../../etc/x'"),
        ({"model_file": "a\\b"}, "must have a base name"),
        ({"meta_file": ".."}, "must have a base name"),
        ({"meta_file": ""}, "must have a base name"),
    ],
)
def test_artifact_that_does_not_fit_a_bundle_is_the_delegates_fault(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    artifact = bundle_of(row(), "a b a", tmp_path).artifacts[0]
    with pytest.raises(PluginError, match=message):
        replace(artifact, **changes)


def test_model_input_read_by_two_subgraphs_has_one_index(tmp_path: Path) -> None:
    source = graph_model(["x", "w"], [("a", ["x"], ["t"]), ("b", ["t", "x", "w"], ["y"])], ["y"])
    entries, _ = wire(bundle_of(source, "a b", tmp_path))
    # Inputs of a subgraph are sorted by id: t, w, x.
    assert [entry.inputs for entry in entries] == [((-1, 0),), ((0, 0), (-1, 1), (-1, 0))]


AFFINE = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(-3,))


def test_metadata_of_tensors_is_written_as_the_official_toolkit_does() -> None:
    tensor = TensorMeta(label="4", name="x", shape=(1, 2), dtype="float32", layout="nhwc", security="any")
    quantized = replace(tensor, dtype="int8", quant=AFFINE, data_format="rgb", mean=(1.0,), scale=2.0)
    assert json.dumps(tensor_metadata(tensor)) == (
        '{"shape": [1, 2], "format": "nhwc", "dtype": "float32", "name": "x", "data_format": "", "security": "any"}'
    )
    assert json.dumps(tensor_metadata(quantized)) == (
        '{"shape": [1, 2], "format": "nhwc", "quantizer": "asymmetric_affine", "quantize": {"qtype": "int8", '
        '"max_value": 0.0, "min_value": 0.0, "scale": 0.5, "zero_point": -3}, "name": "x", "data_format": "rgb", '
        '"security": "any", "mean": [1.0], "scale": 2.0}'
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    conversion = bundle_of(row(), "a b a", tmp_path, "inputs: [{scale: 3, format: rgb}]")
    bundle = read_bundle(pack_bundle(conversion), "model.synap")
    assert bundle.input_tensors == conversion.inputs
    assert bundle.output_tensors == conversion.outputs
    assert [s.model for s in bundle.subgraphs] == [artifact.model for artifact in conversion.artifacts]
    assert bundle.order == (0, 1, 2)


def repacked(content: bytes, change: dict[str, bytes | None] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    """Write the archive anew with some members replaced (None: left out)."""
    stream = io.BytesIO()
    with archive(content) as old, zipfile.ZipFile(stream, "w", method) as new:
        for info in old.infolist():
            data = (change or {}).get(info.filename, old.read(info))
            if data is not None:
                new.writestr(info.filename, data)
    return stream.getvalue()


def with_bundle(content: bytes, **changes: object) -> bytes:
    return repacked(content, {"bundle.json": json.dumps(bundle_json(content) | changes).encode()})


@pytest.mark.acceptance("R1")
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_r1_stored_and_deflated_members_load(three: bytes, method: int) -> None:
    assert read_bundle(repacked(three, method=method), "x") == read_bundle(three, "x")


def test_directory_entries_and_unknown_keys_are_ignored(three: bytes) -> None:
    stream = io.BytesIO(with_bundle(three, inputs=[{"subgraph": -1, "in": 0}], comment="hello"))
    with zipfile.ZipFile(stream, "a") as more:
        more.writestr("0/", b"")
    assert len(read_bundle(stream.getvalue(), "x").subgraphs) == 3


def test_in_and_out_are_synonyms_and_out_wins(three: bytes) -> None:
    graph = bundle_json(three)["graph"]
    graph[0]["inputs"] = [{"subgraph": -1, "in": 0}]
    graph[1]["inputs"] = [{"subgraph": 0, "in": 7, "out": 0}]
    graph[2]["inputs"] = [{"subgraph": 1}]
    assert [s.inputs for s in read_bundle(with_bundle(three, graph=graph), "x").subgraphs] == [
        ((-1, 0),),
        ((0, 0),),
        ((1, 0),),
    ]


def test_subgraphs_in_reverse_order_are_put_in_execution_order(three: bytes) -> None:
    graph = bundle_json(three)["graph"]
    graph[1]["inputs"], graph[2]["inputs"] = [{"subgraph": 2, "out": 0}], [{"subgraph": 0, "out": 0}]
    content = with_bundle(three, graph=graph, outputs=[{"subgraph": 1, "out": 0}])
    assert read_bundle(content, "x").order == (0, 2, 1)


def test_first_of_two_members_with_one_name_wins(three: bytes) -> None:
    stream = io.BytesIO(three)
    with zipfile.ZipFile(stream, "a") as more, pytest.warns(UserWarning, match="Duplicate name"):
        more.writestr("bundle.json", b"{}")
    assert len(read_bundle(stream.getvalue(), "x").subgraphs) == 3


def damaged_crc(content: bytes) -> bytes:
    position = content.index(b'"graph"')
    return content[:position] + b'"gRaph"' + content[position + 7 :]


REF = {"subgraph": 0, "out": 0}


@pytest.mark.acceptance("R2", "R4")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: repacked(c, method=zipfile.ZIP_LZMA), "compression method 14 is not supported; allowed: stored"),
        (lambda c: repacked(c, method=zipfile.ZIP_BZIP2), "compression method 12 is not supported"),
        (lambda c: repacked(c, {"0/subgraph_0.toy": b""}), "0/subgraph_0.toy: the member is empty"),
        (lambda c: repacked(c, {"0/subgraph_0.json": None}), "0/subgraph_0.json: no such member"),
        (lambda c: repacked(c, {"bundle.json": None, "Bundle.json": b"{}"}), "bundle.json: no such member"),
        (lambda c: b"#!/bin/sh\n" + c, "does not begin like a ZIP archive"),
        (lambda c: c[:100], "the archive is damaged"),
        (damaged_crc, "bundle.json: the member is damaged"),
        (lambda c: repacked(c, {"bundle.json": b"{"}), "not valid JSON"),
        (lambda c: repacked(c, {"bundle.json": b"[" * 100_000}), "not valid JSON"),
        (lambda c: repacked(c, {"bundle.json": b"[]"}), "'graph' must be a list"),
        (lambda c: with_bundle(c, graph=[]), "'graph' must be a list with at least one subgraph"),
        (lambda c: with_bundle(c, graph=[3]), "a subgraph must be an object"),
        (lambda c: with_bundle(c, graph=[{"model": 1}]), "'model' and 'meta' must be member names"),
        (lambda c: with_bundle(c, outputs=[{"subgraph": "0"}]), "must be an integer, not '0'"),
        (lambda c: with_bundle(c, outputs=[{"subgraph": True}]), "must be an integer, not True"),
        (lambda c: with_bundle(c, outputs=[{"subgraph": 9}]), "subgraph 9 cannot be the source; there are 3"),
        (lambda c: with_bundle(c, outputs=[{"subgraph": -1}]), "subgraph -1 cannot be the source"),
        (lambda c: with_bundle(c, outputs=[{"subgraph": 0, "out": 4}]), "has 1 outputs, there is no number 4"),
        (lambda c: with_bundle(c, outputs=[{"subgraph": 0, "out": -4}]), "the tensor index -4 is negative"),
        (lambda c: with_bundle(c, parallel_limit="2"), "must be an integer, not '2'"),
        (lambda c: rewired(c, [[REF], [REF], [REF]]), "subgraph 0 waits for itself: the graph has a cycle"),
        (lambda c: rewired(c, [[{"subgraph": 5}], [REF], [REF]]), "subgraph 5 does not exist; there are 3"),
        (lambda c: rewired(c, [[], [REF], [REF]]), "0 inputs are wired, but 0/subgraph_0.json describes 1"),
        (lambda c: rewired(c, [[{"subgraph": -1, "out": 2}], [REF], [REF]]), r"numbered \[2\], not 0 to 0"),
        (lambda c: with_tensor(c, shape=[1, 5]), "'t0' has 20 bytes but is fed with 16"),
        (lambda c: with_tensor(c, shape=None), "'shape' must be a list of positive integers, not None"),
        (lambda c: with_tensor(c, shape=[1, -4]), "'shape' must be a list of positive integers"),
        (lambda c: with_tensor(c, shape=[10**6, 10**6]), "takes more than"),
        (lambda c: with_tensor(c, dtype="int64"), "'dtype' is 'int64'; allowed: byte, int8"),
        (lambda c: with_tensor(c, mean=3), "'mean' must be a list of numbers, not 3"),
        (lambda c: with_tensor(c, scale="x"), "'scale' must be a number, not 'x'"),
        (lambda c: with_tensor(c, mean=[10**4000]), "'mean' must be a list of numbers"),
        (lambda c: with_tensor(c, scale=float("nan")), "'scale' must be a number, not nan"),
        (lambda c: with_tensor(c, quantizer="dynamic_fixed_point", quantize={"fl": 1e300}), "'fl' is 1e.300; it must"),
        (lambda c: with_tensor(c, name=None), "'name' must be text, not None"),
        (lambda c: with_tensor(c, quantize=3), "'quantize' must be an object"),
        (lambda c: repacked(c, {"1/subgraph_1.json": b"[1]"}), "the metadata must be a JSON object"),
        (lambda c: repacked(c, {"1/subgraph_1.json": b'{"Inputs": {}}'}), "'Outputs' is missing"),
    ],
)
def test_r2_r4_bundle_that_would_fail_on_the_board_is_refused(three: bytes, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_bundle(change(three), "model.synap")
    assert "\n" not in str(caught.value)


def test_bundle_for_silicon_can_be_read_but_not_run(three: bytes) -> None:
    content = repacked(three, {"0/subgraph_0.toy": b"EBGX12345"})
    assert read_bundle(content, "model.synap").subgraphs[0].model == b"EBGX12345"
    with pytest.raises(InputError, match=r"compiled NPU image .EBG.; only the NPU") as caught:
        Network(content)
    assert "\n" not in str(caught.value)


def rewired(content: bytes, inputs: list[list[dict[str, int]]]) -> bytes:
    graph = bundle_json(content)["graph"]
    for entry, refs in zip(graph, inputs, strict=True):
        entry["inputs"] = refs
    return with_bundle(content, graph=graph)


def with_tensor(content: bytes, **changes: object) -> bytes:
    meta = json.loads(archive(content).read("1/subgraph_1.json"))
    meta["Inputs"]["t0"] |= changes
    return repacked(content, {"1/subgraph_1.json": json.dumps(meta).encode()})


def test_archive_that_unpacks_to_far_more_than_it_holds_is_refused(three: bytes) -> None:
    bomb = repacked(three, {"0/subgraph_0.toy": bytes(80 << 20)}, method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(InputError, match="unpacks to 83886080 bytes, more than is allowed"):
        read_bundle(bomb, "x")


def test_many_members_cannot_do_what_one_may_not(three: bytes) -> None:
    parts = {f"{k}/subgraph_{k}.toy": bytes(30 << 20) for k in range(3)}
    with pytest.raises(
        InputError, match="2/subgraph_2.toy: the member unpacks to 31457280 bytes, more than is allowed"
    ):
        read_bundle(repacked(three, dict(parts), method=zipfile.ZIP_DEFLATED), "x")


def test_member_names_are_only_names(three: bytes, tmp_path: Path) -> None:
    graph = bundle_json(three)["graph"]
    graph[0]["model"] = "../../../escaped.toy"
    stream = io.BytesIO(with_bundle(three, graph=graph))
    with zipfile.ZipFile(stream, "a") as more:
        more.writestr("../../../escaped.toy", b"content")
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    path = tmp_path / "a/b/c/d/model.synap"
    path.write_bytes(stream.getvalue())
    assert load_bundle(path).subgraphs[0].model == b"content"
    assert list(tmp_path.rglob("escaped*")) == []


def test_any_damage_of_a_bundle_ends_in_one_line(three: bytes) -> None:
    import random

    generator = random.Random(5)
    refused = 0
    for _ in range(2000):
        content = bytearray(three)
        for _ in range(generator.randint(1, 5)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            read_bundle(bytes(content), "model.synap")
        except InputError:
            refused += 1
    assert refused > 500


def test_compiled_image_is_recognised_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.nb"
    path.write_bytes(b"EBGX" + bytes(100))
    with pytest.raises(InputError, match="model.nb: this is a compiled NPU image.*only the NPU of a board"):
        load_bundle(path)


def test_single_model_with_metadata_is_a_bundle_of_one(three: bytes, tmp_path: Path) -> None:
    model, meta = tmp_path / "net.toy", tmp_path / "net.json"
    model.write_bytes(archive(three).read("0/subgraph_0.toy"))
    meta.write_bytes(archive(three).read("0/subgraph_0.json"))
    bundle = load_bundle(model, meta)
    assert [s.inputs for s in bundle.subgraphs] == [((-1, 0),)]
    assert bundle.outputs == ((0, 0),)


@pytest.mark.parametrize(
    ("name", "meta", "message"),
    [
        ("nowhere.synap", None, "nowhere.synap: file not found"),
        ("three.synap", "three.synap", "a .synap bundle holds its own metadata"),
        (".", None, "not a regular file"),
    ],
)
def test_wrong_paths_end_in_one_line(three: bytes, tmp_path: Path, name: str, meta: str | None, message: str) -> None:
    (tmp_path / "three.synap").write_bytes(three)
    with pytest.raises(InputError, match=message):
        load_bundle(tmp_path / name, None if meta is None else tmp_path / meta)


def test_missing_delegate_means_npu_as_for_old_files(three: bytes) -> None:
    meta = json.loads(archive(three).read("1/subgraph_1.json"))
    del meta["delegate"]
    content = repacked(three, {"1/subgraph_1.json": json.dumps(meta).encode()})
    assert read_bundle(content, "x").subgraphs[1].meta.delegate == "npu"
