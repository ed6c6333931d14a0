"""The whole page of a bundle."""

from __future__ import annotations

from collections.abc import Iterator

from synap_core.bundle_report.charts import shares, timeline
from synap_core.bundle_report.gather import BundleReport, SubgraphReport
from synap_core.bundle_report.memory import memories
from synap_core.bundle_report.splitting import splitting
from synap_core.bundle_report.style import COLOURS, SCRIPT, STYLE
from synap_core.bundle_report.tables import layer_table, operation_table, slowest, source_layers, tensors
from synap_core.bundle_report.wording import bytes_of, milliseconds, shortened
from synap_core.pages import document, text, tiles
from synap_core.program_report import ProgramDescription

NOTHING = "Nothing is predicted of this subgraph: it runs as it is, and its time is known when it has run."


def render_report(report: BundleReport, version: str = "") -> str:
    """Make the page.

    Args:
        report: What to show; names in it may hold any characters.
        version: Version of the toolkit.
    """
    name = text(report.name)
    parts = [
        f"<h1>Report of {name}</h1>",
        f'<p class="soft">{text(_made_by(report, version))}</p>',
        tiles(_tiles(report)),
        *_notes(report),
        "<h2>Inputs</h2>",
        tensors("Inputs", report.bundle.input_tensors),
        "<h2>Outputs</h2>",
        tensors("Outputs", report.bundle.output_tensors),
        "<h2>Subgraphs</h2>",
        splitting(report),
        *(part for entry in report.subgraphs for part in _subgraph(entry)),
    ]
    return document(f"Report of {name}", parts, colours=COLOURS, style=STYLE, script=SCRIPT)


def _made_by(report: BundleReport, version: str) -> str:
    targets = list(dict.fromkeys(program.target for program in report.programs if program.target))
    makers = list(dict.fromkeys(program.made_by for program in report.programs if program.made_by))
    said = [f"Target {', '.join(targets)}" if targets else "The bundle does not say what target it is for"]
    said += [f"compiled by {', '.join(makers)}"] if makers else []
    said += [f"reported by synap {version}"] if version else []
    return "; ".join(said)


def _tiles(report: BundleReport) -> Iterator[tuple[str, str]]:
    programs = report.programs
    if programs:
        yield milliseconds(sum(program.total_microseconds for program in programs)), "predicted for an inference"
        yield f"{sum(len(program.operations) for program in programs):,}", "compiled operations"
        rows = [row for program in programs for row in program.operations]
        yield bytes_of(sum(row.constant_bytes for row in rows)), "constants"
        for use in (use for program in programs[:1] for use in program.memories) if len(programs) == 1 else ():
            yield bytes_of(use.used_bytes), f"{text(use.title)}, peak"
    yield str(len(report.subgraphs)), "subgraph" if len(report.subgraphs) == 1 else "subgraphs"
    yield bytes_of(report.size_bytes), "file"


def _notes(report: BundleReport) -> Iterator[str]:
    notes = list(dict.fromkeys(note for program in report.programs for note in program.notes))
    others = [entry for entry in report.subgraphs if entry.program is None]
    if others and report.programs:
        which = ", ".join(str(entry.index) for entry in others)
        notes.append(f"The time does not include what is not predicted: subgraph {which}.")
    if not report.programs:
        notes.append("Nothing is predicted of this bundle: no subgraph is a program with predictions.")
    yield f'<ul class="notes">{"".join(f"<li>{text(note)}</li>" for note in notes)}</ul>'


def _subgraph(entry: SubgraphReport) -> Iterator[str]:
    yield f"<section><h2>Subgraph {entry.index}: {text(entry.delegate)}</h2>"
    size = len(entry.subgraph.model)
    yield f'<p class="soft">{text(shortened(entry.subgraph.model_name))}, {size:,} bytes, delegate'
    yield f"&lsquo;{text(shortened(entry.subgraph.meta.delegate.strip()))}&rsquo;</p>"
    if entry.program is not None:
        yield from _program(entry.program)
    else:
        yield f"<p>{NOTHING}</p>"
        if entry.source is not None:
            yield source_layers(entry.source)
        else:
            yield f"<p>Its layers are not shown: {text(entry.problem)}.</p>"
    yield "</section>"


def _program(program: ProgramDescription) -> Iterator[str]:
    yield "<h3>Engines</h3>"
    yield f"<p>Predicted time of an inference: <b>{milliseconds(program.total_microseconds)}</b></p>"
    yield shares(program)
    yield f'<h3>Timeline</h3><div class="scroll">{timeline(program)}</div>'
    yield memories(program)
    yield from _weights(program)
    yield "<h3>Slowest operations</h3>"
    yield slowest(program)
    yield f"<details open><summary>Layer table</summary>{layer_table(program)}</details>"
    yield f"<details><summary>Operation table</summary>{operation_table(program)}</details>"


def _weights(program: ProgramDescription) -> Iterator[str]:
    rows = program.operations
    constants, weights = sum(row.constant_bytes for row in rows), sum(row.weight_bytes for row in rows)
    stored = sum(row.stored_weight_bytes for row in rows)
    yield f"<h3>Weights</h3><p>Constants take {constants:,} bytes."
    if weights:
        yield f"Of these {weights:,} bytes are weights, estimated to take {stored:,} as they are stored"
        yield f"({100 * stored / weights:.1f} %)."
    yield "</p>"
