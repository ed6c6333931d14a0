"""Functions written out in several operators: clamps, normalisations, activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import activation_of, quant_of
from synap_core.graph.passes.activations import NameActivation
from synap_core.graph.passes.clamps import MergeClamps, MinMaxToClip, limits_of
from synap_core.graph.passes.norms import LayerNorm, SoftmaxFromParts
from synap_core.graph.passes.rule import Rule
from synap_core.graph.types import TensorType
from tests.support.canonical import run
from tests.support.passes import FLOAT, Net, annotated, int8, normalised, op_types, origins, reasons

CLAMPS = (MinMaxToClip, MergeClamps)
Emit = Callable[[Net, ir.Value], ir.Value]


def number(net: Net, value: float) -> ir.Value:
    return net.build.constant(float(value))


def clip(net: Net, x: ir.Value, low: float | None, high: float | None) -> ir.Value:
    return net("Clip", x, *(None if limit is None else number(net, limit) for limit in (low, high)))


@pytest.mark.parametrize(
    ("emit", "limits"),
    [
        (lambda net, x: net("Max", x, number(net, 0)), (0, math.inf)),
        (lambda net, x: net("Max", number(net, -1), x), (-1, math.inf)),
        (lambda net, x: net("Min", net("Max", x, net.number(-1, 1, 1)), net.number(1, 1)), (-1, 1)),
        (lambda net, x: net("Max", net("Min", x, number(net, 6)), number(net, 0)), (0, 6)),
        (lambda net, x: clip(net, net("Relu", x), None, 6), (0, 6)),
        (lambda net, x: net("Relu", clip(net, x, -1, 1)), (0, 1)),
        (lambda net, x: net("Relu", net("Relu", x)), (0, math.inf)),
        (lambda net, x: clip(net, clip(net, x, -2, -1), 0, 1), (0, 0)),
        (lambda net, x: clip(net, clip(net, x, 2, 3), 0, 1), (1, 1)),
        (lambda net, x: clip(net, clip(net, clip(net, x, -3, None), None, 3), -1, 8), (-1, 3)),
    ],
)
def test_clamps_become_one(emit: Emit, limits: tuple[float, float]) -> None:
    net = Net()
    model = net.model(emit(net, net.input(2, 8)))
    normalised(model, *CLAMPS)
    assert op_types(model) == ["Relu" if limits == (0, math.inf) else "Clip"]
    assert limits_of(model.graph[0]) == limits


def test_clamp_keeps_the_quantization_of_its_result() -> None:
    net = Net()
    x = annotated(clip(net, net("Relu", net.input(2, 8)), None, 6), int8())
    model = net.model(net("Neg", x))
    normalised(model, *CLAMPS)
    assert quant_of(model.graph[0].outputs[0]) == int8()
    assert origins(model)[0] == ["relu0", "clip1"]


@pytest.mark.parametrize(
    ("rule", "emit", "reason"),
    [
        (MinMaxToClip, lambda net, x: net("Max", x, net.weights(8)), ["not one number"]),
        (MinMaxToClip, lambda net, x: net("Min", x, net.number(1, 1, 1, 1)), ["result larger"]),
        (MinMaxToClip, lambda net, x: net("Min", x, x, number(net, 1)), []),
        (MinMaxToClip, lambda net, x: net("Max", x, number(net, math.nan)), ["not one number"]),
        (MergeClamps, lambda net, x: net("Relu", net("Clip", x, net.input(name="low"))), ["computed"]),
        (MergeClamps, lambda net, x: net("Relu", clip(net, x, 3, 1)), ["above the upper"]),
        (MergeClamps, lambda net, x: net("Relu", annotated(clip(net, x, -1, 1), int8())), ["is quantized"]),
    ],
    ids=["several items", "larger", "more operands", "nan", "computed", "wrong order", "quantized"],
)
def test_clamp_stays(rule: type[Rule[Any]], emit: Emit, reason: list[str]) -> None:
    net = Net()
    model = net.model(net("Neg", emit(net, net.input(2, 8))))
    before = op_types(model)
    report = normalised(model, *CLAMPS)
    assert op_types(model) == before
    assert [given in found for given, found in zip(reason, reasons(report, rule), strict=True)] == [True] * len(reason)


NEEDS = pytest.mark.parametrize("need", ["used", "output", "cut", "quantized"])


def refused_when(need: str, rule: type[Rule[Any]], emit: Emit, inner: int) -> None:
    """Check that a pattern stays when a value inside is needed in some way.

    Args:
        need: How.
        rule: That finds it otherwise.
        emit: Makes it, behind a node.
        inner: Number of the node that gives the value.
    """
    net = Net()
    result = emit(net, net("Identity", net.input(2, 3, 8)))
    value = net.build._nodes[inner].outputs[0]
    annotated(value, int8() if need == "quantized" else None)
    others = [net("Neg", value)] if need == "used" else [value] if need == "output" else []
    model = net.model(net("Neg", result), *others)
    before = op_types(model)
    report = normalised(model, rule, keep=[value] if need == "cut" else [])
    assert op_types(model) == before
    assert all(activation_of(node) is None for node in model.graph)
    wanted = {"used": ["used elsewhere"], "output": ["output or a cut"], "quantized": ["is quantized"], "cut": []}[need]
    assert [given in found for given, found in zip(wanted, reasons(report, rule), strict=True)] == [True] * len(wanted)


@NEEDS
def test_first_clamp_that_is_needed_stays(need: str) -> None:
    refused_when(need, MergeClamps, lambda net, x: net("Relu", clip(net, x, -1, 1)), 1)


def layer_norm(
    net: Net,
    x: ir.Value,
    *,
    axes: tuple[int, ...] = (-1,),
    spread_axes: tuple[int, ...] | None = None,
    epsilon: ir.Value | None = None,
    square: str = "Pow",
    division: str = "Div",
) -> ir.Value:
    """The usual ways to write it."""
    difference = net("Sub", x, net("ReduceMean", x, net.integers(*axes)))
    squared = net("Pow", difference, number(net, 2)) if square == "Pow" else net("Mul", difference, difference)
    variance = net("ReduceMean", squared, net.integers(*(spread_axes or axes)))
    shifted = net("Add", variance, number(net, 1e-3) if epsilon is None else epsilon)
    if division == "Pow":
        return net("Mul", net("Pow", shifted, number(net, -0.5)), difference)
    root = net("Sqrt", shifted)
    if division == "Div":
        return net("Div", difference, root)
    inverse = net("Reciprocal", root) if division == "Reciprocal" else net("Div", number(net, 1), root)
    return net("Mul", difference, inverse)


@pytest.mark.parametrize("axes", [(-1,), (1, 2), (-1, -2, 0)], ids=str)
@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("division", ["Div", "Pow", "Reciprocal", "one by it"])
def test_layer_normalisation_is_found(axes: tuple[int, ...], square: str, division: str) -> None:
    net = Net()
    model = net.model(layer_norm(net, net.input(2, 3, 8), axes=axes, square=square, division=division))
    normalised(model, LayerNorm)
    assert op_types(model) == ["LayerNormalization"]
    assert model.graph[0].attributes["epsilon"].as_float() == pytest.approx(1e-3)
    assert len(origins(model)[0]) >= 7


def test_scale_and_shift_become_part_of_layer_normalisation() -> None:
    net = Net()
    y = layer_norm(net, net.input(2, 3, 8))
    model = net.model(net("Add", net("Mul", net.weights(8), y), net.weights(8)))
    normalised(model)
    assert op_types(model) == ["LayerNormalization"]
    assert len(model.graph[0].inputs) == 3


@pytest.mark.parametrize(
    ("emit", "reason"),
    [
        (lambda net, x: layer_norm(net, x, axes=(1,)), "not the last ones"),
        (lambda net, x: layer_norm(net, x, axes=(0, 2)), "not the last ones"),
        (lambda net, x: layer_norm(net, x, axes=(2,), spread_axes=(1, 2)), "not the last ones"),
        (lambda net, x: layer_norm(net, x, epsilon=net.number(1e-3, 8)), "epsilon"),
        (lambda net, x: layer_norm(net, x, epsilon=net("Abs", net.input(name="epsilon"))), "epsilon"),
        (lambda net, x: net("Abs", layer_norm(net, x, epsilon=number(net, -1e-9))), "epsilon"),
    ],
    ids=["inner axis", "gap", "other axes", "several epsilons", "computed epsilon", "negative epsilon"],
)
def test_other_normalisation_stays(emit: Emit, reason: str) -> None:
    net = Net()
    model = net.model(emit(net, net.input(2, 3, 8)))
    before = op_types(model)
    report = normalised(model, LayerNorm)
    assert op_types(model) == before
    assert [reason in found for found in reasons(report, LayerNorm)] == [True]


def outside_root(net: Net, x: ir.Value) -> ir.Value:
    difference = net("Sub", x, net("ReduceMean", x, net.integers(-1)))
    root = net("Sqrt", net("ReduceMean", net("Mul", difference, difference), net.integers(-1)))
    return net("Div", difference, net("Add", root, number(net, 1e-3)))


def of_another_mean(net: Net, x: ir.Value) -> ir.Value:
    mean = net("ReduceMean", net("Exp", x), net.integers(-1))
    difference = net("Sub", x, mean)
    spread = net("ReduceMean", net("Mul", difference, difference), net.integers(-1))
    return net("Div", difference, net("Sqrt", net("Add", spread, number(net, 1e-3))))


def cubed(net: Net, x: ir.Value) -> ir.Value:
    difference = net("Sub", x, net("ReduceMean", x, net.integers(-1)))
    spread = net("ReduceMean", net("Pow", net("Abs", difference), number(net, 3)), net.integers(-1))
    return net("Div", difference, net("Sqrt", net("Add", spread, number(net, 1e-3))))


def along_computed_axes(net: Net, x: ir.Value) -> ir.Value:
    axes = net("Add", net("Mul", net.build.input("axes", ir.DataType.INT64, (1,)), net.integers(0)), net.integers(2))
    mean = net.many("ReduceMean", x, axes, results=[TensorType(FLOAT, (2, 3, 1))])[0]
    difference = net("Sub", x, mean)
    spread = net.many("ReduceMean", net("Mul", difference, difference), axes, results=[TensorType(FLOAT, (2, 3, 1))])[0]
    return net("Div", difference, net("Sqrt", net("Add", spread, number(net, 1e-3))))


@pytest.mark.parametrize("emit", [outside_root, of_another_mean, cubed, along_computed_axes])
def test_what_only_looks_like_a_normalisation_stays(emit: Emit) -> None:
    net = Net()
    model = net.model(emit(net, net.input(2, 3, 8)))
    before = op_types(model)
    normalised(model, LayerNorm)
    assert op_types(model) == before


@NEEDS
@pytest.mark.parametrize("inner", [1, 2, 3, 5], ids=["mean", "difference", "square", "sum"])
def test_normalisation_with_a_value_that_is_needed_stays(need: str, inner: int) -> None:
    refused_when(need, LayerNorm, lambda net, x: layer_norm(net, x, axes=(2,)), inner)


def softmax(
    net: Net, x: ir.Value, axis: tuple[int, ...] = (-1,), largest: tuple[int, ...] | None = None, *, keep: int = 1
) -> ir.Value:
    if largest != ():
        x = net("Sub", x, net("ReduceMax", x, net.integers(*(largest or axis))))
    power = net("Exp", x)
    return net("Div", power, net("ReduceSum", power, net.integers(*axis), keepdims=keep))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("largest", [None, ()], ids=["of differences", "plain"])
def test_softmax_is_found(axis: int, largest: tuple[int, ...] | None) -> None:
    net = Net()
    model = net.model(softmax(net, net.input(2, 3, 8), (axis,), largest))
    normalised(model, SoftmaxFromParts)
    assert op_types(model) == ["Softmax"]


def test_softmax_by_a_reciprocal_is_found() -> None:
    net = Net()
    power = net("Exp", net.input(2, 8))
    model = net.model(net("Mul", net("Reciprocal", net("ReduceSum", power, net.integers(1))), power))
    normalised(model, SoftmaxFromParts)
    assert op_types(model) == ["Softmax"]


@pytest.mark.parametrize(
    ("emit", "reason"),
    [
        (lambda net, x: softmax(net, x, (1, 2)), ["several dimensions"]),
        (lambda net, x: softmax(net, x, (2,), (1,)), ["over others"]),
        (lambda net, x: softmax(net, net("ReduceMax", x, net.integers(0)), (0,), keep=0), []),
        (lambda net, x: net("Div", net("Exp", x), net("ReduceSum", net("Exp", net("Neg", x)), net.integers(2))), []),
        (lambda net, x: net("Div", (e := net("Exp", x)), net("ReduceSum", e, noop_with_empty_axes=1)), []),
    ],
    ids=["several axes", "other maximum", "dropped dimension", "other sum", "sum of nothing"],
)
def test_other_quotient_stays(emit: Emit, reason: list[str]) -> None:
    net = Net()
    model = net.model(emit(net, net.input(2, 3, 8)))
    before = op_types(model)
    report = normalised(model, SoftmaxFromParts)
    assert op_types(model) == before
    found = reasons(report, SoftmaxFromParts)
    assert [given in told for given, told in zip(reason, found, strict=True)] == [True] * len(reason)


def test_softmax_of_differences_that_are_a_cut_starts_behind_it() -> None:
    net = Net()
    result = softmax(net, net.input(2, 3, 8))
    cut = net.build._nodes[1].outputs[0]
    model = net.model(result)
    normalised(model, SoftmaxFromParts, keep=[cut])
    assert op_types(model) == ["ReduceMax", "Sub", "Softmax"]


@NEEDS
@pytest.mark.parametrize("inner", [3, 4], ids=["power", "sum"])
def test_softmax_with_a_value_that_is_needed_stays(need: str, inner: int) -> None:
    refused_when(need, SoftmaxFromParts, softmax, inner)


def erf_gate(net: Net, x: ir.Value, factor: float = math.sqrt(0.5)) -> ir.Value:
    return net("Add", net("Erf", net("Mul", x, number(net, factor))), number(net, 1))


def tanh_gate(net: Net, x: ir.Value, cube: ir.Value, factor: float = 0.044715) -> ir.Value:
    inner = net("Add", x, net("Mul", number(net, factor), cube))
    return net("Add", number(net, 1), net("Tanh", net("Mul", inner, number(net, math.sqrt(2 / math.pi)))))


def hard_gate(net: Net, x: ir.Value, high: float = 6) -> ir.Value:
    return clip(net, net("Add", x, number(net, 3)), 0, high)


ACTIVATIONS: dict[str, tuple[str, Emit]] = {
    "hard-swish": ("HardSwish", lambda net, x: net("HardSwish", x)),
    "hard-swish/div-last": ("HardSwish", lambda net, x: net("Div", net("Mul", x, hard_gate(net, x)), number(net, 6))),
    "hard-swish/mul-last": (
        "HardSwish", lambda net, x: net("Mul", number(net, 1 / 6), net("Mul", hard_gate(net, x), x))
    ),
    "hard-swish/div-gate": ("HardSwish", lambda net, x: net("Mul", x, net("Div", hard_gate(net, x), number(net, 6)))),
    "hard-swish/mul-x": (
        "HardSwish", lambda net, x: net("Mul", net("Mul", x, number(net, 0.16667)), hard_gate(net, x))
    ),
    "hard-swish/unit-gate": (
        "HardSwish",
        lambda net, x: net("Mul", x, clip(net, net("Add", net("Div", x, number(net, 6)), number(net, 0.5)), 0, 1)),
    ),
    "hard-swish/hard-sigmoid": (
        "HardSwish", lambda net, x: net("Mul", x, net("HardSigmoid", x, alpha=1 / 6, beta=0.5))
    ),
    "mish": ("Mish", lambda net, x: net("Mish", x)),
    "mish/softplus": ("Mish", lambda net, x: net("Mul", net("Tanh", net("Softplus", x)), x)),
    "mish/log": (
        "Mish",
        lambda net, x: net("Mul", x, net("Tanh", net("Log", net("Add", number(net, 1), net("Exp", x))))),
    ),
    "silu": ("SiLU", lambda net, x: net("Mul", x, net("Sigmoid", x))),
    "silu/reversed": ("SiLU", lambda net, x: net("Mul", net("Sigmoid", x), x)),
    "silu/tanh": (
        "SiLU",
        lambda net, x: net(
            "Mul", x,
            net("Add", net("Mul", net("Tanh", net("Mul", x, number(net, 0.5))), number(net, 0.5)), number(net, 0.5)),
        ),
    ),
    "gelu/half-last": ("GELU", lambda net, x: net("Mul", net("Mul", x, erf_gate(net, x)), number(net, 0.5))),
    "gelu/half-x": ("GELU", lambda net, x: net("Mul", net("Mul", number(net, 0.5), x), erf_gate(net, x))),
    "gelu/half-gate": ("GELU", lambda net, x: net("Mul", x, net("Mul", erf_gate(net, x), number(net, 0.5)))),
    "hard-swish/negated": (
        "HardSwish",
        lambda net, x: net(
            "Mul", x, net("Div", clip(net, net("Sub", number(net, 3), net("Neg", x)), 0, 6), number(net, 6))
        ),
    ),
    "gelu/div-root": (
        "GELU",
        lambda net, x: net(
            "Mul", x,
            net("Mul", number(net, 0.5),
                net("Add", net("Erf", net("Div", x, number(net, math.sqrt(2)))), number(net, 1))),
        ),
    ),
    "gelu/tanh-of-power": (
        "GELU",
        lambda net, x: net(
            "Mul", net("Mul", number(net, 0.5), x), tanh_gate(net, x, net("Pow", x, number(net, 3)))
        ),
    ),
    "gelu/tanh-of-products": (
        "GELU",
        lambda net, x: net(
            "Mul", number(net, 0.5), net("Mul", x, tanh_gate(net, x, net("Mul", x, net("Mul", x, x))))
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "emit"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activation_is_named_and_left_as_it_is(name: str, emit: Emit) -> None:
    net = Net()
    model = net.model(net("Neg", emit(net, net("Exp", net.input(2, 8)))))
    before = op_types(model)
    report = normalised(model, NameActivation)
    assert op_types(model) == before
    assert report.applied == {"name-activation": 1}
    inside = list(model.graph)[1:-1]
    assert [activation_of(node) for node in inside] == [activation_of(inside[-1])] * len(inside)
    annotation = activation_of(inside[-1])
    assert annotation is not None
    assert (annotation.name, annotation.last) == (name, inside[-1].name)
    assert activation_of(model.graph[0]) is activation_of(model.graph[-1]) is None


def gelu_exact(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.reshape(-1)]).reshape(x.shape)


FORMULAS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "HardSwish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, 2e-4),  # 0.16667 instead of 1 / 6
    "Mish": (lambda x: x * np.tanh(np.log1p(np.exp(x))), 1e-6),
    "SiLU": (lambda x: x / (1 + np.exp(-x)), 1e-6),
    "GELU": (gelu_exact, 1e-3),  # the form with a hyperbolic tangent is an approximation
}


@pytest.mark.parametrize(("name", "emit"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_named_spelling_computes_the_function(name: str, emit: Emit) -> None:
    """The names are right: ONNX Runtime computes each spelling as the definition of its function does."""
    net = Net()
    x = net.build.input("x", FLOAT, (64,))
    model = net.model(emit(net, x))
    items = np.linspace(-8, 8, 64, dtype=np.float32)
    formula, tolerance = FORMULAS[name]
    np.testing.assert_allclose(run(model, [items])[0], formula(items.astype(np.float64)), atol=tolerance)


@pytest.mark.parametrize(
    "emit",
    [
        lambda net, x: net("Mul", x, net("Sigmoid", net("Mul", x, number(net, 1.702)))),
        lambda net, x: net("Mul", x, net("Sigmoid", net.input(2, 8, name="y"))),
        lambda net, x: net("Mul", net("Mul", x, number(net, 2)), net("Sigmoid", x)),
        lambda net, x: net("Mul", x, erf_gate(net, x)),
        lambda net, x: net("Mul", net("Mul", x, number(net, 0.5)), erf_gate(net, x, 1.0)),
        lambda net, x: net("Mul", net("Mul", x, number(net, 0.5)),
                           tanh_gate(net, x, net("Pow", x, number(net, 2)))),
        lambda net, x: net("Mul", net("Mul", x, number(net, 0.5)),
                           tanh_gate(net, x, net("Pow", x, number(net, 3)), 0.1)),
        lambda net, x: net("Mul", x, net("Tanh", x)),
        lambda net, x: net("Mul", x, net("Tanh", net("Log", net("Add", number(net, 2), net("Exp", x))))),
        lambda net, x: net("Div", net("Mul", x, hard_gate(net, x, 5)), number(net, 6)),
        lambda net, x: net("Div", net("Mul", x, hard_gate(net, x)), number(net, 5)),
        lambda net, x: net("Mul", x, net("HardSigmoid", x)),
        lambda net, x: net("Div", number(net, 6), net("Mul", x, hard_gate(net, x))),
        lambda net, x: net("Div", net("Mul", x, net("Clip", net("Add", x, number(net, 3)), net.input(name="low"))),
                           number(net, 6)),
        lambda net, x: net("Mul", net("Mul", x, number(net, 0.5)),
                           tanh_gate(net, x, net("Pow", x, number(net, 4)))),
    ],
    ids=["quick-gelu", "other gate", "twice", "no half", "other factor", "square", "other cube", "tanh", "log-2",
         "other limit", "other divisor", "flatter", "quotient", "computed limit", "fourth power"],
)  # fmt: skip
def test_other_function_has_no_name(emit: Emit) -> None:
    net = Net()
    model = net.model(emit(net, net("Exp", net.input(2, 8))))
    normalised(model, NameActivation)
    assert [activation_of(node) for node in model.graph] == [None] * len(model.graph)


@NEEDS
@pytest.mark.parametrize(
    ("spelling", "inner"),
    [("silu", 1), ("hard-swish/div-last", 1), ("hard-swish/div-last", 3), ("gelu/tanh-of-power", 4), ("mish/log", 2)],
)
def test_activation_with_a_value_that_is_needed_has_no_name(need: str, spelling: str, inner: int) -> None:
    refused_when(need, NameActivation, ACTIVATIONS[spelling][1], inner)


def test_operand_of_an_activation_may_be_used_elsewhere_quantized_or_a_cut() -> None:
    net = Net()
    x = annotated(net("Exp", net.input(2, 8)), int8())
    model = net.model(net("Mul", x, net("Sigmoid", x)), net("Neg", x))
    report = normalised(model, NameActivation, keep=[x])
    assert report.applied == {"name-activation": 1}


def test_named_activation_is_not_named_again() -> None:
    net = Net()
    x = net("Exp", net.input(2, 8))
    model = net.model(net("Mul", x, net("Sigmoid", x)))
    assert normalised(model).applied == {"name-activation": 1}
    assert normalised(model).applied == {}


def test_clamps_are_joined_before_activations_are_looked_for() -> None:
    net = Net()
    x = net("Exp", net.input(2, 8))
    gate = net("Min", net("Relu", net("Add", x, number(net, 3))), number(net, 6))
    model = net.model(net("Mul", x, net("Mul", gate, number(net, 1 / 6))))
    report = normalised(model)
    assert report.applied == {"min-max-to-clip": 1, "merge-clamps": 1, "name-activation": 1}


def test_long_chains_of_arithmetic_are_no_activation() -> None:
    """Products of a value with itself double their degree: they are given up, not multiplied out."""
    net = Net()
    x = net("Sigmoid", net.input(2, 8))
    for _ in range(12):
        x = net("Mul", net("Sigmoid", x), net("Mul", x, x))
    model = net.model(x)
    assert normalised(model, NameActivation).applied == {}
