"""Quantize one model through the API, as ``synap convert`` does, and tell seconds and memory.

Reads one JSON object from standard input: ``{"model": ..., "weights": file or null, "meta": ..., "cache": ...}``;
writes one as the last line of standard output. Imports, and opening and normalising the model, are not in the seconds;
writing the quantized model is.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.quantization.peers import memory_mb


class Stages(logging.Handler):
    """Collects the seconds that the quantizer logs, by stage.

    Attributes:
        seconds: Seconds by the name of the stage.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seconds: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take ``observing 100 samples: 1.23 s`` under ``observing``."""
        found = re.fullmatch(r"(\w+).*: ([0-9.]+) s", record.getMessage())
        if found:
            self.seconds[found[1]] = self.seconds.get(found[1], 0.0) + float(found[2])


def main() -> None:
    """Do the job on standard input."""
    import onnx_ir as ir

    from synap_core.convert import ConvertRequest
    from synap_core.graph.qdq import to_qdq
    from synap_core.host import PluginHost
    from synap_core.quantization.parameters import annotate
    from synap_core.quantization.pipeline import open_quantizer

    job = json.load(sys.stdin)
    stages = Stages()
    logging.getLogger("synap_core").addHandler(stages)
    logging.getLogger("synap_core").setLevel(logging.INFO)
    request = ConvertRequest(
        model=Path(job["model"]),
        weights=Path(job["weights"]) if job.get("weights") else None,
        target="GENERIC",
        meta=Path(job["meta"]),
        whole_graph=True,
        cache_dir=Path(job["cache"]) if job["cache"] else None,
    )
    begin = time.perf_counter()
    quantizer = open_quantizer(request, PluginHost())
    base = memory_mb("VmRSS")
    start = time.perf_counter()
    stages.seconds["opening"] = start - begin
    quantized = quantizer.run()
    with TemporaryDirectory() as folder:
        model = to_qdq(annotate(quantized.plan, quantized.parameters))
        (Path(folder) / "model.onnx").write_bytes(ir.to_proto(model).SerializeToString())
    seconds = time.perf_counter() - start
    peak = memory_mb("VmHWM")
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "base_mb": base, "stages": stages.seconds}))


if __name__ == "__main__":
    main()
