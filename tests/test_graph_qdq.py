"""Quantized graphs as plain ONNX models, against NumPy."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import Origin, State, origins_of, set_quant, states_of
from synap_core.graph.build import GraphBuilder
from synap_core.graph.qdq import to_qdq
from synap_core.graph.storage import mirror_annotations, restore_annotations
from synap_core.tensors import QuantParams
from tests.support.canonical import checked_proto, real, run, stored

FLOAT = ir.DataType.FLOAT


def affine(dtype: str, scale: float, zero_point: int = 0) -> QuantParams:
    return QuantParams(
        dtype=dtype, scheme="asymmetric_affine", scale=(float(np.float32(scale)),), zero_point=(zero_point,)
    )


U8_IN, I8_OUT = affine("uint8", 0.1, 128), affine("int8", 0.25, -3)


def add_model(weights: np.ndarray, quant: QuantParams, x: QuantParams = U8_IN, y: QuantParams = I8_OUT) -> ir.Model:
    """``y = x + w``, everything quantized."""
    build = GraphBuilder("g", ["x", "y"])
    source = build.input("x", FLOAT, (1, 4), quant=x)
    with build.layer(Origin("y", "ADD", 0)):
        total = build.emit("Add", [source, build.quantized_constant(weights, quant, "w")])
        named = build.name_value(total, "y", "y", y)
    return build.finish([named])


WEIGHTS = np.array([[-8, -1, 0, 7]], np.int8)
W = affine("int8", 0.5)
X = np.array([[0, 100, 200, 255]], np.uint8)


def expected() -> np.ndarray:
    return stored(real(X, U8_IN) + real(WEIGHTS, W), I8_OUT)


def test_integer_boundary_holds_the_stored_integers() -> None:
    model = to_qdq(add_model(WEIGHTS, W))
    assert [(v.name, v.dtype) for v in (*model.graph.inputs, *model.graph.outputs)] == [
        ("x", ir.DataType.UINT8),
        ("y", ir.DataType.INT8),
    ]
    np.testing.assert_array_equal(run(model, [X])[0], expected())


def test_float_boundary_holds_real_numbers_rounded_to_steps() -> None:
    model = to_qdq(add_model(WEIGHTS, W), integer_boundary=False)
    assert [(v.name, v.dtype) for v in (*model.graph.inputs, *model.graph.outputs)] == [("x", FLOAT), ("y", FLOAT)]
    noisy = real(X, U8_IN) + np.float32(0.03)
    np.testing.assert_array_equal(run(model, [noisy])[0], real(expected(), I8_OUT))


def test_weights_stay_integers_in_the_file() -> None:
    proto = checked_proto(to_qdq(add_model(WEIGHTS, W)))
    tensors = {t.name: ir.from_proto(t) for t in proto.graph.initializer}
    np.testing.assert_array_equal(tensors["w_quantized"].numpy(), WEIGHTS)
    assert "w" not in tensors


def test_original_graph_is_left_alone() -> None:
    model = add_model(WEIGHTS, W)
    to_qdq(model)
    assert [node.op_type for node in model.graph] == ["Add"]
    assert [v.dtype for v in (*model.graph.inputs, *model.graph.outputs)] == [FLOAT, FLOAT]
    np.testing.assert_array_equal(run(model, [real(X, U8_IN)])[0], real(X, U8_IN) + real(WEIGHTS, W))


@pytest.mark.parametrize(
    ("quant", "weights", "opset"),
    [
        pytest.param(affine("int8", 0.5), WEIGHTS, (19, 9), id="int8"),
        pytest.param(affine("int32", 0.001), np.array([[-(10**6), 5, 0, 7]], np.int32), (19, 9), id="int32"),
        pytest.param(affine("int16", 0.001), np.array([[-30000, 5, 0, 7]], np.int16), (21, 10), id="int16"),
        pytest.param(affine("int4", 0.5), WEIGHTS, (21, 10), id="int4"),
        pytest.param(
            QuantParams(dtype="int8", scheme="dynamic_fixed_point", fractional_length=3), WEIGHTS, (19, 9), id="fixed"
        ),
    ],
)
def test_constant_of_type_decides_the_operator_set(
    quant: QuantParams, weights: np.ndarray, opset: tuple[int, int]
) -> None:
    model = to_qdq(add_model(weights, quant))
    assert (model.graph.opset_imports[""], model.ir_version) == opset
    np.testing.assert_array_equal(run(model, [X])[0], stored(real(X, U8_IN) + real(weights, quant), I8_OUT))


def test_int64_constant_becomes_real_numbers() -> None:
    quant = affine("int64", 0.001)
    weights = np.array([[-(10**6), 5, 0, 7]], np.int64)
    model = to_qdq(add_model(weights, quant))
    assert [node.op_type for node in model.graph] == ["DequantizeLinear", "Add", "QuantizeLinear"]
    np.testing.assert_array_equal(run(model, [X])[0], stored(real(X, U8_IN) + real(weights, quant), I8_OUT))


def test_channel_axis_is_written() -> None:
    quant = QuantParams(
        dtype="int8", scheme="asymmetric_affine", scale=(0.5, 1.0, 2.0, 4.0), zero_point=(0,) * 4, axis=1
    )
    model = to_qdq(add_model(WEIGHTS, quant))
    np.testing.assert_array_equal(run(model, [X])[0], stored(real(X, U8_IN) + real(WEIGHTS, quant), I8_OUT))


def chain() -> ir.Model:
    """Two rounded values in a row, the first of which is an output, too."""
    build = GraphBuilder("g", ["x", "a", "b"])
    x = build.input("x", FLOAT, (3,))
    a = build.name_value(build.emit("Abs", [x]), "a", "a", affine("int8", 1.0))
    b = build.name_value(build.emit("Neg", [a]), "b", "b", affine("int8", 2.0))
    return build.finish([a, b])


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "reals"])
def test_value_inside_is_rounded_before_it_is_read(integers: bool) -> None:
    a, b = run(to_qdq(chain(), integer_boundary=integers), [np.array([0.4, -1.6, 2.6], np.float32)])
    np.testing.assert_array_equal(a, [0, 2, 3])
    # -3 is half way between two steps of 2; ONNX rounds to the even one.
    np.testing.assert_array_equal(b, [0, -1, -2] if integers else [0, -2, -4])


def test_nodes_that_are_added_belong_to_the_layer_of_the_value() -> None:
    model = to_qdq(add_model(WEIGHTS, W))
    assert {origins_of(node) for node in model.graph} == {(Origin("y", "ADD", 0),)}


def test_quantized_variable_is_kept_in_integers() -> None:
    build = GraphBuilder("g", ["x"])
    quant = affine("int8", 0.5, 1)
    x = build.input("x", FLOAT, (2,))
    old = build.input("s/old", FLOAT, (2,), quant=quant)
    total = build.emit("Add", [x, old])
    set_quant(total, quant)
    new = build.alias(total, "s/new")
    first = build.quantized_constant(np.array([1, 3], np.int8), quant).const_value
    assert first is not None
    build.add_state(State("s", "s/old", "s/new", first))
    model = to_qdq(build.finish([total, new]))
    assert states_of(model)[0].initial.dtype == ir.DataType.INT8
    np.testing.assert_array_equal(run(model, [np.array([1.0, 1.0], np.float32)])[0], [3, 5])


def test_annotations_outlive_a_file() -> None:
    model = add_model(WEIGHTS, W)
    mirror_annotations(model)
    again = ir.from_proto(ir.to_proto(model))
    restore_annotations(again)
    from synap_core.graph.annotations import quant_of, source_of

    (node,) = again.graph
    assert origins_of(node) == (Origin("y", "ADD", 0),)
    assert (quant_of(again.graph.outputs[0]), source_of(again.graph.outputs[0])) == (I8_OUT, "y")
    assert quant_of(again.graph.inputs[0]) == U8_IN


HALF = QuantParams(dtype="float16", scheme="float16")
FIXED = QuantParams(dtype="int16", scheme="dynamic_fixed_point", fractional_length=10)


def halves() -> tuple[ir.Model, np.ndarray]:
    """``y = x * w`` in float16, and the weights."""
    weights = np.array([[0.1, 2.7, -1 / 3, 1e-7]], np.float32)
    build = GraphBuilder("g", ["x", "y"])
    x = build.input("x", FLOAT, (1, 4), quant=HALF)
    w = build.quantized_constant(weights.astype(np.float16), HALF, "w")
    return build.finish([build.name_value(build.emit("Mul", [x, w]), "y", "y", HALF)]), weights


NUMBERS = np.array([[0.1, 1 / 3, 100.06, 3.0]], np.float32)


@pytest.mark.parametrize("integers", [True, False], ids=["stored", "reals"])
def test_float16_is_rounded_by_casts_and_computed_in_float32(integers: bool) -> None:
    model, weights = halves()
    exported = to_qdq(model, integer_boundary=integers)
    assert {node.op_type for node in exported.graph} == {"Mul", "Cast"}
    boundary = [value.dtype for value in (*exported.graph.inputs, *exported.graph.outputs)]
    assert boundary == [ir.DataType.FLOAT16 if integers else FLOAT] * 2
    x = NUMBERS.astype(np.float16)
    expected = (x.astype(np.float32) * weights.astype(np.float16).astype(np.float32)).astype(np.float16)
    found = run(exported, [x if integers else NUMBERS])[0]
    assert found.dtype == (np.float16 if integers else np.float32)
    np.testing.assert_array_equal(found, expected)


def test_float16_constants_are_stored_in_it_and_need_no_newer_operators() -> None:
    model, weights = halves()
    exported = to_qdq(model, integer_boundary=False)
    tensors = {t.name: ir.from_proto(t) for t in checked_proto(exported).graph.initializer}
    np.testing.assert_array_equal(tensors["w_quantized"].numpy(), weights.astype(np.float16))
    assert (exported.graph.opset_imports[""], exported.ir_version) == (19, 9)


def test_types_of_all_kinds_go_into_one_model() -> None:
    build = GraphBuilder("g", ["x", "a", "b", "c"])
    x = build.input("x", FLOAT, (1, 4), quant=U8_IN)
    a = build.name_value(build.emit("Neg", [x]), "a", "a", FIXED)
    b = build.name_value(build.emit("Exp", [a]), "b", "b", HALF)
    c = build.name_value(build.emit("Neg", [b]), "c", "c", I8_OUT)
    model = to_qdq(build.finish([a, b, c]), integer_boundary=False)
    assert (model.graph.opset_imports[""], model.ir_version) == (21, 10)
    numbers = np.array([[-2.04, -0.26, 0.5, 3.3]], np.float32)
    found = run(model, [numbers])
    rounded = real(stored(-real(stored(numbers, U8_IN), U8_IN), FIXED), FIXED)
    np.testing.assert_array_equal(found[0], rounded)
    # Float16 has 11 bits, and the exponential function of float32 is not rounded correctly everywhere.
    np.testing.assert_allclose(found[1], np.exp(rounded).astype(np.float16), rtol=2**-10)
    np.testing.assert_array_equal(found[2], real(stored(-found[1], I8_OUT), I8_OUT))


@pytest.mark.parametrize("integers", [True, False], ids=["stored", "reals"])
@pytest.mark.parametrize(("quant", "dtype"), [(W, np.int8), (HALF, np.float16)], ids=["int8", "float16"])
def test_constant_that_is_an_output_is_given_as_computed_ones_are(
    quant: QuantParams, dtype: type[np.generic], integers: bool
) -> None:
    build = GraphBuilder("g", ["x", "w"])
    x = build.input("x", FLOAT, (1, 4))
    items = WEIGHTS.astype(dtype)
    w = build.quantized_constant(items, quant, "w")
    model = build.finish([build.emit("Add", [x, w]), w])
    numbers = items.astype(np.float32) * (0.5 if dtype is np.int8 else 1)
    total, constant = run(to_qdq(model, integer_boundary=integers), [NUMBERS])
    np.testing.assert_array_equal(total, NUMBERS + numbers)
    assert constant.dtype == (dtype if integers else np.float32)
    np.testing.assert_array_equal(constant, items if integers else numbers)
    assert not isinstance(model.graph.outputs[1].const_value, ir.Tensor)


def test_constant_that_is_nothing_but_an_output_is_written() -> None:
    build = GraphBuilder("g", ["x", "w"])
    x = build.input("x", FLOAT, (1, 4))
    w = build.quantized_constant(WEIGHTS, W, "w")
    found = run(to_qdq(build.finish([build.emit("Abs", [x]), w]), integer_boundary=False), [NUMBERS])
    np.testing.assert_array_equal(found[1], WEIGHTS * np.float32(0.5))


def test_input_that_is_an_output_stays_as_it_is() -> None:
    build = GraphBuilder("g", ["x"])
    x = build.input("x", FLOAT, (1, 4), quant=U8_IN)
    exported = to_qdq(build.finish([build.emit("Abs", [x]), x]), integer_boundary=False)
    found = dict(
        zip([str(v.name) for v in exported.graph.outputs], (v.dtype for v in exported.graph.outputs), strict=True)
    )
    assert found["x"] == FLOAT
    checked_proto(exported)
