"""SVDF: dense layers with a filter along time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.canonical import imported, opaque_reasons
from tests.support.streaming import follows
from tests.support.tflite_models import ModelBuilder

NONE, RELU = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU
INPUT_SCALE, FEATURE_SCALE, TIME_SCALE, STATE_SCALE, OUTPUT_SCALE = 1 / 64, 1 / 127, 2.0**-14, 2.0**-12, 1 / 40


@dataclass(frozen=True, kw_only=True)
class Net:
    """One operator."""

    inputs: int = 3
    units: int = 4
    rank: int = 2
    memory: int = 5
    bias: bool = True
    activation: int = NONE
    weights: str = "float32"

    @property
    def filters(self) -> int:
        return self.units * self.rank


def _options(net: Net) -> schema.SVDFOptionsT:
    options = schema.SVDFOptionsT()
    options.rank, options.fusedActivationFunction = net.rank, net.activation
    return options


def float_model(net: Net, rng: np.random.Generator) -> bytes:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, net.inputs]), builder.tensor("y", [1, net.units])

    def weights(columns: int) -> int:
        values = rng.normal(0, 0.5, size=(net.filters, columns)).astype(np.float32)
        if net.weights == "float32":
            return builder.constant("w", values)
        stored = np.clip(np.rint(values * 64), -127, 127).astype(np.int8)
        return builder.tensor("w", values.shape, "int8", data=stored, scale=1 / 64)

    bias = builder.constant("b", rng.normal(size=net.units).astype(np.float32)) if net.bias else -1
    state = builder.tensor("state", [1, net.memory * net.filters], variable=True)
    builder.operator("SVDF", [x, weights(net.inputs), weights(net.memory), bias, state], [y], _options(net))
    return builder.finish([x], [y])


def integer_model(net: Net, zero_point: int, rng: np.random.Generator) -> bytes:
    """int8 throughout, with a memory and weights along time of int16."""
    builder = ModelBuilder()
    x = builder.tensor("x", [1, net.inputs], "int8", scale=INPUT_SCALE, zero_point=-7)
    y = builder.tensor("y", [1, net.units], "int8", scale=OUTPUT_SCALE, zero_point=zero_point)
    by_feature = rng.integers(-127, 128, (net.filters, net.inputs)).astype(np.int8)
    by_time = rng.integers(-16000, 16000, (net.filters, net.memory)).astype(np.int16)
    bias = rng.integers(-90_000, 90_000, net.units).astype(np.int32)
    operands = [
        x,
        builder.tensor("f", by_feature.shape, "int8", data=by_feature, scale=FEATURE_SCALE),
        builder.tensor("t", by_time.shape, "int16", data=by_time, scale=TIME_SCALE),
        builder.tensor("b", bias.shape, "int32", data=bias, scale=STATE_SCALE * TIME_SCALE) if net.bias else -1,
        builder.tensor("state", [1, net.memory * net.filters], "int16", scale=STATE_SCALE, variable=True),
    ]
    builder.operator("SVDF", operands, [y], _options(net))
    return builder.finish([x], [y])


def _floats(net: Net, rng: np.random.Generator) -> list[list[np.ndarray]]:
    """One more than the memory holds: the oldest is forgotten."""
    return [[rng.normal(size=(1, net.inputs)).astype(np.float32)] for _ in range(net.memory + 1)]


NETS = st.builds(
    Net,
    inputs=st.integers(1, 5),
    units=st.integers(1, 4),
    rank=st.integers(1, 3),
    memory=st.integers(1, 5),
    bias=st.booleans(),
    activation=st.sampled_from([NONE, RELU]),
)


@given(net=NETS, seed=st.integers(0, 99))
@settings(derandomize=True, max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_filters_of_any_size_conform(tmp_path: Path, net: Net, seed: int) -> None:
    rng = np.random.default_rng(seed)
    follows(float_model(net, rng), tmp_path, _floats(net, rng))


def test_integer_weights_of_a_float_filter_are_real_numbers(tmp_path: Path, rng: np.random.Generator) -> None:
    """The kernel rounds each input vector to 8 bits on its own, which no graph of real numbers does: 2 %."""
    net = Net(weights="int8", inputs=16)
    follows(float_model(net, rng), tmp_path, _floats(net, rng), relative=0.02)


@pytest.mark.parametrize(
    ("net", "zero_point"),
    [
        pytest.param(Net(activation=RELU), -128, id="range from zero"),
        pytest.param(Net(activation=RELU), 5, id="the kernel knows no activation"),
        pytest.param(Net(activation=RELU, bias=False, rank=1), -128, id="no bias"),
        pytest.param(Net(activation=RELU, memory=1), -128, id="no memory"),
        pytest.param(Net(activation=RELU, inputs=40, units=16, memory=8), -128, id="larger"),
    ],
)
def test_filters_of_integers_round_where_the_kernel_rounds(
    tmp_path: Path, net: Net, zero_point: int, rng: np.random.Generator
) -> None:
    steps = [[rng.integers(-128, 128, (1, net.inputs)).astype(np.int8)] for _ in range(net.memory + 2)]
    follows(integer_model(net, zero_point, rng), tmp_path, steps, units=1, rounded=True)


def test_a_rank_that_does_not_divide_the_filters_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 3]), builder.tensor("y", [1, 2])
    weights = [builder.constant("w", rng.normal(size=(5, n)).astype(np.float32)) for n in (3, 4)]
    state = builder.tensor("state", [1, 20], variable=True)
    builder.operator("SVDF", [x, *weights, -1, state], [y], _options(Net(rank=2)))
    reasons = opaque_reasons(imported(builder.finish([x], [y]), tmp_path)[0])
    assert reasons == ["SVDF: weights by time of shape [5, 4] for the rank 2"]
