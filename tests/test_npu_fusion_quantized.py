"""Nodes of layers that were quantized before, between which nothing is rounded, are one operation of the NPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.api import QuantizedTensor, QuantParams, group
from synap_core.graph.annotations import set_quant
from synap_delegate_npu.fusion import Fused, fused, profile_name
from synap_delegate_npu.support import check
from tests.support.passes import Net, int8

HALF, QUARTER = int8(0.5), int8(0.25)

Build = Callable[[Net], tuple[ir.Value, ...]]


def of(value: ir.Value, quant: QuantParams | None) -> ir.Value:
    set_quant(value, quant)
    return value


def image(net: Net, name: str = "x") -> ir.Value:
    return net.input(1, 4, 8, 8, name=name, quant=HALF)


def found(net: Net, *outputs: ir.Value, keep: tuple[ir.Value, ...] = ()) -> Fused:
    model = net.model(*outputs)
    names = [str(value.name) for value in keep]
    return fused(model, group(model, names), names)


def shapes(result: Fused) -> list[str]:
    return ["+".join(node.op_type for node in item.nodes) for item in result.groups]


def stays(build: Build, rule: str, reason: str) -> None:
    """Check that a rule does not join what a function builds, and that it says why where the pattern is there."""
    net = Net()
    result = found(net, *build(net))
    assert rule not in result.applied
    assert all("+" not in shape for shape in shapes(result))
    reasons = [text for (name, _), text in result.refused.items() if name == rule]
    assert [reason in text for text in reasons] == ([True] if reason else [])


# Results that are cut


def multiplied(net: Net) -> ir.Value:
    return net("Mul", image(net), image(net, "y"))


def divided(net: Net) -> ir.Value:
    return net("Div", image(net), image(net, "y"))


def averaged(net: Net) -> ir.Value:
    return net("AveragePool", image(net), kernel_shape=[2, 2], strides=[2, 2])


def averaged_as_a_whole(net: Net) -> ir.Value:
    return net("GlobalAveragePool", image(net))


def joined(net: Net) -> ir.Value:
    return net("Concat", image(net), image(net, "y"), axis=1)


RESULTS = {
    multiplied: ("PPU", "MultiplyReluLayer"),
    divided: ("PPU", "DivideReluLayer"),
    averaged: ("TP", "PoolReluLayer"),
    averaged_as_a_whole: ("NN", "ConvolutionReluPoolingLayer2"),
    joined: ("TP", "TensorConcat"),
}


@pytest.mark.parametrize(
    ("build", "engine", "name"),
    [(build, *rest) for build, rest in RESULTS.items()],
    ids=[build.__name__ for build in RESULTS],
)
@pytest.mark.parametrize("cut", ["Relu", "Clip"])
def test_result_and_what_cuts_it_are_one_operation(
    build: Callable[[Net], ir.Value], engine: str, name: str, cut: str
) -> None:
    net = Net()
    limits = [net.number(0), net.number(6)] if cut == "Clip" else []
    result = found(net, of(net(cut, build(net), *limits), QUARTER))
    assert result.applied == {"cut-result": 1}
    (operation,) = result.groups
    answer = check(operation, "int8")
    assert (answer.ok, answer.reason) == (True, "")
    assert answer.engine == engine
    assert profile_name(operation, engine) == name


def constant(net: Net, quant: QuantParams | None) -> ir.Value:
    value = net.weights(4, 1, 1)
    if quant is not None:
        integers = np.arange(4, dtype=np.int8).reshape(4, 1, 1)
        value.const_value = QuantizedTensor(integers, quant, name=str(value.name))
    return value


def test_quantized_factor_does_not_hinder() -> None:
    net = Net()
    y = of(net("Relu", net("Mul", image(net), constant(net, HALF))), QUARTER)
    assert shapes(found(net, y)) == ["Mul+Relu"]


def cut_of_quantized(net: Net) -> tuple[ir.Value, ...]:
    return (of(net("Relu", of(multiplied(net), HALF)), HALF),)


def cut_not_quantized(net: Net) -> tuple[ir.Value, ...]:
    return (net("Relu", multiplied(net)),)


def cut_elsewhere(net: Net) -> tuple[ir.Value, ...]:
    y = multiplied(net)
    return of(net("Relu", y), HALF), of(net("Tanh", y), HALF)


def cut_given_out(net: Net) -> tuple[ir.Value, ...]:
    y = multiplied(net)
    return of(net("Relu", y), HALF), y


def cut_by_a_computed_limit(net: Net) -> tuple[ir.Value, ...]:
    limit = net("ReduceMin", net.input(3, name="l"), keepdims=0)
    return (of(net("Clip", multiplied(net), limit), HALF),)


def cut_of_a_plain_constant(net: Net) -> tuple[ir.Value, ...]:
    return (of(net("Relu", net("Mul", image(net), constant(net, None))), HALF),)


def cut_of_integers(net: Net) -> tuple[ir.Value, ...]:
    x, y = (net.build.input(name, ir.DataType.INT32, (3,)) for name in "ij")
    return (net("Relu", net("Mul", x, y)),)


def cut_of_the_largest(net: Net) -> tuple[ir.Value, ...]:
    return (of(net("Relu", net("MaxPool", image(net), kernel_shape=[2, 2], strides=[2, 2])), HALF),)


def other_function(net: Net) -> tuple[ir.Value, ...]:
    return (of(net("Tanh", multiplied(net)), HALF),)


NOT_CUT = {
    cut_of_quantized: "is quantized",
    cut_not_quantized: "",
    cut_elsewhere: "",
    cut_given_out: "is an output or a cut",
    cut_by_a_computed_limit: "is computed",
    cut_of_a_plain_constant: "is a constant that is not quantized",
    cut_of_integers: "",
    cut_of_the_largest: "",
    other_function: "",
}


@pytest.mark.parametrize(("build", "reason"), NOT_CUT.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_result_stays_alone(build: Build, reason: str) -> None:
    stays(build, "cut-result", reason)


# Softmax of a product


def scaled(net: Net, factor: ir.Value, between: QuantParams | None = None) -> ir.Value:
    return of(net("Mul", image(net), factor), between)


@pytest.mark.parametrize("swapped", [False, True])
def test_softmax_and_the_factor_in_front_of_it_are_one_operation(swapped: bool) -> None:
    net = Net()
    operands = [image(net), net.number(2.5)]
    y = net("Mul", *(reversed(operands) if swapped else operands))
    result = found(net, of(net("Softmax", y), QUARTER))
    assert result.applied == {"scale-softmax": 1}
    (operation,) = result.groups
    assert check(operation, "int8").engine == "PPU"
    assert profile_name(operation, "PPU") == "Softmax2Layer"


def softmax_not_quantized(net: Net) -> tuple[ir.Value, ...]:
    return (net("Softmax", scaled(net, net.number(2))),)


def softmax_of_quantized(net: Net) -> tuple[ir.Value, ...]:
    return (of(net("Softmax", scaled(net, net.number(2), HALF)), QUARTER),)


def softmax_of_several_factors(net: Net) -> tuple[ir.Value, ...]:
    return (of(net("Softmax", scaled(net, net.weights(4, 1, 1))), QUARTER),)


def softmax_of_a_computed_factor(net: Net) -> tuple[ir.Value, ...]:
    return (of(net("Softmax", scaled(net, net.input(name="f"))), QUARTER),)


def softmax_elsewhere(net: Net) -> tuple[ir.Value, ...]:
    y = scaled(net, net.number(2))
    return of(net("Softmax", y), QUARTER), of(net("Tanh", y), QUARTER)


def softmax_given_out(net: Net) -> tuple[ir.Value, ...]:
    y = scaled(net, net.number(2))
    return of(net("Softmax", y), QUARTER), y


NOT_SCALED = {
    softmax_not_quantized: "",
    softmax_of_quantized: "is quantized",
    softmax_of_several_factors: "",
    softmax_of_a_computed_factor: "",
    softmax_elsewhere: "",
    softmax_given_out: "is an output or a cut",
}


@pytest.mark.parametrize(("build", "reason"), NOT_SCALED.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_softmax_stays_alone(build: Build, reason: str) -> None:
    stays(build, "scale-softmax", reason)


# Interpolations that are written out

HALVES = [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]


def matrix(net: Net, rows: list[list[float]]) -> ir.Value:
    return net.build.constant(np.asarray(rows, np.float32))


def product(net: Net, value: ir.Value, rows: list[list[float]] = HALVES) -> ir.Value:
    return net("MatMul", matrix(net, rows), value)


def shaped(net: Net, value: ir.Value, *sizes: int) -> ir.Value:
    return net("Reshape", value, net.build.constant(np.asarray(sizes, np.int64)))


def pixels(net: Net) -> ir.Value:
    """Two rows of two pixels."""
    return net.input(1, 2, 10, quant=HALF)


def written_out(net: Net, first: QuantParams | None = None) -> tuple[ir.Value, ir.Value]:
    """Three rows of three pixels, and what is between."""
    between = of(shaped(net, product(net, pixels(net)), 3, 2, 5), first)
    return of(shaped(net, product(net, between), 1, 3, 3, 5), HALF), between


def test_interpolation_that_is_written_out_is_one_operation() -> None:
    net = Net()
    result = found(net, written_out(net)[0])
    assert result.applied == {"join-interpolation": 1}
    (operation,) = result.groups
    assert [node.op_type for node in operation.nodes] == ["MatMul", "Reshape", "MatMul", "Reshape"]
    answer = check(operation, "int8")
    assert (answer.ok, answer.engine) == (True, "PPU")
    assert profile_name(operation, "PPU") == "ResizeLayer"


def test_rounded_value_divides_an_interpolation() -> None:
    net = Net()
    assert shapes(found(net, written_out(net, HALF)[0])) == ["MatMul+Reshape", "MatMul+Reshape"]


def test_cut_keeps_an_interpolation_apart() -> None:
    net = Net()
    y, between = written_out(net)
    result = found(net, y, keep=(between,))
    assert shapes(result) == ["MatMul", "Reshape", "MatMul+Reshape"]
    assert [rule for rule, _ in result.refused] == ["join-interpolation"]


def interpolation_not_quantized(net: Net) -> tuple[ir.Value, ...]:
    return (shaped(net, product(net, pixels(net)), 3, 2, 5),)


def interpolation_elsewhere(net: Net) -> tuple[ir.Value, ...]:
    y = product(net, pixels(net))
    return of(shaped(net, y, 3, 2, 5), HALF), of(net("Tanh", y), HALF)


def rows_of_another_sum(net: Net) -> tuple[ir.Value, ...]:
    return (of(shaped(net, product(net, pixels(net), [[1, 0], [0.5, 0.25], [0, 1]]), 3, 2, 5), HALF),)


def rows_with_a_negative_weight(net: Net) -> tuple[ir.Value, ...]:
    return (of(shaped(net, product(net, pixels(net), [[1, 0], [1.5, -0.5], [0, 1]]), 3, 2, 5), HALF),)


def rows_of_three_weights(net: Net) -> tuple[ir.Value, ...]:
    x = net.input(1, 3, 10, quant=HALF)
    return (of(shaped(net, product(net, x, [[0.25, 0.5, 0.25]]), 1, 2, 5), HALF),)


def weights_computed(net: Net) -> tuple[ir.Value, ...]:
    return (of(shaped(net, net("MatMul", net.input(3, 2, name="w"), pixels(net)), 3, 2, 5), HALF),)


def no_weights_behind(net: Net) -> tuple[ir.Value, ...]:
    y = net("MatMul", net.input(4, 3, name="w", quant=HALF), shaped(net, product(net, pixels(net)), 3, 10))
    return (of(y, HALF),)


def turned(net: Net) -> tuple[ir.Value, ...]:
    return (of(net("Transpose", product(net, pixels(net)), perm=[0, 2, 1]), HALF),)


NO_INTERPOLATION = [
    interpolation_not_quantized,
    interpolation_elsewhere,
    rows_of_another_sum,
    rows_with_a_negative_weight,
    rows_of_three_weights,
    weights_computed,
    no_weights_behind,
    turned,
]


@pytest.mark.parametrize("build", NO_INTERPOLATION, ids=lambda function: function.__name__)
def test_product_of_matrices_stays_alone(build: Build) -> None:
    stays(build, "join-interpolation", "")
