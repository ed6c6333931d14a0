"""Where the noise at the outputs of a quantized graph comes from, and which layers to raise against it.

Noise of independent sources adds up in power. A layer's constants are a source that goes when the layer gets more bits.
The rounding of a tensor between layers only goes when all layers that compute or read it get more bits: otherwise a
conversion rounds it for the one that has not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from synap_core.graph.annotations import set_quant
from synap_core.graph.groups import Group
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.metrics import Candidate, Comparer, Errors
from synap_core.quantization.operators import moved_inputs
from synap_core.quantization.parameters import Parameters, annotate
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import is_real

LADDER = ("int16", "float16")
"""Data types that layers are raised to, in this order."""

RANKS = {"uint8": 0, "int8": 0, "int16": 1, "float16": 2}

LAYERS_AT_A_TIME = 4
"""Layers whose graphs are in memory at the same time; more would save runs of the reference, which they share."""


SMALLEST = 1e-300
"""Stands for zero in quotients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer or graph input whose tensors are quantized.

    Attributes:
        layer_id: Its id.
        dtype: Its data type.
        group: Its nodes; None for a graph input.
        values: Names of the quantized tensors that it gives.
        conversion: It only changes the type; no metafile can name it.
    """

    layer_id: str
    dtype: str
    group: Group | None
    values: tuple[str, ...]
    conversion: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """What happens when one layer is quantized, and nothing else.

    Attributes:
        local: Errors of the layer's own tensors; its inputs are exact.
        damage: Errors of each output of the graph, by name.
        by_constants: The same with only the constants of the layer quantized; None when not measured.
    """

    local: Errors
    damage: Mapping[str, Errors]
    by_constants: Mapping[str, Errors] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source of noise.

    Attributes:
        owners: Layers that must all be raised to make it go; not empty.
        noise: Noise that it causes at each output of the graph, by name.
    """

    owners: frozenset[str]
    noise: Mapping[str, float]


def layers_of(plan: Plan) -> list[Layer]:
    """Graph inputs and layers that give quantized tensors, in execution order."""
    inputs = [(input_layer_id(value), None, (value,)) for value in plan.graph.graph.inputs]
    groups = [(g.layer_id, g, tuple(v for node in g.nodes for v in node.outputs)) for g in plan.groups]
    found = []
    for layer_id, group, values in (*inputs, *groups):
        names = tuple(str(value.name) for value in values if value.name in plan.slot_of)
        if names and layer_id in plan.types:
            conversion = group is not None and not group.origins and group.layer_id.startswith("Convert_")
            found.append(
                Layer(layer_id=layer_id, dtype=plan.types[layer_id], group=group, values=names, conversion=conversion)
            )
    return found


def outputs_of(plan: Plan) -> tuple[str, ...]:
    """Names of the outputs of real numbers; of all outputs when there are none."""
    outputs = plan.graph.graph.outputs
    return tuple(str(value.name) for value in outputs if is_real(value)) or tuple(str(v.name) for v in outputs)


def quantized_alone(
    plan: Plan, parameters: Parameters, comparer: Comparer, layers: Sequence[Layer]
) -> dict[str, Alone]:
    """Quantize layers one by one.

    Args:
        plan: What is quantized.
        parameters: How it is quantized.
        comparer: Its reference is the graph of the plan.
        layers: Which layers.

    Returns:
        What each of them does, by its id.
    """
    outputs = outputs_of(plan)
    found = {}
    for some in _batches(layers):
        candidates = [_alone(plan, parameters, layer, outputs) for layer in some]
        for layer, errors in zip(some, comparer.measure(candidates), strict=True):
            local = Errors()
            for name in layer.values:
                local.add(errors[name])
            found[layer.layer_id] = Alone(local=local, damage={name: errors[name] for name in outputs})
    return found


