"""Constants of a file as tensors of the canonical graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_frontend_onnx.importer.registry import UnsupportedError
from synap_frontend_onnx.protos import TensorProto, array_of, dtype_name
from synap_frontend_onnx.weights import Weights, item_count

LAZY_ITEMS = 1 << 12
"""Larger constants are read when somebody asks for their items."""

NUMERIC = frozenset(
    {
        ir.DataType.BFLOAT16,
        ir.DataType.BOOL,
        ir.DataType.DOUBLE,
        ir.DataType.FLOAT,
        ir.DataType.FLOAT16,
        ir.DataType.FLOAT8E4M3FN,
        ir.DataType.FLOAT8E4M3FNUZ,
        ir.DataType.FLOAT8E5M2,
        ir.DataType.FLOAT8E5M2FNUZ,
        ir.DataType.INT16,
        ir.DataType.INT32,
        ir.DataType.INT64,
        ir.DataType.INT8,
        ir.DataType.UINT16,
        ir.DataType.UINT32,
        ir.DataType.UINT64,
        ir.DataType.UINT8,
    }
)
"""Element types that computed tensors of a canonical graph have: the numbers of operator set 19."""

PACKED = frozenset({ir.DataType.INT4, ir.DataType.UINT4})
"""Element types that only constants have, which are dequantized."""


def element_type(number: int) -> ir.DataType | None:
    """Element type by its number in the format; None for one that a canonical graph does not have."""
    if number not in NUMERIC | PACKED:
        return None
    return ir.DataType(number)


def constant_tensor(tensor: TensorProto, weights: Weights) -> ir.TensorProtocol:
    """Make a constant of a checked one of the file; a large one is read on demand.

    Raises:
        UnsupportedError: Its element type is none of the canonical graph.
    """
    dtype = element_type(tensor.data_type)
    if dtype is None:
        msg = f"a constant of type {dtype_name(tensor.data_type)}"
        raise UnsupportedError(msg)

    def read() -> ir.TensorProtocol:
        return ir.Tensor(np.ascontiguousarray(array_of(weights.load(tensor))).reshape(tuple(tensor.dims)), dtype)

    if item_count(tensor) <= LAZY_ITEMS:
        return read()
    return ir.LazyTensor(read, dtype, ir.Shape(tensor.dims), cache=True)
