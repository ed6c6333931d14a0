"""``synap calibrate-target``."""

from __future__ import annotations

from pathlib import Path

import click

from synap_core.api import load_host, plugin_options

PATH = click.Path(path_type=Path, readable=False)
DATA_TYPES = ("uint8", "int8", "int16", "float16")


@click.command("calibrate-target", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--profile", type=PATH, required=True, metavar="FILE", help="What synap_cli --profiling wrote on a board."
)
@click.option("--model", type=PATH, required=True, metavar="FILE", help="The model that ran there, not converted.")
@click.option("--weights", type=PATH, metavar="FILE", help="Its weights, for formats that keep them apart.")
@click.option("--meta", type=PATH, metavar="FILE", help="The metafile that it was converted with.")
@click.option("--target", required=True, metavar="SOC", help="The system on chip of the board.")
@click.option("--frontend", metavar="NAME", help="Read the model with this frontend, whatever the file looks like.")
@click.option(
    "--data-type",
    type=click.Choice(DATA_TYPES),
    help="Type of what is not quantized in the model; by default that of the metafile, else float16.",
)
@click.option(
    "--subgraph", type=click.IntRange(0), metavar="N", help="Subgraph that the profile is of; if there are several."
)
@click.option(
    "--inference-ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MS",
    help="Time of an inference without profiling, to find out what its start takes.",
)
@click.option(
    "--target-parameters", type=PATH, metavar="FILE", help="Parameters to begin with, instead of the target's own."
)
@click.option("--out", type=PATH, metavar="FILE", help="Where to write the parameters; without it nothing is written.")
@plugin_options
@click.pass_context
def command(  # noqa: PLR0913 - one argument per option
    ctx: click.Context,
    /,
    *,
    profile: Path,
    model: Path,
    weights: Path | None,
    meta: Path | None,
    target: str,
    frontend: str | None,
    data_type: str | None,
    subgraph: int | None,
    inference_ms: float | None,
    target_parameters: Path | None,
    out: Path | None,
) -> None:
    """Adapt the cost model of a target to a profile from a board.

    Layers of the profile are matched with operations of the model in their order; those that the board optimized away
    take no time and are left out. The parameters are for --target-parameters of 'synap estimate' and 'synap convert'.
    """
    from synap_core.api import ConvertRequest, estimate_model, replacing
    from synap_delegate_npu.calibration import DELEGATE, calibrate, known_parameters, require_measured, steps_of
    from synap_delegate_npu.cost.refit import parameters_text, read_profile

    lines = read_profile(profile)
    require_measured(profile)
    request = ConvertRequest(
        model=model,
        target=target,
        weights=weights,
        meta=meta,
        frontend=frontend,
        target_parameters=target_parameters,
    )
    estimate = estimate_model(request, load_host(ctx), data_type)
    known = known_parameters(estimate)
    steps = steps_of(estimate, known, subgraph)
    found = calibrate(lines, steps, known, inference_seconds=None if inference_ms is None else inference_ms / 1000)
    click.echo(
        f"Found {found.matched} of {found.measured} measured layers among {found.operations} operations;"
        f" fitted to {found.fitted}"
    )
    click.echo(f"Mean error of an operation: {100 * found.before:.1f} % before, {100 * found.after:.1f} % after")
    for name in type(known).model_fields:
        old, new = getattr(known, name), getattr(found.parameters, name)
        if isinstance(new, float) and f"{old:.4g}" != f"{new:.4g}":
            click.echo(f"{name}: {old:.4g} -> {new:.4g}")
    if out is not None:
        body = parameters_text(found.parameters).splitlines()
        with replacing(out, "parameters") as partial:
            partial.write_text("\n".join([f"{DELEGATE}:", *(f"  {line}" for line in body)]) + "\n", encoding="utf-8")
        click.echo(f"{out}: written; use it with --target-parameters")
