"""How a bundle is split: a drawing of its subgraphs from left to right, and a table of the tensors between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synap_core.bundle_report.gather import BundleReport, SubgraphReport
from synap_core.bundle_report.wording import bytes_of, milliseconds, shortened
from synap_core.pages import cell, table, text
from synap_core.tensors import TensorMeta, format_shape

BOX_WIDTH_PX, BOX_HEIGHT_PX = 156, 62
GAP_X_PX, GAP_Y_PX = 130, 26
MARGIN_PX = 14
TIP_PX = 6
LETTERS_IN_BOX = 22
LETTERS_ON_WIRE = 20
MOST_DRAWN = 200
"""Subgraphs; more than these are only listed."""

INPUTS, OUTPUTS = -1, -2
"""Ends of wires that are no subgraphs."""


@dataclass(frozen=True, slots=True)
class _Wire:
    """A tensor that goes from one subgraph to another, or from or to the outside."""

    start: int
    end: int
    tensor: TensorMeta


def splitting(report: BundleReport) -> str:
    """The drawing and the table."""
    wires = list(_wires(report))
    parts = []
    if len(report.subgraphs) <= MOST_DRAWN:
        parts.append(f'<div class="scroll tall">{_drawing(report, wires)}</div>')
    rows = [
        [
            cell(_end(report, wire.start), "text"),
            cell(_end(report, wire.end), "text"),
            cell(wire.tensor.name, "text name"),
            cell(format_shape(wire.tensor.shape), "text"),
            cell(wire.tensor.dtype, "text"),
            cell(f"{wire.tensor.size_bytes:,}"),
        ]
        for wire in wires
    ]
    headers = [(title, "text") for title in ("From", "To", "Tensor", "Shape", "Type")]
    listed = table([*headers, ("Bytes", "")], rows, kind="fine sortable", label="Tensors between subgraphs")
    summary = f"{len(rows)} tensor{'' if len(rows) == 1 else 's'} between the subgraphs and the outside"
    return "\n".join([*parts, f"<details><summary>{summary}</summary>{listed}</details>"])


def _wires(report: BundleReport) -> Iterator[_Wire]:
    for entry in report.subgraphs:
        for (producer, _), tensor in zip(entry.subgraph.inputs, entry.subgraph.meta.inputs, strict=True):
            yield _Wire(max(producer, INPUTS), entry.index, tensor)
    for (producer, _), tensor in zip(report.bundle.outputs, report.bundle.output_tensors, strict=True):
        yield _Wire(producer, OUTPUTS, tensor)


def _end(report: BundleReport, index: int) -> str:
    if index < 0:
        return "model inputs" if index == INPUTS else "model outputs"
    return f"{index} {report.subgraphs[index].delegate}"


def _drawing(report: BundleReport, wires: Sequence[_Wire]) -> str:
    columns = _columns(report)
    places = {index: (column, row) for column, indices in enumerate(columns) for row, index in enumerate(indices)}
    tallest = max(len(indices) for indices in columns)
    width = 2 * MARGIN_PX + len(columns) * (BOX_WIDTH_PX + GAP_X_PX) - GAP_X_PX
    height = 2 * MARGIN_PX + tallest * (BOX_HEIGHT_PX + GAP_Y_PX) - GAP_Y_PX
    corners = {}
    for index, (column, row) in places.items():
        # Columns with fewer boxes are centred.
        top = (height - len(columns[column]) * (BOX_HEIGHT_PX + GAP_Y_PX) + GAP_Y_PX) / 2
        corners[index] = (MARGIN_PX + column * (BOX_WIDTH_PX + GAP_X_PX), top + row * (BOX_HEIGHT_PX + GAP_Y_PX))
    label = "Subgraphs and the tensors between them; the table below lists the same tensors"
    parts = [
        f'<svg role="img" aria-label="{label}" width="{width}" height="{height:g}" viewBox="0 0 {width} {height:g}">'
    ]
    bundles: dict[tuple[int, int], list[TensorMeta]] = {}
    for wire in wires:
        bundles.setdefault((wire.start, wire.end), []).append(wire.tensor)
    drawn = [_curve(corners[start], corners[end], tensors) for (start, end), tensors in bundles.items()]
    parts += [curve for curve, _ in drawn]
    parts += [_box(corner, *_about(report, index)) for index, corner in corners.items()]
    parts += [words for _, words in drawn]
    return "\n".join([*parts, "</svg>"])


def _columns(report: BundleReport) -> list[list[int]]:
    """Ends of wires from left to right: each subgraph is to the right of all that it reads from."""
    level = {INPUTS: 0}
    for index in report.bundle.order:
        inputs = report.subgraphs[index].subgraph.inputs
        level[index] = 1 + max((level[max(producer, INPUTS)] for producer, _ in inputs), default=0)
    level[OUTPUTS] = 1 + max(level.values())
    columns: list[list[int]] = [[] for _ in range(level[OUTPUTS] + 1)]
    for index in sorted(level):
        columns[level[index]].append(index)
    return columns


def _about(report: BundleReport, index: int) -> tuple[str, tuple[str, ...]]:
    """Class and lines of a box."""
    if index < 0:
        tensors = report.bundle.input_tensors if index == INPUTS else report.bundle.output_tensors
        lines = [shortened(tensor.name, LETTERS_IN_BOX) for tensor in tensors[:2]]
        if len(tensors) > len(lines):
            lines[-1] = f"and {len(tensors) - 1} more"
        return "box", ("Inputs" if index == INPUTS else "Outputs", *lines)
    entry = report.subgraphs[index]
    return "box program" if entry.program else "box", (
        shortened(f"{index} · {entry.delegate}", LETTERS_IN_BOX),
        _count(entry),
        f"{milliseconds(entry.program.total_microseconds)} predicted" if entry.program else "nothing predicted",
    )


def _count(entry: SubgraphReport) -> str:
    count = entry.operation_count
    if count is None:
        return bytes_of(len(entry.subgraph.model))
    noun = "operation" if entry.program else "layer"
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _box(corner: tuple[float, float], kind: str, lines: Sequence[str]) -> str:
    x, y = corner
    parts = [f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{BOX_WIDTH_PX}" height="{BOX_HEIGHT_PX}" rx="8"/>']
    for number, line in enumerate(lines):
        style = ' class="head"' if number == 0 else ""
        parts.append(f'<text{style} x="{x + 12:g}" y="{y + 20 + 17 * number:g}">{text(line)}</text>')
    return "".join(parts)


def _curve(start: tuple[float, float], end: tuple[float, float], tensors: Sequence[TensorMeta]) -> tuple[str, str]:
    """A curve with its tip, and what goes along it."""
    x1, y1 = start[0] + BOX_WIDTH_PX, start[1] + BOX_HEIGHT_PX / 2
    x2, y2 = end[0] - TIP_PX, end[1] + BOX_HEIGHT_PX / 2
    bend = max((x2 - x1) / 2, GAP_X_PX / 2)
    path = f"M{x1:g} {y1:g} C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    title = ", ".join(f"{t.name} {format_shape(t.shape)} {t.dtype}" for t in tensors)
    one = tensors[0]
    words = f"{format_shape(one.shape)} {one.dtype}" if len(tensors) == 1 else f"{len(tensors)} tensors"
    tip = f"M{x2:g} {y2 - 4:g} l{TIP_PX} 4 l-{TIP_PX} 4 z"
    curve = f'<g><title>{text(title)}</title><path class="wire" d="{path}"/><path class="tip" d="{tip}"/></g>'
    label = shortened(words, LETTERS_ON_WIRE)
    # In the first gap, where no box is; half way down a short wire.
    x, y = x1 + GAP_X_PX / 2, (y1 + y2) / 2 if x2 - x1 <= GAP_X_PX else y1 + (y2 - y1) / 6
    return curve, f'<text class="label" x="{x:g}" y="{y - 6:g}" text-anchor="middle">{text(label)}</text>'
