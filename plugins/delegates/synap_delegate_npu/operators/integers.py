"""Tensors of 8 and 16 bits whose integers operators compute with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.integers import Scaling
from synap_delegate_npu.arithmetic.multiplier import Integers, Rounding
from synap_delegate_npu.arithmetic.rescaling import Window
from synap_delegate_npu.operators.activations import window_of
from synap_delegate_npu.program.body import Attributes
from synap_delegate_npu.program.operation import Request, Tensor

NARROW = frozenset({"int8", "uint8", "int16", "uint16"})
"""Types of which all integers can be tried."""

ROUNDED = {
    "rounding": "STRING: how products are rounded: `twice`, or `once` in fixed point and in models of real numbers",
    "low": "INT: least stored integer of the output, where an activation or the type cuts",
    "high": "INT: largest stored integer of the output",
}
"""Attributes of operators that round and cut their result."""


def is_narrow(tensor: Tensor | None) -> bool:
    """Whether a tensor holds integers of 8 or 16 bits with one step and zero point for all."""
    return (
        tensor is not None
        and tensor.quant is not None
        and tensor.dtype in NARROW
        and tensor.quant.dtype == tensor.dtype
        and tensor.quant.axis is None
    )


def same_integers(one: Tensor, other: Tensor) -> bool:
    """Whether an integer stands for the same number in two tensors."""
    return one.dtype == other.dtype and bool(one.scale == other.scale) and bool(one.zero_point == other.zero_point)


def range_of(tensor: Tensor) -> Integers:
    """All integers of the type of a tensor, counted from the zero point, in ascending order."""
    low, high = tensor.limits
    return np.arange(low, high + 1, dtype=np.int64) - int(tensor.zero_point)


def values_of(tensor: Tensor) -> Integers:
    """All integers that a tensor can hold, counted from the zero point, in ascending order."""
    if tensor.constant is None:
        return range_of(tensor)
    return np.unique(tensor.constant.astype(np.int64)) - int(tensor.zero_point)


def largest_of(tensor: Tensor) -> int:
    """Bound of the size of all integers of a tensor, counted from the zero point."""
    return int(np.abs(range_of(tensor)).max())


def window_behind(request: Request, tail: Sequence[ir.Node]) -> Window | None:
    """Where the nodes behind what a group computes cut its only result; None where they do more, or it has no integers.

    A zero point outside of the type's range is none that the arithmetic is defined for.
    """
    if len(request.outputs) != 1 or not is_narrow(request.output):
        return None
    window = window_of(tail, request.output)
    if window is None or not window.low <= window.zero_point <= window.high:
        return None
    return window


def rounding_into(request: Request) -> Rounding:
    """How results of an operation that rescales integers, their sums or products are rounded.

    Rounding twice is only right where reference kernels, which do it, say what is: it makes 1 of a quarter where all
    steps are powers of two, and for one in twenty of the few integers of 8 bits another one than the real number.
    """
    quant = request.output.quant
    fixed_point = quant is not None and quant.fractional_length is not None
    return Rounding.ONCE if fixed_point or not request.kernels else Rounding.TWICE


def described(scalings: Sequence[Scaling], window: Window) -> Attributes:
    """Attributes of scalings and a window."""
    return {
        "multiplier": [int(scaling.by.multiplier) for scaling in scalings],
        "shift": [int(scaling.by.shift) for scaling in scalings],
        "rounding": scalings[-1].rounding.value,
        "low": window.low,
        "high": window.high,
    }
