"""What the recurrent kernels of integers compute otherwise than real numbers that are rounded do, as nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantParams, quant_of, set_activation
from synap_frontend_tflite.importer.fixed_point import BITS, LARGEST, LEAST, MOST_INTEGER_BITS, second_shift, table
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.sequences import linear, noted


class IntegerFunctions:
    """Emits a sigmoid or hyperbolic tangent of int16 as a table of what the kernel gives for each integer.

    The kernel's polynomials are up to 6 and 12 steps of ``2**-15`` off. Each step of a sequence feeds that back, so
    that results of 8 bits would now and then be two units off. The nodes are annotated as the function they stand for.
    """

    def __init__(self, op: Operator) -> None:
        self._op = op
        self._tables: dict[tuple[str, int], ir.Value] = {}

    def __call__(self, function: str, value: ir.Value, unit: QuantParams | None) -> ir.Value:
        """Apply ``Sigmoid`` or ``Tanh``.

        Args:
            function: The operator that does it for real numbers.
            value: Quantized to int16, or real numbers.
            unit: Quantization of the result, 15 bits behind the point; None for real numbers.
        """
        bits = _integer_bits(quant_of(value))
        if unit is None or bits is None or value.const_value is not None:
            return noted(self._op.emit(function, value), unit)
        op = self._op
        steps = op.emit("Mul", value, op.build.constant(math.ldexp(1.0, BITS - bits)))
        # Integers are within the ends; real numbers need not be.
        cut = op.emit("Clip", steps, op.build.constant(float(LEAST)), op.build.constant(float(LARGEST)))
        place = op.emit("Cast", cut, to=int(ir.DataType.INT64))
        found = op.emit("Gather", self._table(function, bits, unit), place, axis=0)
        _name((steps, cut, place, found), function)
        return noted(found, unit)

    def _table(self, function: str, bits: int, unit: QuantParams) -> ir.Value:
        key = function, bits
        if key not in self._tables:
            self._tables[key] = self._op.build.quantized_constant(table(function, bits), unit)
        return self._tables[key]


class Ties(Enum):
    """Where the second of two roundings takes halves to."""

    AWAY = "away from zero"
    UP = "up"


def multiplied(
    op: Operator,
    rows: ir.Value,
    weights: ir.Value,
    bias: ir.Value | None,
    quant: QuantParams | None,
    ties: Ties = Ties.AWAY,
) -> ir.Value:
    """``rows @ weights.T + bias`` as the kernels of integers round it: twice.

    The first rounding leaves some bits behind the point. What it takes to half of a step or above goes on from there:
    all that is less than half a unit of those bits below the half. So results are moved by as much before they are
    rounded once.

    Args:
        op: The operator.
        rows: ``[rows, inputs]``.
        weights: ``[units, inputs]``.
        bias: ``[units]``.
        quant: Quantization of the result; None for real numbers, which are not rounded.
        ties: Of the second rounding.

    Source: TFLite ``MultiplyByQuantizedMultiplier`` (kernels/internal/common.h); ties of the basic kernel are observed
    of LiteRT 2.
    """
    total = linear(op, rows, weights, bias)
    scales = [_scale(quant_of(value)) for value in (rows, weights)]
    step = _scale(quant)
    if total.const_value is not None or step is None or scales[0] is None or scales[1] is None:
        return noted(total, quant)
    ratio = scales[0] * scales[1] / step
    shift = second_shift(ratio)
    unit = math.ldexp(step, -shift)
    up = unit / 2 if shift and ties is Ties.UP else 0.0
    if shift and ties is Ties.AWAY:
        total = op.emit("Shrink", total, bias=-unit / 2, lambd=0.0)
        # So that it joins the product, as a term of the sum does.
        _name((total,), "Add")
    if math.frexp(ratio)[0] == 0.5:
        # A power of two gives many ties in the first rounding, which go up: half of what is between two results does.
        up += unit / 4
    return noted(op.emit("Add", total, op.build.constant(up)) if up else total, quant)


def _name(values: Sequence[ir.Value], function: str) -> None:
    """Say which operator the nodes that compute values are together."""
    set_activation([node for node in (value.producer() for value in values) if node is not None], function)


def _scale(quant: QuantParams | None) -> float | None:
    """The one step that all items have."""
    return None if quant is None or len(quant.scale) != 1 else float(np.float32(quant.scale[0]))


def _integer_bits(quant: QuantParams | None) -> int | None:
    """Bits in front of the point of int16; None where the kernel has none or the point is elsewhere."""
    scale = _scale(quant)
    if quant is None or scale is None or quant.dtype != "int16" or any(quant.zero_point):
        return None
    fraction, exponent = math.frexp(scale)
    bits = exponent - 1 + BITS
    return bits if fraction == 0.5 and 0 <= bits <= MOST_INTEGER_BITS else None