def split_off_constants(
    plan: Plan, parameters: Parameters, comparer: Comparer, alone: Mapping[str, Alone], allowed: Mapping[str, float]
) -> dict[str, Alone]:
    """Tell the damage by the constants of layers from that by the rounding of what they compute.

    Args:
        plan: What is quantized.
        parameters: How it is quantized.
        comparer: Its reference is the graph of the plan.
        alone: What each layer does, by its id.
        allowed: Noise that each output may have, by name. Layers that together make less than half of it are left as
            they are.
    """
    outputs = outputs_of(plan)
    owners = {slot.layer_id for slot in plan.constants.values()} | {bias.layer_id for bias in plan.biases.values()}
    layers = [
        layer
        for layer in layers_of(plan)
        if layer.layer_id in owners
        and layer.layer_id in alone
        and any(alone[layer.layer_id].damage[name].noise > allowed[name] / (2 * len(alone)) for name in outputs)
    ]
    found = dict(alone)
    for some in _batches(layers):
        candidates = [_constants_alone(plan, parameters, layer, outputs) for layer in some]
        for layer, errors in zip(some, comparer.measure(candidates), strict=True):
            found[layer.layer_id] = replace(alone[layer.layer_id], by_constants=errors)
    return found


def _batches(layers: Sequence[Layer]) -> Iterator[Sequence[Layer]]:
    return (layers[start : start + LAYERS_AT_A_TIME] for start in range(0, len(layers), LAYERS_AT_A_TIME))


def _alone(plan: Plan, parameters: Parameters, layer: Layer, outputs: tuple[str, ...]) -> Candidate:
    model = annotate(plan, parameters, [layer.layer_id])
    return Candidate(model=model, names=tuple(dict.fromkeys((*layer.values, *outputs))))


def _constants_alone(plan: Plan, parameters: Parameters, layer: Layer, outputs: tuple[str, ...]) -> Candidate:
    model = annotate(plan, parameters, [layer.layer_id])
    for value in _computed(model):
        set_quant(value, None)
    return Candidate(model=model, names=outputs)


class Raise:
    """What raising layers of a plan to a data type does.

    Args:
        plan: The plan before.
        dtype: The data type, of `LADDER`.
    """

    def __init__(self, plan: Plan, dtype: str) -> None:
        self._plan = plan
        self.dtype = dtype
        self.layers = {layer.layer_id: layer for layer in layers_of(plan)}
        self.candidates = tuple(
            layer.layer_id
            for layer in self.layers.values()
            if not layer.conversion and RANKS[layer.dtype] < RANKS[dtype]
        )
        self._parties = self._find_parties()

    def _find_parties(self) -> dict[str, frozenset[str]]:
        """Layers, of those that may be raised, that compute or read each tensor which they have rounded."""
        layer_of = {id(node): group.layer_id for group in self._plan.groups for node in group.nodes}
        raisable = set(self.candidates)
        found = {}
        for value in _computed(self._plan.graph):
            name = str(value.name)
            slot = self._plan.slot_of.get(name)
            if slot is None or RANKS[self._plan.slots[slot].spec.dtype] >= RANKS[self.dtype]:
                continue
            node = value.producer()
            parties = {input_layer_id(value) if node is None else layer_of[id(node)]}
            parties |= {layer_of[id(use.node)] for use in value.uses()}
            if parties & raisable:
                found[name] = frozenset(parties & raisable)
        return found

    def sources(self, alone: Mapping[str, Alone]) -> list[Source]:
        """Sources of noise that raising can make go.

        Args:
            alone: What each layer does alone, by its id.
        """
        outputs = outputs_of(self._plan)
        chains: dict[str, tuple[set[str], dict[str, float]]] = {}
        found = []
        for layer_id, layer in self.layers.items():
            if layer_id not in alone:
                continue
            constants = alone[layer_id].by_constants
            if constants is not None and layer_id in self.candidates:
                found.append(
                    Source(owners=frozenset({layer_id}), noise={name: constants[name].noise for name in outputs})
                )
            owners, noise = chains.setdefault(self._leader(layer), (set(), dict.fromkeys(outputs, 0.0)))
            for name in layer.values:
                owners |= self._parties.get(name, frozenset())
            for name in outputs:
                own = alone[layer_id].damage[name].noise - (0.0 if constants is None else constants[name].noise)
                # The layers of a chain round the same numbers to the same steps: only the first one makes noise.
                noise[name] = max(noise[name], own)
        found += [Source(owners=frozenset(owners), noise=noise) for owners, noise in chains.values() if owners]
        return found

    def _leader(self, layer: Layer) -> str:
        """The layer whose numbers a layer only moves, with the same parameters; the layer itself if it computes."""
        while layer.group is not None and len(layer.group.nodes) == 1 and layer.values:
            moved = moved_inputs(layer.group.nodes[0])
            slots = self._plan.slot_of
            if len(moved) != 1 or slots.get(str(moved[0].name)) != slots[layer.values[0]]:
                break
            name = str(moved[0].name)
            layer = next(other for other in self.layers.values() if name in other.values)
        return layer.layer_id

    def model(self, parameters: Parameters, raised: Collection[str]) -> ir.Model:
        """The quantized graph as it is likely to be with layers raised: what they compute is taken as exact."""
        kept = [layer_id for layer_id in self._plan.types if layer_id not in raised]
        model = annotate(self._plan, parameters, kept)
        for value in _computed(model):
            parties = self._parties.get(str(value.name))
            if parties is not None:
                slot = self._plan.slot_of[str(value.name)]
                set_quant(value, None if parties.issubset(raised) else parameters.activations[slot])
        return model


