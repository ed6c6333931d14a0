"""Compare a bundle whose two branches may run in parallel with itself run one subgraph at a time.

``python -m benchmarks.branches``: prints the median wall times with ``parallel_limit`` 0 and 1, taken in turn in one
run, and their ratio; it has to be below 1 on a machine with two free cores.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from synap_core.bundle_writer import pack_bundle
from synap_core.convert import ConvertRequest, convert
from synap_core.host import PluginHost
from synap_core.network import Network
from tests.support.tflite_models import ModelBuilder, schema

ROUNDS = 15


def two_heavy_branches() -> bytes:
    """Two rows of four 3x3 convolutions with 64 channels on 64x64, joined at both ends."""
    rng = np.random.default_rng(0)
    builder = ModelBuilder()
    shape = [1, 64, 64, 64]
    x = builder.tensor("x", shape)
    ends = []
    for branch in ("left", "right"):
        last = x
        for k in range(4):
            weights = builder.constant(f"{branch}_w{k}", rng.normal(0, 0.05, (64, 3, 3, 64)).astype(np.float32))
            bias = builder.constant(f"{branch}_b{k}", np.zeros(64, np.float32))
            out = builder.tensor(f"{branch}_{k}", shape)
            options = schema.Conv2DOptionsT()
            options.strideW = options.strideH = 1
            builder.operator("CONV_2D", [last, weights, bias], [out], options)
            last = out
        ends.append(last)
    y = builder.tensor("y", shape)
    builder.operator("ADD", ends, [y], schema.AddOptionsT())
    return builder.finish([x], [y])


def limited(content: bytes, limit: int) -> bytes:
    """The same bundle with a ``parallel_limit``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == "bundle.json":
                data = json.dumps(json.loads(data) | {"parallel_limit": limit}).encode()
            new.writestr(info.filename, data)
    return stream.getvalue()


def main() -> int:
    """Print the ratio; 1 when running in parallel is no faster."""
    host = PluginHost()
    with tempfile.TemporaryDirectory() as name:
        model, meta = Path(name) / "net.tflite", Path(name) / "meta.yaml"
        model.write_bytes(two_heavy_branches())
        rules = ", ".join(f"right_{k}: cpu use_xnnpack=1 num_threads=1" for k in range(4))
        meta.write_text(f"delegate: {{'*': cpu num_threads=1, {rules}}}\n")
        conversion = convert(ConvertRequest(model=model, target="SL1620", meta=meta), host).conversion
    content = pack_bundle(conversion)
    x = [np.random.default_rng(1).normal(size=(1, 64, 64, 64)).astype(np.float32)]
    times: dict[int, list[float]] = {0: [], 1: []}
    with Network(limited(content, 0), host=host) as parallel, Network(limited(content, 1), host=host) as serial:
        for _ in range(ROUNDS):
            times[0].append(parallel.predict_timed(x).milliseconds)
            times[1].append(serial.predict_timed(x).milliseconds)
    medians = {limit: statistics.median(values) for limit, values in times.items()}
    ratio = medians[0] / medians[1]
    print(f"{len(conversion.artifacts)} subgraphs; parallel_limit 0: {medians[0]:.1f} ms, 1: {medians[1]:.1f} ms")
    print(f"ratio {ratio:.2f} (below 1 wanted)")
    return int(ratio >= 1)


if __name__ == "__main__":
    sys.exit(main())
