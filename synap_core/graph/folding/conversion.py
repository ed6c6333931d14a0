"""Conversions between element types, and between real numbers and the integers that stand for them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.graph.folding.registry import Array, Computed, Constants, computes, is_plain
from synap_core.graph.quantized import QuantizedTensor
from synap_core.tensors import ASYMMETRIC_AFFINE, QuantParams

STORED_TYPES = {ir.DataType.INT8: "int8", ir.DataType.UINT8: "uint8", ir.DataType.INT32: "int32"}
"""Integers that a DequantizeLinear of opset 19 takes."""


@computes("Cast", "CastLike", any_type=True)
def cast(node: Constants) -> Computed:
    """As in C; a real number that the integer type does not hold has no result that is the same everywhere."""
    array, wanted = node.items(), node.item_type
    if not is_plain(array.dtype) or not is_plain(wanted):
        return _cast_short(array, wanted)
    if array.dtype.kind == "f" and wanted.kind in "iu":
        limits, whole = np.iinfo(wanted), np.trunc(array.astype(np.float64))
        # The upper limit of 64 bits is no float64, the number above it is.
        if not bool(((whole >= float(limits.min)) & (whole < float(limits.max + 1))).all()):
            return None
    return [array.astype(wanted)]


def _cast_short(array: Array, wanted: np.dtype) -> Computed:
    """From and to bfloat16, where it is a float32 that is cut or filled up."""
    pair = {array.dtype, wanted}
    return [array.astype(wanted)] if pair == {ir.DataType.BFLOAT16.numpy(), np.dtype(np.float32)} else None


@computes("QuantizeLinear")
def quantize(node: Constants) -> Computed:
    """Divided in float32, rounded half to even, saturated."""
    array, wanted = node.items(), node.item_type
    if array.dtype != np.float32 or wanted.kind not in "iu" or bool(np.isnan(array).any()):
        return None
    scale, zero_point = _along_axis(node, node.items(1)), _along_axis(node, _zero_point(node))
    limits = np.iinfo(wanted)
    units = np.rint(array / scale).astype(np.float64) + zero_point
    return None if bool(np.isnan(units).any()) else [np.clip(units, limits.min, limits.max).astype(wanted)]


def _zero_point(node: Constants) -> Array:
    return node.items(2) if node.has(2) else np.zeros(node.type(1).size, np.int64)


def _along_axis(node: Constants, parameters: Array) -> Array:
    """One number, or one per item of the axis, shaped so that they broadcast."""
    if parameters.size == 1:
        return parameters.reshape(())
    rank = node.type(0).rank
    return parameters.reshape(-1, *[1] * (rank - 1 - node.axis(rank, 1)))


@computes("DequantizeLinear")
def dequantize(node: Constants) -> Computed:
    """A quantized constant, which keeps the integers."""
    stored = STORED_TYPES.get(node.type(0).dtype)
    scale = node.items(1)
    if stored is None or scale.dtype != np.float32 or not bool((np.isfinite(scale) & (scale > 0)).all()):
        return None
    quant = QuantParams(
        dtype=stored,
        scheme=ASYMMETRIC_AFFINE,
        scale=tuple(map(float, scale.reshape(-1))),
        zero_point=tuple(map(int, _zero_point(node).reshape(-1))),
        axis=None if scale.size == 1 else node.axis(node.type(0).rank, 1),
    )
    return [QuantizedTensor(node.items(0), quant)]
