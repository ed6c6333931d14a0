"""Recurrent models of one ``.tflite`` operator: of real numbers, with integer weights, and of integers throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.support.tflite_models import ModelBuilder

TANH = schema.ActivationFunctionType.TANH
RELU6 = schema.ActivationFunctionType.RELU6

CELL_SCALE = 2.0**-11
INPUT_SCALE, WEIGHT_SCALE, HIDDEN_SCALE, INNER_SCALE, NORM_SCALE = 1 / 64, 1 / 100, 1 / 128, 1 / 110, 2.0**-14
"""Of the integer models."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """One recurrent operator."""

    operator: str = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    batch: int = 1
    steps: int = 4
    inputs: int = 3
    cells: int = 5
    outputs: int = 5
    time_major: bool = False
    coupled: bool = False
    peephole: bool = False
    layer_norm: bool = False
    projection: bool = False
    projection_bias: bool = False
    cell_clip: float = 0.0
    projection_clip: float = 0.0
    activation: int = TANH
    merged: bool = True
    weights: str = "float32"
    """Element type of the weights; int8 with float32 inputs is what the kernels call hybrid."""

    @property
    def sequence(self) -> list[int]:
        if self.operator == "LSTM":
            return [self.batch, self.inputs]
        return [self.steps, self.batch, self.inputs] if self.time_major else [self.batch, self.steps, self.inputs]

    def outcome(self, width: int) -> list[int]:
        return [*self.sequence[:-1], width]


class _Maker:
    """Adds the operands of a cell to a model."""

    def __init__(self, net: Net, rng: np.random.Generator, *, integer: bool) -> None:
        self.net = net
        self.rng = rng
        self.integer = integer
        self.builder = ModelBuilder()

    def matrix(self, rows: int, columns: int) -> int:
        return self._weights("weights", self.rng.normal(0, 0.5, size=(rows, columns)))

    def _weights(self, name: str, values: np.ndarray) -> int:
        if self.net.weights == "float32":
            return self.builder.constant(name, values.astype(np.float32))
        # One scale for all: that of an integer bias follows from it.
        stored = np.clip(np.rint(values / WEIGHT_SCALE), -127, 127).astype(np.int8)
        return self.builder.tensor(name, values.shape, "int8", data=stored, scale=WEIGHT_SCALE)

    def vector(self, size: int, *, scale: float, dtype: str = "int32", centre: float = 0.0) -> int:
        values = self.rng.normal(centre, 0.3, size=size)
        if not self.integer:
            return self.builder.constant("vector", values.astype(np.float32))
        stored = np.rint(values / scale).astype(dtype)
        return self.builder.tensor("vector", [size], dtype, data=stored, scale=scale)

    def peephole(self, size: int) -> int:
        if self.integer:
            return self.vector(size, scale=2.0**-14, dtype="int16")
        return self._weights("peephole", self.rng.normal(0, 0.3, size=size))

    def state(self, name: str, size: int, dtype: str, scale: float, zero_point: int = 0) -> int:
        if not self.integer:
            return self.builder.tensor(name, [self.net.batch, size], variable=True)
        return self.builder.tensor(
            name, [self.net.batch, size], dtype, scale=scale, zero_point=zero_point, variable=True
        )

    def direction(self) -> tuple[list[int], list[int], list[int]]:
        """Operands of a cell: weights, states, layer normalization."""
        net = self.net
        missing = 1 if net.coupled else 0
        gates = range(4 - missing)
        weights = [-1] * missing + [self.matrix(net.cells, net.inputs) for _ in gates]
        weights += [-1] * missing + [self.matrix(net.cells, net.outputs) for _ in gates]
        peepholes = [self.peephole(net.cells) for _ in range(3 - missing)] if net.peephole else [-1] * (3 - missing)
        weights += [-1] * missing + peepholes
        bias_scale = NORM_SCALE / 1024 if net.layer_norm else INPUT_SCALE * WEIGHT_SCALE
        biases = [self.vector(net.cells, scale=bias_scale) for _ in gates]
        weights += [-1] * missing + biases
        weights += [self.matrix(net.outputs, net.cells) if net.projection else -1]
        projection_bias = net.projection and net.projection_bias
        weights += [self.vector(net.outputs, scale=INNER_SCALE * WEIGHT_SCALE) if projection_bias else -1]
        states = [
            self.state("hidden", net.outputs, "int8", HIDDEN_SCALE, 4),
            self.state("cell", net.cells, "int16", CELL_SCALE),
        ]
        norms = [-1] * 4
        if net.layer_norm:
            norms = [-1] * missing + [
                self.vector(net.cells, scale=NORM_SCALE, dtype="int16", centre=0.8) for _ in gates
            ]
        return weights, states, norms


def options_of(net: Net) -> Any:
    names = {
        "LSTM": schema.LSTMOptionsT,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": schema.UnidirectionalSequenceLSTMOptionsT,
        "BIDIRECTIONAL_SEQUENCE_LSTM": schema.BidirectionalSequenceLSTMOptionsT,
    }
    options = names[net.operator]()
    options.fusedActivationFunction = net.activation
    options.cellClip, options.projClip = net.cell_clip, net.projection_clip
    if net.operator != "LSTM":
        options.timeMajor = net.time_major
    if net.operator == "BIDIRECTIONAL_SEQUENCE_LSTM":
        options.mergeOutputs = net.merged
    return options


def float_model(net: Net, rng: np.random.Generator) -> bytes:
    maker = _Maker(net, rng, integer=False)
    builder = maker.builder
    x = builder.tensor("x", net.sequence)
    weights, states, norms = maker.direction()
    if net.operator == "BIDIRECTIONAL_SEQUENCE_LSTM":
        others, other_states, _ = maker.direction()
        widths = [2 * net.outputs] if net.merged else [net.outputs] * 2
        results = [builder.tensor(f"y{i}", net.outcome(width)) for i, width in enumerate(widths)]
        operands = [x, *weights, *others, *states, *other_states, *[-1] * 9]
        builder.operator(net.operator, operands, results, options_of(net))
        return builder.finish([x], results)
    y = builder.tensor("y", net.outcome(net.outputs))
    operands = [x, *weights, *states, *(norms if net.layer_norm else [])]
    builder.operator(net.operator, operands, [y], options_of(net))
    return builder.finish([x], [y])


def integer_model(net: Net, rng: np.random.Generator) -> bytes:
    """Of int8, with an int16 cell state: what a converter makes of a quantized model."""
    maker = _Maker(net, rng, integer=True)
    builder = maker.builder
    x = builder.tensor("x", net.sequence, "int8", scale=INPUT_SCALE, zero_point=-7)
    weights, states, norms = maker.direction()
    y = builder.tensor("y", net.outcome(net.outputs), "int8", scale=HIDDEN_SCALE, zero_point=4)
    gate_scale = 2.0**-11 if net.layer_norm else None
    kind = "int16" if net.layer_norm else "float32"
    intermediates = [builder.tensor(f"gate{i}", [0], kind, scale=gate_scale) for i in range(4)]
    hidden = (INNER_SCALE, -3) if net.projection else (HIDDEN_SCALE, 4)
    intermediates.append(builder.tensor("inner", [0], "int8", scale=hidden[0], zero_point=hidden[1]))
    operands = [x, *weights, *states, *norms]
    builder.operator(net.operator, operands, [y], options_of(net), intermediates=intermediates)
    return builder.finish([x], [y])


def basic_model(rng: np.random.Generator, *, integer: bool, inputs: int = 3, cells: int = 5) -> bytes:
    """The oldest kernel: one dense layer; its integers are uint8 inside, with an int16 cell state."""
    builder = ModelBuilder()
    matrix = rng.normal(0, 0.5, size=(4 * cells, inputs + cells))
    vector = rng.normal(0, 0.3, size=4 * cells)
    byte: dict[str, Any] = {"dtype": "uint8", "scale": 1 / 128, "zero_point": 128} if integer else {}
    cell: dict[str, Any] = {"dtype": "int16", "scale": CELL_SCALE} if integer else {}
    gates: dict[str, Any] = {"dtype": "int16", "scale": 2.0**-12} if integer else {}
    x = builder.tensor("x", [1, inputs], **byte)
    if integer:
        stored = np.clip(np.rint(matrix * 64) + 125, 0, 255).astype(np.uint8)
        weights = builder.tensor("w", matrix.shape, "uint8", data=stored, scale=1 / 64, zero_point=125)
        stored = np.rint(vector * 128 * 64).astype(np.int32)
        bias = builder.tensor("b", vector.shape, "int32", data=stored, scale=1 / 128 / 64)
    else:
        weights, bias = (builder.constant(n, a.astype(np.float32)) for n, a in (("w", matrix), ("b", vector)))
    hidden = builder.tensor("hidden", [1, cells], variable=True, **byte)
    state = builder.tensor("state", [1, cells], variable=True, **cell)
    results = [
        builder.tensor("y", [1, cells], **byte),
        builder.tensor("new state", [1, cells], **cell),
        builder.tensor("joined", [1, inputs + cells], **byte),
        builder.tensor("gates", [1, 4 * cells], **gates),
    ]
    options = schema.LSTMOptionsT()
    options.kernelType = schema.LSTMKernelType.BASIC
    options.fusedActivationFunction = TANH
    builder.operator("LSTM", [x, hidden, weights, bias, state], results, options, version=2)
    return builder.finish([x], results)
