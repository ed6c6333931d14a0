"""The memory of a program over time: every tensor as a rectangle of its lifetime and its addresses."""

from __future__ import annotations

from collections.abc import Iterator

from synap_core.bundle_report.charts import chart_width
from synap_core.bundle_report.style import engine_class
from synap_core.bundle_report.wording import bytes_of, shortened
from synap_core.pages import text
from synap_core.program_report import MemoryPlace, MemoryUse, ProgramDescription

LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 64, 16, 22, 34
PLOT_HEIGHT_PX = 200
FLATTEST_PX = 1.5
LINES = 5
NUMBERS = 20
"""Lines across, and numbers of operations below, at the most."""

STEPS = (1, 2, 5)
LARGE_GAP = 4
"""A memory that is larger than this many times what is used is not drawn in full."""


def memories(program: ProgramDescription) -> str:
    """A drawing for each memory, with its figures above."""
    said = "Tensors have the colour of the engine that writes them; inputs, and what takes no time, are grey."
    drawn = [_memory(program, use) for use in program.memories]
    return "\n".join([*drawn, f'<p class="soft below">{said}</p>'] if drawn else [])


def _memory(program: ProgramDescription, use: MemoryUse) -> str:
    places = [place for place in program.places if place.memory == use.name and place.size_bytes]
    said = _figures(use)
    head = f"<h3>{text(use.title)}</h3><p>{said}</p>"
    if not places:
        return f'{head}<p class="soft">Nothing lies there.</p>'
    return f'{head}<div class="scroll">{_drawing(program, use, places)}</div>'


def _figures(use: MemoryUse) -> str:
    peak = f"Peak <b>{use.used_bytes:,} bytes</b> ({bytes_of(use.used_bytes)})"
    least = f"the lower bound, which no plan goes below, is {use.lower_bound_bytes:,}"
    if use.used_bytes == use.lower_bound_bytes:
        least = "that is the lower bound, which no plan goes below"
    size = "" if use.size_bytes is None else f"; the memory is taken to have {use.size_bytes:,} bytes"
    return f"{peak}; {least}{size}."


def _drawing(program: ProgramDescription, use: MemoryUse, places: list[MemoryPlace]) -> str:
    width, height = chart_width(program), TOP_PX + PLOT_HEIGHT_PX + BOTTOM_PX
    highest = max(use.used_bytes, use.lower_bound_bytes, *(place.offset + place.size_bytes for place in places))
    if use.size_bytes is not None and use.size_bytes <= LARGE_GAP * highest:
        highest = max(highest, use.size_bytes)
    label = f"{text(use.title)}: addresses of tensors over time; the operation table has the same places"
    parts = [f'<svg role="img" aria-label="{label}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">']
    parts += _grid(width, highest)
    # Positions go from the inputs, -1, to the end of the outputs, one behind the last operation.
    pitch = (width - LEFT_PX - RIGHT_PX) / (len(program.operations) + 2)
    parts += _numbers(len(program.operations), pitch)
    for place in places:
        x, low = LEFT_PX + pitch * (place.first + 1), _height(place.offset, highest)
        # Small ones are drawn higher than they are, so that they can be seen and pointed at.
        y = min(_height(place.offset + place.size_bytes, highest), low - FLATTEST_PX)
        size = f'width="{pitch * (place.last - place.first + 1):.2f}" height="{low - y:.2f}"'
        engine = "" if place.first < 0 else program.operations[place.first].main_engine
        kind = engine_class(program.engines, engine)
        rectangle = f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" {size}/>'
        parts.append(f'<g class="place"><title>{text(_about(place, len(program.operations)))}</title>{rectangle}</g>')
    parts += _limits(use, width, highest)
    return "\n".join([*parts, "</svg>"])


def _height(size_bytes: int, highest: int) -> float:
    return TOP_PX + PLOT_HEIGHT_PX * (1 - size_bytes / highest)


def _grid(width: int, highest: int) -> Iterator[str]:
    step = 1
    while highest / step > LINES:
        step *= 2
    for size in range(0, highest + 1, step):
        y = _height(size, highest)
        yield f'<line class="grid" x1="{LEFT_PX}" x2="{width - RIGHT_PX}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT_PX - 6}" y="{y + 4:.1f}" text-anchor="end">{bytes_of(size) if size else 0}</text>'


def _numbers(count: int, pitch: float) -> Iterator[str]:
    """Numbers of operations below the drawing, and what they are."""
    step = next(factor * 10**power for power in range(12) for factor in STEPS if count <= factor * 10**power * NUMBERS)
    y = TOP_PX + PLOT_HEIGHT_PX
    for number in range(0, count, step):
        yield f'<text x="{LEFT_PX + pitch * (number + 1.5):.1f}" y="{y + 15}" text-anchor="middle">{number}</text>'
    yield f'<text x="{LEFT_PX}" y="{y + 29}">number of the operation</text>'


def _limits(use: MemoryUse, width: int, highest: int) -> Iterator[str]:
    """Lines for the peak, the lower bound and the size of the memory."""
    same = use.used_bytes == use.lower_bound_bytes
    lines = [("limit", use.used_bytes, "peak, which is the lower bound" if same else "peak")]
    if not same:
        lines.append(("limit", use.lower_bound_bytes, "lower bound"))
    if use.size_bytes is not None and use.size_bytes <= highest:
        lines.append(("size", use.size_bytes, "size of the memory"))
    for turn, (kind, size, words) in enumerate(lines):
        y = _height(size, highest)
        yield f'<line class="{kind}" x1="{LEFT_PX}" x2="{width - RIGHT_PX}" y1="{y:.1f}" y2="{y:.1f}"/>'
        x = width - RIGHT_PX - 4 - 180 * turn
        yield f'<text class="label" x="{x}" y="{y - 5:.1f}" text-anchor="end">{words} {size:,}</text>'


def _about(place: MemoryPlace, count: int) -> str:
    """A tensor in one line."""
    start = "the start" if place.first < 0 else f"operation {place.first}"
    end = "the end" if place.last >= count else f"operation {place.last}"
    return f"{shortened(place.name)}: {place.size_bytes:,} bytes at offset {place.offset:,}, from {start} to {end}"
