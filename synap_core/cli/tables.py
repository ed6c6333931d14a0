"""Tables on the terminal: drawn for people, plain columns for pipes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from synap_core.columns import align_columns
from synap_core.errors import one_line


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headers; cells are text from files, so control characters are dropped."""
    clean = [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in align_columns([headers, *clean]):
            click.echo(line)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in clean:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
