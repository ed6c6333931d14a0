"""What a program consists of: tensors, and operations on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from synap_core.api import Group, QuantizedTensor, QuantParams, quant_of, scale_and_zero_point, shape_of
from synap_delegate_npu.program.body import Attributes, Body


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """A tensor of a program.

    Attributes:
        name: Unique in the program.
        shape: Dimensions.
        dtype: Type of its items in memory, in NumPy's words.
        quant: What they mean; None for real numbers of 32 bits, indices and the like.
        constant: The items of a constant.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: QuantParams | None = None
    constant: np.ndarray | None = None

    @property
    def is_integer(self) -> bool:
        """Whether it holds integers that stand for real numbers."""
        return self.quant is not None and self.quant.dtype != "float16"

    @property
    def scale(self) -> np.ndarray:
        """Step of its integers, float64: rank 0, or one per channel. Only where `is_integer`."""
        return self._parameters()[0]

    @property
    def zero_point(self) -> np.ndarray:
        """The integers that stand for zero, int64: rank 0, or one per channel. Only where `is_integer`."""
        return self._parameters()[1]

    @property
    def limits(self) -> tuple[int, int]:
        """Least and largest integer."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def _parameters(self) -> tuple[np.ndarray, np.ndarray]:
        if self.quant is None:
            msg = f"tensor {self.name!r} has no quantization"
            raise ValueError(msg)
        shape = () if self.quant.axis is None else (-1,)
        scale, zero_point = scale_and_zero_point(self.quant, len(self.shape))
        return scale.reshape(shape), zero_point.reshape(shape)


Lowering = Callable[[Body, Sequence[ir.Value]], Sequence[ir.Value]]
"""Adds the operators that compute an operation to a body, given its inputs in memory types; returns the outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a hardware operation computes a group of the canonical graph.

    Attributes:
        inputs: Tensors it reads, constants included.
        attributes: What its definition needs besides the quantization of its tensors.
        lower: The standard operators that it equals.
    """

    inputs: tuple[Tensor, ...]
    attributes: Attributes = field(default_factory=dict)
    lower: Lowering


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """A group that is to become an operation.

    Attributes:
        group: The group.
        tensors: Tensors of the program, by the value of the canonical graph that they hold.
        kernels: What the model says of integers is what reference kernels compute, rather than the real numbers that
            they stand for, rounded.
    """

    group: Group
    tensors: Mapping[ir.Value, Tensor]
    kernels: bool = True

    @property
    def node(self) -> ir.Node:
        """The first node, which says what is computed."""
        return self.group.nodes[0]

    @property
    def tail(self) -> tuple[ir.Node, ...]:
        """The nodes behind the first."""
        return self.group.nodes[1:]

    @property
    def results(self) -> tuple[ir.Value, ...]:
        """Values that the group computes for others."""
        inside = set(self.group.nodes)
        values = [value for node in self.group.nodes for value in node.outputs]
        return tuple(v for v in values if v.is_graph_output() or any(use.node not in inside for use in v.uses()))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Tensors that it computes."""
        return tuple(self.tensors[value] for value in self.results)

    @property
    def output(self) -> Tensor:
        """The one tensor that it computes; the first where there are several."""
        return self.outputs[0]

    @property
    def operands(self) -> tuple[ir.Value, ...]:
        """Values that the group reads, each once, constants included."""
        inside = set(self.group.nodes)
        found = (value for node in self.group.nodes for value in node.inputs if value is not None)
        return tuple(dict.fromkeys(value for value in found if value.producer() not in inside))

    def operand(self, position: int, node: ir.Node | None = None) -> Tensor | None:
        """Tensor that a node, the first by default, has at a position; None when it has none."""
        values = (node or self.node).inputs
        value = values[position] if position < len(values) else None
        return None if value is None else self.tensors[value]


def tensor_of(value: ir.Value, name: str) -> Tensor:
    """The tensor of a program that holds a value of an annotated canonical graph."""
    quant, stored = quant_of(value), value.const_value
    if isinstance(stored, QuantizedTensor):
        integers = stored.integers
        return Tensor(name=name, shape=integers.shape, dtype=str(integers.dtype), quant=stored.quant, constant=integers)
    dtype = quant.dtype if quant is not None else str(value.dtype.numpy()) if value.dtype is not None else "float32"
    constant = None if stored is None else stored.numpy()
    return Tensor(name=name, shape=shape_of(value), dtype=dtype, quant=quant, constant=constant)
