"""Data types of the operations of a region that are not quantized here, and of what crosses its boundaries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from synap_core.canonical.region import Region
from synap_core.graph.annotations import quant_of
from synap_core.graph.groups import Group
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.parameters import annotate, real, solve
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import FLOAT16, FLOAT32, is_real, make_plan

LARGEST_HALF = float(np.finfo(np.float16).max)

ALL_LAYERS = "full"
"""Mode in which movements have the type of what they move."""

STORED = {ir.DataType.FLOAT: FLOAT16, ir.DataType.DOUBLE: "float64"}
"""Names of element types that differ from those of the canonical graph."""


def operation_type(group: Group, types: Mapping[str, str], real_type: str = FLOAT16) -> str:
    """Data type of an operation, as delegates are asked about it.

    It is that of its output; for an output that holds no real numbers that of its first operand that does, and where
    there is none the element type of the output.

    Args:
        group: The operation.
        types: Planned data types, by layer id; float32 for what keeps the type that it has.
        real_type: Data type of real numbers that keep theirs.
    """
    planned = types.get(group.layer_id, FLOAT32)
    if planned != FLOAT32:
        return planned
    outputs = group.nodes[-1].outputs
    operands = [value for node in group.nodes for value in node.inputs if value is not None]
    real = [value for value in (*outputs, *operands) if is_real(value) and value.const_value is None]
    quant = next((quant for value in real if (quant := quant_of(value)) is not None), None)
    if quant is not None:
        return quant.dtype
    if real:
        return real_type
    dtype = outputs[0].dtype
    return "" if dtype is None else STORED.get(dtype, dtype.name.lower())


def unquantized(graph: ir.Model, groups: Sequence[Group], kept: Callable[[Group], bool], real: Collection[str]) -> Plan:
    """Plan for a graph that is not quantized here: real numbers become float16, stored integers stay as they are.

    Args:
        graph: A copy of the region's graph; is edited.
        groups: Its operations.
        kept: Whether an operation keeps its types, whatever they are: those of delegates that compute what the model
            says.
        real: Names of the graph's inputs that are float32 whatever reads them.
    """
    types = {g.layer_id: FLOAT32 if kept(g) or _is_stored(g) else FLOAT16 for g in groups}
    for value in graph.graph.inputs:
        plain = is_real(value) and quant_of(value) is None and value.name not in real
        types[input_layer_id(value)] = FLOAT16 if plain else FLOAT32
    plan = make_plan(graph, groups, types, scheme="default", mode=ALL_LAYERS)
    return _without_detours(plan, [g for g in groups if not kept(g)])


def typed(plan: Plan) -> ir.Model:
    """Copy of a plan's graph with its types; nothing in it is calibrated."""
    return annotate(plan, solve(plan, {}))


def overflowing_constants(plan: Plan) -> Iterator[str]:
    """Yield a line for each layer with constants that are no numbers, or beyond what float16 holds.

    The latter become the largest number of float16.
    """
    layers: dict[str, float] = {}
    without_numbers: dict[str, None] = {}
    for key, slot in plan.constants.items():
        sizes = np.abs(real(plan.graph.graph.initializers[key]))
        if slot.spec.dtype != FLOAT16:
            continue
        if np.isnan(sizes).any():
            without_numbers[slot.layer_id] = None
        largest = float(np.nan_to_num(sizes, nan=0.0, posinf=np.inf).max(initial=0.0))
        if largest > LARGEST_HALF:
            layers[slot.layer_id] = max(largest, layers.get(slot.layer_id, 0.0))
    for layer_id in without_numbers:
        yield f"layer '@{layer_id}' has constants that are NaN (not a number), and so is what it computes from them"
    for layer_id, largest in layers.items():
        found = "infinite constants" if np.isinf(largest) else f"constants up to {largest:g}"
        yield f"layer '@{layer_id}' has {found}, more than float16 can hold: they become {LARGEST_HALF:g}"


def float32_inputs(region: Region, native: Collection[str]) -> frozenset[str]:
    """Names of a region's inputs that are what delegates hold which compute what the model says.

    Args:
        region: The region.
        native: Ids of the tensors that such delegates read or write.
    """
    inputs = {str(value.name) for value in region.graph.graph.inputs}
    return frozenset(name for tensor, name in region.values.items() if tensor in native and name in inputs)


def _is_stored(group: Group) -> bool:
    """Whether an operation works on stored integers, or on no real numbers at all."""
    results = [value for value in group.nodes[-1].outputs if is_real(value)]
    if results:
        return any(quant_of(value) is not None for value in results)
    inside = {value for node in group.nodes for value in node.outputs}
    operands = [v for node in group.nodes for v in node.inputs if v is not None and v not in inside and is_real(v)]
    return all(quant_of(value) is not None or value.const_value is not None for value in operands)


def _without_detours(plan: Plan, groups: Iterable[Group]) -> Plan:
    """Remove conversions that stand for nothing.

    Operations that give stored integers read float16 as it is, not as float32; and one that only changes the type does
    so at once.
    """
    conversions = {g.nodes[0]: plan.types[g.layer_id] for g in plan.groups if not g.origins}
    removed: set[ir.Node] = set()
    for node in [node for g in groups for node in g.nodes]:
        for position, value in enumerate(node.inputs):
            producer = None if value is None else value.producer()
            idle = producer in conversions and (conversions[producer] == FLOAT32 or node.op_type == "Identity")
            if producer is not None and idle and producer.inputs[0] is not None:
                node.replace_input_with(position, producer.inputs[0])
                removed.add(producer)
    gone = {node for node in removed if not node.outputs[0].uses()}
    plan.graph.graph.remove(list(gone), safe=True)
    return replace(plan, groups=tuple(g for g in plan.groups if g.nodes[0] not in gone))
