"""Variable tensors: those that an operator of the main subgraph keeps from run to run, without handles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from synap_core.api import QuantParams
from synap_frontend_tflite.importer.constants import ITEM_TYPES
from synap_frontend_tflite.records import GraphRecord, TensorRecord

QUANTIZED_TYPES = ("int4", "int8", "uint8", "int16")
"""Types whose quantization makes a computed tensor one of real numbers; on others exporters leave it by mistake."""

MAX_VARIABLE_ITEMS = 1 << 24
"""Items a variable tensor may have: a small file can ask for any number."""


class VariableTensors:
    """The variable tensors of a file, by names that no other variable has.

    Args:
        graphs: Subgraphs of the file; the first is the main one.
    """

    def __init__(self, graphs: Sequence[GraphRecord]) -> None:
        used = {operator.variable or "" for graph in graphs for operator in graph.operators}
        self._tensors = graphs[0].tensors
        self._names = {
            index: unused_name(record.name or f"tensor_{index}", str(index), used)
            for index, record in enumerate(graphs[0].tensors)
            if record.variable
        }
        self._indices = {name: index for index, name in self._names.items()}

    def name(self, tensor: int) -> str | None:
        """Name of the variable that a tensor is; None for any other tensor."""
        return self._names.get(tensor)

    def quant(self, tensor: int) -> QuantParams | None:
        """What its integers mean."""
        record = self._tensors[tensor]
        return affine(record) if record.type.lower() in QUANTIZED_TYPES else None

    def first_value(self, name: str) -> np.ndarray | None:
        """What a runtime fills it with; None for another variable, or one of no known type or of no sensible size.

        Only an int8 tensor gets its zero point; all others get bytes of 0.
        """
        record = self._tensors[self._indices[name]] if name in self._indices else None
        if record is None or record.type not in ITEM_TYPES or math.prod(record.shape) > MAX_VARIABLE_ITEMS:
            return None
        zero = record.zero_point[0] if record.type == "INT8" and record.zero_point else 0
        return np.full(record.shape, zero, np.dtype(ITEM_TYPES[record.type]).newbyteorder("="))


def affine(record: TensorRecord) -> QuantParams | None:
    """Quantization of a tensor that is not constant, whatever its type is; None when it has none."""
    if not record.scale:
        return None
    return QuantParams(
        dtype=record.type.lower(),
        scheme="asymmetric_affine",
        scale=record.scale,
        zero_point=record.zero_point,
        axis=record.axis if len(record.scale) > 1 else None,
    )


def unused_name(name: str, key: str, used: set[str]) -> str:
    """The name, with the key behind it as often as it takes to make it an unused one; it is used from then on."""
    while name in used:
        name = f"{name}#{key}"
    used.add(name)
    return name
