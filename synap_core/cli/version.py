"""``synap version``."""

from __future__ import annotations

import click

from synap_core.cli.shell import HELP_OPTIONS, Command
from synap_core.version import toolkit_version


@click.command("version", cls=Command, context_settings=HELP_OPTIONS)
def command() -> None:
    """Show the version."""
    click.echo(toolkit_version())
