"""Numbers that float16 cannot hold: which layers have them, and what helps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from synap_core.quantization.noise import layers_of
from synap_core.quantization.plan import Plan, Slot

FLOAT16 = "float16"

LARGEST = 65_504.0
"""Largest finite number of float16."""

SMALLEST_NORMAL = 2.0**-14
"""Smallest number that has all digits of float16; what is smaller has fewer, the smaller the fewer."""

ROUNDED_TO_ZERO = 2.0**-25
"""Largest number that becomes zero: half of the smallest one above zero."""

SMALLEST_FOR_INTEGERS = 2.0**-126 * 255
"""Largest number of a tensor whose integers of 8 bits have the smallest possible scale."""

MAX_NAMED = 3
"""Layers that one warning names at the most; ids are long."""


def float16_warnings(plan: Plan, extents: Mapping[str, tuple[float, float]]) -> list[str]:
    """A line for each tensor in float16 whose numbers are too large for that, or all too small.

    Args:
        plan: The plan.
        extents: Smallest and largest number of each value that was observed, by its name.

    Returns:
        Lines that name layers as a metafile can: in place of a conversion, those that read what it converts.
    """
    conversions = {layer.layer_id for layer in layers_of(plan) if layer.conversion}
    lines = []
    for slot in plan.slots.values():
        seen = [extents[name] for name in slot.observed if name in extents]
        reached = max((max(-low, high) for low, high in seen), default=0.0)
        problem = _problem(reached) if slot.spec.dtype == FLOAT16 else ""
        if problem:
            readers = list(dict.fromkeys(_readers(plan, slot, conversions)))
            computed = slot.layer_id not in conversions
            subject = f"layer '@{slot.layer_id}'" if computed else f"what {_listed('layer', readers)} reads"
            layers = dict.fromkeys([slot.layer_id, *readers] if computed else readers)
            lines.append(f"{subject} is kept in float16, {problem}; {_advice(plan, list(layers), reached)}")
    return lines


def _problem(reached: float) -> str:
    """What becomes of numbers that reach this magnitude; empty when float16 can hold them."""
    if reached > LARGEST:
        return f"whose largest number is {LARGEST:g}, but reaches {reached:g} and becomes infinite"
    if 0 < reached < SMALLEST_NORMAL:
        lost = "becomes zero" if reached <= ROUNDED_TO_ZERO else "loses digits"
        return f"which has all its digits from {SMALLEST_NORMAL:.2g} on, but reaches only {reached:.2g} and {lost}"
    return ""


def _readers(plan: Plan, slot: Slot, conversions: Collection[str]) -> Iterator[str]:
    """Layers that read a tensor in float16."""
    for group in plan.groups:
        reads = {value.name for node in group.nodes for value in node.inputs if value is not None}
        in_float16 = plan.types[group.layer_id] == FLOAT16 and group.layer_id not in conversions
        if in_float16 and not reads.isdisjoint(slot.values):
            yield group.layer_id


def _advice(plan: Plan, layers: Collection[str], reached: float) -> str:
    """What gives the tensor another type: all layers that compute or read it need one."""
    if 0 < reached < SMALLEST_FOR_INTEGERS:
        return "no data_type has numbers that small: scale those of the model"
    # What is in float16 because of the mode stays so whatever type it is given.
    asked = [layer for layer in layers if layer not in plan.left]
    parts = [f"give {'it' if len(layers) == 1 else _listed('', asked)} another data_type"] if asked else []
    if len(asked) < len(layers):
        parts.append("use 'mode: full'")
    return " and ".join(parts)


def _listed(kind: str, layers: Collection[str]) -> str:
    named = [f"'@{layer}'" for layer in list(layers)[:MAX_NAMED]]
    more = len(layers) - len(named)
    names = [*named, *([f"{more} more"] if more else [])]
    words = " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])
    return f"{kind}{'' if len(layers) == 1 else 's'} {words}" if kind else words
