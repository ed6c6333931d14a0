"""Time the programs of the npu delegate, and their compilation: ``python -m benchmarks.npu``.

Programs run beside LiteRT, taken in turn in one process; compilation beside Arm's Vela compiler, command against
command. Prints a line, ``met`` or ``NOT met``, for each requirement, and ends with 1 when one is not met.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from synap_core.bundle_writer import pack_bundle
from synap_core.cache import Cache
from synap_core.conversion import Conversion
from synap_core.convert import ConvertRequest, convert
from synap_core.host import PluginHost
from synap_core.network import Network
from tests.conftest import zoo_root
from tests.support.canonical_models import conv2d_options
from tests.support.tflite_models import ModelBuilder

ROOT = Path(__file__).parents[1]
TARGET = "VS680"
EIGHT_BIT = "classification/tf2_mobilenet_v2_1.0_224_ptq.tflite"
FLOAT = "classification/efficientnet-lite0.onnx"
ROUNDS = 15
COMPILATIONS = 3
CHAINS = (50, 100, 200, 400)
VELA = "ethos-u-vela"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A ratio and its bound.

    Attributes:
        what: What is divided by what.
        ratio: The ratio that was measured.
        most: The largest that it may be.
    """

    what: str
    ratio: float
    most: float

    @property
    def met(self) -> bool:
        """Whether the bound is kept."""
        return self.ratio <= self.most

    def __str__(self) -> str:
        return f"{'met    ' if self.met else 'NOT met'}  {self.what}: {self.ratio:.3f} <= {self.most:g}"


def in_turns(functions: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of functions that are called in turn, after one call that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def litert(model: Path, array: np.ndarray, resolver: OpResolverType) -> Callable[[], object]:
    """A run of a model in LiteRT, with its own number of threads."""
    interpreter = Interpreter(model_path=str(model), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], array)
    return interpreter.invoke  # type: ignore[no-any-return]  # the library has no types


def prediction(conversion: Conversion, array: np.ndarray) -> Callable[[], object]:
    """A run of a bundle."""
    network = Network(pack_bundle(conversion), isolate=False)
    return lambda: network.predict([array])


def execution(zoo: Path, host: PluginHost) -> Iterator[Limit]:
    """The program of a model of 8 bits beside LiteRT."""
    path = zoo / "models" / EIGHT_BIT
    array = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    converted = convert(ConvertRequest(model=path, target=TARGET), host).conversion
    seconds = in_turns(
        {
            "program": prediction(converted, array),
            "reference kernels": litert(path, array, OpResolverType.BUILTIN_REF),
            "XNNPACK": litert(path, array, OpResolverType.AUTO),
        }
    )
    show(path.stem, seconds)
    for peer, most in (("reference kernels", 0.2), ("XNNPACK", 12.0)):
        yield Limit(what=f"program / LiteRT's {peer}", ratio=seconds["program"] / seconds[peer], most=most)


def wide_execution(zoo: Path, host: PluginHost, folder: Path) -> Iterator[Limit]:
    """The programs of one float model, in 16 bits and in 8."""
    path = zoo / "models" / FLOAT
    array = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    functions = {}
    for name, words in (("int8", "int8, scheme: perchannel_symmetric_affine"), ("int16", "int16")):
        options = "options: {rounding: nearest, bias_correction: false}, dataset: random"
        (folder / f"{name}.yaml").write_text(f"quantization: {{data_type: {words}, {options}}}\n", encoding="utf-8")
        request = ConvertRequest(model=path, target=TARGET, meta=folder / f"{name}.yaml")
        functions[name] = prediction(convert(request, host).conversion, array)
    seconds = in_turns(functions)
    show(path.stem, seconds)
    yield Limit(what="int16 program / int8 program", ratio=seconds["int16"] / seconds["int8"], most=4.0)


def compilation(zoo: Path, folder: Path, vela: Path | None) -> Iterator[Limit]:
    """The whole command, without a cache, beside Vela's."""
    path = zoo / "models" / EIGHT_BIT
    numbers = iter(range(10_000))

    def ours() -> None:
        out = folder / f"out{next(numbers)}"
        run([sys.executable, "-m", "synap_core.cli", "convert", "--model", path, "--target", TARGET, "--out-dir", out])

    def theirs() -> None:
        run([vela or "vela", path, "--output-dir", folder / f"vela{next(numbers)}"])

    def run(command: Sequence[str | Path]) -> None:
        # The first call, which is not counted, compiles the modules of both, as an installation does.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(folder / "modules")
        subprocess.run([str(word) for word in command], check=True, capture_output=True, cwd=ROOT, env=environment)

    seconds = in_turns({"synap convert": ours} | ({} if vela is None else {"vela": theirs}), COMPILATIONS)
    show(f"compiling {path.stem}", seconds)
    if vela is not None:
        yield Limit(what="synap convert / vela", ratio=seconds["synap convert"] / seconds["vela"], most=2.0)


