"""Attributes of a node as its builder gave them, read with their kinds checked: model files are hostile."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn, TypeGuard

import numpy as np
import onnx_ir as ir

from synap_core.graph.types import GraphError

MAX_LIST = 4096
"""Items of an attribute or input that describes a shape: a rank is never near it."""

MAX_MESSAGE = 400
"""Characters of a message."""

_ELEMENT_TYPES = range(ir.DataType.FLOAT, ir.DataType.FLOAT8E5M2FNUZ + 1)
"""Those of opset 19; newer ones have higher numbers."""

_FLOAT_MAX = float(np.finfo(np.float32).max)
_INT64 = range(-(1 << 63), 1 << 63)


class Attributes:
    """Attributes of one node by name; those that are absent have the default given here.

    Every method raises `GraphError`, naming the operator and the value, when an attribute is of the wrong kind.

    Attributes:
        op_type: The operator.
        attributes: As given to the builder; defaults are not filled in.
    """

    __slots__ = ()
    op_type: str
    attributes: Mapping[str, object]

    def refuse(self, message: str) -> NoReturn:
        """Say why the operator cannot have such operands."""
        msg = f"{self.op_type}: {message}"
        raise GraphError(shortened(msg))

    def require(self, condition: bool, message: str) -> None:
        """Refuse unless a condition holds."""
        if not condition:
            self.refuse(message)

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer; required when there is no default."""
        value = self.attributes.get(name, default)
        if not _is_integer(value):
            self.refuse(f"attribute {name} is {_shown(value)}, not an integer")
        return int(value)

    def flag(self, name: str, default: int = 0) -> bool:
        """An integer that is 0 or 1."""
        value = self.integer(name, default)
        self.require(value in (0, 1), f"attribute {name} is {value}, not 0 or 1")
        return bool(value)

    def positive(self, name: str, default: int | None = None) -> int:
        """An integer of at least 1."""
        value = self.integer(name, default)
        self.require(value > 0, f"attribute {name} is {value}, not positive")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers; None when it is absent."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or len(value) > MAX_LIST or not all(map(_is_integer, value)):
            self.refuse(f"attribute {name} is {_shown(value)}, not a list of integers")
        return tuple(map(int, value))

    def number(self, name: str, default: float) -> float:
        """A real number that float32 can hold, as files do."""
        value = self.attributes.get(name, default)
        if not _is_number(value):
            self.refuse(f"attribute {name} is {_shown(value)}, not a finite number")
        return float(value)

    def numbers(self, name: str) -> tuple[float, ...]:
        """A required list of real numbers that float32 can hold."""
        value = self.attributes.get(name)
        if not isinstance(value, list | tuple) or len(value) > MAX_LIST or not all(map(_is_number, value)):
            self.refuse(f"attribute {name} is {_shown(value)}, not a list of finite numbers")
        return tuple(map(float, value))

    def word(self, name: str, default: str | None, allowed: Collection[str]) -> str:
        """One of some words; required when there is no default."""
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if not isinstance(value, str) or value not in allowed:
            self.refuse(f"attribute {name} is {_shown(value)}, not one of {', '.join(allowed)}")
        return value

    def text(self, name: str) -> str:
        """A required string."""
        value = self.attributes.get(name)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if not isinstance(value, str) or len(value) > MAX_LIST:
            self.refuse(f"attribute {name} is {_shown(value)}, not a string")
        return value

    def dtype(self, name: str, default: ir.DataType | None = None) -> ir.DataType:
        """An element type, which files give as a number; required when there is no default."""
        value = self.integer(name, default)
        if value not in _ELEMENT_TYPES:
            self.refuse(f"attribute {name} is {value}, not an element type")
        return ir.DataType(value)

    def array(self, name: str) -> np.ndarray | None:
        """A tensor, not of strings; None when it is absent."""
        value = self.attributes.get(name)
        if value is None:
            return None
        tensor = ir.Tensor(value) if isinstance(value, np.ndarray) and value.dtype.kind not in "OSU" else value
        if not isinstance(tensor, ir.TensorProtocol) or tensor.dtype not in _ELEMENT_TYPES:
            self.refuse(f"attribute {name} is {_shown(value)}, not a tensor")
        self.require(tensor.dtype != ir.DataType.STRING, f"attribute {name} is a tensor of strings")
        return tensor.numpy()

    def axis_of(self, axis: int, rank: int) -> int:
        """An axis of a tensor counted from the front; negative ones count from behind."""
        self.require(-rank <= axis < rank, f"axis {axis} of a tensor of {rank} dimensions")
        return axis % rank

    def axes_of(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        """Axes counted from the front, in the order given; none may appear twice."""
        found = tuple(self.axis_of(axis, rank) for axis in axes)
        self.require(len(set(found)) == len(found), f"axes {list(axes)} name one axis twice")
        return found

    def axis(self, rank: int, default: int | None = None) -> int:
        """The attribute ``axis`` of a tensor of some rank, counted from the front."""
        return self.axis_of(self.integer("axis", default), rank)


def shortened(message: str) -> str:
    """A message without the end of what a damaged file makes too long for a line or two."""
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 3]}..."


def _is_integer(value: object) -> TypeGuard[int | np.integer]:
    return isinstance(value, int | np.integer) and int(value) in _INT64


def _is_number(value: object) -> TypeGuard[float | np.integer | np.floating]:
    plain = value.item() if isinstance(value, np.integer | np.floating) else value
    return isinstance(plain, int | float) and abs(plain) <= _FLOAT_MAX


def _shown(value: object) -> str:
    """A value of unknown size, for a message."""
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else reprlib.repr(value)
