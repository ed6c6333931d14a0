"""The parts of a long short-term memory cell, as the operators of the schema list them, and their rounding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantizedTensor, QuantParams, quant_of
from synap_frontend_tflite.importer.operator import ACTIVATIONS, Operator
from synap_frontend_tflite.importer.registry import UnsupportedError
from synap_frontend_tflite.importer.sequences import expect_shape, matrix, state

GATES = ("input", "forget", "cell", "output")
"""Order in which operands list the gates."""

INTEGER_INTERMEDIATES = 5
"""Intermediate results that the kernel with int16 gates has: one per gate, and the hidden state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Where an operator has its operands; four gates in a row where one position is given."""

    input_weights: int = 1
    recurrent_weights: int = 5
    peepholes: int = 9
    biases: int = 12
    projection: int = 16
    hidden_state: int = 18
    cell_state: int = 19
    layer_norm: int | None = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Weights of one gate: ``[cells, inputs]``, ``[cells, outputs]``, the others ``[cells]``.

    Attributes:
        weights: For the input.
        recurrent: For the hidden state.
        peephole: For the cell state, item by item; ``[batch, cells]`` where the items of a batch have their own.
        bias: Added in front of the activation, behind the layer normalization where there is one.
        layer_norm: Factors of the layer normalization.
        sum: Rounding of what goes into the activation, or the layer normalization.
    """

    weights: ir.Value
    recurrent: ir.Value
    bias: ir.Value | None
    peephole: ir.Value | None
    layer_norm: ir.Value | None
    sum: QuantParams | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """Where an integer kernel rounds; None everywhere for one of real numbers.

    Attributes:
        gate: Input of an activation.
        unit: Output of an activation, -1 to 1.
        cell: The cell state.
        hidden: The hidden state in front of the projection.
        output: The hidden state.
    """

    gate: QuantParams | None = None
    unit: QuantParams | None = None
    cell: QuantParams | None = None
    hidden: QuantParams | None = None
    output: QuantParams | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of one direction.

    Attributes:
        gates: By name; without ``input`` for a cell whose input gate is the opposite of the forget gate.
        projection: Weights ``[outputs, cells]``, and bias, of the projection of the hidden state.
        hidden: The variable of the hidden state, ``[batch, outputs]``, and what it holds.
        cell: That of the cell state, ``[batch, cells]``.
        activation: Of the cell gate and the cell state.
        cell_limits: What the cell state is clipped to.
        projection_limits: What the projection is clipped to.
        rounding: Where it rounds.
    """

    gates: Mapping[str, Gate]
    projection: tuple[ir.Value, ir.Value | None] | None
    hidden: tuple[str, ir.Value]
    cell: tuple[str, ir.Value]
    activation: str
    cell_limits: tuple[float, float] | None
    projection_limits: tuple[float, float] | None
    rounding: Rounding

    @property
    def is_plain(self) -> bool:
        """Whether it is the cell of ONNX, but for a missing input gate: real numbers, no projection, no limits."""
        return (
            self.rounding.cell is None
            and self.projection is None
            and self.cell_limits is None
            and self.activation == "TANH"
            and all(gate.layer_norm is None for gate in self.gates.values())
        )


def read_cell(op: Operator, positions: Positions, batch: int) -> Cell:
    """Collect the parts of a cell.

    Raises:
        UnsupportedError: Parts are missing or do not fit together.
    """
    gates = _gates(op, positions)
    cells, outputs = matrix(gates["output"].recurrent)
    rounding = _rounding(op, positions)
    for gate in gates.values():
        _check(gate, cells, outputs)
    if is_integer(op):
        gates = {name: replace(gate, peephole=_integer_peephole(op, gate, batch)) for name, gate in gates.items()}
    return Cell(
        gates=gates,
        projection=_projection(op, positions.projection),
        hidden=state(op, positions.hidden_state, (batch, outputs)),
        cell=state(op, positions.cell_state, (batch, cells)),
        activation=_activation(op) if rounding.cell is None else "TANH",
        cell_limits=_limits(op.number("cellClip"), rounding.cell, centred=True),
        projection_limits=_limits(op.number("projClip"), rounding.output, centred=False),
        rounding=rounding,
    )


def _activation(op: Operator) -> str:
    number = op.integer("fusedActivationFunction")
    return ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else str(number)


def _gates(op: Operator, positions: Positions) -> dict[str, Gate]:
    sums = _sums(op)
    normalized = positions.layer_norm is not None and op.optional(positions.layer_norm + 1) is not None
    peepholes = {"input": 0, "forget": 1, "output": 2}
    found = {}
    for index, name in enumerate(GATES):
        if name == "input" and op.optional(positions.input_weights) is None:
            continue
        found[name] = Gate(
            weights=op.input(positions.input_weights + index),
            recurrent=op.input(positions.recurrent_weights + index),
            bias=op.optional(positions.biases + index),
            peephole=op.optional(positions.peepholes + peepholes[name]) if name in peepholes else None,
            layer_norm=op.input((positions.layer_norm or 0) + index) if normalized else None,
            sum=sums[index] if normalized else _fixed_point(op, 12),
        )
    return found


def _check(gate: Gate, cells: int, outputs: int) -> None:
    expect_shape("recurrent weights", gate.recurrent, (cells, outputs))
    if matrix(gate.weights)[0] != cells:
        msg = f"{matrix(gate.weights)[0]} rows of weights for {cells} cells"
        raise UnsupportedError(msg)
    for what, value in (("a bias", gate.bias), ("a peephole", gate.peephole), ("a factor", gate.layer_norm)):
        if value is not None:
            expect_shape(what, value, (cells,))


def _integer_peephole(op: Operator, gate: Gate, batch: int) -> ir.Value | None:
    """The peephole as the kernel of integers applies it: as though there were as many cells as outputs.

    So with a projection the last cells get none. Where all of a batch take a step together, that is the last cells of
    them all, behind each other.

    Source: TFLite ``CalculateLstmGateInteger8x8_16`` (kernels/lstm_eval.cc).
    """
    cells, outputs = matrix(gate.recurrent)
    stored = None if gate.peephole is None else gate.peephole.const_value
    if not isinstance(stored, QuantizedTensor) or outputs >= cells:
        return gate.peephole
    together = batch if op.type == "LSTM" or op.flag("timeMajor") else 1
    items = np.zeros(together * cells, stored.integers.dtype)
    items[: together * outputs] = np.tile(stored.integers[:outputs], together)
    return op.build.quantized_constant(items.reshape(together, cells), stored.quant)


def _projection(op: Operator, position: int) -> tuple[ir.Value, ir.Value | None] | None:
    weights = op.optional(position)
    return None if weights is None else (weights, op.optional(position + 1))


def is_integer(op: Operator) -> bool:
    """Whether the operator's kernel is the one of integers."""
    return quant_of(op.input(0)) is not None


