"""Run quantizers, ours and the peers', each in a process of its own, and keep what came of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.quantization.evaluation import Bench
from benchmarks.quantization.tasks import Figures
from benchmarks.quantization.variants import Variant

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a quantization gave.

    Attributes:
        figures: How good the model is.
        seconds: Time of the stage, without imports and without reading the model.
        peak_mb: Largest memory of the process, imports and all.
        base_mb: Its memory when the stage began.
        stages: Seconds of the parts of ours, by name.
        notes: Lines that our command printed.
        failed: Why there is no model; empty when there is one.
    """

    figures: Figures = field(default_factory=dict)
    seconds: float = 0.0
    peak_mb: float = 0.0
    base_mb: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    failed: str = ""


class ToolError(Exception):
    """A quantizer ended with an error; the message is the last line it wrote."""


def call(command: Sequence[str | Path], job: Mapping[str, object] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, with a job as JSON on its standard input; what it wrote.

    Raises:
        ToolError: It failed.
    """
    done = subprocess.run(
        [str(word) for word in command],
        input="" if job is None else json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise ToolError((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
    return done


def drive_process(command: Sequence[str | Path], job: Mapping[str, object]) -> Result:
    """What a driver measured, which is its last line; the model is not evaluated yet."""
    return Result(**json.loads(call(command, job).stdout.splitlines()[-1]))


def prepare(bench: Bench, python: Path) -> None:
    """Make the model that the peers quantize."""
    if not bench.prepared.exists():
        bench.folder.mkdir(parents=True, exist_ok=True)
        task = bench.task
        job = {"tool": "prepare", "model": str(bench.float_onnx), "shape": task.shape, "outputs": task.outputs}
        call([python, HERE / "peers.py"], {**job, "output": str(bench.prepared)})


def run_peer(bench: Bench, tool: str, python: Path) -> Result:
    """Quantize with a peer, and evaluate."""
    prepare(bench, python)
    output = bench.folder / f"{tool}.onnx"
    paths = [str(path) for path in bench.data("calibration")]
    job = {"tool": tool, "model": str(bench.prepared), "samples": paths, "output": str(output)}
    found = drive_process([python, HERE / "peers.py"], job)
    return replace(found, figures=bench.figures(output))


def write_meta(bench: Bench, variant: Variant, samples: Path, name: str) -> Path:
    """Write the metafile of one of our quantizations, with a folder of samples; JSON is YAML."""
    task = bench.task
    content: dict[str, object] = {"inputs": [{"name": task.input, "shape": task.shape}]}
    if task.outputs:
        content["outputs"] = [{"name": output} for output in task.outputs]
    content["quantization"] = variant.quantization(f"{samples}/*.npy")
    path = bench.folder / f"{name}.yaml"
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def convert(bench: Bench, meta: Path, out_dir: Path, *options: str) -> list[str]:
    """Convert as a user does; the lines that the command printed. The folder is new, with no results to reuse."""
    shutil.rmtree(out_dir, ignore_errors=True)
    command = [sys.executable, "-m", "synap_core.cli", "convert", *bench.arguments, "--meta", str(meta)]
    done = call([*command, "--target", "GENERIC", "--out-format", "onnx", "--out-dir", str(out_dir), *options])
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def drive(bench: Bench, meta: Path, cache: Path | None = None) -> Result:
    """Quantize through the API in a fresh process, for seconds, memory and stages; the model is not evaluated."""
    weights = None if bench.weights is None else str(bench.weights)
    job = {"model": str(bench.model), "weights": weights, "meta": str(meta), "cache": str(cache) if cache else None}
    return drive_process([sys.executable, "-m", "benchmarks.quantization.ours"], job)


def run_ours(bench: Bench, variant: Variant) -> Result:
    """Quantize by command line for the model, through the API for time and memory, and evaluate."""
    samples = bench.data("calibration")[0].parent
    meta = write_meta(bench, variant, samples, variant.name)
    out_dir = bench.folder / variant.name
    notes = convert(bench, meta, out_dir)
    return replace(drive(bench, meta), figures=bench.figures(out_dir / "model.onnx"), notes=notes)


def load(path: Path) -> Result | None:
    """What an earlier run kept."""
    return Result(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def keep(path: Path, result: Result) -> None:
    """Keep a result for later runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
