"""Reshapes in a row, transposes that are no more than that, and transposes in front of fully connected layers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import quant_of
from synap_core.graph.passes.gemm import MatMulAddToGemm, TransposeIntoWeights
from synap_core.graph.passes.reshapes import MergeReshapes, TransposeToReshape
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import shape_of
from tests.support.passes import (
    TO_NHWC,
    Net,
    annotated,
    by_channel,
    int8,
    normalised,
    op_types,
    origins,
    reasons,
    value_named,
)


@pytest.mark.parametrize(
    ("shape", "perm"),
    [((1, 7, 1, 1), TO_NHWC), ((1, 1, 5, 6), TO_NHWC), ((1, 1, 1), (2, 0, 1)), ((2, 1, 3), (1, 0, 2))],
    ids=["pooled", "one channel", "all ones", "leading"],
)
def test_transpose_that_moves_nothing_becomes_a_reshape(shape: tuple[int, ...], perm: tuple[int, ...]) -> None:
    net = Net()
    model = net.model(net("Transpose", net.input(*shape), perm=perm))
    normalised(model, TransposeToReshape)
    assert op_types(model) == ["Reshape"]


def test_transpose_that_moves_something_stays() -> None:
    net = Net()
    model = net.model(net("Transpose", net.input(1, 2, 1, 2), perm=(0, 3, 2, 1)))
    normalised(model, TransposeToReshape)
    assert op_types(model) == ["Transpose"]


def test_reshapes_of_all_kinds_become_one() -> None:
    net = Net()
    x = net("Unsqueeze", net.input(2, 1, 6), net.integers(0))
    x = net("Squeeze", x, net.integers(2))
    x = net("Reshape", net("Flatten", x, axis=2), net.integers(4, 3))
    model = net.model(x)
    report = normalised(model, MergeReshapes)
    assert op_types(model) == ["Reshape"]
    assert report.applied == {"merge-reshapes": 3}


def test_reshape_to_an_empty_tensor_takes_its_zero_literally() -> None:
    net = Net()
    x = net("Reshape", net.input(2, 0, 3), net.integers(0, 2, 3), allowzero=1)
    model = net.model(net("Reshape", x, net.integers(3, 0), allowzero=1))
    normalised(model, MergeReshapes)
    assert op_types(model) == ["Reshape"]


def test_reshape_that_others_read_stays_and_is_not_waited_for() -> None:
    net = Net()
    middle = net("Reshape", net.input(2, 6), net.integers(3, 4))
    model = net.model(net("Abs", middle), net("Reshape", middle, net.integers(12)))
    normalised(model, MergeReshapes)
    assert op_types(model) == ["Reshape", "Abs", "Reshape"]
    assert model.graph[2].inputs[0] is model.graph.inputs[0]


@pytest.mark.parametrize(
    ("before", "between", "reason"),
    [
        (int8(0.5), int8(0.25), "quantized in another way"),
        (None, int8(), "is quantized and"),
        (None, by_channel(3, axis=0), "by channel"),
    ],
    ids=["requantized", "quantized", "by-channel"],
)
def test_quantized_value_between_reshapes_keeps_them(before: object, between: object, reason: str) -> None:
    net = Net()
    x = net.input(2, 6, quant=before)  # type: ignore[arg-type]
    middle = annotated(net("Reshape", x, net.integers(3, 4)), between)  # type: ignore[arg-type]
    model = net.model(net("Reshape", middle, net.integers(12)))
    report = normalised(model, MergeReshapes)
    assert op_types(model) == ["Reshape", "Reshape"]
    assert reason in reasons(report, MergeReshapes)[0]


def test_cut_between_reshapes_keeps_them() -> None:
    net = Net()
    middle = net("Reshape", net.input(2, 6), net.integers(3, 4))
    model = net.model(net("Reshape", middle, net.integers(12)))
    normalised(model, MergeReshapes, keep=[middle])
    assert op_types(model) == ["Reshape", "Reshape"]


def test_quantization_between_reshapes_passes_to_the_value_before() -> None:
    net = Net()
    before = net("Neg", net.input(2, 6))
    middle = annotated(net("Reshape", before, net.integers(3, 4)), int8())
    model = net.model(net("Reshape", middle, net.integers(12)))
    normalised(model, MergeReshapes)
    assert op_types(model) == ["Neg", "Reshape"]
    assert quant_of(before) == int8()


def test_pooling_and_flattening_need_one_reshape() -> None:
    net = Net()
    x = net.to_nhwc(net("GlobalAveragePool", net.input(1, 7, 4, 4)))
    model = net.model(net("Gemm", net("Reshape", x, net.integers(1, 7)), net.weights(7, 3)))
    normalised(model)
    assert op_types(model) == ["GlobalAveragePool", "Reshape", "Gemm"]


def flattened(net: Net, op_type: str, weights: ir.Value, *, flatten: str = "Reshape", **attributes: int) -> ir.Value:
    x = net.to_nhwc(net("Relu", net.input(1, 4, 2, 3)))
    flat = net("Flatten", x, axis=1) if flatten == "Flatten" else net("Reshape", x, net.integers(1, 24))
    return net(op_type, flat, weights, **attributes)


@pytest.mark.parametrize("flatten", ["Flatten", "Reshape"])
@pytest.mark.parametrize("layer", ["MatMul", "Gemm", "Gemm of transposed weights"])
def test_transpose_becomes_an_order_of_the_weights(layer: str, flatten: str) -> None:
    net = Net()
    op_type, _, turned = layer.partition(" of ")
    weights = net.weights(5, 24) if turned else net.weights(24, 5)
    attributes = {"transB": 1} if turned else {}
    model = net.model(flattened(net, op_type, weights, flatten=flatten, **attributes))
    normalised(model, TransposeIntoWeights)
    assert op_types(model) == ["Relu", "Reshape", op_type]


def test_weights_that_are_stored_as_integers_stay_integers() -> None:
    net = Net()
    weights = net.quantized(5, 24, quant=by_channel(5, axis=0))
    model = net.model(flattened(net, "Gemm", weights, transB=1))
    normalised(model, TransposeIntoWeights)
    tensor = model.graph[2].inputs[1].const_value  # type: ignore[union-attr]
    assert isinstance(tensor, QuantizedTensor)
    assert tensor.quant == by_channel(5, axis=0)
    assert tensor.integers.dtype == np.int8


def test_flattened_value_in_another_order_keeps_its_quantization() -> None:
    net = Net()
    x = annotated(net("Relu", net.input(1, 4, 2, 3)), int8())
    flat = annotated(net("Reshape", annotated(net.to_nhwc(x), int8()), net.integers(1, 24)), int8())
    model = net.model(net("Gemm", flat, net.weights(24, 5)))
    normalised(model, TransposeIntoWeights)
    assert [quant_of(node.outputs[0]) for node in model.graph] == [int8(), int8(), None]


def weights_case(case: str) -> tuple[ir.Model, list[ir.Value]]:
    net = Net()
    keep: list[ir.Value] = []
    x = net("Relu", net.input(1, 4, 2, 3))
    if case == "requantized":
        annotated(x, int8(0.5))
    turned = net("Transpose", x, perm=(1, 0, 2, 3) if case == "batch" else TO_NHWC)
    if case == "requantized":
        annotated(turned, int8(0.25))
    flat = net("Reshape", turned, net.integers(*((4, 6) if case in ("batch", "rows") else (1, 24))))
    columns = shape_of(flat)[1]
    if case == "flat quantized by row":
        annotated(flat, by_channel(24, axis=1))
    weights = net.weights(columns, 5)
    if case == "computed weights":
        weights = net.input(columns, 5, name="weights")
    if case == "quantized by row":
        weights = net.quantized(columns, 5, quant=by_channel(columns, axis=0))
    result = net("MatMul", flat, weights)
    others = [net("Neg", flat if case == "flat used" else turned)] if case.endswith(" used") else []
    others += [flat] if case == "flat output" else []
    if case.endswith("cut"):
        keep = [flat if case.startswith("flat") else turned]
    return net.model(result, *others), keep


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("computed weights", "no constant"),
        ("quantized by row", "quantized by row"),
        ("flat quantized by row", "quantized by row"),
        ("rows", "one row per item"),
        ("batch", "batch is transposed"),
        ("flat used", "needed as it is"),
        ("turned used", "needed as it is"),
        ("flat output", "needed as it is"),
        ("requantized", "another way"),
        ("flat cut", None),
        ("turned cut", None),
    ],
)
def test_transpose_in_front_of_weights_stays(case: str, reason: str | None) -> None:
    model, keep = weights_case(case)
    before = op_types(model)
    report = normalised(model, TransposeIntoWeights, keep=keep)
    assert op_types(model) == before
    assert [reason in given for given in reasons(report, TransposeIntoWeights)] == ([] if reason is None else [True])


def test_product_and_sum_become_gemm() -> None:
    for first in (True, False):
        net = Net()
        product = net("MatMul", net.input(2, 6), net.quantized(6, 3, quant=by_channel(3, axis=1)))
        bias = net.weights(3)
        total = net("Add", product, bias) if first else net("Add", bias, product)
        model = net.model(annotated(total, int8()))
        report = normalised(model, MatMulAddToGemm)
        assert op_types(model) == ["Gemm"]
        assert report.applied == {"matmul-add-to-gemm": 1}
        assert origins(model) == [["matmul0", "add1"]]


def gemm_case(case: str) -> tuple[ir.Model, list[ir.Value]]:
    net = Net()
    x = net.input(*((2, 2, 6) if case == "three dimensions" else (2, 6)))
    weights = net.input(6, 3, name="weights") if case == "computed weights" else net.weights(6, 3)
    product = net("MatMul", x, weights)
    if case == "quantized":
        annotated(product, int8())
    total = net("Add", product, net.weights(*((2, 2, 3) if case == "larger" else (3,))))
    others = [net("Neg", product)] if case == "used" else [product] if case == "output" else []
    return net.model(total, *others), [product] if case == "cut" else []


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("three dimensions", "not two dimensions"),
        ("computed weights", "weights are computed"),
        ("larger", "result larger"),
        ("quantized", "is quantized"),
        ("used", "used elsewhere"),
        ("output", "output or a cut"),
        ("cut", None),
    ],
)
def test_product_and_sum_stay(case: str, reason: str | None) -> None:
    model, keep = gemm_case(case)
    before = op_types(model)
    report = normalised(model, MatMulAddToGemm, keep=keep)
    assert op_types(model) == before
    assert [reason in given for given in reasons(report, MatMulAddToGemm)] == ([] if reason is None else [True])


def test_names_of_results_survive() -> None:
    net = Net()
    total = net("Add", net("MatMul", net.input(2, 6), net.weights(6, 3)), net.weights(3))
    total = net.build.name_value(total, "logits", "12")
    model = net.model(total)
    normalised(model, MatMulAddToGemm)
    assert value_named(model, "logits").producer() is model.graph[0]
