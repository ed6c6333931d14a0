"""Operators that only move items or choose among them: they do to real numbers what they do to stored integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from synap_frontend_onnx.importer.quantized import INTEGER_TYPES, plain_integers

if TYPE_CHECKING:
    from synap_frontend_onnx.importer.call import Call

FIRST = (
    "DepthToSpace Expand Flatten Gather GatherElements GatherND Identity MaxPool Reshape Resize Slice SpaceToDepth",
    "Split Squeeze Tile Transpose Unsqueeze",
)
"""Operators that do so with their first operand. ``Resize`` also computes between items, and rounds what it gets."""

DATA_OPERANDS: dict[str, Sequence[int] | None] = {
    **dict.fromkeys((word for line in FIRST for word in line.split()), (0,)),
    "Concat": None,
    "Max": None,
    "Min": None,
    "Pad": (0, 2),
    "Where": (1, 2),
}
"""Places of the operands that hold such items; None for all."""


def data_operands(op_type: str, count: int) -> Sequence[int]:
    """Places of the operands of stored integers among so many; empty for an operator that computes with them."""
    found = DATA_OPERANDS.get(op_type, ())
    return range(count) if found is None else [place for place in found if place < count]


def real_operands(call: Call) -> list[ir.Value | None]:
    """Operands of such an operator as real numbers: constant integers among them become real, too."""
    quant = next(quant for quant in call.targets if quant is not None)
    operands = list(call.inputs)
    for place in data_operands(call.op_type, len(operands)):
        value = operands[place]
        if value is not None and call.quant(place) is None and value.const_value is not None:
            operands[place] = call.build.quantized_constant(plain_integers(value.const_value), quant)
    if call.op_type == "Pad" and call.optional(2) is None and call.text("mode", "constant") == "constant":
        zero = np.zeros((), INTEGER_TYPES[quant.dtype].numpy())
        operands[2:3] = [call.build.quantized_constant(zero, quant)]
    return operands
