"""``synap convert``."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options
from synap_core.errors import InputError, one_line
from synap_core.model_tree import implies_profiling, the_metafile
from synap_core.payloads import OutputFormat
from synap_core.version import toolkit_version

if TYPE_CHECKING:
    from synap_core.conversion import Converted
    from synap_core.convert import Written
    from synap_core.host import PluginHost

FORMAT_ALIASES = {"ebg": "nb"}
"""Deprecated names of output formats."""

BUILD_FOLDER = "build"
LOG_FILE = "conversion_log.txt"
LOGGER = "synap_core"
PATH = click.Path(path_type=Path, readable=False)

_WITHOUT_EFFECT = ("tools_dir", "vssdk_dir", "cpu_profiling")


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(toolkit_version())
        ctx.exit()


@click.command("convert", cls=Command, context_settings=HELP_OPTIONS)
@click.option("--model", type=PATH, required=True, metavar="FILE", help="The model to convert.")
@click.option("--weights", type=PATH, metavar="FILE", help="Its weights, for formats that keep them apart.")
@click.option("--meta", type=PATH, metavar="FILE", help="The conversion metafile (YAML).")
@click.option("--find-meta", is_flag=True, help="Use the metafile that lies beside the model, or above it.")
@click.option("--target", required=True, metavar="SOC", help="The system on chip; 'synap plugins' lists them.")
@click.option("--out-dir", type=PATH, required=True, metavar="DIR", help="Folder for the results; made when missing.")
@click.option("--out-format", default="synap", show_default=True, metavar="FORMAT", help="Format of the results.")
@click.option(
    "--fallback",
    metavar="DELEGATE",
    help="Run layers that the delegate they are assigned to refuses on this one, as they are in the model.",
)
@click.option(
    "--target-parameters",
    type=PATH,
    metavar="FILE",
    help="Parameters of the target, as 'synap calibrate-target' makes, instead of its own.",
)
@click.option("--profiling", is_flag=True, help="Make a model that can be profiled layer by layer.")
@click.option("--no-branch-split", is_flag=True, help="Make fewer subgraphs, even if parallel branches then wait.")
@click.option("--frontend", metavar="NAME", help="Read the model with this frontend, whatever the file looks like.")
@click.option(
    "--cache-dir",
    type=PATH,
    metavar="DIR",
    help="Folder for results that later conversions can use again; by default OUT_DIR/cache.",
)
@click.option(
    "--target-accuracy",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DB",
    help="Raise layers of a quantized model to larger types until its outputs reach this signal to noise ratio.",
)
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Threads to quantize with; by default all cores.")
@click.option("--scheduler", metavar="ADDRESS", help="Observe the samples on the workers of this Dask scheduler.")
@click.option("--verbose", is_flag=True, help="Log what is done.")
@click.option("--silent", is_flag=True, help="Print neither progress nor success.")
@click.option("--debug", is_flag=True, help="Log everything, and keep the log and the parts in OUT_DIR/build.")
@click.option("--preserve", is_flag=True, hidden=True, help="Keep the log and the parts in OUT_DIR/build.")
@click.option("--cpu-profiling", is_flag=True, hidden=True, help="Accepted; has no effect.")
@click.option("--tools-dir", type=PATH, hidden=True, help="Accepted; has no effect.")
@click.option("--vssdk-dir", type=PATH, hidden=True, help="Accepted; has no effect.")
@click.option(
    "-v", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
@plugin_options
@click.pass_context
def command(  # noqa: PLR0913 - one argument per option
    ctx: click.Context,
    /,
    *,
    model: Path,
    weights: Path | None,
    meta: Path | None,
    find_meta: bool,
    target: str,
    out_dir: Path,
    out_format: str,
    fallback: str | None,
    target_parameters: Path | None,
    profiling: bool,
    no_branch_split: bool,
    frontend: str | None,
    cache_dir: Path | None,
    target_accuracy: float | None,
    jobs: int | None,
    scheduler: str | None,
    verbose: bool,
    silent: bool,
    debug: bool,
    preserve: bool,
    **without_effect: object,
) -> None:
    """Convert a model into a bundle for a system on chip.

    Writes model.synap and model_info.txt into the output folder, and makes a folder cache in it. What an earlier
    conversion wrote stays as it was when this one fails; other files are left alone.
    """
    from synap_core.convert import CACHE_FOLDER, ConvertRequest, convert, prepare_out_dir, write

    for option in _WITHOUT_EFFECT:
        if without_effect.get(option):
            _warn(f"--{option.replace('_', '-')} has no effect: no closed tools are used")
    host = load_host(ctx)
    output = _output_format(host, out_format)
    without_subgraphs = {"profiling": profiling, "no-branch-split": no_branch_split, "fallback": fallback is not None}
    without_subgraphs["target-parameters"] = target_parameters is not None
    for option, given in without_subgraphs.items():
        if given and output.whole_graph:
            _warn(f"--{option} has no effect with --out-format {output.name}, which makes no subgraphs")
    build = out_dir / BUILD_FOLDER if debug or preserve else None
    if build is not None and build.resolve() in model.resolve().parents:
        msg = "the model is in the folder that --debug and --preserve overwrite"
        raise InputError(msg, where=model, hint="choose another --out-dir")
    if find_meta:
        meta = _found_metafile(model, meta)
        profiling = profiling or implies_profiling(meta)
    prepare_out_dir(out_dir, cache_dir)
    _set_up_logging(verbose=verbose, debug=debug, build=build)
    ctx.call_on_close(_close_logging)
    request = ConvertRequest(
        model=model,
        target=target,
        weights=weights,
        meta=meta,
        frontend=frontend,
        profiling=profiling,
        branch_split=not no_branch_split,
        whole_graph=output.whole_graph,
        cache_dir=cache_dir or out_dir / CACHE_FOLDER,
        jobs=jobs,
        scheduler=scheduler,
        target_accuracy=target_accuracy,
        fallback=fallback,
        target_parameters=target_parameters,
    )
    with _progress("Converting...", silent=silent):
        converted = convert(request, host)
        written = write(converted.conversion, output, out_dir, host)
    for warning in converted.warnings:
        _warn(warning)
    if build is not None:
        _keep_parts(converted, build)
    if not silent:
        _report(converted, written)


def _found_metafile(model: Path, meta: Path | None) -> Path:
    if meta is not None:
        msg = "give only one of --meta and --find-meta"
        raise click.UsageError(msg)
    return the_metafile(model)


@contextlib.contextmanager
def _progress(text: str, *, silent: bool) -> Iterator[None]:
    """Show that something is going on, to a person who watches."""
    if silent or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def _output_format(host: PluginHost, name: str) -> OutputFormat:
    if name in FORMAT_ALIASES:
        _warn(f"--out-format {name} is deprecated; use {FORMAT_ALIASES[name]}")
        name = FORMAT_ALIASES[name]
    return host.find(OutputFormat, name)


def _warn(text: str) -> None:
    click.echo(f"Warning: {one_line(text)}", err=True)


def _set_up_logging(*, verbose: bool, debug: bool, build: Path | None) -> None:
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.DEBUG if debug or build is not None else logging.INFO)
    logger.propagate = False
    if verbose or debug:
        shown = logging.StreamHandler(sys.stdout)
        shown.setLevel(logging.DEBUG if debug else logging.INFO)
        logger.addHandler(shown)
    if build is not None:
        build.mkdir(exist_ok=True)
        logger.addHandler(logging.FileHandler(build / LOG_FILE, mode="w", encoding="utf-8"))


def _close_logging() -> None:
    logger = logging.getLogger(LOGGER)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


def _keep_parts(converted: Converted, build: Path) -> None:
    conversion = converted.conversion
    names = [artifact.model_file for artifact in conversion.artifacts]
    for subgraph, artifact in zip(conversion.subgraphs, conversion.artifacts, strict=True):
        name = artifact.model_file
        # Delegates may give all their models one name, which is enough in a bundle.
        own = name if names.count(name) == 1 else f"{subgraph.name}_{name}"
        (build / own).write_bytes(artifact.model)


def _report(converted: Converted, written: Written) -> None:
    conversion = converted.conversion
    for note in conversion.notes:
        click.echo(f"Note: {one_line(note)}")
    for delegate, subgraph in zip(conversion.delegates, conversion.subgraphs, strict=True):
        click.echo(f"{subgraph.name}: {len(subgraph.part.layers)} layers on {delegate}")
    for path in written.files:
        click.echo(one_line(f"{path}: {path.stat().st_size:,} bytes"))
    click.echo("Conversion successful")
