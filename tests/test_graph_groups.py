"""Which nodes become one operation, and what it is called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import Origin, set_activation, set_quant
from synap_core.graph.build import GraphBuilder
from synap_core.graph.groups import group, layer_id
from synap_core.graph.types import TensorType
from synap_core.tensors import QuantParams
from tests.support.passes import Net as WithShapes

FLOAT = ir.DataType.FLOAT
MAP = TensorType(FLOAT, (1, 2, 4, 4))


class Net:
    """A graph under construction: each layer is named after its operator, in small letters."""

    def __init__(self) -> None:
        self.build = GraphBuilder("g", ["x"])
        self.x = self.build.input("x", FLOAT, MAP.shape)
        self.index = 0

    def layer(self, op_type: str, *inputs: ir.Value, name: str | None = None) -> ir.Value:
        with self.build.layer(Origin(name or op_type.lower(), op_type, self.index)):
            self.index += 1
            return self.build.emit(op_type, inputs, result=MAP)

    def conv(self, x: ir.Value, name: str = "conv") -> ir.Value:
        return self.layer("Conv", x, self.constant((2, 2, 1, 1)), name=name)

    def constant(self, shape: Sequence[int]) -> ir.Value:
        return self.build.constant(np.ones(shape, np.float32))

    def groups(self, *outputs: ir.Value, keep: Sequence[str] = ()) -> list[list[str]]:
        found = group(self.build.finish(outputs), keep)
        return [[node.op_type for node in item.nodes] for item in found]


def test_convolution_takes_bias_normalisation_and_activation_along() -> None:
    net = Net()
    y = net.layer("Add", net.conv(net.x), net.constant((2, 1, 1)))
    y = net.layer("BatchNormalization", y, *(net.constant((2,)) for _ in range(4)))
    y = net.layer("Relu", y)
    y = net.layer("MaxPool", y)
    assert net.groups(y) == [["Conv", "Add", "BatchNormalization", "Relu"], ["MaxPool"]]


def test_id_names_every_layer_and_the_index_of_the_first() -> None:
    net = Net()
    net.index = 5
    (found,) = group(net.build.finish([net.layer("Relu", net.conv(net.x))]))
    assert found.layer_id == "Conv_conv_Relu_relu_5"
    assert [origin.name for origin in found.origins] == ["conv", "relu"]


def test_id_of_one_layer_is_type_name_and_index() -> None:
    assert layer_id([Origin("Conv_5", "Conv", 200)]) == "Conv_Conv_5_200"


def test_computation_of_a_layer_has_the_plain_id_and_its_transposes_do_not() -> None:
    net = Net()
    with net.build.layer(Origin("c", "CONV_2D", 0)):
        x = net.build.emit("Transpose", [net.x], {"perm": (0, 1, 3, 2)})
        y = net.build.emit("Conv", [x, net.constant((2, 2, 1, 1))], result=MAP)
        z = net.build.emit("Transpose", [y], {"perm": (0, 1, 3, 2)})
    found = group(net.build.finish([z]))
    assert [(item.nodes[0].op_type, item.layer_id) for item in found] == [
        ("Transpose", "CONV_2D_c_0.2"),
        ("Conv", "CONV_2D_c_0"),
        ("Transpose", "CONV_2D_c_0.3"),
    ]


def two_readers(net: Net, y: ir.Value) -> list[ir.Value]:
    return [net.layer("Relu", y), net.layer("Sigmoid", y)]


def an_output(net: Net, y: ir.Value) -> list[ir.Value]:
    return [y, net.layer("Relu", y)]


def rounded(net: Net, y: ir.Value) -> list[ir.Value]:
    set_quant(y, QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(1.0,), zero_point=(0,)))
    return [net.layer("Relu", y)]


@pytest.mark.parametrize("after", [two_readers, an_output, rounded], ids=lambda function: function.__name__)
def test_value_that_must_exist_ends_the_group(after: object) -> None:
    net = Net()
    y = net.conv(net.x)
    outputs = after(net, y)  # type: ignore[operator]
    assert net.groups(*outputs)[0] == ["Conv"]


def test_cut_ends_the_group() -> None:
    net = Net()
    y = net.conv(net.x)
    z = net.layer("Relu", y)
    assert net.groups(z, keep=[str(y.name)]) == [["Conv"], ["Relu"]]


@pytest.mark.parametrize(
    ("op_type", "shape", "joined"),
    [
        ("Mul", (1, 2, 1, 1), True),
        ("Mul", (), True),
        ("Add", (4,), False),
        ("Add", (1, 1, 4, 4), False),
    ],
    ids=["per-channel", "scalar", "per-column", "per-pixel"],
)
def test_only_constants_per_channel_join(op_type: str, shape: Sequence[int], joined: bool) -> None:
    net = Net()
    y = net.layer(op_type, net.conv(net.x), net.constant(shape))
    assert net.groups(y) == ([["Conv", op_type]] if joined else [["Conv"], [op_type]])


@pytest.mark.parametrize(
    ("op_type", "shape", "joined"),
    [
        ("Add", (5,), True),
        ("Mul", (1, 1, 5), True),
        ("Add", (), True),
        ("Add", (4, 1), False),
        ("Add", (1, 4, 5), False),
    ],
    ids=["per-channel", "per-channel-of-rank-3", "scalar", "per-row", "per-item"],
)
def test_channels_of_a_matrix_product_are_along_its_last_axis(op_type: str, shape: Sequence[int], joined: bool) -> None:
    net = WithShapes()
    y = net("Relu", net(op_type, net("MatMul", net.input(1, 4, 3), net.weights(3, 5)), net.weights(*shape)))
    found = [[node.op_type for node in item.nodes] for item in group(net.model(y))]
    assert found == ([["MatMul", op_type, "Relu"]] if joined else [["MatMul"], [op_type], ["Relu"]])


@pytest.mark.parametrize(("rank", "joined"), [(2, True), (3, False)])
def test_normalisation_of_the_second_axis_joins_a_matrix_product_whose_channels_these_are(
    rank: int, joined: bool
) -> None:
    net = WithShapes()
    x, channels = (net.input(1, 3), 5) if rank == 2 else (net.input(1, 4, 3), 4)
    y = net("BatchNormalization", net("MatMul", x, net.weights(3, 5)), *(net.number(1.0, channels) for _ in range(4)))
    assert len(group(net.model(y))) == (1 if joined else 2)


@pytest.mark.parametrize("kind", ["Conv", "MatMul"])
def test_constant_that_makes_more_channels_is_no_bias(kind: str) -> None:
    net = WithShapes()
    if kind == "Conv":
        y = net("Add", net.conv(net.input(1, 3, 2, 2), 1, bias=False), net.weights(6, 1, 1))
    else:
        y = net("Add", net("MatMul", net.input(1, 4, 3), net.weights(3, 1)), net.weights(6))
    assert [len(item.nodes) for item in group(net.model(y))] == [1, 1]


def test_addition_of_two_computed_values_is_an_operation_of_its_own() -> None:
    net = Net()
    y = net.layer("Add", net.conv(net.x), net.x)
    assert net.groups(y) == [["Conv"], ["Add"]]


def test_product_of_two_computed_values_begins_no_group() -> None:
    net = Net()
    y = net.layer("Relu", net.layer("MatMul", net.x, net.layer("Abs", net.x)))
    assert net.groups(y) == [["Abs"], ["MatMul"], ["Relu"]]


def silu(net: Net, x: ir.Value) -> ir.Value:
    s = net.layer("Sigmoid", x)
    y = net.layer("Mul", x, s)
    set_activation([s.producer(), y.producer()], "SiLU")  # type: ignore[list-item]
    return y


def test_activation_that_is_written_out_joins_the_convolution() -> None:
    net = Net()
    assert net.groups(silu(net, net.conv(net.x))) == [["Conv", "Sigmoid", "Mul"]]


def test_activation_that_is_written_out_is_one_operation_by_itself() -> None:
    net = Net()
    assert net.groups(silu(net, net.x)) == [["Sigmoid", "Mul"]]


def test_activation_that_is_written_out_stays_apart_from_a_value_others_read() -> None:
    net = Net()
    y = net.conv(net.x)
    assert net.groups(silu(net, y), net.layer("Abs", y)) == [["Conv"], ["Sigmoid", "Mul"], ["Abs"]]


def test_every_node_is_in_one_group_and_ids_are_unique() -> None:
    net = Net()
    y = net.x
    for _ in range(3):
        y = silu(net, net.conv(y, "same"))
    model = net.build.finish([y])
    found = group(model)
    assert [id(n) for item in found for n in item.nodes] == [id(n) for n in model.graph]
    assert len({item.layer_id for item in found}) == len(found)
