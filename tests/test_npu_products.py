"""Products of integers in programs, against whole numbers and real ones of 64 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap_core.graph.annotations import set_quant
from synap_core.graph.quantized import QuantizedTensor, scale_and_zero_point
from synap_core.tensors import QuantParams
from synap_delegate_npu.arithmetic.products import (
    FLOAT32_INTEGERS,
    SPLITS,
    Factors,
    _split,
    exact_matrix_product,
    exact_product,
    parts_of,
    sum_bound,
)
from synap_delegate_npu.program.body import Body
from tests.support.npu_products import run_body
from tests.support.npu_program import Compiled, compiled
from tests.support.single_operator import FEW, SEEDS

LITTLE = settings(FEW, max_examples=12)

RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "moved": (-255, 0)}
"""Least and largest integer of the data, counted from the zero point."""


def multiplied(data: np.ndarray, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """What the operators give for matrices, and the true result."""

    def lower(body: Body, x: ir.Value, w: ir.Value) -> ir.Value:
        def apply(one: ir.Value, other: ir.Value, bias: ir.Value | None) -> ir.Value:
            made = body.op("MatMul", one, other)
            return made if bias is None else body.op("Add", made, bias)

        return exact_product(body, x, w, factors, apply, 0)

    found = run_body(lower, data.astype(np.float32), factors.weights.astype(np.float32))
    return found, data @ factors.weights + (0 if factors.bias is None else factors.bias)


@pytest.mark.parametrize("weights", ["int8", "int16"])
@pytest.mark.parametrize("kind", RANGES)
@LITTLE
@given(
    count=st.sampled_from([1, 3, 40, 516, 517, 1040, 2500]),
    extreme=st.booleans(),
    bias=st.sampled_from([0, 1000, (1 << 24) - 3, 1 << 24, 300_000_000, 1 << 40]),
    seed=SEEDS,
)
def test_sums_are_exact(kind: str, weights: str, count: int, extreme: bool, bias: int, seed: int) -> None:
    rng, (low, high), ends = np.random.default_rng(seed), RANGES[kind], np.iinfo(weights)
    if extreme:
        data, items = rng.choice([low, high], (6, count)), rng.choice([ends.min, ends.max], (count, 4))
        items[:, 0], data[0] = ends.max, high
        items[:, 1], data[1] = ends.min, low
    else:
        data, items = rng.integers(low, high + 1, (6, count)), rng.integers(ends.min, ends.max + 1, (count, 4))
    added = np.array([bias, -bias, 1, 0])
    factors = Factors(low=low, high=high, weights=items.astype(np.int64), axis=1, bias=added if bias else None)
    found, expected = multiplied(data, factors)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_sums_at_the_limit_of_float32_are_exact(excess: int) -> None:
    """257 * 255 * 256 = 2**24 - 256."""
    items = np.full((257, 1), 256, np.int64)
    bias = np.array([256 + excess])
    factors = Factors(low=0, high=255, weights=items, axis=1, bias=bias)
    assert factors.largest_sum() == FLOAT32_INTEGERS + excess
    found, expected = multiplied(np.full((1, 257), 255), factors)
    assert found.tolist() == expected.tolist() == [[FLOAT32_INTEGERS + excess]]


@LITTLE
@given(seed=SEEDS, shape=st.tuples(st.integers(1, 4), st.integers(1, 6)), low=st.integers(-255, 0))
def test_bound_is_the_largest_sum_that_there_is(seed: int, shape: tuple[int, int], low: int) -> None:
    rng, high = np.random.default_rng(seed), low + 255
    items = rng.integers(-128, 128, shape)
    corners = np.stack(np.meshgrid(*[[low, high]] * shape[1]), -1).reshape(-1, shape[1])
    assert sum_bound(items, 0, low, high) == np.abs(corners @ items.T).max()


@pytest.mark.parametrize("bits", sorted({bits for pair in SPLITS for bits in pair if bits}))
@pytest.mark.parametrize(("low", "high"), [(-32768, 32767), (-255, 0), (-3, 252), (0, 1)])
def test_parts_hold_all_integers(bits: int, low: int, high: int) -> None:
    values, parts = np.arange(low, high + 1), parts_of(low, high, bits)
    pieces = []
    for place in range(len(parts)):

        def lower(body: Body, x: ir.Value, place: int = place) -> ir.Value:
            return body.op("Identity", _split(body, x, bits, len(parts))[place])

        pieces.append(run_body(lower, values.astype(np.float32)))
    np.testing.assert_array_equal(sum(pieces), values)
    for part, piece in zip(parts, pieces, strict=True):
        units = piece / 2.0**part.bits
        np.testing.assert_array_equal(units, np.rint(units))
        assert part.low <= units.min() <= units.max() <= part.high


@pytest.mark.parametrize("ends", [((-255, 0), (-128, 127)), ((-32768, 32767), (-32768, 32767))], ids=["8", "16"])
@pytest.mark.parametrize("count", [1, 257, 1100, 5000])
def test_products_of_computed_matrices_are_exact(
    ends: tuple[tuple[int, int], tuple[int, int]], count: int, rng: np.random.Generator
) -> None:
    one, other = rng.choice(ends[0], (4, count)), rng.integers(ends[1][0], ends[1][1] + 1, (count, 4))
    one[0], other[:, 0] = ends[0][0], ends[1][0]

    def lower(body: Body, x: ir.Value, y: ir.Value) -> ir.Value:
        return exact_matrix_product(body, (x, y), ends, count, lambda a, b: body.op("MatMul", a, b))

    found = run_body(lower, one.astype(np.float32), other.astype(np.float32))
    np.testing.assert_array_equal(found, one @ other)


def test_sums_of_too_many_products_are_refused() -> None:
    body = Body(2)
    items = np.broadcast_to(np.int64(32767), (1 << 23, 1))
    factors = Factors(low=-32768, high=32767, weights=items, axis=1)
    with pytest.raises(ValueError, match="too many products"):
        exact_product(body, *body.inputs, factors, lambda data, *_: data, 0)
    with pytest.raises(ValueError, match="too many products"):
        exact_matrix_product(body, body.inputs, ((-255, 255),) * 2, 1 << 23, lambda one, _: one)


def fixed(dtype: str, length: int) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="dynamic_fixed_point", fractional_length=length)


def affine(dtype: str, scale: Any, zero_point: Any = 0, axis: int | None = None) -> QuantParams:
    scheme = "asymmetric_affine" if axis is None else "perchannel_symmetric_affine"
    return QuantParams(dtype=dtype, scheme=scheme, scale=scale, zero_point=zero_point, axis=axis)


class Net:
    """A canonical graph with one input, built node by node."""

    def __init__(self, shape: Sequence[int], quant: QuantParams) -> None:
        self.x = self._value("x", shape)
        set_quant(self.x, quant)
        self._nodes: list[ir.Node] = []
        self._constants: list[ir.Value] = []

    def constant(self, array: np.ndarray, quant: QuantParams | None = None) -> ir.Value:
        name = f"k{len(self._constants)}"
        stored = ir.Tensor(array) if quant is None else QuantizedTensor(array, quant, name)
        dtype = ir.DataType.FLOAT if quant is not None else stored.dtype
        value = ir.Value(name=name, const_value=stored, type=ir.TensorType(dtype), shape=ir.Shape(array.shape))
        self._constants.append(value)
        return value

    def op(self, op_type: str, *inputs: ir.Value | None, shape: Sequence[int], **attributes: Any) -> ir.Value:
        node = ir.node(op_type, list(inputs), attributes=attributes)
        node.outputs[0].name, node.name = f"v{len(self._nodes)}", f"n{len(self._nodes)}"
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
        self._nodes.append(node)
        return node.outputs[0]

    def program(self, y: ir.Value, quant: QuantParams) -> Compiled:
        set_quant(y, quant)
        graph = ir.Graph(
            [self.x], [y], nodes=self._nodes, initializers=self._constants, opset_imports={"": 19}, name="net"
        )
        return compiled(ir.Model(graph, ir_version=9))

    @staticmethod
    def _value(name: str, shape: Sequence[int]) -> ir.Value:
        return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))


def convolved(x: np.ndarray, w: np.ndarray, groups: int = 1) -> np.ndarray:
    """A convolution of 3x3 in whole numbers: NCHW, stride 1, a border of zeros."""
    _, channels, height, width = x.shape
    padded = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    inner, outer = channels // groups, w.shape[0] // groups
    total = np.zeros((1, w.shape[0], height, width), np.int64)
    for out in range(w.shape[0]):
        first = out // outer * inner
        for i in range(3):
            for j in range(3):
                part = padded[:, first : first + inner, i : i + height, j : j + width]
                total[:, out] += (part * w[out, :, i, j].astype(np.int64)[:, None, None]).sum(axis=1)
    return total


@pytest.mark.parametrize("groups", [1, 4, 2], ids=["full", "depthwise", "grouped"])
@pytest.mark.parametrize("dtypes", [("int16", "int16"), ("int16", "int8"), ("int8", "int8")])
@LITTLE
@given(seed=SEEDS, length=st.integers(0, 30), extreme=st.booleans(), cut=st.booleans())
def test_fixed_point_convolution_is_the_nearest_with_ties_upwards(
    *, groups: int, dtypes: tuple[str, str], seed: int, length: int, extreme: bool, cut: bool
) -> None:
    rng, (ends, weight_ends) = np.random.default_rng(seed), (np.iinfo(dtype) for dtype in dtypes)
    pick = rng.choice if extreme else lambda pair, shape: rng.integers(pair[0], pair[1] + 1, shape)
    x = pick([ends.min, ends.max], (1, 4, 5, 6)).astype(dtypes[0])
    w = pick([weight_ends.min, weight_ends.max], (8, 4 // groups, 3, 3)).astype(dtypes[1])
    bias = rng.integers(-(1 << 20), 1 << 20, 8).astype("int64" if dtypes[0] == "int16" else "int32")
    net = Net(x.shape, fixed(dtypes[0], 9))
    y = net.op(
        "Conv",
        net.x,
        net.constant(w, fixed(dtypes[1], 7)),
        net.constant(bias, fixed(bias.dtype.name, 16)),
        shape=[1, 8, 5, 6],
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        strides=[1, 1],
        dilations=[1, 1],
        group=groups,
    )
    y = net.op("Relu", y, shape=[1, 8, 5, 6]) if cut else y
    program = net.program(y, fixed(dtypes[0], 16 - length))
    assert program.types == ["Convolution"]
    (found,) = program([x])
    total = convolved(x, w, groups) + bias.reshape(1, -1, 1, 1)
    rounded = (total + (1 << length >> 1)) >> length
    np.testing.assert_array_equal(found, np.clip(rounded, 0 if cut else ends.min, ends.max))


Tail = Callable[[Net, ir.Value, list[int]], ir.Value]


def silu(net: Net, value: ir.Value, shape: list[int]) -> ir.Value:
    from synap_core.graph.annotations import set_activation

    gate = net.op("Sigmoid", value, shape=shape)
    result = net.op("Mul", value, gate, shape=shape)
    nodes = [gate.producer(), result.producer()]
    set_activation([node for node in nodes if node is not None], "Silu")
    return result


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


FACTORS = np.array([0.5, -1.5, 2.0, 0.25, -0.75, 1.0], np.float32).reshape(6, 1, 1)

TAILS: dict[str, tuple[Tail, Callable[[np.ndarray], np.ndarray]]] = {
    "sigmoid": (lambda net, v, s: net.op("Sigmoid", v, shape=s), sigmoid),
    "hard-swish": (lambda net, v, s: net.op("HardSwish", v, shape=s), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "leaky": (lambda net, v, s: net.op("LeakyRelu", v, shape=s, alpha=0.1), lambda x: np.where(x < 0, 0.1 * x, x)),
    "tanh": (lambda net, v, s: net.op("Tanh", v, shape=s), np.tanh),
    "silu": (silu, lambda x: x * sigmoid(x)),
    "factor": (lambda net, v, s: net.op("Mul", v, net.constant(FACTORS), shape=s), lambda x: x * FACTORS),
    "quotient": (lambda net, v, s: net.op("Div", v, net.constant(FACTORS), shape=s), lambda x: x / FACTORS),
    "difference": (lambda net, v, s: net.op("Sub", v, net.constant(FACTORS), shape=s), lambda x: x - FACTORS),
    "other-difference": (lambda net, v, s: net.op("Sub", net.constant(FACTORS), v, shape=s), lambda x: FACTORS - x),
    "factor-and-cut": (
        lambda net, v, s: net.op("Relu", net.op("Mul", v, net.constant(FACTORS), shape=s), shape=s),
        lambda x: np.maximum(x * FACTORS, 0),
    ),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
@pytest.mark.parametrize("name", TAILS)
def test_what_is_more_than_a_cut_is_at_most_half_a_unit_off(name: str, dtype: str, rng: np.random.Generator) -> None:
    tail, real = TAILS[name]
    ends = np.iinfo(dtype)
    x = rng.integers(ends.min, ends.max + 1, (1, 4, 7, 7)).astype(dtype)
    w = rng.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8)
    bias = rng.integers(-3000, 3000, 6).astype(np.int32)
    step, point = (1 / 64, 131 if dtype == "uint8" else 3) if dtype != "int16" else (1 / 16384, 0)
    scales = rng.uniform(0.001, 0.004, 6)
    net = Net(x.shape, affine(dtype, step, point))
    sums = net.op(
        "Conv",
        net.x,
        net.constant(w, affine("int8", tuple(scales), (0,) * 6, 0)),
        net.constant(bias, affine("int32", tuple(scales * step), (0,) * 6, 0)),
        shape=[1, 6, 7, 7],
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    )
    total = convolved(x.astype(np.int64) - point, w) + bias.reshape(6, 1, 1)
    expected = real(total * (scales * step).reshape(6, 1, 1))
    result = affine(dtype, *((0.03, point) if dtype != "int16" else (1 / 4096, 0)))
    program = net.program(tail(net, sums, [1, 6, 7, 7]), result)
    assert program.types == ["Convolution"]
    (found,) = program([x])
    scale, zero_point = scale_and_zero_point(result, 4)
    exact = np.clip(expected / scale + zero_point, ends.min, ends.max)
    assert np.abs(found - exact).max() <= 0.5 + 1e-2


@pytest.mark.parametrize("cut", [False, True])
def test_pool_takes_the_largest_results(cut: bool, rng: np.random.Generator) -> None:
    def made(pool: bool) -> Compiled:
        net = Net([1, 4, 9, 9], affine("int8", 0.02, -7))
        value = net.op(
            "Conv",
            net.x,
            net.constant(w, affine("int8", 0.01)),
            shape=[1, 5, 9, 9],
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
        )
        value = net.op("Relu", value, shape=[1, 5, 9, 9]) if cut else value
        set_quant(value, affine("int8", 0.05, 9))
        if pool:
            value = net.op("MaxPool", value, shape=[1, 5, 4, 4], kernel_shape=[2, 2], strides=[2, 2])
        return net.program(value, affine("int8", 0.05, 9))

    w = rng.integers(-127, 128, (5, 4, 3, 3)).astype(np.int8)
    x = rng.integers(-128, 128, (1, 4, 9, 9)).astype(np.int8)
    pooled, plain = made(pool=True), made(pool=False)
    assert pooled.types == plain.types == ["Convolution"]
    (found,), (whole,) = pooled([x]), plain([x])
    np.testing.assert_array_equal(found, whole[:, :, :8, :8].reshape(1, 5, 4, 2, 4, 2).max(axis=(3, 5)))


def test_products_of_three_dimensions_by_constants(rng: np.random.Generator) -> None:
    x, w = rng.integers(-128, 128, (1, 3, 5, 20)).astype(np.int8), rng.integers(-127, 128, (3, 20, 6)).astype(np.int8)
    net = Net(x.shape, affine("int8", 0.5, 4))
    y = net.op("MatMul", net.x, net.constant(w, affine("int8", 0.25)), shape=[1, 3, 5, 6])
    program = net.program(y, affine("int8", 100.0, -3))
    assert program.types == ["MatrixMultiply"]
    total = np.matmul(x.astype(np.int64) - 4, w.astype(np.int64))
    (found,) = program([x])
    assert np.abs(found - np.clip(total * 0.125 / 100 - 3, -128, 127)).max() <= 0.5 + 2**-8


def test_bias_that_differs_within_a_channel_is_not_lost(rng: np.random.Generator) -> None:
    x, w = rng.integers(-128, 128, (1, 1, 3, 4)).astype(np.int8), rng.integers(-127, 128, (4, 5)).astype(np.int8)
    bias = rng.normal(size=(3, 5)).astype(np.float32) * 20
    net = Net([3, 4], affine("int8", 0.5))
    y = net.op("Gemm", net.x, net.constant(w, affine("int8", 0.02)), net.constant(bias), shape=[3, 5])
    program = net.program(y, affine("int8", 0.75))
    (found,) = program([x[0, 0]])
    real = x[0, 0].astype(np.int64) @ w.astype(np.int64) * 0.01 + bias
    assert np.abs(found - np.clip(real / 0.75, -128, 127)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("weights", ["int8", "int8-per-row", "int16"])
def test_recurrent_layers_take_quantized_weights(kind: str, weights: str, rng: np.random.Generator) -> None:
    gates, hidden, inner, steps = 4 if kind == "LSTM" else 3, 5, 6, 4
    rows = gates * hidden
    dtype = weights.partition("-")[0]
    x = rng.integers(-128, 128, (steps, 1, inner)).astype(np.int8)
    sizes = {"int8": affine("int8", 0.01), "int16": fixed("int16", 14)}
    per_row = affine("int8", tuple(rng.uniform(0.002, 0.01, rows)), (0,) * rows, 1)
    quant = sizes.get(weights, per_row)
    net = Net(x.shape, affine("int8", 0.02, 5))
    largest = np.iinfo(dtype).max
    stored = [rng.integers(-largest, largest + 1, (1, rows, n)).astype(dtype) for n in (inner, hidden)]
    bias = rng.normal(size=(1, 2 * rows)).astype(np.float32)
    operands = [net.constant(array, quant) for array in stored]
    y = net.op(kind, net.x, *operands, net.constant(bias), shape=[steps, 1, 1, hidden], hidden_size=hidden)
    program = net.program(y, affine("int8", 1 / 128))
    (found,) = program([x])
    matrices = [QuantizedTensor(array, quant).numpy()[0].astype(np.float64) for array in stored]
    real = recurrent(kind, (x.astype(np.float64) - 5)[:, 0] * 0.02, *matrices, bias[0])
    assert np.abs(found[:, 0, 0] - np.clip(real * 128, -128, 127)).max() <= 0.5 + 1e-3


def recurrent(kind: str, x: np.ndarray, w: np.ndarray, r: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The layers as the standard defines them, in float64."""
    hidden = r.shape[1]
    before, inside = bias[: len(w)].astype(np.float64), bias[len(w) :].astype(np.float64)
    state, cell, results = np.zeros(hidden), np.zeros(hidden), []
    for row in x:
        one, other = w @ row + before, r @ state + inside
        if kind == "LSTM":
            i, o, f, c = (part for part in (one + other).reshape(4, hidden))
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
            state = sigmoid(o) * np.tanh(cell)
        else:
            z, reset, h = one.reshape(3, hidden)
            z, reset = sigmoid(z + other[:hidden]), sigmoid(reset + other[hidden : 2 * hidden])
            inner = r[2 * hidden :] @ (reset * state) + inside[2 * hidden :]
            state = (1 - z) * np.tanh(h + inner) + z * state
        results.append(state)
    return np.array(results)
