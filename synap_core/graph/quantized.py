"""Constants that are stored as integers and stand for real numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from synap_core.tensors import QuantParams

Array = np.ndarray

FLOAT16 = "float16"
"""Type of constants that are stored as real numbers of 16 bits; they have no scale."""

STORAGE = {"int4": "int8", "uint4": "uint8"}
"""NumPy types for those it has not."""


class QuantizedTensor(ir.LazyTensor):
    """A float32 constant that keeps the integers it is stored as.

    The real numbers are computed when they are asked for: an int32 bias has more bits than a float32, so the integers
    cannot be had back from them.

    Attributes:
        integers: The stored values, of any shape and the type they are stored in; int8 and uint8 for those of 4 bits,
            and float16 for those that are no integers.
        quant: What they mean.
    """

    def __init__(self, integers: Array, quant: QuantParams, name: str | None = None) -> None:
        self.integers = integers.astype(STORAGE.get(quant.dtype, quant.dtype), copy=False)
        self.quant = quant
        super().__init__(self._real, ir.DataType.FLOAT, ir.Shape(integers.shape), name=name, cache=True)

    def _real(self) -> ir.TensorProtocol:
        return ir.Tensor(dequantized(self.integers, self.quant))

    def __repr__(self) -> str:
        # That of the base class shows the function, a method of this object, and with it this object again.
        return f"{type(self).__name__}(shape={self.integers.shape}, quant={self.quant!r}, name={self.name!r})"

    def mapped(self, change: Callable[[Array], Array], axis: int | None) -> QuantizedTensor:
        """Rearrange the items.

        Args:
            change: Transposes, reshapes or flips; moves items and does not compute.
            axis: Where the channel axis is afterwards; ignored for parameters of the whole tensor.
        """
        return QuantizedTensor(change(self.integers), with_axis(self.quant, axis))


def with_axis(quant: QuantParams, axis: int | None) -> QuantParams:
    """The same parameters along another axis; unchanged when they hold for the whole tensor."""
    if quant.axis is None or axis == quant.axis:
        return quant
    return QuantParams(
        dtype=quant.dtype,
        scheme=quant.scheme,
        scale=quant.scale,
        zero_point=quant.zero_point,
        axis=axis,
        fractional_length=quant.fractional_length,
    )


def dequantized(integers: Array, quant: QuantParams) -> Array:
    """Real values of stored integers: ``scale * (q - zero_point)`` in float32; float16 values as they are.

    The difference is exact in int64 and the product rounded once from float64, as good as float32 can hold it.
    """
    if quant.dtype == FLOAT16:
        return integers.astype(np.float32)
    scale, zero_point = scale_and_zero_point(quant, integers.ndim)
    shifted = integers.astype(np.int64) - zero_point
    return np.asarray(shifted * scale, dtype=np.float32)


def scale_and_zero_point(quant: QuantParams, rank: int) -> tuple[Array, Array]:
    """Scale (float64) and zero point (int64), shaped so that they broadcast over a tensor of some rank."""
    if quant.fractional_length is not None:
        return np.asarray(math.ldexp(1.0, -quant.fractional_length)), np.asarray(0, np.int64)
    scale, zero_point = np.asarray(quant.scale, np.float64), np.asarray(quant.zero_point, np.int64)
    shape = [1] * rank
    if quant.axis is not None:
        shape[quant.axis] = -1
    return scale.reshape(shape), zero_point.reshape(shape)
