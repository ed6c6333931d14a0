"""The tables of the page: tensors, layers, operations and the slowest of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from synap_core.bundle_report.style import engine_class
from synap_core.bundle_report.wording import normalisation, quantization, shortened
from synap_core.columns import short_name
from synap_core.names import is_operator
from synap_core.pages import Header, cell, table, text
from synap_core.program_report import MemoryPlace, OperationRow, ProgramDescription, ProgramTensor
from synap_core.source import SourceModel
from synap_core.tensors import TensorMeta, format_shape

SLOWEST = 15
LONGEST_METER_PX = 100
FREE = "--"


def tensors(label: str, found: Iterable[TensorMeta]) -> str:
    """Inputs or outputs of the model."""
    shown = list(found)
    columns: list[tuple[str, Callable[[TensorMeta], str]]] = [
        ("Shape", lambda tensor: format_shape(tensor.shape)),
        ("Type", lambda tensor: tensor.dtype),
        ("Layout", lambda tensor: tensor.layout),
        ("Quantization", lambda tensor: quantization(tensor.quant)),
        ("Format", lambda tensor: tensor.data_format),
        ("Normalisation", normalisation),
    ]
    # Columns in which nothing is said are left out.
    columns = [(title, words) for title, words in columns if any(words(tensor) for tensor in shown)]
    headers: list[Header] = [("#", ""), ("Name", "text"), *((title, "text") for title, _ in columns)]
    rows = [
        [cell(str(k)), _layer(tensor.name), *(cell(words(tensor), "text") for _, words in columns)]
        for k, tensor in enumerate(shown)
    ]
    return table(headers, rows, kind="fine", label=label)


def slowest(program: ProgramDescription) -> str:
    """The operations that take longest, with their shares of the time."""
    rows = program.slowest(SLOWEST)
    total = program.total_microseconds
    longest = rows[0].microseconds if rows else 1.0
    headers: list[Header] = [("#", ""), ("Engine", "text"), ("Layer", "text"), ("Name", "text"), ("Time, µs", "")]
    headers += [("Share", ""), ("", "text"), ("Limited by", "text")]
    cells = []
    for row in rows:
        width = LONGEST_METER_PX * row.microseconds / longest
        meter = (
            f'<span class="meter {engine_class(program.engines, row.main_engine)}" style="width:{width:.0f}px"></span>'
        )
        cells.append(
            [
                cell(str(row.index)),
                _engine(program, row),
                _layer(row.layer_id),
                cell(row.name, "text short"),
                cell(f"{row.microseconds:,.1f}"),
                cell(f"{100 * row.microseconds / total:.1f} %"),
                f'<td class="text"><span class="track">{meter}</span></td>',
                cell(row.bound, "text"),
            ]
        )
    return table(headers, cells, kind="fine", label="Slowest operations")


def layer_table(program: ProgramDescription) -> str:
    """All operations with what they are predicted to cost, and the sums."""
    headers: list[Header] = [("#", "")]
    headers += [(title, "text") for title in ("Engine", "Layer", "Name", "Shape", "Type")]
    headers += [(title, "") for title in ("Cycles", "Time, µs", "Bytes read", "Bytes written", "Stored weights")]
    headers += [("Limited by", "text")]
    rows = []
    for row in program.operations:
        output = row.outputs[0] if row.outputs else ProgramTensor(name="", shape=(), dtype="")
        rows.append(
            [
                cell(str(row.index)),
                _engine(program, row),
                _layer(row.layer_id),
                cell(row.name, "text short"),
                cell(format_shape(output.shape), "text"),
                cell(output.dtype, "text"),
                *(cell(figure) for figure in _figures([row])),
                cell(row.bound, "text"),
            ]
        )
    foot = [cell(""), cell("Sum", "text"), *[cell("")] * 4, *(cell(figure) for figure in _figures(program.operations))]
    table_label = "Operations and what they are predicted to cost"
    return _tall(table(headers, rows, kind="fine sortable", label=table_label, foot=[*foot, cell("")]))


def _figures(rows: Sequence[OperationRow]) -> tuple[str, ...]:
    """Cycles, time, bytes read and written, and bytes of weights, of one operation or of several."""
    stored = sum(row.stored_weight_bytes for row in rows)
    return (
        f"{sum(row.cycles for row in rows):,}",
        f"{sum(row.microseconds for row in rows):,.1f}",
        f"{sum(row.bytes_read for row in rows):,}",
        f"{sum(row.bytes_written for row in rows):,}",
        f"{stored:,}" if stored else "",
    )


def operation_table(program: ProgramDescription) -> str:
    """All operations with what they read and write, and where that lies."""
    places = {place.name: place for place in program.places}
    headers: list[Header] = [("#", "")]
    titles = ("Layer", "Operation", "Arithmetic", "Inputs", "Outputs", "Outputs lie in")
    headers += [(title, "text") for title in titles]
    headers += [("Constants, bytes", "")]
    rows = [
        [
            cell(str(row.index)),
            _layer(row.layer_id),
            cell(row.type, "text"),
            cell(row.arithmetic, "text"),
            cell(_forms(row.inputs), "text"),
            cell(_forms(row.outputs), "text"),
            cell(_lie(row.outputs, places), "text"),
            cell(f"{row.constant_bytes:,}" if row.constant_bytes else ""),
        ]
        for row in program.operations
    ]
    return _tall(table(headers, rows, kind="fine sortable", label="Operations and the tensors they read and write"))


def source_layers(source: SourceModel) -> str:
    """Layers of a model that runs as it is."""
    headers: list[Header] = [("Index", ""), ("Type", "text"), ("Output", "text"), ("Layer", "text")]
    rows = []
    for layer in filter(is_operator, source.layers):
        outputs = [source.tensors[t] for t in layer.outputs if t in source.tensors]
        rows.append(
            [
                cell("" if layer.index is None else str(layer.index)),
                cell(layer.type, "text"),
                cell(", ".join(f"{format_shape(t.shape)} {t.dtype}" for t in outputs), "text"),
                _layer(layer.name),
            ]
        )
    return _tall(table(headers, rows, kind="fine sortable", label="Layers"))


def _tall(made: str) -> str:
    return made.replace('<div class="scroll">', '<div class="scroll tall">', 1)


def _engine(program: ProgramDescription, row: OperationRow) -> str:
    kind = engine_class(program.engines, row.main_engine)
    return f'<td class="text"><i class="engine {kind}"></i>{text(row.engine or FREE)}</td>'


def _layer(name: str) -> str:
    short = shortened(short_name(name))
    title = f' title="{text(shortened(name, 2000))}"' if short != name else ""
    return f'<td class="text name"{title}>{text(short)}</td>'


def _forms(found: Iterable[ProgramTensor]) -> str:
    return ", ".join(f"{format_shape(tensor.shape)} {tensor.dtype}" for tensor in found)


def _lie(found: Iterable[ProgramTensor], places: Mapping[str, MemoryPlace]) -> str:
    there = (places[tensor.name] for tensor in found if tensor.name in places)
    return ", ".join(f"{place.memory} {place.offset:,}" for place in there)
