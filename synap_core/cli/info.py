"""``synap info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import click

from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options
from synap_core.cli.tables import print_table
from synap_core.columns import short_name
from synap_core.errors import one_line
from synap_core.tensors import format_shape

Json = dict[str, Any]  # what the inspection gives, as it would come out of a JSON file


@click.command("info", cls=Command, context_settings=HELP_OPTIONS)
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--dot", "as_dot", is_flag=True, help="Draw a bundle: print a graph for Graphviz (dot -Tsvg).")
@plugin_options
@click.pass_context
def command(ctx: click.Context, *, file: Path, as_json: bool, as_dot: bool) -> None:
    """Show what is in a bundle or a model: tensors, layers with names and indices, delegates, sizes."""
    from synap_core.convert import check_file
    from synap_core.inspection import draw_file, inspect_file

    host = load_host(ctx)
    check_file(file, "input", host)
    if as_dot and as_json:
        msg = "give only one of --json and --dot"
        raise click.UsageError(msg)
    if as_dot:
        click.echo(draw_file(file, host), nl=False)
        return
    data = cast("Json", inspect_file(file, host))
    if as_json:
        click.echo(json.dumps(data, indent=2))
        return
    click.echo(one_line(f"{file}: {data['kind']}, {data['size_bytes']:,} bytes"))
    for warning in data.get("warnings", ()):
        click.echo(f"Warning: {one_line(warning)}", err=True)
    for note in data.get("notes", ()):
        click.echo(f"Note: {one_line(note)}")
    if delegates := data.get("delegates"):
        click.echo(f"Runs as it is on: {', '.join(delegates)}")
    _tensors("Inputs", data["inputs"])
    _tensors("Outputs", data["outputs"])
    for subgraph in data.get("subgraphs", ()):
        _subgraph(subgraph)
    if "layers" in data:
        _layers(data["layers"])


def _shape(tensor: Json) -> str:
    return "?" if tensor["shape"] is None else format_shape(tuple(tensor["shape"]))


def _tensors(title: str, tensors: list[Json]) -> None:
    click.echo(f"\n{title}:")
    headers = ("#", "NAME", "SHAPE", "TYPE", "LAYOUT", "QUANTIZATION", "FORMAT", "NORMALISATION")
    rows = [
        (
            str(k),
            tensor["name"],
            _shape(tensor),
            tensor["dtype"],
            tensor["layout"],
            _quantization(tensor["quantization"]),
            tensor.get("data_format", ""),
            _normalisation(tensor),
        )
        for k, tensor in enumerate(tensors)
    ]
    print_table(headers, rows)


def _quantization(values: Json | None) -> str:
    if values is None:
        return ""
    if "fractional_length" in values:
        return f"fl {values['fractional_length']}"
    if len(values["scale"]) == 1:
        return f"scale {values['scale'][0]:.9g} zero point {values['zero_point'][0]}"
    return f"{values['scheme']}, {len(values['scale'])} scales"


def _normalisation(tensor: Json) -> str:
    parts = []
    if tensor.get("mean") is not None:
        parts.append(f"mean {' '.join(f'{v:g}' for v in tensor['mean'])}")
    if tensor.get("scale") is not None:
        parts.append(f"scale {tensor['scale']:g}")
    return ", ".join(parts)


def _subgraph(subgraph: Json) -> None:
    title = f"Subgraph {subgraph['index']}: {subgraph['model']}, {subgraph['size_bytes']:,} bytes"
    click.echo(f"\n{one_line(title)}, delegate '{one_line(subgraph['delegate'])}'")
    for note in subgraph.get("notes", ()):
        click.echo(f"Note: {one_line(note)}")
    wires = [_wire(k, tensor) for k, tensor in enumerate(subgraph["inputs"])]
    print_table(("INPUT", "NAME", "FROM"), wires)
    if subgraph["layers"] is None:
        click.echo(f"Layers not shown: {one_line(subgraph['layers_missing'])}")
    else:
        _layers(subgraph["layers"])


def _wire(number: int, tensor: Json) -> tuple[str, str, str]:
    source = tensor["source"]
    origin = "model input" if source["subgraph"] < 0 else f"subgraph {source['subgraph']} output"
    return str(number), tensor["name"], f"{origin} {source['out']}"


def _layers(layers: list[Json]) -> None:
    click.echo("\nLayers:")
    rows = [
        (
            "" if layer["index"] is None else str(layer["index"]),
            layer["type"],
            ", ".join(f"{_shape(t)} {t['dtype']}" for t in layer["outputs"]),
            short_name(layer["name"]),
        )
        for layer in layers
    ]
    print_table(("INDEX", "TYPE", "OUTPUT", "NAME"), rows)
