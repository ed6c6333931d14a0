"""Normalisation of TensorFlow graphs in the canonical graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.single_operator import FEW, SEEDS
from tests.support.tensorflow_operator import Fixed, Inner, agrees, agrees_with_opencv, refusal, single

VERSIONS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def statistics(seed: int, channels: int) -> list[np.ndarray]:
    """Scale, offset, mean and variance."""
    scale, offset, mean, spread = (normal(seed + place, channels) for place in range(4))
    return [scale, offset, mean, np.abs(spread) + np.float32(0.1)]


def normalised(x: np.ndarray, values: list[np.ndarray], epsilon: float) -> np.ndarray:
    """By the definition, over the last dimension."""
    scale, offset, mean, variance = (value.astype(np.float64) for value in values)
    return np.asarray((x - mean) / np.sqrt(variance + epsilon) * scale + offset)


# OpenCV's importer lacks version 2.
@pytest.mark.parametrize("op", ["FusedBatchNorm", "FusedBatchNormV3"])
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@FEW
@given(channels=st.integers(1, 5), epsilon=st.sampled_from([1e-5, 1e-3, 0.25]), seed=SEEDS)
def test_batch_normalisation(op: str, data_format: str, channels: int, epsilon: float, seed: int) -> None:
    shape = (1, 4, 3, channels) if data_format == "NHWC" else (1, channels, 4, 3)
    operands = [normal(seed, *shape), *map(Fixed, statistics(seed, channels))]
    made = single(op, *operands, epsilon=epsilon, is_training=False, data_format=data_format)
    agrees_with_opencv(made, data_format)


@pytest.mark.parametrize("op", VERSIONS)
def test_absent_epsilon_and_format_have_their_defaults(op: str) -> None:
    x, values = normal(1, 1, 4, 3, 2), statistics(2, 2)
    values[3] = np.full(2, 1e-4, np.float32)
    expected = normalised(x, values, 1e-4).astype(np.float32)
    agrees(single(op, x, *map(Fixed, values), is_training=False), expected)


@pytest.mark.parametrize("op", VERSIONS)
def test_further_results_are_the_statistics(op: str) -> None:
    x, values = normal(1, 1, 4, 3, 2), statistics(2, 2)
    operands = [*map(Fixed, values[:2]), *map(Inner, values[2:])]
    made = single(op, x, *operands, outputs=5, epsilon=0.01, is_training=False)
    agrees(made, normalised(x, values, 0.01).astype(np.float32), *values[2:], *values[2:])


@pytest.mark.parametrize("data_format", ["NDHWC", "NCDHW"])
def test_volumes_are_normalised_by_version_3(data_format: str) -> None:
    x, values = normal(1, 1, 2, 4, 3, 2), statistics(2, 2)
    expected = normalised(x, values, 0.01).astype(np.float32)
    image, wanted = (x, expected) if data_format == "NDHWC" else (np.moveaxis(a, -1, 1).copy() for a in (x, expected))
    fields = {"epsilon": 0.01, "is_training": False, "data_format": data_format}
    agrees(single("FusedBatchNormV3", image, *map(Fixed, values), **fields), wanted)
    assert refusal("FusedBatchNormV2", image, *map(Fixed, values), **fields) == f"the data format {data_format}"


def test_half_floats_are_normalised_by_float_statistics() -> None:
    x, values = normal(1, 1, 4, 3, 2).astype(np.float16), statistics(2, 2)
    made = single("FusedBatchNormV2", x, *map(Fixed, values), epsilon=0.01, is_training=False, U=np.float32)
    agrees(made, normalised(x, values, 0.01).astype(np.float16), tolerance=1e-3)


def test_statistics_may_be_computed() -> None:
    x, values = normal(1, 1, 4, 3, 1), statistics(2, 1)
    operands = [x, values[0], *map(Fixed, values[1:])]
    expected = normalised(x, values, 0.01).astype(np.float32)
    agrees(single("FusedBatchNorm", *operands, epsilon=0.01, is_training=False), expected)


@pytest.mark.parametrize("scaled", [True, False])
def test_older_batch_normalisation_may_leave_its_scale_out(scaled: bool) -> None:
    x, (scale, offset, mean, variance) = normal(1, 1, 4, 3, 2), statistics(2, 2)
    operands = [x, *map(Fixed, (mean, variance, offset, scale))]
    fields = {"variance_epsilon": 0.01, "scale_after_normalization": scaled}
    used = scale if scaled else np.ones_like(scale)
    expected = normalised(x, [used, offset, mean, variance], 0.01).astype(np.float32)
    agrees(single("BatchNormWithGlobalNormalization", *operands, **fields), expected)


@FEW
@given(
    channels=st.integers(1, 8),
    radius=st.integers(0, 4),
    alpha=st.sampled_from([1e-4, 0.1, 1.0]),
    beta=st.sampled_from([0.5, 0.75, 1.0]),
    bias=st.sampled_from([1.0, 2.0]),
    seed=SEEDS,
)
def test_local_response_normalisation(
    *, channels: int, radius: int, alpha: float, beta: float, bias: float, seed: int
) -> None:
    fields = {"depth_radius": radius, "alpha": alpha, "beta": beta, "bias": bias}
    agrees_with_opencv(single("LRN", normal(seed, 1, 3, 4, channels), **fields))


def test_absent_attributes_of_local_response_normalisation_have_their_defaults() -> None:
    # OpenCV requires them; the definition, with radius 5, bias 1, alpha 1 and beta 0.5.
    x = normal(1, 1, 2, 3, 14)
    squares = np.pad(x.astype(np.float64) ** 2, [(0, 0), (0, 0), (0, 0), (5, 5)])
    sums = np.lib.stride_tricks.sliding_window_view(squares, 11, axis=3).sum(axis=-1)
    agrees(single("LRN", x), (x / np.sqrt(1 + sums)).astype(np.float32))


@pytest.mark.parametrize("radius", [2, 3, 1 << 62])
def test_radius_beyond_all_channels_takes_all_of_them(radius: int) -> None:
    x = normal(1, 1, 2, 3, 3)
    sums = (x.astype(np.float64) ** 2).sum(axis=-1, keepdims=True)
    agrees(single("LRN", x, depth_radius=radius, alpha=0.5), (x / np.sqrt(1 + 0.5 * sums)).astype(np.float32))


X = np.zeros((1, 4, 3, 2), np.float32)
ROW = Fixed(np.ones(2, np.float32))


@pytest.mark.parametrize(
    ("operands", "fields", "message"),
    [
        ([X, ROW, ROW, ROW, ROW], {"is_training": True}, "it normalises by the statistics of its own batch; freeze"),
        ([X, ROW, ROW, ROW, ROW], {"is_training": None}, "it normalises by the statistics of its own batch; freeze"),
        ([X, ROW, ROW, Fixed(np.ones(3, np.float32)), ROW], {}, "a mean of shape [3] for 2 channels"),
        ([X, ROW, ROW, Fixed(np.ones(0, np.float32)), ROW], {}, "a mean of shape [0] for 2 channels"),
        ([X, ROW, ROW, ROW], {}, "it has no operand 4"),
        ([X, ROW, ROW, ROW, Fixed(np.ones(2, np.int32))], {}, "statistics of FLOAT and FLOAT and FLOAT and INT32"),
        ([X[0], ROW, ROW, ROW, ROW], {}, "a tensor of shape [1, 3, 2]; 4 dimensions are needed"),
        ([X.astype(np.int32), ROW, ROW, ROW, ROW], {}, "operands of INT32; they must be one of FLOAT, FLOAT16"),
        ([X, ROW, ROW, ROW, ROW], {"data_format": "HWNC"}, "the data format HWNC"),
    ],
)
def test_batch_normalisation_that_cannot_be_says_why(operands: list[Any], fields: dict[str, Any], message: str) -> None:
    shortened = [one[:1] if isinstance(one, np.ndarray) else one for one in operands]
    found = refusal("FusedBatchNormV3", *shortened, **({"is_training": False} | fields))
    assert found.startswith(message)


def test_negative_radius_is_refused() -> None:
    assert refusal("LRN", X, depth_radius=-2) == "a radius of -2 channels"


@pytest.mark.parametrize("op", VERSIONS)
def test_rows_normalised_as_keras_writes_it_are_a_layer_normalisation(op: str, rng: np.random.Generator) -> None:
    x = (3 * rng.normal(size=(1, 5, 8, 1)) + 2).astype(np.float32)
    ones, zeros = np.ones(5, np.float32), np.zeros(5, np.float32)
    rest = [Fixed(np.zeros(0, np.float32))] * 2
    made = single(op, x, Fixed(ones), Fixed(zeros), *rest, epsilon=0.01, data_format="NCHW", is_training=True)
    assert "LayerNormalization" in {node.op_type for node in made.model.graph}
    wide = x.astype(np.float64)
    mean, variance = wide.mean(2, keepdims=True), wide.var(2, keepdims=True)
    agrees(made, ((wide - mean) / np.sqrt(variance + 0.01)).astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "scale", "offset", "data_format"),
    [
        ((1, 5, 8, 1), 2, 0, "NCHW"),
        ((1, 5, 8, 1), 1, 1, "NCHW"),
        ((1, 5, 8, 2), 1, 0, "NCHW"),
        ((1, 8, 1, 5), 1, 0, "NHWC"),
    ],
    ids=["scale", "offset", "image", "channels last"],
)
def test_normalisation_by_the_batch_is_refused(
    shape: tuple[int, ...], scale: float, offset: float, data_format: str
) -> None:
    values = [Fixed(np.full(5, value, np.float32)) for value in (scale, offset)] + [Fixed(np.zeros(0, np.float32))] * 2
    reason = refusal("FusedBatchNormV3", normal(1, *shape), *values, data_format=data_format, is_training=True)
    assert reason == "it normalises by the statistics of its own batch; freeze the graph for inference"


@pytest.mark.parametrize("side", [False, True])
@pytest.mark.parametrize("mode", ["Identity", "Relu"])
def test_batch_normalisation_with_a_sum_and_an_activation(mode: str, *, side: bool) -> None:
    x, more, values = normal(1, 1, 4, 3, 2), normal(2, 1, 4, 3, 2), statistics(3, 2)
    made = single(
        "_FusedBatchNormEx",
        x,
        *map(Fixed, values),
        *([more] if side else []),
        epsilon=0.01,
        is_training=False,
        num_side_inputs=int(side),
        activation_mode=mode,
    )
    total = normalised(x, values, 0.01) + (more if side else 0)
    agrees(made, (np.maximum(total, 0) if mode == "Relu" else total).astype(np.float32))
