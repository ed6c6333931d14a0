"""The weights file: the blobs of each layer as arrays."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from synap_core.api import InputError
from synap_frontend_caffe.inputs import MAX_RANK
from synap_frontend_caffe.network import LayerRecord
from synap_frontend_caffe.schema import BlobProto, Message
from synap_frontend_caffe.text import text_of
from synap_frontend_caffe.upgrade import layers_of

Blobs = tuple[np.ndarray, ...]

_RAW_TYPES = {"DOUBLE": "<f8", "FLOAT": "<f4", "FLOAT16": "<f2"}
"""Element types of blobs that NVIDIA's Caffe stores as bytes."""


class Weights:
    """Blobs by layer; the arrays of a layer are made when they are first asked for.

    Args:
        stored: The ``NetParameter`` of a weights file.
        layers: Layers of the network. Layers of one name get the weights in the order of the file; and a layer without
            weights of its own those of the first layer whose parameters have the same name (``param { name: … }``).
    """

    def __init__(self, stored: Message, layers: Sequence[LayerRecord] = ()) -> None:
        self._stored: dict[str, list[Sequence[Message]]] = {}
        for layer in layers_of(stored):
            if layer.blobs:
                self._stored.setdefault(text_of(layer.name), []).append(layer.blobs)
        self._made: dict[tuple[str, int], Blobs] = {}
        self._owners: dict[str, tuple[LayerRecord, int]] = {}
        for record in layers:
            for position, spec in enumerate(record.message.param):
                if spec.name:
                    self._owners.setdefault(spec.name, (record, position))

    def blobs(self, layer: LayerRecord) -> Blobs:
        """Blobs of a layer; none when the file has no weights for it.

        Raises:
            InputError: A blob is damaged.
        """
        own = self._of_file(layer)
        for spec in layer.message.param[len(own) :]:
            owner, position = self._owners.get(spec.name, (layer, 0))
            shared = self._of_file(owner)
            if owner is layer or position >= len(shared):
                break
            own += shared[position : position + 1]
        return own

    def unused(self, names: Collection[str]) -> list[str]:
        """Layers of the file that have weights and none of these names."""
        return sorted(self._stored.keys() - set(names))

    def _of_file(self, layer: LayerRecord) -> Blobs:
        name = layer.message.name
        stored = self._stored.get(name)
        if not stored:
            return ()
        key = (name, min(layer.occurrence, len(stored) - 1))
        if key not in self._made:
            self._made[key] = tuple(array_of(blob, name) for blob in stored[key[1]])
        return self._made[key]


def array_of(blob: Message, layer: str) -> np.ndarray:
    """Items of a ``BlobProto`` as float32.

    Args:
        blob: The message.
        layer: Name of its layer, for messages.

    Raises:
        InputError: The number of items does not fit the shape, or the type is no real number.
    """
    items = _items(blob, layer)
    shape = _shape(blob, items.size)
    if len(shape) > MAX_RANK or any(size < 0 for size in shape) or math.prod(shape) != items.size:
        text = f"the shape {list(shape)}" if len(shape) <= MAX_RANK else f"{len(shape)} dimensions"
        msg = f"a blob of layer {layer!r} has {text} and {items.size} items"
        raise InputError(msg, hint="the file is damaged: get it again")
    return items.reshape(shape)


def _items(blob: Message, layer: str) -> np.ndarray:
    if blob.HasField("raw_data"):
        kind = BlobProto.RawType.Name(blob.raw_data_type)
        size = np.dtype(_RAW_TYPES.get(kind, "<f4")).itemsize
        if kind not in _RAW_TYPES or len(blob.raw_data) % size:
            msg = f"a blob of layer {layer!r} holds {len(blob.raw_data)} bytes of the type {kind}, not real numbers"
            raise InputError(msg, hint="store the weights as float32")
        return np.frombuffer(blob.raw_data, _RAW_TYPES[kind]).astype(np.float32)
    if blob.double_data:
        with np.errstate(over="ignore"):
            return np.array(blob.double_data, np.float64).astype(np.float32)
    return np.array(blob.data, np.float32)


def _shape(blob: Message, size: int) -> tuple[int, ...]:
    """Shape of a blob: any number of dimensions in files of Caffe 1.0, four in older ones."""
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    old = ("num", "channels", "height", "width")
    return tuple(getattr(blob, name) for name in old) if any(map(blob.HasField, old)) else (size,)
