"""Which buffers are alive at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synap_delegate_npu.memory.buffers import Buffer, Integers, aligned

FEW = 48
"""With up to so many neighbours, a list of them is kept. More are found by comparing arrays whenever they are needed,
which takes longer, but does not need memory for all pairs."""


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Sizes of buffers, and for each the others that are alive with it. Buffers are known by their index.

    Empty buffers are in nobody's way, and have no neighbours.

    Attributes:
        sizes: Bytes, whole blocks of the alignment; 0 stays 0.
        lives: Number of operations that each is alive for.
        counts: How many neighbours each has.
        listed: The neighbours of those that have no more than `FEW`, and ``None`` for the others.
        first: ``(buffers,) int64`` operation that each is alive from.
        last: ``(buffers,) int64`` last operation.
    """

    sizes: list[int]
    lives: list[int]
    counts: list[int]
    listed: list[list[int] | None]
    first: Integers
    last: Integers

    @property
    def pairs(self) -> int:
        """How many pairs there are, each counted twice: the work of placing all buffers once."""
        return sum(self.counts)

    @classmethod
    def of(cls, buffers: Sequence[Buffer], alignment: int) -> Overlaps:
        """Find them, in time in proportion to the number of buffers, but for sorting."""
        first = np.array([buffer.first for buffer in buffers], np.int64)
        last = np.array([buffer.last for buffer in buffers], np.int64)
        sizes = [aligned(buffer.size_bytes, alignment) for buffer in buffers]
        filled = np.flatnonzero(np.array(sizes, np.int64))
        counts = np.zeros(len(buffers), np.int64)
        begun = np.searchsorted(np.sort(first[filled]), last[filled], side="right")
        ended = np.searchsorted(np.sort(last[filled]), first[filled], side="left")
        counts[filled] = begun - ended - 1
        order = filled[np.argsort(first[filled], kind="stable")]
        return cls(
            sizes=sizes,
            lives=(last - first + 1).tolist(),
            counts=counts.tolist(),
            listed=_listed(order.tolist(), first.tolist(), last.tolist(), counts.tolist()),
            first=first,
            last=last,
        )

    def many(self, index: int) -> NDArray[np.int64]:
        """Neighbours of a buffer that has many; itself and empty buffers may be among them."""
        return np.flatnonzero((self.first <= self.last[index]) & (self.last >= self.first[index]))


def _listed(order: list[int], first: list[int], last: list[int], counts: list[int]) -> list[list[int] | None]:
    """Neighbours of those that have few, in one sweep through time.

    Those that have few and are alive at the same time are few themselves, and so are all that are alive with one of
    them: however many buffers there are, little is looked at for each.
    """
    result: list[list[int] | None] = [[] if count <= FEW else None for count in counts]
    few: list[tuple[int, list[int]]] = []
    many: list[int] = []
    for index in order:
        few = [(other, others) for other, others in few if last[other] >= first[index]]
        for _, others in few:
            others.append(index)
        own = result[index]
        if own is None:
            many.append(index)
        else:
            many = [other for other in many if last[other] >= first[index]]
            own.extend([*(other for other, _ in few), *many])
            few.append((index, own))
    return result
