"""``synap estimate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options
from synap_core.cli.tables import print_table
from synap_core.errors import one_line
from synap_core.tensors import format_shape

if TYPE_CHECKING:
    from synap_core.estimation import Estimate, EstimatedOperation

PATH = click.Path(path_type=Path, readable=False)
NOTHING = "--"
"""Engine of an operation that costs nothing."""

DATA_TYPES = ("uint8", "int8", "int16", "float16")


@click.command("estimate", cls=Command, context_settings=HELP_OPTIONS)
@click.option("--model", type=PATH, required=True, metavar="FILE", help="The model.")
@click.option("--weights", type=PATH, metavar="FILE", help="Its weights, for formats that keep them apart.")
@click.option("--meta", type=PATH, metavar="FILE", help="The conversion metafile (YAML).")
@click.option("--target", required=True, metavar="SOC", help="The system on chip; 'synap plugins' lists them.")
@click.option("--frontend", metavar="NAME", help="Read the model with this frontend, whatever the file looks like.")
@click.option(
    "--data-type",
    type=click.Choice(DATA_TYPES),
    help="Type to take for what is not quantized in the model; by default that of the metafile, else float16.",
)
@click.option(
    "--target-parameters",
    type=PATH,
    metavar="FILE",
    help="Parameters of the target, as 'synap calibrate-target' makes.",
)
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
@plugin_options
@click.pass_context
def command(  # noqa: PLR0913 - one argument per option
    ctx: click.Context,
    /,
    *,
    model: Path,
    weights: Path | None,
    meta: Path | None,
    target: str,
    frontend: str | None,
    data_type: str | None,
    target_parameters: Path | None,
    print_json: bool,
) -> None:
    """Predict what a model costs on a system on chip, operation by operation.

    Needs shapes only: nothing is quantized, compiled or written, and no sample is read. Layers are assigned as the
    metafile says; those that their delegate refuses are listed with the reason, and counted where 'synap convert
    --fallback' would run them.
    """
    from synap_core.estimation import estimate_model
    from synap_core.request import ConvertRequest

    request = ConvertRequest(
        model=model,
        target=target,
        weights=weights,
        meta=meta,
        frontend=frontend,
        target_parameters=target_parameters,
    )
    found = estimate_model(request, load_host(ctx), data_type)
    if print_json:
        click.echo(json.dumps(_as_json(found), indent=2))
    else:
        _show(found)


def _show(found: Estimate) -> None:
    headers = ("#", "SUB", "ENGINE", "CYCLES", "TIME_US", "BYTE_RD", "BYTE_WR", "TYPE", "SHAPE", "LAYER")
    if found.operations:
        print_table(headers, [_row(number, op) for number, op in enumerate(found.operations)])
        click.echo("")
    for line in (*found.moved, *found.refused):
        click.echo(f"Refused: {one_line(line)}")
    for index, (delegate, layers) in enumerate(found.parts):
        predicted = "" if index in found.overheads else ", not predicted"
        click.echo(f"subgraph_{index}: {layers} layers on {delegate}{predicted}")
    for engine, seconds in sorted(found.engine_seconds.items(), key=lambda item: -item[1]):
        if seconds:
            click.echo(f"{engine}: {1000 * seconds:.3f} ms")
    if found.overheads:
        click.echo(f"Start: {1000 * found.start_seconds:.3f} ms")
    unknown = [f"subgraph_{index}" for index in range(len(found.parts)) if index not in found.overheads]
    if len(unknown) == len(found.parts):
        click.echo("Nothing is predicted: no layer runs on a delegate that predicts costs")
    else:
        without = f", without {', '.join(unknown)}" if unknown else ""
        click.echo(f"Predicted time of an inference on {found.target.name}{without}: {1000 * found.seconds:.3f} ms")
    for note in found.notes:
        click.echo(f"Note: {one_line(note)}")


def _row(number: int, op: EstimatedOperation) -> tuple[str, ...]:
    cost = op.cost
    figures: tuple[str, ...] = ("-",) * 4
    if cost is not None:
        numbers = (cost.cycles, round(1e6 * cost.seconds), cost.bytes_read, cost.bytes_written)
        figures = tuple(str(value) for value in numbers)
    return (str(number), str(op.subgraph), _engine(op), *figures, op.dtype, format_shape(op.shape), op.group.layer_id)


def _engine(op: EstimatedOperation) -> str:
    """Where an operation runs; dashes for one that costs nothing, because nothing of it runs."""
    return op.engine if op.cost is None or op.cost.cycles else NOTHING


def _as_json(found: Estimate) -> dict[str, object]:
    return {
        "target": found.target.name,
        "operations": [
            {
                "subgraph": op.subgraph,
                "layer": op.group.layer_id,
                "dtype": op.dtype,
                "shape": list(op.shape),
                "engine": _engine(op),
                "refusal": op.refusal,
                "cycles": None if op.cost is None else op.cost.cycles,
                "seconds": None if op.cost is None else op.cost.seconds,
                "bytes_read": None if op.cost is None else op.cost.bytes_read,
                "bytes_written": None if op.cost is None else op.cost.bytes_written,
            }
            for op in found.operations
        ],
        "subgraphs": [
            {"delegate": delegate, "layers": layers, "predicted": index in found.overheads}
            for index, (delegate, layers) in enumerate(found.parts)
        ],
        "engine_seconds": found.engine_seconds,
        "start_seconds": found.start_seconds,
        "seconds": found.seconds,
        "refused": [*found.moved, *found.refused],
        "notes": list(found.notes),
    }
