"""Time the canonical graph: ``python -m benchmarks.canonical [MODEL.onnx ...]``.

Prints, for chains of growing length in both formats, the seconds that importing and normalising take, and the ratio of
the time for 4,000 operators to that for 1,000 (4 would be linear). For each model given, and for the digits example,
prints the time of import and normalisation as a multiple of what ONNX Runtime takes to make a session of the same file.
Every figure is the best of three runs of one process.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from ai_edge_litert import schema_py_generated as schema

from synap_core.graph.passes import normalise
from synap_core.host import PluginHost
from synap_core.model_files import open_model
from synap_core.source import ModelRequest, Slice, SourceModel
from tests.support.tflite_models import ModelBuilder

SIZES = (500, 1000, 2000, 4000)
ROOT = Path(__file__).parents[1]


def tflite_chain(count: int) -> bytes:
    """Convolutions of one pixel, additions and activations in turn, on int8 images."""
    rng = np.random.default_rng(0)
    builder = ModelBuilder()
    first = last = builder.tensor("x", (1, 8, 8, 8), "int8", scale=0.1)
    before = last
    for index in range(count):
        out = builder.tensor(f"t{index}", (1, 8, 8, 8), "int8", scale=0.1)
        if index % 3 == 0:
            weights = rng.integers(-127, 128, (8, 1, 1, 8), np.int8)
            constant = builder.tensor(f"w{index}", weights.shape, "int8", data=weights, scale=0.01)
            bias = builder.tensor(f"b{index}", (8,), "int32", data=np.zeros(8, np.int32), scale=0.001)
            options = schema.Conv2DOptionsT()
            options.strideH = options.strideW = 1
            builder.operator("CONV_2D", [last, constant, bias], [out], options)
        elif index % 3 == 1:
            builder.operator("ADD", [last, before], [out], schema.AddOptionsT())
        else:
            builder.operator("RELU", [last], [out])
        before, last = last, out
    return builder.finish([first], [last])


def onnx_chain(count: int) -> bytes:
    """Convolutions, normalisations and activations in turn."""
    rng = np.random.default_rng(0)
    nodes, constants = [], []
    for index in range(count):
        read, written = f"t{index}", f"t{index + 1}"
        if index % 3 == 0:
            weights = rng.normal(size=(8, 8, 1, 1)).astype(np.float32)
            constants.append(onnx.numpy_helper.from_array(weights, f"w{index}"))
            nodes.append(onnx.helper.make_node("Conv", [read, f"w{index}"], [written]))
        elif index % 3 == 1:
            names = [f"{part}{index}" for part in ("scale", "bias", "mean", "var")]
            constants += [onnx.numpy_helper.from_array(np.ones(8, np.float32), name) for name in names]
            nodes.append(onnx.helper.make_node("BatchNormalization", [read, *names], [written]))
        else:
            nodes.append(onnx.helper.make_node("Relu", [read], [written]))
    shape = (1, 8, 8, 8)
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name in ("t0", f"t{count}")]
    graph = onnx.helper.make_graph(nodes, "chain", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def best(function: Callable[[], object]) -> float:
    """Seconds of the fastest of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def import_seconds(source: SourceModel) -> float:
    """Seconds to build and normalise the canonical graph of an opened model."""
    layers = tuple(layer for layer in source.layers if layer.index is not None)
    part = Slice(layers=layers, inputs=tuple(source.inputs), outputs=tuple(source.outputs))
    return best(lambda: normalise(source.canonical(part)))


def main() -> None:
    """Print the figures."""
    host = PluginHost()
    with tempfile.TemporaryDirectory() as folder:
        for suffix, make in (("tflite", tflite_chain), ("onnx", onnx_chain)):
            seconds = {}
            for count in SIZES:
                path = Path(folder) / f"chain.{suffix}"
                path.write_bytes(make(count))
                seconds[count] = import_seconds(open_model(host, ModelRequest(path=path)))
                print(f"{suffix} chain of {count}: {seconds[count]:.3f} s")
            print(f"{suffix} chain, 4,000 against 1,000: {seconds[4000] / seconds[1000]:.2f} times")
    for path in [ROOT / "examples/digits/digits.onnx", *map(Path, sys.argv[1:])]:
        ours = import_seconds(open_model(host, ModelRequest(path=path)))
        content = path.read_bytes()
        peer = best(lambda content=content: ort.InferenceSession(content, providers=["CPUExecutionProvider"]))
        print(f"{path.name}: {ours:.3f} s, ONNX Runtime session {peer:.3f} s, ratio {ours / peer:.2f}")


if __name__ == "__main__":
    main()
