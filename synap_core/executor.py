"""Execute a bundle in this process: load each subgraph with its runtime, then run them as their inputs get ready."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synap_core.assign import raw_dtype
from synap_core.bundle_reader import Bundle, BundleSubgraph
from synap_core.errors import InputError, ModelExecutionError, PluginError
from synap_core.format_string import FormatString
from synap_core.host import PluginHost
from synap_core.payloads import Runtime, require_type
from synap_core.scheduler import run_steps
from synap_core.subgraphs import Executable, InspectableExecutable, LayerOutput, RuntimeModel
from synap_core.tensors import TensorMeta, format_shape

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one run.

    Attributes:
        outputs: Raw items of each model output.
        milliseconds: Wall time of the whole run.
        subgraph_milliseconds: Wall time of each subgraph, waiting for its inputs not included.
    """

    outputs: tuple[np.ndarray, ...]
    milliseconds: float
    subgraph_milliseconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SubgraphLayers:
    """What the operations of a subgraph gave.

    Attributes:
        model_name: Member of the bundle.
        outputs: In execution order; None when the runtime does not show them.
    """

    model_name: str
    outputs: tuple[LayerOutput, ...] | None


class Executor:
    """A loaded bundle.

    Args:
        bundle: The bundle.
        host: Where the runtimes are.
        progress: Told what is about to be done, in case it never returns.

    Attributes:
        notes: Options that have no effect on this machine.

    Raises:
        InputError: A runtime is missing or refuses its model.
    """

    def __init__(self, bundle: Bundle, host: PluginHost, progress: Progress = lambda _: None) -> None:
        self._bundle = bundle
        self._host = host
        self._progress = progress
        self.notes: list[str] = []
        self._lock = threading.Lock()
        self._running: list[str] = []
        self._executables: list[Executable] = []
        self._runtimes: list[Runtime] = []
        for subgraph in bundle.subgraphs:
            options = FormatString.parse(subgraph.meta.delegate)
            runtime = host.find(Runtime, options.type)
            progress(f"loading {subgraph.model_name}")
            model = RuntimeModel(
                name=subgraph.model_name,
                model=subgraph.model,
                inputs=subgraph.meta.inputs,
                outputs=subgraph.meta.outputs,
                options=options,
            )
            with host.boundary(runtime):
                executable = runtime.load(model)
                self.notes += [f"{subgraph.model_name}: {note}" for note in executable.notes]
            self._executables.append(executable)
            self._runtimes.append(runtime)

    def run(self, inputs: Sequence[np.ndarray]) -> RunResult:
        """Run once.

        Each subgraph starts when its inputs are there, at most ``parallel_limit`` at a time.

        Args:
            inputs: Raw items of each model input.
        """
        bundle = self._bundle
        start = time.perf_counter()
        produced: dict[int, Sequence[np.ndarray]] = {}
        times: dict[int, float] = {}

        def step(index: int) -> None:
            subgraph = bundle.subgraphs[index]
            begin = time.perf_counter()
            produced[index] = self._run_subgraph(index, _gathered(subgraph, inputs, produced))
            times[index] = 1000 * (time.perf_counter() - begin)

        dependencies = [frozenset(ref[0] for ref in subgraph.inputs if ref[0] >= 0) for subgraph in bundle.subgraphs]
        run_steps(bundle.order, dependencies, bundle.parallel_limit, step)
        outputs = tuple(produced[subgraph][k] for subgraph, k in bundle.outputs)
        elapsed = 1000 * (time.perf_counter() - start)
        return RunResult(outputs, elapsed, tuple(times[index] for index in range(len(bundle.subgraphs))))

    def run_layers(self, inputs: Sequence[np.ndarray]) -> list[SubgraphLayers]:
        """Run once from the initial state, and show what is between the operations of each subgraph.

        The state that earlier runs left in variables is forgotten, and so is that of this one.

        Args:
            inputs: Raw items of each model input.

        Returns:
            One entry for each subgraph.
        """
        self.reset()
        produced: dict[int, Sequence[np.ndarray]] = {}
        found: dict[int, SubgraphLayers] = {}
        for index in self._bundle.order:
            subgraph = self._bundle.subgraphs[index]
            arrays = _gathered(subgraph, inputs, produced)
            found[index] = SubgraphLayers(subgraph.model_name, self._layers_of(index, arrays))
            produced[index] = self._run_subgraph(index, arrays)
        self.reset()
        return [found[index] for index in range(len(self._bundle.subgraphs))]

    def _layers_of(self, index: int, inputs: Sequence[np.ndarray]) -> tuple[LayerOutput, ...] | None:
        executable, runtime = self._executables[index], self._runtimes[index]
        if not isinstance(executable, InspectableExecutable):
            return None
        with self._announced(self._bundle.subgraphs[index].model_name), self._host.boundary(runtime):
            outputs = tuple(executable.run_layers(inputs))
        for item in outputs:
            require_type(runtime, item, LayerOutput)
            if not isinstance(item.items, np.ndarray) or item.items.dtype.hasobject:
                msg = f"runtime {runtime.name!r} returned something else than numbers for {item.name!r}"
                raise PluginError(msg)
        return outputs

    def reset(self) -> None:
        """Forget the state that earlier runs left in variables."""
        for runtime, executable in zip(self._runtimes, self._executables, strict=True):
            with self._host.boundary(runtime):
                executable.reset()

    def _run_subgraph(self, index: int, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        subgraph = self._bundle.subgraphs[index]
        with self._announced(subgraph.model_name), self._host.boundary(self._runtimes[index]):
            outputs = list(self._executables[index].run(inputs))
            if not all(isinstance(array, np.ndarray) for array in outputs):
                msg = f"runtime {self._runtimes[index].name!r} returned something else than arrays"
                raise PluginError(msg)
        _check_outputs(outputs, subgraph.meta.outputs, subgraph.model_name)
        return outputs

    @contextlib.contextmanager
    def _announced(self, name: str) -> Iterator[None]:
        with self._lock:
            self._running.append(name)
            self._progress(f"running {', '.join(self._running)}")
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(name)


def _gathered(
    subgraph: BundleSubgraph, inputs: Sequence[np.ndarray], produced: Mapping[int, Sequence[np.ndarray]]
) -> list[np.ndarray]:
    """Inputs of a subgraph. Both ends of a connection have the same bytes; the reading end says what they mean."""
    return [
        _view((inputs if producer < 0 else produced[producer])[k], tensor)
        for (producer, k), tensor in zip(subgraph.inputs, subgraph.meta.inputs, strict=True)
    ]


def _view(array: np.ndarray, tensor: TensorMeta) -> np.ndarray:
    if array.nbytes != tensor.size_bytes:
        msg = f"tensor {tensor.name!r} takes {tensor.size_bytes} bytes, {array.nbytes} were given"
        raise InputError(msg)
    return np.ascontiguousarray(array).view(raw_dtype(tensor)).reshape(tensor.shape)


def _check_outputs(arrays: Sequence[np.ndarray], tensors: Sequence[TensorMeta], name: str) -> None:
    if len(arrays) != len(tensors):
        msg = f"the model has {len(arrays)} outputs, its metadata describes {len(tensors)}"
        raise ModelExecutionError(msg, where=name)
    for array, tensor in zip(arrays, tensors, strict=True):
        if array.shape != tensor.shape or array.dtype != raw_dtype(tensor):
            got, told = f"{format_shape(array.shape)} {array.dtype}", f"{format_shape(tensor.shape)} {tensor.dtype}"
            msg = f"output {tensor.name!r} is {got}, its metadata says {told}"
            raise ModelExecutionError(msg, where=name)
