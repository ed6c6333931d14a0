"""``synap run``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synap_core.cli.profile_report import (
    PRINTED,
    check_profiling,
    profiles_as_json,
    save_profiles,
    show_profiles,
)
from synap_core.cli.run_report import HOST_NOTICE, Class, Measured, about, as_json, show, token_of
from synap_core.cli.shell import HELP_OPTIONS, Command, load_host, plugin_options
from synap_core.errors import InputError, one_line
from synap_core.tensors import TensorMeta

if TYPE_CHECKING:
    import numpy as np

    from synap_core.bundle_reader import Bundle
    from synap_core.host import PluginHost
    from synap_core.network import Network
    from synap_core.profiles import SubgraphProfile

PATH = click.Path(path_type=Path, readable=False)
TOP_COUNT = 5
DEFAULT_MODELS = (("model.synap", None), ("model.nb", "model.json"))
"""Models, and their metadata, that are looked for in the working folder."""

DEVICE_FLAGS = ("--cma", "--noflush", "--lock")
DEVICE_OPTIONS = ("--secure", "--allocator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """How often to do what.

    Attributes:
        predictions: Predictions each time the model is loaded.
        loads: Times the model is loaded.
        period_s: Seconds from one prediction to the next at the least.
    """

    predictions: int
    loads: int
    period_s: float


def device_options(function: Callable[..., None]) -> Callable[..., None]:
    """Accept the options of the device program that mean nothing on a host."""
    for name in DEVICE_FLAGS:
        function = click.option(name, is_flag=True, hidden=True)(function)
    for name in DEVICE_OPTIONS:
        function = click.option(name, hidden=True)(function)
    return function


@click.command("run", cls=Command, context_settings=HELP_OPTIONS)
@click.option("-m", "--model", type=PATH, metavar="FILE", help="The bundle; by default model.synap in this folder.")
@click.option("--nb", type=PATH, hidden=True, help="Deprecated name of --model.")
@click.option(
    "--meta",
    type=PATH,
    metavar="FILE",
    help="Metadata of a single model that is not a bundle; by default the .json file beside a .nb.",
)
@click.option("-r", "repeat", type=click.IntRange(1), default=1, show_default=True, help="Predictions to make.")
@click.option("--rr", "loads", type=click.IntRange(1), default=1, show_default=True, help="Times to load the model.")
@click.option("--fps", type=click.IntRange(0), default=0, help="Predictions a second at the most; 0 for no limit.")
@click.option("--top5", is_flag=True, help="Show the five classes with the highest confidence.")
@click.option("--save-outputs", type=PATH, metavar="FILE.npz", help="Save the raw outputs, by name.")
@click.option("--dump-raw", is_flag=True, help="Write each output as it is to output_raw_<i>.dat.")
@click.option("--dump-out", is_flag=True, help="Write each output as float32 to output_float_<i>.dat.")
@click.option(
    "--profiling",
    metavar="FILE",
    help="Write a table of the layers of each subgraph, predicted or measured; - prints it.",
)
@click.option(
    "--dump-layers",
    type=PATH,
    metavar="DIR",
    help="Write what each operation gives to .npy files in a folder, with an index.",
)
@click.option("--json", "print_json", is_flag=True, help="Print JSON.")
@click.option(
    "--timeout", type=click.IntRange(1, 86400), default=600, show_default=True, help="Seconds one step may take."
)
@device_options
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@plugin_options
@click.pass_context
def command(  # noqa: PLR0913 - one argument per option
    ctx: click.Context,
    /,
    *,
    model: Path | None,
    nb: Path | None,
    meta: Path | None,
    repeat: int,
    loads: int,
    fps: int,
    top5: bool,
    save_outputs: Path | None,
    dump_raw: bool,
    dump_out: bool,
    profiling: str | None,
    dump_layers: Path | None,
    print_json: bool,
    timeout: int,
    inputs: tuple[str, ...],
    **without_effect: object,
) -> None:
    """Run a converted model on this host.

    INPUT is, for each input of the model in order, an image (.jpg, .png), a NumPy array (.npy), a raw file (.rgb, .bgr,
    .bgra, .gray, .nv12, .nv21, .bin, .dat), or one of zero, random and value:N. After zero or random the remaining
    inputs may be left out.
    """
    from synap_core.output_files import dump_floats, dump_items, save_npz
    from synap_core.staging import make_folder

    for name in (name for name, value in without_effect.items() if value):
        _warn(f"--{name} has no effect on a host")
    check_profiling(profiling)
    model, meta = _model(model, nb, meta)
    if dump_layers is not None:
        make_folder(dump_layers, "--dump-layers")
    times = Repetition(predictions=repeat, loads=loads, period_s=1 / fps if fps else 0)
    runner = _Runner(load_host(ctx), model, meta, timeout, quiet=print_json)
    measured, tensors = runner.run(inputs, times, single_output=top5, layers=dump_layers)
    if save_outputs is not None:
        save_npz(save_outputs, measured.outputs, tensors)
    if dump_raw:
        dump_items(measured.outputs)
    if dump_out:
        dump_floats(measured.outputs, tensors)
    profiles = runner.profiles(measured) if profiling is not None else ()
    if profiling not in (None, PRINTED):
        save_profiles(Path(str(profiling)), profiles)
    classes = _classes(measured.outputs[0], tensors[0], model) if top5 else []
    if print_json:
        data = as_json(runner.header, measured, tensors, classes)
        if profiling is not None:
            data["profiles"] = profiles_as_json(profiles)
        click.echo(json.dumps(data, indent=2))
    else:
        show(measured, classes)
        show_profiles(profiles, None if profiling == PRINTED else profiling)


def _warn(text: str) -> None:
    click.echo(f"Warning: {one_line(text)}", err=True)


def _model(model: Path | None, nb: Path | None, meta: Path | None) -> tuple[Path, Path | None]:
    if nb is not None:
        if model is not None:
            msg = "--nb is the old name of --model; give only one of them"
            raise click.UsageError(msg)
        _warn("--nb is deprecated; use --model")
        model = nb
    if model is not None:
        return model, meta
    for name, companion in DEFAULT_MODELS:
        if Path(name).is_file():
            return Path(name), Path(companion) if companion is not None and meta is None else meta
    msg = f"no model given, and none of {', '.join(name for name, _ in DEFAULT_MODELS)} is in this folder"
    raise InputError(msg, hint="name one with --model FILE")


class _Runner:
    """Loads the model and makes the predictions, as often as asked."""

    def __init__(self, host: PluginHost, model: Path, meta: Path | None, timeout: float, *, quiet: bool) -> None:
        self._host = host
        self._model = model
        self._meta = meta
        self._timeout = timeout
        self._quiet = quiet
        self._bundle: Bundle | None = None
        self.header: dict[str, object] = {}

    def profiles(self, measured: Measured) -> tuple[SubgraphProfile, ...]:
        """Layer tables of the subgraphs of the model that ran."""
        from synap_core.profiles import profiles_of

        return () if self._bundle is None else profiles_of(self._bundle, measured.subgraph_times_ms, self._host)

    def run(
        self, inputs: Sequence[str], times: Repetition, *, single_output: bool, layers: Path | None = None
    ) -> tuple[Measured, tuple[TensorMeta, ...]]:
        """Return the last prediction with the times of all, and the description of its outputs.

        Args:
            inputs: What feeds the inputs of the model.
            times: How often to do it.
            single_output: Refuse a model with several outputs.
            layers: Folder for what the operations give.
        """
        from synap_core.network import Network
        from synap_core.run_inputs import load_inputs

        measured = Measured()
        for load in range(times.loads):
            start = time.perf_counter()
            with Network(self._model, self._meta, host=self._host, timeout=self._timeout) as network:
                measured.init_ms = 1000 * (time.perf_counter() - start)
                arrays = load_inputs(inputs, network.inputs, warn=_warn)
                if single_output and len(network.outputs) != 1:
                    msg = f"--top5 needs a model with one output; this one has {len(network.outputs)}"
                    raise InputError(msg, where=self._model, hint="leave --top5 out")
                if load == 0:
                    self._announce(network, inputs)
                self._predict(network, arrays, times, measured)
                self._bundle = network.bundle
                if layers is not None and load == 0:
                    self._dump(network, arrays, layers)
        return measured, network.outputs

    def _announce(self, network: Network, inputs: Sequence[str]) -> None:
        self.header = {
            "model": str(self._model),
            "notice": HOST_NOTICE,
            "notes": list(network.notes),
            "inputs": [
                {"name": t.name, "shape": list(t.shape), "dtype": t.dtype, "source": token_of(inputs, k)}
                for k, t in enumerate(network.inputs)
            ],
        }
        if self._quiet:
            return
        click.echo(one_line(f"Model: {self._model} ({HOST_NOTICE})"))
        for note in network.notes:
            click.echo(f"Note: {one_line(note)}")
        for k, tensor in enumerate(network.inputs):
            click.echo(one_line(f"Input {k}: {about(tensor)}: {token_of(inputs, k)}"))
        for k, tensor in enumerate(network.outputs):
            click.echo(f"Output {k}: {about(tensor)}")

    def _dump(self, network: Network, arrays: Sequence[np.ndarray], folder: Path) -> None:
        from synap_core.layer_dump import dump_layers

        found = network.run_layers(arrays)
        count = dump_layers(folder, found)
        for item in found:
            if item.outputs is None:
                _warn(f"{item.model_name}: its runtime does not show what is between its operations")
        if not self._quiet:
            click.echo(one_line(f"{folder}: {count} tensors of {sum(i.outputs is not None for i in found)} subgraphs"))

    def _predict(self, network: Network, arrays: Sequence[np.ndarray], times: Repetition, measured: Measured) -> None:
        due = time.perf_counter()
        for _ in range(times.predictions):
            time.sleep(max(0.0, due - time.perf_counter()))
            due = time.perf_counter() + times.period_s
            result = network.predict_timed(arrays)
            if not self._quiet:
                click.echo(f"Predict #{len(measured.times_ms)}: {result.milliseconds:.2f} ms")
            measured.outputs = result.outputs
            measured.times_ms.append(result.milliseconds)
            measured.subgraph_times_ms = result.subgraph_milliseconds


def _classes(output: np.ndarray, tensor: TensorMeta, model: Path) -> list[Class]:
    from synap_core.classify import top_classes
    from synap_core.labels import find_labels

    labels = find_labels(model)
    best = top_classes(output, tensor, TOP_COUNT)
    return [Class(i, score, labels[i] if 0 <= i < len(labels) else "") for i, score in best]
