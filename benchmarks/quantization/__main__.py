"""Compare the quantizer with ONNX Runtime and NNCF: ``python -m benchmarks.quantization``.

Prints a table for each model and a line for each requirement; ends with 1 when one is not met. Every result is kept in
the work folder, and a later run measures only what is not there yet.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.quantization.environment import peer_python, peer_versions
from benchmarks.quantization.evaluation import Bench
from benchmarks.quantization.extras import EXTRAS, TASK
from benchmarks.quantization.limits import check, limits, mixed_output_advice
from benchmarks.quantization.measuring import Result, ToolError, keep, load, run_ours, run_peer
from benchmarks.quantization.report import table
from benchmarks.quantization.tasks import TASKS
from benchmarks.quantization.variants import EXPENSIVE_PEERS, PEERS, VARIANTS

ROOT = Path(__file__).parents[2]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantization", description=__doc__)
    zoo = Path(os.environ.get("SYNAP_ZOO") or ROOT.parent / "shared" / "zoo")
    parser.add_argument("--zoo", type=Path, default=zoo, help="folder of the model zoo")
    parser.add_argument("--work", type=Path, default=ROOT / "build/quantization-benchmark", help="data and results")
    parser.add_argument("--peer-venv", type=Path, default=ROOT / "build/peer-venv", help="made when it is not there")
    parser.add_argument("--task", action="append", choices=TASKS, help="only these models; may be repeated")
    parser.add_argument("--variant", action="append", default=[], help="only these of ours, as a pattern: 'int8pc-*'")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="measure the peers, too")
    parser.add_argument("--expensive-peers", action="store_true", help="those that take minutes and gigabytes, too")
    parser.add_argument("--extra", action="append", default=[], choices=EXTRAS, help="measure a claim of its own")
    parser.add_argument("--again", action="store_true", help="measure what is selected even if it is there")
    return parser.parse_args(words)


def main() -> int:
    """Measure what is missing, then print what there is of all that is selected."""
    options = arguments()
    if options.peers:
        print(peer_versions(peer_python(options.peer_venv)))
    results = {}
    for name in options.task or TASKS:
        bench = bench_of(options, name)
        results[name] = measure(bench, options)
        print(*table(bench.task, bench.task.score(bench.zoo, bench.exact(), bench.exact()), results[name]), sep="\n")
        print(flush=True)
    lines = [line for limit in limits() if (line := check(limit, results)) is not None]
    lines += mixed_output_advice(results)
    lines += [EXTRAS[name](bench_of(options, TASK)) for name in options.extra]
    print(*lines, sep="\n")
    return int(any(line.startswith("NOT") for line in lines))


def bench_of(options: argparse.Namespace, name: str) -> Bench:
    """A task in the work folder."""
    return Bench(task=TASKS[name], zoo=options.zoo, folder=options.work / name)


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, Result]:
    """Results of the selected peers and variants: kept ones, and the rest measured now."""
    jobs: dict[str, Callable[[], Result]] = {}
    if options.peers:
        python = peer_python(options.peer_venv)
        for tool in (*PEERS, *(EXPENSIVE_PEERS if options.expensive_peers else ())):
            jobs[tool] = lambda tool=tool: run_peer(bench, tool, python)  # type: ignore[misc]  # binds this turn's tool
    for name, variant in VARIANTS.items():
        if any(fnmatch(name, pattern) for pattern in options.variant or ["*"]):
            jobs[name] = lambda variant=variant: run_ours(bench, variant)  # type: ignore[misc]  # likewise
    results = {}
    for name, job in jobs.items():
        path = bench.folder / "results" / f"{name}.json"
        result = None if options.again else load(path)
        if result is None:
            print(f"{bench.task.name}: {name}", file=sys.stderr, flush=True)
            result = attempt(job)
            if not result.failed:
                keep(path, result)
        results[name] = result
    return results


def attempt(job: Callable[[], Result]) -> Result:
    """Result of a quantization; one that says why when it fails, so that the others are still measured."""
    try:
        return job()
    except ToolError as error:
        return Result(failed=str(error))


if __name__ == "__main__":
    sys.exit(main())
