"""Operators of newer operator sets than 19 and those of ONNX Runtime itself, against ONNX Runtime and NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.support.canonical import checked_proto
from tests.support.onnx_models import F32, Oracle
from tests.support.onnx_operator import IMAGE, Use, agrees, imported, refusal, use

BOOL = TensorProto.BOOL
SQUARE = [(1, 2, 8, 8)]
SAMPLED = [(1, 2, 4, 5), (1, 3, 3, 2)]
KERNEL = np.linspace(-1, 1, 54, dtype=F32).reshape(2, 3, 3, 3)

NEWER: Mapping[str, tuple[Use, list[str]]] = {
    "AveragePool-22": (
        use(22, "AveragePool", shapes=SQUARE, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        ["AveragePool"],
    ),
    "MaxPool-22": (
        use(22, "MaxPool", shapes=SQUARE, kernel_shape=[2, 2], strides=[3, 3], dilations=[2, 2], ceil_mode=1),
        ["MaxPool"],
    ),
    "Gelu-20": (use(20, "Gelu"), ["Div", "Erf", "Mul", "Add", "Mul"]),
    "Gelu-20 tanh": (
        use(20, "Gelu", approximate="tanh"),
        ["Mul", "Mul", "Mul", "Add", "Mul", "Tanh", "Mul", "Add", "Mul"],
    ),
    "GridSample-20": (
        use(20, "GridSample", "x0 x1", SAMPLED, mode="linear", align_corners=1),
        ["GridSample"],
    ),
    "GridSample-20 cubic": (use(20, "GridSample", "x0 x1", SAMPLED, mode="cubic"), ["GridSample"]),
    "GroupNormalization-21": (
        use(21, "GroupNormalization", "x0 a a", [(2, 4, 3, 2)], {"a": np.linspace(1, 2, 4, dtype=F32)}, num_groups=2),
        ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"],
    ),
    "RMSNormalization-23": (
        use(23, "RMSNormalization", "x0 s", IMAGE, {"s": np.linspace(1, 2, 20, dtype=F32).reshape(5, 4)}, axis=2),
        ["Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"],
    ),
    "DFT-20": (use(20, "DFT", "x0 - a", [(1, 8, 1)], {"a": np.array(1)}, onesided=1), ["DFT"]),
    "Transpose-21": (use(21, "Transpose", perm=[0, 2, 3, 1]), ["Transpose"]),
}


@pytest.mark.parametrize(("case", "operators"), NEWER.values(), ids=NEWER)
def test_newer_operator_is_written_with_older_ones(tmp_path: Path, case: Use, operators: list[str]) -> None:
    assert agrees(tmp_path, case) == operators


@pytest.mark.parametrize("kind", ["ReduceMax", "ReduceMin"])
def test_extremes_of_truth_values(tmp_path: Path, kind: str) -> None:
    case = use(20, kind, "x0 a", [(2, 3)], {"a": np.array([1])}, keepdims=0)
    assert agrees(tmp_path, replace(case, dtype=bool, results=(BOOL,))) == ["Cast", kind, "Cast"]


def test_half_precision_infinity_is_found(tmp_path: Path) -> None:
    case = replace(use(20, "IsInf", shapes=[(3,)], detect_negative=0), dtype=np.float16, results=(BOOL,))
    graph = imported(tmp_path, case.model)
    found = Oracle(checked_proto(graph))([np.array([np.inf, 1, -np.inf], np.float16)])
    np.testing.assert_array_equal(found[0], [True, False, False])


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_signed_integers_are_shifted_with_their_sign(tmp_path: Path, kind: Any, direction: str) -> None:
    elements = (int(getattr(TensorProto, kind.__name__.upper())),)
    made = use(28, "BitShift", "x0 x1", [(6,), (6,)], direction=direction)
    graph = imported(tmp_path, replace(made, dtype=kind, results=elements).model)
    x = np.array([-100, 77, -1, 5, -7, 3], kind)
    amount = np.array([3, 2, 0, 100, 90, -1], kind)
    found = Oracle(checked_proto(graph))([x, amount])[0]
    # Shifts beyond the type's bits leave nothing but the sign, and so do negative ones.
    near = x[:3] >> amount[:3] if direction == "RIGHT" else x[:3] << amount[:3]
    far = [0, -1 if direction == "RIGHT" else 0, 0]
    np.testing.assert_array_equal(found, np.array([*near, *far], kind))


def test_remainder_of_real_numbers_has_the_sign_of_the_divisor(tmp_path: Path) -> None:
    graph = imported(tmp_path, use(28, "Mod", "x0 x1", [(6,), (6,)]).model)
    x, y = np.array([5.5, -5.5, 5.5, -5.5, 4, 0], F32), np.array([2, 2, -2, -2, -2, 3], F32)
    np.testing.assert_array_equal(Oracle(checked_proto(graph))([x, y])[0], np.mod(x, y))


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_running_product(tmp_path: Path, reverse: int, exclusive: int) -> None:
    case = use(26, "CumProd", "x0 a", [(2, 7)], {"a": np.array(1)}, reverse=reverse, exclusive=exclusive)
    (x,) = case.arrays()
    rows = x[:, ::-1] if reverse else x
    rows = np.concatenate([np.ones((2, 1), F32), rows[:, :-1]], axis=1) if exclusive else rows
    expected = np.cumprod(rows, axis=1)
    found = Oracle(checked_proto(imported(tmp_path, case.model)))([x])[0]
    # The factors are multiplied in another order.
    np.testing.assert_allclose(found, expected[:, ::-1] if reverse else expected, rtol=1e-5)


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_cache_is_overwritten_from_the_index_of_each_sample_on(tmp_path: Path, mode: str) -> None:
    start = np.array([1, 3]) if mode == "circular" else np.array([1, 2])
    case = use(24, "TensorScatter", "x0 x1 s", [(2, 3, 4, 5), (2, 3, 2, 5)], {"s": start}, mode=mode)
    cache, update = case.arrays()
    expected = cache.copy()
    for sample in range(2):
        for row in range(2):
            expected[sample, :, (start[sample] + row) % 4] = update[sample, :, row]
    found = Oracle(checked_proto(imported(tmp_path, case.model)))([cache, update])[0]
    np.testing.assert_array_equal(found, expected)


REFUSED: Mapping[str, tuple[Use, str]] = {
    "volumes": (
        use(20, "GridSample", "x0 x1", [(1, 1, 3, 3, 3), (1, 2, 2, 2, 3)]),
        "GridSample: it samples in 3 dimensions",
    ),
    "bits of a real number": (
        replace(use(26, "BitCast", to=TensorProto.INT32), results=(TensorProto.INT32,)),
        "BitCast: it reads the bits of float as int32",
    ),
    "axis of a product": (
        use(26, "CumProd", "x0 a", [(2, 3)], {"a": np.array(2)}),
        "CumProd: its axis is 2; the operand has 2 dimensions",
    ),
    "groups": (
        use(21, "GroupNormalization", "x0 a a", [(2, 4, 3)], {"a": np.ones(4, F32)}, num_groups=3),
        "GroupNormalization: it has 3 groups, and an operand of shape [2, 4, 3]",
    ),
    "unknown approximation": (
        use(20, "Gelu", approximate="some"),
        "Gelu: its attribute 'approximate' is 'some'",
    ),
    "newer type": (
        replace(use(21, "Cast", to=TensorProto.INT4), results=(TensorProto.INT4,)),
        "Cast: it converts to int4",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_counterpart_stays_opaque(tmp_path: Path, case: Use, reason: str) -> None:
    assert refusal(tmp_path, case) == reason


MICROSOFT = "com.microsoft"
ADDED: Mapping[str, Use] = {
    "Gelu": use(17, "Gelu", domain=MICROSOFT),
    "BiasGelu": use(17, "BiasGelu", "x0 b", IMAGE, {"b": np.ones(4, F32)}, domain=MICROSOFT),
    "FastGelu": use(17, "FastGelu", "x0 b", IMAGE, {"b": np.ones(4, F32)}, domain=MICROSOFT),
    "QuickGelu": use(17, "QuickGelu", domain=MICROSOFT, alpha=1.5),
    "FusedConv": use(
        17,
        "FusedConv",
        "x0 w b x1",
        [*IMAGE, (1, 2, 5, 4)],
        {"w": KERNEL, "b": np.ones(2, F32)},
        domain=MICROSOFT,
        activation="Relu",
        pads=[1, 1, 1, 1],
    ),
    "FusedConv clip": use(
        17,
        "FusedConv",
        "x0 w",
        IMAGE,
        {"w": KERNEL},
        domain=MICROSOFT,
        activation="Clip",
        activation_params=[-1.0, 0.5],
    ),
    "FusedGemm": use(
        17,
        "FusedGemm",
        "x0 w b",
        [(2, 3)],
        {"w": np.linspace(-1, 1, 12, dtype=F32).reshape(4, 3), "b": np.zeros(4, F32)},
        domain=MICROSOFT,
        activation="LeakyRelu",
        activation_alpha=0.5,
        transB=1,
    ),
    "FusedMatMul": use(17, "FusedMatMul", "x0 x1", [(1, 3, 2), (1, 3, 4)], domain=MICROSOFT, alpha=0.5, transA=1),
}


MATRIX = {"w": np.ones((3, 4), F32), "b": np.zeros(4, F32)}
STEPS = {"s": np.array(0.1, F32), "z": np.array(3, np.uint8)}
UINT8 = TensorProto.UINT8

REFUSED_ADDED: Mapping[str, tuple[Use, str]] = {
    "activation": (
        use(17, "FusedGemm", "x0 w b", [(2, 3)], MATRIX, domain=MICROSOFT, activation="Selu"),
        "com.microsoft.FusedGemm: its activation 'Selu' with 0 parameters",
    ),
    "transposed batch": (
        use(17, "FusedMatMul", "x0 x1", [(2, 1, 3), (1, 3, 4)], domain=MICROSOFT, transBatchA=1),
        "com.microsoft.FusedMatMul: it transposes batches",
    ),
    "channels last": (
        replace(
            use(17, "QLinearGlobalAveragePool", "x0 s z s z", IMAGE, STEPS, domain=MICROSOFT, channels_last=1),
            dtype=np.uint8,
            results=(UINT8,),
        ),
        "com.microsoft.QLinearGlobalAveragePool: its channels are last",
    ),
    "computed scale": (
        use(17, "QLinearSigmoid", "z x0 z s z", [()], STEPS, domain=MICROSOFT),
        "com.microsoft.QLinearSigmoid: its scales and zero points are computed, or no positive float32 numbers",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED_ADDED.values(), ids=REFUSED_ADDED)
def test_use_of_such_an_operator_without_a_counterpart_stays_opaque(tmp_path: Path, case: Use, reason: str) -> None:
    assert refusal(tmp_path, replace(case, domains={MICROSOFT: 1})) == reason


@pytest.mark.parametrize("case", ADDED.values(), ids=ADDED)
def test_operator_that_the_runtime_adds_is_written_out(tmp_path: Path, case: Use) -> None:
    # The runtime's kernels compute the error function and the tangent with polynomials of their own.
    agrees(tmp_path, replace(case, domains={MICROSOFT: 1}), rtol=1e-4, atol=1e-5)
