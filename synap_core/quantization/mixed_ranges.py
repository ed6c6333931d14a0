"""Find tensors that put numbers of very different ranges on one scale, and say what can be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.graph.annotations import source_of, twin_of
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.parameters import Parameters
from synap_core.quantization.plan import Plan, Slot
from synap_core.quantization.report import quoted
from synap_core.source import SourceModel
from synap_core.tensors import QuantParams

FEWEST_STEPS = 16
"""Steps that the numbers of a tensor need to be told apart: 4 of 8 bits."""

EIGHT_BITS = ("uint8", "int8")

MAX_LISTED = 4
"""Parts that a warning names at the most."""

Extents = Mapping[str, tuple[float, float]]


def mixed_range_warnings(
    plan: Plan, extents: Extents, parameters: Parameters, source: SourceModel | None = None
) -> list[str]:
    """Warn of 8-bit tensors in which one part gets so coarse a scale from another one that little of it is left.

    Args:
        plan: What is quantized, and how.
        extents: Smallest and largest number of each observed value, by its name.
        parameters: The parameters.
        source: The model, for the names of its tensors.

    Returns:
        A line for each layer that joins such parts, with advice.
    """
    finder = _Finder(plan, extents, source)
    lines: list[str] = []
    for slot in plan.slots.values():
        quant = parameters.activations.get(slot.key)
        if slot.spec.dtype in EIGHT_BITS and len(slot.observed) > 1 and quant is not None:
            lines += finder.warnings(slot, _step(quant))
    return lines


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


class _Finder:
    def __init__(self, plan: Plan, extents: Extents, source: SourceModel | None) -> None:
        self._plan = plan
        self._extents = extents
        self._source = source
        self._group_of = {node: group for group in plan.groups for node in group.nodes}
        self._values = {str(value.name): value for value in plan.graph.graph.inputs}
        self._values |= {str(value.name): value for node in plan.graph.graph for value in node.outputs}

    def warnings(self, slot: Slot, step: float) -> Iterator[str]:
        """Yield a line for each layer that is the first to join a part with one that is too wide for it."""
        told: set[str] = set()
        for node, names in self._joins(slot):
            parts = {name: self._part(name, step) for name in sorted(names, key=list(slot.observed).index)}
            narrow = {name for name, part in parts.items() if 0 < part.steps < FEWEST_STEPS}
            if narrow - told and any(part.steps >= FEWEST_STEPS for part in parts.values()):
                told |= narrow
                yield self._warning(
                    node, slot, step, [*parts.values()], [parts[name] for name in parts if name in narrow]
                )

    def _joins(self, slot: Slot) -> Iterator[tuple[ir.Node, set[str]]]:
        """Nodes that put several tensors of a slot together, and the observed values that come together there."""
        members = set(slot.values)
        origins = {name: {name} & self._extents.keys() for name in slot.observed}
        for node in self._plan.graph.graph:
            inputs = [str(value.name) for value in node.inputs if value is not None and value.name in members]
            found = {name for read in inputs for name in origins.get(read, ())}
            for value in node.outputs:
                if value.name in members:
                    origins[str(value.name)] = origins.get(str(value.name), set()) | found
                    if len(set(inputs)) > 1:
                        yield node, found

    def _part(self, name: str, step: float) -> _Part:
        low, high = self._extents[name]
        # A constant keeps what it is worth, not how much it varies.
        span = high - low if high > low else max(abs(low), abs(high))
        return _Part(self._label(name), low, high, span / step)

    def _label(self, name: str) -> str:
        value = self._values[name]
        node = value.producer()
        if node is None:
            return f"@{input_layer_id(value)}:out0"
        return f"@{self._group_of[node].layer_id}:out{list(node.outputs).index(value)}"

    def _warning(self, node: ir.Node, slot: Slot, step: float, parts: list[_Part], narrow: list[_Part]) -> str:
        layer_id = self._group_of[node].layer_id
        lost = ", ".join(part.label for part in narrow[:MAX_LISTED])
        more = f" and {len(narrow) - MAX_LISTED} more" if len(narrow) > MAX_LISTED else ""
        shown = [max(parts, key=lambda part: part.steps), *narrow[:MAX_LISTED]]
        text = (
            f"layer '@{layer_id}' puts numbers of very different ranges on one {slot.spec.dtype} scale with steps of "
            f"{step:.4g}, which leaves too little of {lost}{more}: {', '.join(map(str, shown))}"
        )
        behind = self._behind(node)
        tail = quoted(f"@{layer_id}...")
        types = (
            f"'*': {slot.spec.dtype}, {quoted('@' + layer_id)}: int16{f', {tail}: int16' if len(behind) > 1 else ''}"
        )
        return f"{text}; {self._cut(node, behind)}use more bits from there on: 'data_type: {{{types}}}' (or float16)"

    def _behind(self, start: ir.Node) -> set[ir.Node]:
        found, pending = {start}, [start]
        while pending:
            for value in pending.pop().outputs:
                new = {use.node for use in value.uses()} - found
                found |= new
                pending += new
        return found

    def _cut(self, node: ir.Node, behind: set[ir.Node]) -> str:
        """Advice to cut in front of a node; empty when it cannot be done, or when the tensors have no name."""
        others = [value for value in self._plan.graph.graph.outputs if value.producer() not in behind]
        values = [value for value in node.inputs if value is not None and value.const_value is None]
        names = [self._tensor(value) for value in (*values, *others)]
        if not all(names) or any(value.is_graph_input() for value in values):
            return ""
        listed = ", ".join(f"{{name: {quoted(name)}}}" for name in dict.fromkeys(names))
        return f"cut the model in front of it: 'outputs: [{listed}]', or "

    def _tensor(self, value: ir.Value) -> str:
        """Name of the source tensor that a value is; empty when it is none."""
        node = value.producer()
        if node is not None and not self._group_of[node].origins and node.inputs[0] is not None:
            return self._tensor(node.inputs[0])
        twin = twin_of(value)
        tensor = source_of(value) or ("" if twin is None else twin.source)
        known = None if self._source is None else self._source.tensors.get(tensor)
        return tensor if known is None else known.name
