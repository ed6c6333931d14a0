"""Addresses for all buffers of one memory, in as little of it as can be found with a fixed amount of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np

from synap_delegate_npu.memory.board import Board
from synap_delegate_npu.memory.overlaps import Overlaps

ANYWHERE = 0.1
"""How often a buffer is moved to any earlier position, rather than in front of a part of the pile."""

STALE = 150
"""Changes in a row that do not lower the peak, after which another climb begins."""

CLIMBS = 12
"""Climbs at most."""

WORK = 1_000_000
"""Neighbours that are looked at, in all climbs together: what bounds the time for large programs."""


def assign(overlaps: Overlaps, bound: int) -> list[int]:
    """Find addresses for all buffers.

    Buffers are put at the lowest free address one after the other, so the order decides. Several orders are tried.
    Then each of them, the best one first, is changed a little at a time: a buffer of a pile that reaches highest comes
    earlier. A change is kept if the memory does not grow. All this ends as soon as ``bound`` is reached.

    The result depends on nothing but the arguments: the random numbers begin at the same seed, and work is counted
    rather than timed.

    Args:
        overlaps: Sizes and neighbours.
        bound: Bytes that are needed in any case.

    Returns:
        The address of each buffer, a multiple of what sizes are multiples of.

    Sources: greedy by size and by breadth, Pisarchyk and Lee, "Efficient memory management for deep neural net
    inference" (2020); improving an order by moving what makes up the peak is the idea of hill climbing in the memory
    planner of the Ethos-U compiler. The code is our own.
    """
    work = WORK
    found: list[tuple[int, list[int], list[int]]] = []
    for order in orders(overlaps):
        board = Board(overlaps)
        found.append((board.fill(order), order, board.offsets))
        work -= board.work
        if found[-1][0] <= bound or work <= 0:
            break
    found.sort(key=lambda one: one[0])
    peak, _, best = found[0]
    random = Random(0)  # noqa: S311 - a search that must always go the same way, and no secret
    for climb in range(CLIMBS):
        if peak <= bound or work <= 0:
            break
        _, order, offsets = found[climb % len(found)]
        board = Board(overlaps, offsets)
        _climb(board, list(order), random, bound, work)
        work -= board.work
        if board.peak < peak:
            peak, best = board.peak, board.offsets
    return best


def orders(overlaps: Overlaps) -> Iterator[list[int]]:
    """Orders to begin with, in the order they are tried in; of equals, the earlier buffer comes first."""
    sizes, lives = overlaps.sizes, overlaps.lives
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda index: (-sizes[index], -lives[index]),
        lambda index: (-sizes[index] * lives[index],),
        lambda index: (-lives[index], -sizes[index]),
    ]
    for key in keys:
        yield sorted(range(len(sizes)), key=key)
    breadths = _breadths(overlaps)
    yield sorted(range(len(sizes)), key=lambda index: (-breadths[index], -sizes[index]))


def _breadths(overlaps: Overlaps) -> list[int]:
    """Bytes of all buffers that are alive with each, and its own."""
    sizes, array = overlaps.sizes, np.array(overlaps.sizes, np.int64)
    result = []
    for index, others in enumerate(overlaps.listed):
        if others is None:
            result.append(int(array[overlaps.many(index)].sum()))
        else:
            result.append(sizes[index] + sum(sizes[other] for other in others))
    return result


def _climb(board: Board, order: list[int], random: Random, bound: int, work: int) -> None:
    """Change the order, and with it the board, until the bound is reached, changes do not help, or the work is done."""
    stale = 0
    peak = board.peak
    while peak > bound and board.work < work and stale < STALE:
        late, early = _change(board, order, random)
        tail = [order[late], *order[early:late], *order[late + 1 :]]
        stale += 1
        if late > early and _replace(board, tail, peak):
            order[early:] = tail
            if board.peak < peak:
                peak, stale = board.peak, 0


def _change(board: Board, order: list[int], random: Random) -> tuple[int, int]:
    """Positions of a buffer in the order, and of an earlier one that it might be put in front of."""
    pile = _pile(board, random)
    moved = _pick(pile, random)
    positions = {index: position for position, index in enumerate(order)}
    late = positions[moved]
    earlier = [positions[index] for index in pile if positions[index] < late]
    if earlier and random.random() >= ANYWHERE:
        return late, _pick(earlier, random)
    return late, int(random.random() * (late + 1))


def _pile(board: Board, random: Random) -> list[int]:
    """Buffers on top of each other, from one that reaches highest to one at address 0."""
    peak = board.peak
    pile = [_pick([index for index, end in enumerate(board.ends) if end == peak], random)]
    while supports := board.supports(pile[-1]):
        pile.append(_pick(supports, random))
    return pile


def _pick(items: Sequence[int], random: Random) -> int:
    return items[int(random.random() * len(items))]


def _replace(board: Board, order: list[int], peak: int) -> bool:
    """Put buffers anew in this order; if that raises the peak, leave them where they are and say so."""
    before = [board.offsets[index] for index in order]
    for index in order:
        board.take(index)
    if all(board.put(index, board.lowest(index)) <= peak for index in order):
        return True
    for index, offset in zip(order, before, strict=True):
        board.put(index, offset)
    return False
