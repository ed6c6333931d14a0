"""Random networks: numbers, quantization and layers are the same after normalising."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from synap_core.graph import passes
from synap_core.graph.annotations import Twin, origins_of, quant_of, set_twin
from synap_core.graph.types import shape_of, type_of
from synap_core.tensors import QuantParams
from tests.support.passes import (
    Net,
    annotated,
    by_channel,
    int8,
    normalised,
    op_types,
    random_inputs,
    value_named,
)


class RandomNet(Net):
    """Layers as importers of channels-last formats make them: transposes around what works on channels first.

    Args:
        seed: Of everything.
        exact: Only operators and numbers whose results float32 holds exactly, in whatever order they are computed.
    """

    def __init__(self, seed: int, *, exact: bool) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.exact = exact
        self.values = [self.input(1, 8, 8, 4, quant=self.parameters(None))]

    def weights(self, *shape: int) -> ir.Value:
        numbers = self.rng.integers(-2, 3, shape) / 2 if self.exact else self.rng.normal(0, 0.4, shape)
        return self.build.constant(numbers.astype(np.float32))

    def parameters(self, channels: int | None) -> QuantParams | None:
        """None, or parameters with a scale that is a power of two."""
        chance = self.rng.random()
        if chance < 0.6:
            return None
        if channels is not None and chance > 0.9:
            return by_channel(channels, axis=3)
        return int8(float(self.rng.choice([0.25, 0.5])), int(self.rng.integers(-3, 3)))

    def pick(self) -> ir.Value:
        return self.values[self.rng.integers(max(0, len(self.values) - 4), len(self.values))]

    def channels_last(self, value: ir.Value) -> ir.Value:
        """As importers do: the value in front of the transpose is a twin of the one behind."""
        quant = self.parameters(None)
        annotated(value, quant)
        set_twin(value, Twin(f"tensor{self._layers}", (0, 3, 1, 2)))
        return annotated(self.to_nhwc(value), quant)

    def grow(self) -> None:
        """Add a layer."""
        layers = EXACT if self.exact else EXACT | ROUNDING
        before = self.pick()
        value = list(layers.values())[self.rng.integers(len(layers))](self, before)
        if quant_of(value) is None and value.producer() is not None:
            annotated(value, self.parameters(shape_of(value)[-1]))
        if self.rng.random() < 0.1:
            value = annotated(self("Identity", value), self.parameters(None))
        self.values.append(value)

    def finished(self) -> ir.Model:
        """Everything that is not used is an output, or goes through a layer of a head."""
        for value in self.values[1:]:
            if not value.uses() and self.rng.random() < 0.5:
                self.values.append(self.head(value))
        return self.model(*(value for value in self.values[1:] if not value.uses()))

    def head(self, value: ir.Value) -> ir.Value:
        size = int(np.prod(shape_of(value)))
        flat = self("Reshape", value, self.integers(1, size))
        if self.rng.random() < 0.5:
            return self("Gemm", flat, self.weights(size, 3), self.weights(3))
        return self("Add", self("MatMul", flat, self.weights(size, 3)), self.weights(3))


Layer = Callable[[RandomNet, ir.Value], ir.Value]


def convolution(net: RandomNet, x: ir.Value) -> ir.Value:
    pads = net.rng.integers(0 if min(shape_of(x)[1:3]) > 2 else 1, 2, 4)
    return net.channels_last(net.conv(net.to_nchw(x), 4, 3, pads=tuple(int(pad) for pad in pads)))


def by_channels(net: RandomNet, x: ir.Value) -> ir.Value:
    channels = shape_of(x)[3]
    return net.channels_last(net.conv(net.to_nchw(x), channels, 1, group=channels, bias=False))


def padded_convolution(net: RandomNet, x: ir.Value) -> ir.Value:
    padded = net("Pad", x, net.integers(0, 1, 1, 0, 0, 1, 1, 0))
    return net.channels_last(net.conv(net.to_nchw(padded), 3, 3))


def normalised_convolution(net: RandomNet, x: ir.Value) -> ir.Value:
    parameters = [*(net.weights(3) for _ in range(3)), net.number(0.7, 3)]
    return net.channels_last(net("BatchNormalization", net.conv(net.to_nchw(x), 3, 1), *parameters))


def pooled(net: RandomNet, x: ir.Value) -> ir.Value:
    x = net("Pad", x, net.integers(0, 0, 1, 0, 0, 0, 0, 0), net.build.constant(-np.inf))
    return net.channels_last(net("MaxPool", net.to_nchw(x), kernel_shape=(1, 2)))


def joined(net: RandomNet, x: ir.Value) -> ir.Value:
    same = [value for value in net.values if shape_of(value)[:3] == shape_of(x)[:3]]
    return net("Concat", x, same[net.rng.integers(len(same))], axis=3)


def summed(net: RandomNet, x: ir.Value) -> ir.Value:
    same = [value for value in net.values if shape_of(value) == shape_of(x)]
    return net("Add", x, same[net.rng.integers(len(same))])


def parts(net: RandomNet, x: ir.Value) -> ir.Value:
    height = shape_of(x)[1]
    return net("Slice", x, net.integers(0), net.integers(max(1, height - 1)), net.integers(1))


def squeezed_and_excited(net: RandomNet, x: ir.Value) -> ir.Value:
    mean = net("ReduceMean", x, net.integers(1, 2))
    return net("Mul", x, net("Sigmoid", net.channels_last(net.conv(net.to_nchw(mean), shape_of(x)[3]))))


def hard_swish(net: RandomNet, x: ir.Value) -> ir.Value:
    gate = net("Min", net("Relu", net("Add", x, net.build.constant(3.0))), net.build.constant(6.0))
    return net("Mul", net("Mul", x, gate), net.build.constant(1 / 6))


def layer_norm(net: RandomNet, x: ir.Value) -> ir.Value:
    difference = net("Sub", x, net("ReduceMean", x, net.integers(3)))
    spread = net("ReduceMean", net("Mul", difference, difference), net.integers(3))
    return net("Div", difference, net("Sqrt", net("Add", spread, net.build.constant(0.5))))


EXACT: dict[str, Layer] = {
    "convolution": convolution,
    "by channels": by_channels,
    "padded convolution": padded_convolution,
    "pooled": pooled,
    "joined": joined,
    "summed": summed,
    "parts": parts,
    "relu": lambda net, x: net("Relu", x),
    "clip": lambda net, x: net("Clip", net("Relu", x), None, net.build.constant(6.0)),
    "limited": lambda net, x: net("Max", x, net.build.constant(-2.0)),
    "shifted": lambda net, x: net("Add", x, net.weights(shape_of(x)[3])),
    "turned": lambda net, x: net("Transpose", x, perm=(0, 2, 1, 3)),
    "largest": lambda net, x: net("ReduceMax", x, net.integers(1)),
}
ROUNDING: dict[str, Layer] = {
    "normalised convolution": normalised_convolution,
    "squeezed and excited": squeezed_and_excited,
    "hard swish": hard_swish,
    "layer norm": layer_norm,
    "scaled": lambda net, x: net("Mul", x, net.weights(shape_of(x)[3])),
    "softmax": lambda net, x: net("Softmax", x),
    "silu": lambda net, x: net("Mul", x, net("Sigmoid", x)),
    "mean": lambda net, x: net("ReduceMean", x, net.integers(1, 2)),
}


def random_net(seed: int, *, exact: bool) -> tuple[ir.Model, list[str]]:
    """A network and the names of cuts."""
    net = RandomNet(seed, exact=exact)
    for _ in range(12):
        net.grow()
    model = net.finished()
    inner = [str(value.name) for node in model.graph for value in node.outputs if not value.is_graph_output()]
    return model, [inner[i] for i in net.rng.choice(len(inner), net.rng.integers(3), replace=False)]


def moved_items(model: ir.Model) -> int:
    """Items that transposes move."""
    return sum(type_of(node.outputs[0]).size for node in model.graph if node.op_type == "Transpose")


def layers_of(model: ir.Model) -> set[str]:
    return {origin.name for node in model.graph for origin in origins_of(node)}


@pytest.mark.parametrize("seed", range(30))
def test_numbers_outputs_cuts_and_layers_are_the_same(seed: int) -> None:
    model, cuts = random_net(seed, exact=False)
    layers, size = layers_of(model), len(model.graph)
    normalised(model, keep=cuts)
    assert layers_of(model) == layers
    assert len(model.graph) <= size
    normal = sorted(op_types(model))
    passes.normalise(model, cuts)
    assert sorted(op_types(model)) == normal


@pytest.mark.parametrize("seed", range(100, 140))
def test_no_value_is_rounded_elsewhere_than_before(seed: int) -> None:
    """With every annotated value rounded to its steps and all other arithmetic exact, results are equal to the bit."""
    model, cuts = random_net(seed, exact=True)
    wanted = rounded_results(model, cuts)
    passes.normalise(model, cuts)
    found = rounded_results(model, cuts)
    assert list(found) == list(wanted)
    for name, items in wanted.items():
        np.testing.assert_array_equal(found[name], items, err_msg=name)


def rounded_results(model: ir.Model, names: list[str]) -> dict[str, np.ndarray]:
    """Outputs and named values of a model on random numbers, rounded at every annotation."""
    proto = ir.to_proto(model)
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(ir.serde.serialize_value(value_named(model, name)) for name in names if name not in known)
    quants = {str(value.name): quant_of(value) for node in model.graph for value in node.outputs}
    nodes = []
    for value in model.graph.inputs:
        nodes += rounding(proto, str(value.name), f"{value.name}/rounded", quant_of(value))
    for node in list(proto.graph.node):
        rename(
            node.input, {str(value.name): f"{value.name}/rounded" for value in model.graph.inputs if quant_of(value)}
        )
        outputs = list(node.output)
        rename(node.output, {name: f"{name}/plain" for name in outputs if quants[name]})
        nodes.append(node)
        for name in outputs:
            nodes += rounding(proto, f"{name}/plain", name, quants[name])
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = {name: np.rint(items * 4) / 4 for name, items in random_inputs(model).items()}
    wanted = [output.name for output in proto.graph.output]
    return dict(zip(wanted, session.run(wanted, inputs), strict=True))


def rename(names: list[str], new: dict[str, str]) -> None:
    for position, name in enumerate(names):
        names[position] = new.get(name, name)


def rounding(proto: onnx.ModelProto, before: str, behind: str, quant: QuantParams | None) -> list[onnx.NodeProto]:
    """The two nodes that round a value."""
    if quant is None:
        return []
    scale = np.array(quant.scale if quant.axis is not None else quant.scale[0], np.float32)
    point = np.array(quant.zero_point if quant.axis is not None else quant.zero_point[0], np.int8)
    names = [f"{behind}/scale", f"{behind}/point"]
    for array, name in zip((scale, point), names, strict=True):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    axis = {} if quant.axis is None else {"axis": quant.axis}
    return [
        onnx.helper.make_node("QuantizeLinear", [before, *names], [f"{behind}/integers"], **axis),
        onnx.helper.make_node("DequantizeLinear", [f"{behind}/integers", *names], [behind], **axis),
    ]


def test_networks_are_not_trivial() -> None:
    """Nearly every rule applies to some of the random networks, and their transposes move far less."""
    applied: set[str] = set()
    before = behind = 0
    for seed in range(15):
        model, cuts = random_net(seed, exact=False)
        before += moved_items(model)
        applied |= set(passes.normalise(model, cuts).applied)
        behind += moved_items(model)
    assert behind < 0.6 * before
    every = {rule.name for single in passes.PASSES for rule in single.rules()}
    assert every - applied <= {"dilate-conv", "remove-unused", "fold-constants", "softmax", "transpose-into-weights"}
