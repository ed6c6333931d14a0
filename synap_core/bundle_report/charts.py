"""Where the time of a program goes: shares of the engines, and every operation in execution order."""

from __future__ import annotations

import math
from collections.abc import Iterator

from synap_core.bundle_report.style import START, engine_class
from synap_core.bundle_report.wording import milliseconds, shortened
from synap_core.pages import legend, text
from synap_core.program_report import OperationRow, ProgramDescription
from synap_core.tensors import format_shape

CHART_WIDTH_PX = 1076
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 64, 16, 10, 34
LANE_PX, BAR_PX = 34, 24
OPERATIONS_IN_WIDTH = 700
"""Operations that a chart of the usual width shows well; it is wider for more."""

WIDEST_PX = 20_000
TICKS = 10
SHORTEST_BAR_PX = 1.0
FREE = "no time"


def chart_width(program: ProgramDescription) -> int:
    """Width of the charts of a program, px."""
    wanted = CHART_WIDTH_PX * len(program.operations) / OPERATIONS_IN_WIDTH
    return int(min(max(CHART_WIDTH_PX, wanted), WIDEST_PX))


def shares(program: ProgramDescription) -> str:
    """One bar of all engines, as wide as their shares of the time, and what the colours mean."""
    total = program.total_microseconds
    counts = program.engine_operations()
    entries = [(START, "start", program.start_microseconds, "")] if program.start_microseconds else []
    for engine, time in program.engine_microseconds().items():
        count = counts[engine]
        if count:
            entries.append((engine_class(program.engines, engine), engine, time, _operations(count)))
    bars, words = [], []
    for kind, name, time, note in entries:
        share = 100 * time / total if total else 0.0
        label = f"{text(name)} {milliseconds(time)}, {share:.1f} %{f', {note}' if note else ''}"
        bars.append(f'<div class="part {kind}" style="flex-grow:{share:.4f}" title="{label}"></div>')
        words.append((kind, label))
    if counts[""]:
        words.append(("none", f"{FREE}: {_operations(counts[''])}"))
    label = "Shares of the engines; the words below have the same figures"
    bar = f'<div class="shares" role="img" aria-label="{label}">{"".join(bars)}</div>' if total else ""
    several = any("+" in row.engine for row in program.operations)
    shared = '<p class="soft">What several engines do together counts for the first of them.</p>' if several else ""
    return bar + legend(words) + shared


def _operations(count: int) -> str:
    return f"{count:,} operation{'' if count == 1 else 's'}"


def timeline(program: ProgramDescription) -> str:
    """Every operation in execution order, as long as it takes, in the lane of its engine."""
    counts = program.engine_operations()
    lanes = [engine for engine in program.engines if counts[engine]] + ([""] if counts[""] else [])
    width, total = chart_width(program), program.total_microseconds
    height = TOP_PX + LANE_PX * len(lanes) + BOTTOM_PX
    label = "Predicted time of every operation in execution order; the layer table has the same figures"
    parts = [f'<svg role="img" aria-label="{label}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">']
    scale = (width - LEFT_PX - RIGHT_PX) / total if total else 0.0
    bottom = TOP_PX + LANE_PX * len(lanes)
    for time in _ticks(total):
        x = LEFT_PX + scale * time
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP_PX}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{time / 1000:g}</text>')
    parts.append(f'<text x="{width - RIGHT_PX}" y="{bottom + 29}" text-anchor="end">ms</text>')
    for lane, engine in enumerate(lanes):
        y = TOP_PX + LANE_PX * (lane + 0.5)
        parts.append(f'<text x="{LEFT_PX - 8}" y="{y + 4:g}" text-anchor="end">{text(engine or FREE)}</text>')
        parts.append(f'<line class="lane" x1="{LEFT_PX}" x2="{width - RIGHT_PX}" y1="{y:g}" y2="{y:g}"/>')
    if program.start_microseconds:
        size = f'width="{scale * program.start_microseconds:.2f}" height="{bottom - TOP_PX}"'
        title = f"start of an inference, {program.start_microseconds:.1f} µs"
        parts.append(
            f'<g class="op"><title>{title}</title><rect class="{START}" x="{LEFT_PX}" y="{TOP_PX}" {size}/></g>'
        )
    parts += _bars(program, lanes, scale)
    return "\n".join([*parts, "</svg>"])


def _bars(program: ProgramDescription, lanes: list[str], scale: float) -> Iterator[str]:
    time = program.start_microseconds
    for row in program.operations:
        y = TOP_PX + LANE_PX * lanes.index(row.main_engine) + (LANE_PX - BAR_PX) / 2
        # A hair's gap tells neighbours apart, where there is room for one.
        width = scale * row.microseconds
        drawn = max(width - 0.5 if width > 2 else width, SHORTEST_BAR_PX)
        kind = engine_class(program.engines, row.main_engine)
        place = f'x="{LEFT_PX + scale * time:.2f}" y="{y:g}" width="{drawn:.2f}" height="{BAR_PX}"'
        yield f'<g class="op"><title>{text(about(row))}</title><rect class="{kind}" {place}/></g>'
        time += row.microseconds


def about(row: OperationRow) -> str:
    """An operation in one line."""
    shape = f", {format_shape(row.outputs[0].shape)} {row.outputs[0].dtype}" if row.outputs else ""
    if not row.engine:
        return f"{row.index} {shortened(row.layer_id)}: {row.type}{shape}, takes no time"
    return (
        f"{row.index} {shortened(row.layer_id)}: {row.type} on {row.engine}{shape}, {row.microseconds:.1f} µs,"
        f" {row.cycles:,} cycles, {row.bytes_read:,} bytes read, {row.bytes_written:,} written"
    )


def _ticks(total: float) -> Iterator[float]:
    """Round times from zero to the end, µs."""
    if total <= 0:
        return
    step = round_step(total / TICKS)
    for number in range(int(total / step) + 1):
        yield number * step


def round_step(least: float) -> float:
    """The smallest number of 1, 2 and 5 times a power of ten that is not below another."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
