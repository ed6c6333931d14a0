"""Memory plans: always valid, and as good as exhaustive search where that is possible."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap_delegate_npu.memory import Buffer, Placement, Pool, allocate, describe, lower_bound
from synap_delegate_npu.memory.board import Board
from synap_delegate_npu.memory.offsets import orders
from synap_delegate_npu.memory.overlaps import FEW, Overlaps

KIB = 1 << 10


@st.composite
def programs(draw: st.DrawFn, *, most: int = 24, largest: int = 600, operations: int = 12) -> list[Buffer]:
    row = st.tuples(
        st.integers(0, largest),
        st.integers(-1, operations),
        st.integers(0, operations),
        st.integers(0, 4),
        st.sampled_from([False, False, False, True]),
    )
    return [
        Buffer(f"b{index}", size, first, first + more, accesses=accesses, in_ddr=in_ddr)
        for index, (size, first, more, accesses, in_ddr) in enumerate(draw(st.lists(row, max_size=most)))
    ]


def seeded(seed: int, *, most: int, largest: int) -> list[Buffer]:
    """A program like those of networks: most tensors are read by the next operation."""
    random = Random(seed)
    starts = [random.randint(-1, 7) for _ in range(random.randint(3, most))]
    return [
        Buffer(
            f"b{index}",
            random.randint(1, largest),
            start,
            start + (1 if random.random() < 0.6 else random.randint(0, 5)),
            accesses=random.choice([1, 2, 2, 2, 3, 4]),
        )
        for index, start in enumerate(starts)
    ]


def check(placement: Placement, buffers: list[Buffer]) -> None:
    """What must hold for every plan."""
    places = placement.places
    assert [place.buffer for place in places] == buffers
    block = placement.alignment
    for index, one in enumerate(places):
        assert one.offset >= 0
        assert one.offset % block == 0
        assert one.memory == "ddr" or (one.end <= placement.sram_bytes and not one.buffer.in_ddr)
        for other in places[:index]:
            together = one.buffer.first <= other.buffer.last and other.buffer.first <= one.buffer.last
            if together and one.memory == other.memory:
                assert one.end <= other.offset or other.end <= one.offset
    for memory, pool in (("sram", placement.sram), ("ddr", placement.ddr)):
        there = [place for place in places if place.memory == memory]
        filled = [place for place in there if place.buffer.size_bytes]
        assert pool.used_bytes == max((-(-place.end // block) * block for place in filled), default=0)
        assert pool.lower_bound_bytes == lower_bound([place.buffer for place in there], block)
        assert pool.used_bytes >= pool.lower_bound_bytes
    assert placement.sram.used_bytes <= placement.sram_bytes


def least_peak(buffers: list[Buffer]) -> int:
    """Size of the smallest pool, by trying all addresses."""
    order = sorted(buffers, key=lambda buffer: -buffer.size_bytes)

    def fits(size: int, placed: list[tuple[Buffer, int]]) -> bool:
        if len(placed) == len(order):
            return True
        new = order[len(placed)]
        return any(
            all(
                not new.is_alive_with(old) or offset + new.size_bytes <= begin or begin + old.size_bytes <= offset
                for old, begin in placed
            )
            and fits(size, [*placed, (new, offset)])
            for offset in range(size - new.size_bytes + 1)
        )

    peak = lower_bound(buffers)
    while not fits(peak, []):
        peak += 1
    return peak


def most_saved(buffers: list[Buffer], capacity: int) -> int:
    """Bytes that the best choice for SRAM keeps off DDR, by trying all choices; addresses are left aside."""
    choices = (
        [buffer for index, buffer in enumerate(buffers) if chosen >> index & 1] for chosen in range(1 << len(buffers))
    )
    return max(sum(buffer.traffic_bytes for buffer in some) for some in choices if lower_bound(some) <= capacity)


@settings(deadline=None)
@given(programs(), st.integers(0, 3000), st.sampled_from([1, 16, 64]))
def test_plan_is_valid(buffers: list[Buffer], sram_bytes: int, alignment: int) -> None:
    check(allocate(buffers, sram_bytes=sram_bytes, alignment=alignment), buffers)


@settings(deadline=None, max_examples=15)
@given(programs(most=2 * FEW, largest=90, operations=3), st.integers(0, 3000))
def test_plan_is_valid_where_many_buffers_are_alive_together(buffers: list[Buffer], sram_bytes: int) -> None:
    many = [*buffers, *(Buffer(f"c{index}", 1 + index, 0, 3) for index in range(FEW))]
    check(allocate(many, sram_bytes=sram_bytes), many)


@settings(deadline=None, max_examples=25)
@given(programs(), st.integers(0, 3000))
def test_same_program_gives_the_same_plan(buffers: list[Buffer], sram_bytes: int) -> None:
    assert allocate(buffers, sram_bytes=sram_bytes) == allocate(list(buffers), sram_bytes=sram_bytes)


@pytest.mark.parametrize("seed", range(60))
def test_pool_is_as_small_as_exhaustive_search_can_make_it(seed: int) -> None:
    buffers = seeded(seed, most=8, largest=7)
    assert allocate(buffers, sram_bytes=0, alignment=1).ddr.used_bytes == least_peak(buffers)


@pytest.mark.parametrize("seed", range(60))
def test_as_little_goes_to_ddr_as_exhaustive_search_can_make_it(seed: int) -> None:
    buffers = seeded(seed, most=10, largest=12)
    capacity = Random(seed).randint(6, 24)
    placement = allocate(buffers, sram_bytes=capacity, alignment=1)
    check(placement, buffers)
    traffic = sum(buffer.traffic_bytes for buffer in buffers)
    assert placement.ddr_traffic_bytes == traffic - most_saved(buffers, capacity)


def network(seed: int, count: int, longest: int) -> list[Buffer]:
    """A chain, one in five of whose tensors is needed for longer."""
    random = Random(seed)
    result = []
    for first in range(count):
        life = 1 if random.random() < 0.8 else random.randint(1, longest)
        result.append(Buffer(f"b{first}", random.randint(1, 1 << 20), first, first + life))
    return result


@pytest.mark.parametrize("seed", range(4))
def test_program_of_a_network_is_within_some_percent_of_the_lower_bound(seed: int) -> None:
    buffers = network(seed, 120, 20)
    placement = allocate(buffers, sram_bytes=512 * KIB)
    check(placement, buffers)
    assert placement.ddr.gap_percent <= 3


@pytest.mark.parametrize("seed", [1231, 1687])
def test_search_finds_what_no_fixed_order_leads_to(seed: int) -> None:
    random = Random(seed)
    buffers = [
        Buffer(f"b{index}", random.randint(1, 7), first := random.randint(-1, 6), first + random.randint(0, 4))
        for index in range(random.randint(3, 8))
    ]
    overlaps = Overlaps.of(buffers, 1)
    bound = lower_bound(buffers)
    assert min(Board(overlaps).fill(order) for order in orders(overlaps)) > bound
    assert allocate(buffers, sram_bytes=0, alignment=1).ddr.used_bytes == bound


def test_what_gaps_leave_no_room_for_goes_to_ddr(monkeypatch: pytest.MonkeyPatch) -> None:
    def stacked(overlaps: Overlaps, bound: int) -> list[int]:
        """The worst search: no address is used twice."""
        assert bound <= sum(overlaps.sizes)
        return [0, *itertools.accumulate(overlaps.sizes)][: len(overlaps.sizes)]

    buffers = network(6, 60, 20)
    bound = lower_bound(buffers, 64)
    monkeypatch.setattr("synap_delegate_npu.memory.allocation.assign", stacked)
    placement = allocate(buffers, sram_bytes=bound)
    check(placement, buffers)
    assert 0 < placement.ddr_traffic_bytes < 0.1 * sum(buffer.traffic_bytes for buffer in buffers)


@given(st.lists(st.integers(1, 5000), min_size=2, max_size=30))
def test_chain_takes_its_two_largest_neighbours(sizes: list[int]) -> None:
    chain = [Buffer(f"b{index}", size, index - 1, index) for index, size in enumerate(sizes)]
    blocks = [-(-size // 64) * 64 for size in sizes]
    placement = allocate(chain, sram_bytes=0)
    assert placement.ddr.used_bytes == max(one + next_one for one, next_one in itertools.pairwise(blocks))


def test_all_is_on_chip_if_it_fits_but_for_what_the_processor_touches() -> None:
    buffers = [
        Buffer("image", 150528, -1, 0, in_ddr=True),
        Buffer("planes", 150528, 0, 1),
        Buffer("scores", 1001, 1, 2, in_ddr=True),
    ]
    placement = allocate(buffers, sram_bytes=512 * KIB)
    assert {name: place.memory for name, place in placement.by_name.items()} == {
        "image": "ddr",
        "planes": "sram",
        "scores": "ddr",
    }
    assert placement.ddr_traffic_bytes == 2 * (150528 + 1001)
    assert placement.sram.used_bytes == 150528


def test_buffer_that_is_read_often_is_kept_on_chip_rather_than_one_that_is_as_large() -> None:
    buffers = [Buffer("often", 64, 0, 3, accesses=4), Buffer("rarely", 64, 0, 3)]
    assert [place.memory for place in allocate(buffers, sram_bytes=64).places] == ["sram", "ddr"]


def test_two_short_lives_are_kept_on_chip_rather_than_a_long_one() -> None:
    buffers = [Buffer("long", 64, 0, 3, accesses=3), Buffer("one", 64, 0, 1), Buffer("other", 64, 2, 3)]
    assert [place.memory for place in allocate(buffers, sram_bytes=64).places] == ["ddr", "sram", "sram"]


@pytest.mark.parametrize("others", [0, FEW])
def test_buffer_goes_to_the_lowest_gap_that_it_just_fits_in(others: int) -> None:
    sizes = [4, 3, 2, 5, 4, *[1] * others]
    overlaps = Overlaps.of([Buffer(f"b{index}", size, 0, 1) for index, size in enumerate(sizes)], 1)
    board = Board(overlaps)
    # Gaps of 3, 4 and 5.
    for index, offset in ((1, 3), (2, 10), (3, 17)):
        board.put(index, offset)
    assert (board.lowest(0), board.peak) == (6, 22)
    board.put(0, 6)
    assert (board.lowest(4), board.supports(2)) == (12, [0])
    board.put(4, 12)
    board.take(0)
    assert (board.lowest(0), board.supports(2)) == (6, [])


@settings(deadline=None)
@given(programs(most=70, operations=5))
def test_neighbours_are_those_that_share_an_operation(buffers: list[Buffer]) -> None:
    overlaps = Overlaps.of(buffers, 1)
    for index, one in enumerate(buffers):
        expected = {
            other
            for other, two in enumerate(buffers)
            if other != index and one.size_bytes and two.size_bytes and one.is_alive_with(two)
        }
        assert overlaps.counts[index] == len(expected)
        listed = overlaps.listed[index]
        if listed is not None:
            assert sorted(listed) == sorted(expected)
        else:
            assert len(expected) > FEW
            assert expected <= set(overlaps.many(index).tolist())


def test_sram_without_a_whole_block_is_not_used() -> None:
    assert allocate([Buffer("x", 1, 0, 1)], sram_bytes=63).sram.used_bytes == 0
    assert allocate([Buffer("x", 1, 0, 1)], sram_bytes=64).sram.used_bytes == 64


def test_program_without_buffers_takes_nothing() -> None:
    placement = allocate([], sram_bytes=100)
    assert (placement.places, placement.sram.used_bytes, placement.ddr.used_bytes) == ((), 0, 0)
    assert placement.ddr.gap_percent == 0


def test_thousands_of_buffers_that_are_all_alive_lie_next_to_each_other() -> None:
    buffers = [Buffer(f"b{index}", 64 * (1 + index % 5), 0, 9) for index in range(2000)]
    placement = allocate(buffers, sram_bytes=10_000)
    assert placement.ddr.gap_percent == placement.sram.gap_percent == 0
    assert placement.sram.used_bytes == 10_000 // 64 * 64


def test_impossible_request_is_refused() -> None:
    one = Buffer("x", 1, 0, 1)
    with pytest.raises(ValueError, match="sram_bytes is -1; it must not be negative"):
        allocate([one], sram_bytes=-1)
    with pytest.raises(ValueError, match="alignment is 3; it must be a power of two"):
        allocate([one], sram_bytes=0, alignment=3)
    with pytest.raises(ValueError, match="two buffers have the name 'x'"):
        allocate([one, one], sram_bytes=0)


def test_description_shows_bounds_and_places() -> None:
    buffers = [
        Buffer("image", 1000, -1, 0, in_ddr=True),
        Buffer("conv\nForged: line\x1b[2J", 512, 0, 1),
        Buffer("scores", 10, 1, 2, in_ddr=True),
    ]
    assert describe(allocate(buffers, sram_bytes=2048)).splitlines() == [
        "memory   size   used  lower bound    gap",
        "sram    2,048    512          512  0.0 %",
        "ddr         -  1,024        1,024  0.0 %",
        "moved to and from ddr: 2,020 bytes",
        "",
        "memory  offset  bytes  lifetime  accesses  buffer",
        "ddr          0  1,000     -1..0         2  image",
        "sram         0    512      0..1         2  conv Forged: line[2J",
        "ddr          0     10      1..2         2  scores",
    ]


def test_gap_is_in_percent_of_the_lower_bound() -> None:
    assert Pool(used_bytes=1120, lower_bound_bytes=1000).gap_percent == pytest.approx(12)
