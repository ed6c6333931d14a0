"""Plans of quantizations: conversions, what shares parameters, and what constants are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import Origin, State, quant_of
from synap_core.graph.build import GraphBuilder
from synap_core.graph.groups import group
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.interface import QuantSpec
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import make_plan
from tests.support.comparison import OnnxSession
from tests.support.passes import Net, random_inputs

F32 = np.float32
EVERYWHERE = (-np.inf, np.inf)
PADS = [0, 0, 1, 1, 0, 0, 1, 1]


def planned(
    model: ir.Model,
    dtype: str = "uint8",
    types: Mapping[str, str] | None = None,
    *,
    scheme: str = "default",
    mode: str = "full",
) -> Plan:
    """Plan with one type for all layers but some: by the name of their first origin, or of the input."""
    groups = group(model)
    ids = {str(value.name): input_layer_id(value) for value in model.graph.inputs}
    ids |= {item.origins[0].name: item.layer_id for item in groups}
    chosen = dict.fromkeys(ids.values(), dtype) | {ids[name]: wanted for name, wanted in (types or {}).items()}
    return make_plan(model, groups, chosen, scheme=scheme, mode=mode)


def conversions(plan: Plan) -> list[tuple[str, str]]:
    """Value that each conversion reads, and the type it gives."""
    found = [item for item in plan.groups if not item.origins]
    assert all([node.op_type for node in item.nodes] == ["Identity"] for item in found)
    read = [item.nodes[0].inputs[0] for item in found]
    return [(str(value and value.name), plan.types[item.layer_id]) for value, item in zip(read, found, strict=True)]


def key(plan: Plan, value: ir.Value) -> str | None:
    return plan.slot_of.get(str(value.name))


# Conversions.


def test_one_type_needs_no_conversion() -> None:
    net = Net()
    x = net.input(1, 3, 4, 4)
    y = net("Relu", net.conv(net("Abs", x), 2))
    plan = planned(net.model(y))
    assert conversions(plan) == []
    assert {slot.spec.dtype for slot in plan.slots.values()} == {"uint8"}


def test_conversion_serves_all_readers_of_a_type() -> None:
    net = Net()
    x = net.input(1, 4)
    a = net("Abs", x)
    outputs = [net("Neg", a), net("Sqrt", a), net("Exp", a), net("Floor", a), net("Add", a, a)]
    plan = planned(
        net.model(*outputs), types={"sqrt2": "int16", "exp3": "int16", "floor4": "float16", "add5": "float16"}
    )
    assert conversions(plan) == [(a.name, "int16"), (a.name, "float16")] or conversions(plan) == [
        (a.name, "float16"),
        (a.name, "int16"),
    ]
    for output, dtype in zip(outputs, ("uint8", "int16", "int16", "float16", "float16"), strict=True):
        node = output.producer()
        assert node is not None
        for operand in node.inputs:
            assert operand is not None
            assert plan.slots[plan.slot_of[str(operand.name)]].spec.dtype == dtype


@pytest.mark.parametrize("types", [*itertools.product(("uint8", "int16", "float16"), repeat=3)], ids="-".join)
def test_input_is_converted_for_every_type_that_reads_it(types: tuple[str, str, str]) -> None:
    net = Net()
    x = net.input(1, 4)
    outputs = [net("Abs", x), net("Neg", x), net("Exp", x)]
    model = net.model(*outputs)
    expected = OnnxSession(model).run(random_inputs(model))
    plan = planned(model, types=dict(zip(("abs0", "neg1", "exp2"), types, strict=True)))
    assert sorted(conversions(plan)) == sorted(("x", dtype) for dtype in {*types} - {"uint8"})
    for found, wanted in zip(OnnxSession(plan.graph).run(random_inputs(model)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("seed", range(5))
def test_operands_have_the_type_of_their_layer_and_numbers_stay_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Net()
    known = [net.input(1, 4), net.input(1, 4, name="y")]
    for _ in range(12):
        one, other = (known[i] for i in rng.integers(len(known), size=2))
        kind = rng.choice(["Add", "Mul", "Abs", "Gemm", "Concat"])
        if kind == "Gemm":
            known.append(net("Relu", net("Gemm", one, net.weights(4, 4))))
        elif kind == "Concat":
            known.append(
                net("Slice", net("Concat", one, other, axis=1), net.integers(2), net.integers(6), net.integers(1))
            )
        else:
            known.append(net(str(kind), one, other) if kind != "Abs" else net("Abs", one))
    model = net.model(known[-1], known[-2], known[-3])
    names = [item.origins[0].name for item in group(model)]
    types = {name: str(rng.choice(["uint8", "int16", "float16"])) for name in [*names, "x"]}
    expected = OnnxSession(model).run(random_inputs(model))
    plan = planned(model, types=types)
    assert len(conversions(plan)) == len(set(conversions(plan)))
    for item in plan.groups:
        for node in item.nodes if item.origins else ():
            for operand in node.inputs:
                if operand is not None and operand.name in plan.slot_of and operand.producer() not in item.nodes:
                    assert plan.slots[plan.slot_of[str(operand.name)]].spec.dtype == plan.types[item.layer_id]
    for found, wanted in zip(OnnxSession(plan.graph).run(random_inputs(model)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_groups_are_in_execution_order_and_hold_every_node_once() -> None:
    net = Net()
    x = net.input(1, 3, 4, 4)
    a = net.conv(x, 4)
    y = net("Add", net("Relu", net.conv(a, 4)), net("Sigmoid", a))
    plan = planned(net.model(y), types={"conv1": "int16"})
    nodes = [node for item in plan.groups for node in item.nodes]
    assert sorted(map(id, nodes)) == sorted(map(id, plan.graph.graph))
    place = {node: number for number, node in enumerate(plan.graph.graph)}
    last = [max(place[node] for node in item.nodes) for item in plan.groups]
    assert last == sorted(last)


def test_long_chain_is_planned_with_a_slot_for_each_layer() -> None:
    net = Net()
    y = net.input(1, 4)
    for number in range(2000):
        y = net("Abs" if number % 2 else "Neg", y)
    plan = planned(net.model(y), types={"abs1999": "int16"})
    assert (len(plan.slots), len(conversions(plan))) == (2002, 1)


def test_long_chain_of_movements_is_one_slot() -> None:
    net = Net()
    x = y = net.input(1, 1, 4, 4)
    for _ in range(2000):
        y = net("MaxPool", y, kernel_shape=[1, 1])
    plan = planned(net.model(net("Relu", y)))
    assert (len(plan.slots), plan.slots[str(x.name)].spec.bounds) == (2, (0.0, np.inf))


# Sharing.


def moved(net: Net, kind: str, x: ir.Value) -> ir.Value:
    """Apply an operator that moves numbers to ``[1, 4, 2, 2]``."""
    const, ints = net.build.constant, net.integers
    operands: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "DepthToSpace": ([], {"blocksize": 2}),
        "Expand": ([ints(2, 4, 2, 2)], {}),
        "Flatten": ([], {}),
        "Gather": ([ints(1, 0)], {"axis": 1}),
        "GatherElements": ([const(np.zeros((1, 1, 2, 2), np.int64))], {"axis": 1}),
        "GatherND": ([const(np.zeros((1, 2), np.int64))], {}),
        "GlobalMaxPool": ([], {}),
        "MaxPool": ([], {"kernel_shape": [2, 2]}),
        "Pad": ([ints(*PADS)], {}),
        "ReduceMax": ([ints(1)], {}),
        "ReduceMin": ([ints(1)], {}),
        "Reshape": ([ints(1, 16)], {}),
        "Resize": ([None, const(np.array([1, 1, 2, 2], F32))], {"mode": "nearest"}),
        "Slice": ([ints(0), ints(2), ints(1)], {}),
        "SpaceToDepth": ([], {"blocksize": 2}),
        "Squeeze": ([ints(0)], {}),
        "Tile": ([ints(1, 2, 1, 1)], {}),
        "Transpose": ([], {"perm": [0, 2, 3, 1]}),
        "Unsqueeze": ([ints(0)], {}),
    }
    inputs, attributes = operands[kind]
    return net(kind, x, *inputs, **attributes)


KINDS = [
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "GlobalMaxPool",
    "MaxPool",
    "Pad",
    "ReduceMax",
    "ReduceMin",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
]


@pytest.mark.parametrize("kind", KINDS)
def test_movement_shares_the_parameters_of_its_input_which_tells_the_range(kind: str) -> None:
    net = Net()
    a = net("Exp", net.input(1, 4, 2, 2))
    b = moved(net, kind, a)
    c = net("Abs", b)
    plan = planned(net.model(c))
    slot = plan.slots[str(a.name)]
    assert (slot.values, slot.observed) == ((a.name, b.name), (a.name,))
    assert key(plan, c) == c.name


def test_split_shares_with_all_its_parts() -> None:
    net = Net()
    x = net.input(1, 4)
    parts = net.many("Split", x, net.integers(1, 3), results=2, axis=1)
    plan = planned(net.model(*(net("Neg", part) for part in parts)))
    assert plan.slots["x"].values == ("x", *(part.name for part in parts))


def test_inputs_of_a_concatenation_share_its_parameters_and_all_tell_the_range() -> None:
    net = Net()
    x = net.input(1, 4)
    a, b = net("Abs", x), net("Exp", x)
    y = net("Concat", a, b, axis=1)
    plan = planned(net.model(net("Neg", y)))
    slot = plan.slots[str(a.name)]
    assert (slot.values, slot.observed) == ((a.name, b.name, y.name), (a.name, b.name))


def test_concatenation_with_a_constant_tells_the_range_itself() -> None:
    net = Net()
    a = net("Abs", net.input(1, 4))
    y = net("Concat", a, net.weights(1, 2), axis=1)
    plan = planned(net.model(net("Neg", y)))
    assert plan.slots[str(a.name)].observed == (a.name, y.name)


def test_sharing_reaches_through_chains_of_movements() -> None:
    net = Net()
    x = net.input(1, 4, 2, 2)
    a, b = net("Abs", x), net("MaxPool", net("Exp", x), kernel_shape=[1, 1])
    y = net("Transpose", net("Concat", a, b, axis=1), perm=[0, 2, 3, 1])
    plan = planned(net.model(net("Neg", y)))
    assert len(plan.slots) == 3
    assert key(plan, a) == key(plan, b) == key(plan, y)


def test_conversion_ends_the_sharing() -> None:
    net = Net()
    a = net("Abs", net.input(1, 4))
    b = net("Reshape", a, net.integers(4, 1))
    plan = planned(net.model(net("Neg", b)), types={"reshape1": "int16", "neg2": "int16"})
    assert conversions(plan) == [(a.name, "int16")]
    slot = plan.slots[str(key(plan, b))]
    assert (slot.spec.dtype, b.name in slot.values, a.name in slot.values) == ("int16", True, False)


@pytest.mark.parametrize(
    ("kind", "operands", "attributes"),
    [
        ("Pad", [PADS, F32(0.5)], {}),
        ("Resize", [None, np.array([1, 1, 2, 2], F32)], {"mode": "linear"}),
        ("AveragePool", [], {"kernel_shape": [2, 2]}),
    ],
    ids=["pad", "resize", "pool"],
)
def test_operator_that_computes_has_parameters_of_its_own(
    kind: str, operands: list[Any], attributes: dict[str, Any]
) -> None:
    net = Net()
    a = net("Abs", net.input(1, 4, 2, 2))
    b = net(kind, a, *(None if item is None else net.build.constant(item) for item in operands), **attributes)
    plan = planned(net.model(b))
    assert (key(plan, a), key(plan, b)) == (a.name, b.name)


def test_pad_with_zeros_given_shares() -> None:
    net = Net()
    a = net("Abs", net.input(1, 4, 2, 2))
    b = net("Pad", a, net.integers(*PADS), net.build.constant(F32(0)))
    assert key(planned(net.model(b)), b) == a.name


def streaming(op_type: str = "Add") -> tuple[ir.Model, ir.Value, ir.Value]:
    """A variable that sums up what the input is: its old and its new value."""
    net = Net()
    x = net.input(1, 4)
    old = net.input(1, 4, name="s/old")
    total = net(op_type, net("Abs", x), old)
    with net.build.layer(Origin("new", "ASSIGN", 9)):
        new = net.build.alias(total, "s/new")
    net.build.add_state(State("s", "s/old", "s/new", ir.Tensor(np.zeros((1, 4), F32))))
    return net.model(net("Exp", total), new), old, new


def test_variable_has_one_set_of_parameters() -> None:
    model, old, new = streaming()
    plan = planned(model)
    assert key(plan, old) == key(plan, new)
    assert set(plan.slots[str(key(plan, old))].observed) >= {"s/old"}


def test_variable_of_two_types_does_not_change_the_type_of_a_layer() -> None:
    model, old, new = streaming()
    plan = planned(model, types={"s/old": "float16"})
    for value, dtype in ((old, "float16"), (new, "uint8")):
        assert plan.slots[str(key(plan, value))].spec.dtype == dtype


# Ranges.


@pytest.mark.parametrize(
    ("op_type", "fixed"), [("Sigmoid", (0, 1)), ("Softmax", (0, 1)), ("Tanh", (-1, 1)), ("Exp", None)]
)
def test_function_with_a_natural_range_has_it_fixed(op_type: str, fixed: tuple[float, float] | None) -> None:
    net = Net()
    y = net(op_type, net.input(1, 4))
    z = net("Reshape", y, net.integers(4, 1))
    plan = planned(net.model(z))
    assert plan.slots[str(y.name)].fixed == fixed
    assert plan.slots["x"].fixed is None


def test_concatenation_has_a_fixed_range_only_if_its_parts_agree() -> None:
    net = Net()
    x = net.input(1, 4)
    same = net("Concat", net("Sigmoid", x), net("Sigmoid", net("Neg", x)), axis=1)
    mixed = net("Concat", net("Sigmoid", net("Abs", x)), net("Exp", x), axis=1)
    plan = planned(net.model(same, mixed))
    assert plan.slots[str(key(plan, same))].fixed == (0, 1)
    assert plan.slots[str(key(plan, mixed))].fixed is None


def test_value_inside_of_a_layer_gets_nothing() -> None:
    net = Net()
    a = net.conv(net.input(1, 3, 4, 4), 2)
    y = net("Relu", a)
    plan = planned(net.model(y))
    assert (key(plan, a), key(plan, y)) == (None, y.name)


def test_output_in_the_middle_of_a_layer_gets_parameters() -> None:
    net = Net()
    a = net.conv(net.input(1, 3, 4, 4), 2)
    y = net("Relu", a)
    plan = planned(net.model(y, a))
    assert (key(plan, a), key(plan, y)) == (a.name, y.name)


def test_bounds_are_those_of_the_readers_together() -> None:
    net = Net()
    x = net.input(1, 4)
    only, both, free, out = (net(kind, x) for kind in ("Abs", "Neg", "Exp", "Floor"))
    outputs = [
        net("Clip", net("Reshape", only, net.integers(4, 1)), net.number(0.0), net.number(6.0)),
        net("Clip", both, net.number(0.0), net.number(6.0)),
        net("Clip", both, net.number(-2.0), net.number(1.0)),
        net("Clip", free, net.number(0.0), net.number(6.0)),
        net("Sin", free),
        net("Clip", out, net.number(0.0), net.number(6.0)),
        out,
    ]
    plan = planned(net.model(*outputs))
    found = [plan.slots[str(value.name)].spec.bounds for value in (only, both, free, out)]
    assert found == [(0, 6), (-2, 6), EVERYWHERE, EVERYWHERE]


def test_order_of_numbers_matters_to_who_reads_indices() -> None:
    net = Net()
    x = net.input(1, 8)
    values, indices = net.many("TopK", net("Neg", x), net.integers(3), results=2)
    plan = planned(net.model(net("Relu", values), indices))
    assert plan.slots[str(key(plan, values))].spec.bounds == EVERYWHERE


# Constants.


def test_constant_that_is_used_twice_is_copied() -> None:
    net = Net()
    x, w = net.input(1, 3, 4, 4), net.weights(3, 3, 1, 1)
    y = net("Conv", net("Relu", net("Conv", x, w)), w)
    plan = planned(net.model(y))
    weights = [slot for slot in plan.constants.values() if slot.role == "weight"]
    assert len({slot.key for slot in weights}) == len(weights) == 2
    first, second = (plan.graph.graph.initializers[slot.key].const_value.numpy() for slot in weights)  # type: ignore[union-attr]
    np.testing.assert_array_equal(first, second)
    assert all(len(plan.graph.graph.initializers[slot.key].uses()) == 1 for slot in weights)


def test_constant_that_is_an_output_keeps_its_numbers() -> None:
    net = Net()
    x, w = net.input(1, 3, 4, 4), net.weights(3, 3, 1, 1)
    plan = planned(net.model(net("Conv", x, w), w))
    (slot,) = plan.constants.values()
    assert slot.key != w.name
    assert plan.graph.graph.outputs[1] is w


@pytest.mark.parametrize(
    ("op_type", "x", "w", "attributes", "axis"),
    [
        ("Conv", (1, 3, 4, 4), (5, 3, 1, 1), {}, 0),
        ("Conv", (1, 4, 4, 4), (4, 1, 3, 3), {"group": 4}, 0),
        ("ConvTranspose", (1, 3, 4, 4), (3, 5, 1, 1), {}, 1),
        ("ConvTranspose", (1, 4, 4, 4), (4, 1, 1, 1), {"group": 4}, None),
        ("Gemm", (1, 3), (3, 5), {}, 1),
        ("Gemm", (1, 3), (5, 3), {"transB": 1}, 0),
        ("MatMul", (1, 3), (3, 5), {}, 1),
        ("MatMul", (2, 4, 3), (2, 3, 5), {}, None),
    ],
)
def test_weights_have_channels_of_their_own_only_with_the_scheme_for_it(
    op_type: str, x: tuple[int, ...], w: tuple[int, ...], attributes: dict[str, int], axis: int | None
) -> None:
    def spec(dtype: str, scheme: str) -> tuple[str, str, int | None]:
        net = Net()
        plan = planned(net.model(net(op_type, net.input(*x), net.weights(*w), **attributes)), dtype, scheme=scheme)
        (slot,) = plan.constants.values()
        assert (slot.role, slot.label) == ("weight", f"@{slot.layer_id}:weight")
        return slot.spec.dtype, slot.spec.scheme, slot.spec.axis

    per_channel = "asymmetric_affine" if axis is None else "perchannel_symmetric_affine"
    assert spec("int8", "perchannel_symmetric_affine") == ("int8", per_channel, axis)
    assert spec("int8", "default") == ("int8", "dynamic_fixed_point", None)
    assert spec("int8", "asymmetric_affine") == ("int8", "asymmetric_affine", None)
    assert spec("uint8", "default") == ("uint8", "asymmetric_affine", None)
    assert spec("int16", "default") == ("int16", "dynamic_fixed_point", None)
    assert spec("float16", "default") == ("float16", "float16", None)


def product(kind: str, net: Net) -> ir.Value:
    """A product of four channels with a bias, which is the last constant made."""
    match kind:
        case "Conv":
            return net("Conv", net.input(1, 3, 2, 2), net.weights(4, 3, 1, 1), net.weights(4))
        case "ConvTranspose":
            return net("ConvTranspose", net.input(1, 3, 2, 2), net.weights(3, 4, 1, 1), net.weights(4))
        case "Gemm":
            return net("Gemm", net.input(1, 3), net.weights(3, 4), net.weights(4))
    return net("Add", net("MatMul", net.input(1, 3), net.weights(3, 4)), net.weights(4))


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_bias_has_the_scale_of_the_product(kind: str) -> None:
    net = Net()
    plan = planned(net.model(net("Relu", product(kind, net))), "int8", scheme="perchannel_symmetric_affine")
    (bias,) = plan.biases.values()
    (weight,) = plan.constants.values()
    assert (bias.data, bias.weight, bias.axis, bias.layer_id) == ("x", weight.key, 0, plan.groups[-1].layer_id)
    assert weight.role == "weight"
    assert plan.graph.graph.initializers[bias.key].shape.numpy() == (4,)  # type: ignore[union-attr]  # static


@pytest.mark.parametrize("scheme", ["default", "perchannel_symmetric_affine"])
@pytest.mark.parametrize("rank", [3, 4])
def test_bias_of_a_product_of_higher_rank_has_the_scale_of_the_product(scheme: str, rank: int) -> None:
    net = Net()
    y = net("Add", net("MatMul", net.input(*(1, 2, 5, 3)[4 - rank :]), net.weights(3, 4)), net.weights(4))
    plan = planned(net.model(y), "int8", scheme=scheme)
    (bias,) = plan.biases.values()
    (weight,) = plan.constants.values()
    assert (bias.data, bias.weight, bias.axis) == ("x", weight.key, 0)
    assert weight.role == "weight"


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_bias_of_float16_is_a_constant(kind: str) -> None:
    net = Net()
    plan = planned(net.model(net("Relu", product(kind, net))), "float16")
    assert plan.biases == {}
    assert {slot.label.rpartition(":")[2] for slot in plan.constants.values()} == {"weight", "bias"}


@pytest.mark.parametrize("factors", [{"alpha": 0.5}, {"beta": 2.0}], ids=["alpha", "beta"])
def test_bias_of_a_scaled_product_stays_as_it_is(factors: dict[str, float]) -> None:
    net = Net()
    plan = planned(net.model(net("Gemm", net.input(1, 3), net.weights(3, 4), net.weights(4), **factors)))
    assert (plan.biases, len(plan.constants)) == ({}, 1)


@pytest.mark.parametrize(
    ("x", "bias"), [((1, 3), (1,)), ((1, 3), ()), ((1, 5, 3), (5, 1))], ids=["one", "scalar", "rows"]
)
def test_bias_that_is_not_one_for_each_channel_stays_as_it_is(x: tuple[int, ...], bias: tuple[int, ...]) -> None:
    net = Net()
    y = net("Add", net("MatMul", net.input(*x), net.weights(3, 4)), net.weights(*bias))
    plan = planned(net.model(y), "int8", scheme="perchannel_symmetric_affine")
    assert plan.biases == {}


def test_other_operands_that_are_constant_get_parameters() -> None:
    net = Net()
    x = net.input(1, 4)
    y = net("Mul", net("Add", net("Abs", x), net.weights(1, 4)), net.weights(4))
    plan = planned(net.model(y))
    assert [(slot.role, slot.label.rpartition(":")[2]) for slot in plan.constants.values()] == [
        ("constant", "constant0"),
        ("constant", "constant0"),
    ]


def test_product_of_two_computed_tensors_has_no_weights() -> None:
    net = Net()
    y = net("MatMul", net.input(1, 3), net.input(3, 4, name="y"))
    plan = planned(net.model(y))
    assert (plan.constants, plan.biases) == ({}, {})


def test_integers_are_left_alone() -> None:
    build = GraphBuilder("g", ["i"])
    with build.layer(Origin("a", "GATHER", 0)):
        indices = build.input("i", ir.DataType.INT64, (2,))
        shifted = build.emit("Add", [indices, build.constant(np.ones(2, np.int64))])
    with build.layer(Origin("b", "GATHER", 1)):
        y = build.emit("Gather", [build.constant(np.ones((5, 2), F32)), shifted])
    plan = planned(build.finish([y]), types={"b": "int16"})
    assert set(plan.slots) == {y.name}
    assert conversions(plan) == []
    assert quant_of(indices) is None


# Modes.


def ends() -> tuple[Net, dict[str, ir.Value]]:
    """Movements in front of, between and behind two layers that compute, and a concatenation at the end."""
    net = Net()
    v = {"x": net.input(1, 2, 2, 3)}
    v["in"] = net.to_nchw(v["x"])
    v["a"] = net("Exp", v["in"])
    v["middle"] = net("Reshape", v["a"], net.integers(1, 12))
    v["b"], v["c"] = net("Abs", v["middle"]), net("Neg", v["middle"])
    v["flat"] = net("Reshape", v["c"], net.integers(1, 12))
    v["y"] = net("Concat", v["b"], v["flat"], axis=1)
    return net, v


def test_standard_mode_leaves_movements_at_the_ends_in_float16() -> None:
    net, v = ends()
    plan = planned(net.model(v["y"]), mode="standard")
    found = {name: plan.slots[str(key(plan, value))].spec.dtype for name, value in v.items()}
    computed = dict.fromkeys(("a", "middle", "b", "c"), "uint8")
    assert found == dict.fromkeys(("x", "in", "flat", "y"), "float16") | computed
    assert [dtype for _, dtype in conversions(plan)] == ["uint8", "float16", "float16"]


def test_full_mode_quantizes_everything() -> None:
    net, v = ends()
    plan = planned(net.model(v["y"]), mode="full")
    assert {slot.spec.dtype for slot in plan.slots.values()} == {"uint8"}
    assert conversions(plan) == []


def test_movement_that_something_else_reads_is_no_end() -> None:
    net = Net()
    a = net("Exp", net.input(1, 4))
    y = net("Reshape", a, net.integers(4, 1))
    plan = planned(net.model(y, net("Abs", y)), mode="standard")
    assert plan.slots[str(key(plan, y))].spec.dtype == "uint8"


def test_input_that_a_layer_computes_with_is_quantized_in_standard_mode() -> None:
    net = Net()
    x = net.input(1, 4)
    plan = planned(net.model(net("Abs", x), net("Abs", net("Reshape", x, net.integers(4, 1)))), mode="standard")
    assert plan.slots["x"].spec.dtype == "uint8"
    assert conversions(plan) == []


def test_plan_says_what_it_left_in_float16_and_how_it_would_be_quantized_otherwise() -> None:
    net = Net()
    x = net.input(1, 4)
    y = net("Reshape", net("Abs", net("Reshape", x, net.integers(4, 1))), net.integers(1, 4))
    model = net.model(y)
    plan = planned(model.clone(), "int8", scheme="asymmetric_affine", mode="standard")
    spec = QuantSpec(dtype="int8", scheme="asymmetric_affine")
    assert plan.left == {"Input_x": spec, "RESHAPE_reshape0_0": spec, "RESHAPE_reshape2_2": spec}
    assert planned(model.clone(), mode="full").left == {}
    assert planned(model.clone(), "float16", mode="standard").left == {}


def test_padding_that_belongs_to_a_product_is_quantized_with_it() -> None:
    net = Net()
    y = net.conv(net.input(1, 3, 4, 4), 2, kernel=3, pads=[1, 1, 1, 1])
    plan = planned(net.model(y), mode="standard")
    assert {slot.spec.dtype for slot in plan.slots.values()} == {"uint8"}
