"""Reports of a quantization: the parameters of every tensor, and how much each of them changes its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from synap_core.errors import one_line
from synap_core.graph.groups import Group
from synap_core.graph.types import shape_of
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.interface import QuantSpec
from synap_core.quantization.parameters import Parameters
from synap_core.quantization.plan import Plan, Slot
from synap_core.tensors import QuantParams

HEADER = """\
# Quantization of the tensors of the converted model, in execution order.
# A key is '@<layer id>:<tensor>'; '@<layer id>' in the metafile's quantization data_type means that layer.
# min and max are the real numbers that are covered; a number is scale * (integer - zero_point), or integer / 2**fl.
"""

LONGEST_KEY = 1000
"""Characters of a key that needs no mark; YAML allows 1024, quotes included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A tensor that is quantized.

    Attributes:
        label: Name in reports; unique.
        layer_id: Layer that computes or uses it.
        sources: Names of the source layers of that.
        key: Key of its parameters.
        shape: Its shape.
        spec: How it is quantized; None for a bias.
        fixed: Range that holds whatever the data.
    """

    label: str
    layer_id: str
    sources: tuple[str, ...]
    key: str
    shape: tuple[int, ...]
    spec: QuantSpec | None
    fixed: tuple[float, float] | None = None


def quantization_info(plan: Plan, parameters: Parameters) -> str:
    """Write the parameters of every tensor as YAML: weights, constants and biases of a layer, then its outputs."""
    lines = [HEADER]
    for tensor in _tensors(plan):
        fields = [f"{name}: {value}\n" for name, value in _fields(tensor, parameters)]
        key = quoted(tensor.label)
        if len(key) > LONGEST_KEY:
            lines += [f"? {key}\n", ": ", "  ".join(fields)]
        else:
            lines += [f"{key}:\n", *(f"  {field}" for field in fields)]
    return "".join(lines)


def quantization_entropy(plan: Plan, parameters: Parameters) -> str:
    """Write how much quantizing changes the distribution of each tensor, where that is known.

    Returns:
        Lines ``@<layer id>:<tensor>, <value>`` in execution order; values are from 0 (not at all) to 1.
    """
    lines = []
    for tensor in _tensors(plan):
        found = parameters.ranges.get(tensor.key)
        if found is not None and found.divergence is not None:
            lines.append(f"{one_line(tensor.label)}, {min(max(found.divergence, 0.0), 1.0):.6f}\n")
    return "".join(lines)


def quoted(text: str) -> str:
    """Write a text as a YAML scalar in quotes, on one line."""
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


def _tensors(plan: Plan) -> Iterator[_Tensor]:
    """Tensors that get parameters, in execution order, each with a name of its own."""
    used: set[str] = set()
    for tensor in _all_tensors(plan):
        label, number = tensor.label, 1
        while label in used:
            number += 1
            label = f"{tensor.label}.{number}"
        used.add(label)
        yield replace(tensor, label=label)


def _all_tensors(plan: Plan) -> Iterator[_Tensor]:
    slot_of = {name: slot for slot in plan.slots.values() for name in slot.values}
    for value in plan.graph.graph.inputs:
        if slot := slot_of.get(str(value.name)):
            yield _output(slot, input_layer_id(value), 0, shape_of(value))
    operands = _operands_by_layer(plan)
    for group in plan.groups:
        yield from operands.get(group.layer_id, ())
        # The last node comes first: the outputs of the layer are its.
        for node in reversed(group.nodes):
            for position, value in enumerate(node.outputs):
                if slot := slot_of.get(str(value.name)):
                    yield _output(slot, group.layer_id, position, shape_of(value), _sources(group))


def _output(slot: Slot, layer_id: str, position: int, shape: tuple[int, ...], sources: tuple[str, ...] = ()) -> _Tensor:
    return _Tensor(
        label=f"@{layer_id}:out{position}",
        layer_id=layer_id,
        sources=sources,
        key=slot.key,
        shape=shape,
        spec=slot.spec,
        fixed=slot.fixed,
    )


def _operands_by_layer(plan: Plan) -> Mapping[str, list[_Tensor]]:
    groups = {group.layer_id: group for group in plan.groups}
    values = plan.graph.graph.initializers
    named: list[tuple[str, str, str, QuantSpec | None]] = [
        (slot.layer_id, slot.label, slot.key, slot.spec) for slot in plan.constants.values()
    ]
    named += [(bias.layer_id, f"@{bias.layer_id}:bias", bias.key, None) for bias in plan.biases.values()]
    found: dict[str, list[_Tensor]] = {}
    for layer_id, label, key, spec in named:
        tensor = _Tensor(
            label=label,
            layer_id=layer_id,
            sources=_sources(groups[layer_id]),
            key=key,
            shape=shape_of(values[key]),
            spec=spec,
        )
        found.setdefault(layer_id, []).append(tensor)
    return found


def _sources(group: Group) -> tuple[str, ...]:
    return tuple(origin.name for origin in group.origins)


def _fields(tensor: _Tensor, parameters: Parameters) -> Iterator[tuple[str, str]]:
    """Yield (name, value as YAML)."""
    stored = parameters.constants.get(tensor.key)
    quant = parameters.activations.get(tensor.key) if stored is None else stored.quant
    yield "layer", quoted(tensor.layer_id)
    yield "source", _listed(quoted(name) for name in tensor.sources)
    if quant is not None:
        yield "dtype", quant.dtype
        yield "scheme", quant.scheme
    elif tensor.spec is not None:
        yield "dtype", tensor.spec.dtype
        yield "scheme", tensor.spec.scheme
    yield "shape", _listed(map(str, tensor.shape))
    found = parameters.ranges.get(tensor.key)
    if tensor.fixed is not None:
        yield "min", _number(tensor.fixed[0])
        yield "max", _number(tensor.fixed[1])
    elif found is not None:
        yield "min", _numbers(np.atleast_1d(found.low).tolist(), found.low.ndim > 0)
        yield "max", _numbers(np.atleast_1d(found.high).tolist(), found.high.ndim > 0)
    elif stored is not None and stored.integers.size:
        real = stored.numpy()
        yield "min", _number(float(real.min()))
        yield "max", _number(float(real.max()))
    if quant is not None:
        yield from _parameters(quant)


def _parameters(quant: QuantParams) -> Iterator[tuple[str, str]]:
    if quant.fractional_length is not None:
        yield "fl", str(quant.fractional_length)
    elif quant.scale:
        by_channel = quant.axis is not None
        if by_channel:
            yield "axis", str(quant.axis)
        yield "scale", _numbers(quant.scale, by_channel)
        points = [str(point) for point in quant.zero_point]
        yield "zero_point", _listed(points) if by_channel else points[0]


def _numbers(values: Sequence[float], by_channel: bool) -> str:
    return _listed(map(_number, values)) if by_channel else _number(values[0])


def _number(value: float) -> str:
    """Write a float so that every YAML reader sees one; nine digits tell any two float32 apart."""
    mantissa, mark, exponent = f"{value:.9g}".partition("e")
    return f"{mantissa}{'' if '.' in mantissa else '.0'}{mark}{exponent}"


def _listed(items: Iterable[str]) -> str:
    return f"[{', '.join(items)}]"
