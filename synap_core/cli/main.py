"""Entry points ``synap`` and ``synap_convert``."""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

from synap_core.cli.shell import HELP_OPTIONS, load_host, plugin_options, run_command
from synap_core.payloads import Command

BUILT_IN = {
    "completion": "Print a script for shell completion.",
    "compare": "Compare a quantized model with the original, layer by layer.",
    "convert": "Convert and compile a model.",
    "estimate": "Predict what a model costs on a target.",
    "help": "Show help.",
    "info": "Show what is in a bundle or a model.",
    "ops": "List the operators that a frontend imports.",
    "plugins": "List the installed plugins.",
    "report": "Make a page of a bundle: predicted times, memory, splitting.",
    "run": "Run a converted model on this host.",
    "schema": "Print the JSON Schema of the metafile, for editors.",
    "version": "Show the version.",
}
"""Commands of the core: each in a module of its own, imported when it is used."""


class LazyGroup(click.Group):
    """A group that imports a command when it runs, and finds extra ones in plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        extra = load_host(ctx).commands
        return sorted({*BUILT_IN, *extra})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in BUILT_IN:
            built_in: click.Command = importlib.import_module(f"synap_core.cli.{cmd_name}").command
            return built_in
        host = load_host(ctx)
        if cmd_name not in host.commands:
            if host.inactive(Command, cmd_name):
                raise host.missing(Command, cmd_name, host.commands)
            return None
        command = host.commands[cmd_name]
        with host.boundary(command):
            return command.load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        extra = {name: item.summary for name, item in load_host(ctx).commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted((extra | BUILT_IN).items()))


@click.group(cls=LazyGroup, context_settings=HELP_OPTIONS)
@click.version_option(None, "-v", "--version", package_name="synap-toolkit", message="%(version)s")
@plugin_options
def synap() -> None:
    """Turn trained neural networks into SyNAP bundles, and run them on this host."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run ``synap``."""
    run_command(synap, args, "synap")


def main_convert(args: list[str] | None = None) -> NoReturn:
    """Run ``synap_convert``, the same as ``synap convert``."""
    from synap_core.cli.convert import command

    run_command(command, args, "synap_convert")
