"""Quantized operators that multiply and add up, whose results are spread over their type whatever their multipliers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from hypothesis import strategies as st

from synap_delegate_npu.program.body import DOMAIN, OPSET, Body
from tests.support.single_operator import Tensor

DATA_SIZE = {"uint8": 74.0, "int8": 74.0, "int16": 18918.0}
"""Root mean square of integers that are drawn from the whole type."""

LARGEST_BIAS = {"int32": 1 << 29, "int64": 1 << 38}
"""Such that no sum leaves the bits that the kernels add up in."""

DEAD_BIAS = 300_000_000
"""Of the size that biases of channels have whose weights are almost zero."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How the integers of an operator are to be drawn.

    Attributes:
        exponent: Logarithm to base 2 of the middle multiplier.
        spread: By how much those of the channels differ from it, as a logarithm.
        per_channel: Whether weights have a step per channel.
        bias: Type of the bias; None without.
        dead: Whether the first channel has weights of almost zero, and a bias far outside of the others.
    """

    exponent: float
    spread: float = 1.0
    per_channel: bool = True
    bias: str | None = "int32"
    dead: bool = False


@st.composite
def scalings(draw: st.DrawFn, bias: Sequence[str | None], per_channel: Sequence[bool] = (True,)) -> Scaling:
    """Multipliers from almost zero to above one."""
    kind = draw(st.sampled_from(bias))
    low = -34.0
    return Scaling(
        exponent=draw(st.one_of(st.floats(-13.0, 4.0), st.floats(low, -13.0), st.integers(-14, 3).map(float))),
        spread=draw(st.sampled_from([0.0, 1.0, 3.0])),
        per_channel=draw(st.sampled_from(list(per_channel))),
        bias=kind,
        dead=draw(st.booleans()),
    )


def operands(
    rng: np.random.Generator, x: Tensor, shape: Sequence[int], axis: int, scaling: Scaling, dtype: str = "int8"
) -> tuple[Tensor, Tensor | None, float]:
    """Weights, bias, and the step of the result.

    Args:
        rng: Draws the numbers.
        x: The data.
        shape: Of the weights.
        axis: Of the output channels in it.
        scaling: What multipliers are wanted.
        dtype: Of the weights: uint8 ones have a zero point.
    """
    units, fan = shape[axis], math.prod(shape) / shape[axis]
    size = DATA_SIZE[x.dtype] * math.sqrt(fan)
    span = 100.0 if x.dtype != "int16" else 25000.0
    number = units if scaling.per_channel else 1
    exponents = scaling.exponent + rng.uniform(-scaling.spread, scaling.spread, number)
    multipliers = 2.0**exponents
    step = 2.0 ** (rng.uniform(-7, -4) - 8 * (x.dtype == "int16"))
    assert isinstance(x.scale, float)
    scales = np.float32(multipliers * step / x.scale)
    point = int(rng.integers(90, 160)) if dtype == "uint8" else 0
    broad = [1] * len(shape)
    broad[axis] = -1
    most = 7 if dtype == "int4" else 90 if dtype == "uint8" else 127
    wanted = np.clip(span / (multipliers * size), 0.6, most / 2).reshape(broad)
    levels = np.clip(np.rint(rng.normal(size=shape) * wanted), -most, most).astype(np.int64)
    offsets = rng.normal(size=units) * span / (2 * multipliers)
    if scaling.dead:
        levels[(slice(None),) * axis + (0,)] = 0
        offsets[0] = DEAD_BIAS * rng.choice([-1, 1])
    stored = (levels + point).astype("int8" if dtype == "int4" else dtype)
    weights = Tensor(
        shape=shape, dtype=dtype, scale=scales.tolist(), zero_point=point, axis=axis, data=_packed(stored, dtype)
    )
    if scaling.bias is None:
        return weights, None, step
    largest = scaling.exponent + scaling.spread
    # Neither sums that are shifted to the left nor results may leave 32 bits.
    bound = min(
        LARGEST_BIAS[scaling.bias], int(2.0 ** (29 - (max(largest, 0) if scaling.bias == "int32" else largest)))
    )
    bias = np.clip(np.rint(offsets), -bound, bound).astype(scaling.bias)
    products = np.float32(x.scale) * scales
    return weights, Tensor(shape=[units], dtype=scaling.bias, scale=products.tolist(), data=bias), step


def _packed(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Items in the order of a file; two of 4 bits in a byte, the first one below."""
    if dtype != "int4":
        return stored
    flat = np.append(stored.reshape(-1), np.zeros(stored.size % 2, np.int8))
    return (flat[::2] & 15) | (flat[1::2] << 4)


def data(rng: np.random.Generator, shape: Sequence[int], dtype: str) -> Tensor:
    """A tensor of the data, of any step and zero point."""
    info = np.iinfo(dtype)
    point = 0 if dtype == "int16" else int(rng.integers(info.min, info.max + 1))
    return Tensor(shape=shape, dtype=dtype, scale=float(np.float32(2.0 ** rng.uniform(-8, 0))), zero_point=point)


def result(rng: np.random.Generator, shape: Sequence[int], dtype: str, step: float) -> Tensor:
    """A tensor of the results."""
    info = np.iinfo(dtype)
    point = 0 if dtype == "int16" else int(rng.integers(info.min, info.max + 1))
    return Tensor(shape=shape, dtype=dtype, scale=float(np.float32(step)), zero_point=point)


def run_body(lower: Callable[[Body, ir.Value], ir.Value], *arrays: np.ndarray) -> np.ndarray:
    """Run operators on arrays in ONNX Runtime, with its optimisations.

    Args:
        lower: Adds the operators to a body; gives the result.
        arrays: What the inputs hold.
    """
    body = Body(len(arrays))
    made = lower(body, *body.inputs)
    function = body.function("Made", "", [made], [])
    values = [
        ir.Value(name=f"in{i}", type=ir.TensorType(ir.DataType.from_numpy(array.dtype)), shape=ir.Shape(array.shape))
        for i, array in enumerate(arrays)
    ]
    node = ir.Node(DOMAIN, "Made", values, num_outputs=1)
    node.outputs[0].name = "out"
    graph = ir.Graph(values, node.outputs, nodes=[node], opset_imports={"": OPSET, DOMAIN: 1}, name="made")
    model = ir.Model(graph, ir_version=10, functions=[function])
    content = ir.to_proto(model)
    content.graph.output[0].ClearField("type")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(content.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {f"in{i}": array for i, array in enumerate(arrays)})
    return np.asarray(found)
