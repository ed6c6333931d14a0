"""Plain recurrent layers: each step is a dense layer of the input and of the step before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tflite.importer.operator import ACTIVATIONS, Operator
from synap_frontend_tflite.importer.registry import UnsupportedError, operator
from synap_frontend_tflite.importer.sequences import Sequencer, linear, matrix, real_items, reshaped, state

NODES_A_STEP = 3


@operator("UNIDIRECTIONAL_SEQUENCE_RNN")
def unidirectional_sequence_rnn(op: Operator) -> ir.Value:
    """A sequence ``[batch, steps, inputs]``, or time first."""
    sequence = Sequencer.of(op, op.input(0), time_major=op.flag("timeMajor"))
    return _run(op, 1, sequence, op.input(0))


@operator("BIDIRECTIONAL_SEQUENCE_RNN")
def bidirectional_sequence_rnn(op: Operator) -> Sequence[ir.Value]:
    """Two layers side by side, one of which sees the last step first."""
    if any(op.optional(position) is not None for position in range(9, 12)):
        msg = "an auxiliary input"
        raise UnsupportedError(msg)
    sequence = Sequencer.of(op, op.input(0), time_major=op.flag("timeMajor"))
    forward = _run(op, 1, sequence, op.input(0))
    backward = _run(op, 5, sequence, op.input(0), backward=True)
    if not op.flag("mergeOutputs"):
        return forward, backward
    return [op.emit("Concat", forward, backward, axis=2)]


@operator("RNN")
def rnn(op: Operator) -> ir.Value:
    """One step."""
    value = op.input(0)
    batch, items = matrix(value)
    sequence = Sequencer(op, 1, batch, time_major=True)
    result = _run(op, 1, sequence, reshaped(op, value, (1, batch, items)))
    return reshaped(op, result, shape_of(result)[1:])


def _run(op: Operator, first: int, sequence: Sequencer, value: ir.Value, *, backward: bool = False) -> ir.Value:
    """One direction; weights, recurrent weights, bias and hidden state are the operands from ``first`` on."""
    weights, recurrent, bias = (op.input(first + i) for i in range(3))
    units = shape_of(bias)[0] if shape_of(bias) else 0
    name, hidden = state(op, first + 3, (sequence.batch, units))
    number = op.integer("fusedActivationFunction")
    activation = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else str(number)
    constant = all(v.const_value is not None for v in (weights, recurrent, bias))
    if sequence.steps > 1 and constant and activation == "TANH":
        return _fused(op, first, sequence, value, backward=backward)
    sequence.check_unrolled(NODES_A_STEP)
    sums = sequence.split(linear(op, sequence.rows(value), weights, bias))
    order = range(sequence.steps)
    outputs = {}
    for step in order[::-1] if backward else order:
        total = op.emit("Add", sums[step], linear(op, hidden, recurrent))
        hidden = outputs[step] = op.activation(activation, total)
    op.memory.assign(name, hidden)
    return sequence.joined([outputs[step] for step in order])


def _fused(op: Operator, first: int, sequence: Sequencer, value: ir.Value, *, backward: bool) -> ir.Value:
    """The operator of ONNX, whose kernel is faster than single steps and whose graph is small."""
    weights, recurrent, bias = (real_items(op.input(first + i)) for i in range(3))
    units = len(bias)
    name, hidden = state(op, first + 3, (sequence.batch, units))
    operands = [
        sequence.time_first(value),
        op.build.constant(weights[None]),
        op.build.constant(recurrent[None]),
        op.build.constant(np.concatenate([bias, np.zeros_like(bias)])[None]),
        None,
        reshaped(op, hidden, (1, sequence.batch, units)),
    ]
    attributes = {"hidden_size": units, "direction": "reverse" if backward else "forward"}
    every, last = op.build.emit_many("RNN", operands, attributes, results=2)
    op.memory.assign(name, reshaped(op, last, (sequence.batch, units)))
    return sequence.own_order(reshaped(op, every, (sequence.steps, sequence.batch, units)))
