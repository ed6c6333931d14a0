"""What is constant, unused, equal or without effect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph import passes
from synap_core.graph.annotations import State, quant_of, set_source, source_of
from synap_core.graph.build import GraphBuilder
from synap_core.graph.passes.constants import FoldConstants
from synap_core.graph.passes.noops import RemoveNoOp
from synap_core.graph.passes.sharing import ShareConstants, ShareNodes
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import TensorType
from tests.support.passes import (
    FLOAT,
    Net,
    annotated,
    applied,
    by_channel,
    int8,
    normalised,
    op_types,
    origins,
    reasons,
    value_named,
)


def unfolded(net: Net, op_type: str, *inputs: ir.Value, shape: tuple[int, ...], **attributes: int) -> ir.Value:
    """A node of constants, which the builder would fold."""
    node = ir.Node(
        "", op_type, inputs, ir.convenience.convert_attributes(attributes), name=net.build.unused_name(op_type)
    )
    net.build._nodes.append(node)
    value = node.outputs[0]
    value.name = net.build.unused_name(f"{op_type}_result")
    value.dtype, value.shape = FLOAT, ir.Shape(shape)
    return value


def test_nodes_of_constants_are_computed() -> None:
    net = Net()
    total = unfolded(net, "Add", net.weights(2, 3), net.weights(3), shape=(2, 3))
    model = net.model(net("Mul", net.input(2, 3), total))
    normalised(model, FoldConstants)
    assert op_types(model) == ["Mul"]


def test_moved_quantized_constants_stay_integers() -> None:
    net = Net()
    turned = unfolded(net, "Transpose", net.quantized(3, 2, quant=by_channel(2, axis=1)), shape=(2, 3))
    model = net.model(net("Mul", net.input(2, 3), turned))
    normalised(model, FoldConstants)
    tensor = model.graph[0].inputs[1].const_value  # type: ignore[union-attr]
    assert isinstance(tensor, QuantizedTensor)
    assert quant_of(model.graph[0].inputs[1]) == by_channel(2, axis=0)  # type: ignore[arg-type]


def test_constant_keeps_the_quantization_of_the_value() -> None:
    net = Net()
    total = annotated(unfolded(net, "Add", net.weights(3), net.weights(3), shape=(3,)), int8())
    model = net.model(net("Mul", net.input(2, 3), total))
    normalised(model, FoldConstants)
    assert quant_of(model.graph[0].inputs[1]) == int8()  # type: ignore[arg-type]


def constants_case(case: str) -> tuple[ir.Model, list[ir.Value]]:
    net = Net()
    x = net.input(2, 3)
    if case == "computed":
        return net.model(net("Abs", x)), []
    if case == "requantized":
        turned = unfolded(net, "Transpose", net.quantized(3, 2, quant=int8()), shape=(2, 3))
        return net.model(net("Mul", x, annotated(turned, int8(0.125)))), []
    if case == "random":
        noise = unfolded(net, "RandomUniformLike", net.weights(2, 3), shape=(2, 3))
        return net.model(net("Add", net("Mul", x, net.number(0)), net("Floor", noise))), []
    total = unfolded(net, "Add", net.weights(3), net.weights(3), shape=(3,))
    model = net.model(net("Mul", x, total), *([total] if case == "output" else []))
    return model, [total] if case == "cut" else []


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("computed", None),
        ("requantized", "quantized in another way"),
        ("output", "output or a cut"),
        ("cut", "output or a cut"),
        ("random", "not computed here"),
    ],
)
def test_constant_is_not_folded(case: str, reason: str | None) -> None:
    model, keep = constants_case(case)
    before = op_types(model)
    report = normalised(model, FoldConstants, keep=keep)
    assert op_types(model) == before
    assert [reason in given for given in reasons(report, FoldConstants)] == ([] if reason is None else [True])


def test_size_of_folded_constants_is_limited() -> None:
    net = Net()
    x = net.input(3)
    for _ in range(3):
        x = net("Mul", x, unfolded(net, "Add", net.weights(3), net.weights(3), shape=(3,)))
    model = net.model(x)
    report = passes._run(model, (), (passes.Pass("fold", lambda: [FoldConstants(budget=6)]),))
    assert op_types(model).count("Add") == 1
    assert reasons(report, FoldConstants) == ["the constants would have 3 items more"]


def test_unused_nodes_go_with_what_was_computed_for_them_alone() -> None:
    net = Net()
    x = net.input(2)
    shared = net("Neg", x)
    net("Exp", net("Abs", shared))
    net.build.opaque("CUSTOM", [net("Sin", shared)], [TensorType(FLOAT, (2,))], "not known")
    model = net.model(net("Tanh", shared))
    passes.normalise(model)
    assert op_types(model) == ["Neg", "Tanh"]


def test_outputs_cuts_and_variables_are_used() -> None:
    build = GraphBuilder("net")
    x, old = build.input("x", FLOAT, (2,)), build.input("old", FLOAT, (2,))
    new = build.alias(build.emit("Add", [x, old]), "new")
    cut = build.emit("Neg", [x])
    build.add_state(State("memory", "old", "new", ir.Tensor(np.zeros(2, np.float32))))
    model = build.finish([build.emit("Abs", [x]), new])
    report = normalised(model, keep=[cut])
    assert sorted(op_types(model)) == ["Abs", "Add", "Neg"]
    assert "remove-unused" not in report.applied


def test_unused_constants_go_at_the_end() -> None:
    net = Net()
    x = net.input(2)
    net("Mul", x, net.weights(2))
    model = net.model(net("Abs", x))
    normalised(model)
    assert not model.graph.initializers


NO_OPS: dict[str, Callable[[Net, ir.Value], ir.Value]] = {
    "identity": lambda net, x: net("Identity", x),
    "cast": lambda net, x: net("Cast", x, to=int(FLOAT)),
    "reshape": lambda net, x: net("Reshape", x, net.integers(1, 2, -1, 4)),
    "expand": lambda net, x: net("Expand", x, net.integers(1, 3, 4)),
    "tile": lambda net, x: net("Tile", x, net.integers(1, 1, 1, 1)),
    "pad": lambda net, x: net("Pad", x, net.integers(*[0] * 8)),
    "slice": lambda net, x: net("Slice", x, net.integers(0), net.integers(99), net.integers(2)),
    "transpose": lambda net, x: net("Transpose", x, perm=(0, 1, 2, 3)),
    "concat": lambda net, x: net("Concat", x, axis=1),
    "sum": lambda net, x: net("Sum", x),
    "max": lambda net, x: net("Max", x),
    "resize": lambda net, x: net("Resize", x, None, None, net.integers(1, 2, 3, 4), mode="linear"),
    "resize-by-one": lambda net, x: net("Resize", x, None, net.number(1, 4), mode="cubic"),
    "mul": lambda net, x: net("Mul", x, net.number(1, 1, 2, 1, 1)),
    "mul-by-x": lambda net, x: net("Mul", net.number(1), x),
    "div": lambda net, x: net("Div", x, net.number(1)),
    "add": lambda net, x: net("Add", net.number(0, 4), x),
    "sub": lambda net, x: net("Sub", x, net.number(0)),
    "dropout": lambda net, x: net("Dropout", x, net.number(0.5)),
}


@pytest.mark.parametrize("emit", NO_OPS.values(), ids=NO_OPS)
def test_no_op_goes(emit: Callable[[Net, ir.Value], ir.Value]) -> None:
    net = Net()
    model = net.model(net("Abs", emit(net, net("Neg", net.input(1, 2, 3, 4)))))
    normalised(model, RemoveNoOp)
    assert op_types(model) == ["Neg", "Abs"]
    assert origins(model)[0][0] == "neg0"
    assert len(origins(model)[0]) == 2, "the layer that went is not lost"


EFFECTS: dict[str, Callable[[Net, ir.Value], ir.Value]] = {
    "cast": lambda net, x: net("Cast", net("Cast", x, to=int(ir.DataType.FLOAT16)), to=int(FLOAT)),
    "reshape": lambda net, x: net("Reshape", x, net.integers(1, 3, 6)),
    "reversing-slice": lambda net, x: net(
        "Slice", x, net.integers(-1), net.integers(-99), net.integers(1), net.integers(-1)
    ),
    "shifting-pad": lambda net, x: net("Pad", x, net.integers(0, 1, 0, 0, 0, -1, 0, 0)),
    "transpose": lambda net, x: net("Transpose", x, perm=(0, 2, 1, 3)),
    "concat": lambda net, x: net("Concat", x, x, axis=1),
    "resize-between-items": lambda net, x: net(
        "Resize", x, None, net.build.constant(np.array([1, 1, 1.2, 1], np.float32)), mode="linear"
    ),
    "resize-half-pixel": lambda net, x: net(
        "Resize",
        x,
        None,
        None,
        net.integers(1, 3, 3, 2),
        mode="nearest",
        coordinate_transformation_mode="tf_half_pixel_for_nn",
        nearest_mode="ceil",
    ),
    "mul": lambda net, x: net("Mul", x, net.build.constant(np.array([1, 2], np.float32))),
    "reciprocal": lambda net, x: net("Div", net.number(1), x),
    "negation": lambda net, x: net("Sub", net.number(0), x),
    "broadcasting-add": lambda net, x: net("Add", x, net.number(0, 2, 3, 3, 2)),
    "broadcasting-mul": lambda net, x: net("Mul", x, net.number(1, 1, 1, 1, 1, 1)),
}


@pytest.mark.parametrize("emit", EFFECTS.values(), ids=EFFECTS)
def test_operator_with_an_effect_stays(emit: Callable[[Net, ir.Value], ir.Value]) -> None:
    net = Net()
    x = net("Exp", net.input(1, 3, 3, 2))
    model = net.model(net("Neg", emit(net, x)))
    before = op_types(model)
    report = normalised(model, RemoveNoOp)
    assert op_types(model) == before
    assert report.applied == {}


def test_training_dropout_stays() -> None:
    net = Net()
    model = net.model(net("Neg", net("Dropout", net.input(2, 3), net.number(0.5), net.build.constant(np.array(True)))))
    assert applied(model, RemoveNoOp).applied == {}
    assert op_types(model) == ["Dropout", "Neg"]


@pytest.mark.parametrize("need", ["output", "cut"])
def test_dropout_stays_for_its_mask_alone(need: str) -> None:
    net = Net()
    types = [TensorType(FLOAT, (2, 3)), TensorType(ir.DataType.BOOL, (2, 3))]
    first, mask = net.many("Dropout", net("Neg", net.input(2, 3)), results=types)
    model = net.model(net("Abs", first), *([mask] if need == "output" else []))
    report = normalised(model, RemoveNoOp, keep=[mask] if need == "cut" else [])
    assert op_types(model) == ["Neg", "Dropout", "Abs"]
    assert report.applied == {"remove-no-op": 1}
    assert model.graph[2].inputs[0] is model.graph[0].outputs[0]


@pytest.mark.parametrize("op_type", ["Identity", "Cast", "Reshape"])
@pytest.mark.parametrize(
    ("before", "behind", "stays"),
    [
        (int8(0.5), int8(0.25), True),
        (None, int8(0.5), True),
        (int8(0.5), None, None),
        (int8(0.5), int8(0.5), False),
    ],
    ids=["requantized", "quantized", "dequantized", "same"],
)
def test_no_op_that_changes_the_quantization_stays(
    op_type: str, before: object, behind: object, stays: bool | None
) -> None:
    """A movement without an annotation is not a dequantization; an Identity is."""
    net = Net()
    x = annotated(net("Neg", net.input(2, 3)), before)  # type: ignore[arg-type]
    extra = {"Identity": [], "Cast": [], "Reshape": [net.integers(2, 3)]}[op_type]
    attributes = {"to": int(FLOAT)} if op_type == "Cast" else {}
    model = net.model(net("Abs", annotated(net(op_type, x, *extra, **attributes), behind)))  # type: ignore[arg-type]
    report = normalised(model, RemoveNoOp)
    stays = op_type != "Reshape" if stays is None else stays
    assert op_types(model) == (["Neg", op_type, "Abs"] if stays else ["Neg", "Abs"])
    assert ["quantized in another way" in reason for reason in reasons(report, RemoveNoOp)] == [True] * stays


@pytest.mark.parametrize("ends", ["input-output", "input-cut", "cut-output", "two-outputs"])
def test_identity_between_values_that_both_stay_stays(ends: str) -> None:
    net = Net()
    x = net.input(2, 3)
    first = x if ends.startswith("input") else net("Neg", x)
    second = net("Identity", first)
    model = net.model(
        net("Abs", second) if ends == "input-cut" else second, *([first] if ends == "two-outputs" else [])
    )
    keep = {"input-cut": [second], "cut-output": [first]}.get(ends, [])
    report = normalised(model, RemoveNoOp, keep=keep)
    assert "Identity" in op_types(model)
    assert "must both stay" in reasons(report, RemoveNoOp)[0]


def test_cut_behind_an_identity_stays_apart_from_other_users() -> None:
    net = Net()
    first = net("Neg", net.input(2, 3))
    cut = net("Identity", first)
    model = net.model(net("Abs", cut), net("Exp", first))
    report = normalised(model, RemoveNoOp, keep=[cut])
    assert "Identity" in op_types(model)
    assert "used elsewhere" in reasons(report, RemoveNoOp)[0]


def test_output_gives_its_name_and_source_to_what_it_was_copied_from() -> None:
    net = Net()
    first = annotated(net("Neg", net.input(2, 3)), int8())
    second = annotated(net("Identity", first), int8())
    second.name = "result"
    set_source(second, "7")
    model = net.model(second, net("Abs", first))
    normalised(model, RemoveNoOp)
    assert op_types(model) == ["Neg", "Abs"]
    assert source_of(value_named(model, "result")) == "7"


def test_layer_of_an_identity_behind_an_input_passes_to_its_user() -> None:
    net = Net()
    model = net.model(net("Abs", net("Identity", net.input(2, 3))))
    normalised(model, RemoveNoOp)
    assert origins(model) == [["identity0", "abs1"]]


def test_layer_of_an_identity_behind_a_cut_passes_to_its_user() -> None:
    net = Net()
    cut = net("Neg", net.input(2, 3))
    model = net.model(net("Abs", net("Identity", cut)))
    normalised(model, RemoveNoOp, keep=[cut])
    assert origins(model) == [["neg0"], ["identity1", "abs2"]]


def test_equal_constants_become_one() -> None:
    net = Net()
    x = net.input(3)
    items = np.array([1, 2, 3], np.float32)
    for items_again in (items, items.copy(), items + 1, items.copy()):
        x = net("Mul", x, net.build.constant(items_again))
    model = net.model(x)
    report = normalised(model)
    assert report.applied == {"share-constants": 2}
    assert len(model.graph.initializers) == 2


def test_equal_constants_that_are_stored_as_integers_become_one() -> None:
    build = Net().build
    x = build.input("x", FLOAT, (2,))
    for item in (2, 2, 3):
        x = build.emit("Mul", [x, build.quantized_constant(np.array([0, item], np.int8), int8())])
    model = build.finish([x])
    normalised(model, ShareConstants)
    assert [node.inputs[1] is model.graph[0].inputs[1] for node in model.graph] == [True, True, False]


def pair(net: Net, case: str) -> tuple[ir.Value, ir.Value]:
    """Two constants that differ in one thing."""
    build, items = net.build, np.array([0, 2], np.int8)
    real = items.astype(np.float32)
    if case == "type":
        return build.constant(real), build.constant(real.astype(np.float64))
    if case == "shape":
        return build.constant(real), build.constant(real.reshape(1, 2))
    if case == "sign of zero":
        return build.constant(real), build.constant(np.array([-0.0, 2], np.float32))
    if case == "annotation":
        return build.constant(real), annotated(build.constant(real), int8())
    if case == "text":
        texts = [ir.StringTensor(np.array([b"a", text]), shape=ir.Shape((2,))) for text in (b"b", b"c")]
        return build.tensor(texts[0]), build.tensor(texts[1])
    return build.quantized_constant(items, int8(1.0)), build.quantized_constant(items, int8(0.5))


@pytest.mark.parametrize("case", ["type", "shape", "sign of zero", "annotation", "text", "parameters"])
def test_constants_that_differ_stay_apart(case: str) -> None:
    net = Net()
    model = net.model(*net.build.opaque("CUSTOM", pair(net, case), [TensorType(FLOAT, (1,))], "not known"))
    report = applied(model, ShareConstants)
    assert report.applied == {}
    assert len(set(model.graph[0].inputs)) == 2


def test_constant_that_is_an_output_or_a_cut_stays() -> None:
    net = Net()
    first, second, third = (net.number(3, 2) for _ in range(3))
    x = net("Mul", net("Mul", net("Mul", net.input(2), first), second), third)
    model = net.model(x, second)
    passes.normalise(model, keep=[str(third.name)])
    assert {first.name, second.name, third.name} <= set(model.graph.initializers)


def test_large_constants_are_hashed_at_most_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    def content(value: ir.Value) -> bytes:
        hashed.append(id(value))
        return value.const_value.tobytes()  # type: ignore[union-attr]

    monkeypatch.setattr("synap_core.graph.passes.sharing._content", content)
    net = Net()
    x = net.input(1, 8)
    for index in range(40):
        x = net("Add", net("Add", x, net.build.constant(np.full(8, index % 5, np.float32))), net.weights(index + 2, 8))
        x = net("ReduceMax", x, net.integers(0))
    normalised(net.model(x), ShareConstants)
    assert len(hashed) == len(set(hashed)) <= 40 + 40


def test_equal_nodes_become_one_of_all_their_layers() -> None:
    net = Net()
    x = net.input(1, 3, 4, 4)
    pooled = [net("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2)) for _ in range(3)]
    other = net("MaxPool", x, kernel_shape=(2, 2), strides=(1, 1))
    model = net.model(net("Sum", *pooled), net("Neg", net("Neg", other)))
    report = normalised(model, ShareNodes)
    assert report.applied == {"share-nodes": 2}
    assert origins(model)[0] == ["maxpool0", "maxpool1", "maxpool2"]


def test_chains_of_equal_nodes_become_one_chain() -> None:
    net = Net()
    x = net.input(2, 3)
    ends = [net("Neg", net("Exp", net("Abs", x))) for _ in range(3)]
    model = net.model(net("Sum", *ends))
    normalised(model)
    assert op_types(model) == ["Abs", "Exp", "Neg", "Sum"]


def test_equal_node_gives_its_name_to_the_first_where_it_is_an_output() -> None:
    net = Net()
    x = net.input(2, 3)
    first, second = net("Abs", x), net("Abs", x)
    model = net.model(net("Neg", first), second)
    normalised(model, ShareNodes)
    assert op_types(model) == ["Abs", "Neg"]


def nodes_case(case: str) -> tuple[ir.Model, list[ir.Value]]:
    net = Net()
    x = net.input(2, 3)
    if case == "attributes":
        return net.model(net("Softmax", x, axis=0), net("Softmax", x, axis=1)), []
    if case == "order of operands":
        y = net.input(2, 3, name="y")
        return net.model(net("Neg", net("Sub", x, y)), net("Neg", net("Sub", y, x))), []
    if case == "random":
        return net.model(net("Floor", net("RandomUniformLike", x)), net("Floor", net("RandomUniformLike", x))), []
    first, second = net("Abs", x), net("Abs", x)
    if case == "quantization":
        annotated(first, int8())
    model = net.model(first, second) if case == "outputs" else net.model(net("Neg", first), net("Exp", second))
    return model, [second] if case == "cut" else []


@pytest.mark.parametrize("case", ["attributes", "order of operands", "random", "quantization", "outputs", "cut"])
def test_nodes_that_are_not_equal_stay_apart(case: str) -> None:
    model, keep = nodes_case(case)
    before = op_types(model)
    report = normalised(model, ShareNodes, keep=keep)
    assert op_types(model) == before
    assert bool(reasons(report, ShareNodes)) == (case in ("outputs", "cut"))


@pytest.mark.parametrize("second", [1.0, 2.0])
def test_tensors_among_the_attributes_are_compared(second: float) -> None:
    net = Net()
    shape = net.build.input("shape", ir.DataType.INT64, (1,))
    made = [
        net.many("ConstantOfShape", shape, results=[TensorType(FLOAT, (3,))], value=np.array([item], np.float32))[0]
        for item in (1.0, second)
    ]
    model = net.model(*net.build.opaque("CUSTOM", made, [TensorType(FLOAT, (3,))], "not known"))
    applied(model, ShareNodes)
    assert op_types(model).count("ConstantOfShape") == second


def test_opaque_nodes_stay_apart() -> None:
    net = Net()
    x = net.input(2)
    results = [net.build.opaque("CUSTOM", [x], [TensorType(FLOAT, (2,))], "not known")[0] for _ in range(2)]
    model = net.model(*results)
    passes.normalise(model)
    assert op_types(model) == ["CUSTOM", "CUSTOM"]
