"""Which nodes become one operation of the NPU, and which must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.api import Group, Origin, QuantParams, group, layer_id, normalise, to_qdq
from synap_core.graph.annotations import quant_of, set_activation, set_quant
from synap_core.host import PluginHost
from synap_core.model_files import open_model
from synap_core.source import ModelRequest
from synap_delegate_npu.fusion import RULES, Fused, fuse, fused, profile_name
from synap_delegate_npu.support import check
from tests.support.canonical import whole
from tests.support.passes import Net, int8, results

HALF, QUARTER = int8(0.5), int8(0.25)


def image(net: Net, channels: int = 4, size: int = 8, quant: QuantParams | None = None) -> ir.Value:
    return net.input(1, channels, size, size, quant=quant)


def of(value: ir.Value, quant: QuantParams | None) -> ir.Value:
    set_quant(value, quant)
    return value


def found(net: Net, *outputs: ir.Value, keep: tuple[ir.Value, ...] = ()) -> Fused:
    model = net.model(*outputs)
    names = [str(value.name) for value in keep]
    return fused(model, group(model, names), names)


def shapes(result: Fused) -> list[str]:
    return ["+".join(node.op_type for node in item.nodes) for item in result.groups]


def pool(net: Net, value: ir.Value, kernel: int = 2, stride: int = 2, **attributes: object) -> ir.Value:
    sizes = {"kernel_shape": [kernel, kernel], "strides": [stride, stride]}
    return net("MaxPool", value, **sizes, **attributes)  # type: ignore[arg-type]


def silu(net: Net, x: ir.Value, *, named: bool = True) -> ir.Value:
    gate = net("Sigmoid", x)
    y = net("Mul", x, gate)
    if named:
        set_activation([gate.producer(), y.producer()], "SiLU")  # type: ignore[list-item]
    return y


# A convolution and the pool behind it


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("activation", ["", "Relu"])
def test_convolution_and_pool_are_one_operation(kernel: int, activation: str) -> None:
    net = Net()
    y = net.conv(image(net), 4, 3)
    y = net(activation, y) if activation else y
    result = found(net, pool(net, y, kernel))
    assert shapes(result) == ["+".join(word for word in ("Conv", activation, "MaxPool") if word)]
    assert result.applied == {"pool-convolution": 1}


def test_pool_of_a_value_that_is_quantized_the_same_way_joins() -> None:
    net = Net()
    y = of(net("Relu", net.conv(image(net, quant=HALF), 4, 3)), QUARTER)
    assert shapes(found(net, of(pool(net, y), QUARTER))) == ["Conv+Relu+MaxPool"]


@pytest.mark.parametrize("scale", [0.05, 0.37, 2.0])
def test_the_value_in_front_of_a_pool_may_vanish_without_a_change_of_numbers(scale: float) -> None:
    def numbers(between: QuantParams | None) -> np.ndarray:
        net = Net()
        y = of(net.conv(image(net, size=32), 4, 3), between)
        model = net.model(of(pool(net, y, 3), int8(scale, 7)))
        exported = to_qdq(model)
        (array,) = results(exported, []).values()
        return array

    assert np.array_equal(numbers(int8(scale, 7)), numbers(None))


def elsewhere(net: Net) -> tuple[ir.Value, ...]:
    y = net.conv(image(net), 4, 3)
    return pool(net, y), net("Tanh", y)


def with_output(net: Net) -> tuple[ir.Value, ...]:
    y = net.conv(image(net), 4, 3)
    return pool(net, y), y


def with_indices(net: Net) -> tuple[ir.Value, ...]:
    y = net.conv(image(net), 4, 3)
    many = net.many("MaxPool", y, results=2, kernel_shape=[2, 2], strides=[2, 2])
    return tuple(many)


def quantized_otherwise(net: Net) -> tuple[ir.Value, ...]:
    return (of(pool(net, of(net.conv(image(net), 4, 3), HALF)), QUARTER),)


def quantized_between_alone(net: Net) -> tuple[ir.Value, ...]:
    return (pool(net, of(net.conv(image(net), 4, 3), HALF)),)


def activated(net: Net) -> tuple[ir.Value, ...]:
    y = of(net("Tanh", net.conv(image(net, quant=HALF), 4, 3)), HALF)
    return (of(pool(net, y), HALF),)


def behind(**attributes: object) -> Callable[[Net], tuple[ir.Value, ...]]:
    return lambda net: (pool(net, net.conv(image(net), 4, 3), **attributes),)  # type: ignore[arg-type]


def deconvolved(net: Net) -> tuple[ir.Value, ...]:
    return (pool(net, net("ConvTranspose", image(net), net.weights(4, 2, 2, 2))),)


def averaged(net: Net) -> tuple[ir.Value, ...]:
    return (net("AveragePool", net.conv(image(net), 4, 3), kernel_shape=[2, 2], strides=[2, 2]),)


NO_POOL = {
    "elsewhere": (elsewhere, ""),
    "output": (with_output, "is an output or a cut"),
    "indices": (with_indices, "the indices of the largest items are used"),
    "quantized-otherwise": (quantized_otherwise, "is quantized in another way than"),
    "quantized-between-alone": (quantized_between_alone, "is quantized in another way than"),
    "activation": (activated, "Tanh lies between them"),
    "window": (behind(kernel=4), "the window of [4, 4] with strides [2, 2] is none of 2x2 or 3x3 with strides of 2"),
    "stride": (behind(stride=1), "the window of [2, 2] with strides [1, 1] is none of"),
    "dilation": (behind(dilations=[2, 2]), "the window is dilated"),
    "front": (behind(kernel=3, pads=[0, 1, 0, 1]), "the window begins in front of the map: pads [0, 1, 0, 1]"),
    "auto-pad": (behind(kernel=3, auto_pad="SAME_UPPER"), "auto_pad is SAME_UPPER"),
    "deconvolution": (deconvolved, ""),
    "average": (averaged, ""),
}


@pytest.mark.parametrize(("build", "reason"), NO_POOL.values(), ids=NO_POOL)
def test_pool_stays_alone(build: Callable[[Net], tuple[ir.Value, ...]], reason: str) -> None:
    net = Net()
    result = found(net, *build(net))
    assert any(shape in ("MaxPool", "AveragePool") for shape in shapes(result))
    assert "pool-convolution" not in result.applied
    reasons = [text for (rule, _), text in result.refused.items() if rule == "pool-convolution"]
    assert [reason in text for text in reasons] == ([True] if reason else [])


def test_cut_in_front_of_a_pool_keeps_it_alone() -> None:
    net = Net()
    y = net.conv(image(net), 4, 3)
    assert shapes(found(net, pool(net, y), keep=(y,))) == ["Conv", "MaxPool"]


def test_padding_behind_the_map_does_not_hinder() -> None:
    net = Net()
    y = pool(net, net.conv(image(net, size=9), 4, 2), 3, pads=[0, 0, 1, 1])
    assert shapes(found(net, y)) == ["Conv+MaxPool"]


# Sums and what cuts them


@pytest.mark.parametrize("op_type", ["Add", "Sub"])
@pytest.mark.parametrize("cut", ["Relu", "Clip"])
def test_sum_and_cut_are_one_operation(op_type: str, cut: str) -> None:
    net = Net()
    y = net(op_type, image(net), net.input(1, 4, 8, 8, name="y"))
    y = net(cut, y, *([net.number(0), net.number(6)] if cut == "Clip" else []))
    assert shapes(found(net, y)) == [f"{op_type}+{cut}"]


def sum_quantized(net: Net) -> tuple[ir.Value, ...]:
    return (of(net("Relu", of(net("Add", image(net), net.input(1, name="y")), HALF)), HALF),)


def sum_elsewhere(net: Net) -> tuple[ir.Value, ...]:
    y = net("Add", image(net), net.input(1, name="y"))
    return net("Relu", y), net("Tanh", y)


def sum_given_out(net: Net) -> tuple[ir.Value, ...]:
    y = net("Add", image(net), net.input(1, name="y"))
    return net("Relu", y), y


def limit_computed(net: Net) -> tuple[ir.Value, ...]:
    limit = net("ReduceMin", net.input(3, name="l"), keepdims=0)
    return (net("Clip", net("Add", image(net), net.input(1, name="y")), limit),)


def sum_is_the_limit(net: Net) -> tuple[ir.Value, ...]:
    limit = net("Add", net.input(name="a"), net.input(name="b"))
    return (net("Clip", image(net), limit),)


def sum_of_integers(net: Net) -> tuple[ir.Value, ...]:
    x = net.build.input("i", ir.DataType.INT32, (3,))
    return (net("Relu", net("Add", x, net.build.input("j", ir.DataType.INT32, (3,)))),)


def product(net: Net) -> tuple[ir.Value, ...]:
    return (net("Relu", net("Mul", image(net), net.input(1, name="y"))),)


def other_function(net: Net) -> tuple[ir.Value, ...]:
    return (net("Tanh", net("Add", image(net), net.input(1, name="y"))),)


def term_constant(net: Net) -> tuple[ir.Value, ...]:
    return (net("Relu", net("Add", image(net), net.weights(4, 1, 1))),)


SUMS_ALONE = [
    term_constant,
    sum_quantized,
    sum_elsewhere,
    sum_given_out,
    limit_computed,
    sum_is_the_limit,
    sum_of_integers,
    product,
    other_function,
]


@pytest.mark.parametrize("build", SUMS_ALONE, ids=lambda function: function.__name__)
def test_sum_stays_alone(build: Callable[[Net], tuple[ir.Value, ...]]) -> None:
    net = Net()
    result = found(net, *build(net))
    assert all("+" not in shape for shape in shapes(result))
    assert result.applied == {}


def test_cut_between_a_sum_and_what_cuts_it_keeps_them_apart() -> None:
    net = Net()
    y = net("Add", image(net), net.input(1, name="y"))
    assert shapes(found(net, net("Relu", y), keep=(y,))) == ["Add", "Relu"]


# Activations


@pytest.mark.parametrize("named", [True, False], ids=["named", "not-named"])
def test_value_times_its_sigmoid_is_one_operation(named: bool) -> None:
    net = Net()
    (operation,) = found(net, silu(net, image(net), named=named)).groups
    assert check(operation, "uint8").engine == "TP"
    assert profile_name(operation, "TP") == "SwishLayer"


def gate_quantized(net: Net) -> tuple[ir.Value, ...]:
    x = image(net, quant=HALF)
    return (of(net("Mul", x, of(net("Sigmoid", x), QUARTER)), HALF),)


def gate_elsewhere(net: Net) -> tuple[ir.Value, ...]:
    x = image(net)
    gate = net("Sigmoid", x)
    return net("Mul", x, gate), net("Abs", gate)


def gate_of_another(net: Net) -> tuple[ir.Value, ...]:
    return (net("Mul", net.input(1, name="y"), net("Sigmoid", image(net))),)


def gate_squared(net: Net) -> tuple[ir.Value, ...]:
    gate = net("Sigmoid", image(net))
    return (net("Mul", gate, gate),)


@pytest.mark.parametrize(
    "build", [gate_quantized, gate_elsewhere, gate_of_another, gate_squared], ids=lambda function: function.__name__
)
def test_sigmoid_stays_alone(build: Callable[[Net], tuple[ir.Value, ...]]) -> None:
    net = Net()
    assert "Sigmoid" in shapes(found(net, *build(net)))


def test_activation_behind_a_convolution_is_an_operation_of_its_own() -> None:
    net = Net()
    y = net("Mul", silu(net, net.conv(image(net), 4, 3)), net.number(2))
    result = found(net, y)
    assert shapes(result) == ["Conv", "Sigmoid+Mul+Mul"]
    assert [check(item, "uint8").engine for item in result.groups] == ["NN", "TP"]
    assert [item.layer_id for item in result.groups] == ["CONV_conv0_0", "SIGMOID_sigmoid1_MUL_mul2_MUL_mul3_1"]


def test_activation_of_a_layer_that_is_quantized_as_a_whole_stays_with_it() -> None:
    net = Net()
    y = of(net("Tanh", net.conv(image(net, quant=HALF), 4, 3)), QUARTER)
    result = found(net, y)
    assert shapes(result) == ["Conv+Tanh"]
    assert check(result.groups[0], "int8").engine == "NN+TP"
    assert list(result.refused) == [("divide-activation", result.groups[0].layer_id)]


def test_layer_that_is_divided_numbers_its_activation() -> None:
    net = Net()
    with net.build.layer(Origin("c", "CONV_2D", 0)):
        y = net.build.emit("Conv", [image(net), net.weights(4, 4, 1, 1)])
        y = net.build.emit("Tanh", [y])
    assert [item.layer_id for item in found(net, y).groups] == ["CONV_2D_c_0", "CONV_2D_c_0.2"]


def test_relu_of_a_product_stays_with_it() -> None:
    net = Net()
    y = net("Relu", net("Gemm", net.input(1, 4), net.weights(4, 2), net.weights(2)))
    assert shapes(found(net, y)) == ["Gemm+Relu"]


# Pairs


@pytest.mark.parametrize(
    ("first", "second", "operator"),
    [("Sqrt", "Reciprocal", "Rsqrt"), ("Reciprocal", "Sqrt", "Rsqrt"), ("Div", "Floor", "Floordiv")],
)
def test_pair_is_one_operation(first: str, second: str, operator: str) -> None:
    net = Net()
    operands = [image(net), *([net.input(1, name="y")] if first == "Div" else [])]
    (operation,) = found(net, net(second, net(first, *operands))).groups
    assert check(operation, "uint8").engine == "PPU"
    assert profile_name(operation, "PPU") == f"{operator}Layer"


@pytest.mark.parametrize(("first", "second"), [("Sqrt", "Floor"), ("Sqrt", "Sqrt"), ("Reciprocal", "Floor")])
def test_other_pairs_stay_apart(first: str, second: str) -> None:
    net = Net()
    assert shapes(found(net, net(second, net(first, image(net))))) == [first, second]


def test_constant_keeps_a_pair_apart() -> None:
    net = Net()
    assert shapes(found(net, net("Floor", net("Div", image(net), net.number(3))))) == ["Div", "Floor"]


def test_quantized_value_keeps_a_pair_apart() -> None:
    net = Net()
    y = net("Reciprocal", of(net("Sqrt", image(net)), HALF))
    assert shapes(found(net, y)) == ["Sqrt", "Reciprocal"]


# Whole graphs


def test_conversion_stays_alone() -> None:
    net = Net()
    y = net("Identity", net("Add", image(net), net.input(1, name="y")))
    assert shapes(found(net, net("Relu", y))) == ["Add", "Identity", "Relu"]


def test_joined_operations_are_named_by_the_rule_of_the_core_and_the_others_keep_their_id() -> None:
    net = Net()
    y = net("Relu", net("Add", pool(net, net.conv(image(net), 4, 3)), net.input(1, name="y")))
    model = net.model(net("Softmax", y))
    before = group(model)
    after = fuse(model, before)
    assert [item.layer_id for item in after] == [
        "CONV_conv0_MAXPOOL_maxpool1_0",
        "ADD_add2_RELU_relu3_2",
        before[-1].layer_id,
    ]
    assert all(item.layer_id == layer_id(item.origins) for item in after)


def test_part_of_a_graph_is_fused_without_the_rest() -> None:
    net = Net()
    y = net("Add", image(net), net.input(1, name="y"))
    model = net.model(net("Relu", y))
    before = group(model, [str(y.name)])
    assert fuse(model, before[:1]) == before[:1]


def test_fusing_again_changes_nothing() -> None:
    net = Net()
    model = net.model(pool(net, silu(net, net.conv(image(net), 4, 3))))
    once = fuse(model, group(model))
    assert fuse(model, once) == once


def test_graph_is_not_changed() -> None:
    net = Net()
    model = net.model(pool(net, net.conv(image(net), 4, 3)))
    before = ir.to_proto(model).SerializeToString()
    fuse(model, group(model))
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_says_when_it_must_not_fire(rule: type[object]) -> None:
    assert "\nNot when " in (rule.__doc__ or "").replace("    ", "")


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_are_covered_once_and_quantized_values_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Net()
    values = [image(net, quant=HALF)]
    for _ in range(25):
        x = values[int(rng.integers(max(len(values) - 3, 0), len(values)))]
        made = random_layer(net, x, values, rng)
        values.append(of(made, [None, HALF, QUARTER][int(rng.integers(3))]))
    outputs = [value for value in values[1:] if not value.uses()]
    model = net.model(*outputs)
    keep = [str(values[int(rng.integers(1, len(values)))].name)]
    result = fused(model, group(model, keep), keep)
    assert_partition(model, result.groups)
    for item in result.groups:
        inside = set(item.nodes)
        for node in item.nodes[:-1]:
            (value, *_) = node.outputs
            assert all(use.node in inside for use in value.uses())
            assert value.name not in keep
            assert not value.is_graph_output()
            end = item.nodes[-1]
            pooled = end.op_type == "MaxPool" and quant_of(value) == quant_of(end.outputs[0])
            assert quant_of(value) is None or pooled


def random_layer(net: Net, x: ir.Value, values: list[ir.Value], rng: np.random.Generator) -> ir.Value:
    kind = int(rng.integers(7))
    if kind == 0:
        return net.conv(x, 4, 1)
    if kind == 1:
        alike = [value for value in values if value.shape == x.shape]
        return net("Add", x, alike[int(rng.integers(len(alike)))])
    if kind == 2 and x.shape is not None and int(x.shape[2]) >= 2:
        return pool(net, x)
    if kind == 3:
        return silu(net, x, named=False)
    return net(["Relu", "Tanh", "Sqrt", "Reciprocal"][kind % 4], x)


def assert_partition(model: ir.Model, groups: tuple[Group, ...]) -> None:
    """Every node is in one group, and every group comes behind those that it reads."""
    nodes = [node for item in groups for node in item.nodes]
    assert len(nodes) == len(set(nodes)) == len(list(model.graph))
    assert len({item.layer_id for item in groups}) == len(groups)
    ready = set(model.graph.inputs)
    for item in groups:
        inner = {value for node in item.nodes for value in node.outputs}
        read = {
            value for node in item.nodes for value in node.inputs if value is not None and value.const_value is None
        }
        assert read <= ready | inner
        ready |= inner


# Models


def canonical(zoo: Path, model: str) -> ir.Model:
    source = open_model(PluginHost(), ModelRequest(path=zoo / "models" / model))
    graph = source.canonical(whole(source))
    normalise(graph)
    return graph


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("model", "applied"),
    [
        ("classification/mobilenet_v1_0.25_128_quant.tflite", {}),
        ("mlperf_tiny/pretrainedResnet_quant.tflite", {"cut-sum": 3}),
        ("detection/digits_det_160.onnx", {"divide-activation": 57}),
        ("detection/face_detection_front.tflite", {"cut-sum": 16}),
        ("misc/keras_lstm_mnist_ptq.tflite", {}),
    ],
)
def test_operations_of_a_model_cover_it(zoo: Path, model: str, applied: dict[str, int]) -> None:
    graph = canonical(zoo, model)
    result = fused(graph, group(graph))
    assert_partition(graph, result.groups)
    assert result.applied == applied
    for item in result.groups:
        quant = quant_of(item.nodes[-1].outputs[0])
        answer = check(item, "float16" if quant is None else quant.dtype)
        assert answer.ok, answer.reason


@pytest.mark.zoo
def test_profile_of_mobilenet_has_the_published_names(zoo: Path) -> None:
    # The profile in the manual has 224x224 pixels; its last line but three are the softmax, and no reshape is shown.
    graph = canonical(zoo, "classification/mobilenet_v1_0.25_128_quant.tflite")
    names = [profile_name(item, check(item, "uint8").engine) for item in fuse(graph, group(graph))]
    assert [name for name in names if name != "TensorReshape"] == [
        "TensorTranspose",
        *["ConvolutionReluPoolingLayer2"] * 28,
        "FullyConnectedReluLayer",
        "Softmax2Layer",
    ]


@pytest.mark.parametrize(
    ("op_type", "engine", "name"),
    [
        ("Transpose", "TP", "TensorTranspose"),
        ("Transpose", "PPU", "TensorPermute"),
        ("Softmax", "PPU", "Softmax2Layer"),
        ("Identity", "TP", "TensorDataconvert"),
        ("HardSwish", "TP", "HardSwishLayer"),
        ("Selu", "", "SeluLayer"),
    ],
)
def test_names_of_single_operators(op_type: str, engine: str, name: str) -> None:
    net = Net()
    (operation,) = found(net, net(op_type, image(net))).groups
    assert profile_name(operation, engine) == name


@pytest.mark.parametrize(
    ("engine", "name"), [("NN+TP", "ConvolutionReluPoolingLayer2"), ("PPU", "Conv2DReluPoolLayer")]
)
def test_name_of_a_convolution_follows_its_engine(engine: str, name: str) -> None:
    net = Net()
    y = net("Add", net.conv(image(net), 4, 3, bias=False), net.weights(4, 1, 1))
    (operation,) = found(net, pool(net, net("Relu", y))).groups
    assert profile_name(operation, engine) == name
