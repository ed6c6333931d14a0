"""``synap compare``."""

from __future__ import annotations

import contextlib
import glob
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options
from synap_core.cli.tables import print_table
from synap_core.errors import InputError, one_line
from synap_core.metafile.vocabulary import RANDOM_DATASET
from synap_core.version import toolkit_version

if TYPE_CHECKING:
    from synap_core.quantization.analysis import Analysis, LayerFigures
    from synap_core.quantization.dataset import SampleFilesError
    from synap_core.quantization.pipeline import Quantized

PATH = click.Path(path_type=Path, readable=False)
DEFAULT_SAMPLES = 10
SAME_DATA = (
    "these samples are among those that the quantization was made with, so the figures are optimistic; "
    "name other files to get those that matter"
)


@click.command("compare", cls=Command, context_settings=HELP_OPTIONS)
@click.option("--model", type=PATH, required=True, metavar="FILE", help="The model.")
@click.option("--weights", type=PATH, metavar="FILE", help="Its weights, for formats that keep them apart.")
@click.option("--meta", type=PATH, required=True, metavar="FILE", help="The metafile, with a quantization.")
@click.option(
    "--target",
    default="GENERIC",
    show_default=True,
    metavar="SOC",
    help="The system on chip it is converted for, which tells what a layer is.",
)
@click.option("--frontend", metavar="NAME", help="Read the model with this frontend, whatever the file is called.")
@click.option(
    "--samples", "count", type=click.IntRange(1), default=DEFAULT_SAMPLES, show_default=True, help="Samples to use."
)
@click.option("--no-alone", is_flag=True, help="Do not quantize each layer alone, which takes most of the time.")
@click.option("--top", type=click.IntRange(1), metavar="N", help="Print only the N layers that lose most.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Threads to use; by default one for each core.")
@click.option(
    "--cache-dir",
    type=PATH,
    metavar="DIR",
    help="Folder with results of earlier quantizations, to use again and add to.",
)
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
@click.option("--html", type=PATH, metavar="FILE", help="Also write a page with a chart.")
@click.argument("files", nargs=-1, metavar="[SAMPLES]...")
@plugin_options
@click.pass_context
def command(  # noqa: PLR0913 - one argument per option
    ctx: click.Context,
    /,
    *,
    model: Path,
    weights: Path | None,
    meta: Path,
    target: str,
    frontend: str | None,
    count: int,
    no_alone: bool,
    top: int | None,
    jobs: int | None,
    cache_dir: Path | None,
    print_json: bool,
    html: Path | None,
    files: tuple[str, ...],
) -> None:
    """Compare a quantized model with the model in real numbers, layer by layer.

    The model is quantized as the metafile says; nothing is converted. SAMPLES are the files to compare on: a pattern
    (in quotes) for each input of the model, with the files that the data set of a metafile may have. Without them the
    metafile's own data set is used.

    Cosine, SQNR (signal to noise ratio, in dB: higher is better) and largest error are those of what a layer gives in
    the quantized model. ALONE is the SQNR when only this layer is quantized, DAMAGE that of the worst output of the
    model then: the layers with the lowest damage figure come first, since they cost most.
    """
    from synap_core.quantization.analysis import analyse
    from synap_core.quantization.dataset import SampleFilesError
    from synap_core.quantization.pipeline import open_quantizer
    from synap_core.quantization.raising import spread
    from synap_core.request import ConvertRequest

    if html is not None and not html.parent.is_dir():
        msg = f"there is no folder {str(html.parent)!r} for the page"
        raise InputError(msg, where=html, hint="make it, or choose another --html")
    request = ConvertRequest(
        model=model,
        target=target,
        weights=weights,
        meta=meta,
        frontend=frontend,
        whole_graph=True,
        cache_dir=cache_dir,
        jobs=jobs,
    )
    _check_patterns(files)
    with _progress("Quantizing and comparing..."):
        try:
            quantizer = open_quantizer(request, load_host(ctx), samples=files)
        except SampleFilesError as error:
            # The data set of the metafile is opened in the same way.
            raise _about_samples(error) if error.globs == files else error from error
        quantized = quantizer.run()
        indices = spread(quantized.runner.count, count)
        analysis = analyse(quantized.plan, quantized.parameters, quantized.runner, indices, alone=not no_alone)
    for warning in quantized.warnings:
        click.echo(f"Warning: {one_line(warning)}", err=True)
    notes = [*([] if files else [SAME_DATA]), *quantized.parameters.notes]
    if html is not None:
        _write_page(html, analysis, model.name, quantized, notes)
    if print_json:
        _print_json(analysis, model, notes)
    else:
        _print(analysis, top, notes)
        if html is not None:
            click.echo(one_line(f"{html}: {html.stat().st_size:,} bytes"))


