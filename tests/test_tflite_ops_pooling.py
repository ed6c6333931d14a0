"""Pooling of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.single_operator import ACTIVATIONS, FEW, QUANTIZED, SEEDS, agrees, options, refusal, tensor

CASES = [
    ("MAX_POOL_2D", "float32"),
    ("AVERAGE_POOL_2D", "float32"),
    ("L2_POOL_2D", "float32"),
    *((name, dtype) for name in ("MAX_POOL_2D", "AVERAGE_POOL_2D") for dtype in QUANTIZED),
]


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=[" ".join(case) for case in CASES])
@FEW
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    more=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    same=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    seed=SEEDS,
)
def test_pooling(
    *,
    name: str,
    dtype: str,
    tmp_path: Path,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    more: tuple[int, int],
    same: bool,
    activation: int,
    seed: int,
) -> None:
    sizes = [n + (1 if same else k) for k, n in zip(kernel, more, strict=True)]
    places = [-(-(n if same else n - k + 1) // s) for n, k, s in zip(sizes, kernel, strides, strict=True)]
    made = options(
        "Pool2D",
        padding=0 if same else 1,
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        strideH=strides[0],
        strideW=strides[1],
        fusedActivationFunction=activation,
    )
    # Means are rounded half away from zero by the kernels, half to even here.
    units = int(name == "AVERAGE_POOL_2D")
    x, y = (tensor([1, *shape, 3], dtype, zero_point=-9) for shape in (sizes, places))
    agrees(tmp_path, name, [x], y, made, seed=seed, units=units)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"filterHeight": 0, "filterWidth": 2}, "a window of 0x2 pixels"),
        ({"filterHeight": 2, "filterWidth": 2, "strideH": -1}, "strides of [-1, 1] and dilations of [1, 1]"),
        (None, "it lacks the option filterHeight"),
    ],
    ids=["no window", "backwards", "no options"],
)
@pytest.mark.parametrize("name", ["MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D"])
def test_pooling_that_cannot_be_says_why(name: str, fields: dict[str, int] | None, reason: str, tmp_path: Path) -> None:
    made = None if fields is None else options("Pool2D", **({"strideH": 1, "strideW": 1} | fields))
    assert reason in refusal(tmp_path, name, [tensor([1, 4, 4, 2])], tensor([1, 4, 4, 2]), made)
