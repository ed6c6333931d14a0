"""Boundaries between subgraphs in a canonical graph while it is normalised."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import (
    SOURCE,
    TWIN,
    Twin,
    origins_of,
    quant_of,
    set_quant,
    set_twin,
    source_of,
)
from synap_core.graph.edit import Editor
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import TensorType, set_type, type_of
from synap_core.partition import Part


class Gates:
    """Identity nodes through which each subgraph reads what others hand out.

    Where every subgraph has one of its own, and their outputs are kept, no node can be shared between subgraphs: each
    belongs to exactly one.

    Args:
        model: The graph; it has yet to be normalised, so every node comes from one layer.
        parts: The subgraphs, by their position among all subgraphs of the model.
    """

    def __init__(self, model: ir.Model, parts: Mapping[int, Part]) -> None:
        self._model = model
        self._editor = Editor(model)
        self._part_of = {layer.index: index for index, part in parts.items() for layer in part.part.layers}
        self._gates: dict[str, ir.Value] = {}
        self._turned: dict[str, tuple[tuple[int, ...], TensorType]] = {}

    @property
    def names(self) -> frozenset[str]:
        """Names of what comes out of the gates; they must be kept."""
        return frozenset(self._gates)

    def turned_input(self, value: ir.Value, permutation: Sequence[int]) -> ir.Value:
        """Make a graph input one in another layout.

        Args:
            value: The input.
            permutation: Transposes it from its layout to the new one.

        Returns:
            The new input, which has the name of the old one.
        """
        before = type_of(value)
        outer = ir.Value(name=str(value.name))
        set_type(outer, TensorType(before.dtype, tuple(before.shape[axis] for axis in permutation)))
        outer.meta.update({key: item for key, item in value.meta.items() if key not in (SOURCE, TWIN)})
        source = source_of(value)
        if source is not None:
            # Layers are found by it, too, which does not depend on the layout.
            outer.meta[SOURCE] = source
            set_twin(outer, Twin(source, tuple(permutation)))
        inputs = self._model.graph.inputs
        position = next(i for i, other in enumerate(inputs) if other is value)
        value.name = f"{value.name}/turned"
        inputs[position] = outer
        uses = tuple(value.uses())
        if uses:
            first = min((use.node for use in uses), key=self._order().__getitem__)
            inner = self._turn(outer, _inverse(permutation), before, first, first)
            for use in uses:
                use.node.replace_input_with(use.idx, inner)
        return outer

    def turned_output(self, value: ir.Value, permutation: Sequence[int]) -> ir.Value:
        """Make a graph output one in another layout; who reads the value, reads the new one.

        Args:
            value: The output, computed by a node or constant.
            permutation: Transposes it from its layout to the new one.

        Returns:
            The new output, which has the name of the old one.
        """
        producer = value.producer()
        if producer is None:
            return self._turned_constant(value, permutation)
        before = type_of(value)
        name = str(value.name)
        after = TensorType(before.dtype, tuple(before.shape[axis] for axis in permutation))
        readers = tuple(value.uses())
        outer = self._turn(value, permutation, after, producer, producer)
        value.name, outer.name = str(outer.name), name
        self._turned[name] = (_inverse(permutation), before)
        source = source_of(value)
        if source is not None:
            set_twin(outer, Twin(source, tuple(permutation)))
        self._replace_output(value, outer)
        for use in readers:
            if self._index(use.node) != self._index(producer):
                use.node.replace_input_with(use.idx, outer)
        return outer

    def _turned_constant(self, value: ir.Value, permutation: Sequence[int]) -> ir.Value:
        tensor = value.const_value
        if tensor is None:
            return value
        if isinstance(tensor, QuantizedTensor):
            outer = self._editor.constant(tensor.mapped(lambda items: items.transpose(permutation), None))
        else:
            outer = self._editor.constant(ir.Tensor(np.ascontiguousarray(tensor.numpy().transpose(permutation))))
        self._replace_output(value, outer)
        return outer

    def _replace_output(self, old: ir.Value, new: ir.Value) -> None:
        outputs = self._model.graph.outputs
        for position, other in enumerate(outputs):
            if other is old:
                outputs[position] = new

    def redirect(self, old: ir.Value, new: ir.Value, readers: Collection[int]) -> None:
        """Let subgraphs read one value in the place of an equal one."""
        for use in tuple(old.uses()) if old is not new else ():
            if self._index(use.node) in readers and use.node is not new.producer():
                use.node.replace_input_with(use.idx, new)

    def close(self, value: ir.Value, readers: Collection[int]) -> None:
        """Let subgraphs read a value through gates of their own; a constant needs none."""
        if value.const_value is not None:
            return
        order = self._order()
        for index in readers:
            uses = [use for use in value.uses() if self._index(use.node) == index]
            if not uses:
                continue
            first = min((use.node for use in uses), key=order.__getitem__)
            gate = self._editor.insert(first, "Identity", [value], [type_of(value)], origins=[first])
            self._editor.hoist(gate, value)
            inner = gate.outputs[0]
            set_quant(inner, quant_of(value))
            self._gates[str(inner.name)] = inner
            if str(value.name) in self._turned:
                inner = self._turn(inner, *self._turned[str(value.name)], first, first)
            for use in uses:
                use.node.replace_input_with(use.idx, inner)

    def open(self) -> None:
        """Remove the gates: subgraphs read the values themselves."""
        graph = self._model.graph
        gates = [node for node in graph if any(value.name in self._gates for value in node.outputs)]
        for node in gates:
            if node.op_type == "Identity" and node.inputs[0] is not None:
                for use in tuple(node.outputs[0].uses()):
                    use.node.replace_input_with(use.idx, node.inputs[0])
                graph.remove(node, safe=True)

    def _turn(
        self, value: ir.Value, permutation: Sequence[int], after: TensorType, before: ir.Node, origin: ir.Node
    ) -> ir.Value:
        node = self._editor.insert(before, "Transpose", [value], [after], {"perm": list(permutation)}, origins=[origin])
        self._editor.hoist(node, value)
        set_quant(node.outputs[0], quant_of(value))
        return node.outputs[0]

    def _order(self) -> Mapping[ir.Node, int]:
        return {node: position for position, node in enumerate(self._model.graph)}

    def _index(self, node: ir.Node) -> int | None:
        """Subgraph of a node; a copy that belongs to no layer goes with what it copies."""
        found = next((self._part_of[o.index] for o in origins_of(node) if o.index in self._part_of), None)
        if found is not None or origins_of(node):
            return found
        producers = (value.producer() for value in node.inputs if value is not None)
        return next((self._index(producer) for producer in producers if producer is not None), None)


def _inverse(permutation: Iterable[int]) -> tuple[int, ...]:
    order = list(permutation)
    return tuple(order.index(axis) for axis in range(len(order)))
