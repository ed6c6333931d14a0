"""Plain recurrent layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.canonical import opaque_reasons
from tests.support.streaming import follows, imported_as_is
from tests.support.tflite_models import ModelBuilder

NONE, RELU, RELU6, TANH = (getattr(schema.ActivationFunctionType, n) for n in ("NONE", "RELU", "RELU6", "TANH"))
BOTH = "BIDIRECTIONAL_SEQUENCE_RNN"


@dataclass(frozen=True, kw_only=True)
class Net:
    """One recurrent operator."""

    operator: str = "UNIDIRECTIONAL_SEQUENCE_RNN"
    batch: int = 1
    steps: int = 4
    inputs: int = 3
    units: int = 5
    time_major: bool = False
    merged: bool = True
    activation: int = TANH
    integer_weights: bool = False

    @property
    def sequence(self) -> list[int]:
        if self.operator == "RNN":
            return [self.batch, self.inputs]
        return [self.steps, self.batch, self.inputs] if self.time_major else [self.batch, self.steps, self.inputs]


def _direction(builder: ModelBuilder, net: Net, rng: np.random.Generator) -> list[int]:
    def matrix(columns: int) -> int:
        values = rng.normal(0, 0.5, size=(net.units, columns)).astype(np.float32)
        if not net.integer_weights:
            return builder.constant("w", values)
        stored = np.clip(np.rint(values * 64), -127, 127).astype(np.int8)
        return builder.tensor("w", values.shape, "int8", data=stored, scale=1 / 64)

    bias = builder.constant("b", rng.normal(size=net.units).astype(np.float32))
    return [matrix(net.inputs), matrix(net.units), bias, builder.tensor("h", [net.batch, net.units], variable=True)]


def _options(net: Net) -> Any:
    names = {"RNN": "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNN", BOTH: "BidirectionalSequenceRNN"}
    options = getattr(schema, f"{names[net.operator]}OptionsT")()
    options.fusedActivationFunction = net.activation
    if net.operator != "RNN":
        options.timeMajor = net.time_major
    if net.operator == BOTH:
        options.mergeOutputs = net.merged
    return options


def model(net: Net, rng: np.random.Generator) -> bytes:
    builder = ModelBuilder()
    x = builder.tensor("x", net.sequence)
    operands = [x, *_direction(builder, net, rng)]
    widths = [net.units]
    if net.operator == BOTH:
        operands += [*_direction(builder, net, rng), -1, -1, -1]
        widths = [2 * net.units] if net.merged else [net.units] * 2
    results = [builder.tensor(f"y{i}", [*net.sequence[:-1], width]) for i, width in enumerate(widths)]
    builder.operator(net.operator, operands, results, _options(net))
    return builder.finish([x], results)


def _steps(net: Net, rng: np.random.Generator) -> list[list[np.ndarray]]:
    return [[rng.normal(size=net.sequence).astype(np.float32)] for _ in range(3)]


@pytest.mark.parametrize(
    ("net", "fused"),
    [
        pytest.param(Net(), 1, id="plain"),
        pytest.param(Net(time_major=True), 1, id="time major"),
        pytest.param(Net(activation=RELU, time_major=True), 0, id="relu, time major"),
        pytest.param(Net(batch=2), 1, id="batch of two in the sequence"),
        pytest.param(Net(steps=1), 0, id="one step"),
        pytest.param(Net(activation=RELU6), 0, id="relu6"),
        pytest.param(Net(activation=NONE, time_major=True), 0, id="no activation"),
        pytest.param(Net(operator="RNN"), 0, id="one step, own operator"),
        pytest.param(Net(operator=BOTH), 2, id="both directions"),
        pytest.param(Net(operator=BOTH, merged=False, time_major=True), 2, id="both, two results"),
        pytest.param(Net(operator=BOTH, activation=RELU6), 0, id="both, relu6"),
    ],
)
def test_recurrent_layers_go_on_from_run_to_run(tmp_path: Path, net: Net, fused: int, rng: np.random.Generator) -> None:
    content = model(net, rng)
    follows(content, tmp_path, _steps(net, rng))
    assert [node.op_type for node in imported_as_is(content, tmp_path).graph].count("RNN") == fused


NETS = st.builds(
    Net,
    operator=st.sampled_from(["RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", BOTH]),
    batch=st.integers(1, 2),
    steps=st.integers(1, 5),
    inputs=st.integers(1, 6),
    units=st.integers(1, 6),
    time_major=st.booleans(),
    activation=st.sampled_from([RELU, RELU6, TANH]),
)


@given(net=NETS, seed=st.integers(0, 99))
@settings(derandomize=True, max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_layers_of_any_size_conform(tmp_path: Path, net: Net, seed: int) -> None:
    rng = np.random.default_rng(seed)
    follows(model(net, rng), tmp_path, _steps(net, rng))


def test_integer_weights_of_a_float_layer_are_real_numbers(tmp_path: Path, rng: np.random.Generator) -> None:
    """The kernel rounds input and state to 8 bits on their own, which no graph of real numbers does.

    Steps of 3 / 127 and weights near 0.5 give the sum of 16 products a standard deviation of 0.014: 5 %.
    """
    net = Net(integer_weights=True, inputs=16, units=16)
    follows(model(net, rng), tmp_path, _steps(net, rng), relative=0.05)


def test_too_many_steps_stay_opaque(tmp_path: Path, rng: np.random.Generator) -> None:
    content = model(Net(steps=10_000, activation=RELU6), rng)
    assert opaque_reasons(imported_as_is(content, tmp_path)) == [
        "UNIDIRECTIONAL_SEQUENCE_RNN: 10000 steps; at most 6666 can be unrolled"
    ]


def _broken(change: str, rng: np.random.Generator) -> bytes:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 2, 3]), builder.tensor("y", [1, 2, 4])
    weights = builder.constant("w", rng.normal(size=(4, 5 if change == "weights" else 3)).astype(np.float32))
    recurrent = builder.constant("r", rng.normal(size=(4, 4)).astype(np.float32))
    bias = builder.constant("b", np.zeros(4, np.float32))
    hidden = builder.tensor("h", [1, 6 if change == "state" else 4], variable=change != "no variable")
    operands = [x, weights, recurrent, bias, hidden]
    inputs = [x, hidden] if change == "no variable" else [x]
    builder.operator("UNIDIRECTIONAL_SEQUENCE_RNN", operands, [y], _options(Net()))
    return builder.finish(inputs, [y])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("weights", "RNN: input 1 of shape [1, 4, 5], which must be [1, 4, 3]"),
        ("state", "a state of shape [1, 6]; [1, 4] is needed"),
        ("no variable", "its operand 4 is no variable tensor"),
    ],
)
def test_operands_that_do_not_fit_are_named(tmp_path: Path, change: str, reason: str, rng: np.random.Generator) -> None:
    (found,) = opaque_reasons(imported_as_is(_broken(change, rng), tmp_path))
    assert found == f"UNIDIRECTIONAL_SEQUENCE_RNN: {reason}"
