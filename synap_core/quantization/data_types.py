"""Data type of every layer: the metafile's ``data_type``, resolved against a model."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

from synap_core.errors import InputError
from synap_core.graph.annotations import Origin, origins_of, quant_of, source_of, states_of
from synap_core.graph.groups import ACTIVATIONS, CHANNEL_OPERATORS, MOVEMENTS, PRODUCTS, Group
from synap_core.graph.quantized import QuantizedTensor
from synap_core.names import NameIndex, listing
from synap_core.source import Layer, SourceModel

if TYPE_CHECKING:
    from synap_core.metafile import Metafile

EVERYTHING = "*"
INPUTS = "INPUTS"
FOLLOWING = "..."
LAYER_ID = "@"

SECTION = "quantization"

MAX_IDS = 4
"""Layer ids that an error message lists at the most; they are long."""


def input_layer_id(value: ir.Value) -> str:
    """Id of the layer that stands for a graph input."""
    return f"Input_{value.name}"


def require_float(graph: ir.Model, meta: Metafile) -> None:
    """Check that a graph has only real numbers.

    Raises:
        InputError: The model is quantized already; names a layer.
    """
    for node in graph.graph:
        if any(_is_quantized(value) for value in (*node.inputs, *node.outputs) if value is not None):
            name = next((origin.name for origin in origins_of(node)), node.name)
            msg = f"the model is quantized already: layer {name!r} has quantization parameters"
            where = meta.where(SECTION) or None
            raise InputError(msg, where=where, hint="remove the 'quantization' section, or convert the float model")


def _is_quantized(value: ir.Value) -> bool:
    return quant_of(value) is not None or isinstance(value.const_value, QuantizedTensor)


def resolve_types(meta: Metafile, groups: Sequence[Group], graph: ir.Model, source: SourceModel) -> Mapping[str, str]:
    """Give every layer a data type.

    In a mapping, the base is its 8-bit type, else that of ``'*'``, else the default type. ``'*'`` comes first; the
    other entries follow in the order written, and a later one overwrites an earlier one.

    Args:
        meta: The metafile; has a ``quantization`` section.
        groups: The layers.
        graph: Their canonical graph, of real numbers.
        source: The model it comes from.

    Returns:
        Data type of each group and of each graph input, by layer id.

    Raises:
        InputError: An entry names no layer, or a part of one, or several; or no layer differs from the base type.
    """
    from synap_core.metafile import Quantization

    quantization = meta.quantization or Quantization()
    layers = _Layers(groups, graph, source)
    rules = quantization.data_type
    if isinstance(rules, str):
        return dict.fromkeys(layers.ids, rules)
    base = quantization.base_type
    types = dict.fromkeys(layers.ids, rules.get(EVERYTHING, base))
    named: set[str] = set()
    for pattern, data_type in rules.items():
        if pattern != EVERYTHING:
            found = layers.find(pattern, meta.where(SECTION, "data_type", pattern))
            types |= dict.fromkeys(found, data_type)
            named |= found
    if set(types.values()) <= {base}:
        msg = f"No layers to requantize: all of them have the data type {base!r}"
        where = meta.where(SECTION, "data_type") or None
        raise InputError(msg, where=where, hint=f"write 'data_type: {base}' when that is meant")
    return _with_inherited(types, named, groups, graph)


def _with_inherited(
    types: Mapping[str, str], named: set[str], groups: Sequence[Group], graph: ir.Model
) -> Mapping[str, str]:
    """Types in which layers that have no name of their own, and were not named by id, go along with their neighbours.

    A movement that stands for parts of several layers has the type of what it moves; a variable has that of the layer
    that computes it. Otherwise a model whose every layer is named would still get conversions.
    """
    result = dict(types)
    made_by = {value.name: group.layer_id for group in groups for node in group.nodes for value in node.outputs}
    made_by |= {value.name: input_layer_id(value) for value in graph.graph.inputs}
    states = [state for state in states_of(graph) if f"Input_{state.input}" not in named]
    for state in states:
        result[f"Input_{state.input}"] = types.get(made_by.get(state.output, ""), types[f"Input_{state.input}"])
    for group in groups:
        if group.layer_id not in named and main_origin(group) is None and _is_movement(group):
            data = group.nodes[0].inputs[0]
            maker = None if data is None else made_by.get(data.name)
            result[group.layer_id] = result[group.layer_id] if maker is None else result[maker]
    return result


def _is_movement(group: Group) -> bool:
    return all(not node.domain and node.op_type in MOVEMENTS for node in group.nodes)


def main_origin(group: Group) -> Origin | None:
    """The source layer whose name stands for a whole group.

    That is the only one there is; or the only one of the kind of the group's operator, such as the convolution that a
    normalisation and an activation were folded into. None when there is no such layer, or when there are several.
    """
    if len(group.origins) == 1:
        return group.origins[0]
    product = next((node for node in group.nodes if not node.domain and node.op_type in PRODUCTS), None)
    node = group.nodes[0] if len(group.nodes) == 1 else product
    if node is None:
        return None
    found = origins_of(node)
    if len(found) > 1:
        # Operator types are the source format's words, which spell the same operators differently.
        alike = [origin for origin in found if _is_alike(origin.type, node.op_type)]
        found = tuple(alike or (origin for origin in found if not _is_companion(origin.type, node.op_type)))
    return found[0] if len(found) == 1 else None


def _word(op_type: str) -> str:
    return op_type.replace("_", "").casefold()


_PRODUCT_WORDS = tuple(_word(op_type) for op_type in PRODUCTS)
_COMPANIONS = frozenset(
    _word(op_type) for op_type in (*CHANNEL_OPERATORS, *ACTIVATIONS, *MOVEMENTS, "Cast", "Dropout", "Pad")
)
"""What is folded into other layers."""


def _is_alike(source_type: str, op_type: str) -> bool:
    if op_type in PRODUCTS:
        return any(word in _word(source_type) for word in _PRODUCT_WORDS)
    return _word(source_type).startswith(_word(op_type))


def _is_companion(source_type: str, op_type: str) -> bool:
    # A movement is no layer's main operation: frontends add movements around those.
    return op_type in MOVEMENTS or _word(source_type) in _COMPANIONS


class _Layers:
    """Finds the layers that a pattern means.

    A reference to a single layer leads to the index of an operator, or to a graph input, which is written as the
    number -1 - position.
    """

    def __init__(self, groups: Sequence[Group], graph: ir.Model, source: SourceModel) -> None:
        self._groups = {group.layer_id: group for group in groups}
        self._inputs = {-1 - i: value for i, value in enumerate(graph.graph.inputs)}
        self._input_ids = {input_layer_id(value): key for key, value in self._inputs.items()}
        self._states = {state.input for state in states_of(graph)}
        self._operators = {layer.index: layer for layer in source.layers if layer.index is not None}
        self._tensors = source.tensors
        self._members: dict[int, list[Group]] = {}
        for group in groups:
            for origin in group.origins:
                self._members.setdefault(origin.index, []).append(group)
        self._readers: dict[str, list[int]] = {}
        for index, layer in self._operators.items():
            for tensor in layer.inputs:
                self._readers.setdefault(tensor, []).append(index)
        kept, gone = self._kept_and_gone()
        inputs = [(name, key) for key, value in self._inputs.items() for name in self._input_names(value)]
        self._names = [_index([*inputs, *((layer.name, key) for key, layer in kept.items())])]
        self._names += [_index([*inputs, *self._output_names(kept)])]
        self._names += [_index((layer.name, key) for key, layer in gone.items()), _index(self._output_names(gone))]

    @property
    def ids(self) -> Iterator[str]:
        """Ids of all layers, graph inputs first."""
        yield from self._input_ids
        yield from self._groups

    def find(self, pattern: str, where: str) -> set[str]:
        """Layer ids that a pattern means."""
        if pattern == INPUTS:
            return {layer_id for layer_id, key in self._input_ids.items() if self._inputs[key].name not in self._states}
        if pattern.endswith(FOLLOWING):
            return self._following(pattern.removesuffix(FOLLOWING), where)
        if pattern.startswith(LAYER_ID):
            return {self._by_id(pattern, where)}
        key = self._by_name(pattern, where)
        return {input_layer_id(self._inputs[key])} if key < 0 else self._owned(key, pattern, where)

    def _kept_and_gone(self) -> tuple[dict[int, Layer], dict[int, Layer]]:
        kept = {index: layer for index, layer in self._operators.items() if index in self._members}
        return kept, {index: layer for index, layer in self._operators.items() if index not in kept}

    def _input_names(self, value: ir.Value) -> list[str]:
        tensor = self._tensors.get(source_of(value) or "")
        return list(dict.fromkeys([str(value.name), *([] if tensor is None else [tensor.name])]))

    def _output_names(self, layers: Mapping[int, Layer]) -> Iterator[tuple[str, int]]:
        for key, layer in layers.items():
            yield from ((self._tensors[tensor].name, key) for tensor in layer.outputs if tensor in self._tensors)

    def _by_id(self, pattern: str, where: str) -> str:
        layer_id = pattern.removeprefix(LAYER_ID)
        if layer_id in self._groups or layer_id in self._input_ids:
            return layer_id
        msg = f"Layer ID {layer_id!r} not in the model"
        if self._keys(layer_id):
            raise InputError(msg, where=where, hint=f"write {layer_id!r} without '@' for a layer by its name")
        begun = [known for known in self.ids if layer_id and known.startswith(layer_id)]
        close = begun or difflib.get_close_matches(layer_id, list(self.ids), n=1, cutoff=0.5)
        hint = f"did you mean '@{close[0]}'?" if close else f"available: {_ids(self.ids)}"
        raise InputError(msg, where=where, hint=hint)

    def _keys(self, name: str) -> list[int]:
        exact, aliases, gone, gone_aliases = self._names
        if keys := exact.keys(name):
            return [int(key) for key in keys]
        if name.isdecimal() and name.isascii() and len(name) < 10 and int(name) in self._operators:
            return [int(name)]
        return [int(key) for key in aliases.keys(name) or gone.keys(name) or gone_aliases.keys(name)]

    def _by_name(self, name: str, where: str) -> int:
        keys = self._keys(name)
        if len(keys) == 1:
            return keys[0]
        if keys:
            choices = listing(self._unique_pattern(key) for key in keys)
            msg = f"Layer name {name!r} is ambiguous: {len(keys)} layers have it"
            raise InputError(msg, where=where, hint=f"use one of {choices}")
        msg = f"Layer name {name!r} not in the model"
        raise InputError(msg, where=where, hint=self._names[0].suggestion(name))

    def _unique_pattern(self, key: int) -> str:
        if key < 0:
            return f"'{LAYER_ID}{input_layer_id(self._inputs[key])}'"
        return f"'{key}' (the {self._operators[key].type})"

    def _owned(self, index: int, name: str, where: str) -> set[str]:
        """Groups that a layer's name stands for."""
        groups = self._members.get(index, [])
        mains = {group.layer_id: main_origin(group) for group in groups}
        owned = {layer_id for layer_id, main in mains.items() if main is not None and main.index == index}
        if owned:
            return owned
        if not groups:
            msg = f"Layer name {name!r} has no layer in the converted model: it was optimised away, or is not needed"
            raise InputError(msg, where=where, hint="remove this entry")
        parts = " + ".join(origin.name for origin in groups[0].origins)
        msg = f"Layer name {name!r} is part of the fused layer {parts}"
        others = dict.fromkeys(repr(main.name) for main in mains.values() if main is not None)
        also = f", or {' or '.join(others)}, which stands for all of it" if len(others) == 1 else ""
        raise InputError(msg, where=where, hint=f"use {_ids(mains)}{also}")

    def _following(self, start: str, where: str) -> set[str]:
        """Layers behind one; that one, with all that is fused with it, is not among them."""
        if start.startswith(LAYER_ID):
            layer_id = self._by_id(start, where)
            group = self._groups.get(layer_id)
            keys = [self._input_ids[layer_id]] if group is None else [origin.index for origin in group.origins]
        else:
            keys = [self._by_name(start, where)]
        own = {group.layer_id for key in keys for group in self._members.get(key, [])}
        reached = self._reachable(keys)
        return {group.layer_id for index in reached for group in self._members.get(index, [])} - own

    def _reachable(self, keys: Sequence[int]) -> set[int]:
        found: set[int] = set()
        pending = [tensor for key in keys for tensor in self._written(key)]
        while pending:
            for index in self._readers.get(pending.pop(), []):
                if index not in found:
                    found.add(index)
                    pending += self._operators[index].outputs
        return found

    def _written(self, key: int) -> Sequence[str]:
        if key >= 0:
            return self._operators[key].outputs
        value = self._inputs[key]
        return [source_of(value) or str(value.name)]


def _index(names: Iterable[tuple[str, int]]) -> NameIndex:
    return NameIndex((name, str(key)) for name, key in names)


def _ids(ids: Iterable[str]) -> str:
    """List layer ids as patterns, cutting a long list."""
    known = [f"'@{layer_id}'" for layer_id in ids]
    more = f", … ({len(known)} in all)" if len(known) > MAX_IDS else ""
    return " or ".join(known[:MAX_IDS]) + more
