"""Edit a canonical graph in place: what is annotated, named or kept survives the edit."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import (
    ORIGINS,
    SOURCE,
    TWIN,
    Origin,
    origins_of,
    quant_of,
    set_quant,
    source_of,
)
from synap_core.graph.build import Attribute
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import TensorType, set_type, type_of
from synap_core.tensors import QuantParams

MAX_NEIGHBOURS = 8
"""Uses of a value up to which they are looked at again when one goes: it only matters to those of the last ones."""

Attributes = Mapping[str, Attribute | ir.Attr]
"""Attributes of a new node: Python values, or those of another node."""


class Editor:
    """Edits one graph.

    A value is *kept* when it is a cut: it stays under its name, and nothing is matched or moved across it. A value is
    *pinned* when it must stay under its name: a graph output or a kept one. Every edit notes the nodes around it, for
    a pass that looks at them again.

    Args:
        model: The model; changed in place.
        keep: Names of the kept values.

    Attributes:
        graph: The graph.

    Raises:
        ValueError: A kept value does not exist.
    """

    def __init__(self, model: ir.Model, keep: Collection[str] = ()) -> None:
        self.graph = model.graph
        self._keep = frozenset(keep)
        self._names = _names(model.graph)
        self._counter = 0
        self._layers = _Layers(self.graph)
        self._touched: dict[ir.Node, None] = {}
        missing = self._keep - self._names
        if missing:
            msg = f"there is no value {min(missing)!r} to keep"
            raise ValueError(msg)

    def is_kept(self, value: ir.Value) -> bool:
        """Whether a value is a cut."""
        return value.name in self._keep

    def is_pinned(self, value: ir.Value) -> bool:
        """Whether a value must stay under its name."""
        return value.is_graph_output() or self.is_kept(value)

    def is_used(self, node: ir.Node) -> bool:
        """Whether a node computes anything that is needed."""
        return any(self.is_pinned(value) or value.uses() for value in node.outputs)

    def producer(self, value: ir.Value | None, *op_types: str) -> ir.Node | None:
        """The node that computes a value, when it is one of these operators and the value is no cut."""
        node = None if value is None or self.is_kept(value) else value.producer()
        return node if node is not None and is_operator(node, *op_types) else None

    def only_user(self, value: ir.Value) -> ir.Node | None:
        """The node that uses a value, when it is the only use and the value may vanish."""
        users = [usage.node for usage in value.uses()]
        return users[0] if len(users) == 1 and not self.is_pinned(value) else None

    def take_touched(self) -> list[ir.Node]:
        """Nodes around the edits since the last call, new ones included; some may be gone by now."""
        touched = list(self._touched)
        self._touched.clear()
        return touched

    def constant(self, content: np.ndarray | ir.TensorProtocol, quant: QuantParams | None = None) -> ir.Value:
        """Add a constant.

        Args:
            content: Its items.
            quant: Quantization of the value; that of a `QuantizedTensor` is known.
        """
        tensor = ir.Tensor(content) if isinstance(content, np.ndarray) else content
        value = ir.Value(name=self._fresh("constant"), const_value=tensor)
        tensor.name = value.name
        set_type(value, TensorType(tensor.dtype, tuple(int(dim) for dim in tensor.shape.numpy())))
        set_quant(value, tensor.quant if isinstance(tensor, QuantizedTensor) else quant)
        self.graph.initializers.add(value)
        return value

    def insert(
        self,
        before: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        types: Sequence[TensorType],
        attributes: Attributes | None = None,
        *,
        origins: Iterable[ir.Node],
    ) -> ir.Node:
        """Add a node.

        Args:
            before: Node in front of which it goes.
            op_type: Operator of the default domain.
            inputs: Its operands, all computed in front of ``before``.
            types: Types of its outputs.
            attributes: By name; an array becomes a tensor.
            origins: Nodes whose layers it comes from.
        """
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        converted = {k: ir.Tensor(v) if isinstance(v, np.ndarray) else v for k, v in (attributes or {}).items()}
        node = ir.Node(
            "",
            op_type,
            list(inputs),
            attributes=ir.convenience.convert_attributes(converted),
            num_outputs=len(types),
            name=self._fresh(op_type),
        )
        for position, (value, tensor) in enumerate(zip(node.outputs, types, strict=True)):
            value.name = self._fresh(f"{node.name}_out{position}" if position else f"{node.name}_out")
            set_type(value, tensor)
        self.inherit(node, origins)
        self.graph.insert_before(before, node)
        self._touch(node)
        return node

    def inherit(self, node: ir.Node, others: Iterable[ir.Node]) -> None:
        """Say that a node comes from the layers of others, too."""
        for other in others:
            self._layers.join(node, origins_of(other))

    def replace_input(self, node: ir.Node, position: int, value: ir.Value) -> None:
        """Let a node use another value, and remove what nothing needs any more."""
        old = node.inputs[position]
        node.replace_input_with(position, value)
        self._touch(node)
        if old is not None:
            self.drop(old.producer(), heir=node)

    def hoist(self, node: ir.Node, value: ir.Value) -> None:
        """Move a node right behind the value that is its only computed operand."""
        producer = value.producer()
        if producer is not None:
            self.graph.insert_after(producer, node)
        else:
            self.graph.insert_before(self.graph[0], node)

    def take_over(self, old: ir.Value, new: ir.Value) -> None:
        """Put the output of a new node in the place of a value: name, annotations and uses are its own from now on.

        The node that computed the old value goes, unless it is needed for something else.
        """
        new.meta.clear()
        new.meta.update(old.meta)
        name = old.name
        old.name = self._fresh("replaced")
        new.name = name
        self._redirect(old, new)
        self.drop(old.producer(), heir=new.producer())

    def merge_refusal(self, old: ir.Value, new: ir.Value) -> str | None:
        """Why `merge` cannot be done; None when it can.

        An old value without quantization parameters may go where the new one has some: its node only moved items.
        """
        if type_of(old) != type_of(new):
            return f"{old.name!r} has another type than {new.name!r}"
        if self.is_pinned(old) and (self.is_pinned(new) or new.producer() is None):
            return f"{old.name!r} and {new.name!r} must both stay"
        if self.is_kept(old) and len(new.uses()) > 1:
            return f"{new.name!r} is used elsewhere, too"
        if quant_of(old) != quant_of(new) and (quant_of(old) is not None or self.is_pinned(old)):
            return f"{old.name!r} is quantized in another way"
        return None

    def merge(self, old: ir.Value, new: ir.Value) -> None:
        """Put a value in the place of a later one with the same numbers; `merge_refusal` says whether it may be.

        Names and source tensors go along where they are needed. The node that computed the old value goes, and layers
        that no other node comes from pass to the node that computes the new one.
        """
        heir = self._heir(old, new)
        pinned = self.is_pinned(old)
        nameless = new.producer() is not None and source_of(new) is None and not self.is_pinned(new)
        if pinned or (nameless and source_of(old) is not None):
            old.name, new.name = self._fresh("replaced"), old.name
        if pinned or not (SOURCE in new.meta or TWIN in new.meta):
            new.meta.update({key: old.meta[key] for key in (SOURCE, TWIN) if key in old.meta})
        self._redirect(old, new)
        self.drop(old.producer(), heir)

    def drop(self, node: ir.Node | None, heir: ir.Node | None = None) -> None:
        """Remove a node and all that was computed for it alone, as far as nothing needs them.

        Args:
            node: The node; None does nothing.
            heir: Node that gets the layers which no other node comes from.
        """
        pending = [node]
        while pending:
            node = pending.pop()
            if node is None or node.graph is not self.graph or self.is_used(node):
                continue
            for position, value in enumerate(node.inputs):
                if value is not None:
                    node.replace_input_with(position, None)
                    self._touch_around(value)
                    pending.append(value.producer())
            self.graph.remove(node)
            self._bequeath(node, heir)

    def drop_unused_constants(self) -> None:
        """Remove the constants that no node uses and that need not stay."""
        used = {value for node in self.graph for value in node.inputs}
        for name, value in list(self.graph.initializers.items()):
            if value not in used and not self.is_pinned(value):
                del self.graph.initializers[name]

    def _redirect(self, old: ir.Value, new: ir.Value) -> None:
        for usage in old.uses():
            self._touch(usage.node)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        self._touch_around(new)

    def _heir(self, old: ir.Value, new: ir.Value) -> ir.Node | None:
        """The node in front, or the one behind where a cut or the start of the graph lies between."""
        if new.producer() is not None and not self.is_kept(new):
            return new.producer()
        return next((usage.node for usage in old.uses()), None) if not self.is_kept(old) else None

    def _bequeath(self, node: ir.Node, heir: ir.Node | None) -> None:
        """Note that a node is gone; the heir gets the layers that have no other node."""
        orphans = self._layers.leave(node)
        if orphans and heir is not None and heir.graph is self.graph:
            self._layers.join(heir, orphans)

    def _touch(self, node: ir.Node | None) -> None:
        if node is not None:
            self._touched[node] = None

    def _touch_around(self, value: ir.Value) -> None:
        self._touch(value.producer())
        uses = value.uses() if value.const_value is None else ()
        if len(uses) <= MAX_NEIGHBOURS:
            for usage in uses:
                self._touch(usage.node)

    def _fresh(self, stem: str) -> str:
        while True:
            self._counter += 1
            name = f"{stem}_{self._counter}"
            if name not in self._names:
                self._names.add(name)
                return name


def is_operator(node: ir.Node, *op_types: str) -> bool:
    """Whether a node is one of these operators of the default domain; any of that domain when none is given."""
    return node.domain == "" and (not op_types or node.op_type in op_types)


class _Layers:
    """Which source layers have a node.

    Nodes made from others share their tuple of layers, and tuples are counted by identity: a transpose that served
    hundreds of layers moves as cheaply as any other. Nobody else may change the layers of nodes meanwhile.
    """

    def __init__(self, nodes: Iterable[ir.Node]) -> None:
        self._nodes: dict[int, tuple[tuple[Origin, ...], int]] = {}
        self._tuples: Counter[Origin] = Counter()
        for node in nodes:
            self._enter(origins_of(node))

    def join(self, node: ir.Node, origins: Sequence[Origin]) -> None:
        """Let a node come from layers, besides those that it has; in execution order."""
        before = origins_of(node)
        if not before:
            node.meta[ORIGINS] = tuple(origins)
            self._enter(origins_of(node))
            return
        found, new = list(before), []
        for origin in origins:
            place = bisect_left(found, _order(origin), key=_order)
            if found[place : place + 1] != [origin]:
                found.insert(place, origin)
                new.append(origin)
        node.meta[ORIGINS] = together = tuple(found)
        if self._nodes[id(before)][1] == 1:
            del self._nodes[id(before)]
            self._nodes[id(together)] = (together, 1)
            self._tuples.update(new)
        else:
            self._enter(together)
            self._leave(before)

    def leave(self, node: ir.Node) -> list[Origin]:
        """Forget a node; gives the layers that have no node any more."""
        return self._leave(origins_of(node))

    def _leave(self, origins: tuple[Origin, ...]) -> list[Origin]:
        _, count = self._nodes.pop(id(origins), (origins, 0))
        if count > 1:
            self._nodes[id(origins)] = (origins, count - 1)
        if count != 1:
            return []
        self._tuples.subtract(origins)
        return [origin for origin in origins if not self._tuples[origin]]

    def _enter(self, origins: tuple[Origin, ...]) -> None:
        _, count = self._nodes.get(id(origins), (origins, 0))
        self._nodes[id(origins)] = (origins, count + 1)
        if not count:
            self._tuples.update(origins)


def _order(origin: Origin) -> tuple[int, str, str]:
    return origin.index, origin.name, origin.type


def _names(graph: ir.Graph) -> set[str]:
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    return {str(named.name) for named in (*values, *graph)}
