"""Products of matrices of TensorFlow graphs in the canonical graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canonical import run
from tests.support.single_operator import FEW, SEEDS
from tests.support.tensorflow_models import GraphComposer, canonical
from tests.support.tensorflow_operator import Fixed, Inner, agrees, agrees_with_opencv, refusal, single

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 5))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


@FEW
@given(sizes=SIZES, seed=SEEDS)
def test_matrix_product(sizes: tuple[int, int], seed: int) -> None:
    made = single("MatMul", normal(seed, 1, sizes[0]), Fixed(normal(seed, *sizes)))
    agrees_with_opencv(made)


@FEW
@given(sizes=SIZES, rows=st.integers(1, 3), turned=st.tuples(st.booleans(), st.booleans()), seed=SEEDS)
def test_transposed_operands(sizes: tuple[int, int], rows: int, turned: tuple[bool, bool], seed: int) -> None:
    # OpenCV reads the shape of the weights as if they were not transposed; NumPy defines the same product.
    inner, columns = sizes
    left, right = normal(seed, rows, inner), normal(seed, inner, columns)
    operands = [a.T.copy() if turn else a for a, turn in zip((left, right), turned, strict=True)]
    flags = {"transpose_a": turned[0], "transpose_b": turned[1]}
    for left_kind, right_kind in ((Inner, Fixed), (Fixed, Inner), (Inner, Inner)):
        agrees(single("MatMul", left_kind(operands[0]), right_kind(operands[1]), **flags), left @ right)


@pytest.mark.parametrize("transposed", [False, True])
def test_product_with_constant_weights_is_a_fully_connected_layer(transposed: bool) -> None:
    weights = normal(1, 4, 3) if transposed else normal(1, 3, 4)
    model = single("MatMul", normal(2, 1, 3), Fixed(weights), transpose_b=transposed).model
    (gemm,) = model.graph
    assert gemm.op_type == "Gemm"
    assert gemm.attributes["transB"].as_int() == 1
    assert gemm.inputs[1] is not None
    assert gemm.inputs[1].const_value is not None
    np.testing.assert_array_equal(gemm.inputs[1].const_value.numpy(), weights if transposed else weights.T)


def test_product_of_integers_stays_one_of_integers() -> None:
    left, right = np.array([[3, -5]], np.int32), np.array([[7, 1], [2, -4]], np.int32)
    agrees(single("MatMul", left, Fixed(right)), left @ right)


@pytest.mark.parametrize("op", ["BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"])
@FEW
@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    turned=st.tuples(st.booleans(), st.booleans()),
    fixed=st.booleans(),
    seed=SEEDS,
)
def test_batch_matmul(
    *, op: str, batch: list[int], sizes: tuple[int, int, int], turned: tuple[bool, bool], fixed: bool, seed: int
) -> None:
    # OpenCV's importer has only the first of the three, without its attributes.
    rows, inner, columns = sizes
    left, right = normal(seed, 1, *batch, rows, inner), normal(seed, 1, *batch, inner, columns)
    pair = [a.swapaxes(-1, -2).copy() if turn else a for a, turn in zip((left, right), turned, strict=True)]
    operands = [pair[0], Fixed(pair[1]) if fixed else pair[1]]
    agrees(single(op, *operands, adj_x=turned[0], adj_y=turned[1]), left @ right)


@pytest.mark.parametrize("op", ["BatchMatMulV2", "BatchMatMulV3"])
def test_batches_broadcast(op: str) -> None:
    left, right = normal(1, 1, 5, 2, 3), normal(2, 4, 1, 3, 2)
    agrees(single(op, left, Fixed(right)), left @ right)
    agrees(single(op, left, Fixed(right[0, 0])), left @ right[0, 0])


@pytest.mark.parametrize("op", ["BiasAdd", "BiasAddV1"])
@pytest.mark.parametrize("shape", [(1, 4), (1, 3, 4), (1, 2, 3, 4), (1, 2, 2, 3, 4)])
def test_bias_is_along_the_last_dimension(op: str, shape: tuple[int, ...]) -> None:
    x, bias = normal(1, *shape), normal(2, 4)
    agrees(single(op, x, Fixed(bias)), x + bias)


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 3), (1, 4, 3, 2), (1, 4, 3, 2, 2)])
def test_bias_of_channels_second_is_along_the_second_dimension(shape: tuple[int, ...]) -> None:
    x, bias = normal(1, *shape), normal(2, 4)
    agrees(single("BiasAdd", x, Fixed(bias), data_format="NCHW"), x + bias.reshape(4, *[1] * (len(shape) - 2)))


def test_bias_as_opencv_has_it() -> None:
    agrees_with_opencv(single("BiasAdd", normal(1, 1, 5, 6, 4), Fixed(normal(2, 4))))
    agrees_with_opencv(single("BiasAdd", normal(1, 1, 4), Fixed(normal(2, 4))))


@pytest.mark.parametrize("activation", [None, "Relu", "Relu6", "LeakyRelu"])
def test_product_fused_by_the_optimiser_is_what_it_was_before(activation: str | None) -> None:
    x, weights, bias = normal(1, 1, 5), normal(2, 3, 5), normal(3, 3)
    names = ["BiasAdd", *([activation] if activation else [])]
    fused = single(
        "_FusedMatMul", x, Fixed(weights), Fixed(bias), fused_ops=names, transpose_b=True, leakyrelu_alpha=0.3
    )
    composer = GraphComposer()
    composer.placeholder("x0", x.shape)
    composer.node("MatMul", ["x0", composer.constant(weights)], "product", transpose_b=True)
    last = composer.node("BiasAdd", ["product", composer.constant(bias)], "sum")
    if activation:
        more = {"alpha": 0.3} if activation == "LeakyRelu" else {}
        last = composer.node(activation, ["sum"], "end", **more)
    agrees(fused, *run(canonical(composer.serialize(), {"x0": x.shape}, [last]), [x]))


X = np.zeros((1, 4), np.float32)


@pytest.mark.parametrize(
    ("op", "operands", "fields", "message"),
    [
        ("MatMul", [X, np.zeros((1, 2, 4), np.float32)], {}, "operands of shape [1, 4] and [1, 2, 4]; two dimensions"),
        ("MatMul", [X, Fixed(np.zeros((4, 2), np.int32))], {}, "operands of FLOAT and INT32; they must be one of"),
        ("MatMul", [X.astype(bool), X.astype(bool)], {}, "operands of BOOL; they must be one of FLOAT"),
        ("MatMul", [X], {}, "it has no operand 1"),
        ("BatchMatMulV2", [X, np.zeros(1, np.float32)], {}, "operands of shape [1, 4] and [1]; matrices are needed"),
        ("BatchMatMulV2", [X, np.zeros(1, np.float32)], {"adj_y": True}, "a matrix of shape [1]"),
        ("BiasAdd", [X, Fixed(np.zeros(3, np.float32))], {}, "a bias of shape [3] for 4 channels"),
        ("BiasAdd", [X, Fixed(np.zeros((1, 4), np.float32))], {}, "a bias of shape [1, 4] for 4 channels"),
        (
            "BiasAdd",
            [np.zeros(1, np.float32), Fixed(np.zeros(1, np.float32))],
            {},
            "the data format NHWC of a tensor of shape [1]",
        ),
        (
            "BiasAdd",
            [X, Fixed(np.zeros(4, np.float32))],
            {"data_format": "HWCN"},
            "the data format HWCN of a tensor of shape [1, 4]",
        ),
    ],
)
def test_product_that_cannot_be_says_why(op: str, operands: list[Any], fields: dict[str, Any], message: str) -> None:
    assert refusal(op, *operands, **fields).startswith(message)


def test_matrices_that_do_not_fit_are_refused() -> None:
    assert "4" in refusal("MatMul", X, Fixed(np.zeros((5, 2), np.float32)))
