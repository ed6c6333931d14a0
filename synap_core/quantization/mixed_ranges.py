"""Find tensors that put numbers of very different ranges on one scale, and say what can be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import source_of, twin_of
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.interface import Range
from synap_core.quantization.operators import moved_inputs
from synap_core.quantization.parameters import Parameters
from synap_core.quantization.plan import Plan, Slot
from synap_core.quantization.report import quoted
from synap_core.quantization.schemes import params_of
from synap_core.source import SourceModel
from synap_core.tensors import QuantParams

FEWEST_STEPS = 16
"""Steps that the numbers of a tensor need to be told apart: 4 of 8 bits."""

EIGHT_BITS = ("uint8", "int8")

MAX_LISTED = 4
"""Parts that a warning names at the most."""

Extents = Mapping[str, tuple[float, float]]


def mixed_ranges(
    plan: Plan, extents: Extents, parameters: Parameters, source: SourceModel | None = None
) -> tuple[list[str], list[str]]:
    """Tell of tensors in which one part gets, or would get, so coarse a scale from another that little of it is left.

    Args:
        plan: What is quantized, and how.
        extents: Smallest and largest number of each observed value, by its name.
        parameters: The parameters.
        source: The model, for the names of its tensors.

    Returns:
        A line for each layer that joins such parts, with advice: warnings of those whose tensor has 8 bits, and notes
        on those that the plan leaves in float16 at the end of the graph, where only another mode loses anything.
    """
    finder = _Finder(plan, extents, source)
    warnings: list[str] = []
    for slot in plan.slots.values():
        quant = parameters.activations.get(slot.key)
        if slot.spec.dtype in EIGHT_BITS and quant is not None:
            warnings += finder.lossy(slot, _step(quant))
    return warnings, [line for slot in plan.slots.values() for line in finder.spared(slot)]


def _step(quant: QuantParams) -> float:
    return quant.scale[0] if quant.fractional_length is None else 2.0**-quant.fractional_length


@dataclass(frozen=True, slots=True)
class _Part:
    label: str
    low: float
    high: float
    steps: float

    def __str__(self) -> str:
        return f"{self.label} ({self.low:.4g} to {self.high:.4g}: {self.steps:.3g} steps)"


@dataclass(frozen=True, slots=True)
class _Mixture:
    """Parts that are too different for one scale.

    Attributes:
        node: Joins them.
        step: Step of the scale.
        parts: All parts, by name.
        narrow: Names of those that keep too few steps.
    """

    node: ir.Node
    step: float
    parts: Mapping[str, _Part]
    narrow: tuple[str, ...]

    def __str__(self) -> str:
        narrow = [self.parts[name] for name in self.narrow]
        lost = ", ".join(part.label for part in narrow[:MAX_LISTED])
        more = f" and {len(narrow) - MAX_LISTED} more" if len(narrow) > MAX_LISTED else ""
        shown = [max(self.parts.values(), key=lambda part: part.steps), *narrow[:MAX_LISTED]]
        return f"steps of {self.step:.4g}, which leaves too little of {lost}{more}: {', '.join(map(str, shown))}"


class _Finder:
    def __init__(self, plan: Plan, extents: Extents, source: SourceModel | None) -> None:
        self._plan = plan
        self._extents = extents
        self._source = source
        self._group_of = {node: group for group in plan.groups for node in group.nodes}
        self._values = {str(value.name): value for value in plan.graph.graph.inputs}
        self._values |= {str(value.name): value for node in plan.graph.graph for value in node.outputs}
        self._order = {name: position for position, name in enumerate(self._values)}
        self._told: set[ir.Node] = set()
        self._parts: dict[str, set[str]] = {}
        self._join: dict[str, ir.Node] = {}
        self._find_parts()

    def lossy(self, slot: Slot, step: float) -> Iterator[str]:
        """Yield a line for each layer that is the first to join a part with one that is too wide for it."""
        told: set[str] = set()
        for node, names in self._joins(slot):
            mixture = self._mixture(node, names, step)
            if mixture is None or told.issuperset(mixture.narrow) or node in self._told:
                continue
            told.update(mixture.narrow)
            self._told.add(node)
            layer_id = self._group_of[node].layer_id
            yield (
                f"layer '@{layer_id}' puts numbers of very different ranges on one {slot.spec.dtype} scale with "
                f"{mixture}; {self._cut(node)}use more bits from there on: "
                f"{self._types(node, slot.spec.dtype, 'int16')} (or float16)"
            )

    def spared(self, slot: Slot) -> Iterator[str]:
        """Yield a line for each layer that would, if the plan did not leave it in float16."""
        told: set[str] = set()
        for node, names in self._joins(slot):
            layer_id = self._group_of[node].layer_id
            spec = self._plan.left.get(layer_id)
            if spec is None or spec.dtype not in EIGHT_BITS or node in self._told or not names:
                continue
            low, high = zip(*(self._extents[name] for name in names), strict=True)
            ends = Range(low=np.asarray(min(low), np.float64), high=np.asarray(max(high), np.float64))
            mixture = self._mixture(node, names, _step(params_of(spec, ends)))
            if mixture is None or told.issuperset(mixture.narrow):
                continue
            told.update(mixture.narrow)
            yield (
                f"layer '@{layer_id}' joins numbers of very different ranges; nothing is lost, because mode 'standard' "
                f"leaves it in float16, but one {spec.dtype} scale, as with 'mode: full', has {mixture}; "
                f"{self._cut(node)}keep it so in any mode: {self._types(node, spec.dtype, 'float16')} (or int16)"
            )

    def _find_parts(self) -> None:
        """Find what each tensor is made of, and the last node that put it together, across conversions."""
        for name in self._values:
            value = self._values[name]
            node = value.producer()
            moved = () if node is None else tuple(dict.fromkeys(str(v.name) for v in moved_inputs(node)))
            found = {part for one in moved for part in self._parts[one]}
            joins = [self._join[one] for one in moved if one in self._join]
            if node is not None and len(moved) > 1:
                joins = [node]
            if joins:
                self._join[name] = joins[0]
            slot = self._plan.slot_of.get(name)
            known = slot is not None and name in self._plan.slots[slot].observed and name in self._extents
            # A conversion has the numbers of what it converts.
            if known and not (found and self._is_conversion(node)):
                found.add(name)
            self._parts[name] = found

    def _is_conversion(self, node: ir.Node | None) -> bool:
        return node is not None and node.op_type == "Identity" and not self._group_of[node].origins

    def _joins(self, slot: Slot) -> Iterator[tuple[ir.Node, set[str]]]:
        """Nodes that put several tensors together, in a slot or in front of a conversion to it, and their parts."""
        members = set(slot.values)
        for node in self._plan.graph.graph:
            if not any(value.name in members for value in node.outputs):
                continue
            inputs = dict.fromkeys(str(value.name) for value in moved_inputs(node))
            found = {part for name in inputs for part in self._parts[name]}
            if len(inputs) > 1:
                yield node, found
            elif self._is_conversion(node) and inputs.keys() & self._join.keys():
                yield self._join[next(iter(inputs))], found

    def _mixture(self, node: ir.Node, names: set[str], step: float) -> _Mixture | None:
        """What a scale does to parts; None if it leaves enough of all, or of none."""
        parts = {name: self._part(name, step) for name in sorted(names, key=self._order.__getitem__)}
        narrow = tuple(name for name, part in parts.items() if 0 < part.steps < FEWEST_STEPS)
        mixed = narrow and any(part.steps >= FEWEST_STEPS for part in parts.values())
        return _Mixture(node, step, parts, narrow) if mixed else None

    def _part(self, name: str, step: float) -> _Part:
        low, high = self._extents[name]
        # A constant keeps what it is worth, not how much it varies.
        span = high - low if high > low else max(abs(low), abs(high))
        return _Part(self._label(self._values[name]), low, high, span / step)

    def _label(self, value: ir.Value) -> str:
        value = self._unconverted(value)
        node = value.producer()
        if node is None:
            return f"@{input_layer_id(value)}:out0"
        return f"@{self._group_of[node].layer_id}:out{list(node.outputs).index(value)}"

    def _types(self, node: ir.Node, base: str, other: str) -> str:
        """Data types for the metafile that give a layer, and all behind it, another type."""
        layer_id = self._group_of[node].layer_id
        tail = f", {quoted(f'@{layer_id}...')}: {other}" if self._has_layers_behind(node) else ""
        return f"'data_type: {{'*': {base}, {quoted('@' + layer_id)}: {other}{tail}}}'"

    def _has_layers_behind(self, node: ir.Node) -> bool:
        return any(self._group_of[other].origins for other in self._behind(node) - {node})

    def _behind(self, start: ir.Node) -> set[ir.Node]:
        found, pending = {start}, [start]
        while pending:
            for value in pending.pop().outputs:
                new = {use.node for use in value.uses()} - found
                found |= new
                pending += new
        return found

    def _cut(self, node: ir.Node) -> str:
        """Advice to cut in front of a node; empty when it cannot be done, or when the tensors have no name."""
        behind = self._behind(node)
        others = [value for value in self._plan.graph.graph.outputs if value.producer() not in behind]
        values = [value for value in node.inputs if value is not None and value.const_value is None]
        names = [self._tensor(value) for value in (*values, *others)]
        if not all(names) or any(self._unconverted(value).is_graph_input() for value in values):
            return ""
        listed = ", ".join(f"{{name: {quoted(name)}}}" for name in dict.fromkeys(names))
        return f"cut the model in front of it: 'outputs: [{listed}]', or "

    def _tensor(self, value: ir.Value) -> str:
        """Name of the source tensor that a value is; empty when it is none."""
        value = self._unconverted(value)
        twin = twin_of(value)
        tensor = source_of(value) or ("" if twin is None else twin.source)
        known = None if self._source is None else self._source.tensors.get(tensor)
        return tensor if known is None else known.name

    def _unconverted(self, value: ir.Value) -> ir.Value:
        """What a conversion reads; a value that is no conversion as it is."""
        node = value.producer()
        while self._is_conversion(node) and node is not None and node.inputs[0] is not None:
            value = node.inputs[0]
            node = value.producer()
        return value
