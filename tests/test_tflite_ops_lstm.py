"""Long short-term memory: of real numbers, with integer weights, and of integers throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synap_core.graph.annotations import quant_of, states_of
from tests.support.canonical import opaque_reasons
from tests.support.streaming import follows, imported_as_is
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


def _options(net: Net) -> Any:
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
        builder.operator(net.operator, operands, results, _options(net))
        return builder.finish([x], results)
    y = builder.tensor("y", net.outcome(net.outputs))
    operands = [x, *weights, *states, *(norms if net.layer_norm else [])]
    builder.operator(net.operator, operands, [y], _options(net))
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
    builder.operator(net.operator, operands, [y], _options(net), intermediates=intermediates)
    return builder.finish([x], [y])


def _floats(net: Net, rng: np.random.Generator, count: int = 3) -> list[list[np.ndarray]]:
    return [[rng.normal(size=net.sequence).astype(np.float32)] for _ in range(count)]


def _bytes(net: Net, rng: np.random.Generator, count: int = 3) -> list[list[np.ndarray]]:
    return [[rng.integers(-128, 128, net.sequence).astype(np.int8)] for _ in range(count)]


PLAIN = [
    pytest.param(Net(), id="plain"),
    pytest.param(Net(time_major=True), id="time major"),
    pytest.param(Net(batch=2), id="batch of two in the sequence"),
    pytest.param(Net(steps=1), id="one step"),
    pytest.param(Net(coupled=True), id="coupled gates"),
    pytest.param(Net(peephole=True), id="peepholes"),
    pytest.param(Net(peephole=True, coupled=True), id="peepholes and coupled gates"),
    pytest.param(Net(operator="LSTM"), id="one step, own operator"),
    pytest.param(Net(operator="LSTM", coupled=True), id="one step, coupled gates"),
    pytest.param(Net(operator="BIDIRECTIONAL_SEQUENCE_LSTM"), id="both directions"),
    pytest.param(Net(operator="BIDIRECTIONAL_SEQUENCE_LSTM", merged=False, time_major=True), id="both, two results"),
]
UNROLLED = [
    pytest.param(Net(projection=True, outputs=4), id="projection"),
    pytest.param(Net(projection=True, projection_bias=True, outputs=4, projection_clip=0.2), id="clipped projection"),
    pytest.param(Net(cell_clip=0.3), id="clipped cell"),
    pytest.param(Net(layer_norm=True), id="layer normalization"),
    pytest.param(Net(layer_norm=True, coupled=True, peephole=True), id="layer normalization, coupled, peepholes"),
    pytest.param(Net(activation=RELU6, time_major=True), id="other activation"),
    pytest.param(Net(operator="LSTM", projection=True, outputs=4, layer_norm=True), id="one step, own operator"),
    pytest.param(Net(operator="BIDIRECTIONAL_SEQUENCE_LSTM", cell_clip=0.3, time_major=True), id="both directions"),
]


@pytest.mark.parametrize("net", PLAIN)
def test_plain_cells_of_real_numbers_become_one_operator(tmp_path: Path, net: Net, rng: np.random.Generator) -> None:
    content = float_model(net, rng)
    follows(content, tmp_path, _floats(net, rng))
    types = [node.op_type for node in imported_as_is(content, tmp_path).graph]
    assert types.count("LSTM") == (2 if "BIDIRECTIONAL" in net.operator else 1)


@pytest.mark.parametrize("net", UNROLLED)
def test_other_cells_of_real_numbers_are_unrolled(tmp_path: Path, net: Net, rng: np.random.Generator) -> None:
    content = float_model(net, rng)
    follows(content, tmp_path, _floats(net, rng))
    types = [node.op_type for node in imported_as_is(content, tmp_path).graph]
    assert "LSTM" not in types
    assert "Gemm" in types


CELLS = st.integers(1, 6).flatmap(
    lambda cells: st.builds(
        Net,
        steps=st.integers(1, 5),
        inputs=st.integers(1, 6),
        cells=st.just(cells),
        outputs=st.just(cells),
        batch=st.integers(1, 2),
        time_major=st.booleans(),
        coupled=st.booleans(),
        peephole=st.booleans(),
        cell_clip=st.sampled_from([0.0, 0.2]),
    )
)


@given(net=CELLS, seed=st.integers(0, 99))
@settings(derandomize=True, max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cells_of_any_size_conform(tmp_path: Path, net: Net, seed: int) -> None:
    rng = np.random.default_rng(seed)
    follows(float_model(net, rng), tmp_path, _floats(net, rng, 2))


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(Net(weights="int8", inputs=16, cells=16, outputs=16), id="plain"),
        pytest.param(Net(weights="int8", inputs=16, cells=16, outputs=8, projection=True), id="projection"),
    ],
)
def test_integer_weights_of_a_float_cell_are_real_numbers(tmp_path: Path, net: Net, rng: np.random.Generator) -> None:
    """The kernel rounds each input vector to 8 bits on its own, which no graph of real numbers does: 2 %."""
    follows(float_model(net, rng), tmp_path, _floats(net, rng), relative=0.02)


INTEGER = [
    pytest.param(Net(weights="int8"), id="plain"),
    pytest.param(Net(weights="int8", steps=20, inputs=16, cells=16, outputs=16), id="long"),
    pytest.param(Net(weights="int8", time_major=True, batch=2), id="time major"),
    pytest.param(Net(weights="int8", coupled=True), id="coupled gates"),
    pytest.param(Net(weights="int8", peephole=True), id="peepholes"),
    pytest.param(Net(weights="int8", cell_clip=0.4), id="clipped cell"),
    pytest.param(Net(weights="int8", projection=True, outputs=4, projection_bias=True), id="projection"),
    pytest.param(Net(weights="int8", projection=True, outputs=4, projection_clip=0.2), id="clipped projection"),
    pytest.param(Net(weights="int8", layer_norm=True), id="layer normalization"),
    pytest.param(Net(weights="int8", operator="LSTM"), id="one step, own operator"),
]


@pytest.mark.parametrize("net", INTEGER)
def test_cells_of_integers_round_where_the_kernel_rounds(tmp_path: Path, net: Net, rng: np.random.Generator) -> None:
    follows(integer_model(net, rng), tmp_path, _bytes(net, rng), units=1, rounded=True)


def test_states_of_integers_keep_their_quantization(tmp_path: Path, rng: np.random.Generator) -> None:
    model = imported_as_is(integer_model(Net(weights="int8"), rng), tmp_path)
    by_name = {value.name: value for value in (*model.graph.inputs, *model.graph.outputs)}
    for state in states_of(model):
        old, new = quant_of(by_name[state.input]), quant_of(by_name[state.output])
        assert old == new
        assert old is not None
        assert not state.initial.numpy().any()
    assert {state.name: quant_of(by_name[state.input]).dtype for state in states_of(model)} == {
        "hidden": "int8",
        "cell": "int16",
    }


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


def test_the_basic_kernel_of_real_numbers_conforms(tmp_path: Path, rng: np.random.Generator) -> None:
    steps = [[rng.normal(size=(1, 3)).astype(np.float32)] for _ in range(3)]
    follows(basic_model(rng, integer=False), tmp_path, steps)


def test_the_basic_kernel_of_integers_rounds_where_it_does(tmp_path: Path, rng: np.random.Generator) -> None:
    steps = [[rng.integers(0, 256, (1, 3)).astype(np.uint8)] for _ in range(3)]
    follows(basic_model(rng, integer=True), tmp_path, steps, units=1, rounded=True)


def _reasons(content: bytes, folder: Path) -> Sequence[str]:
    return opaque_reasons(imported_as_is(content, folder))


def test_too_many_steps_stay_opaque(tmp_path: Path, rng: np.random.Generator) -> None:
    net = Net(steps=5000, cell_clip=1.0)
    assert _reasons(float_model(net, rng), tmp_path) == [
        "UNIDIRECTIONAL_SEQUENCE_LSTM: 5000 steps; at most 625 can be unrolled"
    ]


def test_many_steps_of_a_plain_cell_are_one_operator(tmp_path: Path, rng: np.random.Generator) -> None:
    model = imported_as_is(float_model(Net(steps=5000), rng), tmp_path)
    assert len(list(model.graph)) < 20
