"""``synap run``."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options
from synap_core.cli.tables import print_table
from synap_core.errors import InputError, one_line
from synap_core.tensors import TensorMeta, format_shape

if TYPE_CHECKING:
    import numpy as np

    from synap_core.network import Network

PATH = click.Path(path_type=Path)
TOP_COUNT = 5
MAX_JSON_ITEMS = 10_000
HOST_NOTICE = "executed on this host; times are not those of a device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the predictions gave.

    Attributes:
        outputs: Raw items of each output, of the last prediction.
        times_ms: Milliseconds of each prediction.
        subgraph_times_ms: Milliseconds of each subgraph, of the last prediction.
        init_ms: Milliseconds it took to load the model.
    """

    outputs: tuple[np.ndarray, ...]
    times_ms: tuple[float, ...]
    subgraph_times_ms: tuple[float, ...]
    init_ms: float

    def timings(self) -> dict[str, float]:
        """Statistics of the times, as the device program prints them."""
        ordered = sorted(self.times_ms)
        return {
            "init": self.init_ms,
            "min": ordered[0],
            "median": ordered[len(ordered) // 2],
            "max": ordered[-1],
            "stddev": statistics.pstdev(ordered),
            "mean": statistics.fmean(ordered),
        }


@click.command("run", cls=Command, context_settings=HELP_OPTIONS)
@click.option("-m", "--model", type=PATH, required=True, metavar="FILE", help="The bundle (model.synap).")
@click.option("--meta", type=PATH, metavar="FILE", help="Metadata of a single model that is not a bundle.")
@click.option("-r", "repeat", type=click.IntRange(1), default=1, show_default=True, help="Predictions to make.")
@click.option("--top5", is_flag=True, help="Show the five classes with the highest confidence.")
@click.option("--save-outputs", type=PATH, metavar="FILE.npz", help="Save the raw outputs, by name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=600.0, show_default=True, help="Seconds one step may take."
)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@plugin_options
@click.pass_context
def command(  # noqa: PLR0913 - one argument per option
    ctx: click.Context,
    *,
    model: Path,
    meta: Path | None,
    repeat: int,
    top5: bool,
    save_outputs: Path | None,
    as_json: bool,
    timeout: float,
    inputs: tuple[str, ...],
) -> None:
    """Run a converted model on this host.

    INPUT is, for each input of the model in order, an image (.jpg, .png), a NumPy array (.npy), a raw file (.rgb, .bgr,
    .bgra, .gray, .nv12, .nv21, .bin, .dat), or one of zero, random and value:N. After zero or random the remaining
    inputs may be left out.
    """
    from synap_core.network import Network
    from synap_core.run_inputs import load_inputs

    host = load_host(ctx)
    start = time.perf_counter()
    with Network(model, meta, host=host, timeout=timeout) as network:
        init_ms = 1000 * (time.perf_counter() - start)
        arrays = load_inputs(inputs, network.inputs, warn=_warn)
        if top5:
            _check_single_output(network.outputs, model)
        if not as_json:
            _announce(model, network, inputs)
        result = _predict(network, arrays, repeat, init_ms, quiet=as_json)
        if save_outputs is not None:
            _save(save_outputs, result.outputs, network.outputs)
        classes = _classes(result.outputs, network.outputs, model) if top5 else []
        if as_json:
            click.echo(json.dumps(_as_json(model, network, inputs, result, classes), indent=2))
        else:
            _show(result, classes)


def _warn(text: str) -> None:
    click.echo(f"Warning: {one_line(text)}", err=True)


def _check_single_output(outputs: Sequence[TensorMeta], model: Path) -> None:
    if len(outputs) != 1:
        msg = f"--top5 needs a model with one output; this one has {len(outputs)}"
        raise InputError(msg, where=model, hint="leave --top5 out")


def _announce(model: Path, network: Network, inputs: Sequence[str]) -> None:
    click.echo(f"Model: {model} ({HOST_NOTICE})")
    for note in network.notes:
        click.echo(f"Note: {one_line(note)}")
    for k, tensor in enumerate(network.inputs):
        token = inputs[min(k, len(inputs) - 1)]
        click.echo(f"Input {k}: {_about(tensor)}: {token}")
    for k, tensor in enumerate(network.outputs):
        click.echo(f"Output {k}: {_about(tensor)}")


def _about(tensor: TensorMeta) -> str:
    return f"{one_line(tensor.name)} {format_shape(tensor.shape)} {tensor.dtype}"


def _predict(network: Network, arrays: Sequence[np.ndarray], repeat: int, init_ms: float, *, quiet: bool) -> Measured:
    times = []
    for number in range(repeat):
        prediction = network.predict_timed(arrays)
        times.append(prediction.milliseconds)
        if not quiet:
            click.echo(f"Predict #{number}: {prediction.milliseconds:.2f} ms")
    return Measured(
        outputs=prediction.outputs,
        times_ms=tuple(times),
        subgraph_times_ms=prediction.subgraph_milliseconds,
        init_ms=init_ms,
    )


def _classes(outputs: Sequence[np.ndarray], tensors: Sequence[TensorMeta], model: Path) -> list[tuple[int, float, str]]:
    from synap_core.classify import top_classes
    from synap_core.labels import find_labels

    labels = find_labels(model)
    best = top_classes(outputs[0], tensors[0], TOP_COUNT)
    return [(index, score, labels[index] if 0 <= index < len(labels) else "") for index, score in best]


def _show(result: Measured, classes: Sequence[tuple[int, float, str]]) -> None:
    if classes:
        print_table(
            ("Class", "Confidence", "Description"),
            [(str(index), f"{score:.4f}", label) for index, score, label in classes],
        )
    if len(result.subgraph_times_ms) > 1:
        parts = "  ".join(f"{k}: {value:.2f}" for k, value in enumerate(result.subgraph_times_ms))
        click.echo(f"Subgraph times (ms), last prediction:  {parts}")
    timings = "  ".join(f"{name}: {value:.2f}" for name, value in result.timings().items())
    click.echo(f"Inference timings (ms):  {timings}")


def _as_json(
    model: Path,
    network: Network,
    inputs: Sequence[str],
    result: Measured,
    classes: Sequence[tuple[int, float, str]],
) -> dict[str, object]:
    tokens = [inputs[min(k, len(inputs) - 1)] for k in range(len(network.inputs))]
    return {
        "model": str(model),
        "notice": HOST_NOTICE,
        "notes": list(network.notes),
        "inputs": [_tensor_json(t) | {"source": token} for t, token in zip(network.inputs, tokens, strict=True)],
        "outputs": [
            _tensor_json(t) | {"values": array.ravel().tolist() if array.size <= MAX_JSON_ITEMS else None}
            for t, array in zip(network.outputs, result.outputs, strict=True)
        ],
        "top5": [{"class_index": i, "confidence": score, "label": label} for i, score, label in classes],
        "times_ms": list(result.times_ms),
        "subgraph_times_ms": list(result.subgraph_times_ms),
        "timings_ms": result.timings(),
    }


def _tensor_json(tensor: TensorMeta) -> dict[str, object]:
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}


def _save(path: Path, outputs: Sequence[np.ndarray], tensors: Sequence[TensorMeta]) -> None:
    """Write an ``.npz``; not with ``np.savez``, whose own argument names cannot be used as keys."""
    import zipfile

    from numpy.lib import format as npy

    seen: dict[str, int] = {}
    partial = path.with_name(f".{path.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for tensor, array in zip(tensors, outputs, strict=True):
                number = seen[tensor.name] = seen.get(tensor.name, -1) + 1
                key = tensor.name if number == 0 else f"{tensor.name}#{number}"
                with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as member:
                    npy.write_array(member, array, allow_pickle=False)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        msg = f"cannot save the outputs: {error.strerror or error}"
        raise InputError(msg, where=path, hint="choose another file with --save-outputs") from error
