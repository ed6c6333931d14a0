"""Which buffers go to SRAM, so that the least has to be moved to and from DDR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from synap_delegate_npu.memory.buffers import Buffer, Integers, aligned

CHECKS = 40_000
"""How often it is looked whether a buffer fits while buffers are exchanged: what bounds the time."""


@dataclass(slots=True)
class Load:
    """How full the SRAM is, over time, while buffers are chosen.

    Attributes:
        sizes: ``(buffers,)`` bytes, whole blocks.
        traffic: ``(buffers,)`` bytes moved if it is in DDR.
        begins: ``(buffers,)`` first stretch of time that each is alive in; see `buffers.live_bytes`.
        ends: ``(buffers,)`` stretch behind its last.
        capacity: Bytes of the SRAM.
        used: ``(stretches,)`` bytes of the chosen ones.
        chosen: ``(buffers,) bool``.
    """

    sizes: Integers
    traffic: Integers
    begins: Integers
    ends: Integers
    capacity: int
    used: Integers
    chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @classmethod
    def of(cls, buffers: Sequence[Buffer], capacity: int, alignment: int) -> Load:
        """Nothing chosen yet."""
        first = np.array([buffer.first for buffer in buffers], np.int64)
        last = np.array([buffer.last for buffer in buffers], np.int64)
        times = np.unique(np.concatenate([first, last + 1]))
        return cls(
            sizes=np.array([aligned(buffer.size_bytes, alignment) for buffer in buffers], np.int64),
            traffic=np.array([buffer.traffic_bytes for buffer in buffers], np.int64),
            begins=np.searchsorted(times, first),
            ends=np.searchsorted(times, last + 1),
            capacity=capacity,
            used=np.zeros(max(times.size - 1, 0), np.int64),
            chosen=np.zeros(len(buffers), np.bool_),
        )

    @property
    def saved(self) -> int:
        """Bytes that the chosen buffers keep off DDR."""
        return int(self.traffic[self.chosen].sum())

    def excess(self, index: int) -> int:
        """Bytes by which the SRAM would overflow with one more buffer; not positive if it fits."""
        used = self.used[self.begins[index] : self.ends[index]]
        return int(used.max() + self.sizes[index]) - self.capacity

    def add(self, index: int) -> None:
        """Choose a buffer."""
        self.used[self.begins[index] : self.ends[index]] += self.sizes[index]
        self.chosen[index] = True

    def remove(self, index: int) -> None:
        """Choose a buffer no more."""
        self.used[self.begins[index] : self.ends[index]] -= self.sizes[index]
        self.chosen[index] = False

    def choose(self, indices: Iterable[int]) -> None:
        """Choose exactly these."""
        self.used[:] = 0
        self.chosen[:] = False
        for index in indices:
            self.add(index)


def select(buffers: Sequence[Buffer], capacity: int, alignment: int) -> list[int]:
    """Choose the buffers for SRAM, as if it had no gaps: at no time do they need more than it has.

    There are several ways to be greedy, each of which is best for some programs. All are done, and the one that keeps
    most bytes off DDR is improved: a buffer is taken in for others that are alive with it if it saves more than they.

    Args:
        buffers: All of the program; those that must be in DDR are left there.
        capacity: Bytes of the SRAM.
        alignment: Sizes are rounded up to whole blocks of so many bytes.

    Returns:
        Indices, ascending. Empty buffers are among them.
    """
    load = Load.of(buffers, capacity, alignment)
    candidates = [
        index for index, buffer in enumerate(buffers) if not buffer.in_ddr and load.sizes[index] <= load.capacity
    ]
    if not candidates:
        return []
    results = [list(gathered(load, order)) for order in _orders(buffers, candidates)]
    best = max(results, key=lambda chosen: int(load.traffic[chosen].sum()))
    load.choose(best)
    exchange(load, sorted(candidates, key=lambda index: (-load.traffic[index], index)))
    return np.flatnonzero(load.chosen).tolist()


def _orders(buffers: Sequence[Buffer], candidates: list[int]) -> Iterator[list[int]]:
    """By benefit per byte and operation, per operation, and in all; then by what they save."""
    keys: list[Callable[[Buffer], tuple[float, int]]] = [
        lambda buffer: (-buffer.accesses / buffer.lifetime, -buffer.traffic_bytes),
        lambda buffer: (-buffer.traffic_bytes / buffer.lifetime, -buffer.traffic_bytes),
        lambda buffer: (-buffer.traffic_bytes, buffer.lifetime),
    ]
    for key in keys:
        ranks = {index: key(buffers[index]) for index in candidates}
        yield sorted(candidates, key=ranks.__getitem__)


def gathered(load: Load, order: Iterable[int]) -> Iterator[int]:
    """Buffers that still fit, taken in this order."""
    load.choose(())
    for index in order:
        if load.excess(index) <= 0:
            load.add(index)
            yield index


def exchange(load: Load, order: Sequence[int]) -> None:
    """Take in buffers for others that save less than they do, until there are none left or enough was tried."""
    checks = CHECKS
    improved = True
    while improved:
        improved = False
        for index in order:
            if not load.chosen[index]:
                gain, used = _exchange_for(load, index, order, checks)
                improved |= gain
                checks -= used
                if checks <= 0:
                    return


def _exchange_for(load: Load, index: int, order: Sequence[int], checks: int) -> tuple[bool, int]:
    """Take in one buffer, and let as little go as it needs; leave all as it was if that saves nothing.

    Returns:
        Whether it saves something, and how many checks it took.
    """
    saved = load.saved
    removed = _make_room(load, index)
    load.add(index)
    added = [index]
    near = _near(load, removed, order)[: max(checks - len(removed), 0)]
    for other in near:
        if load.excess(other) <= 0:
            load.add(other)
            added.append(other)
    gain = load.saved > saved
    if not gain:
        for other in added:
            load.remove(other)
        for other in removed:
            load.add(other)
    return gain, 1 + len(removed) + len(near)


def _make_room(load: Load, index: int) -> list[int]:
    """Remove buffers until one fits: each time where it is fullest, the one that saves least for what it frees."""
    removed = []
    while (excess := load.excess(index)) > 0:
        begin, end = load.begins[index], load.ends[index]
        place = begin + np.argmax(load.used[begin:end])
        alive = np.flatnonzero(load.chosen & (load.begins <= place) & (load.ends > place) & (load.sizes > 0))
        loss = load.traffic[alive] / np.minimum(load.sizes[alive], excess)
        removed.append(int(alive[np.argmin(loss)]))
        load.remove(removed[-1])
    return removed


def _near(load: Load, removed: list[int], order: Sequence[int]) -> list[int]:
    """Buffers outside that are alive where something went, in the given order."""
    if not removed:
        return []
    begin, end = load.begins[removed].min(), load.ends[removed].max()
    near = ~load.chosen & (load.begins < end) & (load.ends > begin)
    return [other for other in order if near[other]]
