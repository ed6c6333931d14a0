"""Messages between a process and its worker: a JSON header and arrays, with no code in them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

_LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 64 << 20
MAX_ARRAY_BYTES = 1 << 32
MAX_SKIPPED_BYTES = 1 << 16


class ChannelClosedError(Exception):
    """The other side is gone."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message.

    Attributes:
        kind: What it is.
        values: JSON values.
        arrays: Arrays, with any numeric type and shape.
    """

    kind: str
    values: dict[str, object] = field(default_factory=dict)
    arrays: tuple[np.ndarray, ...] = ()


def send(stream: BinaryIO, message: Message) -> None:
    """Write a message.

    Raises:
        ChannelClosedError: The other side is gone.
    """
    arrays = [np.ascontiguousarray(array) for array in message.arrays]
    shapes = [(array.dtype.str, array.shape) for array in message.arrays]
    header = json.dumps({"kind": message.kind, "values": message.values, "arrays": shapes}).encode()
    try:
        stream.write(_LENGTH.pack(len(header)) + header)
        stream.writelines(array.tobytes() for array in arrays)
        stream.flush()
    except (OSError, ValueError) as error:
        raise ChannelClosedError from error


def receive(stream: BinaryIO) -> Message:
    """Read a message.

    Raises:
        ChannelClosedError: The other side is gone, or does not speak this protocol.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    if length > MAX_HEADER_BYTES:
        raise ChannelClosedError
    try:
        header = json.loads(_exactly(stream, length))
        return Message(header["kind"], header["values"], tuple(_arrays(stream, header["arrays"])))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ChannelClosedError from error


def skip_to(stream: BinaryIO, word: bytes) -> None:
    """Read up to and including a word.

    Raises:
        ChannelClosedError: The other side is gone, or says something else for too long.
    """
    seen = b""
    while not seen.endswith(word):
        if len(seen) > MAX_SKIPPED_BYTES:
            raise ChannelClosedError
        seen += _exactly(stream, 1)


def _arrays(stream: BinaryIO, shapes: Sequence[tuple[str, Sequence[int]]]) -> list[np.ndarray]:
    arrays = []
    for code, shape in shapes:
        dtype = np.dtype(code)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if dtype.hasobject or not 0 <= size <= MAX_ARRAY_BYTES:
            raise ChannelClosedError
        arrays.append(np.frombuffer(bytearray(_exactly(stream, size)), dtype).reshape(shape))
    return arrays


def _exactly(stream: BinaryIO, count: int) -> bytes:
    try:
        data = stream.read(count)
    except (OSError, ValueError) as error:
        raise ChannelClosedError from error
    if len(data) < count:
        raise ChannelClosedError
    return data
