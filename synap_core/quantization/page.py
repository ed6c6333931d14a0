"""An accuracy analysis as one page of HTML, which needs nothing else: styles and the chart are in it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from synap_core.pages import cell, document, kept_text, legend, table, text, tiles
from synap_core.quantization.analysis import Analysis, LayerFigures, Suggestion, advice
from synap_core.quantization.metrics import EXACT, Figures, figures_as_text, format_db

BAR_PITCH_PX, BAR_WIDTH_PX = 11, 8
SHORTEST_CHART_PX = 1076
PLOT_HEIGHT_PX = 260
LEFT_PX, TOP_PX, RIGHT_PX, BOTTOM_PX = 44, 28, 44, 54
NUMBER_ROW_PX = 14
GRID_DB = 10
NUMBER_EVERY = 5
"""Bars from one number under the chart to the next."""

LOWEST_DB, HIGHEST_DB = -20, 120
"""Ends of the chart, whatever the numbers."""

COLOURS = {"bar": ("#7aa7d9", "#3f6fa6"), "dot": ("#1f4e8c", "#a9cdf5"), "raise": ("#c2410c", "#ff9b5e")}

STYLE = """\
.legend .bar { background: var(--bar); }
.legend .dot { background: var(--dot); border-radius: 50%; }
.legend .raise { background: var(--raise); border-radius: 50%; }
svg .bar { fill: var(--bar); }
svg .dot { fill: var(--dot); stroke: var(--panel); }
svg .dot.raise, svg .mark { fill: var(--raise); }
svg text.mark { font-weight: 700; }
svg g.layer:hover .bar { opacity: .7; }
.badge { color: var(--raise); font-weight: 600; font-size: 12px; white-space: nowrap; }
"""

GUIDE = """\
<p>The same samples went through the model in real numbers and through the quantized model. SQNR is the ratio of the
signal to the noise that quantization adds, in dB: 10 dB more is a tenth of the noise; <b>higher is better</b>.</p>
<ul>
<li><b>Accumulated</b>: the tensor that a layer gives in the quantized model, with all that went wrong before it. It
usually falls along the model; a sharp drop shows where accuracy is lost.</li>
<li><b>Alone</b>: the same tensor when only this layer is quantized, so that its inputs are exact: its own error.</li>
<li><b>Damage</b>: the worst output of the model when only this layer is quantized: what this layer costs in the end.
The <b>lowest</b> figures are those to do something about.</li>
</ul>
"""


def render_page(
    analysis: Analysis, title: str, *, quantization: str = "", notes: Sequence[str] = (), version: str = ""
) -> str:
    """Make the page.

    Args:
        analysis: What to show.
        title: Name of the model; like all names it may hold any characters.
        quantization: How it was quantized, in a few words.
        notes: What the reader should know about the figures.
        version: Version of the toolkit.
    """
    name = text(title)
    parts = [
        f"<h1>Quantization accuracy of {name}</h1>",
        f'<p class="soft">{text(quantization)}</p>' if quantization else "",
        _tiles(analysis),
        *(f"<p><b>Note:</b> {text(note)}</p>" for note in notes),
        "<h2>Layers in execution order</h2>",
        _legend(analysis),
        f'<div class="scroll">{_chart(analysis)}</div>',
        "<h2>How to read it</h2>",
        GUIDE,
        "<h2>Outputs</h2>",
        _outputs(analysis.outputs),
        "<h2>Suggestion</h2>",
        _suggestion(analysis),
        "<h2>Layers, those that lose most first</h2>",
        _layers(analysis),
        f'<p class="soft">synap {text(version)}</p>' if version else "",
    ]
    return document(f"Accuracy of {name}", parts, colours=COLOURS, style=STYLE)


def _tiles(analysis: Analysis) -> str:
    # An output without an angle is worse than any cosine.
    cosine = min((figures.cosine for figures in analysis.outputs.values()), key=lambda c: (not math.isnan(c), c))
    entries = [
        (
            _with_unit(analysis.worst_db),
            "SQNR of the worst output" if len(analysis.outputs) > 1 else "SQNR of the output",
        ),
        (f"{cosine:.5f}", "cosine"),
        (str(analysis.samples), "sample" if analysis.samples == 1 else "samples"),
        (str(sum(not layer.conversion for layer in analysis.layers)), "quantized layers and inputs"),
    ]
    if analysis.suggestion is not None:
        entries.append((_with_unit(analysis.suggestion.expected_db), "expected with the suggestion"))
    return tiles(entries)


def _with_unit(value: float) -> str:
    return EXACT if value == math.inf else f"{format_db(value)} dB"


def _legend(analysis: Analysis) -> str:
    entries = [("bar", "accumulated SQNR (dB)")]
    if _measured_alone(analysis):
        entries.append(("dot", "SQNR of the worst output when only this layer is quantized (damage, dB)"))
    if analysis.suggestion is not None:
        entries.append(("raise", "suggested for more bits"))
    return legend(entries)


def _measured_alone(analysis: Analysis) -> bool:
    return any(layer.damage is not None for layer in analysis.layers)


def _chart(analysis: Analysis) -> str:
    layers = sorted(analysis.layers, key=lambda layer: layer.position)
    low, high = _ends(layers)
    width = max(SHORTEST_CHART_PX, LEFT_PX + RIGHT_PX + BAR_PITCH_PX * len(layers))
    pitch = min(40.0, (width - LEFT_PX - RIGHT_PX) / max(len(layers), 1))
    height = TOP_PX + PLOT_HEIGHT_PX + BOTTOM_PX
    label = "Accumulated SQNR and damage of each layer in execution order; the table below has the same figures"
    parts = [f'<svg role="img" aria-label="{label}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">']
    for db in range(low, high + 1, GRID_DB):
        y = _height(db, low, high)
        parts.append(f'<line class="grid" x1="{LEFT_PX}" x2="{width - RIGHT_PX}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT_PX - 6}" y="{y + 4:g}" text-anchor="end">{db}</text>')
        parts.append(f'<text x="{width - RIGHT_PX + 6}" y="{y + 4:g}">{db}</text>')
    parts += [f'<text x="{x}" y="14" text-anchor="middle">dB</text>' for x in (LEFT_PX - 12, width - RIGHT_PX + 12)]
    for number, layer in enumerate(layers):
        raised = layer.layer_id in _raised(analysis.suggestion)
        parts += _layer_marks(layer, LEFT_PX + pitch * (number + 0.5), pitch, (low, high), raised=raised)
    parts += _numbers(layers, _raised(analysis.suggestion), pitch)
    parts.append(f'<text x="{LEFT_PX}" y="{height - 8}">number of the layer, as in the table below</text></svg>')
    return "\n".join(parts)


def _numbers(layers: Sequence[LayerFigures], raised: Collection[str], pitch: float) -> Iterator[str]:
    """Numbers under the chart: of every layer that is to be raised, in two rows by turns, and of a few others."""
    marked = [number for number, layer in enumerate(layers) if layer.layer_id in raised]
    near = {number + step for number in marked for step in (-1, 0, 1)}
    entries = [(number, "mark", turn % 2) for turn, number in enumerate(marked)]
    entries += [(number, "", 0) for number in range(0, len(layers), NUMBER_EVERY) if number not in near]
    for number, kind, row in entries:
        x, y = LEFT_PX + pitch * (number + 0.5), TOP_PX + PLOT_HEIGHT_PX + NUMBER_ROW_PX * (1 + row)
        yield f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="middle">{layers[number].position}</text>'


def _raised(suggestion: Suggestion | None) -> Mapping[str, str]:
    return {} if suggestion is None else suggestion.layers


def _ends(layers: Sequence[LayerFigures]) -> tuple[int, int]:
    """Lowest and highest ratio of the chart, multiples of the grid."""
    ratios = [layer.accumulated.sqnr_db for layer in layers]
    ratios += [layer.damage_db for layer in layers if layer.damage_db is not None]
    shown = [min(max(ratio, LOWEST_DB), HIGHEST_DB) for ratio in ratios if math.isfinite(ratio)]
    low = min([0, *(math.floor(ratio / GRID_DB) * GRID_DB for ratio in shown)])
    high = max([40, *(math.ceil((ratio + 1) / GRID_DB) * GRID_DB for ratio in shown)])
    return low, high


def _height(db: float, low: int, high: int) -> float:
    part = (min(max(db, low), high) - low) / (high - low)
    return round(TOP_PX + PLOT_HEIGHT_PX * (1 - part), 1)


def _layer_marks(layer: LayerFigures, x: float, pitch: float, ends: tuple[int, int], *, raised: bool) -> Iterator[str]:
    """Bar, dot and number of a layer; its name shows when the pointer is on it."""
    width = min(BAR_WIDTH_PX * pitch / BAR_PITCH_PX, pitch - 2)
    top, bottom = _height(layer.accumulated.sqnr_db, *ends), _height(ends[0], *ends)
    parts = [
        f"{layer.position} {layer.layer_id} ({layer.dtype})",
        f"accumulated {format_db(layer.accumulated.sqnr_db)}",
    ]
    if layer.damage_db is not None:
        parts.append(f"damage {format_db(layer.damage_db)}")
    yield f'<g class="layer"><title>{text(", ".join(parts))} dB</title>'
    size = f'width="{width:.1f}" height="{max(bottom - top, 1):.1f}"'
    yield f'<rect class="bar" x="{x - width / 2:.1f}" y="{top}" {size} rx="1"/>'
    if layer.damage_db is not None:
        kind, radius = ("dot raise", 4.5) if raised else ("dot", 3.5)
        yield f'<circle class="{kind}" cx="{x:.1f}" cy="{_height(layer.damage_db, *ends)}" r="{radius}"/>'
    yield "</g>"


def _outputs(outputs: Mapping[str, Figures]) -> str:
    rows = [
        [cell(name, "text name"), *(cell(figure) for figure in figures_as_text(figures))]
        for name, figures in outputs.items()
    ]
    return table([("Output", "text"), ("Cosine", ""), ("SQNR, dB", ""), ("Largest error", "")], rows)


def _suggestion(analysis: Analysis) -> str:
    sentence = f"<p>{text(advice(analysis))}.</p>"
    if analysis.suggestion is None:
        return sentence
    # Lines keep their ends here; every line by itself is cleaned like any other text.
    lines = "\n".join(kept_text(line) for line in analysis.suggestion.metafile.splitlines())
    return f"{sentence}<p>In the metafile:</p><pre>{lines}</pre>"


def _layers(analysis: Analysis) -> str:
    alone = _measured_alone(analysis)
    headers = [("#", ""), ("Layer", "text"), ("Type", "text"), ("Cosine", ""), ("Accumulated SQNR, dB", "")]
    headers += [("Largest error", ""), *([("Alone SQNR, dB", ""), ("Damage SQNR, dB", "")] if alone else [])]
    raised = _raised(analysis.suggestion)
    return table(headers, [_layer_row(layer, raised, alone=alone) for layer in analysis.layers])


def _layer_row(layer: LayerFigures, raised: Mapping[str, str], *, alone: bool) -> list[str]:
    new = raised.get(layer.layer_id)
    badge = "" if new is None else f' <span class="badge">raise to {text(new)}</span>'
    cells = [cell(str(layer.position)), f'<td class="text name">{text(layer.layer_id)}{badge}</td>']
    cells += [cell(layer.dtype, "text"), *(cell(figure) for figure in figures_as_text(layer.accumulated))]
    if alone:
        cells.append(cell("" if layer.alone is None else format_db(layer.alone.sqnr_db)))
        cells.append(cell("" if layer.damage_db is None else format_db(layer.damage_db)))
    return cells
