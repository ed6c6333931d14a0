"""One layer, as its converter sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from synap_core.api import Attribute, GraphBuilder, InputError, shape_of
from synap_frontend_caffe.importer.registry import UnsupportedError

Parameters = Any
"""A message of the schema; fields that the file leaves out have the schema's defaults."""

WEIGHTS_HINT = "give the .caffemodel that belongs to this .prototxt with --weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One layer of a network and the builder to emit it with.

    Attributes:
        build: Emits nodes.
        name: Name of the layer, for messages.
        type: Layer type in the words of Caffe 1.0.
        layer: Its ``LayerParameter``.
        bottoms: Values that it reads; float32, the first axis is the batch of 1.
        blobs: Its weights as the ``.caffemodel`` stores them, float32; empty when the file has none for it.
        tops: How many results it has.
        placeholder: Makes an array to stand for weights, where a network is only looked at and there are none.
    """

    build: GraphBuilder
    name: str
    type: str
    layer: Parameters
    bottoms: Sequence[ir.Value]
    blobs: Sequence[np.ndarray]
    tops: int = 1
    placeholder: Callable[[Sequence[int]], np.ndarray] | None = None

    def bottom(self, position: int = 0) -> ir.Value:
        """A required operand.

        Raises:
            UnsupportedError: It is absent.
        """
        if position >= len(self.bottoms):
            msg = f"it has {len(self.bottoms)} bottoms; bottom {position} is needed"
            raise UnsupportedError(msg)
        return self.bottoms[position]

    def parameters(self, field: str) -> Parameters:
        """The message of a field such as ``convolution_param``; one of defaults when the file leaves it out."""
        return getattr(self.layer, field)

    def blob(self, position: int, shape: Sequence[int], what: str) -> np.ndarray:
        """Weights in the shape that the layer's parameters ask for.

        Old files store every blob with four dimensions, 1 in front: they count as equal.

        Args:
            position: Which blob.
            shape: Wanted shape.
            what: What it is, for messages, such as ``weights``.

        Raises:
            InputError: The weights file has no such blob, or one of another shape.
        """
        if self.placeholder is not None:
            return self.placeholder(shape)
        if position >= len(self.blobs):
            msg = f"layer {self.name!r} ({self.type}) has no {what}"
            raise InputError(msg, hint=WEIGHTS_HINT)
        blob = self.blobs[position]
        if _significant(blob.shape) != _significant(shape):
            stored, wanted = list(blob.shape), list(shape)
            msg = f"the {what} of layer {self.name!r} ({self.type}) are {stored} in the weights file, not {wanted}"
            raise InputError(msg, hint=f"{WEIGHTS_HINT}, and inputs of the shape that they were trained for")
        return blob.reshape(tuple(shape))

    def axis(self, number: int, value: ir.Value) -> int:
        """An axis of a value, counted from the front; negative numbers count from behind.

        Raises:
            UnsupportedError: The value has no such axis.
        """
        rank = len(shape_of(value))
        if not -rank <= number < rank:
            msg = f"axis {number} of a blob of shape {list(shape_of(value))}"
            raise UnsupportedError(msg)
        return number % rank

    def emit(self, op_type: str, *inputs: ir.Value | None, **attributes: Attribute) -> ir.Value:
        """Add a node with one output; attributes as `GraphBuilder.emit` takes them."""
        return self.build.emit(op_type, inputs, attributes)

    def constant(self, array: np.ndarray | np.generic | float | Sequence[int]) -> ir.Value:
        """Add a constant."""
        return self.build.constant(array)


def _significant(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without the ones in front of it."""
    start = next((i for i, size in enumerate(shape) if size != 1), len(shape))
    return tuple(shape[start:])
