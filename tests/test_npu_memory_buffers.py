"""Buffers and the least memory they need, against sums over every single operation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_delegate_npu.memory import Buffer, aligned, live_bytes, lower_bound


@st.composite
def programs(draw: st.DrawFn) -> list[Buffer]:
    rows = draw(st.lists(st.tuples(st.integers(0, 500), st.integers(-1, 12), st.integers(0, 6)), max_size=14))
    return [Buffer(f"b{index}", size, first, first + more) for index, (size, first, more) in enumerate(rows)]


@given(programs(), st.sampled_from([1, 16, 64]))
def test_lower_bound_is_the_largest_sum_at_any_operation(buffers: list[Buffer], alignment: int) -> None:
    sums = [
        sum(-(-buffer.size_bytes // alignment) * alignment for buffer in buffers if buffer.first <= now <= buffer.last)
        for now in range(-1, 20)
    ]
    assert lower_bound(buffers, alignment) == max(sums)
    assert set(live_bytes(buffers, alignment).tolist()) <= set(sums)


def test_lower_bound_takes_no_longer_for_long_lifetimes() -> None:
    ages = [Buffer("a", 3, 0, 10**15), Buffer("b", 4, 10**15, 10**15), Buffer("c", 5, 10**15 + 1, 10**16)]
    assert live_bytes(ages).tolist() == [3, 7, 5]
    assert lower_bound([]) == 0


def test_chain_needs_the_two_largest_neighbours() -> None:
    sizes = [100, 700, 300, 650, 800, 50]
    chain = [Buffer(f"b{index}", size, index - 1, index) for index, size in enumerate(sizes)]
    assert lower_bound(chain) == 650 + 800


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "a buffer has no name"),
        ({"size_bytes": -1}, "buffer 'x': size_bytes is -1; it must be within 0 and 1099511627776"),
        ({"size_bytes": 1 << 41}, "size_bytes is 2199023255552"),
        ({"first": -2}, "buffer 'x': first is -2; it must not be below -1"),
        ({"first": 5, "last": 4}, "buffer 'x': last is 4; it must not be below first, which is 5"),
        ({"accesses": -1}, "buffer 'x': accesses is -1; it must not be negative"),
    ],
)
def test_impossible_buffer_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Buffer("x", 8, 0, 6), **changes)


def test_alignment_that_is_no_power_of_two_is_refused() -> None:
    for alignment in (0, -4, 48):
        with pytest.raises(ValueError, match=f"alignment is {alignment}; it must be a power of two"):
            lower_bound([], alignment)


def test_figures_of_a_buffer() -> None:
    buffer = Buffer("x", 100, -1, 3, accesses=3)
    assert (buffer.lifetime, buffer.traffic_bytes, aligned(buffer.size_bytes, 64)) == (5, 300, 128)
    assert buffer.is_alive_with(Buffer("y", 1, 3, 9))
    assert not buffer.is_alive_with(Buffer("y", 1, 4, 9))
