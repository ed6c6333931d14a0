"""``synap ops``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options
from synap_core.cli.tables import print_table
from synap_core.payloads import Frontend
from synap_core.source import LayerSupport, OperatorSupport

PATH = click.Path(path_type=Path, readable=False)


@click.command("ops", cls=Command, context_settings=HELP_OPTIONS)
@click.option("--frontend", metavar="NAME", help="The frontend; with --model the file tells which.")
@click.option("--model", type=PATH, metavar="FILE", help="Show the layers of this model.")
@click.option("--weights", type=PATH, metavar="FILE", help="Weights of the model, for formats that keep them apart.")
@click.option("--meta", type=PATH, metavar="FILE", help="Metafile with the input shapes that the model leaves open.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plugin_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    frontend: str | None,
    model: Path | None,
    weights: Path | None,
    meta: Path | None,
    as_json: bool,
) -> None:
    """List the operators that a frontend imports into the canonical graph.

    With a model: what becomes of each of its layers. 'imported': it can be quantized and compiled. 'opaque': it is
    known, but can only run in the model's own format, on cpu or gpu. 'unknown': no importer has heard of it.
    """
    from synap_core.layer_support import layer_support

    host = load_host(ctx)
    if model is not None:
        layers = layer_support(host, model, weights=weights, meta=meta, frontend=frontend)
        _print_layers(layers, as_json=as_json)
    elif frontend is not None:
        found = host.find(Frontend, frontend)
        with host.boundary(found):
            operators = tuple(found.operators())
        _print_operators(operators, as_json=as_json)
    else:
        msg = "give --frontend or --model"
        raise click.UsageError(msg)


def _print_layers(layers: Sequence[LayerSupport], *, as_json: bool) -> None:
    if as_json:
        _print_json(
            {"name": s.layer.name, "type": s.layer.type, "index": s.layer.index, "status": s.status, "reason": s.reason}
            for s in layers
        )
        return
    rows = [(str(s.layer.index), s.layer.type, s.layer.name, s.status, s.reason) for s in layers]
    print_table(("INDEX", "TYPE", "LAYER", "STATUS", "REASON"), rows)
    counts = Counter(item.status for item in layers)
    click.echo(", ".join(f"{counts[status]} {status}" for status in ("imported", "opaque", "unknown")))


def _print_operators(operators: Sequence[OperatorSupport], *, as_json: bool) -> None:
    if as_json:
        _print_json({"name": s.name, "status": s.status, "note": s.note} for s in operators)
        return
    print_table(("OPERATOR", "STATUS", "NOTE"), [(s.name, s.status, s.note) for s in operators])


def _print_json(entries: Iterable[dict[str, object]]) -> None:
    import json

    click.echo(json.dumps(list(entries), indent=2))
