"""Serialize the canonical graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synap_core.api import Conversion, serialize, states_of, to_qdq

MODEL_FILE = "model.onnx"
STATE_FILE = "model_state.npz"


def write(conversion: Conversion, out_dir: Path) -> None:
    """Write the canonical graph as an ``.onnx`` file; a quantized one with QuantizeLinear and DequantizeLinear nodes.

    A model that was quantized here takes and gives real numbers, and its quantization is listed beside it. The first
    values of variables go into a file of their own, under the names of the inputs that take them.

    Raises:
        InputError: The file would be larger than the format allows.
    """
    if conversion.graph is None:
        msg = "the conversion has no graph"
        raise ValueError(msg)
    model = to_qdq(conversion.graph, integer_boundary=not conversion.real_boundary)
    data = serialize(model)
    states = states_of(model)
    if states:
        first = {state.input: state.initial.numpy() for state in states}
        np.savez(out_dir / STATE_FILE, **first)  # type: ignore[arg-type]  # the names are no parameters of savez
    for name, text in conversion.listings.items():
        (out_dir / name).write_text(text, encoding="utf-8")
    (out_dir / MODEL_FILE).write_bytes(data)
