"""Constant tensors: check their sizes, read those that are kept in other files, make sparse ones dense."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from synap_core.api import InputError
from synap_frontend_onnx.protos import (
    GraphProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    array_of,
    bits_per_item,
    dtype_name,
    tensor_of,
)

MAX_DENSE_BYTES = 1 << 28
"""Bytes that the sparse tensors of a file may take when they are dense: a small file can ask for any size."""

MAX_RANK = 32
"""Dimensions that an array may have in any version of NumPy."""

MAX_FILE_BYTES = (1 << 31) - 1
"""Protocol buffers cannot be larger."""

SMALL_ITEMS = 4096
"""Constants up to this size can be shapes, axes and the like, which shapes of other tensors depend on."""


def item_count(tensor: TensorProto) -> int:
    """Number of items."""
    return math.prod(tensor.dims)


def raw_bytes(tensor: TensorProto) -> int:
    """Bytes the items take in raw form; 0 for text."""
    return (item_count(tensor) * bits_per_item(tensor.data_type) + 7) // 8


def is_small(tensor: TensorProto) -> bool:
    """Whether the value can matter for the shapes of other tensors."""
    return item_count(tensor) <= SMALL_ITEMS


def is_external(tensor: TensorProto) -> bool:
    """Whether the items are in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


