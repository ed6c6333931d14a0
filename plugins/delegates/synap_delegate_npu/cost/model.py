"""What a hardware operation costs, and an inference.

An operation takes as long as its phases (computing, on-chip traffic, off-chip traffic) take together, and a constant
time to start it. Operations come one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from synap_delegate_npu.cost.formulas import (
    Engine,
    Formula,
    Reals,
    bytes_read,
    bytes_written,
    columns_of,
    formula_of,
    overlapped,
)
from synap_delegate_npu.cost.layers import Operation
from synap_delegate_npu.cost.parameters import NpuParameters

Bound = Literal["compute", "memory", "overhead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Predicted cost of an operation.

    Attributes:
        engine: Unit that runs it.
        seconds: Time.
        cycles: The time in cycles of the unit's clock, which is an estimate.
        bytes_read: Bytes read from off-chip memory, compressed weights included.
        bytes_written: Bytes written to off-chip memory.
        compute_seconds: What computing alone would take.
        traffic_seconds: What moving data, on the chip and off it, would take alone.
        overhead_seconds: Constant part of the time.
        bound: The largest of these three.
    """

    engine: Engine
    seconds: float
    cycles: int
    bytes_read: int
    bytes_written: int
    compute_seconds: float
    traffic_seconds: float
    overhead_seconds: float
    bound: Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalCost:
    """Predicted cost of an inference.

    Attributes:
        seconds: Time, that to start the inference included.
        cycles: The same in cycles of the unit's clock, which is an estimate.
        bytes_read: Bytes read from off-chip memory.
        bytes_written: Bytes written to off-chip memory.
        engine_seconds: Time of the operations of each unit.
        overhead_seconds: Constant part of the time, that of all operations and of the inference.
    """

    seconds: float
    cycles: int
    bytes_read: int
    bytes_written: int
    engine_seconds: dict[Engine, float]
    overhead_seconds: float


class Workload:
    """Operations, ready to be costed many times.

    Args:
        operations: The operations.
        nn_cores: Convolution cores of the chip.
    """

    def __init__(self, operations: Sequence[Operation], nn_cores: int) -> None:
        self.operations = tuple(operations)
        self.engines = tuple(formula_of(operation)[0] for operation in operations)
        groups: dict[Formula, list[int]] = {}
        for index, operation in enumerate(operations):
            groups.setdefault(formula_of(operation)[1], []).append(index)
        self.groups = [(f, np.array(at), columns_of([operations[i] for i in at], nn_cores)) for f, at in groups.items()]

    def seconds(self, parameters: NpuParameters) -> Reals:
        """Time of each operation, ``(n,)``."""
        result = np.empty(len(self.operations))
        for formula, at, work in self.groups:
            phases = formula(work, parameters)
            busy = overlapped(parameters.q, phases.compute, phases.on_chip, phases.off_chip)
            result[at] = busy + phases.serial + phases.fixed
        return result

    def costs(self, parameters: NpuParameters) -> tuple[Cost, ...]:
        """Cost of each operation."""
        table = np.empty((6, len(self.operations)))
        table[0] = self.seconds(parameters)
        for formula, at, work in self.groups:
            phases = formula(work, parameters)
            table[1, at] = phases.compute + phases.serial
            table[2, at] = overlapped(parameters.q, phases.on_chip, phases.off_chip)
            table[3, at] = phases.fixed
            table[4, at] = bytes_read(work, parameters)
            table[5, at] = bytes_written(work, parameters)
        rows = zip(self.engines, table.T.tolist(), strict=True)
        return tuple(_cost(engine, row, parameters) for engine, row in rows)


def _cost(engine: Engine, row: Sequence[float], parameters: NpuParameters) -> Cost:
    seconds, compute, traffic, overhead, read, written = row
    parts: dict[Bound, float] = {"compute": compute, "memory": traffic, "overhead": overhead}
    return Cost(
        engine=engine,
        seconds=seconds,
        cycles=round(seconds * parameters.clock_hz),
        bytes_read=round(read),
        bytes_written=round(written),
        compute_seconds=compute,
        traffic_seconds=traffic,
        overhead_seconds=overhead,
        bound=max(parts, key=parts.__getitem__),
    )


def estimate(operation: Operation, parameters: NpuParameters) -> Cost:
    """Predict the cost of one operation; `estimate_all` is faster for many."""
    return estimate_all([operation], parameters)[0]


def estimate_all(operations: Sequence[Operation], parameters: NpuParameters) -> tuple[Cost, ...]:
    """Predict the costs of operations, in their order."""
    return Workload(operations, parameters.nn_cores).costs(parameters)


def total(costs: Sequence[Cost], parameters: NpuParameters) -> TotalCost:
    """Predict the cost of an inference: ``t_infer`` and the sum of its operations, one after the other."""
    engines: dict[Engine, float] = {"NN": 0.0, "TP": 0.0, "PPU": 0.0}
    for cost in costs:
        engines[cost.engine] += cost.seconds
    seconds = parameters.t_infer + sum(engines.values())
    return TotalCost(
        seconds=seconds,
        cycles=round(seconds * parameters.clock_hz),
        bytes_read=sum(cost.bytes_read for cost in costs),
        bytes_written=sum(cost.bytes_written for cost in costs),
        engine_seconds=engines,
        overhead_seconds=parameters.t_infer + sum(cost.overhead_seconds for cost in costs),
    )
