"""Changes of the stored type in ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.annotations import quant_of
from synap_core.graph.quantized import QuantizedTensor
from tests.support.canonical import conforms, imported, opaque_reasons, run
from tests.support.single_operator import (
    FEW,
    QUANTIZED,
    SEEDS,
    Tensor,
    agrees,
    constant,
    options,
    refusal,
    sample,
    single,
    tensor,
)
from tests.support.tflite_models import ModelBuilder

PAIRS = [
    *(("float32", dtype) for dtype in QUANTIZED),
    *((one, other) for one in ("uint8", "int8") for other in QUANTIZED),
    ("int16", "int8"),
    ("int16", "int16"),
]


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=[" ".join(pair) for pair in PAIRS])
@FEW
@given(points=st.tuples(st.integers(-40, 40), st.integers(-40, 40)), seed=SEEDS)
def test_quantize(before: str, after: str, tmp_path: Path, points: tuple[int, int], seed: int) -> None:
    x, y = tensor([1, 99], before, 0.05, points[0]), tensor([1, 99], after, 0.03, points[1])
    # Numbers are scaled with a fixed-point number and halves rounded away from zero.
    agrees(tmp_path, "QUANTIZE", [x], y, seed=seed, units=1, version=2)


@pytest.mark.parametrize("dtype", [*QUANTIZED, "float16"])
def test_dequantize(dtype: str, tmp_path: Path) -> None:
    y = tensor([1, 300])
    agrees(tmp_path, "DEQUANTIZE", [tensor([1, 300], dtype, 0.05, 7)], y, version=3)
    model, _ = imported(single("DEQUANTIZE", [tensor([1, 300], dtype, 0.05, 7)], [y]), tmp_path)
    assert quant_of(model.graph.outputs[0]) is None


def test_quantized_constant_is_rounded_half_away_from_zero(tmp_path: Path) -> None:
    numbers = constant(np.array([[-9, -1.25, -0.25, 0.25, 0.75, 1.2, 99]], np.float32))
    y = Tensor(shape=[1, 7], dtype="int8", scale=0.5, zero_point=3)
    agrees(tmp_path, "QUANTIZE", [numbers], y, arrays=[], units=0)
    model, _ = imported(single("QUANTIZE", [numbers], [y]), tmp_path)
    kept = model.graph.outputs[0].const_value
    assert isinstance(kept, QuantizedTensor)
    np.testing.assert_array_equal(kept.integers, [[-15, 0, 2, 4, 5, 5, 127]])


def behind(weights: np.ndarray, **quantization: Any) -> bytes:
    """A dense layer behind a DEQUANTIZE of its weights."""
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, weights.shape[1]]), builder.tensor("y", [1, weights.shape[0]])
    stored = builder.tensor("w", weights.shape, weights.dtype.name, data=weights, **quantization)
    plain = builder.tensor("plain", weights.shape)
    builder.operator("DEQUANTIZE", [stored], [plain], version=3)
    builder.operator("FULLY_CONNECTED", [x, plain], [y], options("FullyConnected"))
    return builder.finish([x], [y])


def test_half_float_weights_become_float_constants(tmp_path: Path, rng: np.random.Generator) -> None:
    weights = rng.normal(size=(3, 5)).astype(np.float16)
    conforms(behind(weights), tmp_path, [rng.normal(size=(1, 5)).astype(np.float32)])
    model, _ = imported(behind(weights), tmp_path)
    (layer,) = model.graph
    assert layer.inputs[1] is not None
    assert layer.inputs[1].const_value is not None
    np.testing.assert_array_equal(layer.inputs[1].const_value.numpy(), weights.astype(np.float32))


def test_integer_weights_stay_integers(tmp_path: Path, rng: np.random.Generator) -> None:
    weights = rng.integers(-127, 128, (3, 5)).astype(np.int8)
    conforms(behind(weights, scale=0.02), tmp_path, [rng.normal(size=(1, 5)).astype(np.float32)])
    model, _ = imported(behind(weights, scale=0.02), tmp_path)
    (layer,) = model.graph
    assert layer.inputs[1] is not None
    assert isinstance(layer.inputs[1].const_value, QuantizedTensor)


@FEW
@given(
    limits=st.tuples(st.floats(-5, 0, width=32), st.floats(0.125, 5, width=32)),
    bits=st.sampled_from([2, 4, 8, 16]),
    seed=SEEDS,
)
def test_numbers_are_rounded_to_steps(tmp_path: Path, limits: tuple[float, float], bits: int, seed: int) -> None:
    x = tensor([1, 200])
    made = options("FakeQuant", min=limits[0], max=limits[1], numBits=bits)
    array = sample(np.random.default_rng(seed), x, -6, 6)
    model, _ = imported(single("FAKE_QUANT", [x], [x], made), tmp_path)
    expected = steps(array, *limits, first=0, last=2**bits - 1)
    # A float32 division can put a number that is almost half way between two steps on the other one.
    step = (limits[1] - limits[0]) / (2**bits - 1)
    difference = np.abs(run(model, [array])[0] - expected)
    assert np.count_nonzero(difference > 1e-5) <= 1
    assert difference.max() <= step * 1.001 + 1e-5


def steps(array: np.ndarray, lowest: float, highest: float, *, first: int, last: int) -> np.ndarray:
    """The range moved so that zero is a step, and numbers rounded to the nearest step, in float64."""
    scale = (highest - lowest) / (last - first)
    point = np.clip(np.rint(first - lowest / scale), first, last)
    return np.asarray((np.clip(np.floor(array / scale + 0.5) + point, first, last) - point) * scale)


def test_rounding_to_steps_is_that_of_the_kernel_and_notes_the_parameters(tmp_path: Path) -> None:
    x = tensor([1, 500])
    made = options("FakeQuant", min=-1.0, max=3.0, numBits=8)
    agrees(tmp_path, "FAKE_QUANT", [x], x, made)
    model, _ = imported(single("FAKE_QUANT", [x], [x], made), tmp_path)
    found = [quant for node in model.graph if (quant := quant_of(node.outputs[0])) is not None]
    assert [(quant.dtype, quant.scale, quant.zero_point) for quant in found] == [("uint8", (4 / 255,), (64,))]


def test_narrow_range_leaves_out_the_lowest_step(tmp_path: Path, rng: np.random.Generator) -> None:
    x = tensor([1, 200])
    array = sample(rng, x)
    made = options("FakeQuant", min=-2.0, max=2.0, numBits=4, narrowRange=True)
    model, _ = imported(single("FAKE_QUANT", [x], [x], made), tmp_path)
    np.testing.assert_allclose(run(model, [array])[0], steps(array, -2, 2, first=1, last=15), atol=1e-6)


CAST_TYPES = ("float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool")


@pytest.mark.parametrize("after", CAST_TYPES)
@pytest.mark.parametrize("before", CAST_TYPES)
def test_cast(before: str, after: str, tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = Tensor(shape=[1, 60], dtype=before), Tensor(shape=[1, 60], dtype=after)
    # Numbers that every type holds: what becomes of others is not defined.
    numbers = rng.uniform(0, 120, x.shape)
    agrees(tmp_path, "CAST", [x], y, options("Cast"), arrays=[numbers.astype(before)])


@pytest.mark.parametrize("before", ["float32", "int32"])
def test_negative_numbers_are_cut_towards_zero(before: str, tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = Tensor(shape=[1, 60], dtype=before), Tensor(shape=[1, 60], dtype="int8")
    agrees(tmp_path, "CAST", [x], y, options("Cast"), arrays=[rng.uniform(-120, 120, x.shape).astype(before)])


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_cast_takes_the_stored_integers_of_quantized_tensors(dtype: str, tmp_path: Path) -> None:
    x = tensor([1, 300], dtype, 0.05, 7)
    agrees(tmp_path, "CAST", [x], tensor([1, 300]), options("Cast"))
    agrees(tmp_path, "CAST", [x], tensor([1, 300], "int32"), options("Cast"))
    agrees(tmp_path, "CAST", [x], tensor([1, 300], "bool"), options("Cast"))


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_cast_makes_the_stored_integers_of_quantized_tensors(
    dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    numbers = [rng.uniform(0, 120, (1, 300)).astype(np.float32)]
    agrees(
        tmp_path, "CAST", [tensor([1, 300])], tensor([1, 300], dtype, 0.05, 7), options("Cast"), arrays=numbers, units=0
    )


@pytest.mark.parametrize(
    ("name", "before", "after", "made", "reason"),
    [
        ("QUANTIZE", "int32", "int8", None, "quantization of INT32 to FLOAT"),
        ("QUANTIZE", "float32", "float32", None, "quantization of FLOAT to FLOAT"),
        ("DEQUANTIZE", "int32", "float32", None, "INT32 without a quantization"),
        (
            "FAKE_QUANT",
            "float32",
            "float32",
            options("FakeQuant", min=1.0, max=3.0, numBits=8),
            "8 bits for 1.0 to 3.0",
        ),
        (
            "FAKE_QUANT",
            "float32",
            "float32",
            options("FakeQuant", min=0.0, max=0.0, numBits=8),
            "8 bits for 0.0 to 0.0",
        ),
        ("FAKE_QUANT", "float32", "float32", options("FakeQuant", max=3.0, numBits=99), "99 bits for 0.0 to 3.0"),
        ("FAKE_QUANT", "int8", "int8", options("FakeQuant", max=3.0, numBits=8), "quantized operands"),
        (
            "FAKE_QUANT",
            "float32",
            "float32",
            options("FakeQuant", min=-np.inf, max=1.0, numBits=8),
            "8 bits for -inf to 1.0",
        ),
        ("FAKE_QUANT", "float32", "float32", options("FakeQuant", max=np.nan, numBits=8), "8 bits for 0.0 to nan"),
        ("FAKE_QUANT", "float32", "float32", None, "it lacks the option min"),
    ],
)
def test_change_that_cannot_be_says_why(
    name: str, before: str, after: str, made: Any, reason: str, tmp_path: Path
) -> None:
    assert reason in refusal(tmp_path, name, [tensor([1, 4], before)], tensor([1, 4], after), made)


def test_stored_integers_of_channels_are_refused(tmp_path: Path) -> None:
    weights = constant(np.ones((1, 2), np.int8), scale=[0.5, 0.25], axis=1)
    found = refusal(tmp_path, "CAST", [weights], tensor([1, 2]), options("Cast"))
    assert "a tensor that is quantized per channel" in found
    assert opaque_reasons(imported(single("CAST", [weights], [tensor([1, 2])], options("Cast")), tmp_path)[0])