class Weights:
    """Checks and reads the constant tensors of one file.

    Args:
        folder: Where the file is; data outside of it are not read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._dense_bytes = 0
        self._loaded_bytes = 0

    def check(self, tensor: TensorProto) -> None:
        """Check that a tensor has a type and as many data as its shape tells.

        Raises:
            InputError: It has not, or its file is missing, too short or outside of the folder.
        """
        name = tensor.name
        if len(tensor.dims) > MAX_RANK:
            msg = f"constant {name!r} has {len(tensor.dims)} dimensions; at most {MAX_RANK} are allowed"
            raise InputError(msg, hint="the file is damaged: export it again")
        if any(dim < 0 for dim in tensor.dims):
            msg = f"constant {name!r} has the shape {list(tensor.dims)}"
            raise InputError(msg, hint="the file is damaged: export it again")
        text = dtype_name(tensor.data_type) == "string"
        if not text and not bits_per_item(tensor.data_type):
            msg = f"constant {name!r} has the unknown element type {tensor.data_type}"
            raise InputError(msg, hint="export the model again, with a type that ONNX defines")
        if is_external(tensor):
            self._place(tensor)
            return
        found, expected = _stored(tensor)
        if found != expected:
            msg = f"constant {name!r} has {found} items or bytes; its shape {list(tensor.dims)} needs {expected}"
            raise InputError(msg, hint="the file is damaged: export it again")

    def load(self, tensor: TensorProto) -> TensorProto:
        """Return a tensor with its data inside; the same one when they are inside already."""
        if not is_external(tensor):
            return tensor
        path, offset, length = self._place(tensor)
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(length)
        return TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=data)

    def load_inside(self, nodes: Iterable[NodeProto]) -> None:
        """Check the constants inside nodes (attributes and bodies) and bring their data into the model."""
        for tensor in (tensor for node in nodes for tensor in _tensors_of_node(node)):
            self.check(tensor)
            if is_external(tensor):
                self._loaded_bytes += raw_bytes(tensor)
                if self._loaded_bytes > MAX_FILE_BYTES:
                    msg = "the constants inside of operators take more than 2 GiB"
                    raise InputError(msg)
                tensor.CopyFrom(self.load(tensor))

    def dense(self, sparse: SparseTensorProto, name: str) -> TensorProto:
        """Make a sparse tensor dense.

        Raises:
            InputError: It is damaged, or too large.
        """
        for part in (sparse.values, sparse.indices):
            self.check(part)
        values, indices = self.load(sparse.values), self.load(sparse.indices)
        shape = tuple(sparse.dims)
        bits = bits_per_item(values.data_type)
        if not bits or dtype_name(indices.data_type) != "int64" or not 0 < len(shape) <= MAX_RANK or min(shape) < 0:
            msg = f"sparse constant {name!r} is damaged, or of a type that cannot be made dense"
            raise InputError(msg, hint="export the model without sparse tensors")
        self._dense_bytes += math.prod(shape) * max(bits // 8, 1)
        if self._dense_bytes > MAX_DENSE_BYTES:
            msg = f"sparse constant {name!r} of shape {list(shape)} is too large to be made dense"
            raise InputError(msg, hint=f"all sparse constants together may take {MAX_DENSE_BYTES} bytes")
        return tensor_of(_scatter(array_of(values), array_of(indices), shape, name), name)

    def _place(self, tensor: TensorProto) -> tuple[Path, int, int]:
        """File, offset and length of external data."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self._path_inside(tensor.name, location)
        expected = raw_bytes(tensor)
        offset = _number(entries.get("offset", "0"))
        length = _number(entries.get("length", str(expected)))
        if offset is None or length != expected or not bits_per_item(tensor.data_type):
            span = f"offset {entries.get('offset', '0')}, length {entries.get('length', 'not given')}"
            msg = f"constant {tensor.name!r} needs {expected} bytes of {location!r}; the model says {span}"
            raise InputError(msg, hint="export the model and its data again")
        size = path.stat().st_size
        if offset + length > size:
            msg = f"constant {tensor.name!r} needs the bytes up to {offset + length} of {location!r}, which has {size}"
            raise InputError(msg, hint="copy the data file again: it is cut")
        return path, offset, length

    def _path_inside(self, name: str, location: str) -> Path:
        steps = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
        absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute()
        hint = "put the data file beside the model"
        if not location or "\0" in location or absolute or ".." in steps:
            msg = f"constant {name!r} refers to the data file {location!r}; it must be inside the model's folder"
            raise InputError(msg, hint=hint)
        try:
            path = (self._folder / location).resolve()
            present = path.is_file()
        except (OSError, RuntimeError):  # a name that is too long, or links in a circle
            present = False
        if not present:
            msg = f"the data file {location!r} of constant {name!r} is missing"
            raise InputError(msg, hint=hint)
        if not path.is_relative_to(self._folder):
            msg = f"constant {name!r} refers to the data file {location!r}, a link out of the model's folder"
            raise InputError(msg, hint=hint)
        return path


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _stored(tensor: TensorProto) -> tuple[int, int]:
    """How many bytes or items a tensor has, and how many it should have.

    Source: comments of ``TensorProto`` in ``onnx.proto``.
    """
    count, name = item_count(tensor), dtype_name(tensor.data_type)
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data), raw_bytes(tensor)
    if name == "string":
        return len(tensor.string_data), count
    if name in ("float32", "complex64"):
        return len(tensor.float_data), count * (1 if name == "float32" else 2)
    if name in ("float64", "complex128"):
        return len(tensor.double_data), count * (1 if name == "float64" else 2)
    if name == "int64":
        return len(tensor.int64_data), count
    if name in ("uint32", "uint64"):
        return len(tensor.uint64_data), count
    per_item = 8 // bits_per_item(tensor.data_type) or 1
    return len(tensor.int32_data), -(-count // per_item)


def _scatter(values: np.ndarray, indices: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Put values at positions, which are given as one number each or as one per dimension."""
    limits = np.array(shape, np.int64)
    flat = indices.reshape(-1)
    good = values.ndim == 1 and indices.shape in ((len(values),), (len(values), len(shape)))
    if good and indices.ndim == 2:
        good = bool(np.all((indices >= 0) & (indices < limits)))
        flat = np.ravel_multi_index(tuple(indices.T), shape) if good and indices.size else flat[:0]
    if not good or not np.all((flat >= 0) & (flat < math.prod(shape))):
        msg = f"sparse constant {name!r} has positions outside of its shape {list(shape)}"
        raise InputError(msg, hint="the file is damaged: export it again")
    dense = np.zeros(math.prod(shape), values.dtype)
    dense[flat] = values
    return dense.reshape(shape)


def _tensors_of_node(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for item in (*sparse, *attribute.sparse_tensors):
            yield from (item.values, item.indices)
        for graph in [attribute.g] if attribute.HasField("g") else []:
            yield from _tensors_of_graph(graph)
        for graph in attribute.graphs:
            yield from _tensors_of_graph(graph)


def _tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_node(node)
