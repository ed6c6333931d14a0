"""What is known of a compiled program before it runs: its operations, their predicted costs, and its memory plan.

Nothing here knows a format or a processing unit: runtimes describe their own programs with these words
(`Runtime.describe`), and reports show them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from synap_core.errors import PluginError


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramTensor:
    """A tensor that an operation reads or writes.

    Attributes:
        name: Name in the program.
        shape: Dimensions.
        dtype: Type of its items in memory, in NumPy's words; empty when it is not known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow:
    """An operation of a program.

    Attributes:
        index: Position in execution order.
        layer_id: Id of the layer it comes from.
        name: As profiles of the unit name it.
        type: Operator of the program.
        engine: Part of the unit that executes it; several are joined by ``+``, the first then is the one whose time it
            is; empty for one that takes no time.
        inputs: Tensors it reads, without constants.
        outputs: Tensors it writes.
        cycles: Predicted clock cycles.
        microseconds: Predicted time, µs.
        bytes_read: Bytes it is predicted to read from memory outside of the chip.
        bytes_written: Bytes it is predicted to write there.
        constant_bytes: Bytes of the constants it reads.
        weight_bytes: Those of them that are weights, which may be stored in fewer bytes.
        stored_weight_bytes: What the weights are estimated to take as they are stored.
        arithmetic: How it computes, in a word; empty when it is not known.
        bound: What takes most of its time, in a word; empty when it is not known.
    """

    index: int
    layer_id: str
    name: str
    type: str
    engine: str
    inputs: tuple[ProgramTensor, ...]
    outputs: tuple[ProgramTensor, ...]
    cycles: int
    microseconds: float
    bytes_read: int
    bytes_written: int
    constant_bytes: int = 0
    weight_bytes: int = 0
    stored_weight_bytes: int = 0
    arithmetic: str = ""
    bound: str = ""

    def __post_init__(self) -> None:
        costs = (self.cycles, self.microseconds, self.bytes_read, self.bytes_written)
        sizes = (self.constant_bytes, self.weight_bytes, self.stored_weight_bytes)
        if not all(0 <= number < math.inf for number in (*costs, *sizes)):
            msg = f"the costs of an operation must be numbers that are not negative: {self}"
            raise PluginError(msg)

    @property
    def main_engine(self) -> str:
        """The engine whose time it is; empty for an operation that takes none."""
        return self.engine.partition("+")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlace:
    """Where a tensor lies, and for how long.

    Attributes:
        name: The tensor.
        memory: Name of the memory, as in `MemoryUse`.
        offset: First byte, from the beginning of that memory's pool.
        size_bytes: Bytes it takes.
        first: Position of the operation that writes it; -1 for an input of the program.
        last: Position of the last operation that reads it; the number of operations for an output of the program.
    """

    name: str
    memory: str
    offset: int
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """How much a program takes of a memory.

    Attributes:
        name: Short name.
        title: What it is, for people.
        used_bytes: From the beginning of the pool to the end of what reaches farthest.
        lower_bound_bytes: What its tensors take at least, because so many of them are needed at the same time.
        size_bytes: Size of the memory; None when it has no fixed one, or when it is not known.
    """

    name: str
    title: str
    used_bytes: int
    lower_bound_bytes: int
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramDescription:
    """A program, as its runtime describes it.

    Attributes:
        engines: All engines of the unit, in the order to show them.
        operations: In execution order.
        places: Where tensors lie; empty when nothing is known of that.
        memories: The memories they lie in.
        start_microseconds: Predicted time of the start of an inference, µs.
        target: The system on chip it was compiled for; empty when that is not known.
        made_by: Tool that made it, with its version; empty when that is not known.
        notes: What readers must know of the figures and of the program; sentences.
    """

    engines: tuple[str, ...]
    operations: tuple[OperationRow, ...]
    places: tuple[MemoryPlace, ...] = ()
    memories: tuple[MemoryUse, ...] = ()
    start_microseconds: float = 0.0
    target: str = ""
    made_by: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.start_microseconds < math.inf:
            msg = f"the start of an inference cannot take {self.start_microseconds!r} µs"
            raise PluginError(msg)
        unknown = {row.main_engine for row in self.operations} - {*self.engines, ""}
        if unknown:
            msg = f"operations run on {', '.join(sorted(unknown))}, which are not among the engines {self.engines}"
            raise PluginError(msg)

    @property
    def total_microseconds(self) -> float:
        """Predicted time of an inference, µs: that of all operations, one after the other, and the start."""
        return math.fsum((self.start_microseconds, *(row.microseconds for row in self.operations)))

    def engine_microseconds(self) -> dict[str, float]:
        """Predicted time of each engine, µs; all of them are there."""
        found: dict[str, list[float]] = {name: [] for name in self.engines}
        for row in self.operations:
            if row.main_engine:
                found[row.main_engine].append(row.microseconds)
        return {name: math.fsum(times) for name, times in found.items()}

    def engine_operations(self) -> Counter[str]:
        """Number of operations of each engine; those that take no time count for an empty name."""
        return Counter(row.main_engine for row in self.operations)

    def slowest(self, count: int) -> Sequence[OperationRow]:
        """The operations that take longest, the slowest first; those that take no time are left out."""
        busy = [row for row in self.operations if row.microseconds > 0]
        return sorted(busy, key=lambda row: (-row.microseconds, row.index))[:count]
