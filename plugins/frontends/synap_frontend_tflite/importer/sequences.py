"""Sequences of vectors, for recurrent operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantParams, quant_of, set_quant, shape_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.registry import UnsupportedError

MAX_UNROLLED_NODES = 20_000
"""Nodes that one recurrent operator may become: a small file can ask for any number of steps."""


@dataclass(frozen=True, slots=True)
class Sequencer:
    """Takes sequences apart and puts them together.

    Attributes:
        op: The operator.
        steps: Number of steps.
        batch: Vectors at each step.
        time_major: The operator's sequences are ``[steps, batch, items]``, otherwise ``[batch, steps, items]``.
    """

    op: Operator
    steps: int
    batch: int
    time_major: bool

    @classmethod
    def of(cls, op: Operator, value: ir.Value, *, time_major: bool) -> Sequencer:
        """For sequences like one of them.

        Raises:
            UnsupportedError: It has not three dimensions.
        """
        shape = shape_of(value)
        if len(shape) != 3 or 0 in shape:
            msg = f"a sequence of shape {list(shape)}; three dimensions are needed"
            raise UnsupportedError(msg)
        steps, batch = shape[:2] if time_major else shape[1::-1]
        return cls(op, steps, batch, time_major)

    def check_unrolled(self, nodes: int) -> None:
        """Refuse to unroll steps of so many nodes each when that gets too many.

        Raises:
            UnsupportedError: It does.
        """
        if self.steps * nodes > MAX_UNROLLED_NODES:
            msg = f"{self.steps} steps; at most {MAX_UNROLLED_NODES // nodes} can be unrolled"
            raise UnsupportedError(msg)

    def time_first(self, value: ir.Value) -> ir.Value:
        """A sequence of the operator as ``[steps, batch, items]``."""
        return value if self.time_major else self._turned(value, (self.steps, self.batch))

    def own_order(self, value: ir.Value) -> ir.Value:
        """A sequence ``[steps, batch, items]`` as the operator has it."""
        return value if self.time_major else self._turned(value, (self.batch, self.steps))

    def _turned(self, value: ir.Value, leading: tuple[int, int]) -> ir.Value:
        if 1 in leading:
            return reshaped(self.op, value, (*leading, shape_of(value)[2]))
        return noted(self.op.emit("Transpose", value, perm=(1, 0, 2)), quant_of(value))

    def rows(self, value: ir.Value) -> ir.Value:
        """A sequence of the operator as ``[steps * batch, items]``, step after step."""
        return reshaped(self.op, self.time_first(value), (self.steps * self.batch, shape_of(value)[2]))

    def split(self, rows: ir.Value) -> list[ir.Value]:
        """Rows step by step, ``[batch, items]`` each."""
        if self.steps == 1:
            return [rows]
        return split(self.op, rows, 0, self.steps)

    def joined(self, steps: Sequence[ir.Value]) -> ir.Value:
        """Steps of ``[batch, items]`` as a sequence of the operator."""
        rows = noted(self.op.emit("Concat", *steps, axis=0), quant_of(steps[0])) if self.steps > 1 else steps[0]
        return self.own_order(reshaped(self.op, rows, (self.steps, self.batch, shape_of(rows)[1])))


def noted(value: ir.Value, quant: QuantParams | None) -> ir.Value:
    """Note the quantization of a value that was just computed; a constant keeps its own."""
    if value.const_value is None and quant is not None:
        set_quant(value, quant)
    return value


def reshaped(op: Operator, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    """A value in another shape; it keeps its quantization."""
    if shape_of(value) == shape:
        return value
    return noted(op.emit("Reshape", value, op.build.constant(shape)), quant_of(value))


def split(op: Operator, value: ir.Value, axis: int, count: int) -> list[ir.Value]:
    """Equal parts of a value; they keep its quantization."""
    sizes = op.build.constant([shape_of(value)[axis] // count] * count)
    parts = op.build.emit_many("Split", [value, sizes], {"axis": axis}, results=count)
    return [noted(part, quant_of(value)) for part in parts]


def linear(op: Operator, rows: ir.Value, weights: ir.Value, bias: ir.Value | None = None) -> ir.Value:
    """``rows @ weights.T + bias`` for ``[rows, inputs]``, ``[units, inputs]`` and ``[units]``."""
    return op.emit("Gemm", rows, weights, *([] if bias is None else [bias]), transB=1)


def matrix(value: ir.Value) -> tuple[int, int]:
    """Shape of an operand of two dimensions.

    Raises:
        UnsupportedError: It has more or less.
    """
    shape = shape_of(value)
    if len(shape) != 2:
        msg = f"an operand of shape {list(shape)}; two dimensions are needed"
        raise UnsupportedError(msg)
    return shape[0], shape[1]


def real_items(value: ir.Value) -> np.ndarray:
    """Items of a constant, as real numbers.

    Raises:
        UnsupportedError: It is computed.
    """
    if value.const_value is None:
        msg = "computed weights"
        raise UnsupportedError(msg)
    return value.const_value.numpy()


def expect_shape(what: str, value: ir.Value, shape: tuple[int, ...]) -> None:
    """Check an operand.

    Raises:
        UnsupportedError: It has another shape.
    """
    if shape_of(value) != shape:
        msg = f"{what} of shape {list(shape_of(value))}; {list(shape)} is needed"
        raise UnsupportedError(msg)


def state(op: Operator, position: int, shape: tuple[int, ...]) -> tuple[str, ir.Value]:
    """The variable tensor at a position: its name and what it holds.

    Raises:
        UnsupportedError: It is no variable, or of another shape.
    """
    value = op.input(position)
    name = op.variables[position]
    if name is None:
        msg = f"its operand {position} is no variable tensor"
        raise UnsupportedError(msg)
    expect_shape("a state", value, shape)
    return name, value
