"""What every command shares: plugin options, abbreviations, and how errors become exit codes."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar, cast

import click

from synap_core.errors import SynapError, one_line
from synap_core.host import PluginHost
from synap_core.plugin_policy import PolicyLayer, plugin_policy, split_names

EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

F = TypeVar("F", bound=Callable[..., object])

_DISABLE, _ENABLE, _ONLY = "disable_plugins", "enable_plugins", "only_plugins"


class Command(click.Command):
    """A command that accepts unique abbreviations of its long options, as the official one does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write abbreviations out, then parse."""
        known = [o for p in self.get_params(ctx) for o in (*p.opts, *p.secondary_opts) if o.startswith("--")]
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*(_written_out(a, known) for a in args[:end]), *args[end:]])


def _written_out(argument: str, known: list[str]) -> str:
    name, equals, value = argument.partition("=")
    if not name.startswith("--") or name in known:
        return argument
    matches = [option for option in known if option.startswith(name)]
    shortest = min(matches, key=len, default="")
    if matches and all(option.startswith(shortest) for option in matches):
        # What is one option and the beginning of another stays an abbreviation of the first.
        matches = [shortest]
    return f"{matches[0]}{equals}{value}" if len(matches) == 1 else argument


def plugin_options(function: F) -> F:
    """Add the options that switch plugins, which `load_host` reads."""
    for parameter, flag, text in (
        (_ONLY, "--only-plugins", "Load no other plugins than these (names separated by commas)."),
        (_ENABLE, "--enable-plugin", "Load a plugin that a configuration file or the environment disables."),
        (_DISABLE, "--disable-plugin", "Do not load a plugin; may be repeated."),
    ):
        option = click.option(
            flag, parameter, metavar="NAME", multiple=True, expose_value=False, callback=_remember, help=text
        )
        function = option(function)
    return function


def _remember(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    names = [name for text in value for name in split_names(text)]
    if parameter.name is not None and names:
        chosen = cast("dict[str, list[str]]", ctx.find_root().ensure_object(dict))
        chosen.setdefault(parameter.name, []).extend(names)


def load_host(ctx: click.Context) -> PluginHost:
    """Load the plugins that configuration, environment and command line allow.

    Raises:
        InputError: One of them is wrong or names a plugin that is not installed.
    """
    chosen = cast("dict[str, list[str]]", ctx.find_root().ensure_object(dict))
    only = chosen.get(_ONLY)
    layer = PolicyLayer(
        source="the command line",
        disable=tuple(chosen.get(_DISABLE, ())),
        enable=tuple(chosen.get(_ENABLE, ())),
        only=None if only is None else tuple(only),
    )
    return PluginHost(plugin_policy(options=layer))


def _drop_unwritten_output() -> None:
    """Send what standard output does not take nowhere: the interpreter would fail on it again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let a termination request unwind the stack, so that unfinished files and child processes go."""

    def stop(*_: object) -> None:
        sys.exit(EXIT_TERMINATED)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


GARBAGE_THRESHOLDS = (100_000, 50, 50)
"""Objects, and collections of each generation, after which Python looks for cycles. A graph is millions of objects that
stay: with the default of 700, looking at them again and again takes a quarter of the time of a conversion."""


def run_command(command: click.Command, args: list[str] | None = None, name: str | None = None) -> NoReturn:
    """Run a command and exit with its code; the one place where errors are caught."""
    if sys.stdout is None:  # closed by the caller, who does not want to know
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for the rest of the process
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    try:
        with _terminated_like_interrupted():
            result = command.main(args, prog_name=name, standalone_mode=False)
            sys.stdout.flush()
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        click.echo("Interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SynapError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # What no command foresaw: a folder that cannot be searched, a full disk under standard output, …
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {one_line(f'{where}{error.strerror or error}')}", err=True)
        _drop_unwritten_output()
        sys.exit(SynapError.exit_code)
    except Exception:  # noqa: BLE001 - a defect of ours: keep the traceback, but with an exit code of its own
        traceback.print_exc()
        click.echo("Internal error: this is a defect of the toolkit; please report it with the lines above", err=True)
        sys.exit(EXIT_INTERNAL)
    # Outside of standalone mode click returns the code of an Exit.
    sys.exit(cast("Any", result) if isinstance(result, int) else 0)
