"""Long short-term memory: of real numbers, with integer weights, and of integers throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synap_core.graph.annotations import activation_of, quant_of, states_of
from synap_core.graph.qdq import to_qdq
from synap_frontend_tflite.importer.fixed_point import table
from tests.support import lstm_models
from tests.support.canonical import Reference, opaque_reasons
from tests.support.lstm_models import (
    INPUT_SCALE,
    RELU6,
    WEIGHT_SCALE,
    Net,
    basic_model,
    float_model,
    integer_model,
    options_of,
)
from tests.support.streaming import Stream, follows, imported_as_is
from tests.support.tflite_models import ModelBuilder


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
    pytest.param(Net(weights="int8", projection=True, outputs=3, peephole=True, batch=2), id="peepholes, projection"),
    pytest.param(
        Net(weights="int8", projection=True, outputs=3, peephole=True, batch=2, time_major=True),
        id="peepholes, projection, time major",
    ),
    pytest.param(Net(weights="int8", layer_norm=True), id="layer normalization"),
    pytest.param(Net(weights="int8", operator="LSTM"), id="one step, own operator"),
]


@pytest.mark.parametrize("net", INTEGER)
def test_cells_of_integers_round_where_the_kernel_rounds(tmp_path: Path, net: Net, rng: np.random.Generator) -> None:
    follows(integer_model(net, rng), tmp_path, _bytes(net, rng), units=1, rounded=True)


INTEGER_CELLS = st.integers(1, 24).flatmap(
    lambda cells: st.builds(
        Net,
        weights=st.just("int8"),
        steps=st.integers(1, 12),
        inputs=st.integers(1, 24),
        cells=st.just(cells),
        outputs=st.integers(1, cells),
        batch=st.integers(1, 2),
        time_major=st.booleans(),
        coupled=st.booleans(),
        peephole=st.booleans(),
        projection=st.booleans(),
        projection_bias=st.booleans(),
        cell_clip=st.sampled_from([0.0, 0.4]),
    )
)


@given(net=INTEGER_CELLS, seed=st.integers(0, 99))
@settings(derandomize=True, max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cells_of_integers_of_any_size_follow_the_kernel(tmp_path: Path, net: Net, seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = replace(net, projection=net.projection or net.outputs < net.cells)
    follows(integer_model(net, rng), tmp_path, _bytes(net, rng), units=1, rounded=True)


@pytest.mark.parametrize(
    ("input_scale", "weight_scale"),
    [
        pytest.param(INPUT_SCALE, WEIGHT_SCALE, id="any"),
        pytest.param(2.0**-7, 2.0**-7, id="a quarter"),
        pytest.param(2.0**-6, 2.0**-7, id="a half"),
        pytest.param(2.0**-6, 2.0**-6, id="one"),
        pytest.param(1 / 90, 1 / 700, id="small"),
    ],
)
def test_hardly_any_result_of_integers_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, input_scale: float, weight_scale: float
) -> None:
    """The kernel rounds products twice, and has functions of its own: otherwise one in twenty would be off."""
    monkeypatch.setattr(lstm_models, "INPUT_SCALE", input_scale)
    monkeypatch.setattr(lstm_models, "WEIGHT_SCALE", weight_scale)
    values, differing = 0, 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        net = Net(weights="int8", steps=20, inputs=24, cells=16, outputs=16)
        content = integer_model(net, rng)
        stream, reference = Stream(to_qdq(imported_as_is(content, tmp_path))), Reference(content)
        for inputs in _bytes(net, rng):
            off = np.abs(stream(inputs)[0].astype(int) - reference(inputs)[0])
            values, differing = values + off.size, differing + np.count_nonzero(off)
    assert differing <= values / 1000


@pytest.mark.parametrize("function", ["Sigmoid", "Tanh"])
def test_functions_of_integers_are_those_of_the_kernel(function: str) -> None:
    """All 65,536 integers as gates of one cell each, whose state is the product of the two functions' results."""
    places = np.arange(1 << 16) - (1 << 15)
    other = {"Sigmoid": "Tanh", "Tanh": "Sigmoid"}[function]
    product = table(function, 3)[places].astype(int) * int(table(other, 3)[32767]) / 2**15
    wanted = np.sign(product) * np.floor(np.abs(product) + 0.5)
    # So that the functions themselves are compared, and nothing that saturates.
    assert len(np.unique(wanted)) > 5_000
    found = every_integer(function)
    np.testing.assert_array_equal(found, wanted)


