"""Constant tensors of a file as arrays: types of less than a byte unpacked, sparse ones made dense."""

from __future__ import annotations

import math

import numpy as np

from synap_core.api import GraphError, QuantParams
from synap_frontend_tflite.flatbuffer import Generated, size_limit, type_name, unpack_buffer, unpack_tensor
from synap_frontend_tflite.importer.sparse import dense

MAX_DENSE_ITEMS = 1 << 25
"""Items that all sparse constants of a model may have together once they are dense: a small file can ask for any
number."""

Stored = tuple[np.ndarray, QuantParams | None]
"""Items as the file stores them (int8 for a type of 4 bits), and their quantization."""

ITEM_TYPES = {
    "FLOAT32": "<f4",
    "FLOAT16": "<f2",
    "FLOAT64": "<f8",
    "INT8": "i1",
    "UINT8": "u1",
    "INT16": "<i2",
    "UINT16": "<u2",
    "INT32": "<i4",
    "UINT32": "<u4",
    "INT64": "<i8",
    "UINT64": "<u8",
    "BOOL": "?",
}
"""NumPy types by the schema's names; 4 bits aside."""


class Constants:
    """Constant tensors of one subgraph.

    Args:
        root: The model.
        graph: The subgraph.
        data: The file.
    """

    def __init__(self, root: Generated, graph: Generated, data: bytes) -> None:
        self._root = root
        self._graph = graph
        self._data = data
        self._found: dict[int, Stored] = {}
        # Tensors can share a buffer; each would be an array of its own.
        self._bytes_left = size_limit(data)
        self._dense_items_left = MAX_DENSE_ITEMS

    def read(self, index: int) -> Stored:
        """Items of a tensor, and their quantization.

        Raises:
            GraphError: It is damaged, or of a type that is not known.
        """
        if index not in self._found:
            tensor = unpack_tensor(self._graph, index)
            kind = type_name(tensor.type)
            self._found[index] = self._array(tensor, kind), quantization(tensor, kind)
        return self._found[index]

    def _array(self, tensor: Generated, kind: str) -> np.ndarray:
        shape = _shape(tensor)
        count = math.prod(shape)
        stored = unpack_buffer(self._root, self._data, tensor.buffer).data
        raw = np.ascontiguousarray([] if stored is None else stored, np.uint8)
        self._bytes_left -= raw.size
        if self._bytes_left < 0:
            msg = "the constants take more room than the file has"
            raise GraphError(msg)
        if tensor.sparsity is not None:
            self._dense_items_left -= count
            if self._dense_items_left < 0:
                msg = f"sparse constants of more than {MAX_DENSE_ITEMS} items"
                raise GraphError(msg)
            return dense(_items(kind, raw), shape, tensor.sparsity, slack=int(kind == "INT4"))
        if kind == "INT4" and raw.size == (count + 1) // 2:
            return _items(kind, raw)[:count].reshape(shape)
        items = _items(kind, raw)
        if items.size != count:
            msg = f"a constant of shape {list(shape)} with {items.size} items"
            raise GraphError(msg)
        return items.reshape(shape)


def _shape(tensor: Generated) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(dim) for dim in tensor.shape)


def _items(kind: str, raw: np.ndarray) -> np.ndarray:
    if kind == "INT4":
        # Two's complement nibbles, the lower one first.
        nibbles = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1).astype(np.int8)
        return np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8)
    if kind == "BOOL":
        return np.asarray(raw != 0)
    if kind not in ITEM_TYPES:
        msg = f"constants of type {kind} cannot be imported"
        raise GraphError(msg)
    dtype = np.dtype(ITEM_TYPES[kind])
    if raw.size % dtype.itemsize:
        msg = f"a constant of type {kind} with {raw.size} bytes"
        raise GraphError(msg)
    return raw.view(dtype).astype(dtype.newbyteorder("="), copy=False)


def quantization(tensor: Generated, kind: str) -> QuantParams | None:
    """Affine quantization of a constant tensor; None when it has none, or is one of real numbers all the same.

    Raises:
        GraphError: The numbers contradict each other.
    """
    stored = tensor.quantization
    if stored is None or stored.scale is None or not any(stored.scale) or "INT" not in kind:
        return None
    scale = [float(value) for value in stored.scale]
    points = [] if stored.zeroPoint is None else [int(value) for value in stored.zeroPoint]
    if len(points) not in {0, len(scale)}:
        msg = f"{len(scale)} quantization scales against {len(points)} zero points"
        raise GraphError(msg)
    if not all(math.isfinite(value) and value >= 0 for value in scale):
        msg = "a quantization scale that is no positive number"
        raise GraphError(msg)
    return QuantParams(
        dtype=kind.lower(),
        scheme="asymmetric_affine",
        scale=tuple(scale),
        zero_point=tuple(points or [0] * len(scale)),
        axis=_axis(tensor, len(scale)),
    )


def _axis(tensor: Generated, scales: int) -> int | None:
    """Dimension that several scales run along."""
    shape, axis = _shape(tensor), int(tensor.quantization.quantizedDimension)
    if scales == 1:
        return None
    if 0 <= axis < len(shape) and shape[axis] == scales:
        return axis
    # Some exporters leave the axis of the weights on the bias, which has but one.
    if shape == (scales,):
        return 0
    msg = f"{scales} quantization scales along dimension {axis} of the shape {list(shape)}"
    raise GraphError(msg)
