"""Programs as runtimes describe them, and bundles of them, made by hand."""

from __future__ import annotations

from dataclasses import replace

from synap_core.bundle_reader import Bundle, BundleSubgraph
from synap_core.bundle_report.gather import BundleReport, SubgraphReport
from synap_core.metadata import SubgraphMeta
from synap_core.program_report import MemoryPlace, MemoryUse, OperationRow, ProgramDescription, ProgramTensor
from synap_core.tensors import QuantParams, TensorMeta

QUANT = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(3,))


def row(index: int, engine: str, microseconds: float, **changes: object) -> OperationRow:
    """An operation that reads one tensor and writes one."""
    made = OperationRow(
        index=index,
        layer_id=f"CONV_2D_layer{index}_{index}",
        name=f"Layer{index}",
        type="Convolution",
        engine=engine,
        inputs=(ProgramTensor(name=f"t{index}", shape=(1, 3, 8, 8), dtype="int8"),),
        outputs=(ProgramTensor(name=f"t{index + 1}", shape=(1, 4, 8, 8), dtype="int8"),),
        cycles=int(800 * microseconds),
        microseconds=microseconds,
        bytes_read=1000 + index,
        bytes_written=2000 + index,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # any fields of it


def program() -> ProgramDescription:
    """Four operations: 100 µs on one engine, 40 µs on another, one that is free, and 10 µs on the first and another."""
    weights = {"constant_bytes": 500, "weight_bytes": 400, "stored_weight_bytes": 300}
    places = [("t0", "ddr", 0, -1, 0), ("t1", "sram", 0, 0, 1), ("t2", "sram", 256, 1, 2), ("t4", "ddr", 256, 3, 4)]
    return ProgramDescription(
        engines=("NN", "TP", "PPU"),
        operations=(
            row(0, "NN", 100.0, bound="memory", arithmetic="integer", **weights),
            row(1, "TP", 40.0),
            row(2, "", 0.0, type="Reshape"),
            row(3, "NN+TP", 10.0),
        ),
        places=tuple(
            MemoryPlace(name=name, memory=memory, offset=offset, size_bytes=256, first=first, last=last)
            for name, memory, offset, first, last in places
        ),
        memories=(
            MemoryUse(name="sram", title="On-chip memory", used_bytes=512, lower_bound_bytes=448, size_bytes=1024),
            MemoryUse(name="ddr", title="Memory pool in DDR", used_bytes=512, lower_bound_bytes=512),
        ),
        start_microseconds=50.0,
        target="SOC1",
        made_by="maker 1.5",
        notes=("The figures are predicted.",),
    )


def tensor(name: str) -> TensorMeta:
    """A tensor of a boundary."""
    return TensorMeta(label=name, name=name, shape=(1, 8, 8, 3), dtype="int8", layout="nhwc", quant=QUANT)


def report(*programs: ProgramDescription | None, name: str = "net.synap", word: str = "x") -> BundleReport:
    """A row of subgraphs, each of which reads what the one before it writes; None for one without a program."""
    entries = []
    for index, described in enumerate(programs):
        meta = SubgraphMeta(
            inputs=(tensor(f"{word}{index}"),), outputs=(tensor(f"{word}{index + 1}"),), delegate=word, secure=False
        )
        subgraph = BundleSubgraph(model_name=f"{index}/{word}.nb", model=bytes(10), meta=meta, inputs=((index - 1, 0),))
        problem = "" if described else f"nobody reads {word}"
        entries.append(
            SubgraphReport(index=index, subgraph=subgraph, delegate=word, program=described, problem=problem)
        )
    bundle = Bundle(
        subgraphs=tuple(entry.subgraph for entry in entries),
        order=tuple(range(len(entries))),
        outputs=((len(entries) - 1, 0),),
    )
    return BundleReport(name=name, size_bytes=1234, bundle=bundle, subgraphs=tuple(entries))
