"""Quantize with ONNX Runtime or NNCF; run with the Python of the peers' virtual environment, not with ours.

Reads one JSON object from standard input: ``{"tool": ..., "model": ..., "samples": [...], "output": ...}``; writes one
as the last line of standard output: seconds of the stage, and memory of the process. Imports and reading the model
are not in the seconds. ``prepare`` brings a model into the form that both tools advise before quantizing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any  # the peers' packages are not installed where this is checked

OPSET = 17
"""Both peers need 13 for scales per channel; 17 is what the newest model of the zoo has."""


def memory_mb(key: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process; getrusage would count the process that forked it, too."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return 0.0


def samples(name: str, paths: list[str]) -> Iterator[dict[str, Any]]:
    """Inputs of each sample, read when wanted."""
    import numpy as np

    return ({name: np.load(path)} for path in paths)


def prepare(job: dict[str, Any]) -> Callable[[], None]:
    """Fix the input shape, cut at the outputs asked for, convert to the opset, then ONNX Runtime's own preparation."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_input_shape_fixed

    def run() -> None:
        model = onnx.load(job["model"])
        name = model.graph.input[0].name
        make_input_shape_fixed(model.graph, name, job["shape"])
        fix_output_shapes(model)
        if job["outputs"]:
            model = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model)).extract_model([name], job["outputs"])
        if model.opset_import[0].version < OPSET:
            model = onnx.version_converter.convert_version(model, OPSET)
        onnx.save(model, job["output"])  # given the object itself, it fails on models with weights of some sizes
        quant_pre_process(job["output"], job["output"], skip_symbolic_shape=True)

    return run


def onnx_runtime(job: dict[str, Any], method: str, kind: str, *, per_channel: bool) -> Callable[[], None]:
    """``quantize_static``: QDQ, asymmetric activations; int8 weights are symmetric, uint8 weights are not."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    model = onnx.load(job["model"])
    inputs = samples(model.graph.input[0].name, job["samples"])

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
        """Gives one sample at a time."""

        def get_next(self) -> dict[str, Any] | None:
            """Inputs of the next sample, None after the last."""
            return next(inputs, None)

    def run() -> None:
        quantize_static(
            model,
            job["output"],
            Reader(),
            per_channel=per_channel,
            activation_type=QuantType[kind],
            weight_type=QuantType[kind],
            calibrate_method=CalibrationMethod[method],
        )

    return run


def nncf(job: dict[str, Any], preset: str | None) -> Callable[[], None]:
    """NNCF's post-training quantization on all samples, with its own bias correction."""
    import nncf as library  # type: ignore[import-not-found]  # is only in the peers' environment
    import numpy as np
    import onnx

    model = onnx.load(job["model"])
    name = model.graph.input[0].name
    data = library.Dataset(job["samples"], lambda path: {name: np.load(path)})

    def run() -> None:
        options = {} if preset is None else {"preset": library.QuantizationPreset(preset)}
        onnx.save(library.quantize(model, data, subset_size=len(job["samples"]), **options), job["output"])

    return run


TOOLS: dict[str, Callable[[dict[str, Any]], Callable[[], None]]] = {
    "prepare": prepare,
    "ort-int8": lambda job: onnx_runtime(job, "MinMax", "QInt8", per_channel=True),
    "ort-uint8": lambda job: onnx_runtime(job, "MinMax", "QUInt8", per_channel=False),
    "ort-entropy": lambda job: onnx_runtime(job, "Entropy", "QInt8", per_channel=True),
    "ort-percentile": lambda job: onnx_runtime(job, "Percentile", "QInt8", per_channel=True),
    "nncf": lambda job: nncf(job, None),
    "nncf-mixed": lambda job: nncf(job, "mixed"),
}


def main() -> None:
    """Do the job on standard input."""
    job = json.load(sys.stdin)
    run = TOOLS[job["tool"]](job)
    base = memory_mb("VmRSS")
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_mb": memory_mb("VmHWM"), "base_mb": base}))


if __name__ == "__main__":
    main()
