"""Run a bundle on the host."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from synap_core.assign import quantize_real, raw_dtype
from synap_core.bundle_reader import Bundle, check_executable, load_bundle
from synap_core.errors import InputError
from synap_core.executor import Executor, RunResult, SubgraphLayers
from synap_core.host import PluginHost
from synap_core.sandbox import Sandbox
from synap_core.tensors import TensorMeta, format_shape, samples_hint

DEFAULT_TIMEOUT_S = 600.0


class Network:
    """A model that runs on the host.

    The subgraphs are executed in a child process, so that a model that crashes or hangs its runtime becomes an error
    here. State of variables is kept from one prediction to the next. Threads may share a network: their predictions
    are made one after the other.

    Args:
        model: Path of a ``.synap`` bundle or of a single model, or the content of a bundle.
        meta: Path of the metadata of a single model.
        host: Plugins to use; by default what configuration and environment allow.
        isolate: Use a child process. Without one, plugins that are registered in this process only are seen, too.
        timeout: Seconds that loading or one prediction may take in the child process.

    Raises:
        InputError: A file is missing or damaged, or a runtime is missing.
        ModelExecutionError: A runtime refused, crashed on or hung in a model.
    """

    def __init__(
        self,
        model: str | Path | bytes,
        meta: str | Path | None = None,
        *,
        host: PluginHost | None = None,
        isolate: bool = True,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        bundle = load_bundle(model, meta)
        check_executable(bundle)
        self._lock = threading.Lock()
        self._closed = False
        host = host or PluginHost.from_environment()
        self._engine = Sandbox(model, meta, host.policy, timeout) if isolate else Executor(bundle, host)
        self.bundle: Bundle = bundle
        self.inputs: tuple[TensorMeta, ...] = bundle.input_tensors
        self.outputs: tuple[TensorMeta, ...] = bundle.output_tensors
        self.notes: tuple[str, ...] = tuple(self._engine.notes)

    def predict(self, inputs: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Run once.

        Args:
            inputs: One array per input, in order or by name. An array of the input's own type holds raw items; a
                float32 array holds real values, which are quantized (not normalised).

        Returns:
            Raw items of each output, in the model's order.

        Raises:
            InputError: An array is missing, or has another shape or type.
            ModelExecutionError: A runtime failed, crashed or hung.
        """
        return self.predict_timed(inputs).outputs

    def predict_timed(self, inputs: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> RunResult:
        """Run once, and tell how long it took on this host, which says nothing about the device; see `predict`."""
        arrays = self._raw(inputs)
        with self._lock:
            self._check_open()
            return self._engine.run(arrays)

    def run_layers(self, inputs: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> list[SubgraphLayers]:
        """Run once from the initial state, and show what each operation gives; see `predict`.

        The state of variables is forgotten, before and behind. The results of float operations may differ from those
        of `predict` in the last digits: an operation whose result is shown cannot be joined with the next one.

        Args:
            inputs: As those of `predict`.

        Returns:
            One entry for each subgraph, without outputs where its runtime does not show them.

        Raises:
            InputError: An array is missing, or has another shape or type.
            ModelExecutionError: A runtime failed, crashed or hung.
        """
        arrays = self._raw(inputs)
        with self._lock:
            self._check_open()
            return self._engine.run_layers(arrays)

    def reset(self) -> None:
        """Forget the state that earlier predictions left in variables."""
        with self._lock:
            self._check_open()
            self._engine.reset()

    def close(self) -> None:
        """End the child process; nothing can be predicted any more."""
        self._closed = True
        if isinstance(self._engine, Sandbox):
            self._engine.close()

    def _check_open(self) -> None:
        if self._closed:
            msg = "the network is closed"
            raise InputError(msg, hint="make a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self.close()

    def _raw(self, inputs: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return [_raw(array, tensor) for array, tensor in zip(self._ordered(inputs), self.inputs, strict=True)]

    def _ordered(self, inputs: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> list[np.ndarray]:
        names = [tensor.name for tensor in self.inputs]
        if isinstance(inputs, Mapping):
            if sorted(inputs) != sorted(names):
                msg = f"inputs {sorted(inputs)} were given; the model has {names}"
                raise InputError(msg)
            return [inputs[name] for name in names]
        if len(inputs) != len(names):
            msg = f"{len(inputs)} inputs were given; the model has {len(names)}: {', '.join(names)}"
            raise InputError(msg)
        return list(inputs)


def _raw(array: np.ndarray, tensor: TensorMeta) -> np.ndarray:
    if not hasattr(array, "dtype") or not hasattr(array, "shape"):
        msg = f"input {tensor.name!r} must be a NumPy array, not {type(array).__name__}"
        raise InputError(msg)
    if array.shape != tensor.shape:
        msg = f"input {tensor.name!r} has the shape {format_shape(tensor.shape)}, not {format_shape(array.shape)}"
        raise InputError(msg, hint=samples_hint(array.shape, tensor.shape))
    if array.dtype == raw_dtype(tensor):
        return array
    if array.dtype == np.float32:
        return quantize_real(array, tensor)
    msg = f"input {tensor.name!r} takes {tensor.dtype} (raw items) or float32 (real values), not {array.dtype}"
    raise InputError(msg)
