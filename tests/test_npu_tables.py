"""Functions of one tensor as tables, against the reference kernels of LiteRT and against the functions themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.annotations import set_activation
from synap_core.graph.build import Attribute, GraphBuilder
from synap_core.tensors import QuantParams
from tests.support.npu_program import Compiled, all_integers, compiled, conforms, only, quantized
from tests.support.single_operator import FEW, SEEDS, Tensor, options

BYTES = ("uint8", "int8")
KERNELS = [
    ("LOGISTIC", BYTES),
    ("TANH", BYTES),
    ("HARD_SWISH", BYTES),
    ("GELU", BYTES),
    ("ABS", ("int8",)),
    ("EXP", ("int8",)),
    ("SQRT", ("int8",)),
    ("RSQRT", ("int8",)),
]
CASES = [(name, dtype) for name, types in KERNELS for dtype in types]

RESULTS = {
    "LOGISTIC": {"uint8": (1 / 256, 0), "int8": (1 / 256, -128), "int16": (2**-15, 0)},
    "TANH": {"uint8": (1 / 128, 128), "int8": (1 / 128, 0), "int16": (2**-15, 0)},
}
"""Quantization that the kernels want of their result."""


def result(rng: np.random.Generator, name: str, dtype: str, shape: tuple[int, ...], exponent: float) -> Tensor:
    found = quantized(rng, shape, dtype, exponent)
    if name not in RESULTS:
        return found
    scale, zero_point = RESULTS[name][dtype]
    return replace(found, scale=scale, zero_point=zero_point)


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=[" ".join(case) for case in CASES])
@FEW
@given(exponent=st.floats(-6, 0), scale=st.floats(-6, -1), approximate=st.booleans(), seed=SEEDS)
def test_every_integer_is_within_a_unit_of_the_kernel(
    *, name: str, dtype: str, tmp_path: Path, exponent: float, scale: float, approximate: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = all_integers(dtype)
    x, y = quantized(rng, array.shape, dtype, exponent), result(rng, name, dtype, array.shape, scale)
    if name in ("SQRT", "RSQRT"):  # not of numbers below zero, and no reciprocal of zero
        x = replace(x, zero_point=-128)
        array = np.maximum(array, np.int8(-127))
    made = options("Gelu", approximate=approximate) if name == "GELU" else None
    conforms(tmp_path, name, [x], y, [array], given=made, units=1, types=["Lookup"])


@pytest.mark.parametrize("name", ["LOGISTIC", "TANH"])
@FEW
@given(exponent=st.floats(-14, -9), seed=SEEDS)
def test_int16_functions_are_within_three_units_of_interpolation(
    *, name: str, tmp_path: Path, exponent: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = all_integers("int16")
    x, y = quantized(rng, array.shape, "int16", exponent), result(rng, name, "int16", array.shape, 0)
    conforms(tmp_path, name, [x], y, [array], units=3, types=["Lookup"])


def affine(dtype: str, scale: float, zero_point: int = 0) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="asymmetric_affine", scale=(scale,), zero_point=(zero_point,))


def function(
    emit: Callable[[GraphBuilder, ir.Value], ir.Value],
    x: QuantParams,
    y: QuantParams,
    shape: tuple[int, ...] = (1, 256),
    activation: str = "",
) -> Compiled:
    """The program of a function of one input, one operation where it is an activation."""
    build = GraphBuilder("one")
    value = build.input("x", ir.DataType.FLOAT, list(shape), quant=x)
    model = build.finish([build.name_value(emit(build, value), "y", "y", y)])
    nodes = list(model.graph)
    for number, node in enumerate(nodes):
        node.name = f"node{number}"
    if activation:
        set_activation(nodes, activation)
    return compiled(model)


def node(op_type: str, **attributes: Attribute) -> Callable[[GraphBuilder, ir.Value], ir.Value]:
    return lambda build, x: build.emit(op_type, [x], attributes)


FUNCTIONS: dict[str, tuple[Callable[[GraphBuilder, ir.Value], ir.Value], Callable[[float], float]]] = {
    "Elu": (node("Elu", alpha=0.5), lambda x: x if x > 0 else 0.5 * math.expm1(x)),
    "Selu": (node("Selu"), lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x))),
    "HardSigmoid": (node("HardSigmoid", alpha=0.2), lambda x: min(max(0.2 * x + 0.5, 0), 1)),
    "HardSwish": (node("HardSwish"), lambda x: x * min(max(x / 6 + 0.5, 0), 1)),
    "Mish": (node("Mish"), lambda x: x * math.tanh(math.log1p(math.exp(x)))),
    "Softplus": (node("Softplus"), lambda x: math.log1p(math.exp(x))),
    "Erf": (node("Erf"), math.erf),
    "Neg": (node("Neg"), lambda x: -x),
    "Floor": (node("Floor"), math.floor),
    "Sin": (node("Sin"), math.sin),
    "times a number": (lambda build, x: build.emit("Mul", [x, build.constant(0.3)]), lambda x: 0.3 * x),
    "a number minus": (lambda build, x: build.emit("Sub", [build.constant(1.5), x]), lambda x: 1.5 - x),
    "power": (lambda build, x: build.emit("Pow", [x, build.constant(2.0)]), lambda x: x * x),
    "PRelu": (lambda build, x: build.emit("PRelu", [x, build.constant(0.2)]), lambda x: x if x > 0 else 0.2 * x),
}


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_table_holds_the_rounded_function_of_every_integer(name: str, dtype: str) -> None:
    emit, expected = FUNCTIONS[name]
    shift = 128 * (dtype == "uint8")
    x, y = affine(dtype, 0.047, shift - 9), affine(dtype, 0.0213, shift - 20)
    array = all_integers(dtype)
    program = function(emit, x, y)
    limits = np.iinfo(dtype)
    steps = [expected(float(np.float32(0.047 * (int(i) - shift + 9)))) / 0.0213 for i in array[0]]
    cut = np.clip(np.rint(steps) + shift - 20, limits.min, limits.max)
    assert program.types == ["Lookup"]
    # The function is rounded to float32 before it is divided by the step.
    far = np.abs(np.abs(np.asarray(steps) % 1 - 0.5)) > 1e-4
    np.testing.assert_array_equal(program([array])[0][0][far], cut[far])


def silu(build: GraphBuilder, x: ir.Value) -> ir.Value:
    return build.emit("Mul", [x, build.emit("Sigmoid", [x])])


def gelu(build: GraphBuilder, x: ir.Value) -> ir.Value:
    inner = build.emit("Erf", [build.emit("Mul", [x, build.constant(math.sqrt(0.5))])])
    half = build.emit("Mul", [x, build.constant(0.5)])
    return build.emit("Mul", [half, build.emit("Add", [inner, build.constant(1.0)])])


@pytest.mark.parametrize(
    ("emit", "name", "expected"),
    [
        (silu, "SiLU", lambda x: x / (1 + np.exp(-x))),
        (gelu, "GELU", lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
    ],
    ids=["SiLU", "GELU"],
)
def test_an_activation_that_is_written_out_is_one_table(
    emit: Callable[[GraphBuilder, ir.Value], ir.Value], name: str, expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    program = function(emit, affine("uint8", 0.05, 100), affine("uint8", 0.03, 10), activation=name)
    array = all_integers("uint8")
    wanted = np.clip(np.rint(expected((array - 100.0) * 0.05) / 0.03) + 10, 0, 255)
    assert program.types == ["Lookup"]
    assert np.abs(program([array])[0] - wanted).max() <= 1


@pytest.mark.parametrize("shape", [(256,), (1, 256), (2, 4, 8, 4), (1, 1, 256, 1)], ids=str)
def test_tables_are_for_any_shape(shape: tuple[int, ...]) -> None:
    array = all_integers("int8").reshape(shape)
    (found,) = function(node("Neg"), affine("int8", 0.1), affine("int8", 0.1), shape)([array])
    np.testing.assert_array_equal(found, np.minimum(-array.astype(int), 127))


def test_the_table_is_part_of_the_definition() -> None:
    program = function(node("Exp"), affine("int8", 0.02), affine("uint8", 0.01))
    operation = only(program)
    _, table = operation.form.inputs
    assert table.constant is not None
    assert operation.form.attributes["function"] == "Exp"
    for integer in (-128, -1, 0, 127):
        array = np.full((1, 256), integer, np.int8)
        assert program([array])[0][0, 0] == table.constant[integer]


def test_where_there_is_no_number_the_table_holds_the_zero_point() -> None:
    program = function(node("Log"), affine("int8", 0.05, 0), affine("int8", 0.02, -7))
    (found,) = program([all_integers("int8")])
    assert set(found[0, :128].tolist()) == {-7}
    assert found[0, 128] == -128  # minus infinity
    assert found[0, 148] == -7  # the logarithm of 1


def test_a_table_of_16_bits_is_not_larger_than_its_tensor() -> None:
    x, y = affine("int16", 2**-12), affine("int16", 2**-15)
    assert function(node("Sigmoid"), x, y, (1, 65536)).types == ["Lookup"]
    assert function(node("Sigmoid"), x, y, (1, 65535)).types == ["(Sigmoid)"]


@pytest.mark.parametrize("shape", [(1, 65536), (1, 4096)], ids=["table", "real numbers"])
@pytest.mark.parametrize(("name", "expected"), [("Sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("Tanh", np.tanh)])
def test_int16_functions_are_rounded_real_ones(
    name: str, expected: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int]
) -> None:
    array = np.ascontiguousarray(all_integers("int16")[:, :: 65536 // shape[1]])
    (found,) = function(node(name), affine("int16", 2**-12), affine("int16", 2**-15), shape)([array])
    wanted = np.clip(np.rint(expected(array * 2.0**-12) * 2**15), -32768, 32767)
    assert np.abs(found - wanted).max() <= 1


def vector(build: GraphBuilder, x: ir.Value) -> ir.Value:
    return build.emit("Mul", [x, build.constant(np.linspace(1, 2, 256, dtype=np.float32))])


def test_a_function_that_differs_between_items_is_no_table() -> None:
    assert function(vector, affine("int8", 0.1), affine("int8", 0.1)).types == ["(Mul)"]
