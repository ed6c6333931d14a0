"""Text in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def short_name(name: str) -> str:
    """First part of a name that a converter joined of several with ``;``; metafiles accept that part alone, too."""
    first, *others = name.split(";")
    return f"{first} (+{len(others)} joined names)" if others else name


def align_columns(rows: Sequence[Sequence[str]], *, max_width: int = 60) -> Iterator[str]:
    """Pad cells to columns, two blanks apart; a cell wider than ``max_width`` does not widen its column."""
    widths = [max(min(len(cell), max_width) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
