"""Layer tables of the subgraphs of a bundle, in the form in which boards write theirs (``network_profile``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synap_core.bundle_reader import Bundle, BundleSubgraph
from synap_core.errors import one_line
from synap_core.host import PluginHost
from synap_core.program_report import OperationRow
from synap_core.programs import describe_program

HEADER = "| lyr |    cycle | time_us |  byte_rd |  byte_wr | ot | name"
SOFTWARE = "SW"
UNKNOWN_UNIT = "N/A"

UNITS = {"": "--", "PPU": "SH", "SH": "SH", "NN": "NN", "TP": "TP", "SW": SOFTWARE, "SC": "SC"}
"""Codes of units in the table, by the names that descriptions of programs have for them."""

MEASURED = "time measured on this host, which says nothing about the device; without cycles and bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """A row of the table.

    Attributes:
        layer: Index of the layer.
        cycles: Clock cycles.
        microseconds: Time, µs.
        bytes_read: Bytes read from memory outside of the chip.
        bytes_written: Bytes written there.
        unit: Code of the unit.
        name: Name of the layer, as profiles have it.
        layer_id: Id of the layer in the source model; empty when there is none.
    """

    layer: int
    cycles: int
    microseconds: float
    bytes_read: int
    bytes_written: int
    unit: str
    name: str
    layer_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgraphProfile:
    """The table of a subgraph.

    Attributes:
        number: Of the subgraph.
        model_name: Member of the bundle.
        predicted: The figures are predictions for the chip; otherwise they were measured on this host.
        microseconds: Time of an inference of it, µs.
        buffers: Number and bytes of its input and output buffers.
        rows: The layers.
        notes: What readers must know of the figures.
    """

    number: int
    model_name: str
    predicted: bool
    microseconds: float
    buffers: tuple[int, int]
    rows: tuple[ProfileRow, ...]
    notes: tuple[str, ...]


def profiles_of(bundle: Bundle, times_ms: Sequence[float], host: PluginHost) -> tuple[SubgraphProfile, ...]:
    """Tables of all subgraphs: predicted for those whose runtime can tell, measured for the others.

    Args:
        bundle: The bundle.
        times_ms: Milliseconds that each subgraph took on this host.
        host: Where the runtimes are.

    Raises:
        InputError: A model is damaged.
    """
    pairs = zip(bundle.subgraphs, times_ms, strict=True)
    return tuple(_profile(number, subgraph, time, host) for number, (subgraph, time) in enumerate(pairs))


def _profile(number: int, subgraph: BundleSubgraph, time_ms: float, host: PluginHost) -> SubgraphProfile:
    tensors = (*subgraph.meta.inputs, *subgraph.meta.outputs)
    buffers = len(tensors), sum(tensor.size_bytes for tensor in tensors)
    program = describe_program(subgraph, host)
    if program is None:
        row = ProfileRow(
            layer=0,
            cycles=0,
            microseconds=1000 * time_ms,
            bytes_read=0,
            bytes_written=0,
            unit=SOFTWARE,
            name=subgraph.model_name,
        )
        rows: tuple[ProfileRow, ...] = (row,)
    else:
        rows = tuple(_row(operation) for operation in program.operations)
    return SubgraphProfile(
        number=number,
        model_name=subgraph.model_name,
        predicted=program is not None,
        microseconds=1000 * time_ms if program is None else program.total_microseconds,
        buffers=buffers,
        rows=rows,
        notes=(MEASURED,) if program is None else program.notes,
    )


def _row(operation: OperationRow) -> ProfileRow:
    return ProfileRow(
        layer=operation.index,
        cycles=operation.cycles,
        microseconds=operation.microseconds,
        bytes_read=operation.bytes_read,
        bytes_written=operation.bytes_written,
        unit=UNITS.get(operation.main_engine, UNKNOWN_UNIT),
        name=operation.name or operation.type,
        layer_id=operation.layer_id,
    )


def profile_lines(profile: SubgraphProfile, pid: int) -> Iterator[str]:
    """The network line and the table.

    The line has a further key, ``source``, which no board writes.

    Args:
        profile: What to write.
        pid: Process that ran the model.
    """
    time, (count, size) = round(profile.microseconds), profile.buffers
    source = "predicted" if profile.predicted else "measured on the host"
    yield (
        f"pid: {pid}, nid: {profile.number}, inference_count: 1, inference_time: {time}, inference_last: {time}, "
        f"iobuf_count: {count}, iobuf_size: {size}, layers: {len(profile.rows)}, source: {source}"
    )
    yield HEADER
    for row in profile.rows:
        yield (
            f"|{row.layer:>4} |{row.cycles:>9} |{round(row.microseconds):>8} |{row.bytes_read:>9} "
            f"|{row.bytes_written:>9} |{row.unit:>3} | {one_line(row.name)}"
        )
