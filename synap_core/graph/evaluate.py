"""Compute nodes whose inputs are all constants, with NumPy: what any runtime gives, or not at all.

Results are exact, but for functions such as Exp that runtimes round differently: those are computed in float64. The
computations are in `synap_core.graph.folding`, by family of operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.graph.folding import (
    arithmetic,
    conversion,
    functions,
    generation,
    movement,
    padding,
    reduction,
    scatter,
)
from synap_core.graph.folding.registry import ANY_TYPE, COMPUTATIONS, Array, Constants, is_plain
from synap_core.graph.infer import infer
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import TensorType

__all__ = ["FAMILIES", "evaluate"]

FAMILIES = (arithmetic, conversion, functions, generation, movement, padding, reduction, scatter)
"""The modules whose computations are loaded."""


def evaluate(
    op_type: str,
    tensors: Sequence[ir.TensorProtocol | None],
    attributes: Mapping[str, object],
    types: Sequence[TensorType],
) -> list[ir.TensorProtocol] | None:
    """Compute a node of the default domain at opset 19.

    A constant that is stored as integers stays one where the operator only moves items, and the channels of its
    parameters stay together.

    Args:
        op_type: The operator.
        tensors: Its inputs; None for an absent one.
        attributes: As given to the builder; defaults are not filled in.
        types: Types of its outputs, as inferred.

    Returns:
        The outputs, of exactly these types; None when the operator is not among those computed here, or has no result
        of these types that is the same everywhere.
    """
    compute = COMPUTATIONS.get(op_type)
    operands = [None if tensor is None else _type_of(tensor) for tensor in tensors]
    if compute is None or not all(operand is None or _is_fit(op_type, operand.dtype) for operand in operands):
        return None
    node = Constants(op_type, operands, attributes, tensors, len(types), tuple(types))
    try:
        # The rule checks the operands, so that no computation meets what the operator cannot have.
        if infer(op_type, operands, attributes, tensors, len(types)) != list(types):
            return None
        with np.errstate(all="ignore"):
            found = compute(node)
    except (ValueError, IndexError, OverflowError):  # an index out of range, or a number that does not fit
        return None
    results = None if found is None else [_stored(each) for each in found]
    return results if results is not None and [_type_of(each) for each in results] == list(types) else None


def _is_fit(op_type: str, dtype: ir.DataType) -> bool:
    """Whether items of some type can be computed with; no array holds strings."""
    return dtype != ir.DataType.STRING and (op_type in ANY_TYPE or is_plain(dtype.numpy()))


def _type_of(tensor: ir.TensorProtocol) -> TensorType:
    return TensorType(tensor.dtype, tuple(int(dim) for dim in tensor.shape.numpy()))


def _stored(found: Array | np.generic | QuantizedTensor) -> ir.TensorProtocol:
    """A result as a tensor that shares no memory with large operands that it is a part of."""
    if isinstance(found, QuantizedTensor):
        return QuantizedTensor(_contiguous(found.integers), found.quant)
    return ir.Tensor(_contiguous(np.asarray(found)))


def _contiguous(array: Array) -> Array:
    whole = array.base if isinstance(array.base, np.ndarray) else array
    array = array.copy() if whole.nbytes > array.nbytes else array
    return np.ascontiguousarray(array).reshape(array.shape)
