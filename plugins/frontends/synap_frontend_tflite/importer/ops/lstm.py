"""Long short-term memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tflite.importer.integer_functions import IntegerFunctions, Ties, multiplied
from synap_frontend_tflite.importer.lstm_cell import Cell, Gate, Positions, is_integer, read_cell
from synap_frontend_tflite.importer.lstm_steps import unrolled
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.registry import UnsupportedError, operator
from synap_frontend_tflite.importer.sequences import (
    Sequencer,
    matrix,
    noted,
    real_items,
    reshaped,
    split,
    state,
)

FULL, BASIC = 0, 1
"""Kernels of ``LSTM``."""

FORWARD = Positions(layer_norm=None, hidden_state=35, cell_state=36)
BACKWARD = Positions(
    input_weights=18,
    recurrent_weights=22,
    peepholes=26,
    biases=29,
    projection=33,
    hidden_state=37,
    cell_state=38,
    layer_norm=None,
)
"""Operands of ``BIDIRECTIONAL_SEQUENCE_LSTM``."""

AUXILIARY = range(39, 48)
"""Its operands that link it with another one."""

FUSED_ORDER = ("input", "output", "forget", "cell")
"""Order of the gates in ONNX."""


@operator("UNIDIRECTIONAL_SEQUENCE_LSTM")
def unidirectional_sequence_lstm(op: Operator) -> ir.Value:
    """A sequence ``[batch, steps, inputs]``, or time first, through one cell."""
    if getattr(op.options, "diagonalRecurrentTensors", False):
        msg = "diagonal recurrent weights"
        raise UnsupportedError(msg)
    sequence = Sequencer.of(op, op.input(0), time_major=op.flag("timeMajor"))
    return _run(op, Positions(), sequence, op.input(0))


@operator("BIDIRECTIONAL_SEQUENCE_LSTM")
def bidirectional_sequence_lstm(op: Operator) -> Sequence[ir.Value]:
    """A sequence through two cells, one of which sees the last step first."""
    if any(op.optional(position) is not None for position in AUXILIARY):
        msg = "an auxiliary input"
        raise UnsupportedError(msg)
    if is_integer(op):
        msg = "no kernel of integers is known"
        raise UnsupportedError(msg)
    sequence = Sequencer.of(op, op.input(0), time_major=op.flag("timeMajor"))
    forward = _run(op, FORWARD, sequence, op.input(0))
    backward = _run(op, BACKWARD, sequence, op.input(0), backward=True)
    if not op.flag("mergeOutputs"):
        return forward, backward
    return [op.emit("Concat", forward, backward, axis=2)]


@operator("LSTM")
def lstm(op: Operator) -> ir.Value | Sequence[ir.Value]:
    """One step of a cell."""
    if op.integer("kernelType") == BASIC:
        return _basic(op)
    value = op.input(0)
    batch, items = matrix(value)
    sequence = Sequencer(op, 1, batch, time_major=True)
    result = _run(op, Positions(), sequence, reshaped(op, value, (1, batch, items)))
    return reshaped(op, result, (batch, shape_of(result)[2]))


def _run(
    op: Operator, positions: Positions, sequence: Sequencer, value: ir.Value, *, backward: bool = False
) -> ir.Value:
    cell = read_cell(op, positions, sequence.batch)
    if cell.is_plain and all(_is_constant(gate) for gate in cell.gates.values()):
        return _fused(op, cell, sequence, value, backward=backward)
    return unrolled(op, cell, sequence, value, backward=backward)


def _is_constant(gate: Gate) -> bool:
    parts = (gate.weights, gate.recurrent, gate.bias, gate.peephole)
    return all(part is None or part.const_value is not None for part in parts)


def _fused(op: Operator, cell: Cell, sequence: Sequencer, value: ir.Value, *, backward: bool) -> ir.Value:
    """The operator of ONNX, whose kernel is faster than single steps and whose graph is small."""
    (hidden_name, hidden), (cell_name, state_value) = cell.hidden, cell.cell
    cells = shape_of(hidden)[1]

    def stacked(part: str, order: Sequence[str] = FUSED_ORDER) -> np.ndarray:
        return np.concatenate([_items(cell, name, part, cells) for name in order])

    bias = stacked("bias")
    peephole = cell.gates["output"].peephole
    operands = [
        sequence.time_first(value),
        op.build.constant(stacked("weights")[None]),
        op.build.constant(stacked("recurrent")[None]),
        op.build.constant(np.concatenate([bias, np.zeros_like(bias)])[None]),
        None,
        reshaped(op, hidden, (1, sequence.batch, cells)),
        reshaped(op, state_value, (1, sequence.batch, cells)),
        None if peephole is None else op.build.constant(stacked("peephole", FUSED_ORDER[:3])[None]),
    ]
    attributes = {"hidden_size": cells, "direction": "reverse" if backward else "forward"}
    every, last, last_cell = op.build.emit_many("LSTM", operands, attributes, results=3)
    op.memory.assign(hidden_name, reshaped(op, last, (sequence.batch, cells)))
    op.memory.assign(cell_name, reshaped(op, last_cell, (sequence.batch, cells)))
    return sequence.own_order(reshaped(op, every, (sequence.steps, sequence.batch, cells)))


def _items(cell: Cell, name: str, part: str, cells: int) -> np.ndarray:
    """Items of a part of a gate, 0 for one that is absent."""
    if name not in cell.gates:
        # An input gate of 1 - sigmoid(x), which is sigmoid(-x).
        return -_items(cell, "forget", part, cells)
    value = getattr(cell.gates[name], part)
    return np.zeros(cells, np.float32) if value is None else real_items(value)


def _basic(op: Operator) -> Sequence[ir.Value]:
    """The cell whose four gates are one dense layer of input and hidden state.

    Results: hidden state, cell state, and what the kernel leaves in its working memory: the operands of the dense layer
    and its result.
    """
    value, weights, bias = op.input(0), op.input(2), op.input(3)
    batch, _ = matrix(value)
    cells = matrix(weights)[0] // 4
    (hidden_name, hidden), (cell_name, cell) = (state(op, position, (batch, cells)) for position in (1, 4))
    rounding = [result.quant for result in op.outputs]
    if len(rounding) != 4:
        msg = f"{len(rounding)} results; the basic kernel has 4"
        raise UnsupportedError(msg)
    joined = noted(op.emit("Concat", value, hidden, axis=1), rounding[2])
    functions = IntegerFunctions(op)
    sums = multiplied(op, joined, weights, bias, rounding[3], Ties.UP)
    unit = None if rounding[3] is None else replace(rounding[3], scale=(2.0**-15,))
    names = ("Sigmoid", "Tanh", "Sigmoid", "Sigmoid")
    inputs, change, forget, output = (
        functions(name, part, unit) for name, part in zip(names, split(op, sums, 1, 4), strict=True)
    )
    added, kept = (noted(op.emit("Mul", *pair), rounding[1]) for pair in ((inputs, change), (forget, cell)))
    new = noted(op.emit("Add", added, kept), rounding[1])
    result = noted(op.emit("Mul", output, functions("Tanh", new, unit)), rounding[0])
    op.memory.assign(hidden_name, result)
    op.memory.assign(cell_name, new)
    return result, new, joined, sums
