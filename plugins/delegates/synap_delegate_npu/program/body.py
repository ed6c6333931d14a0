"""Bodies of operations: the standard operators whose result equals the definition of a hardware operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, DTypeLike

OPSET = 19
"""Operator set of the standard operators."""

DOMAIN = "synap.npu"
"""Domain of the operators of a program."""

Attributes = Mapping[str, int | float | str | Sequence[int] | Sequence[float]]
"""Attributes of a node, by name."""


class Body:
    """Operators of the default domain that compute one operation; becomes a function of the model.

    Args:
        count: Number of inputs.

    Attributes:
        inputs: The inputs.
    """

    def __init__(self, count: int) -> None:
        self.inputs = tuple(ir.Value(name=f"x{number}") for number in range(count))
        self._nodes: list[ir.Node] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        """Add a node with one output."""
        return self.ops(op_type, *inputs, count=1, **attributes)[0]

    def ops(self, op_type: str, *inputs: ir.Value | None, count: int, **attributes: object) -> tuple[ir.Value, ...]:
        """Add a node with several outputs."""
        made = ir.convenience.convert_attributes(attributes)  # type: ignore[arg-type]  # whatever onnx-ir takes
        return self._add(ir.Node("", op_type, list(inputs), attributes=made, num_outputs=count))

    def constant(self, values: ArrayLike, dtype: DTypeLike) -> ir.Value:
        """A constant; equal ones share a node."""
        array = np.asarray(values, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.op("Constant", value=ir.Tensor(array))
        return self._constants[key]

    def cast(self, value: ir.Value, dtype: DTypeLike) -> ir.Value:
        """Convert to another type."""
        return self.op("Cast", value, to=int(ir.DataType.from_numpy(np.dtype(dtype))))

    def inline(self, nodes: Sequence[ir.Node], values: Mapping[ir.Value, ir.Value]) -> dict[ir.Value, ir.Value]:
        """Add copies of nodes of the canonical graph.

        Args:
            nodes: The nodes, in execution order.
            values: What stands for the values they read; constants that it lacks become constants of the body.

        Returns:
            What stands for each value of the graph, those of ``values`` included.
        """
        known = dict(values)
        for node in nodes:
            operands = [None if value is None else self._operand(value, known) for value in node.inputs]
            attributes = [attribute for attribute in node.attributes.values() if isinstance(attribute, ir.Attr)]
            made = self._add(ir.Node("", node.op_type, operands, attributes=attributes, num_outputs=len(node.outputs)))
            known.update(zip(node.outputs, made, strict=True))
        return known

    def applied(self, node: ir.Node, value: ir.Value) -> ir.Value:
        """Add a copy of one node of the canonical graph that reads a value in place of its first operand."""
        first = node.inputs[0]
        if first is None:
            msg = f"{node.op_type} has no operand"
            raise ValueError(msg)
        return self.inline([node], {first: value})[node.outputs[0]]

    def function(self, name: str, overload: str, outputs: Sequence[ir.Value], attributes: Sequence[str]) -> ir.Function:
        """The function of a model.

        Args:
            name: Operator of the domain.
            overload: Tells it from other functions of that operator.
            outputs: Results.
            attributes: Names of the attributes that its caller has; they only describe.
        """
        graph = ir.Graph(
            self.inputs, outputs, nodes=self._used(outputs), opset_imports={"": OPSET}, name=f"{name}_{overload}"
        )
        made = [ir.Attr(key, ir.AttributeType.UNDEFINED, None) for key in attributes]
        return ir.Function(DOMAIN, name, overload, graph=graph, attributes=made)

    def _operand(self, value: ir.Value, known: dict[ir.Value, ir.Value]) -> ir.Value:
        if value not in known:
            if value.const_value is None:
                msg = f"{value.name!r} is not an input of the operation"
                raise ValueError(msg)
            array = value.const_value.numpy()
            known[value] = self.constant(array, array.dtype)
        return known[value]

    def _add(self, node: ir.Node) -> tuple[ir.Value, ...]:
        self._nodes.append(node)
        for position, output in enumerate(node.outputs):
            output.name = f"v{len(self._nodes)}" if position == 0 else f"v{len(self._nodes)}_{position}"
        return tuple(node.outputs)

    def _used(self, outputs: Sequence[ir.Value]) -> list[ir.Node]:
        """The nodes that the results depend on: a lowering may try one way and take another."""
        needed = {output.producer() for output in outputs}
        for node in reversed(self._nodes):
            if node in needed:
                needed.update(value.producer() for value in node.inputs if value is not None)
        return [node for node in self._nodes if node in needed]
