"""Run a model in ONNX Runtime; the one module that uses its untyped interface."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from synap_core.api import FormatString, ModelExecutionError, RuntimeModel, TensorMeta

Native = Any
"""An object of the library, which has no types."""

MAX_MESSAGE = 200
"""Characters of the library's own message to pass on."""

MAX_LOG_LEVEL = 4
"""The library's highest severity, "fatal"."""

HOST_OPTIONS = frozenset({"cpu", "gpu", "log_level", "num_threads"})
"""Options of the delegate string that have a meaning on the host."""

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
}
"""Types of tensors that metadata can describe, in the library's words and NumPy's."""

RUNTIME_ERRORS = (
    native.EPFail,
    native.EngineError,
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoModel,
    native.NoSuchFile,
    native.NotImplemented,
    native.RuntimeException,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the library raises for a model that it refuses or cannot run."""


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    shape: tuple[int, ...]
    dtype: str


class OnnxExecutable:
    """A model loaded into an ONNX Runtime session.

    Args:
        model: The model. Of its options, ``num_threads`` sets the threads of one operator when it is not negative (0
            leaves them to the library), and ``log_level`` the least severity that is logged.

    Raises:
        ModelExecutionError: ONNX Runtime refuses the model, or it does not fit its metadata.
    """

    def __init__(self, model: RuntimeModel) -> None:
        self._name = model.name
        self._options = model.options
        self.notes = tuple(_notes(model.options))
        try:
            self._session = open_session(model.model, _session_options(model.options))
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        except RUNTIME_ERRORS as error:
            msg = f"ONNX Runtime refused the model: {first_line(error)}"
            raise ModelExecutionError(msg, where=self._name) from error
        self._check_count("inputs", len(inputs), model.inputs)
        self._check_count("outputs", len(outputs), model.outputs)
        for what, arguments in (("input", inputs), ("output", outputs)):
            for argument in arguments:
                self._check_rank(what, argument)
        self._inputs = [self._input(*pair) for pair in zip(inputs, model.inputs, strict=True)]

    def reset(self) -> None:
        """Do nothing: ONNX models keep no state."""

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run once."""
        return [np.asarray(array) for array in self._run(self._session, inputs)]

    def run_variant(self, content: bytes, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Run another model with the same inputs once.

        Args:
            content: The model.
            inputs: As those of `run`.

        Returns:
            Its outputs, by name; those that are no arrays of numbers are left out.

        Raises:
            ModelExecutionError: ONNX Runtime refuses it, or cannot run it.
        """
        try:
            session = open_session(content, _session_options(self._options))
            names = [output.name for output in session.get_outputs()]
        except RUNTIME_ERRORS as error:
            msg = f"ONNX Runtime refused the model with all results as outputs: {first_line(error)}"
            raise ModelExecutionError(msg, where=self._name) from error
        found = zip(names, self._run(session, inputs), strict=True)
        return {name: item for name, item in found if isinstance(item, np.ndarray) and not item.dtype.hasobject}

    def _run(self, session: Native, inputs: Sequence[np.ndarray]) -> list[Native]:
        try:
            feeds = {
                item.name: array.reshape(item.shape).view(item.dtype)
                for item, array in zip(self._inputs, inputs, strict=True)
            }
            return list(session.run(None, feeds))
        except RUNTIME_ERRORS as error:
            msg = f"ONNX Runtime could not run the model: {first_line(error)}"
            raise ModelExecutionError(msg, where=self._name) from error

    def _check_count(self, what: str, count: int, tensors: Sequence[TensorMeta]) -> None:
        if count != len(tensors):
            msg = f"the model has {count} {what}, its metadata describes {len(tensors)}"
            raise ModelExecutionError(msg, where=self._name)

    def _check_rank(self, what: str, argument: Native) -> None:
        """Refuse what the on-board runtime refuses: it gets an empty shape for scalars and for unknown ranks."""
        if not argument.shape:
            msg = f"shape is empty: {what} {argument.name!r} has no dimensions"
            raise ModelExecutionError(msg, where=self._name, hint="models need at least one dimension everywhere")

    def _input(self, argument: Native, tensor: TensorMeta) -> _Input:
        # The on-board runtime takes an open dimension for 1.
        shape = tuple(dim if isinstance(dim, int) and dim > 0 else 1 for dim in argument.shape)
        dtype = DTYPES.get(argument.type)
        if dtype is None or int(np.prod(shape)) * np.dtype(dtype).itemsize != tensor.size_bytes:
            told = f"{list(tensor.shape)} {tensor.dtype}"
            msg = f"input {argument.name!r} is {list(shape)} {argument.type}, its metadata says {told}"
            raise ModelExecutionError(msg, where=self._name, hint="both must take the same number of bytes")
        return _Input(argument.name, shape, dtype)


def new_options() -> Native:
    """Options of a session, as the library has them by default."""
    return onnxruntime.SessionOptions()


def open_session(content: bytes, options: Native) -> Native:
    """Load a model to run on the processor cores.

    Args:
        content: A file in ONNX format.
        options: Those of `new_options`, changed.

    Raises:
        Exception: One of `RUNTIME_ERRORS`; the library refuses the model.
    """
    return onnxruntime.InferenceSession(
        content,
        options,
        providers=["CPUExecutionProvider"],
        enable_fallback=0,  # it would print and try the same again
    )


def _session_options(options: FormatString) -> Native:
    made = new_options()
    # Spinning threads of one subgraph would take the cores from the next.
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A member of a bundle has no folder; a model with weights elsewhere must not reach files of the host.
    made.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    threads = options.get_int("num_threads", -1)
    if threads >= 0:
        made.intra_op_num_threads = threads
    level = options.get_int("log_level", -1)
    if level >= 0:
        made.log_severity_level = min(level, MAX_LOG_LEVEL)
    return made


def first_line(error: Exception) -> str:
    """What the library says of an error, in one line without its marks."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    line = line.rpartition("[ONNXRuntimeError] : ")[2]
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}…"


def _notes(options: FormatString) -> list[str]:
    notes = []
    if options.get_bool("gpu", default=False):
        notes.append("gpu=1: on the host the model runs on the processor cores")
    notes += [f"unknown option {key!r} is ignored" for key in options.option_names() if key not in HOST_OPTIONS]
    return notes
