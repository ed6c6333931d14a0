"""Element type and static shape of a value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir


class GraphError(ValueError):
    """Operands that an operator cannot have; the importer that emitted it says which layer they belong to."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Type of a tensor.

    Attributes:
        dtype: Element type.
        shape: Static dimensions; ``()`` for a scalar.
    """

    dtype: ir.DataType
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of items."""
        return math.prod(self.shape)

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)


def type_of(value: ir.Value) -> TensorType:
    """Type of a value of a canonical graph.

    Raises:
        GraphError: The value has no element type or an open shape.
    """
    # Importers ask for the type of every operand: this is worth one pass over the dimensions.
    dims = None if value.shape is None else value.shape.dims
    if value.dtype is None or dims is None or not all(isinstance(dim, int) for dim in dims):
        msg = f"value {value.name!r} has no static type"
        raise GraphError(msg)
    return TensorType(value.dtype, tuple(dim for dim in dims if isinstance(dim, int)))


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """Shape of a value of a canonical graph. Raises as `type_of`."""
    return type_of(value).shape


def set_type(value: ir.Value, tensor: TensorType) -> None:
    """Set element type and shape of a value."""
    value.dtype = tensor.dtype
    value.shape = ir.Shape(tensor.shape)
