"""Building a canonical graph: names, types, folding, origins and annotations."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph import build as module
from synap_core.graph.annotations import (
    Origin,
    State,
    is_opaque,
    merge_origins,
    origins_of,
    quant_of,
    reason_of,
    set_origins,
    source_of,
    states_of,
)
from synap_core.graph.build import GraphBuilder
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import GraphError, TensorType, shape_of, type_of
from synap_core.tensors import QuantParams
from tests.support.canonical import checked_proto, run

FLOAT = ir.DataType.FLOAT
INT8 = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(3,))


def test_built_graph_is_a_valid_model_that_runs() -> None:
    build = GraphBuilder("g", ["x", "y"])
    x = build.input("x", FLOAT, (2, 3))
    y = build.name_value(build.emit("Add", [x, build.constant(np.ones(3, np.float32))]), "y", "y")
    model = build.finish([y])
    assert checked_proto(model).opset_import[0].version == 19
    assert model.ir_version == 9
    np.testing.assert_array_equal(run(model, [np.zeros((2, 3), np.float32)])[0], np.ones((2, 3)))


def test_generated_names_stay_clear_of_those_of_source_tensors() -> None:
    reserved = [f"Abs_{i}" for i in range(5)] + [f"Abs_{i}_out_{j}" for i in range(9) for j in range(9)]
    build = GraphBuilder("g", ["x", *reserved])
    value = build.input("x", FLOAT, (1,))
    for _ in range(3):
        value = build.emit("Abs", [value])
        assert value.name not in reserved
        assert value.producer() is not None
        assert value.producer().name not in reserved  # type: ignore[union-attr]


def test_nodes_carry_the_layer_they_are_emitted_in() -> None:
    build = GraphBuilder("g")
    x = build.input("x", FLOAT, (1,))
    with build.layer(Origin("conv", "CONV_2D", 7)):
        inside = build.emit("Abs", [x])
    outside = build.emit("Abs", [inside])
    assert [origins_of(v.producer()) for v in (inside, outside)] == [(Origin("conv", "CONV_2D", 7),), ()]  # type: ignore[arg-type]


def test_merged_origins_are_in_execution_order_and_single() -> None:
    first, second = ir.Node("", "Abs", [None], num_outputs=1), ir.Node("", "Abs", [None], num_outputs=1)
    a, b = Origin("a", "T", 1), Origin("b", "T", 0)
    set_origins(first, [a, a])
    set_origins(second, [b, a])
    merge_origins(first, [second])
    assert origins_of(first) == (b, a)


def test_name_of_a_graph_input_or_of_a_named_value_is_given_by_an_identity() -> None:
    build = GraphBuilder("g", ["x", "y", "z"])
    x = build.input("x", FLOAT, (1,), source="0")
    y = build.name_value(x, "y", "1")
    z = build.name_value(y, "z", "2", INT8)
    model = build.finish([y, z])
    assert [node.op_type for node in model.graph] == ["Identity", "Identity"]
    assert [(v.name, source_of(v), quant_of(v)) for v in (x, y, z)] == [
        ("x", "0", None),
        ("y", "1", None),
        ("z", "2", INT8),
    ]


def test_value_with_other_quantization_is_not_overwritten() -> None:
    build = GraphBuilder("g", ["y"])
    value = build.emit("Abs", [build.input("x", FLOAT, (1,))])
    from synap_core.graph.annotations import set_quant

    set_quant(value, INT8)
    named = build.name_value(value, "y", "y", QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(1.0,)))
    assert quant_of(value) == INT8
    assert named is not value


def test_constants_of_python_numbers_have_the_types_of_the_format() -> None:
    build = GraphBuilder("g")
    kinds = [type_of(build.constant(value)) for value in (1.5, [1, 2], np.float16(3))]
    assert kinds == [
        TensorType(FLOAT, ()),
        TensorType(ir.DataType.INT64, (2,)),
        TensorType(ir.DataType.FLOAT16, ()),
    ]


def test_quantized_constant_keeps_its_integers_and_shows_real_numbers() -> None:
    value = GraphBuilder("g").quantized_constant(np.array([-5, 3, 5], np.int8), INT8)
    assert quant_of(value) == INT8
    assert isinstance(value.const_value, QuantizedTensor)
    np.testing.assert_array_equal(value.const_value.numpy(), np.array([-4, 0, 1], np.float32))
    np.testing.assert_array_equal(value.const_value.mapped(lambda a: a[::-1], None).integers, [5, 3, -5])


def test_per_channel_parameters_follow_the_axis() -> None:
    quant = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(1.0, 10.0), zero_point=(0, 1), axis=0)
    tensor = QuantizedTensor(np.array([[1, 2, 3], [1, 2, 3]], np.int8), quant)
    turned = tensor.mapped(np.transpose, 1)
    assert turned.quant.axis == 1
    np.testing.assert_array_equal(turned.numpy(), [[1, 0], [2, 10], [3, 20]])


def test_large_bias_is_rounded_once() -> None:
    quant = QuantParams(dtype="int32", scheme="asymmetric_affine", scale=(float(np.float32(0.0123)),), zero_point=(0,))
    stored = np.array([299_999_999, -2_147_483_648], np.int32)
    expected = (stored.astype(np.float64) * quant.scale[0]).astype(np.float32)
    np.testing.assert_array_equal(QuantizedTensor(stored, quant).numpy(), expected)


def test_nodes_of_constants_are_computed_at_once() -> None:
    build = GraphBuilder("g")
    total = build.emit("Add", [build.constant([1, 2]), build.constant([10])])
    assert total.const_value is not None
    np.testing.assert_array_equal(total.const_value.numpy(), [11, 12])


def test_folding_stops_at_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FOLDED_ITEMS", 100)
    build = GraphBuilder("g")
    big = build.emit("Expand", [build.constant(1.0), build.constant([101])])
    assert big.const_value is None
    assert shape_of(big) == (101,)


def test_graph_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NODES", 2)
    build = GraphBuilder("g")
    value = build.emit("Abs", [build.emit("Abs", [build.input("x", FLOAT, (1,))])])
    with pytest.raises(GraphError, match="more than 2 nodes"):
        build.emit("Abs", [value])


def test_opaque_node_says_why() -> None:
    build = GraphBuilder("g")
    (value,) = build.opaque("CUSTOM:magic", [build.input("x", FLOAT, (1,))], [TensorType(FLOAT, (2,))], "it is magic")
    node = value.producer()
    assert node is not None
    assert (is_opaque(node), reason_of(node), shape_of(value)) == (True, "it is magic", (2,))


def test_variables_are_inputs_and_outputs_with_a_first_value() -> None:
    build = GraphBuilder("g", ["x"])
    x = build.input("x", FLOAT, (2,))
    old = build.input(build.unused_name("sum/old"), FLOAT, (2,))
    total = build.emit("Add", [x, old])
    new = build.alias(total, build.unused_name("sum/new"))
    build.add_state(State("sum", "sum/old", "sum/new", ir.Tensor(np.array([1, 2], np.float32))))
    model = build.finish([total, new])
    assert [state.name for state in states_of(model)] == ["sum"]
    np.testing.assert_array_equal(run(model, [np.array([10, 10], np.float32)])[0], [11, 12])


def test_unused_constants_are_left_out() -> None:
    build = GraphBuilder("g")
    build.constant(np.zeros(1000, np.float32), "idle")
    x = build.input("x", FLOAT, (1,))
    assert not build.finish([build.emit("Abs", [x])]).graph.initializers
