"""``synap help``."""

from __future__ import annotations

import click

from synap_core.cli.shell import HELP_OPTIONS, Command


@click.command("help", cls=Command, context_settings=HELP_OPTIONS)
@click.argument("name", metavar="[COMMAND]", required=False)
@click.pass_context
def command(ctx: click.Context, name: str | None) -> None:
    """Show help, of all commands or of one."""
    parent = ctx.find_root()
    group = parent.command
    if name is None or not isinstance(group, click.Group):
        click.echo(group.get_help(parent))
        return
    found = group.get_command(parent, name)
    if found is None:
        msg = f"No such command {name!r}; there are: {', '.join(group.list_commands(parent))}"
        raise click.UsageError(msg, ctx=parent)
    with click.Context(found, info_name=name, parent=parent) as about:
        click.echo(found.get_help(about))
