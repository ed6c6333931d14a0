"""The layer table of a program: what every operation is, where it runs, and what it is predicted to cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synap_delegate_npu.cost.model import Cost, estimate_all
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.fusion import profile_name
from synap_delegate_npu.program.program import Operation
from synap_delegate_npu.support import check
from synap_delegate_npu.workload import workload

NOTHING = "--"
"""Engine of an operation that costs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """A hardware operation in reports.

    Attributes:
        index: Position in execution order.
        layer_id: Id of the layer.
        name: As profiles name it.
        type: Operator of the program.
        engine: ``NN``, ``TP``, ``PPU``, ``NN+TP`` or ``--`` for one that moves nothing.
        shape: Shape of the first output.
        dtype: Type of it in memory.
        cycles: Predicted cycles.
        microseconds: Predicted time.
        bytes_read: Bytes it is predicted to read from memory outside of the chip.
        bytes_written: Bytes it is predicted to write there.
        bound: What takes longest: ``compute``, ``memory`` or ``overhead``; empty when it costs nothing.
        exact: Computed in integers; otherwise in real numbers.
    """

    index: int
    layer_id: str
    name: str
    type: str
    engine: str
    shape: tuple[int, ...]
    dtype: str
    cycles: int
    microseconds: float
    bytes_read: int
    bytes_written: int
    bound: str
    exact: bool


def layer_rows(operations: Sequence[Operation], parameters: NpuParameters) -> tuple[LayerRow, ...]:
    """Rows for all operations of a program."""
    engines = [check(op.group, op.outputs[0].dtype).engine for op in operations]
    works = [
        workload(op.group, op.outputs[0].dtype, engine.partition("+")[0])
        for op, engine in zip(operations, engines, strict=True)
    ]
    costs = iter(estimate_all([work for several in works for work in several], parameters))
    rows = []
    for index, (operation, engine, work) in enumerate(zip(operations, engines, works, strict=True)):
        own = [next(costs) for _ in work]
        rows.append(_row(index, operation, engine, own))
    return tuple(rows)


def _row(index: int, operation: Operation, engine: str, costs: Sequence[Cost]) -> LayerRow:
    output = operation.outputs[0]
    return LayerRow(
        index=index,
        layer_id=operation.layer_id,
        name=profile_name(operation.group, engine),
        type=operation.type,
        engine=engine if costs else NOTHING,
        shape=output.shape,
        dtype=output.dtype,
        cycles=sum(cost.cycles for cost in costs),
        microseconds=1e6 * sum(cost.seconds for cost in costs),
        bytes_read=sum(cost.bytes_read for cost in costs),
        bytes_written=sum(cost.bytes_written for cost in costs),
        bound=max(costs, key=lambda cost: cost.seconds).bound if costs else "",
        exact=operation.exact,
    )