def _rounding(op: Operator, positions: Positions) -> Rounding:
    if not is_integer(op):
        return Rounding()
    if len(op.intermediates) != INTEGER_INTERMEDIATES:
        msg = f"an integer kernel with {len(op.intermediates)} intermediate results; {INTEGER_INTERMEDIATES} are needed"
        raise UnsupportedError(msg)
    output, cell = (quant_of(op.input(p)) for p in (positions.hidden_state, positions.cell_state))
    if output is None or cell is None:
        msg = "a state without quantization"
        raise UnsupportedError(msg)
    hidden = op.intermediates[-1]
    return Rounding(
        gate=_fixed_point(op, 12),
        unit=_fixed_point(op, 15),
        cell=cell,
        hidden=output if hidden is None else _like(output.dtype, hidden),
        output=output,
    )


def _sums(op: Operator) -> Sequence[QuantParams | None]:
    """Rounding in front of the layer normalization of each gate."""
    if not is_integer(op):
        return (None,) * len(GATES)
    return [None if quant is None else _like("int16", quant) for quant in op.intermediates[: len(GATES)]]


def _like(dtype: str, quant: QuantParams) -> QuantParams:
    return QuantParams(dtype=dtype, scheme=quant.scheme, scale=quant.scale[:1], zero_point=quant.zero_point[:1])


def _fixed_point(op: Operator, bits: int) -> QuantParams | None:
    """int16 with so many bits behind the binary point, in a kernel of integers."""
    if not is_integer(op):
        return None
    return QuantParams(dtype="int16", scheme="asymmetric_affine", scale=(math.ldexp(1, -bits),), zero_point=(0,))


def _limits(clip: float, quant: QuantParams | None, *, centred: bool) -> tuple[float, float] | None:
    """Smallest and largest value; the integer kernels clip integers at a whole number of steps from 0.

    Args:
        clip: As the options have it; 0 or less does not clip.
        quant: Of what is clipped.
        centred: The integer 0 stands for 0.0; otherwise the zero point is disregarded, as the kernels do it.
    """
    if not clip > 0:
        return None
    if quant is None:
        return -clip, clip
    largest = 127 if quant.dtype == "int8" else 32767
    units = min(int(clip / quant.scale[0]), largest)
    point = 0 if centred else quant.zero_point[0]
    return (-units - point) * quant.scale[0], (units - point) * quant.scale[0]
