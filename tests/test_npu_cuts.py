"""Ends that a sum is cut at, as stored integers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.api import QuantParams
from synap_core.graph.build import GraphBuilder
from synap_delegate_npu.operators.activations import window_of
from synap_delegate_npu.program.operation import Tensor

LARGEST = float(np.finfo(np.float32).max)


def clip(low: float, high: float) -> ir.Node:
    builder = GraphBuilder("cut")
    ends = [builder.constant(np.float32(end)) for end in (low, high)]
    model = builder.finish([builder.emit("Clip", [builder.input("x", ir.DataType.FLOAT, (4,)), *ends])])
    return model.graph[0]


@pytest.mark.parametrize(
    ("low", "high", "stored"),
    [
        (-1.0, 2.0, (-14, 16)),
        (-0.25, 0.25, (-7, -1)),  # halves are rounded away from zero
        (-LARGEST, LARGEST, (-128, 127)),
        (0.0, np.inf, (-4, 127)),
    ],
)
def test_ends_are_stored_integers_within_the_limits_of_the_type(
    low: float, high: float, stored: tuple[int, int]
) -> None:
    quant = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.1,), zero_point=(-4,))
    window = window_of([clip(low, high)], Tensor(name="y", dtype="int8", shape=(4,), quant=quant))
    assert window is not None
    assert (window.low, window.high) == stored
