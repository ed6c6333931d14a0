"""Convolutions and fully connected layers of Caffe in the canonical graph."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from synap_core.errors import InputError
from synap_core.graph.passes import normalise
from tests.support.caffe_layers import (
    agrees,
    alike,
    computed,
    conforms,
    imported,
    one_layer,
    operators,
    refusal,
    sample,
)
from tests.support.caffe_models import layer, network

CONVOLUTIONS = [
    ("num_output: 6 kernel_size: 3", (6, 4, 3, 3)),
    ("num_output: 6 kernel_size: 3 bias_term: false", (6, 4, 3, 3)),
    ("num_output: 5 kernel_size: 3 pad: 1 stride: 2", (5, 4, 3, 3)),
    ("num_output: 4 kernel_size: 3 pad: 2 dilation: 2", (4, 4, 3, 3)),
    ("num_output: 6 kernel_size: 1 group: 2", (6, 2, 1, 1)),
    ("num_output: 4 kernel_size: 3 group: 4 pad: 1", (4, 1, 3, 3)),
    ("num_output: 8 kernel_size: 3 group: 4 stride: 2", (8, 1, 3, 3)),
    ("num_output: 3 kernel_h: 1 kernel_w: 5 pad_h: 0 pad_w: 2 stride_h: 2 stride_w: 1", (3, 4, 1, 5)),
    ("num_output: 3 kernel_size: 3 kernel_size: 2 pad: 1 pad: 0 stride: 1 stride: 3", (3, 4, 3, 2)),
    ("num_output: 2 kernel_size: 3 dilation: 2 dilation: 1 bias_term: false", (2, 4, 3, 3)),
]


@pytest.mark.parametrize(("options", "shape"), CONVOLUTIONS, ids=[text for text, _ in CONVOLUTIONS])
def test_a_convolution_agrees_with_opencv(options: str, shape: tuple[int, ...]) -> None:
    blobs = [sample(*shape, seed=1), *([] if "bias_term" in options else [sample(shape[0], seed=2)])]
    agrees("Convolution", f"convolution_param {{ {options} }}", [sample(1, 4, 9, 8)], blobs)


def test_padding_of_one_axis_leaves_the_other_one_without() -> None:
    # OpenCV ignores pad_w without pad_h.
    def definition(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0)] * 3 + [(1, 1)]), (2, 2), axis=(2, 3))
        return np.asarray(np.einsum("nchwij,ocij->nohw", windows, weights))

    options = "convolution_param { num_output: 3 kernel_size: 2 pad_w: 1 bias_term: false }"
    conforms("Convolution", options, [sample(1, 4, 5, 6)], definition, [sample(3, 4, 2, 2, seed=1)])


def test_a_convolution_may_have_one_spatial_axis() -> None:
    options = "convolution_param { num_output: 2 kernel_size: 3 pad: 1 stride: 2 }"
    agrees("Convolution", options, [sample(1, 4, 9)], [sample(2, 4, 3, seed=1), sample(2, seed=2)])


def test_a_convolution_may_have_three_spatial_axes() -> None:
    # OpenCV refuses them in Caffe's files.
    def definition(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        padded = np.pad(x, [(0, 0), (0, 0), *[(1, 1)] * 3])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2, 3), axis=(2, 3, 4))[:, :, ::2, ::2, ::2]
        return np.asarray(np.einsum("ncdhwijk,ocijk->nodhw", windows, weights) + bias[:, None, None, None])

    options = "convolution_param { num_output: 4 kernel_size: 3 kernel_size: 2 kernel_size: 3 pad: 1 stride: 2 }"
    blobs = [sample(4, 2, 3, 2, 3, seed=1), sample(4, seed=2)]
    conforms("Convolution", options, [sample(1, 2, 6, 5, 7)], definition, blobs)


def test_channels_may_be_another_axis_and_those_in_front_are_samples() -> None:
    # OpenCV has channels on axis 1 only.
    weights, bias = sample(4, 3, 3, 3, seed=1), sample(4, seed=2)
    x = sample(1, 2, 3, 5, 6)
    (found,) = computed(
        one_layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 axis: -3 }", [x], [weights, bias]),
        [x],
    )
    plain = one_layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", [x[:, 0]], [weights, bias])
    wanted = np.stack([computed(plain, [x[:, place]])[0] for place in range(2)], axis=1)
    alike(found, wanted)


def test_every_bottom_of_a_convolution_gives_a_top() -> None:
    options, blobs = "convolution_param { num_output: 2 kernel_size: 3 }", [sample(2, 3, 3, 3, seed=1), sample(2)]
    inputs = [sample(1, 3, 5, 6, seed=3), sample(1, 3, 7, 4, seed=4)]
    found = computed(one_layer("Convolution", options, inputs, blobs, tops=2), inputs)
    for x, result in zip(inputs, found, strict=True):
        alike(result, agrees("Convolution", options, [x], blobs))


def test_a_depthwise_convolution_with_batch_norm_and_scale_is_one_operator_when_normalised() -> None:
    made = network(
        [
            layer(
                "conv",
                "Convolution",
                "x",
                "a",
                "convolution_param { num_output: 4 kernel_size: 3 group: 4 bias_term: false }",
                [sample(4, 1, 3, 3)],
            ),
            layer("norm", "BatchNorm", "a", "b", "", [sample(4), sample(4, low=1), np.ones(1)]),
            layer("scale", "Scale", "b", "c", "scale_param { bias_term: true }", [sample(4), sample(4, seed=1)]),
        ],
        x=(1, 4, 6, 6),
    )
    model = imported(made)
    normalise(model)
    assert [node.op_type for node in model.graph] == ["Conv"]


DECONVOLUTIONS = [
    ("num_output: 5 kernel_size: 2 stride: 2", (4, 5, 2, 2)),
    ("num_output: 5 kernel_size: 4 stride: 2 pad: 1 bias_term: false", (4, 5, 4, 4)),
    ("num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 bias_term: false", (4, 1, 4, 4)),
    ("num_output: 6 kernel_size: 3 stride: 3 group: 2", (4, 3, 3, 3)),
    ("num_output: 2 kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0", (4, 2, 3, 2)),
    ("num_output: 2 kernel_size: 5 stride: 1", (4, 2, 5, 5)),
]


@pytest.mark.parametrize(("options", "shape"), DECONVOLUTIONS, ids=[text for text, _ in DECONVOLUTIONS])
def test_a_deconvolution_agrees_with_opencv(options: str, shape: tuple[int, ...]) -> None:
    channels = int(options.split()[1])
    blobs = [sample(*shape, seed=1), *([] if "bias_term" in options else [sample(channels, seed=2)])]
    agrees("Deconvolution", f"convolution_param {{ {options} }}", [sample(1, 4, 5, 4)], blobs)


def test_a_deconvolution_may_be_dilated() -> None:
    # OpenCV ignores dilations of deconvolutions.
    def definition(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        found = np.zeros((1, 2, 9, 8)) + bias[:, None, None]
        for y, column, i, j in itertools.product(range(3), range(2), range(3), range(3)):
            found[0, :, 2 * y + 2 * i, 3 * column + 2 * j] += np.einsum(
                "c,co->o", x[0, :, y, column], weights[..., i, j]
            )
        return found

    options = "convolution_param { num_output: 2 kernel_size: 3 stride: 2 stride: 3 dilation: 2 }"
    conforms(
        "Deconvolution", options, [sample(1, 4, 3, 2)], definition, [sample(4, 2, 3, 3, seed=1), sample(2, seed=2)]
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("num_output: 4", "0 numbers in kernel_size for 2 spatial axes"),
        ("num_output: 4 kernel_size: 3 kernel_size: 3 kernel_size: 3", "3 numbers in kernel_size for 2 spatial axes"),
        ("num_output: 4 kernel_h: 3", "kernel of [3, 0]; each must be 1 or more"),
        ("num_output: 4 kernel_size: 3 kernel_h: 3 kernel_w: 3", "kernel_h and kernel_w beside kernel_size"),
        ("num_output: 4 kernel_size: 3 stride: 0", "strides of [0, 0]"),
        ("num_output: 4 kernel_size: 3 dilation: 0", "dilations of [0, 0]"),
        ("num_output: 4 kernel_size: 3 group: 3", "3 groups of 4 channels in and 4 out"),
        ("num_output: 4 kernel_size: 3 group: 0", "0 groups of 4 channels in and 4 out"),
        ("kernel_size: 3", "1 groups of 4 channels in and 0 out"),
        ("num_output: 4 kernel_size: 3 axis: 3", "no spatial axes behind the channels, axis 3 of a blob of shape"),
        ("num_output: 4 kernel_size: 3 axis: 4", "axis 4 of a blob of shape [1, 4, 9, 8]"),
        ("num_output: 4 kernel_size: 10 kernel_size: 1", "a window of 10 items in 9"),
    ],
)
def test_a_convolution_that_cannot_be_says_why(options: str, reason: str) -> None:
    blobs = [sample(4, 4, 10, 1)] if "10" in options else []
    options += " bias_term: false"
    assert reason in refusal("Convolution", f"convolution_param {{ {options} }}", [sample(1, 4, 9, 8)], blobs)


def test_bottoms_of_a_convolution_have_the_same_channels() -> None:
    inputs = [sample(1, 3, 5, 5), sample(1, 4, 5, 5)]
    reason = refusal("Convolution", "convolution_param { num_output: 1 kernel_size: 1 }", inputs, tops=2)
    assert "bottoms of the shapes [1, 3, 5, 5] and [1, 4, 5, 5] for the same weights" in reason


DENSE = [
    ("num_output: 5", (1, 3, 2, 4), (5, 24)),
    ("num_output: 5 bias_term: false", (1, 24), (5, 24)),
    ("num_output: 7 axis: 2", (1, 3, 2, 4), (7, 8)),
    ("num_output: 7 axis: -1", (1, 3, 2, 4), (7, 4)),
]


@pytest.mark.parametrize(("options", "shape", "stored"), DENSE, ids=[case[0] for case in DENSE])
def test_a_fully_connected_layer_agrees_with_opencv(
    options: str, shape: tuple[int, ...], stored: tuple[int, ...]
) -> None:
    blobs = [sample(*stored, seed=1), *([] if "bias_term" in options else [sample(stored[0], seed=2)])]
    agrees("InnerProduct", f"inner_product_param {{ {options} }}", [sample(*shape)], blobs)


def test_weights_of_a_fully_connected_layer_may_be_transposed() -> None:
    # OpenCV ignores the parameter.
    options = "inner_product_param { num_output: 3 transpose: true }"
    blobs = [sample(8, 3, seed=1), sample(3, seed=2)]
    conforms("InnerProduct", options, [sample(1, 2, 4)], lambda x, w, b: x.reshape(1, 8) @ w + b, blobs)


def test_weights_of_a_fully_connected_layer_may_be_stored_with_four_axes() -> None:
    options, blobs = "inner_product_param { num_output: 3 }", [sample(3, 8, seed=1), sample(3, seed=2)]
    old = [blobs[0].reshape(1, 1, 3, 8), blobs[1].reshape(1, 1, 1, 3)]
    x = sample(1, 2, 4)
    (found,) = computed(one_layer("InnerProduct", options, [x], old), [x])
    alike(found, agrees("InnerProduct", options, [x], blobs))


def test_a_fully_connected_layer_becomes_gemm() -> None:
    blobs = [sample(3, 8), sample(3)]
    made = one_layer("InnerProduct", "inner_product_param { num_output: 3 }", [sample(1, 2, 2, 2)], blobs)
    assert operators(made) == ["Reshape", "Gemm"]


@pytest.mark.parametrize("bias", [True, False])
def test_a_table_gives_rows_by_their_numbers(*, bias: bool) -> None:
    # OpenCV has no such layer.
    options = f"embed_param {{ num_output: 4 input_dim: 6 {'' if bias else 'bias_term: false'} }}"
    blobs = [sample(6, 4, seed=1), *([sample(4, seed=2)] if bias else [])]
    numbers = np.array([[0, 5, 2, 2, 1]], np.float32)

    def definition(x: np.ndarray, table: np.ndarray, *summand: np.ndarray) -> np.ndarray:
        return table[x.astype(int)] + (summand[0] if summand else 0)

    conforms("Embed", options, [numbers], definition, blobs)


WEIGHTED = [
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 3 }", [(2, 3, 3, 3), (2,)]),
    ("Deconvolution", "convolution_param { num_output: 2 kernel_size: 3 }", [(3, 2, 3, 3), (2,)]),
    ("InnerProduct", "inner_product_param { num_output: 2 }", [(2, 75), (2,)]),
    ("Embed", "embed_param { num_output: 2 input_dim: 4 }", [(4, 2), (2,)]),
    ("BatchNorm", "", [(3,), (3,), (1,)]),
    ("Scale", "scale_param { bias_term: true }", [(3,), (3,)]),
    ("Bias", "", [(3,)]),
    ("PReLU", "", [(3,)]),
    ("PReLU", "prelu_param { channel_shared: true }", [()]),
]
"""Every layer with weights: type, parameters, and the shapes of its blobs for a bottom [1, 3, 5, 5]."""


@pytest.mark.parametrize(("kind", "body", "shapes"), WEIGHTED, ids=[f"{kind} {body}" for kind, body, _ in WEIGHTED])
def test_missing_superfluous_or_misshapen_weights_are_errors_that_name_the_layer(
    kind: str, body: str, shapes: list[tuple[int, ...]]
) -> None:
    x, blobs = [sample(1, 3, 5, 5)], [np.ones(shape, np.float32) for shape in shapes]
    imported(one_layer(kind, body, x, blobs))
    with pytest.raises(InputError, match=rf"layer 'y' \({kind}\) has no .*; give the .caffemodel that belongs to this"):
        imported(one_layer(kind, body, x, blobs[:-1]))
    with pytest.raises(InputError, match=rf"'y' \({kind}\) has {len(blobs) + 1} blobs in the .* not {len(blobs)}"):
        imported(one_layer(kind, body, x, [*blobs, blobs[0]]))
    wrong = [*blobs[:-1], np.ones((2, 4), np.float32)]
    with pytest.raises(InputError, match=rf"of layer 'y' \({kind}\) are \[2, 4\] in the weights file, not \["):
        imported(one_layer(kind, body, x, wrong))
