"""What a condition sees of an operation: its nodes, their attributes and operands, and the data type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.api import QuantizedTensor, QuantParams, origins_of, quant_of, shape_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Nodes that are one operator of the hardware.

    Attributes:
        nodes: In execution order.
        dtype: Data type of its result: ``uint8``, ``int8``, ``int16``, ``float16`` or ``float32``.
    """

    nodes: tuple[ir.Node, ...]
    dtype: str

    @property
    def node(self) -> ir.Node:
        """The first node, which decides the operator."""
        return self.nodes[0]

    @property
    def layer(self) -> str:
        """Name for messages: that of the source layer, where there is one."""
        return layer_of(self.node)

    @property
    def computed(self) -> Iterator[ir.Value]:
        """Tensors that it reads and gives, but for constants and outputs that nothing uses."""
        inside = {value for node in self.nodes for value in node.outputs}
        for node in self.nodes:
            yield from (v for v in node.inputs if v is not None and v.const_value is None and v not in inside)
        first, *others = self.nodes[-1].outputs
        yield from (first, *(value for value in others if value.uses() or value.is_graph_output()))

    def operand(self, position: int) -> ir.Value | None:
        """An operand of the first node; None when it is absent."""
        return operand(self.node, position)

    def shape(self, position: int) -> tuple[int, ...]:
        """Shape of an operand; ``()`` when it is absent."""
        value = self.operand(position)
        return () if value is None else shape_of(value)

    def constants_missing(self, first: int, end: int | None = None) -> str | None:
        """The first computed operand of some positions; None when all of these are constants or absent."""
        computed = (v for v in self.node.inputs[first:end] if v is not None and v.const_value is None)
        return next((f"the computed {value.name!r}" for value in computed), None)

    def integer(self, name: str, default: int) -> int:
        """An attribute of the first node."""
        return integer_of(self.node, name, default)

    def integers(self, name: str, default: int) -> tuple[int, ...]:
        """An attribute with one item per spatial dimension; all ``default`` when it is absent."""
        return integers_of(self.node, name, default)

    def word(self, name: str, default: str) -> str:
        """An attribute of the first node."""
        found = self.node.attributes.get(name)
        return default if found is None else found.as_string()

    def number(self, name: str, default: float) -> float:
        """An attribute of the first node."""
        found = self.node.attributes.get(name)
        return default if found is None else found.as_float()

    @property
    def kernel(self) -> tuple[int, ...]:
        """Size of the window: that of the weights, or the attribute of a pool."""
        return kernel_of(self.node)


def layer_of(node: ir.Node) -> str:
    """Name for messages: that of the source layer, where there is one."""
    origins = origins_of(node)
    return origins[0].name if origins else str(node.name)


def operand(node: ir.Node, position: int) -> ir.Value | None:
    """An operand of a node; None when it is absent."""
    return node.inputs[position] if position < len(node.inputs) else None


def integer_of(node: ir.Node, name: str, default: int) -> int:
    """An attribute of a node."""
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def integers_of(node: ir.Node, name: str, default: int) -> tuple[int, ...]:
    """An attribute with one item per spatial dimension; all ``default`` when it is absent."""
    found = node.attributes.get(name)
    data = operand(node, 0)
    spatial = 0 if data is None else max(len(shape_of(data)) - 2, 0)
    return (default,) * spatial if found is None else tuple(int(item) for item in found.as_ints())


def kernel_of(node: ir.Node) -> tuple[int, ...]:
    """Size of a window: that of a convolution's weights, the attribute of a pool, or the map of a global one."""
    data = operand(node, 0)
    if node.op_type.startswith("Global") and data is not None:
        return shape_of(data)[2:]
    if node.op_type in ("Conv", "ConvTranspose"):
        weights = operand(node, 1)
        return () if weights is None else shape_of(weights)[2:]
    found = node.attributes.get("kernel_shape")
    return () if found is None else tuple(int(item) for item in found.as_ints())


def number_of(value: ir.Value | None) -> float | None:
    """The only item of a constant; None for anything else."""
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    return float(value.const_value.numpy().reshape(-1)[0])


def quantization_of(value: ir.Value) -> QuantParams | None:
    """Parameters that a tensor is stored with."""
    tensor = value.const_value
    return tensor.quant if isinstance(tensor, QuantizedTensor) else quant_of(value)


def written(sizes: tuple[int, ...]) -> str:
    """Sizes for messages.

    >>> written((3, 17))
    '3x17'
    """
    return "x".join(map(str, sizes)) or "none"
