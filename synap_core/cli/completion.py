"""``synap completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from synap_core.cli.shell import HELP_OPTIONS, Command

SHELLS = ("bash", "fish", "zsh")


@click.command("completion", cls=Command, context_settings=HELP_OPTIONS)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete commands and options.

    For bash, put this line into ~/.bashrc: eval "$(synap completion bash)"
    """
    root = ctx.find_root()
    completion = get_completion_class(shell)
    if completion is None:
        msg = f"no completion for {shell!r}"
        raise click.UsageError(msg)
    click.echo(completion(root.command, {}, "synap", "_SYNAP_COMPLETE").source())
