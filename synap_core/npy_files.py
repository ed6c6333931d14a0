"""Read ``.npy`` files for a tensor without trusting them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synap_core.assign import raw_dtype
from synap_core.errors import InputError
from synap_core.imaging import file_size
from synap_core.tensors import TensorMeta, format_shape, samples_hint

MAX_HEADER_BYTES = 1 << 16

_MAGIC = b"\x93NUMPY"
_REAL = "float32"
_ITEM_TYPES = {
    "u1": "uint8",
    "i1": "int8",
    "u2": "uint16",
    "i2": "int16",
    "u4": "uint32",
    "i4": "int32",
    "i8": "int64",
    "f2": "float16",
    "f4": "float32",
}
_DESCR = re.compile(r"""["']descr["']:\s*["']([<>|=]?)([^"']{1,16})["']""")
_FORTRAN_ORDER = re.compile(r"""["']fortran_order["']:\s*(True|False)""")
_SHAPE = re.compile(r"""["']shape["']:\s*\(([0-9, ]{0,400})\)""")
_DIMENSION = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class _Header:
    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]
    size_bytes: int


def read_npy(path: Path, meta: TensorMeta) -> NDArray[Any]:
    """Read an array for a tensor; its header is checked before any of its data is read.

    Args:
        path: The file.
        meta: The tensor, whose shape the array must have; a leading 1 may be missing.

    Returns:
        Array of the tensor's shape, either of the tensor's own type (raw items) or ``float32`` (real values).

    Raises:
        InputError: The file is missing or damaged, or type, shape or size do not fit the tensor.
    """
    size = file_size(path)
    try:
        with path.open("rb") as file:
            header = _parse(file.read(MAX_HEADER_BYTES), path)
            _check(header, size, meta, path)
            file.seek(header.size_bytes)
            data = file.read(size - header.size_bytes)
        items = np.frombuffer(data, header.dtype, meta.item_count)
    except OSError as error:
        msg = f"cannot read the file: {error.strerror or error}"
        raise InputError(msg, where=path) from error
    except ValueError as error:
        msg = "the file became shorter while it was read"
        raise InputError(msg, where=path) from error
    ordered = items.reshape(header.shape, order="F" if header.fortran_order else "C")
    return np.array(ordered, header.dtype.newbyteorder("="), order="C").reshape(meta.shape)


def _parse(head: bytes, path: Path) -> _Header:
    """Parse the header with patterns rather than as a Python literal, which is slow and fragile for hostile text."""
    wide = head[6:7] in (b"\x02", b"\x03")
    start = 12 if wide else 10
    end = start + int.from_bytes(head[8:start], "little")
    if not head.startswith(_MAGIC) or head[6:7] not in (b"\x01", b"\x02", b"\x03") or end > len(head):
        msg = "not a .npy file, or its header is damaged"
        raise InputError(msg, where=path)
    text = head[start:end].decode("latin-1")
    descr, order, shape = _DESCR.search(text), _FORTRAN_ORDER.search(text), _SHAPE.search(text)
    if descr is None or order is None or shape is None:
        msg = "the array is structured or its header is damaged; plain arrays of numbers are supported"
        raise InputError(msg, where=path)
    name = _ITEM_TYPES.get(descr[2])
    if name is None:
        msg = f"the array has items of type {descr[2]!r}; supported: {', '.join(_ITEM_TYPES.values())}"
        raise InputError(msg, where=path, hint="convert it with NumPy's astype")
    dtype = np.dtype(name).newbyteorder(">" if descr[1] == ">" else "<")
    return _Header(dtype, order[1] == "True", tuple(map(int, _DIMENSION.findall(shape[1]))), end)


def _check(header: _Header, size: int, meta: TensorMeta, path: Path) -> None:
    own = raw_dtype(meta).name
    if header.dtype.name not in (own, _REAL):
        msg = f"the array is {header.dtype.name}; input {meta.name!r} takes {own} (raw items) or {_REAL} (real values)"
        raise InputError(msg, where=path)
    if meta.shape not in (header.shape, (1, *header.shape)):
        msg = f"the array is {format_shape(header.shape)}; input {meta.name!r} is {format_shape(meta.shape)}"
        raise InputError(msg, where=path, hint=samples_hint(header.shape, meta.shape))
    needed = header.size_bytes + meta.item_count * header.dtype.itemsize
    if size != needed:
        msg = f"the file has {size} bytes, its header announces {needed}"
        raise InputError(msg, where=path)
