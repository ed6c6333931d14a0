"""Constants of a file as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from synap_frontend_tensorflow.schema import (
    BOOL,
    DOUBLE,
    FLOAT,
    HALF,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Message,
    dtype_name,
)

MAX_ITEMS = 1 << 25
"""Items that all constants whose last item is repeated may have together: a small file can ask for any number."""

MAX_RANK = 32
"""Dimensions of a tensor; TensorFlow has operators for 8 at the most."""

_STORED: dict[int, tuple[str, str]] = {
    FLOAT: ("<f4", "float_val"),
    DOUBLE: ("<f8", "double_val"),
    INT32: ("<i4", "int_val"),
    UINT8: ("u1", "int_val"),
    INT16: ("<i2", "int_val"),
    INT8: ("i1", "int_val"),
    INT64: ("<i8", "int64_val"),
    BOOL: ("?", "bool_val"),
    UINT16: ("<u2", "int_val"),
    HALF: ("<f2", "half_val"),
    UINT32: ("<u4", "uint32_val"),
    UINT64: ("<u8", "uint64_val"),
}
"""NumPy type and the list that holds single values, by element type; half floats are listed as their bits."""


class ConstantError(Exception):
    """A constant cannot be read; carries the reason."""


class Constants:
    """Reads the constants of one file, and counts what they take."""

    def __init__(self) -> None:
        self._items_left = MAX_ITEMS

    def array(self, tensor: Message) -> np.ndarray:
        """Items of a ``TensorProto``.

        Raises:
            ConstantError: It is damaged, too large, or of a type that holds no numbers.
        """
        if tensor.dtype not in _STORED:
            msg = f"a constant of type {dtype_name(tensor.dtype)}"
            raise ConstantError(msg)
        dtype, field = _STORED[tensor.dtype]
        shape = shape_of_proto(tensor.tensor_shape)
        if shape is None or -1 in shape:
            msg = "a constant of unknown shape" if shape is None else f"a constant of the shape {list(shape)}"
            raise ConstantError(msg)
        content = tensor.tensor_content
        if content:
            return _raw(content, np.dtype(dtype), shape)
        return self._listed(getattr(tensor, field), np.dtype(dtype), shape)

    def _listed(self, values: Sequence[float], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """Items of a list, of which the last one counts for all that are missing; none at all for zeros."""
        count = math.prod(shape)
        if len(values) > count:
            msg = f"a constant of shape {list(shape)} with {len(values)} items"
            raise ConstantError(msg)
        self._items_left -= count - len(values)
        if self._items_left < 0:
            msg = f"a constant of shape {list(shape)}: more than {MAX_ITEMS} items that the file does not hold"
            raise ConstantError(msg)
        # Bits of half floats are read as integers first; a number out of range counts modulo.
        stored = np.dtype("<u2") if dtype.kind == "f" and dtype.itemsize == 2 else dtype
        wide = (
            np.asarray(values, np.int64) if stored.kind in "iu" and stored.itemsize < 8 else np.asarray(values, stored)
        )
        items = wide.astype(stored).view(dtype)
        found = np.full(count, items[-1] if len(items) else 0, dtype)
        found[: len(items)] = items
        return found.reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _raw(content: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if len(content) != math.prod(shape) * dtype.itemsize:
        msg = f"a constant of shape {list(shape)} and type {dtype.name} with {len(content)} bytes"
        raise ConstantError(msg)
    if dtype.kind == "b":
        return np.asarray(np.frombuffer(content, np.uint8).reshape(shape) != 0)
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def shape_of_proto(proto: Message) -> tuple[int, ...] | None:
    """Shape in a ``TensorShapeProto``, -1 for open dimensions; None when the rank is unknown or absurd."""
    if proto.unknown_rank or len(proto.dim) > MAX_RANK:
        return None
    return tuple(-1 if dim.size < 0 else int(dim.size) for dim in proto.dim)
