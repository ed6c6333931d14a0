"""A memory plan as text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from synap_delegate_npu.memory.allocation import Placement, Pool


def describe(placement: Placement) -> str:
    """Tables of the two memories and of all buffers.

    Sizes are in bytes. ``lower bound`` is what no plan can do without, and ``gap`` by how much more this one takes. A
    lifetime is a range of positions of operations, both inclusive; -1 stands for an input of the network.

    Args:
        placement: The plan.

    Returns:
        Lines, each with its end.
    """
    pools = [
        ("memory", "size", "used", "lower bound", "gap"),
        ("sram", f"{placement.sram_bytes:,}", *_of(placement.sram)),
        ("ddr", "-", *_of(placement.ddr)),
    ]
    buffers = [
        ("memory", "offset", "bytes", "lifetime", "accesses", "buffer"),
        *(
            (
                place.memory,
                f"{place.offset:,}",
                f"{place.buffer.size_bytes:,}",
                f"{place.buffer.first}..{place.buffer.last}",
                str(place.buffer.accesses),
                _one_line(place.buffer.name),
            )
            for place in placement.places
        ),
    ]
    moved = f"moved to and from ddr: {placement.ddr_traffic_bytes:,} bytes"
    return "".join(f"{line}\n" for line in (*_table(pools, {0}), moved, "", *_table(buffers, {0, 5})))


def _of(pool: Pool) -> tuple[str, str, str]:
    return f"{pool.used_bytes:,}", f"{pool.lower_bound_bytes:,}", f"{pool.gap_percent:.1f} %"


def _table(rows: Sequence[tuple[str, ...]], names: Collection[int]) -> Iterator[str]:
    """Columns two blanks apart, ``names`` to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if column in names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _one_line(name: str) -> str:
    """A name from a file, which must not forge lines of a report."""
    return "".join(character for character in " ".join(name.split()) if character.isprintable())
