"""Activation functions of TensorFlow graphs in the canonical graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.tensorflow_operator import Fixed, Inner, agrees, agrees_with_opencv, refusal, single

SELU = (1.6732632423543772, 1.0507009873554805)
"""Alpha and scale. Source: Klambauer et al., Self-Normalizing Neural Networks."""

DEFINITIONS: dict[str, Callable[[np.ndarray], Any]] = {
    "Elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6),
    "Selu": lambda x: SELU[1] * np.where(x > 0, x, SELU[0] * np.expm1(x)),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softplus": lambda x: np.log1p(np.exp(x)),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Tanh": np.tanh,
    "Softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
    "LogSoftmax": lambda x: x - np.log(np.exp(x).sum(axis=-1, keepdims=True)),
}


def uniform(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(-9, 9, shape).astype(np.float32)


@pytest.mark.parametrize("op", sorted(DEFINITIONS))
@pytest.mark.parametrize("shape", [(1, 5), (1, 4, 3), (1, 4, 3, 6)])
def test_function(op: str, shape: tuple[int, ...]) -> None:
    x = uniform(*shape)
    agrees(single(op, x), DEFINITIONS[op](x.astype(np.float64)).astype(np.float32))


@pytest.mark.parametrize("op", sorted(DEFINITIONS.keys() - {"LogSoftmax"}))
def test_function_as_opencv_has_it(op: str) -> None:
    # OpenCV's importer has no LogSoftmax.
    agrees_with_opencv(single(op, uniform(1, 7)))


@pytest.mark.parametrize("op", sorted(DEFINITIONS.keys() - {"LogSoftmax", "Softmax"}))
def test_function_of_images_as_opencv_has_it(op: str) -> None:
    # Of an image OpenCV takes the softmax along the rows.
    agrees_with_opencv(single(op, uniform(1, 4, 5, 3)))


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5])
def test_slope_of_leaky_relu(alpha: float) -> None:
    agrees_with_opencv(single("LeakyRelu", uniform(1, 4, 5, 3), alpha=alpha))


def test_absent_slope_of_leaky_relu_is_a_fifth() -> None:
    # OpenCV requires the attribute.
    x = uniform(1, 7)
    agrees(single("LeakyRelu", x), np.where(x > 0, x, np.float32(0.2) * x))


@pytest.mark.parametrize("limits", [(-2.5, 3.0), (0.0, 6.0), (-1.0, -0.5)])
def test_clamp_between_numbers(limits: tuple[float, float]) -> None:
    made = single("ClipByValue", uniform(1, 4, 5, 3), *(Fixed(np.float32(limit)) for limit in limits))
    assert [node.op_type for node in made.model.graph] == ["Clip"]
    agrees_with_opencv(made)


def test_clamp_between_an_item_for_each() -> None:
    x, low, high = uniform(1, 4), uniform(4, seed=2), uniform(4, seed=3)
    low, high = np.minimum(low, high), np.maximum(low, high)
    agrees(single("ClipByValue", x, Fixed(low), Fixed(high)), np.clip(x, low, high))
    agrees(
        single("ClipByValue", x, Fixed(np.full(1, -2, np.float32)), Fixed(high)), np.minimum(np.maximum(x, -2), high)
    )


def test_clamp_of_integers() -> None:
    x = np.arange(-4, 5, dtype=np.int32)[None]
    made = single("ClipByValue", x, Fixed(np.array([-2], np.int32)), Fixed(np.array([3], np.int32)))
    agrees(made, np.clip(x, -2, 3))


@pytest.mark.parametrize("op", ["Relu", "Relu6", "Sigmoid", "Softmax"])
def test_half_floats_stay_half_floats(op: str) -> None:
    x = uniform(1, 7).astype(np.float16)
    agrees(single(op, x), DEFINITIONS[op](x.astype(np.float64)).astype(np.float16), tolerance=2e-3)


@pytest.mark.parametrize("op", [*sorted(DEFINITIONS), "LeakyRelu"])
def test_integers_are_refused(op: str) -> None:
    found = refusal(op, np.zeros((1, 4), np.int32))
    assert found.startswith("operands of INT32; they must be one of FLOAT, FLOAT16")


def test_softmax_of_a_single_number_is_refused() -> None:
    assert refusal("Softmax", Inner(np.zeros((), np.float32))) == "a softmax of a tensor of no dimensions"
