"""The memory plan of a program: SRAM or DDR, and an address, for every buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from synap_delegate_npu.memory.board import Board
from synap_delegate_npu.memory.buffers import Buffer, aligned, check_alignment, check_names, lower_bound
from synap_delegate_npu.memory.offsets import assign
from synap_delegate_npu.memory.overlaps import Overlaps
from synap_delegate_npu.memory.selection import select

Memory = Literal["sram", "ddr"]

BURST_BYTES = 64
"""Default alignment: the feature table of the NPU's relatives and the public driver have coefficients and cache lines
in blocks of 64 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a buffer lies while it is alive.

    Attributes:
        buffer: The buffer, with its lifetime.
        memory: ``sram`` or ``ddr``.
        offset: First byte, counted from the beginning of that memory's pool; a multiple of the alignment.
    """

    buffer: Buffer
    memory: Memory
    offset: int

    @property
    def end(self) -> int:
        """The byte behind its last one."""
        return self.offset + self.buffer.size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """How much of one memory a plan takes.

    Attributes:
        used_bytes: From the beginning to the end of the block that reaches farthest.
        lower_bound_bytes: What its buffers take at least, because so many of them are needed at the same time. Sizes
            are rounded up to whole blocks in both.
    """

    used_bytes: int
    lower_bound_bytes: int

    @property
    def gap_percent(self) -> float:
        """How far the plan may be from the best one, in percent of the lower bound; 0 if it is the best one."""
        return 100.0 * (self.used_bytes / self.lower_bound_bytes - 1) if self.lower_bound_bytes else 0.0


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A memory plan.

    Attributes:
        places: One for each buffer, in the order they were given in.
        sram: What is used of the SRAM; its ``used_bytes`` are the peak.
        ddr: The memory pool in DDR.
        sram_bytes: Size of the SRAM.
        alignment: Bytes of a block.
    """

    places: tuple[Place, ...]
    sram: Pool
    ddr: Pool
    sram_bytes: int
    alignment: int

    @cached_property
    def by_name(self) -> dict[str, Place]:
        """The places, by the names of their buffers."""
        return {place.buffer.name: place for place in self.places}

    @property
    def ddr_traffic_bytes(self) -> int:
        """Bytes that are moved to and from DDR: the size of each buffer there, times its accesses."""
        return sum(place.buffer.traffic_bytes for place in self.places if place.memory == "ddr")


def allocate(buffers: Sequence[Buffer], *, sram_bytes: int, alignment: int = BURST_BYTES) -> Placement:
    """Make a memory plan.

    `select` chooses what goes to SRAM, `assign` finds addresses there, and what does not fit because of gaps is left
    out. Then buffers that were not chosen, or left out, are put into the gaps that remain, those that save most first.
    All others get addresses in DDR, in as small a pool as can be found.

    The same arguments give the same plan. The time is nearly in proportion to the number of buffers and of pairs of
    them that are alive together; a search that goes beyond that takes a fixed amount of work.

    Args:
        buffers: Tensors, without the weights, which are never written and have an area of their own.
        sram_bytes: Size of the SRAM; 0 if there is none. What is not a whole block is not used.
        alignment: Offsets are multiples of it, and each buffer takes whole blocks of so many bytes; a power of two.

    Raises:
        ValueError: A size is negative, the alignment is no power of two, or two buffers have the same name.
    """
    check_alignment(alignment)
    check_names(buffers)
    if sram_bytes < 0:
        msg = f"sram_bytes is {sram_bytes!r}; it must not be negative"
        raise ValueError(msg)
    capacity = sram_bytes // alignment * alignment
    offsets = _in_sram(buffers, capacity, alignment)
    outside = [index for index in range(len(buffers)) if index not in offsets]
    others = [buffers[index] for index in outside]
    in_ddr = assign(Overlaps.of(others, alignment), lower_bound(others, alignment))
    offsets_in_ddr = dict(zip(outside, in_ddr, strict=True))
    places = tuple(
        Place(buffer=buffer, memory="sram", offset=offsets[index])
        if index in offsets
        else Place(buffer=buffer, memory="ddr", offset=offsets_in_ddr[index])
        for index, buffer in enumerate(buffers)
    )
    return Placement(
        places=places,
        sram=_pool(places, "sram", alignment),
        ddr=_pool(places, "ddr", alignment),
        sram_bytes=sram_bytes,
        alignment=alignment,
    )


def _pool(places: Sequence[Place], memory: Memory, alignment: int) -> Pool:
    there = [place for place in places if place.memory == memory]
    return Pool(
        used_bytes=max((aligned(place.end, alignment) for place in there if place.buffer.size_bytes), default=0),
        lower_bound_bytes=lower_bound([place.buffer for place in there], alignment),
    )


def _in_sram(buffers: Sequence[Buffer], capacity: int, alignment: int) -> dict[int, int]:
    """Addresses of the buffers that go to SRAM, by index."""
    chosen = select(buffers, capacity, alignment)
    part = [buffers[index] for index in chosen]
    found = assign(Overlaps.of(part, alignment), lower_bound(part, alignment))
    offsets = dict(zip(chosen, found, strict=True))
    by_benefit = sorted(
        (index for index, buffer in enumerate(buffers) if not buffer.in_ddr),
        key=lambda index: (-buffers[index].traffic_bytes, index),
    )
    waiting = [index for index in by_benefit if index not in offsets]
    if all(offset + aligned(buffers[index].size_bytes, alignment) <= capacity for index, offset in offsets.items()):
        return _filled(buffers, offsets, waiting, capacity, alignment)
    # The lowest ones first, so that others sink into the gaps of what is left out; or the most useful ones first.
    upwards = sorted(offsets, key=lambda index: (offsets[index], index))
    useful = sorted(offsets, key=lambda index: (-buffers[index].accesses / buffers[index].lifetime, index))
    results = [_filled(buffers, {}, [*order, *waiting], capacity, alignment) for order in (upwards, useful, by_benefit)]
    return max(results, key=lambda result: sum(buffers[index].traffic_bytes for index in result))


def _filled(
    buffers: Sequence[Buffer], offsets: dict[int, int], order: Sequence[int], capacity: int, alignment: int
) -> dict[int, int]:
    """The addresses, and those of further buffers that fit below the end of the SRAM."""
    board = Board(Overlaps.of(buffers, alignment))
    for index, offset in offsets.items():
        board.put(index, offset)
    result = dict(offsets)
    for index in order:
        offset = board.lowest(index)
        if board.put(index, offset) <= capacity:
            result[index] = offset
        else:
            board.take(index)
    return result