def _check_patterns(patterns: Sequence[str]) -> None:
    """Find out before the work that there are no samples."""
    for pattern in patterns:
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - a pattern may be absolute
        if pattern != RANDOM_DATASET and all(Path(path).is_dir() for path in found):
            msg = f"no file matches the samples {pattern!r}"
            raise InputError(msg, hint="give files, not folders" if found else "relative names start here")


def _about_samples(error: SampleFilesError) -> InputError:
    """The error in the words for samples of the command line: they have no place in the metafile."""
    patterns, inputs = error.globs, error.inputs
    if len(patterns) == inputs:
        return InputError(error.message, hint=error.hint)
    msg = f"{len(patterns)} SAMPLES for {inputs} input(s) of the model"
    suffixes = {Path(pattern).suffix for pattern in patterns}
    if len(patterns) > inputs and all(Path(pattern).is_file() for pattern in patterns):
        example = Path(patterns[0]).parent / f"*{suffixes.pop() if len(suffixes) == 1 else ''}"
        hint = f'put the pattern in quotes, "{example}" for example: without them the shell makes file names of it'
        return InputError(msg, hint=hint)
    return InputError(msg, hint="give one pattern, in quotes, for each input")


@contextlib.contextmanager
def _progress(text: str) -> Iterator[None]:
    """Show that something is going on, to a person who watches."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def _write_page(path: Path, analysis: Analysis, name: str, quantized: Quantized, notes: list[str]) -> None:
    from synap_core.quantization.page import render_page

    types = Counter(layer.dtype for layer in analysis.layers if not layer.conversion)
    described = ", ".join(f"{dtype}: {count} layers and inputs" for dtype, count in types.most_common())
    text = render_page(
        analysis,
        name,
        quantization=described,
        notes=[*notes, *quantized.warnings],
        version=toolkit_version(),
    )
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        msg = f"cannot write the page: {error.strerror or error}"
        raise InputError(msg, where=path, hint="choose another --html") from error


def _print_json(analysis: Analysis, model: Path, notes: list[str]) -> None:
    from synap_core.quantization.analysis import analysis_as_json

    click.echo(json.dumps({"model": str(model), "notes": notes, **analysis_as_json(analysis)}, indent=2))


def _print(analysis: Analysis, top: int | None, notes: list[str]) -> None:
    from synap_core.quantization.analysis import advice
    from synap_core.quantization.metrics import figures_as_text

    for note in notes:
        click.echo(f"Note: {one_line(note)}")
    headers = ("LAYER", "TYPE", "COSINE", "SQNR", "MAX ERROR", "ALONE", "DAMAGE")
    shown = analysis.layers[:top]
    print_table(headers, [_row(layer) for layer in shown])
    if len(shown) < len(analysis.layers):
        hidden = len(analysis.layers) - len(shown)
        click.echo(f"... and {hidden} {'layer that loses' if hidden == 1 else 'layers that lose'} less")
    click.echo(f"\nOutputs, on {analysis.samples} {'sample' if analysis.samples == 1 else 'samples'}:")
    print_table(("OUTPUT", *headers[2:5]), [(name, *figures_as_text(f)) for name, f in analysis.outputs.items()])
    click.echo(f"\n{advice(analysis)}.")
    if analysis.suggestion is not None:
        click.echo("In the metafile:\n")
        for line in analysis.suggestion.metafile.splitlines():
            click.echo("".join(c for c in line if c.isprintable()))


def _row(layer: LayerFigures) -> tuple[str, ...]:
    from synap_core.quantization.metrics import figures_as_text, format_db

    alone = "" if layer.alone is None else format_db(layer.alone.sqnr_db)
    damage = "" if layer.damage_db is None else format_db(layer.damage_db)
    return layer.layer_id, layer.dtype, *figures_as_text(layer.accumulated), alone, damage
