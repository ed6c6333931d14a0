"""Normalisation, factors and summands of Caffe in the canonical graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.support.caffe_layers import agrees, alike, computed, conforms, one_layer, operators, refusal, sample
from tests.support.caffe_models import layer, network

X = sample(1, 4, 5, 6)
STATISTICS = [sample(4, seed=1), sample(4, seed=2, low=0.5)]


@pytest.mark.parametrize("factor", [0.0, 1.0, 999.5])
@pytest.mark.parametrize("shape", [(1, 4, 5, 6), (1, 4), (1, 4, 7)], ids=str)
def test_stored_statistics_agree_with_opencv(shape: tuple[int, ...], factor: float) -> None:
    # With the factor 0 the statistics are zeros, and epsilon alone is what items are divided by.
    agrees("BatchNorm", "", [sample(*shape)], [*STATISTICS, np.full(1, factor, np.float32)])


@pytest.mark.parametrize("options", ["eps: 0.1", "use_global_stats: true", "use_global_stats: false"])
def test_options_of_batch_norm_agree_with_opencv(options: str) -> None:
    agrees("BatchNorm", f"batch_norm_param {{ {options} }}", [X], [*STATISTICS, np.full(1, 2.0, np.float32)])


def test_statistics_of_the_sample_may_take_the_place_of_stored_ones() -> None:
    # OpenCV ignores epsilon.
    def definition(x: np.ndarray, *_: np.ndarray) -> np.ndarray:
        return np.asarray((x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 0.5))

    blobs = [*STATISTICS, np.ones(1, np.float32)]
    conforms("BatchNorm", "batch_norm_param { use_global_stats: false eps: 0.5 }", [X], definition, blobs)


def test_statistics_of_one_number_per_channel_are_refused() -> None:
    blobs = [*STATISTICS, np.ones(1, np.float32)]
    reason = refusal("BatchNorm", "batch_norm_param { use_global_stats: false }", [sample(1, 4)], blobs)
    assert "its statistics are those of the batch, which has one sample" in reason


SCALES = [
    ("", [(4,)]),
    ("bias_term: true", [(4,), (4,)]),
    ("axis: 1 num_axes: 2", [(4, 5)]),
    ("axis: 2 num_axes: -1 bias_term: true", [(5, 6), (5, 6)]),
    ("axis: 2", [(5,)]),
]


@pytest.mark.parametrize(("options", "shapes"), SCALES, ids=[options for options, _ in SCALES])
def test_learned_factors_agree_with_opencv(options: str, shapes: list[tuple[int, ...]]) -> None:
    blobs = [sample(*shape, seed=seed) for seed, shape in enumerate(shapes, 1)]
    agrees("Scale", f"scale_param {{ {options} }}", [X], blobs)


@pytest.mark.parametrize(
    ("options", "shape"), [("axis: 0", (1, 4)), ("axis: 0", (1, 4, 5, 6)), ("axis: 2", (5, 6)), ("", (4,))]
)
def test_factors_of_a_second_bottom_agree_with_opencv(options: str, shape: tuple[int, ...]) -> None:
    agrees("Scale", f"scale_param {{ {options} }}", [X, sample(*shape, seed=1)])


Definition = Callable[..., np.ndarray]

# OpenCV counts no axes from behind, has no scalars, ignores the bias beside a second bottom, and lacks the layer Bias.
DEFINED: list[tuple[str, str, list[tuple[int, ...]], list[tuple[int, ...]], Definition]] = [
    ("Scale", "scale_param { axis: -1 }", [], [(6,)], lambda x, s: x * s),
    ("Scale", "scale_param { num_axes: 0 bias_term: true }", [], [(), ()], lambda x, s, b: x * s + b),
    (
        "Scale",
        "scale_param { bias_term: true }",
        [(4,)],
        [(4,)],
        lambda x, s, b: x * s[:, None, None] + b[:, None, None],
    ),
    ("Bias", "", [], [(4,)], lambda x, b: x + b[:, None, None]),
    ("Bias", "bias_param { axis: 2 num_axes: 2 }", [], [(5, 6)], lambda x, b: x + b),
    ("Bias", "bias_param { axis: -3 num_axes: -1 }", [], [(4, 5, 6)], lambda x, b: x + b),
    ("Bias", "bias_param { num_axes: 0 }", [], [()], lambda x, b: x + b),
    ("Bias", "bias_param { axis: 0 }", [(1, 4)], [], lambda x, b: x + b[..., None, None]),
    ("Bias", "", [(4, 5)], [], lambda x, b: x + b[..., None]),
]


@pytest.mark.parametrize(
    ("kind", "body", "bottoms", "blobs", "definition"), DEFINED, ids=[f"{case[0]} {case[1:4]}" for case in DEFINED]
)
def test_factors_and_summands_conform_to_their_definition(
    kind: str,
    body: str,
    bottoms: list[tuple[int, ...]],
    blobs: list[tuple[int, ...]],
    definition: Definition,
) -> None:
    inputs = [X, *(sample(*shape, seed=1) for shape in bottoms)]
    conforms(kind, body, inputs, definition, [sample(*shape, seed=2) for shape in blobs])


def test_a_second_bottom_may_be_one_number() -> None:
    # No OpenCV: it has no layer that makes one.
    made = network([layer("sum", "Reduction", "x", "s"), layer("y", "Scale", "x s", "y")], x=X.shape)
    alike(computed(made, [X])[0], X * X.sum(dtype=np.float64))


@pytest.mark.parametrize(
    ("kind", "body", "bottoms", "reason"),
    [
        ("Scale", "scale_param { axis: 4 }", [], "axis 4 of a blob of shape [1, 4, 5, 6]"),
        ("Scale", "scale_param { axis: 2 num_axes: 3 }", [], "3 axes from axis 2 on, of a blob of shape [1, 4, 5, 6]"),
        ("Scale", "scale_param { num_axes: -2 }", [], "-2 axes from axis 1 on"),
        ("Scale", "", [(5,)], "a second bottom of shape [5] for axis 1 of one of shape [1, 4, 5, 6]"),
        ("Bias", "bias_param { axis: 3 }", [(6, 1)], "a second bottom of shape [6, 1] for axis 3"),
        ("Bias", "", [(1, 4)], "a second bottom of shape [1, 4] for axis 1"),
    ],
)
def test_factors_that_fit_no_axis_are_refused(
    kind: str, body: str, bottoms: list[tuple[int, ...]], reason: str
) -> None:
    assert reason in refusal(kind, body, [X, *(sample(*shape) for shape in bottoms)])


RESPONSES = [
    "alpha: 1",
    "local_size: 3 alpha: 0.5 beta: 0.6",
    "local_size: 1 alpha: 2",
    "local_size: 11 alpha: 3",
    "local_size: 7 alpha: 3",
    "norm_region: WITHIN_CHANNEL alpha: 1",
    "norm_region: WITHIN_CHANNEL local_size: 3 alpha: 5e-05 beta: 0.75",
    "norm_region: WITHIN_CHANNEL local_size: 3 alpha: 2 beta: 0.5 k: 3",
    "norm_region: WITHIN_CHANNEL local_size: 9 alpha: 7",
    "norm_region: WITHIN_CHANNEL local_size: 31 alpha: 99",
]


@pytest.mark.parametrize("options", RESPONSES)
def test_a_local_response_agrees_with_opencv(options: str) -> None:
    agrees("LRN", f"lrn_param {{ {options} }}", [X])


def test_items_are_made_smaller_before_they_are_squared() -> None:
    """As float16 the squares of items of 300 would be infinite."""
    options = "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 5e-05 }"
    assert operators(one_layer("LRN", options, [X])) == ["Mul", "Mul", "AveragePool", "Add", "Pow", "Mul"]


@pytest.mark.parametrize("options", ["", "local_size: 3 alpha: 0.5 k: 2", "k: 0.5"])
def test_a_local_response_across_channels_conforms_to_its_definition(options: str) -> None:
    # OpenCV ignores k, and has another default for alpha.
    given = dict(word.split(":") for word in options.replace(": ", ":").split())
    size, alpha, k = (float(given.get(name, default)) for name, default in (("local_size", 5), ("alpha", 1), ("k", 1)))

    def definition(x: np.ndarray) -> np.ndarray:
        near = int(size) // 2
        sums = [(x[:, max(c - near, 0) : c + near + 1] ** 2).sum(axis=1) for c in range(x.shape[1])]
        return np.asarray(x / (k + alpha / size * np.stack(sums, axis=1)) ** 0.75)

    conforms("LRN", f"lrn_param {{ {options} }}", [X], definition)


@pytest.mark.parametrize(
    ("options", "shape", "reason"),
    [
        ("local_size: 4", (1, 4, 5, 6), "a local_size of 4; it must be odd"),
        ("local_size: 0", (1, 4, 5, 6), "a local_size of 0; it must be odd"),
        ("", (1, 4), "a blob of shape [1, 4]; four axes are needed"),
    ],
)
def test_a_local_response_that_cannot_be_says_why(options: str, shape: tuple[int, ...], reason: str) -> None:
    assert reason in refusal("LRN", f"lrn_param {{ {options} }}", [sample(*shape)])


@pytest.mark.parametrize(
    "options",
    ["", "normalize_variance: false", "across_channels: true", "across_channels: true normalize_variance: false"],
)
def test_mean_and_variance_agree_with_opencv(options: str) -> None:
    agrees("MVN", f"mvn_param {{ {options} }}", [X])


@pytest.mark.parametrize(("across", "axes"), [("false", (2, 3)), ("true", (1, 2, 3))])
def test_epsilon_is_added_to_the_deviation(across: str, axes: tuple[int, ...]) -> None:
    # OpenCV adds it to the variance.
    def definition(x: np.ndarray) -> np.ndarray:
        return np.asarray((x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 0.25))

    conforms("MVN", f"mvn_param {{ eps: 0.25 across_channels: {across} }}", [X], definition)


def test_means_of_single_items_are_refused() -> None:
    assert "a blob of shape [1, 4]: means along the axes from 2 on" in refusal("MVN", "", [sample(1, 4)])


def test_normalisation_is_as_few_operators_as_it_needs() -> None:
    blobs = [*STATISTICS, np.ones(1, np.float32)]
    assert operators(one_layer("BatchNorm", "", [X], blobs)) == ["BatchNormalization"]
    assert operators(one_layer("LRN", "", [X])) == ["LRN"]
    assert operators(one_layer("Scale", "scale_param { bias_term: true }", [X], STATISTICS)) == ["Mul", "Add"]
