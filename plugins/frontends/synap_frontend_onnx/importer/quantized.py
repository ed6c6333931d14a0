"""Tensors of stored integers that stand for real numbers, and the values that stand for them.

The canonical graph has no integers for quantized activations, only real numbers with an annotation. A tensor of the
model that ``QuantizeLinear`` computes is therefore a value of real numbers here. An operator that reads its integers
as such gets them from a ``QuantizeLinear`` node in front of it.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import GraphBuilder, QuantizedTensor, QuantParams, shape_of, type_of
from synap_frontend_onnx.importer.registry import UnsupportedError

INTEGER_TYPES = {
    "int4": ir.DataType.INT4,
    "uint4": ir.DataType.UINT4,
    "int8": ir.DataType.INT8,
    "uint8": ir.DataType.UINT8,
    "int16": ir.DataType.INT16,
    "uint16": ir.DataType.UINT16,
    "int32": ir.DataType.INT32,
}
"""Types that real numbers are stored in, by the names of `QuantParams`."""

NAMES = {dtype: name for name, dtype in INTEGER_TYPES.items()}

MAX_LENGTH = 1 << 24
"""Items along an axis that is quantized in blocks."""


def affine(
    scale: np.ndarray,
    zero_point: np.ndarray | None,
    dtype: ir.DataType | None,
    axis: int | None,
    shape: tuple[int, ...] | None,
) -> QuantParams | None:
    """Parameters of a quantized tensor.

    Args:
        scale: One number, or one for each item along the axis.
        zero_point: As many; None for zero.
        dtype: Type of the stored integers.
        axis: Counted from the end where negative; matters only for several scales. None if there can be but one.
        shape: Shape of the tensor; None when it is not known.

    Returns:
        None when they are not such that an annotation can hold.
    """
    if dtype not in NAMES or scale.dtype != np.float32 or scale.ndim > 1:
        return None
    scales = tuple(float(item) for item in scale.reshape(-1))
    zeros = [0] * len(scales) if zero_point is None else [int(item) for item in zero_point.reshape(-1)]
    if len(zeros) != len(scales) or not all(math.isfinite(item) and item > 0 for item in scales):
        return None
    along = None
    if len(scales) != 1:
        rank = 0 if shape is None else len(shape)
        if shape is None or axis is None or not -rank <= axis < rank or shape[axis] != len(scales):
            return None
        along = axis % rank
    return QuantParams(
        dtype=NAMES[dtype],
        scheme="asymmetric_affine",
        scale=scales,
        zero_point=tuple(zeros),
        axis=along,
    )


class StandIns:
    """Values of real numbers that stand for stored integers.

    Args:
        build: Emits the nodes that give the integers.
    """

    def __init__(self, build: GraphBuilder) -> None:
        self._build = build
        self._quants: dict[int, tuple[ir.Value, QuantParams]] = {}
        self._integers: dict[int, ir.Value] = {}

    def add(self, value: ir.Value, quant: QuantParams) -> None:
        """Say that a value stands for stored integers."""
        self._quants[id(value)] = value, quant

    def quant(self, value: ir.Value | None) -> QuantParams | None:
        """What the integers mean that a value stands for; None for an ordinary value."""
        found = self._quants.get(id(value))
        return None if found is None else found[1]

    def integers(self, value: ir.Value) -> ir.Value:
        """The integers that a value stands for; an ordinary value itself."""
        quant = self.quant(value)
        if quant is None:
            return value
        if id(value) not in self._integers:
            self._integers[id(value)] = stored_integers(self._build, value, quant)
        return self._integers[id(value)]


def parameters(build: GraphBuilder, quant: QuantParams) -> tuple[ir.Value, ir.Value]:
    """Scale and zero point as constants."""
    shape = () if quant.axis is None else (-1,)
    scale = np.asarray(quant.scale, np.float32).reshape(shape)
    zero_point = np.asarray(quant.zero_point, INTEGER_TYPES[quant.dtype].numpy()).reshape(shape)
    return build.constant(scale), build.constant(zero_point)


def stored_integers(build: GraphBuilder, value: ir.Value, quant: QuantParams) -> ir.Value:
    """Emit what computes the stored integers of real numbers, rounded half to even and saturated.

    Raises:
        UnsupportedError: They have fewer than 8 bits, which no operator of the graph reads.
    """
    tensor = value.const_value
    if isinstance(tensor, QuantizedTensor):
        return build.constant(tensor.integers.astype(INTEGER_TYPES[quant.dtype].numpy()))
    scale, zero_point = parameters(build, quant)
    if quant.dtype in ("int8", "uint8"):
        axis = {} if quant.axis is None else {"axis": quant.axis}
        return build.emit("QuantizeLinear", [value, scale, zero_point], axis)
    rank = len(shape_of(value))
    spread = [along_axis(build, parameter, quant.axis, rank) for parameter in (scale, zero_point)]
    return quantized_by_hand(build, value, *spread)


def quantized_by_hand(build: GraphBuilder, value: ir.Value, scale: ir.Value, zero_point: ir.Value) -> ir.Value:
    """As ``QuantizeLinear``, for what it lacks in operator set 19: 16 bits are exact as real numbers.

    Args:
        build: Emits.
        value: Real numbers.
        scale: Of a shape that broadcasts.
        zero_point: As the scale, of the type of the integers.

    Raises:
        UnsupportedError: The graph has no tensors of this type.
    """
    dtype = type_of(zero_point).dtype
    if dtype.bitwidth not in (8, 16) or dtype not in NAMES:
        msg = f"it reads integers of type {dtype.name.lower()} as such"
        raise UnsupportedError(msg)
    x, divisor, offset = (_as_float(build, operand) for operand in (value, scale, zero_point))
    steps = build.emit("Add", [build.emit("Round", [build.emit("Div", [x, divisor])]), offset])
    limits = (build.constant(np.float32(limit)) for limit in _limits(NAMES[dtype]))
    return build.emit("Cast", [build.emit("Clip", [steps, *limits])], {"to": int(dtype)})


def dequantized_by_hand(
    build: GraphBuilder, integers: ir.Value, scale: ir.Value, zero_point: ir.Value | None
) -> ir.Value:
    """As ``DequantizeLinear``, for what it lacks in operator set 19; the arguments as of `quantized_by_hand`."""
    shifted = _as_float(build, integers)
    if zero_point is not None:
        shifted = build.emit("Sub", [shifted, _as_float(build, zero_point)])
    found = build.emit("Mul", [shifted, _as_float(build, scale)])
    dtype = type_of(scale).dtype
    return found if dtype == ir.DataType.FLOAT else build.emit("Cast", [found], {"to": int(dtype)})


def along_axis(build: GraphBuilder, parameter: ir.Value, axis: int | None, rank: int) -> ir.Value:
    """Parameters of the items along an axis, in a shape that broadcasts over a tensor of some rank."""
    if axis is None or shape_of(parameter) in ((), (1,)):
        return build.emit("Reshape", [parameter, build.constant(np.zeros(0, np.int64))])
    return build.emit("Reshape", [parameter, build.constant([-1, *[1] * (rank - 1 - axis)])])


def repeated_in_blocks(build: GraphBuilder, parameter: ir.Value, axis: int, size: int, length: int) -> ir.Value:
    """Parameters of blocks of so many items along an axis of some length: one for each item.

    Raises:
        UnsupportedError: There are not as many as there are blocks.
    """
    shape = shape_of(parameter)
    if not axis < len(shape) or size <= 0 or shape[axis] != -(-length // size) or length > MAX_LENGTH:
        msg = f"its parameters of shape {list(shape)} do not fit {length} items in blocks of {size} along axis {axis}"
        raise UnsupportedError(msg)
    return build.emit("Gather", [parameter, build.constant(np.arange(length, dtype=np.int64) // size)], {"axis": axis})


def _as_float(build: GraphBuilder, value: ir.Value) -> ir.Value:
    found = type_of(value).dtype
    return value if found == ir.DataType.FLOAT else build.emit("Cast", [value], {"to": int(ir.DataType.FLOAT)})


def plain_integers(tensor: ir.TensorProtocol) -> np.ndarray:
    """Items of a constant of integers, those of 4 bits as int8 or uint8."""
    if tensor.dtype.bitwidth >= 8:
        return tensor.numpy()
    return tensor.numpy().astype(np.uint8 if tensor.dtype == ir.DataType.UINT4 else np.int8)


def integers_of(array: np.ndarray, quant: QuantParams) -> np.ndarray:
    """Real numbers as stored integers, rounded half to even and saturated, as ``QuantizeLinear`` does in float32."""
    shape = [1] * array.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    scale = np.asarray(quant.scale, np.float32).reshape(shape)
    zero_point = np.asarray(quant.zero_point, np.int64).reshape(shape)
    low, high = _limits(quant.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.clip(np.rint(array.astype(np.float32) / scale).astype(np.float64) + zero_point, low, high)
    # What is no number has no defined result.
    return np.asarray(np.nan_to_num(steps), INTEGER_TYPES[quant.dtype].numpy())


def _limits(dtype: str) -> tuple[int, int]:
    bits = int(dtype.lstrip("uint"))
    return (0, (1 << bits) - 1) if dtype.startswith("u") else (-1 << (bits - 1), (1 << (bits - 1)) - 1)