def choose(
    sources: Sequence[Source],
    costs: Mapping[str, float],
    allowed: Mapping[str, float],
    remaining: Mapping[str, float],
    raised: Collection[str] = (),
) -> Iterator[frozenset[str]]:
    """Choose layers to raise, those first that take away most noise for their cost.

    Args:
        sources: Sources of noise.
        costs: Cost of raising each layer; others are not raised.
        allowed: Noise that each output may have, by name.
        remaining: Noise that each output has with the layers in ``raised``, by name.
        raised: Layers that are raised already.

    Yields:
        Layers to raise together next, until all outputs are predicted to have no more noise than they may, or until
        nothing helps any more.
    """
    raised, remaining = set(raised), dict(remaining)
    touching: dict[str, list[Source]] = {}
    for source in sources:
        for owner in source.owners:
            touching.setdefault(owner, []).append(source)
    found = dict.fromkeys([*(frozenset({name}) for name in costs), *(source.owners for source in sources)])
    moves = [move for move in found if move.issubset(costs)]
    while failing := [name for name, noise in remaining.items() if noise > allowed[name]]:
        best, best_ratio = frozenset[str](), 0.0
        for move in moves:
            new = move - raised
            gone = _gone(touching, raised, new)
            # More than is needed counts for nothing: the last layer shall be a cheap one.
            gain = sum(
                min(sum(source.noise[name] for source in gone), remaining[name] - allowed[name])
                / max(allowed[name], SMALLEST)
                for name in failing
            )
            ratio = gain / max(sum(costs[layer] for layer in new), SMALLEST)
            if new and ratio > best_ratio:
                best, best_ratio = new, ratio
        if not best:
            return
        for source in _gone(touching, raised, best):
            for name in remaining:
                remaining[name] -= source.noise[name]
        raised |= best
        yield best


def _gone(touching: Mapping[str, list[Source]], raised: Collection[str], new: Collection[str]) -> list[Source]:
    """Sources that go when further layers are raised."""
    found = {id(source): source for layer in new for source in touching.get(layer, ())}
    return [s for s in found.values() if all(owner in new or owner in raised for owner in s.owners)]


def _computed(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    for node in model.graph:
        yield from node.outputs
