"""Convolutions and matrix products as products of matrices, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.build import GraphBuilder
from synap_quantization_ptq.refinement.products import Product
from synap_runtime_onnx.graph_session import GraphSession

FLOAT = ir.DataType.FLOAT


def node_of(op_type: str, shape: tuple[int, ...], weights: np.ndarray, **attributes: object) -> ir.Model:
    builder = GraphBuilder("one")
    x = builder.input("x", FLOAT, shape)
    weight = builder.constant(weights.astype(np.float32), "w")
    return builder.finish([builder.emit(op_type, [x, weight], attributes)])  # type: ignore[arg-type]  # all are attributes


def product_of(model: ir.Model) -> Product:
    node = model.graph[0]
    groups = node.attributes.get_int("group", 1) if node.op_type.startswith("Conv") else 1
    return Product(node=node, data="x", weight="w", bias=None, output="y", groups=groups)


CONVOLUTIONS = {
    "plain": ((1, 4, 7, 6), (5, 4, 3, 3), {}),
    "grouped": ((1, 4, 7, 6), (6, 2, 3, 3), {"group": 2, "pads": [1, 0, 1, 2]}),
    "depthwise": ((1, 4, 8, 8), (4, 1, 3, 3), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "dilated": ((1, 3, 9, 9), (2, 3, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "same": ((1, 3, 7, 6), (2, 3, 3, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "one-dimensional": ((1, 3, 9), (2, 3, 4), {"pads": [2, 1]}),
}


@pytest.mark.parametrize(("shape", "kernel", "attributes"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_rows_times_terms_is_the_convolution(
    shape: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, object]
) -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=shape).astype(np.float32), rng.normal(size=kernel).astype(np.float32)
    model = node_of("Conv", shape, w, **attributes)
    product = product_of(model)
    positions = np.arange(product.position_count())
    expected = GraphSession(model).run({"x": x})[0]
    result = product.rows(w) @ product.terms(x, positions)
    np.testing.assert_allclose(result.reshape(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("transposed", [0, 1])
def test_rows_times_terms_is_the_matrix_product(transposed: int) -> None:
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    given = np.ascontiguousarray(w.T) if transposed else w
    product = product_of(node_of("Gemm", (3, 5), given, transB=transposed))
    result = product.rows(given) @ product.terms(x, np.arange(product.position_count()))
    np.testing.assert_allclose(result[0].T, x @ w, atol=1e-5)


def test_rows_of_a_transposed_convolution_are_its_kernel_positions() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(1, 3, 2, 2)).astype(np.float32), rng.normal(size=(3, 2, 2, 2)).astype(np.float32)
    model = node_of("ConvTranspose", (1, 3, 2, 2), w, strides=[2, 2])
    product = product_of(model)
    expected = GraphSession(model).run({"x": x})[0]
    result = (product.rows(w) @ product.terms(x, np.arange(4)))[0].reshape(2, 2, 2, 2, 2)
    np.testing.assert_allclose(result.transpose(0, 3, 1, 4, 2).reshape(1, 2, 4, 4), expected, atol=1e-5)


def mean_of(model: ir.Model, x: np.ndarray, channel: int) -> np.ndarray:
    y = GraphSession(model).run({"x": x})[0].astype(np.float64)
    return np.asarray(y.mean(axis=tuple(axis for axis in range(y.ndim) if axis != channel % y.ndim)))


TRANSPOSED = {
    "strided": {"strides": [2, 2]},
    "padded": {"strides": [2, 1], "pads": [1, 0, 0, 2]},
    "longer": {"strides": [3, 2], "output_padding": [1, 1], "pads": [0, 1, 1, 1]},
    "dilated": {"dilations": [2, 1], "group": 2},
    "same": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "shaped": {"strides": [2, 2], "output_shape": [9, 8]},
}


@pytest.mark.parametrize(("shape", "kernel", "attributes"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_means_of_terms_make_the_means_of_a_convolution(
    shape: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, object]
) -> None:
    rng = np.random.default_rng(4)
    x, w = rng.integers(0, 256, shape).astype(np.uint8), rng.normal(size=kernel).astype(np.float32)
    model = node_of("Conv", shape, w, **attributes)
    product = product_of(model)
    result = product.channel_means(product.rows(w), product.term_means(x, 100))
    np.testing.assert_allclose(result, mean_of(model, x.astype(np.float32) - 100, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attributes", TRANSPOSED.values(), ids=TRANSPOSED)
def test_means_of_terms_make_the_means_of_a_transposed_convolution(attributes: dict[str, object]) -> None:
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(1, 4, 5, 4)).astype(np.float32), rng.normal(size=(4, 3, 3, 2)).astype(np.float32)
    model = node_of("ConvTranspose", x.shape, w, **attributes)
    product = product_of(model)
    result = product.channel_means(product.rows(w), product.term_means(x))
    np.testing.assert_allclose(result, mean_of(model, x, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("op_type", "shape"), [("Gemm", (3, 5)), ("MatMul", (2, 3, 5)), ("MatMul", (5,))])
def test_means_of_terms_make_the_means_of_a_matrix_product(op_type: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=shape).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    model = node_of(op_type, shape, w)
    product = product_of(model)
    result = product.channel_means(product.rows(w), product.term_means(x))
    np.testing.assert_allclose(result, mean_of(model, x, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_weights_are_had_back_from_rows(op_type: str) -> None:
    shape = {"Conv": (4, 3, 2, 2), "ConvTranspose": (3, 4, 2, 2)}.get(op_type, (3, 4))
    w = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x_shape = (1, 3, 5, 5) if op_type.startswith("Conv") else (2, 3)
    product = product_of(node_of(op_type, x_shape, w))
    np.testing.assert_array_equal(product.weights(product.rows(w), shape), w)
