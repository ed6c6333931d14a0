"""Cells of long short-term memory, written out step by step."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import QuantParams
from synap_frontend_tflite.importer.integer_functions import IntegerFunctions, multiplied
from synap_frontend_tflite.importer.lstm_cell import Cell, Gate
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.sequences import Sequencer, noted

NODES_A_STEP = 32
"""Nodes of the largest cell at one step; one of integers has half as many again, for what its kernel does."""

NORMALIZATION_EPSILON = 1e-8
"""What the kernels add to the variance."""

LARGEST_UNIT = 32767 / 32768
"""The number that stands for 1 in an int16 of 15 bits behind the binary point."""


def unrolled(op: Operator, cell: Cell, sequence: Sequencer, value: ir.Value, *, backward: bool = False) -> ir.Value:
    """Run a cell over a sequence and keep its states.

    Args:
        op: The operator.
        cell: Its cell.
        sequence: How the operator's sequences lie.
        value: The sequence.
        backward: The last step comes first.

    Returns:
        The hidden state after each step, as a sequence of the operator.
    """
    sequence.check_unrolled(NODES_A_STEP)
    steps = _Steps(op, cell)
    rows = sequence.rows(value)
    sums = {name: sequence.split(steps.input_sum(gate, rows)) for name, gate in cell.gates.items()}
    order = range(sequence.steps)
    outputs = {step: steps({name: sums[name][step] for name in sums}) for step in (order[::-1] if backward else order)}
    op.memory.assign(cell.hidden[0], steps.hidden)
    op.memory.assign(cell.cell[0], steps.cell)
    return sequence.joined([outputs[step] for step in order])


class _Steps:
    """Emits step after step; holds the states in between."""

    def __init__(self, op: Operator, cell: Cell) -> None:
        self._op = op
        self._parts = cell
        self._rounding = cell.rounding
        self._functions = IntegerFunctions(op)
        self.hidden = cell.hidden[1]
        self.cell = cell.cell[1]

    def __call__(self, sums: dict[str, ir.Value]) -> ir.Value:
        """Take a step: the input's part of each gate's sum gives the new hidden state."""
        rounding = self._rounding
        forget = self._gate("forget", sums)
        change = self._gate("cell", sums)
        inputs = self._gate("input", sums) if "input" in sums else self._opposite(forget)
        kept = self._emit(rounding.cell, "Mul", forget, self.cell)
        added = self._emit(rounding.cell, "Mul", inputs, change)
        self.cell = self._clipped(self._emit(rounding.cell, "Add", kept, added), self._parts.cell_limits, rounding.cell)
        gate = self._gate("output", sums)
        hidden = self._emit(rounding.hidden, "Mul", gate, self._activated(self._parts.activation, self.cell))
        self.hidden = self._projected(hidden)
        return self.hidden

    def input_sum(self, gate: Gate, rows: ir.Value) -> ir.Value:
        """The input's part of a gate's sum at every step."""
        bias = gate.bias if gate.layer_norm is None else None
        return multiplied(self._op, rows, gate.weights, bias, gate.sum)

    def _emit(self, quant: QuantParams | None, op_type: str, *operands: ir.Value) -> ir.Value:
        return noted(self._op.emit(op_type, *operands), quant)

    def _gate(self, name: str, sums: dict[str, ir.Value]) -> ir.Value:
        gate = self._parts.gates[name]
        recurrent = multiplied(self._op, self.hidden, gate.recurrent, None, gate.sum)
        total = self._emit(gate.sum, "Add", sums[name], recurrent)
        if gate.peephole is not None:
            total = self._emit(gate.sum, "Add", total, self._emit(gate.sum, "Mul", self.cell, gate.peephole))
        if gate.layer_norm is not None:
            total = self._normalized(total, gate)
        return self._activated(self._parts.activation if name == "cell" else "SIGMOID", total)

    def _normalized(self, total: ir.Value, gate: Gate) -> ir.Value:
        operands = (total, gate.layer_norm, gate.bias)
        normalized = self._op.emit("LayerNormalization", *operands, axis=-1, epsilon=NORMALIZATION_EPSILON)
        return noted(normalized, self._rounding.gate)

    def _activated(self, name: str, value: ir.Value) -> ir.Value:
        if self._rounding.unit is not None:
            return self._functions(name.title(), value, self._rounding.unit)
        return self._op.emit("Sigmoid", value) if name == "SIGMOID" else self._op.activation(name, value)

    def _opposite(self, forget: ir.Value) -> ir.Value:
        one = self._op.build.constant(1.0 if self._rounding.unit is None else LARGEST_UNIT)
        return self._emit(self._rounding.unit, "Sub", one, forget)

    def _clipped(self, value: ir.Value, limits: tuple[float, float] | None, quant: QuantParams | None) -> ir.Value:
        if limits is None:
            return value
        return self._emit(quant, "Clip", value, *(self._op.build.constant(float(limit)) for limit in limits))

    def _projected(self, hidden: ir.Value) -> ir.Value:
        if self._parts.projection is None:
            return hidden
        weights, bias = self._parts.projection
        projected = multiplied(self._op, hidden, weights, bias, self._rounding.output)
        return self._clipped(projected, self._parts.projection_limits, self._rounding.output)