def cached_compilation(zoo: Path, host: PluginHost, folder: Path) -> Iterator[Limit]:
    """The compile stage: first into an empty cache, then from it."""
    request = ConvertRequest(model=zoo / "models" / EIGHT_BIT, target=TARGET)
    (subgraph,) = convert(request, host).conversion.subgraphs
    compile_it = host.delegates["npu"].compile
    first: list[float] = []
    second: list[float] = []
    for number in range(COMPILATIONS):
        cached = replace(subgraph, cache=Cache(folder / f"cache{number}"))
        for times in (first, second):
            start = time.perf_counter()
            compile_it(cached)
            times.append(time.perf_counter() - start)
    seconds = {"first": statistics.median(first), "second": statistics.median(second)}
    show("compile stage", seconds)
    yield Limit(what="second compilation / first", ratio=seconds["second"] / seconds["first"], most=0.2)


def growth(host: PluginHost, folder: Path) -> Iterator[Limit]:
    """Conversion of chains of convolutions."""
    seconds: dict[str, float] = {}
    for count in CHAINS:
        path = folder / f"chain{count}.tflite"
        path.write_bytes(chain(count))
        request = ConvertRequest(model=path, target=TARGET)
        seconds |= in_turns({f"{count} layers": partial(convert, request, host)}, COMPILATIONS)
    show("chains of convolutions", seconds)
    # The shortest ends before Python has collected all garbage once, which takes a fifth of the time of the others.
    _, first, *_, last = CHAINS
    per_layer = [seconds[f"{count} layers"] / count for count in (first, last)]
    yield Limit(what=f"time per layer, {last} layers / {first}", ratio=per_layer[1] / per_layer[0], most=1.25)


def chain(count: int) -> bytes:
    """Convolutions 3x3 with scales per channel, each reading the one before."""
    rng = np.random.default_rng(0)
    builder = ModelBuilder()
    shape = (1, 16, 16, 16)
    first = last = builder.tensor("x", shape, "int8", scale=0.05)
    for index in range(count):
        weights, scales = rng.integers(-127, 128, (16, 3, 3, 16), np.int8), rng.uniform(0.0005, 0.002, 16).tolist()
        operands = [
            builder.tensor(f"w{index}", weights.shape, "int8", data=weights, scale=scales),
            builder.tensor(
                f"b{index}",
                (16,),
                "int32",
                data=rng.integers(-99, 99, 16).astype(np.int32),
                scale=[0.05 * scale for scale in scales],
            ),
        ]
        result = builder.tensor(f"t{index}", shape, "int8", scale=0.05)
        builder.operator("CONV_2D", [last, *operands], [result], conv2d_options(), version=3)
        last = result
    return builder.finish([first], [last])


def vela_command(folder: Path) -> Path:
    """The peer's command, in an environment of its own; made, with the package, when it is not there."""
    command = folder / "bin" / "vela"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", VELA], check=True)
    return command


def show(title: str, seconds: Mapping[str, float]) -> None:
    """Print what was measured."""
    print(f"{title}: {', '.join(f'{name} {1000 * found:.1f} ms' for name, found in seconds.items())}", flush=True)


def main() -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=zoo_root(), help="folder of the model zoo")
    parser.add_argument("--peer-venv", type=Path, default=ROOT / "build" / "vela-venv", help="environment of Vela")
    parser.add_argument("--no-peers", action="store_true", help="measure without Vela")
    arguments = parser.parse_args()
    vela = None if arguments.no_peers else vela_command(arguments.peer_venv)
    host = PluginHost()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limits = [
            *execution(arguments.zoo, host),
            *wide_execution(arguments.zoo, host, folder),
            *compilation(arguments.zoo, folder, vela),
            *cached_compilation(arguments.zoo, host, folder),
            *growth(host, folder),
        ]
    for limit in limits:
        print(limit)
    return 0 if all(limit.met for limit in limits) else 1


if __name__ == "__main__":
    sys.exit(main())
