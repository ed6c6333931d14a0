"""Recurrent layers of integers in programs, against the kernels of LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import quant_of, set_activation, states_of
from synap_core.graph.build import GraphBuilder
from synap_core.tensors import QuantParams
from tests.support.canonical import Reference, stored
from tests.support.lstm_models import Net, integer_model
from tests.support.npu_program import Compiled, compiled
from tests.support.streaming import imported_as_is

NETS = [
    pytest.param(Net(weights="int8", steps=12, inputs=16, cells=12, outputs=12), id="plain"),
    pytest.param(Net(weights="int8", steps=6, coupled=True, peephole=True, cell_clip=0.4), id="coupled, peepholes"),
    pytest.param(Net(weights="int8", steps=6, projection=True, projection_bias=True, outputs=4), id="projection"),
]


@pytest.mark.parametrize("net", NETS)
def test_every_integer_of_a_recurrent_layer_is_that_of_the_kernel(
    net: Net, tmp_path: Path, rng: np.random.Generator
) -> None:
    content = integer_model(net, rng)
    model = imported_as_is(content, tmp_path)
    variables = [stored(state.initial.numpy(), quant_of(value)) for state, value in _states(model)]
    program, reference = compiled(model), Reference(content)
    for _ in range(4):
        array = rng.integers(-128, 128, net.sequence).astype(np.int8)
        found, *variables = program([array, *variables])
        np.testing.assert_array_equal(found, reference([array])[0])
    assert [found for found in program.types if found.startswith("(") and found != "(Sub)"] == []


def _states(model: ir.Model) -> list[tuple[object, ir.Value]]:
    by_name = {str(value.name): value for value in model.graph.inputs}
    return [(state, by_name[state.input]) for state in states_of(model)]


def fixed(bits: int) -> QuantParams:
    return QuantParams(dtype="int16", scheme="asymmetric_affine", scale=(2.0**-bits,), zero_point=(0,))


def product(bias: float, limit: float) -> Compiled:
    """Numbers of 8 bits times a matrix, a quarter of a step of the result each, moved away from zero."""
    eighth = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(2.0**-7,), zero_point=(0,))
    build = GraphBuilder("net")
    value = build.input("x", ir.DataType.FLOAT, (1, 2), quant=eighth)
    weights = build.quantized_constant(np.array([[1, 0], [1, 1], [3, -7]], np.int8), eighth)
    total = build.emit("Gemm", [value, weights], {"transB": 1})
    moved = build.emit("Shrink", [total], {"bias": bias, "lambd": limit})
    model = build.finish([build.name_value(moved, "y", "y", fixed(12))])
    set_activation([next(node for node in model.graph if node.op_type == "Shrink")], "Add")
    return compiled(model)


STEP = 2.0**-12


def test_what_moves_sums_off_zero_is_rounding_twice() -> None:
    """An integer of which is a quarter: a half after the first rounding, which goes on to one."""
    program = product(-STEP / 4, 0.0)
    assert program.types == ["FullyConnected"]
    assert program.program.operations[0].form.attributes["rounding"] == "twice"
    (found,) = program([np.array([[1, 0]], np.int8)])
    np.testing.assert_array_equal(found, [[1, 1, 1]])
    (found,) = program([np.array([[-3, 2]], np.int8)])
    # -3, -1 and -23 quarters: ties of the first rounding go up, of the second one away from zero.
    np.testing.assert_array_equal(found, [[-1, 0, -6]])


@pytest.mark.parametrize(("bias", "limit"), [(-STEP / 8, 0.0), (STEP / 4, 0.0), (-STEP / 4, STEP)])
def test_what_moves_sums_otherwise_is_computed_in_real_numbers(bias: float, limit: float) -> None:
    program = product(bias, limit)
    assert "rounding" not in program.program.operations[0].form.attributes
    x = np.array([[11, -100]], np.int8)
    sums = x.astype(int) @ np.array([[1, 0], [1, 1], [3, -7]]).T * STEP / 4
    moved = np.where(sums > limit, sums - bias, np.where(sums < -limit, sums + bias, 0))
    np.testing.assert_array_equal(program([x])[0], np.rint(moved / STEP))


def looked_up(factor: float = 4096.0, largest: float = 32767.0, items: int = 1 << 16, unit: int = 15) -> Compiled:
    """Integers of 16 bits, 12 of them behind the point, as places of a table that holds their opposites."""
    build = GraphBuilder("net")
    value = build.input("x", ir.DataType.FLOAT, (1, 5), quant=fixed(12))
    steps = build.emit("Mul", [value, build.constant(factor)])
    cut = build.emit("Clip", [steps, build.constant(-32768.0), build.constant(largest)])
    place = build.emit("Cast", [cut], {"to": int(ir.DataType.INT64)})
    table = build.quantized_constant((-1 - np.arange(items)).astype(np.int16), fixed(15))
    found = build.emit("Gather", [table, place], {"axis": 0})
    model = build.finish([build.name_value(found, "y", "y", fixed(unit))])
    set_activation(list(model.graph), "Tanh")
    return compiled(model)


def test_a_table_that_the_graph_has_is_that_of_the_program() -> None:
    program = looked_up()
    assert program.types == ["Lookup"]
    x = np.array([[-32768, -1, 0, 1, 32767]], np.int16)
    np.testing.assert_array_equal(program([x])[0], ~x)


@pytest.mark.parametrize(
    "changed",
    [{"factor": 2048.0}, {"largest": 32766.0}, {"items": 1 << 17}, {"unit": 14}],
    ids=["another step", "other ends", "more items", "another result"],
)
def test_another_table_is_none_of_the_program(changed: dict[str, float]) -> None:
    assert "Lookup" not in looked_up(**changed).types  # type: ignore[arg-type]  # some are integers
