"""The parts of ``model_info.txt`` that an npu subgraph adds: layers, operations and memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from synap_core.api import align_columns, format_shape
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.layers import NOTHING, LayerRow
from synap_delegate_npu.memory import Placement, StoredWeights, describe
from synap_delegate_npu.placing import size_bytes
from synap_delegate_npu.predictions import predicted
from synap_delegate_npu.program.program import Program

SILICON = "The unit itself executes only what the vendor's compiler emits; this program runs on the host, bit for bit."

PROFILING = (
    "Every program carries the predictions of its layers, so --profiling changes nothing in it;"
    " 'synap run --profiling FILE' writes them as the table of a board."
)

PROGRAM = "NPU program"


def with_profiling(reports: Mapping[str, str]) -> dict[str, str]:
    """Reports of a subgraph that was to be profiled layer by layer."""
    return {**reports, PROGRAM: f"{reports[PROGRAM]}\n{PROFILING}"}


def listings(
    program: Program,
    rows: Sequence[LayerRow],
    placement: Placement,
    weights: Mapping[str, StoredWeights],
    parameters: NpuParameters,
) -> dict[str, str]:
    """Reports by title."""
    return {
        PROGRAM: "\n".join((SILICON, predicted(parameters))),
        "Layer table": "\n".join(_layer_table(rows, parameters)),
        "Operation table": "\n".join(_operation_table(program, rows)),
        "Memory usage": "\n".join(_memory(program, placement, weights)),
    }


def _layer_table(rows: Sequence[LayerRow], parameters: NpuParameters) -> Iterator[str]:
    table = [("lyr", "cycle", "time_us", "byte_rd", "byte_wr", "ot", "bound", "type", "shape", "name", "layer id")]
    table += [
        (
            str(row.index),
            str(row.cycles),
            f"{row.microseconds:.0f}",
            str(row.bytes_read),
            str(row.bytes_written),
            row.engine,
            row.bound or "-",
            row.dtype,
            format_shape(row.shape),
            row.name,
            " ".join(row.layer_id.splitlines()),
        )
        for row in rows
    ]
    yield from align_columns(table)
    yield ""
    engines: dict[str, float] = {}
    for row in rows:
        engine = row.engine.partition("+")[0]
        engines[engine] = engines.get(engine, 0.0) + row.microseconds
    busy = sum(row.microseconds for row in rows)
    by_time = sorted(engines.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {time / 1000:.3f} ms" for name, time in by_time if name != NOTHING)
    total = (busy + 1e6 * parameters.t_infer) / 1000
    yield f"Predicted time of an inference: {total:.3f} ms ({shares}, start {1000 * parameters.t_infer:.3f} ms)"


def _operation_table(program: Program, rows: Sequence[LayerRow]) -> Iterator[str]:
    table = [("lyr", "operation", "arithmetic", "inputs", "outputs")]
    for row, operation in zip(rows, program.operations, strict=True):
        reads = ", ".join(f"{format_shape(t.shape)} {t.dtype}" for t in operation.form.inputs if t.constant is None)
        writes = ", ".join(f"{format_shape(t.shape)} {t.dtype}" for t in operation.outputs)
        table.append((str(row.index), operation.type, "integer" if operation.exact else "real", reads, writes))
    yield from align_columns(table)


def _memory(program: Program, placement: Placement, weights: Mapping[str, StoredWeights]) -> Iterator[str]:
    plain = sum(size_bytes(t) for op in program.operations for t in op.form.inputs if t.constant is not None)
    stored = sum(found.size_bytes for found in weights.values())
    quantized = sum(
        math.prod(t.shape) * (2 if t.dtype == "int16" else 1)
        for op in program.operations
        if op.layer_id in weights
        for t in op.form.inputs[1:2]
    )
    yield f"Constants: {plain} bytes; of these {quantized} bytes of weights, estimated to take {stored} when compressed"
    yield f"Memory pool in DDR: {placement.ddr.used_bytes} bytes (at least {placement.ddr.lower_bound_bytes})"
    yield f"Peak of on-chip memory: {placement.sram.used_bytes} bytes (at least {placement.sram.lower_bound_bytes})"
    yield f"On-chip memory taken for granted: {placement.sram_bytes} bytes; its size is not published"
    yield ""
    yield from _lines(describe(placement))


def _lines(text: str | Iterable[str]) -> Iterable[str]:
    return text.splitlines() if isinstance(text, str) else text
