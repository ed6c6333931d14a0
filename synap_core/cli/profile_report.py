"""What ``synap run --profiling`` writes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synap_core.errors import InputError, one_line

if TYPE_CHECKING:
    from synap_core.profiles import SubgraphProfile

PRINTED = "-"
"""Stands for standard output in the place of a file."""


def check_profiling(value: str | None) -> None:
    """Refuse what is meant as an input of the model: it would be overwritten, or the model lack it.

    Raises:
        InputError: It is a word or a file for an input.
    """
    from synap_core.run_inputs import is_input_token

    if value is not None and is_input_token(value):
        msg = f"--profiling needs a file to write, and {value!r} looks like an input of the model"
        raise InputError(msg, hint="write --profiling FILE, or --profiling - to print the table")


def save_profiles(path: Path, profiles: Sequence[SubgraphProfile]) -> None:
    """Write the tables to a file.

    Raises:
        InputError: It cannot be written.
    """
    from synap_core.output_files import replacing
    from synap_core.profiles import profile_lines

    lines = [line for profile in profiles for line in profile_lines(profile, os.getpid())]
    with replacing(path, "profile") as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def show_profiles(profiles: Sequence[SubgraphProfile], file: str | None) -> None:
    """Print the tables, or where they were written; in any case what they are worth.

    Args:
        profiles: The tables.
        file: File that they were written to; None to print them.
    """
    from synap_core.profiles import profile_lines

    for profile in profiles:
        if file is None:
            click.echo("")
            for line in profile_lines(profile, os.getpid()):
                click.echo(line)
        for note in profile.notes:
            click.echo(f"{one_line(profile.model_name)}: {one_line(note)}")
    if file is not None:
        click.echo(one_line(f"{file}: profile of {len(profiles)} subgraphs"))


def profiles_as_json(profiles: Sequence[SubgraphProfile]) -> list[dict[str, object]]:
    """The tables as JSON values."""
    return [
        {
            "subgraph": profile.number,
            "model": profile.model_name,
            "source": "predicted" if profile.predicted else "measured",
            "microseconds": profile.microseconds,
            "notes": list(profile.notes),
            "layers": [dataclasses.asdict(row) for row in profile.rows],
        }
        for profile in profiles
    ]
