"""Registration of the ``hello`` command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from synap_core.api import Command, hookimpl

if TYPE_CHECKING:
    import click


def load_hello() -> click.Command:
    """Make the command, when it is about to be used."""
    import click

    @click.command("hello", help="Say hello.")
    def hello() -> None:
        click.echo("Hello from synap-toy")

    return hello


@hookimpl
def synap_commands() -> Iterable[Command]:
    """Offer the command."""
    yield Command(name="hello", summary="Say hello", load=load_hello)
