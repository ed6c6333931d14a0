"""Operators whose definition changed up to operator set 19, against ONNX Runtime on the model as it is."""

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

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
STATISTICS = {name: np.full(3, 2, F32) for name in "abcd"}
SCALES = {"s": np.array([1, 1, 2, 2], F32)}
NONE = np.zeros(0, F32)
ROWS = [(2, 4)]
SQUARE = [(1, 2, 8, 8)]
LARGE = [(1, 2, 9, 7)]

CHANGED: Mapping[str, Use] = {
    "Clip-6": use(7, "Clip", min=0.5, max=1.5),
    "Clip-6 below": use(10, "Clip", min=0.5),
    "Clip-6 nothing": use(7, "Clip"),
    "Squeeze-1": use(7, "Squeeze", shapes=[(1, 3, 1, 4)], axes=[0, 2]),
    "Squeeze-1 all": use(11, "Squeeze", shapes=[(1, 3, 1, 4)]),
    "Squeeze-11 negative": use(12, "Squeeze", shapes=[(1, 3, 1, 4)], axes=[-2]),
    "Unsqueeze-1": use(7, "Unsqueeze", shapes=ROWS, axes=[0, 3]),
    "Unsqueeze-11": use(11, "Unsqueeze", shapes=ROWS, axes=[-1]),
    "Slice-1": use(7, "Slice", starts=[1, -3], ends=[3, 99], axes=[1, 3]),
    "Slice-1 first axes": use(9, "Slice", starts=[0, 1], ends=[1, 3]),
    "Pad-2": use(7, "Pad", pads=[0, 0, 1, 2, 0, 0, 0, 3], value=0.5),
    "Pad-2 cuts": use(7, "Pad", pads=[0, 0, -1, 2, 0, 0, 0, -1]),
    "Pad-2 reflects": use(10, "Pad", pads=[0, 0, 1, 2, 0, 0, 2, 1], mode="reflect"),
    "Scatter-9": use(9, "Scatter", "x0 i x1", [(2, 4), (2, 2)], {"i": np.array([[0, 2], [3, 1]])}, axis=1),
    "Softmax-1": use(7, "Softmax"),
    "Softmax-1 axis": use(12, "Softmax", axis=2),
    "Softmax-11 last": use(11, "Softmax", axis=-1),
    "Softmax-13": use(13, "Softmax", axis=1),
    "LogSoftmax-1": use(9, "LogSoftmax", axis=1),
    "Hardmax-11": use(11, "Hardmax", axis=1),
    "Upsample-7": use(7, "Upsample", scales=[1.0, 1.0, 2.0, 3.0]),
    "Upsample-7 linear": use(8, "Upsample", scales=[1.0, 1.0, 2.0, 2.5], mode="linear"),
    "Upsample-9": use(9, "Upsample", "x0 s", IMAGE, SCALES),
    "Resize-10": use(10, "Resize", "x0 s", IMAGE, {"s": np.array([1, 1, 1.6, 2.5], F32)}),
    "Resize-10 shrinks": use(10, "Resize", "x0 s", LARGE, {"s": np.array([1, 1, 0.5, 0.6], F32)}),
    "Resize-10 linear": use(10, "Resize", "x0 s", IMAGE, {"s": np.array([1, 1, 0.7, 2], F32)}, mode="linear"),
    "Resize-11 sizes": use(
        11, "Resize", "x0 n n s", IMAGE, {"n": NONE, "s": np.array([1, 3, 7, 9])}, mode="cubic", cubic_coeff_a=-0.5
    ),
    "Resize-11 half pixel of nearest": use(
        11,
        "Resize",
        "x0 n s",
        LARGE,
        {"n": NONE, "s": np.array([1, 1, 1.7, 0.6], F32)},
        coordinate_transformation_mode="tf_half_pixel_for_nn",
        nearest_mode="floor",
    ),
    "Resize-11 crop": use(
        11,
        "Resize",
        "x0 r n s",
        LARGE,
        {"r": np.array([0, 0, 0.2, 0.1, 1, 1, 0.9, 0.8], F32), "n": NONE, "s": np.array([1, 2, 5, 6])},
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
    ),
    "Resize-13": use(13, "Resize", "x0 - s", IMAGE, SCALES, mode="linear"),
    "RoiAlign-10": use(
        10,
        "RoiAlign",
        "x0 r b",
        SQUARE,
        {"r": np.array([[0, 0, 4, 4], [1, 2, 7, 6]], F32), "b": np.array([0, 0])},
        output_height=2,
        output_width=2,
        sampling_ratio=2,
    ),
    "BatchNormalization-7": use(7, "BatchNormalization", "x0 a b c d", IMAGE, STATISTICS),
    "BatchNormalization-7 by place": use(
        7,
        "BatchNormalization",
        "x0 a b c d",
        IMAGE,
        {name: np.linspace(1, 2, 60, dtype=F32).reshape(3, 5, 4) for name in "abcd"},
        spatial=0,
        epsilon=0.1,
    ),
    "BatchNormalization-9": use(9, "BatchNormalization", "x0 a b c d", IMAGE, STATISTICS, epsilon=0.1),
    "BatchNormalization-14": use(14, "BatchNormalization", "x0 a b c d", IMAGE, STATISTICS),
    "AveragePool-7": use(7, "AveragePool", kernel_shape=[2, 3], pads=[1, 1, 0, 1], count_include_pad=1),
    "AveragePool-10": use(10, "AveragePool", shapes=SQUARE, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "MaxPool-1": use(7, "MaxPool", kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    "PRelu-7": use(7, "PRelu", "x0 s", IMAGE, {"s": np.full((3, 1, 1), 0.5, F32)}),
    "Gemm-7": use(7, "Gemm", "x0 w b", ROWS, {"w": np.ones((3, 4), F32), "b": np.ones(3, F32)}, transB=1, alpha=0.5),
    "Pow-7": use(7, "Pow", "x0 e", IMAGE, {"e": np.array(1.5, F32)}),
    "CumSum-11": use(11, "CumSum", "x0 a", IMAGE, {"a": np.array(2, np.int32)}, reverse=1),
    "GatherND-11": use(11, "GatherND", "x0 i", ROWS, {"i": np.array([[1, 2], [0, 0]])}),
}


@pytest.mark.parametrize("case", CHANGED.values(), ids=CHANGED)
def test_changed_operator_computes_what_it_did(tmp_path: Path, case: Use) -> None:
    agrees(tmp_path, case)


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize(
    ("opset", "attributes"),
    [(7, {"axes": [1, 2]}), (12, {"axes": [-1], "keepdims": 0}), (12, {})],
    ids=["7", "12", "12 all"],
)
def test_reduction_over_axes_in_an_attribute(tmp_path: Path, kind: str, opset: int, attributes: Any) -> None:
    # A sum of squares of 60 numbers is about 100.
    assert agrees(tmp_path, use(opset, f"Reduce{kind}", **attributes), atol=1e-4) == [f"Reduce{kind}"]


@pytest.mark.parametrize(
    "case",
    [
        use(7, "Split", shapes=ROWS, outputs="y z", axis=1, split=[1, 3]),
        use(11, "Split", shapes=ROWS, outputs="y z", axis=1),
        use(13, "Split", shapes=ROWS, outputs="y z", axis=1),
        use(17, "Split", "x0 s", ROWS, {"s": np.array([1, 3])}, outputs="y z", axis=1),
        use(18, "Split", shapes=ROWS, outputs="y z", axis=1, num_outputs=2),
    ],
    ids=["2", "11 even", "13 even", "13", "18"],
)
def test_split_gives_parts_of_the_same_sizes(tmp_path: Path, case: Use) -> None:
    agrees(tmp_path, replace(case, results=(FLOAT, FLOAT)))


@pytest.mark.parametrize(
    "case",
    [
        use(9, "TopK", outputs="y i", k=2, axis=1),
        use(10, "TopK", "x0 k", IMAGE, {"k": np.array([3])}, outputs="y i", axis=-1),
        use(11, "TopK", "x0 k", IMAGE, {"k": np.array([3])}, outputs="y i", largest=0),
    ],
    ids=["1", "10", "11"],
)
def test_top_k_gives_values_and_places(tmp_path: Path, case: Use) -> None:
    agrees(tmp_path, replace(case, results=(FLOAT, INT64)))


@pytest.mark.parametrize(("opset", "mask"), [(7, FLOAT), (10, BOOL), (12, BOOL), (22, BOOL)])
def test_dropout_is_no_operation_with_a_mask_of_ones(tmp_path: Path, opset: int, mask: int) -> None:
    case = replace(use(opset, "Dropout", outputs="y m"), results=(FLOAT, mask))
    graph = imported(tmp_path, case.model)
    assert [item.op_type for item in graph.graph] == ["Identity"]
    y, m = Oracle(checked_proto(graph))(case.arrays())
    np.testing.assert_array_equal(y, case.arrays()[0])
    # The runtime's own kernel gives zeros before operator set 12; the definition's reference gives ones.
    assert m.all()
    assert m.dtype == (np.float32 if mask == FLOAT else np.bool_)


def recurrent(kind: str, opset: int, shape: tuple[int, ...], *, layout: int | None = None) -> Use:
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(1, gates * 2, shape[-1])).astype(F32),
        "r": rng.normal(size=(1, gates * 2, 2)).astype(F32),
        "h0": rng.normal(size=(1, 5, 2)).astype(F32),
    }
    options = {}
    if layout:
        constants["h0"] = constants["h0"].transpose(1, 0, 2)
        options = {"layout": 1}
    made = use(opset, kind, "x0 w r - - h0", [shape], constants, outputs="y h", hidden_size=2, **options)
    return replace(made, results=(FLOAT, FLOAT))


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("opset", [7, 14])
def test_recurrent_layer_of_both_definitions(tmp_path: Path, kind: str, opset: int) -> None:
    assert agrees(tmp_path, recurrent(kind, opset, (4, 5, 3))) == [kind]


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_batch_in_front_of_a_recurrent_layer_is_transposed(tmp_path: Path, kind: str) -> None:
    # The runtime has no such layout: what it gives for the usual one is transposed here.
    graph = imported(tmp_path, recurrent(kind, 14, (5, 4, 3), layout=1).model)
    usual = recurrent(kind, 14, (4, 5, 3))
    (x,) = usual.arrays()
    y, h = Oracle(checked_proto(graph))([x.transpose(1, 0, 2)])
    expected_y, expected_h = Oracle(usual.model)([x])
    np.testing.assert_array_equal(y, expected_y.transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(h, expected_h.transpose(1, 0, 2))


REFUSED: Mapping[str, tuple[Use, str]] = {
    "both ways": (
        use(10, "Resize", "x0 s", IMAGE, {"s": np.array([1, 1, 2, 0.5], F32)}),
        "Resize: it enlarges and shrinks at once, by [1.0, 1.0, 2.0, 0.5]",
    ),
    "half pixel": (
        use(
            11, "Resize", "x0 n s", IMAGE, {"n": NONE, **SCALES}, coordinate_transformation_mode="tf_half_pixel_for_nn"
        ),
        "Resize: its coordinate mode is 'tf_half_pixel_for_nn', and its nearest mode not 'floor'",
    ),
    "old broadcasting": (
        use(6, "Add", "x0 s", IMAGE, {"s": np.ones(3, F32)}, broadcast=1, axis=1),
        "Add: Add of operator set 6 has no counterpart in operator set 19",
    ),
    "statistics": (
        replace(
            use(14, "BatchNormalization", "x0 a b c d", IMAGE, STATISTICS, outputs="y m v", training_mode=1),
            results=(FLOAT,) * 3,
        ),
        "BatchNormalization: it computes statistics, as for training",
    ),
}


@pytest.mark.parametrize(("case", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_counterpart_stays_opaque(tmp_path: Path, case: Use, reason: str) -> None:
    assert refusal(tmp_path, case) == reason
