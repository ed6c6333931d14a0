"""Functions of single items, and softmax, of Caffe in the canonical graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.support.caffe_layers import agrees, conforms, one_layer, operators, refusal, sample

POSITIVE = {"low": 0.5, "high": 3.0}

AGREEING = [
    ("ReLU", ""),
    ("ReLU", "relu_param { negative_slope: 0.1 }"),
    ("ReLU", "relu_param { negative_slope: -0.5 }"),
    ("ELU", ""),
    ("ELU", "elu_param { alpha: 0.3 }"),
    ("Sigmoid", ""),
    ("TanH", ""),
    ("AbsVal", ""),
    ("BNLL", ""),
    ("Swish", ""),
    ("Dropout", "dropout_param { dropout_ratio: 0.9 }"),
    ("Softmax", ""),
    ("Softmax", "softmax_param { axis: 2 }"),
    ("Softmax", "softmax_param { axis: -1 }"),
    ("Exp", ""),
    ("Exp", "exp_param { base: 2 }"),
    ("Exp", "exp_param { base: 10 scale: 0.5 shift: -1 }"),
    ("Exp", "exp_param { base: 0.5 scale: 2 shift: 0.3 }"),
    ("Power", ""),
    ("Power", "power_param { power: 2 }"),
    ("Power", "power_param { power: 3 shift: 1 }"),
    ("Power", "power_param { scale: -3 shift: 0.5 }"),
    ("Power", "power_param { power: 0 scale: 3 }"),
    ("Power", "power_param { power: 3 scale: 0 shift: 2 }"),
]


@pytest.mark.parametrize("shape", [(1, 4, 5, 6), (1, 4, 7), (1, 9, 2, 3, 2)], ids=str)
@pytest.mark.parametrize(("kind", "body"), AGREEING, ids=[f"{kind} {body}" for kind, body in AGREEING])
def test_a_function_agrees_with_opencv(kind: str, body: str, shape: tuple[int, ...]) -> None:
    agrees(kind, body, [sample(*shape)])


@pytest.mark.parametrize("kind", ["ReLU", "ELU", "Sigmoid", "TanH", "BNLL", "Swish"])
def test_a_function_agrees_with_opencv_far_from_zero(kind: str) -> None:
    agrees(kind, "", [np.linspace(-80, 80, 33, dtype=np.float32).reshape(1, 33)])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("Power", "power_param { power: 0.5 scale: 2 shift: 1 }"),
        ("Power", "power_param { power: -1.5 }"),
        ("Log", ""),
    ],
)
def test_a_function_of_positive_numbers_agrees_with_opencv(kind: str, body: str) -> None:
    agrees(kind, body, [sample(1, 4, 5, 6, **POSITIVE)])


@pytest.mark.parametrize("shape", [(1, 4, 5, 6), (1, 4), (1, 4, 3)], ids=str)
def test_learned_slopes_agree_with_opencv(shape: tuple[int, ...]) -> None:
    agrees("PReLU", "", [sample(*shape)], [sample(4, seed=1)])


def test_a_slope_that_channels_share_agrees_with_opencv() -> None:
    agrees("PReLU", "prelu_param { channel_shared: true }", [sample(1, 4, 5, 6)], [np.full(1, 0.3, np.float32)])


@pytest.mark.parametrize("stored", [(), (1, 1, 1, 1)], ids=str)
def test_a_slope_that_channels_share_may_have_any_number_of_axes(stored: tuple[int, ...]) -> None:
    # Caffe stores none; OpenCV cannot read that.
    slope = np.full(stored, 0.3, np.float32)

    def definition(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, slope.item() * x)

    conforms("PReLU", "prelu_param { channel_shared: true }", [sample(1, 4, 5, 6)], definition, [slope])


Definition = Callable[[np.ndarray], np.ndarray]

DEFINED: list[tuple[str, str, Definition]] = [
    # OpenCV ignores beta.
    ("Swish", "swish_param { beta: 0.5 }", lambda x: x / (1 + np.exp(-0.5 * x))),
    # It has no such layers.
    ("Clip", "clip_param { min: -1 max: 0.5 }", lambda x: np.clip(x, -1, 0.5)),
    ("Threshold", "", lambda x: np.where(x > 0, 1, 0)),
    ("Threshold", "threshold_param { threshold: 0.75 }", lambda x: np.where(x > 0.75, 1, 0)),
    # It ignores the parameters.
    ("Log", "log_param { base: 2 shift: 4 }", lambda x: np.log2(4 + x)),
    ("Log", "log_param { base: 10 scale: 0.5 shift: 1.5 }", lambda x: np.log10(1.5 + 0.5 * x)),
    ("Log", "log_param { base: 0.5 scale: -1 shift: 3 }", lambda x: np.log2(3 - x) / -1),
    ("Log", "log_param { scale: 2 shift: 5 }", lambda x: np.log(5 + 2 * x)),
]


@pytest.mark.parametrize(("kind", "body", "definition"), DEFINED, ids=[f"{kind} {body}" for kind, body, _ in DEFINED])
def test_a_function_conforms_to_its_definition(kind: str, body: str, definition: Definition) -> None:
    x = sample(1, 4, 5, 6)
    x[0, 0, 0, :2] = (0.75, 0)  # at the thresholds
    conforms(kind, body, [x], definition)


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("ReLU", "", ["Relu"]),
        ("ReLU", "relu_param { negative_slope: 0.1 }", ["LeakyRelu"]),
        ("Power", "power_param { scale: 0.5 }", ["Mul"]),
        ("Power", "power_param { power: 2 }", ["Mul"]),
        ("Swish", "", ["Sigmoid", "Mul"]),
        ("Exp", "", ["Exp"]),
    ],
)
def test_a_function_is_as_few_operators_as_it_needs(kind: str, body: str, expected: list[str]) -> None:
    assert operators(one_layer(kind, body, [sample(1, 3, 2, 2)])) == expected


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("Log", "log_param { base: 1 }", "a logarithm to the base 1"),
        ("Log", "log_param { base: 0 }", "the base 0, which is not a positive number"),
        ("Log", "log_param { base: -2 }", "the base -2, which is not a positive number"),
        ("Exp", "exp_param { base: -3 }", "the base -3, which is not a positive number"),
        ("Exp", "exp_param { base: inf }", "the base inf, which is not a positive number"),
        ("Exp", "exp_param { base: nan }", "the base nan, which is not a positive number"),
        ("Exp", "exp_param { base: 10 scale: 3e38 }", "the number 6.90776e+38, which float32 does not hold"),
        ("Power", "power_param { shift: nan }", "the number nan, which float32 does not hold"),
        ("Clip", "clip_param { min: 0 }", "no min or no max"),
        ("Softmax", "softmax_param { axis: 4 }", "axis 4 of a blob of shape [1, 3, 2, 2]"),
        ("Softmax", "softmax_param { axis: -5 }", "axis -5 of a blob of shape [1, 3, 2, 2]"),
    ],
)
def test_a_function_that_cannot_be_says_why(kind: str, body: str, reason: str) -> None:
    assert reason in refusal(kind, body, [sample(1, 3, 2, 2)])


def test_slopes_need_channels() -> None:
    assert "axis 1 of a blob of shape [4]" in refusal("PReLU", "", [sample(4)], [sample(4)])
