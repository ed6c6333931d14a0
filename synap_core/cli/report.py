"""``synap report``."""

from __future__ import annotations

from pathlib import Path

import click

from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options
from synap_core.errors import InputError, one_line
from synap_core.version import toolkit_version

PATH = click.Path(path_type=Path, readable=False)


@click.command("report", cls=Command, context_settings=HELP_OPTIONS)
@click.argument("model", type=PATH)
@click.option("--meta", type=PATH, metavar="FILE", help="Metadata of a single model that is not a bundle.")
@click.option(
    "--out", type=PATH, default="report.html", show_default=True, metavar="FILE", help="The page; it is written anew."
)
@plugin_options
@click.pass_context
def command(ctx: click.Context, /, *, model: Path, meta: Path | None, out: Path) -> None:
    """Make a page of a bundle, to look at in a browser: predicted times, memory, and how it is split.

    MODEL is a bundle, a single model (its metadata is taken from the .json file beside it), or the folder that a
    conversion wrote to. Nothing is converted or run, and the page needs nothing but itself.
    """
    from synap_core.bundle_report.gather import find_model, gather
    from synap_core.bundle_report.page import render_report

    if not out.parent.is_dir():
        msg = f"there is no folder {str(out.parent)!r} for the page"
        raise InputError(msg, where=out, hint="make it, or choose another --out")
    found, companion = find_model(model, meta)
    if out.exists() and any(path is not None and path.exists() and out.samefile(path) for path in (found, companion)):
        msg = "the page would overwrite the model"
        raise InputError(msg, where=out, hint="choose another --out")
    page = render_report(gather(found, companion, load_host(ctx)), toolkit_version())
    try:
        out.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        msg = f"cannot write the page: {error.strerror or error}"
        raise InputError(msg, where=out, hint="choose another --out") from error
    click.echo(one_line(f"{out}: {out.stat().st_size:,} bytes"))
