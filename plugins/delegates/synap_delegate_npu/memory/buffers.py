"""Tensors as the memory planner sees them: a size and a lifetime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

NETWORK_INPUT = -1
"""Position of the operation in front of the first one, which writes the inputs of the network."""

LARGEST_BYTES = 1 << 40
"""Sizes beyond this are mistakes; below it, no sum of sizes can leave 64 bits."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A tensor that needs memory while some operations run.

    Attributes:
        name: Name of the tensor, unique in a plan.
        size_bytes: Bytes it takes; 0 is allowed, for tensors without items.
        first: Position of the operation that writes it; -1 for an input of the network.
        last: Position of the last operation that reads it, inclusive; the number of operations for an output of the
            network. Its memory is free for what operation ``last + 1`` writes, and not for what ``last`` writes.
        accesses: How many times the whole tensor is moved: 1 for being written and 1 for each reader.
        in_ddr: Whether it has to be in DDR, because the processor reads or writes it.

    Raises:
        ValueError: The name is empty, or a number is out of range.
    """

    name: str
    size_bytes: int
    first: int
    last: int
    accesses: int = 2
    in_ddr: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            msg = "a buffer has no name"
            raise ValueError(msg)
        if not 0 <= self.size_bytes <= LARGEST_BYTES:
            msg = f"buffer {self.name!r}: size_bytes is {self.size_bytes!r}; it must be within 0 and {LARGEST_BYTES}"
            raise ValueError(msg)
        if self.first < NETWORK_INPUT:
            msg = f"buffer {self.name!r}: first is {self.first!r}; it must not be below {NETWORK_INPUT}"
            raise ValueError(msg)
        if self.last < self.first:
            msg = f"buffer {self.name!r}: last is {self.last!r}; it must not be below first, which is {self.first!r}"
            raise ValueError(msg)
        if self.accesses < 0:
            msg = f"buffer {self.name!r}: accesses is {self.accesses!r}; it must not be negative"
            raise ValueError(msg)

    @property
    def lifetime(self) -> int:
        """Number of operations that it is needed for; at least 1."""
        return self.last - self.first + 1

    @property
    def traffic_bytes(self) -> int:
        """Bytes that go over the bus of the memory it is in."""
        return self.size_bytes * self.accesses

    def is_alive_with(self, other: Buffer) -> bool:
        """Whether there is an operation that needs both."""
        return self.first <= other.last and other.first <= self.last


def aligned(size_bytes: int, alignment: int) -> int:
    """The size, rounded up to whole blocks of the alignment."""
    return -(-size_bytes // alignment) * alignment


def check_alignment(alignment: int) -> None:
    """Refuse what is no alignment.

    Raises:
        ValueError: It is not a power of two.
    """
    if alignment < 1 or alignment & (alignment - 1):
        msg = f"alignment is {alignment!r}; it must be a power of two"
        raise ValueError(msg)


def check_names(buffers: Iterable[Buffer]) -> None:
    """Refuse a plan in which a name tells nothing.

    Raises:
        ValueError: Two buffers have the same name.
    """
    seen: set[str] = set()
    for buffer in buffers:
        if buffer.name in seen:
            msg = f"two buffers have the name {buffer.name!r}; names must be unique"
            raise ValueError(msg)
        seen.add(buffer.name)


def live_bytes(buffers: Sequence[Buffer], alignment: int = 1) -> Integers:
    """Bytes that are needed at the same time.

    Operations between which no lifetime begins or ends are alike, so there is one sum for each stretch of them: the
    result is as long as there are different beginnings and ends, however long the program is.

    Args:
        buffers: Any number of them, in any order.
        alignment: Sizes are rounded up to whole blocks of so many bytes.

    Returns:
        ``(stretches,) int64``, in the order of time.
    """
    check_alignment(alignment)
    if not buffers:
        return np.zeros(0, np.int64)
    begins = np.array([buffer.first for buffer in buffers], np.int64)
    ends = np.array([buffer.last + 1 for buffer in buffers], np.int64)
    sizes = np.array([aligned(buffer.size_bytes, alignment) for buffer in buffers], np.int64)
    times, places = np.unique(np.concatenate([begins, ends]), return_inverse=True)
    change = np.zeros(times.size, np.int64)
    np.add.at(change, places, np.concatenate([sizes, -sizes]))
    return np.cumsum(change)[:-1]


def lower_bound(buffers: Sequence[Buffer], alignment: int = 1) -> int:
    """Largest sum of the sizes that are needed at the same time: no placement takes less.

    Args:
        buffers: Any number of them, in any order; 0 for none.
        alignment: Sizes are rounded up to whole blocks of so many bytes, as `allocate` does.
    """
    return int(live_bytes(buffers, alignment).max(initial=0))
