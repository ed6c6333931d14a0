"""A bundle put together by hand, as a third party would from the description of the format."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from synap_core import Network
from synap_core.host import PluginHost

SHAPE = [1, 3, 8, 8]


def model(operator: str, inputs: list[str], output: str) -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in inputs]
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, SHAPE)
    graph = helper.make_graph([helper.make_node(operator, inputs, [output])], "part", values, [result])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def tensor(name: str, **more: object) -> dict[str, object]:
    return {"shape": SHAPE, "format": "nchw", "dtype": "float32", "name": name, "data_format": "", **more}


def write_bundle(path: Path, key: str) -> None:
    """Two branches and a shared input, members under names and in an order of their own, with keys nobody knows."""
    image = tensor("x", security="any", mean=[127.5, 127.5, 127.5], scale=127.5) | {"data_format": "rgb"}
    graph: list[dict[str, Any]] = [
        {"inputs": [{"subgraph": -1, key: 0}], "model": "a/first.onnx", "meta": "a/first.json", "note": "hello"},
        {"inputs": [{key: 0}], "model": "b.onnx", "meta": "b.json"},
        {"inputs": [{"subgraph": 0, key: 0}, {"subgraph": -7, key: 1}], "model": "c.onnx", "meta": "c.json"},
    ]
    bundle = {"graph": graph, "outputs": [{"subgraph": 2, key: 0}, {"subgraph": 1, key: 0}], "inputs": [], "author": 1}
    metas = {
        "a/first.json": {"Inputs": {"x": image}, "Outputs": {"t": tensor("t")}, "delegate": "onnx cpu=1 num_threads=2"},
        "b.json": {"Inputs": [tensor("t")], "Outputs": [tensor("u")], "delegate": "onnx", "Recurrent_connections": {}},
        "c.json": {"Inputs": {"t": tensor("t"), "w": tensor("w")}, "Outputs": {"y": tensor("y")}, "delegate": "onnx "},
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c.onnx", model("Sub", ["t", "w"], "y"))
        archive.writestr("b.onnx", model("Neg", ["t"], "u"))
        archive.writestr("a/", "")
        archive.writestr("a/first.onnx", model("Abs", ["x"], "t"))
        for name, meta in metas.items():
            archive.writestr(name, json.dumps(meta))
        archive.writestr("bundle.json", json.dumps(bundle))


@pytest.mark.parametrize("key", ["in", "out"])
def test_bundle_made_by_hand_loads_and_runs(
    host: PluginHost, tmp_path: Path, rng: np.random.Generator, key: str
) -> None:
    write_bundle(tmp_path / "model.synap", key)
    x, w = (rng.normal(size=SHAPE).astype(np.float32) for _ in range(2))
    with Network(tmp_path / "model.synap", host=host) as network:
        assert [t.name for t in network.inputs] == ["x", "w"]
        assert network.inputs[0].mean == (127.5, 127.5, 127.5)
        y, u = network.predict({"x": x, "w": w})
    np.testing.assert_array_equal(y, np.abs(x) - w)
    np.testing.assert_array_equal(u, -np.abs(x))