def every_integer(function: str) -> np.ndarray:
    """Cell states of the kernel, the input gate (sigmoid) or cell gate of which runs through all integers."""
    cells = 1 << 16
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 1, 1], "int8", scale=2.0**-6)

    def matrix(*shape: int) -> int:
        return builder.tensor("w", shape, "int8", data=np.zeros(shape, np.int8), scale=2.0**-6)

    def bias(values: np.ndarray) -> int:
        return builder.tensor("b", [len(values)], "int32", data=values.astype(np.int32), scale=2.0**-12)

    every, largest = np.arange(cells) - (cells >> 1), np.full(cells, 32767)
    gates = {"Sigmoid": (every, largest), "Tanh": (largest, every)}[function]
    operands = [x, *(matrix(cells, 1) for _ in range(8)), -1, -1, -1]
    operands += [bias(gates[0]), bias(largest), bias(gates[1]), bias(largest), matrix(1, cells), -1]
    operands += [builder.tensor("hidden", [1, 1], "int8", scale=2.0**-7, variable=True)]
    operands += [builder.tensor("cell", [1, cells], "int16", scale=2.0**-15, variable=True), -1, -1, -1, -1]
    y = builder.tensor("y", [1, 1, 1], "int8", scale=2.0**-7)
    intermediates = [builder.tensor(f"gate{number}", [0]) for number in range(4)]
    intermediates.append(builder.tensor("inner", [0], "int8", scale=2.0**-7))
    net = Net()
    builder.operator(net.operator, operands, [y], options_of(net), intermediates=intermediates)
    reference = Reference(builder.finish([x], [y]))
    reference([np.zeros((1, 1, 1), np.int8)])
    (index,) = (detail["index"] for detail in reference.details() if detail["name"] == "cell")
    return reference.tensor(index)[0]


def test_functions_of_integers_are_known_for_what_they_are(tmp_path: Path, rng: np.random.Generator) -> None:
    """A delegate sees a sigmoid or hyperbolic tangent in what is a table."""
    model = imported_as_is(integer_model(Net(weights="int8", steps=2), rng), tmp_path)
    named = {}
    for node in model.graph:
        activation = activation_of(node)
        if activation is not None:
            named.setdefault((activation.name, activation.last), []).append(node.op_type)
    kinds = [(name, *types) for (name, _), types in named.items() if name != "Add"]
    assert set(kinds) == {(name, "Mul", "Clip", "Cast", "Gather") for name in ("Sigmoid", "Tanh")}
    assert [name for name, *_ in kinds].count("Sigmoid") == 2 * 3


def test_cells_of_real_numbers_keep_their_functions(tmp_path: Path, rng: np.random.Generator) -> None:
    model = imported_as_is(float_model(Net(cell_clip=0.3), rng), tmp_path)
    types = {node.op_type for node in model.graph}
    assert {"Sigmoid", "Tanh"} <= types
    assert types.isdisjoint({"Cast", "Gather", "Shrink"})


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


def test_the_basic_kernel_of_real_numbers_conforms(tmp_path: Path, rng: np.random.Generator) -> None:
    steps = [[rng.normal(size=(1, 3)).astype(np.float32)] for _ in range(3)]
    follows(basic_model(rng, integer=False), tmp_path, steps)


def test_the_basic_kernel_of_integers_rounds_where_it_does(tmp_path: Path, rng: np.random.Generator) -> None:
    steps = [[rng.integers(0, 256, (1, 3)).astype(np.uint8)] for _ in range(3)]
    follows(basic_model(rng, integer=True), tmp_path, steps, units=1, rounded=True)


def test_the_basic_kernel_of_integers_is_followed_from_its_own_states(tmp_path: Path) -> None:
    """All results, one of which is the cell state, of 16 bits; sigmoids of real numbers would make 2 units of it."""
    worst = np.zeros(4, int)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        content = basic_model(rng, integer=True, inputs=12, cells=20)
        model = imported_as_is(content, tmp_path)
        stream, reference = Stream(to_qdq(model)), Reference(content)
        states = {detail["name"]: detail["index"] for detail in reference.details()}
        for _ in range(12):
            stream.variables = {s.input: reference.tensor(states[s.name]).copy() for s in states_of(model)}
            inputs = [rng.integers(0, 256, (1, 12)).astype(np.uint8)]
            pairs = zip(stream(inputs), reference(inputs), strict=True)
            worst = np.maximum(worst, [np.abs(one.astype(int) - other).max() for one, other in pairs])
    assert worst.tolist() == [1, 1, 0, 0]


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
