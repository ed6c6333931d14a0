"""``.tflite`` models of one operator, run by the importer's graph and by LiteRT's reference kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from synap_core.graph.annotations import quant_of
from tests.support.canonical import conforms, imported, opaque_reasons, real, run, stored
from tests.support.litert import Oracle
from tests.support.tflite_models import ModelBuilder

FEW = settings(
    derandomize=True,
    max_examples=25,
    deadline=None,
    # The folder only takes the file of one example after the other.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""For tests that draw shapes and options."""

SEEDS = st.integers(0, 1 << 16)
QUANTIZED = ("uint8", "int8", "int16")
ACTIVATIONS = (0, 1, 2, 3)
"""Fused activation functions that the kernels have: none, RELU, RELU_N1_TO_1, RELU6."""

RANGES = {"float32": (-4.0, 4.0), "float16": (-4.0, 4.0), "int32": (-1000, 1000), "int64": (-1000, 1000)}
"""What `sample` draws from; for a type that is not here, all it can hold."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of a model: computed, or constant when it has data."""

    shape: Sequence[int]
    dtype: str = "float32"
    scale: float | Sequence[float] | None = None
    zero_point: int = 0
    axis: int = 0
    data: np.ndarray | None = None

    def filled(self, data: np.ndarray) -> Tensor:
        """The same as a constant."""
        return replace(self, data=data)


def tensor(shape: Sequence[int], dtype: str = "float32", scale: float = 0.05, zero_point: int = 0) -> Tensor:
    """A computed tensor, quantized when its type is one of `QUANTIZED`.

    The parameters are those of int8; another type gets such ones that the range is the same (int16: symmetric).
    """
    if dtype not in QUANTIZED:
        return Tensor(shape=shape, dtype=dtype)
    if dtype == "int16":
        return Tensor(shape=shape, dtype=dtype, scale=scale / 256)
    return Tensor(shape=shape, dtype=dtype, scale=scale, zero_point=zero_point + 128 * (dtype == "uint8"))


def constant(array: np.ndarray, **quantization: Any) -> Tensor:
    """A constant tensor."""
    return Tensor(shape=array.shape, dtype=array.dtype.name, data=array, **quantization)


def options(kind: str, **fields: Any) -> Any:
    """Options of the schema: ``options("Pool2D", padding=1)``."""
    made = getattr(schema, f"{kind}OptionsT")()
    for name, value in fields.items():
        assert hasattr(made, name), name
        setattr(made, name, value)
    return made


def sample(rng: np.random.Generator, wanted: Tensor, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Items for a tensor as they are stored, between limits (included for integers)."""
    if wanted.dtype == "bool":
        return rng.integers(0, 2, wanted.shape).astype(bool)
    if wanted.dtype in RANGES:
        first, last = RANGES[wanted.dtype]
    else:
        first, last = np.iinfo(wanted.dtype).min, np.iinfo(wanted.dtype).max
    first, last = first if low is None else low, last if high is None else high
    if wanted.dtype.startswith("float"):
        return rng.uniform(first, last, wanted.shape).astype(wanted.dtype)
    return rng.integers(int(first), int(last) + 1, wanted.shape).astype(wanted.dtype)


def single(
    name: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], given: Any = None, version: int = 1
) -> bytes:
    """A model of one operator; the tensors without data are the model's inputs."""
    builder = ModelBuilder()
    operands = [-1 if one is None else _add(builder, f"in{i}", one) for i, one in enumerate(inputs)]
    results = [_add(builder, f"out{i}", one) for i, one in enumerate(outputs)]
    builder.operator(name, operands, results, given, version=version)
    computed = [place for place, one in zip(operands, inputs, strict=True) if one is not None and one.data is None]
    return builder.finish(computed, results)


def _add(builder: ModelBuilder, name: str, wanted: Tensor) -> int:
    return builder.tensor(
        name,
        wanted.shape,
        wanted.dtype,
        data=wanted.data,
        scale=wanted.scale,
        zero_point=wanted.zero_point,
        quantized_dimension=wanted.axis,
    )


def agrees(
    folder: Path,
    name: str,
    inputs: Sequence[Tensor | None],
    output: Tensor,
    given: Any = None,
    *,
    seed: int = 0,
    arrays: Sequence[np.ndarray] | None = None,
    version: int = 1,
    **limits: float,
) -> float:
    """Check an operator with one output on drawn (or given) inputs; the rest as `conforms`.

    Returns:
        The largest difference, in units of a quantized output.
    """
    rng = np.random.default_rng(seed)
    if arrays is None:
        arrays = [sample(rng, one) for one in inputs if one is not None and one.data is None]
    content = single(name, inputs, [output], given, version)
    (difference,) = conforms(content, folder, arrays, **limits).values()
    return difference


def refusal(
    folder: Path, name: str, inputs: Sequence[Tensor | None], output: Tensor, given: Any = None, version: int = 1
) -> str:
    """Why an operator stays opaque."""
    model, _ = imported(single(name, inputs, [output], given, version), folder)
    (reason,) = opaque_reasons(model)
    return reason


def weighted(
    rng: np.random.Generator, x: Tensor, shape: Sequence[int], axis: int, result: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Constant weights and bias of types that go with an input, and the tensor of the result.

    Args:
        rng: Draws the numbers.
        x: The input. With int8 and int16 the weights are int8 with a scale per channel, with uint8 uint8 with one.
        shape: Of the weights.
        axis: Of the output channels in it.
        result: Shape of the result; its scale makes it fill the type, with some of it saturated.
    """
    units, fan = shape[axis], math.prod(shape) / shape[axis]
    if x.scale is None:
        floats = [rng.normal(size=size).astype(np.float32) for size in (shape, units)]
        return constant(floats[0]), constant(floats[1]), tensor(result)
    assert isinstance(x.scale, float)
    per_axis = x.dtype != "uint8"
    scales = rng.uniform(0.005, 0.02, units if per_axis else 1)
    levels = sample(rng, Tensor(shape=shape, dtype="int8" if per_axis else "uint8"), -127 if per_axis else 0)
    weights = constant(levels, scale=scales.tolist(), zero_point=0 if per_axis else 121, axis=axis)
    spread = 74 * np.sqrt(fan) * (np.iinfo(x.dtype).max - np.iinfo(x.dtype).min) / np.sqrt(12)
    offsets = rng.normal(0, spread / 4, units).astype("int64" if x.dtype == "int16" else "int32")
    bias = constant(offsets, scale=(x.scale * scales).tolist())
    steps = (np.iinfo(x.dtype).max - np.iinfo(x.dtype).min) / 2
    y = tensor(result, x.dtype)
    return weights, bias, replace(y, scale=float(2 * spread * x.scale * scales.mean() / steps))


def agrees_with_fast_kernel(
    folder: Path, name: str, x: Tensor, y: Tensor, given: Any = None, *, seed: int = 0, units: int = 0
) -> None:
    """As `agrees` for an operator of one input whose reference kernel is missing or differs from what devices run."""
    content = single(name, [x], [y], given)
    array = sample(np.random.default_rng(seed), x)
    model, _ = imported(content, folder)
    assert opaque_reasons(model) == []
    (found,) = run(model, [real(array, quant_of(model.graph.inputs[0]))])
    (expected,) = Oracle(content, xnnpack=False)([array])
    quant = quant_of(model.graph.outputs[0])
    if quant is None:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    else:
        assert np.abs(stored(found, quant).astype(int) - expected).max() <= units
