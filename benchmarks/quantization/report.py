"""Plain tables of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.quantization.measuring import Result
from benchmarks.quantization.tasks import Figures, Task


def table(task: Task, exact: Figures, results: Mapping[str, Result]) -> list[str]:
    """The lines of a task's table: the float model, then each result in the given order."""
    header = ["", *task.columns, "seconds", "x ORT", "peak MB", "x ORT"]
    rows = [header, ["float", *figures(task, exact), "", "", "", ""]]
    baseline = results.get("ort-int8")
    for name, result in results.items():
        if result.failed:
            rows.append([name, f"failed: {result.failed}"])
        else:
            rows.append([name, *figures(task, result.figures), *cost(result, baseline)])
    return [task.name, *aligned(rows)]


def figures(task: Task, values: Figures) -> list[str]:
    """The figures of a model, in the task's columns."""
    return [format(values[name], form) for name, form in task.columns.items()]


def cost(result: Result, baseline: Result | None) -> list[str]:
    """Seconds and memory, each followed by the multiple of the baseline's."""
    known = baseline is not None and not baseline.failed
    cells = []
    for own, other, form in (
        (result.seconds, baseline.seconds if baseline else 0, ".2f"),
        (result.peak_mb, baseline.peak_mb if baseline else 0, ".0f"),
    ):
        cells += [format(own, form), f"{own / other:.2f}" if known and other else "-"]
    return cells


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as text: the first column to the left, the others to the right; short rows run on."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[k]) for row in full) for k in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        first, *rest = row
        fitted = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=False)]
        lines.append("  ".join([first.ljust(widths[0]), *(fitted if len(row) == len(rows[0]) else rest)]).rstrip())
    return lines
