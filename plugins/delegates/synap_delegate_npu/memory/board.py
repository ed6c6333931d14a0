"""Buffers on a plane of time and addresses, each at the lowest address that is free when it is put there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from synap_delegate_npu.memory.buffers import Integers
from synap_delegate_npu.memory.overlaps import Overlaps


class Board:
    """The addresses of some buffers, no two of which overlap.

    A buffer that is not there ends at address 0, and so is in nobody's way.

    Args:
        overlaps: Sizes and neighbours.
        offsets: Where the buffers are, for all of them; without it, none is there.

    Attributes:
        offsets: First byte of each buffer.
        ends: The byte behind its last one.
        work: Neighbours that were looked at so far.
    """

    def __init__(self, overlaps: Overlaps, offsets: Sequence[int] = ()) -> None:
        self._sizes = overlaps.sizes
        self._overlaps = overlaps
        self.work = 0
        self.offsets = [0] * len(overlaps.sizes)
        self.ends = [0] * len(overlaps.sizes)
        # The same for operations on arrays, if there are buffers with many neighbours.
        self._mirrored = None in overlaps.listed
        self._offset_array = np.zeros(len(self.offsets), np.int64)
        self._end_array = np.zeros(len(self.offsets), np.int64)
        for index, offset in enumerate(offsets):
            self.put(index, offset)

    @property
    def peak(self) -> int:
        """First address behind all buffers."""
        return max(self.ends, default=0)

    def put(self, index: int, offset: int) -> int:
        """Put a buffer at an address, and return where it ends."""
        end = offset + self._sizes[index]
        self.offsets[index], self.ends[index] = offset, end
        if self._mirrored:
            self._offset_array[index], self._end_array[index] = offset, end
        return end

    def take(self, index: int) -> None:
        """Take a buffer away."""
        self.offsets[index] = self.ends[index] = 0
        if self._mirrored:
            self._offset_array[index] = self._end_array[index] = 0

    def lowest(self, index: int) -> int:
        """Lowest address at which a buffer fits between those that are there."""
        others = self._overlaps.listed[index]
        size = self._sizes[index]
        self.work += self._overlaps.counts[index] + 1
        if others is None:
            return self._lowest_of_many(self._overlaps.many(index), size)
        ends, offsets = self.ends, self.offsets
        free = 0
        for begin, end in sorted([(offsets[other], ends[other]) for other in others if ends[other]]):
            if begin - free >= size:
                break
            free = max(free, end)
        return free

    def _lowest_of_many(self, others: Integers, size: int) -> int:
        begins, ends = self._offset_array[others], self._end_array[others]
        order = np.argsort(begins)
        free = np.concatenate([[0], np.maximum.accumulate(ends[order])])
        gaps = begins[order] - free[:-1] >= size
        place = int(np.argmax(gaps))
        return int(free[place if gaps[place] else -1])

    def supports(self, index: int) -> list[int]:
        """Buffers that end where this one begins: those that keep it from lying lower."""
        offset = self.offsets[index]
        if not offset:
            return []
        others = self._overlaps.listed[index]
        if others is None:
            many = self._overlaps.many(index)
            return [int(other) for other in many[self._end_array[many] == offset]]
        return [other for other in others if self.ends[other] == offset]

    def fill(self, order: Iterable[int]) -> int:
        """Put buffers at their lowest addresses, one after the other, and return where the highest of them ends."""
        return max((self.put(index, self.lowest(index)) for index in order), default=0)
