"""One operator, as its converter sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from synap_core.api import Attribute, GraphBuilder, Twin, set_twin, shape_of
from synap_frontend_tensorflow.graph import tensor_id
from synap_frontend_tensorflow.importer.registry import UnsupportedError
from synap_frontend_tensorflow.schema import Message

NHWC_TO_NCHW = (0, 3, 1, 2)
NCHW_TO_NHWC = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operator of a graph and the builder to emit it with.

    Attributes:
        build: Emits nodes.
        name: Name of the node, for messages.
        type: The operator.
        node: Its ``NodeDef``.
        inputs: Canonical values of its operands, constants included, control inputs not.
        tensors: Ids of the source tensors that it computes, up to the last one that is used: ``name`` for output 0,
            else ``name:1``. Results behind those need not be computed.
    """

    build: GraphBuilder
    name: str
    type: str
    node: Message
    inputs: Sequence[ir.Value]
    tensors: Sequence[str]

    def input(self, position: int = 0) -> ir.Value:
        """A required operand.

        Raises:
            UnsupportedError: It is absent.
        """
        if position >= len(self.inputs):
            msg = f"it has no operand {position}"
            raise UnsupportedError(msg)
        return self.inputs[position]

    def constant(self, position: int) -> np.ndarray:
        """Items of an operand that must be constant; it may have been computed from shapes.

        Raises:
            UnsupportedError: It is absent, or computed from an input of the model.
        """
        tensor = self.input(position).const_value
        if tensor is None:
            msg = f"its operand {position} is computed; only a constant can be imported"
            raise UnsupportedError(msg)
        return tensor.numpy()

    def integers(self, position: int) -> tuple[int, ...]:
        """Flattened integers of a constant operand: axes, sizes and the like. Raises as `constant`."""
        array = self.constant(position)
        if array.dtype.kind not in "iu":
            msg = f"its operand {position} holds {array.dtype}, not integers"
            raise UnsupportedError(msg)
        return tuple(int(item) for item in array.reshape(-1))

    def integer(self, attribute: str, default: int | None = None) -> int:
        """An attribute that is an integer.

        Raises:
            UnsupportedError: The operator has no such attribute, or one of another type, and there is no default.
        """
        return int(self._attribute(attribute, "i", default))

    def number(self, attribute: str, default: float | None = None) -> float:
        """An attribute that is a real number. Raises as `integer`."""
        return float(self._attribute(attribute, "f", default))

    def flag(self, attribute: str, *, default: bool | None = None) -> bool:
        """An attribute that is true or false. Raises as `integer`."""
        return bool(self._attribute(attribute, "b", default))

    def text(self, attribute: str, default: str | None = None) -> str:
        """An attribute that is a word. Raises as `integer`."""
        value = self._attribute(attribute, "s", default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def kind(self, attribute: str, default: int | None = None) -> int:
        """An attribute that is an element type, as its number in the schema. Raises as `integer`."""
        return int(self._attribute(attribute, "type", default))

    def integer_list(self, attribute: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """An attribute that is a list of integers, such as ``strides``. Raises as `integer`."""
        if attribute not in self.node.attr and default is not None:
            return tuple(default)
        return tuple(int(item) for item in self._attribute(attribute, "list", None).i)

    def emit(self, op_type: str, *inputs: ir.Value | None, **attributes: Attribute) -> ir.Value:
        """Add a node with one output; attributes as `GraphBuilder.emit` takes them."""
        return self.build.emit(op_type, inputs, attributes)

    def channels_first(self, value: ir.Value) -> ir.Value:
        """Transpose a 4-D value from NHWC to NCHW.

        Raises:
            UnsupportedError: It has not four dimensions.
        """
        if len(shape_of(value)) != 4:
            msg = f"a tensor of shape {list(shape_of(value))}; four dimensions are needed"
            raise UnsupportedError(msg)
        return self.emit("Transpose", value, perm=NHWC_TO_NCHW)

    def channels_last(self, value: ir.Value, output: int = 0) -> ir.Value:
        """Transpose the NCHW value of an output to NHWC, and note on it whose twin it is."""
        if value.producer() is not None:
            set_twin(value, Twin(tensor_id(self.name, output), NHWC_TO_NCHW))
        return self.emit("Transpose", value, perm=NCHW_TO_NHWC)

    def _attribute(self, name: str, field: str, default: object) -> Any:  # noqa: ANN401 - a field of a message
        if name not in self.node.attr:
            if default is None:
                msg = f"it lacks the attribute {name}"
                raise UnsupportedError(msg)
            return default
        value = self.node.attr[name]
        if value.WhichOneof("value") != field:
            msg = f"its attribute {name} has another type than {field!r}"
            raise UnsupportedError(msg)
        return getattr(value, field)
