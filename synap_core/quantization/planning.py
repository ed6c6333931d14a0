"""Make the plan of a quantization: insert conversions, and find what shares parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from synap_core.graph.annotations import states_of
from synap_core.graph.edit import Editor
from synap_core.graph.groups import PRODUCTS, Group
from synap_core.graph.types import shape_of, type_of
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.interface import CONSTANT, WEIGHT, QuantSpec
from synap_core.quantization.masks import find_maskings
from synap_core.quantization.operators import (
    EVERYWHERE,
    NATURAL_RANGES,
    OPERANDS,
    RECURRENT,
    Interval,
    channel_axis,
    effective_bounds,
    moved_inputs,
    moves_constants,
)
from synap_core.quantization.plan import Bias, ConstantSlot, Plan, Slot
from synap_core.tensors import ASYMMETRIC_AFFINE, DYNAMIC_FIXED_POINT

FLOAT16 = "float16"
FLOAT32 = "float32"
"""Type of layers that are left as they are: they get no parameters, and keep those that they have."""

PER_CHANNEL = "perchannel_symmetric_affine"
STANDARD_MODE = "standard"

EIGHT_BITS = ("uint8", "int8")

BIAS = "bias"
"""Role of a constant that is added to a product."""


def make_plan(
    graph: ir.Model, groups: Sequence[Group], types: Mapping[str, str], *, scheme: str, mode: str = STANDARD_MODE
) -> Plan:
    """Plan the quantization of a graph.

    Args:
        graph: A normalised graph of real numbers. It is edited: Identity nodes stand for conversions where types
            change, and every constant that gets parameters is used once.
        groups: Its layers.
        types: Data type of each layer and graph input, by layer id; float32 for those that are left as they are.
        scheme: Scheme of the 8-bit types, or of a single int16 type; ``default`` for the one that fits the type.
        mode: ``standard`` leaves operators that only move numbers, between an input or output of the graph and the
            first or last layer that computes, in float16; ``full`` does not.
    """
    return _Planner(graph, groups, types, scheme, mode).run()


class _Planner:
    def __init__(
        self, graph: ir.Model, groups: Sequence[Group], types: Mapping[str, str], scheme: str, mode: str
    ) -> None:
        self._model = graph
        self._editor = Editor(graph)
        self._groups = list(groups)
        self._types = dict(types)
        self._scheme = scheme
        self._mode = mode
        self._group_of = {node: group for group in groups for node in group.nodes}
        # Where a layer computes, what it moves besides is about the layout of its operands.
        self._computing = {origin for group in groups if not _only_moves(group) for origin in group.origins}
        self._conversions: dict[tuple[str, str], ir.Node] = {}
        self._known_bounds: dict[ir.Value, Interval] = {}
        self._unread: set[ir.Value] = set()
        self._left: dict[str, QuantSpec] = {}
        self._classes = _Classes()
        self._constants: dict[str, ConstantSlot] = {}
        self._biases: dict[str, Bias] = {}

    def run(self) -> Plan:
        if self._mode == STANDARD_MODE:
            self._leave_movements()
        for group in tuple(self._groups):
            self._convert_operands(group)
        order = {node: position for position, node in enumerate(self._model.graph)}
        self._groups.sort(key=lambda group: max(order[node] for node in group.nodes))
        slots = self._slots()
        slot_of = {name: slot.key for slot in slots.values() for name in slot.values}
        for group in self._groups:
            self._constants_of(group, slot_of)
        return Plan(
            graph=self._model,
            groups=tuple(self._groups),
            types=self._types,
            slots=slots,
            constants=self._constants,
            biases=self._biases,
            left=self._left,
            slot_of=slot_of,
            maskings=find_maskings(self._model.graph),
        )

    def _type_of(self, value: ir.Value) -> str:
        """Data type of a computed tensor: that of the layer that computes it."""
        node = value.producer()
        return self._types[input_layer_id(value) if node is None else self._group_of[node].layer_id]

    def _leave_movements(self) -> None:
        """Keep what only moves numbers at the ends of the graph in float16."""
        for value in self._model.graph.inputs:
            readers = [use.node for use in value.uses()]
            if is_real(value) and readers and all(self._moves(node) for node in readers):
                self._leave(input_layer_id(value))
                self._unread.add(value)
        for node in self._model.graph:
            if self._moves(node) and self._unread.issuperset(moved_inputs(node)):
                self._leave(self._group_of[node].layer_id)
                self._unread.update(node.outputs)
        for node in reversed(self._model.graph):
            if self._moves(node) and all(self._only_goes_out(value) for value in node.outputs):
                self._leave(self._group_of[node].layer_id)

    def _leave(self, layer_id: str) -> None:
        dtype = self._types[layer_id]
        if dtype != FLOAT16:
            self._left[layer_id] = QuantSpec(dtype=dtype, scheme=self._activation_scheme(dtype))
            self._types[layer_id] = FLOAT16

    def _moves(self, node: ir.Node) -> bool:
        group = self._group_of[node]
        own = self._types[group.layer_id] != FLOAT32 and self._computing.isdisjoint(group.origins)
        return own and _only_moves(group)

    def _only_goes_out(self, value: ir.Value) -> bool:
        users = [use.node for use in value.uses()]
        if not users:
            return value.is_graph_output() or not is_real(value)
        return all(self._moves(user) and self._type_of(user.outputs[0]) == FLOAT16 for user in users)

    def _convert_operands(self, group: Group) -> None:
        wanted = self._types[group.layer_id]
        inside = set(group.nodes)
        for node in group.nodes:
            for position, value in enumerate(node.inputs):
                if value is None or value.const_value is not None or value.producer() in inside or not is_real(value):
                    continue
                if self._type_of(value) != wanted:
                    node.replace_input_with(position, self._converted(value, wanted, node))

    def _converted(self, value: ir.Value, dtype: str, reader: ir.Node) -> ir.Value:
        """The tensor in another type; one conversion serves all readers."""
        key = str(value.name), dtype
        if key in self._conversions:
            return self._conversions[key].outputs[0]
        producer = value.producer()
        before = self._model.graph[0] if producer is None else reader
        node = self._editor.insert(before, "Identity", [value], [type_of(value)], origins=[producer or reader])
        if producer is not None:
            self._editor.hoist(node, value)
        group = Group(layer_id=f"Convert_{value.name}_{dtype}", nodes=(node,), origins=())
        self._groups.append(group)
        self._group_of[node] = group
        self._types[group.layer_id] = dtype
        self._conversions[key] = node
        return node.outputs[0]

    def _slots(self) -> dict[str, Slot]:
        values = {str(value.name): value for value in self._computed()}
        for name in values:
            self._classes.add(name)
        moved = set()
        for name, value in values.items():
            node = value.producer()
            sources = () if node is None else moved_inputs(node)
            for source in sources:
                if source.name in values and self._type_of(source) == self._type_of(value):
                    self._classes.join(str(source.name), name)
                    if node is not None and not moves_constants(node):
                        moved.add(name)
        for state in states_of(self._model):
            if state.input in values and state.output in values:
                old, new = values[state.input], values[state.output]
                if self._type_of(old) == self._type_of(new):
                    self._classes.join(state.input, state.output)
        # Readers first: a chain of movements is then as deep as one of them.
        for value in reversed(values.values()):
            self._bounds(value)
        return {
            members[0]: self._slot([values[name] for name in members], moved) for members in self._classes.members()
        }

    def _computed(self) -> Iterator[ir.Value]:
        """Tensors of real numbers that exist between layers, in execution order."""
        graph = self._model.graph
        yield from (value for value in graph.inputs if self._is_planned(value))
        for node in graph:
            for value in node.outputs:
                if self._is_planned(value) and (value.is_graph_output() or not self._is_inner(value)):
                    yield value

    def _is_planned(self, value: ir.Value) -> bool:
        return is_real(value) and self._type_of(value) != FLOAT32

    def _is_inner(self, value: ir.Value) -> bool:
        """Whether a tensor exists only inside of a layer, or not at all."""
        node = value.producer()
        inside = set(self._group_of[node].nodes) if node is not None else set()
        return all(use.node in inside for use in value.uses())

    def _slot(self, values: Sequence[ir.Value], moved: set[str]) -> Slot:
        first = values[0]
        node = first.producer()
        dtype = self._type_of(first)
        observed = [value for value in values if value.name not in moved] or [first]
        fixed = {NATURAL_RANGES.get(self._last_operator(value)) for value in observed}
        bounds = _widest(self._bounds(value) for value in values)
        return Slot(
            key=str(first.name),
            spec=QuantSpec(dtype=dtype, scheme=self._activation_scheme(dtype), bounds=bounds),
            values=tuple(str(value.name) for value in values),
            observed=tuple(str(value.name) for value in observed),
            fixed=fixed.pop() if len(fixed) == 1 else None,
            layer_id=input_layer_id(first) if node is None else self._group_of[node].layer_id,
            output=0 if node is None else list(node.outputs).index(first),
        )

    def _last_operator(self, value: ir.Value) -> str:
        node = value.producer()
        return "" if node is None or node.domain or len(node.outputs) > 1 else node.op_type

    def _bounds(self, value: ir.Value) -> Interval:
        """Interval that matters to those who read a tensor."""
        if value not in self._known_bounds:
            self._known_bounds[value] = self._found_bounds(value)
        return self._known_bounds[value]

    def _found_bounds(self, value: ir.Value) -> Interval:
        if value.is_graph_output() or not value.uses():
            return EVERYWHERE
        found: list[Interval | None] = []
        for use in value.uses():
            if value in moved_inputs(use.node) and (use.idx == 0 or use.node.op_type == "Concat"):
                found += [self._moved_bounds(output) for output in use.node.outputs]
            else:
                found.append(effective_bounds(use.node, use.idx))
        return _widest([interval for interval in found if interval is not None])

    def _moved_bounds(self, output: ir.Value) -> Interval | None:
        """Interval that matters to those who read an output of a node that moves numbers; None if nobody does."""
        if is_real(output):
            return self._bounds(output)
        # Indices of the largest numbers change when those are cut to the same.
        return EVERYWHERE if output.uses() or output.is_graph_output() else None

    def _constants_of(self, group: Group, slot_of: Mapping[str, str]) -> None:
        """Give the constants that a layer uses parameters."""
        number = 0
        for node in group.nodes if self._types[group.layer_id] != FLOAT32 else ():
            for position, operand in enumerate(node.inputs):
                if operand is None or operand.const_value is None or not is_real(operand):
                    continue
                role = _role(node, position, group)
                if not role:
                    continue
                value = self._own_constant(node, position, operand)
                if role == BIAS and self._types[group.layer_id] != FLOAT16:
                    self._add_bias(group, value, slot_of)
                    continue
                axis = channel_axis(node) if role == WEIGHT and node.op_type in PRODUCTS else None
                self._add_constant(group, value, role, axis, f"{role}{number}" if role == CONSTANT else role)
                number += role == CONSTANT

    def _add_bias(self, group: Group, value: ir.Value, slot_of: Mapping[str, str]) -> None:
        data, weight = group.nodes[0].inputs[:2]
        if data is None or weight is None or data.name not in slot_of or weight.name not in self._constants:
            return
        key, shape, channel = str(value.name), shape_of(value), self._constants[str(weight.name)].spec.axis
        if channel is not None and (shape[-1:] != (shape_of(weight)[channel],) or math.prod(shape[:-1]) != 1):
            return  # Where each channel has a scale of its own, a number for several of them has none.
        self._biases[key] = Bias(
            key=key,
            data=slot_of[str(data.name)],
            weight=str(weight.name),
            axis=max(len(shape) - 1, 0),
            layer_id=group.layer_id,
        )

    def _add_constant(self, group: Group, value: ir.Value, role: str, axis: int | None, label: str) -> None:
        key = str(value.name)
        self._constants[key] = ConstantSlot(
            key=key,
            spec=self._constant_spec(self._types[group.layer_id], role, axis),
            role=WEIGHT if role == WEIGHT else CONSTANT,
            layer_id=group.layer_id,
            label=f"@{group.layer_id}:{label}",
        )

    def _own_constant(self, node: ir.Node, position: int, value: ir.Value) -> ir.Value:
        """The constant, or a copy of it when something else uses it, too."""
        if (len(value.uses()) == 1 and not value.is_graph_output()) or value.const_value is None:
            return value
        tensor = value.const_value
        copy = self._editor.constant(ir.Tensor(tensor.numpy(), dtype=tensor.dtype))
        node.replace_input_with(position, copy)
        return copy

    def _activation_scheme(self, dtype: str) -> str:
        if dtype == FLOAT16:
            return FLOAT16
        if dtype not in EIGHT_BITS:
            return DYNAMIC_FIXED_POINT
        if self._scheme == "default":
            return ASYMMETRIC_AFFINE if dtype == "uint8" else DYNAMIC_FIXED_POINT
        return ASYMMETRIC_AFFINE if self._scheme == PER_CHANNEL else self._scheme

    def _constant_spec(self, dtype: str, role: str, axis: int | None) -> QuantSpec:
        if role == WEIGHT and dtype in EIGHT_BITS and self._scheme == PER_CHANNEL and axis is not None:
            return QuantSpec(dtype=dtype, scheme=PER_CHANNEL, axis=axis)
        return QuantSpec(dtype=dtype, scheme=self._activation_scheme(dtype))


def _only_moves(group: Group) -> bool:
    node = group.nodes[0]
    return len(group.nodes) == 1 and bool(moved_inputs(node)) and is_real(node.outputs[0])


def is_real(value: ir.Value) -> bool:
    """Whether a tensor holds real numbers that can be quantized."""
    return value.dtype == ir.DataType.FLOAT


def _role(node: ir.Node, position: int, group: Group) -> str:
    """What a constant operand is to a layer; empty when it is none that gets parameters."""
    first = group.nodes[0]
    if node.domain:
        return ""
    if first.op_type in PRODUCTS and first.inputs[1] is not None and first.inputs[1].const_value is not None:
        return _role_in_product(node, position, group)
    if node.op_type in RECURRENT:
        return WEIGHT if position in (1, 2) else ""
    return CONSTANT if len(group.nodes) == 1 and node.op_type in (*OPERANDS, *PRODUCTS) else ""


def _role_in_product(node: ir.Node, position: int, group: Group) -> str:
    first = group.nodes[0]
    if node is first:
        if position == 1:
            return WEIGHT
        plain = all(node.attributes.get_float(name, 1.0) == 1 for name in ("alpha", "beta"))
        return BIAS if position == 2 and plain else ""
    added = first.op_type == "MatMul" and node is group.nodes[1] and node.op_type == "Add"
    return BIAS if added else ""


def _widest(intervals: Iterator[Interval] | Sequence[Interval]) -> Interval:
    found = list(intervals)
    return min((low for low, _ in found), default=-math.inf), max((high for _, high in found), default=math.inf)


class _Classes:
    """Names in classes that only grow together; the first name of each class, in the order they came, leads it."""

    def __init__(self) -> None:
        self._leader: dict[str, str] = {}
        self._rank: dict[str, int] = {}

    def add(self, name: str) -> None:
        self._rank[name] = len(self._rank)
        self._leader[name] = name

    def join(self, one: str, other: str) -> None:
        first, second = sorted((self._find(one), self._find(other)), key=self._rank.__getitem__)
        self._leader[second] = first

    def members(self) -> list[list[str]]:
        found: dict[str, list[str]] = {}
        for name in self._leader:
            found.setdefault(self._find(name), []).append(name)
        return list(found.values())

    def _find(self, name: str) -> str:
        while self._leader[name] != name:
            self._leader[name] = self._leader[self._leader[name]]
            name = self._leader[name]
        return name
