"""Variables of a program, as its metadata describes them."""

from __future__ import annotations

import base64
import json

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantizedTensor, QuantParams, State, quant_of, quantize, states_of


def states_property(graph: ir.Model) -> dict[str, str]:
    """The property ``states`` of a program; none for a graph without variables.

    The inputs and outputs of variables come behind all others, in the order of the list.
    """
    inputs = {str(value.name): value for value in graph.graph.inputs}
    entries = [_entry(state, inputs[state.input]) for state in states_of(graph)]
    return {"states": json.dumps(entries, separators=(",", ":"))} if entries else {}


def _entry(state: State, value: ir.Value) -> dict[str, object]:
    items = _in_memory(state.initial, quant_of(value))
    stored = np.ascontiguousarray(items, items.dtype.newbyteorder("<"))
    return {
        "name": state.name,
        "dtype": str(items.dtype),
        "shape": list(items.shape),
        "initial": base64.b64encode(stored.tobytes()).decode("ascii"),
    }


def _in_memory(initial: ir.TensorProtocol, quant: QuantParams | None) -> np.ndarray:
    """Items of a variable in the type that its input has in memory."""
    if isinstance(initial, QuantizedTensor) and initial.quant == quant:
        return initial.integers
    real = np.asarray(initial.numpy())
    if quant is None:
        return real
    return real.astype(np.float16) if quant.dtype == "float16" else quantize(real, quant)
