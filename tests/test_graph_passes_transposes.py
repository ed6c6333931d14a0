"""Transposes: cancelled, moved, and what stops them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import Twin, quant_of, set_twin, twin_of
from synap_core.graph.passes.layouts import MOVABLE
from synap_core.graph.passes.permutations import inverse
from synap_core.graph.passes.transposes import CancelTransposes, RaiseTranspose, SettleTranspose, SinkTranspose
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import TensorType, shape_of
from tests.support.passes import (
    FLOAT,
    TO_NCHW,
    TO_NHWC,
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

LAYOUT = (CancelTransposes, SinkTranspose)


def test_transposes_that_undo_each_other_go() -> None:
    net = Net()
    x = net.input(1, 2, 3, 4)
    model = net.model(net("Relu", net.to_nhwc(net.to_nchw(x))))
    report = normalised(model, CancelTransposes)
    assert op_types(model) == ["Relu"]
    assert report.applied == {"cancel-transposes": 1}
    assert origins(model) == [["transpose0", "transpose1", "relu2"]]


def test_two_transposes_become_one() -> None:
    net = Net()
    x = net.input(1, 2, 3, 4)
    y = net("Transpose", net("Transpose", x, perm=(1, 0, 3, 2)), perm=(2, 3, 0, 1))
    model = net.model(y)
    normalised(model, CancelTransposes)
    assert op_types(model) == ["Transpose"]
    assert list(model.graph[0].attributes["perm"].as_ints()) == [3, 2, 1, 0]


def test_transpose_without_permutation_reverses() -> None:
    net = Net()
    x = net.input(2, 3, 4)
    model = net.model(net("Relu", net("Transpose", net("Transpose", x), perm=(2, 1, 0))))
    normalised(model, CancelTransposes)
    assert op_types(model) == ["Relu"]


def test_input_that_is_an_output_keeps_an_identity_between() -> None:
    net = Net()
    x = net.input(1, 2, 3, 4)
    model = net.model(net.to_nhwc(net.to_nchw(x)))
    normalised(model, CancelTransposes)
    assert op_types(model) == ["Identity"]


def test_output_between_transposes_stays_and_is_not_waited_for() -> None:
    net = Net()
    x = net.input(1, 2, 3, 4)
    middle = net.to_nchw(x)
    model = net.model(middle, net("Relu", net.to_nhwc(middle)))
    normalised(model, CancelTransposes)
    assert op_types(model) == ["Transpose", "Relu"]


def test_cut_between_transposes_keeps_both() -> None:
    net = Net()
    middle = net.to_nchw(net.input(1, 2, 3, 4))
    model = net.model(net("Relu", net.to_nhwc(middle)))
    normalised(model, *LAYOUT, keep=[middle])
    assert op_types(model) == ["Transpose", "Relu", "Transpose"]


def test_value_quantized_in_another_way_between_transposes_keeps_both() -> None:
    net = Net()
    middle = annotated(net.to_nchw(net.input(1, 2, 3, 4, quant=int8(0.5))), int8(0.25))
    model = net.model(net("Relu", net.to_nhwc(middle)))
    report = normalised(model, CancelTransposes)
    assert op_types(model) == ["Transpose", "Transpose", "Relu"]
    assert ["quantized in another way" in reason for reason in reasons(report, CancelTransposes)] == [True]


def test_value_before_transposes_takes_the_quantization_from_between() -> None:
    net = Net()
    before = net("Relu", net.input(1, 2, 3, 4))
    middle = annotated(net.to_nchw(before), by_channel(4, axis=1))
    model = net.model(net("Abs", net.to_nhwc(middle)))
    normalised(model, CancelTransposes)
    assert op_types(model) == ["Relu", "Abs"]
    assert quant_of(before) == by_channel(4, axis=3)


def test_value_that_others_read_is_not_quantized_by_the_way() -> None:
    net = Net()
    before = net("Relu", net.input(1, 2, 3, 4))
    middle = annotated(net.to_nchw(before), int8())
    model = net.model(net("Abs", net.to_nhwc(middle)), net("Neg", before))
    report = normalised(model, CancelTransposes)
    assert op_types(model).count("Transpose") == 2
    assert "and 'Relu" in reasons(report, CancelTransposes)[0]


def test_convolutions_in_a_row_are_left_without_transposes_between() -> None:
    net = Net()
    value = net.input(1, 6, 6, 3)
    for _ in range(3):
        value = net("Relu", net.to_nhwc(net.conv(net.to_nchw(value), 4)))
    model = net.model(value)
    normalised(model, *LAYOUT)
    assert op_types(model) == ["Transpose", "Conv", "Relu", "Conv", "Relu", "Conv", "Relu", "Transpose"]


def nhwc(net: Net, channels: int = 4, **shape: int) -> ir.Value:
    """A value with a transpose behind it, of 5 by 6 places and some channels."""
    return net.to_nhwc(net("Relu", net.input(1, channels, shape.get("height", 5), 6, name=f"x{channels}{len(shape)}")))


def typed(*shape: int, dtype: ir.DataType = FLOAT) -> list[TensorType]:
    return [TensorType(dtype, shape)]


MOVES: dict[str, Callable[[Net, ir.Value], ir.Value | list[ir.Value]]] = {
    "unary": lambda net, x: net("Sigmoid", x),
    "clip": lambda net, x: net("Clip", x, net.build.constant(0.0), net.build.constant(6.0)),
    "cast": lambda net, x: net("Cast", x, to=int(ir.DataType.DOUBLE)),
    "constant-per-channel": lambda net, x: net("Mul", x, net.weights(4)),
    "constant-of-full-rank": lambda net, x: net("Sub", net.weights(1, 5, 6, 4), x),
    "constant-number": lambda net, x: net("Add", x, net.build.constant(3.0)),
    "slopes": lambda net, x: net("PRelu", x, net.weights(1, 1, 4)),
    "comparison": lambda net, x: net("Greater", x, net.weights(6, 1)),
    "broadcast-pooled": lambda net, x: net("Mul", x, net.to_nhwc(net("GlobalAveragePool", net.to_nchw(x)))),
    "same-twice": lambda net, x: net("Mul", x, x),
    "concat-channels": lambda net, x: net("Concat", x, nhwc(net, 3), axis=3),
    "concat-constant": lambda net, x: net("Concat", x, net.weights(1, 2, 6, 4), axis=-3),
    "split": lambda net, x: net.many(
        "Split", x, net.integers(1, 3), axis=-1, results=[*typed(1, 5, 6, 1), *typed(1, 5, 6, 3)]
    ),
    "pad": lambda net, x: net("Pad", x, net.integers(0, 1, 2, 3, 0, 0, 1, 2)),
    "pad-some-axes": lambda net, x: net("Pad", x, net.integers(1, 2), None, net.integers(-2)),
    "slice": lambda net, x: net(
        "Slice", x, net.integers(1, 0), net.integers(4, 3), net.integers(2, -1), net.integers(2, 1)
    ),
    "slice-without-axes": lambda net, x: net("Slice", x, net.integers(0, 1), net.integers(1, 4)),
    "reduce-keeping": lambda net, x: net("ReduceMax", x, net.integers(-2)),
    "reduce-dropping": lambda net, x: net("ReduceSum", x, net.integers(1), keepdims=0),
    "mean-of-places": lambda net, x: net("ReduceMean", x, net.integers(1, 2), keepdims=0),
    "reduce-all": lambda net, x: net("ReduceMean", x, keepdims=0),
    "reduce-nothing": lambda net, x: net("ReduceSum", x, noop_with_empty_axes=1),
    "arg-max": lambda net, x: net("ArgMax", x, axis=3, keepdims=0),
    "arg-min-keeping": lambda net, x: net("ArgMin", x, axis=-2),
    "softmax": lambda net, x: net("Softmax", x),
    "tile": lambda net, x: net("Tile", x, net.integers(1, 2, 1, 3)),
    "expand": lambda net, x: net("Expand", x, net.integers(2, 5, 6, 4)),
    "resize": lambda net, x: net(
        "Resize", x, None, None, net.integers(1, 10, 12, 4), mode="nearest", nearest_mode="floor"
    ),
    "resize-by-scale": lambda net, x: net(
        "Resize", x, None, net.build.constant(np.array([1, 2, 0.5, 1], np.float32)), mode="nearest"
    ),
    "where": lambda net, x: net("Where", net("Less", x, net.build.constant(0.0)), x, net.weights(4)),
}


@pytest.mark.parametrize("emit", MOVES.values(), ids=MOVES)
def test_transpose_moves_behind(emit: Callable[[Net, ir.Value], ir.Value | list[ir.Value]]) -> None:
    net = Net()
    found = emit(net, nhwc(net))
    model = net.model(*(found if isinstance(found, list) else [found]))
    report = normalised(model, *LAYOUT)
    assert report.applied["sink-transpose"] >= 1
    behind = [node for node in model.graph if node.op_type == "Transpose"]
    assert all(value.is_graph_output() for node in behind for value in node.outputs)


def test_every_movable_operator_family_is_tried() -> None:
    """A new operator of a family with a rule of its own needs a case above."""
    tried = {
        "Sigmoid",
        "Clip",
        "Cast",
        "Mul",
        "Where",
        "Concat",
        "Split",
        "Pad",
        "Slice",
        "ReduceMax",
        "ArgMax",
        "ArgMin",
    }
    assert tried | {"Softmax", "Tile", "Expand", "Resize"} <= MOVABLE


STOPS: dict[str, tuple[Callable[[Net], ir.Value], str]] = {
    "more-dimensions": (lambda net: net("Add", nhwc(net), net.weights(2, 1, 1, 1, 1)), "more dimensions"),
    "computed-axes": (
        lambda net: net.many(
            "ReduceSum", nhwc(net), net.build.input("axes", ir.DataType.INT64, (0,)), results=typed(1, 1, 1, 1)
        )[0],
        "axes are computed",
    ),
    "computed-paddings": (
        lambda net: net.many(
            "Pad",
            nhwc(net),
            net("Mul", net.build.input("p", ir.DataType.INT64, (8,)), net.integers(0)),
            results=typed(1, 5, 6, 4),
        )[0],
        "paddings are computed",
    ),
    "computed-counts": (
        lambda net: net.many(
            "Tile",
            nhwc(net),
            net("Add", net("Mul", net.build.input("n", ir.DataType.INT64, (4,)), net.integers(0)), net.integers(1)),
            results=typed(1, 5, 6, 4),
        )[0],
        "sizes are computed",
    ),
    "computed-slice": (
        lambda net: net.many(
            "Slice",
            nhwc(net),
            net.integers(0),
            net.integers(9),
            net("Mul", net.build.input("a", ir.DataType.INT64, (1,)), net.integers(0)),
            results=typed(1, 5, 6, 4),
        )[0],
        "axes are computed",
    ),
    "computed-scales": (
        lambda net: net.many(
            "Resize",
            nhwc(net),
            None,
            net("Add", net("Mul", net.input(4, name="s"), net.number(0)), net.number(1)),
            results=typed(1, 5, 6, 4),
            mode="nearest",
        )[0],
        "sizes are computed",
    ),
    "crop": (
        lambda net: net(
            "Resize",
            nhwc(net),
            net.build.constant(np.array([0, 0, 0.2, 0, 1, 1, 0.7, 1], np.float32)),
            None,
            net.integers(1, 5, 3, 4),
            mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        "it crops",
    ),
    "resized-channels": (
        lambda net: net(
            "Resize",
            net("Transpose", net.input(1, 6, 5, 4), perm=(0, 3, 2, 1)),
            None,
            None,
            net.integers(1, 4, 5, 12),
            mode="nearest",
            nearest_mode="floor",
        ),
        "other dimensions than the last",
    ),
    "named-axes-of-resize": (
        lambda net: net("Resize", nhwc(net), None, None, net.integers(10), mode="nearest", axes=(1,)),
        "names its axes",
    ),
    "other-layout": (lambda net: net("Add", nhwc(net), net.input(1, 5, 6, 4, name="y")), "another layout"),
}


@pytest.mark.parametrize(("emit", "reason"), STOPS.values(), ids=STOPS)
def test_transpose_stays_before(emit: Callable[[Net], ir.Value], reason: str) -> None:
    net = Net()
    model = net.model(emit(net))
    before = op_types(model)
    report = normalised(model, *LAYOUT)
    assert op_types(model) == before
    assert any(reason in given for given in reasons(report, SinkTranspose))


@pytest.mark.parametrize(
    "emit",
    [
        lambda net: net("Reshape", nhwc(net), net.integers(1, 120)),
        lambda net: net("DepthToSpace", nhwc(net, 4, height=4), blocksize=2),
        lambda net: net("LayerNormalization", nhwc(net), net.weights(4)),
        lambda net: net.build.opaque("CUSTOM", [nhwc(net)], typed(1, 5, 6, 4), "not known")[0],
    ],
    ids=["reshape", "depth-to-space", "layer-norm", "opaque"],
)
def test_transpose_stays_before_operators_that_need_the_layout(emit: Callable[[Net], ir.Value]) -> None:
    net = Net()
    model = net.model(emit(net))
    before = op_types(model)
    applied(model, *LAYOUT)
    assert op_types(model) == before


def test_operand_that_is_a_cut_is_read_as_it_is() -> None:
    net = Net()
    cut = nhwc(net)
    model = net.model(net("Sigmoid", cut))
    normalised(model, *LAYOUT, keep=[cut])
    assert op_types(model) == ["Relu", "Transpose", "Sigmoid"]


def test_result_that_is_a_cut_stays_behind_the_transpose() -> None:
    net = Net()
    cut = net("Sigmoid", nhwc(net))
    name = str(cut.name)
    model = net.model(net("Neg", cut))
    normalised(model, *LAYOUT, keep=[cut])
    assert op_types(model) == ["Relu", "Sigmoid", "Transpose", "Neg"]
    assert value_named(model, name) is model.graph[2].outputs[0]


def test_operand_that_the_transpose_requantizes_is_read_as_it_is() -> None:
    net = Net()
    before = annotated(net("Relu", net.input(1, 4, 5, 6)), int8(0.5))
    model = net.model(net("Sigmoid", annotated(net.to_nhwc(before), int8(0.25))))
    report = normalised(model, *LAYOUT)
    assert op_types(model) == ["Relu", "Transpose", "Sigmoid"]
    assert "quantized in another way" in reasons(report, SinkTranspose)[0]


@pytest.mark.parametrize("quant", [int8(0.25, 3), by_channel(4, axis=3)], ids=["per-tensor", "per-channel"])
def test_intermediate_value_keeps_its_quantization_and_tells_its_twin(quant: object) -> None:
    net = Net()
    middle = annotated(net("Sigmoid", nhwc(net)), quant)  # type: ignore[arg-type]
    middle = net.build.name_value(middle, "middle", "tensor 5", quant)  # type: ignore[arg-type]
    model = net.model(net.conv(net.to_nchw(middle), 2))
    normalised(model, *LAYOUT)
    assert op_types(model) == ["Relu", "Sigmoid", "Conv"]
    turned = model.graph[1].outputs[0]
    assert twin_of(turned) == Twin("tensor 5", TO_NCHW)
    assert quant_of(turned) == (quant if quant == int8(0.25, 3) else by_channel(4, axis=1))


def test_twin_of_a_twin_composes_the_permutations() -> None:
    net = Net()
    middle = net("Sigmoid", nhwc(net))
    set_twin(middle, Twin("tensor", (0, 2, 1, 3)))
    model = net.model(net.conv(net.to_nchw(middle), 2))
    normalised(model, *LAYOUT)
    items = np.arange(120).reshape(1, 6, 5, 4)
    twin = twin_of(model.graph[1].outputs[0])
    assert twin is not None
    np.testing.assert_array_equal(items.transpose(twin.permutation), items.transpose(0, 2, 1, 3).transpose(TO_NCHW))


def test_quantized_constants_keep_their_integers() -> None:
    net = Net()
    constant = net.quantized(6, 4, quant=by_channel(4, axis=1))
    integers = constant.const_value.integers.copy()  # type: ignore[union-attr]
    model = net.model(net("Mul", nhwc(net), constant))
    normalised(model, *LAYOUT)
    node = next(node for node in model.graph if node.op_type == "Mul")
    tensor = node.inputs[1].const_value  # type: ignore[union-attr]
    assert isinstance(tensor, QuantizedTensor)
    np.testing.assert_array_equal(tensor.integers, integers.reshape(1, 1, 6, 4).transpose(TO_NCHW))
    assert tensor.quant == by_channel(4, axis=1)


def test_operand_of_fewer_dimensions_is_reshaped_not_transposed() -> None:
    net = Net()
    x = nhwc(net)
    factor = net("ReduceMean", x, net.integers(1, 2), keepdims=0)
    model = net.model(net.conv(net.to_nchw(net("Mul", x, factor)), 2))
    normalised(model, *LAYOUT)
    assert "Transpose" not in op_types(model)
    assert op_types(model).count("Reshape") == 1


def test_operand_in_another_layout_is_transposed_where_that_saves_more() -> None:
    """The sum, not the input, goes through an activation to the next convolution."""
    net = Net()
    x = net.input(1, 5, 6, 4)
    total = net("Relu", net("Add", net.to_nhwc(net.conv(net.to_nchw(x), 4)), x))
    model = net.model(net.conv(net.to_nchw(total), 2))
    normalised(model, *LAYOUT)
    assert op_types(model) == ["Transpose", "Conv", "Add", "Relu", "Conv"]


def test_operator_between_both_layouts_of_both_operands_settles_for_one() -> None:
    """It could work in either, and moving it back and forth would never end."""
    for perm, result in ((TO_NHWC, "NCHW"), ((0, 2, 1, 3), None)):
        net = Net()
        turned = net("Transpose", net("Relu", net.input(1, 4, 4, 4)), perm=perm)
        plain = net("Relu", net.input(1, 4, 4, 4, name="y"))
        back = net("Transpose", plain, perm=inverse(perm))
        model = net.model(net("Softmax", net("Add", turned, plain)), net("Neg", turned), net("Neg", back))
        report = normalised(model, *LAYOUT)
        assert report.applied["sink-transpose"] <= 6, result
        assert op_types(model).count("Transpose") <= 4


def test_operand_of_fewer_dimensions_is_transposed_where_that_pays() -> None:
    net = Net()
    x = net.to_nhwc(net.conv(net.input(1, 4, 5, 6), 4))
    small = net("Relu", net.input(6, 4, name="y"))
    model = net.model(net.conv(net.to_nchw(net("Add", x, small)), 2))
    normalised(model, *LAYOUT)
    assert op_types(model) == ["Conv", "Relu", "Reshape", "Transpose", "Add", "Conv"]


def test_two_layouts_settle_for_one() -> None:
    net = Net()
    first = net("Transpose", net.input(1, 4, 5, 6), perm=TO_NHWC)
    second = net("Transpose", net.input(1, 5, 4, 6, name="y"), perm=(0, 1, 3, 2))
    model = net.model(net("Add", first, second))
    normalised(model, *LAYOUT)
    assert op_types(model).count("Transpose") == 2


def test_move_that_did_not_pay_is_undone() -> None:
    """Both values are wanted in the layout behind the transpose."""
    net = Net()
    x = nhwc(net)
    model = net.model(net("Reshape", x, net.integers(1, 120)), net("Reshape", net("Sigmoid", x), net.integers(1, 120)))
    normalised(model, *LAYOUT)
    assert op_types(model).count("Transpose") == 2
    report = normalised(model, CancelTransposes, RaiseTranspose)
    assert set(report.applied) == {"raise-transpose"}
    assert op_types(model).count("Transpose") == 1


def test_transpose_is_raised_to_where_there_are_fewer_items() -> None:
    net = Net()
    x = net("Relu", net.input(1, 4, 5, 6))
    model = net.model(net("Reshape", net.to_nhwc(net("Tile", x, net.integers(1, 1, 3, 3))), net.integers(1, 1080)))
    normalised(model, RaiseTranspose)
    assert op_types(model) == ["Transpose", "Relu", "Tile", "Reshape"]


def test_transposes_that_meet_at_a_value_become_one_and_a_single_one_stays_behind() -> None:
    """Three ends want one layout of a convolution, another convolution the other one."""
    net = Net()
    x = net.conv(net.input(1, 4, 5, 6), 4)
    ends = [
        net("Reshape", net.to_nhwc(net("Relu", net("Clip", x, net.number(i)))), net.integers(1, 120)) for i in range(3)
    ]
    y = net.conv(x, 4)
    ends.append(net("Reshape", net.to_nhwc(net("Relu", y)), net.integers(1, 120)))
    model = net.model(*ends)
    normalised(model, CancelTransposes, RaiseTranspose)
    normalised(model, CancelTransposes, SettleTranspose)
    behind = [
        [user.op_type for user in node.outputs[0].consumers()] for node in model.graph if node.op_type == "Transpose"
    ]
    assert sorted(behind) == [["Clip", "Clip", "Clip"], ["Reshape"]]


def test_transpose_is_not_raised_where_more_items_would_move() -> None:
    net = Net()
    total = net("Add", net("Relu", net.input(1, 4, 5, 6)), net("Relu", net.input(1, 4, 5, 6, name="y")))
    model = net.model(net.to_nhwc(total))
    assert normalised(model, RaiseTranspose).applied == {}


@pytest.mark.parametrize("case", ["other users", "more items"])
def test_transpose_does_not_settle_behind(case: str) -> None:
    net = Net()
    x = nhwc(net)
    if case == "other users":
        model = net.model(net("Sigmoid", x), net("Reshape", x, net.integers(1, 120)))
    else:
        model = net.model(net("Tile", x, net.integers(1, 2, 1, 1)))
    before = op_types(model)
    report = normalised(model, SettleTranspose)
    assert op_types(model) == before
    assert reasons(report, SettleTranspose) == ["more items would be moved"]


def test_transpose_is_not_raised_over_a_value_that_is_needed_or_requantized() -> None:
    for spoil in ("used", "quantized", "cut"):
        net = Net()
        tiled = net("Tile", net.input(1, 4, 5, 6), net.integers(1, 1, 3, 3))
        behind = net.to_nhwc(tiled)
        if spoil == "quantized":
            annotated(tiled, int8(0.5))
            annotated(behind, int8(0.25))
        model = net.model(behind, *([net("Neg", tiled)] if spoil == "used" else []))
        report = normalised(model, RaiseTranspose, keep=[tiled] if spoil == "cut" else [])
        assert op_types(model)[:2] == ["Tile", "Transpose"]
        assert bool(reasons(report, RaiseTranspose)) == (spoil != "cut")


def test_unused_outputs_of_a_moved_operator_get_no_transpose() -> None:
    net = Net()
    first, _ = net.many("Split", nhwc(net), num_outputs=2, axis=3, results=[*typed(1, 5, 6, 2), *typed(1, 5, 6, 2)])
    model = net.model(first)
    normalised(model, *LAYOUT)
    assert op_types(model) == ["Relu", "Split", "Transpose"]
    assert shape_of(model.graph[1].outputs[0]) == (1, 2, 5, 6)


def test_moved_operator_keeps_its_layer_and_no_layer_is_lost() -> None:
    net = Net()
    model = net.model(net("Sigmoid", net("Transpose", net("Relu", net.input(1, 2, 3)), perm=(0, 2, 1))))
    normalised(model, *LAYOUT)
    assert origins(model) == [["relu0"], ["sigmoid2"], ["transpose1", "sigmoid2"]]
