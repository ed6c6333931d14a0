"""Run canonical graphs in ONNX Runtime as they are written, for numeric work such as calibration."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import InputError, ModelExecutionError
from synap_runtime_onnx.session import RUNTIME_ERRORS, Native, first_line, new_options, open_session

MAX_MODEL_BYTES = 2**31 - 1
"""Largest model that can be handed over in memory: the limit of the file format."""

LOG_ERRORS = 3
"""Least severity that is logged; warnings are about constants that an optimisation made superfluous."""

SMALL_BYTES = 1 << 16
"""Outputs up to this size are copied."""

SETTINGS = {
    # With it, pairs of QuantizeLinear and DequantizeLinear would become integer kernels, which saturate on processors
    # without the newer dot products and round biases on their own.
    "session.disable_quant_qdq": "1",
    # Two pairs in a row are a conversion between two types, and both of them round.
    "session.disable_double_qdq_remover": "1",
    # Waiting threads of one session would take the cores from the others.
    "session.intra_op.allow_spinning": "0",
}


_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
"""What the GNU C library has to give back freed memory; others do without it."""


class GraphSession:
    """A graph loaded into ONNX Runtime; its runs use one thread each, and several may be under way.

    Args:
        model: The graph; needs no more than what its nodes and constants say.

    Raises:
        InputError: The model is too large.
        ModelExecutionError: ONNX Runtime refuses it.
    """

    def __init__(self, model: ir.Model) -> None:
        self._name = str(model.graph.name or "graph")
        data = _serialized(model)
        try:
            self._session = open_session(data, _options())
        except RUNTIME_ERRORS as error:
            msg = f"ONNX Runtime refused the graph: {first_line(error)}"
            raise ModelExecutionError(msg, where=self._name) from error

    def __del__(self) -> None:
        """Give back the memory that the session had."""
        self._session = None
        _give_back()

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Run once.

        Args:
            feeds: The inputs by name, in their types and shapes.

        Returns:
            The outputs, in order.

        Raises:
            ModelExecutionError: An input is missing or does not fit, or an operator failed.
        """
        try:
            return [_own(np.asarray(array)) for array in self._session.run(None, dict(feeds))]
        except RUNTIME_ERRORS as error:
            msg = f"ONNX Runtime could not run the graph: {first_line(error)}"
            raise ModelExecutionError(msg, where=self._name) from error


def _give_back() -> None:
    """Return freed memory to the system.

    The C library keeps what a session had, separately for each thread that asked for it, and the next session runs on
    other threads: without this, some sessions one after the other take as much as if all were open. It takes about a
    millisecond.
    """
    if _trim is not None:
        _trim(0)


def _own(array: np.ndarray) -> np.ndarray:
    """An output that may be kept: it would hold on to the memory of all runs, so small ones are copied."""
    return array.copy() if array.nbytes <= SMALL_BYTES else array


def _serialized(model: ir.Model) -> bytes:
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    try:
        data: bytes = b"" if size > MAX_MODEL_BYTES else ir.to_proto(model).SerializeToString()
    except ValueError:  # what protobuf raises beyond its limit
        data = b""
    if not data or len(data) > MAX_MODEL_BYTES:
        msg = f"the constants of the graph take {size} bytes; at most {MAX_MODEL_BYTES} can be run in memory"
        raise InputError(msg, where=model.graph.name, hint="cut the model in the metafile with 'inputs'/'outputs'")
    return data


def _options() -> Native:
    made = new_options()
    made.intra_op_num_threads = 1
    made.inter_op_num_threads = 1
    # One plan of all buffers for each thread takes more memory than it saves time, with so many outputs.
    made.enable_mem_pattern = False
    made.log_severity_level = LOG_ERRORS
    for key, value in SETTINGS.items():
        made.add_session_config_entry(key, value)
    return made
