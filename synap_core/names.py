"""Find layers and tensors by the names that users write in metafiles."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from synap_core.errors import InputError
from synap_core.source import INPUT_TYPE, Layer, SourceModel

MAX_LISTED = 12
"""Names that an error message lists at the most; models have hundreds."""


class NameIndex:
    """Looks names up: exact, then with ``:`` written ``/``, then one part of a ``;``-joined name.

    Args:
        names: (name, key) pairs; several keys may share a name.
    """

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        self._exact: dict[str, list[str]] = {}
        self._slashed: dict[str, list[str]] = {}
        self._parts: dict[str, list[str]] = {}
        for name, key in names:
            self._exact.setdefault(name, []).append(key)
            self._slashed.setdefault(name.replace(":", "/"), []).append(key)
            for part in name.split(";") if ";" in name else ():
                self._parts.setdefault(part, []).append(key)

    def keys(self, name: str) -> list[str]:
        """Keys that a name can mean; more than one when it is ambiguous, none when it is unknown."""
        found = self._exact.get(name) or self._slashed.get(name.replace(":", "/")) or self._parts.get(name) or []
        return list(dict.fromkeys(found))

    def suggestion(self, name: str) -> str:
        """Hint with the nearest names, or with some of those there are."""
        close = difflib.get_close_matches(name, self._exact, n=1, cutoff=0.5)
        return f"did you mean {close[0]!r}?" if close else f"available: {listing(self._exact)}"


def listing(names: Iterable[str]) -> str:
    """Join names, cutting a long list."""
    known = list(names)
    more = f", … ({len(known)} in all; 'synap info' lists them)" if len(known) > MAX_LISTED else ""
    return ", ".join(known[:MAX_LISTED]) + more


def find_tensor(index: NameIndex, name: str, where: str) -> str:
    """Id of the tensor with a name.

    Raises:
        InputError: There is none, or there are several.
    """
    keys = index.keys(name)
    if not keys:
        msg = f"tensor {name!r} not found in the model"
        raise InputError(msg, where=where, hint=index.suggestion(name))
    if len(keys) > 1:
        msg = f"the tensor name {name!r} is ambiguous: {len(keys)} tensors have it"
        raise InputError(msg, where=where, hint="use a full name that only one tensor has")
    return keys[0]


def tensor_index(source: SourceModel) -> NameIndex:
    """Index the tensors of a model by name."""
    return NameIndex((tensor.name, tensor.id) for tensor in source.tensors.values())


class LayerIndex:
    """Finds layers by exact name, then operator index, then ``@layerId``.

    Args:
        layers: The layers that can be meant, graph inputs included.
        source: The model, whose tensor names are aliases of the layers that write them.
    """

    def __init__(self, layers: Sequence[Layer], source: SourceModel) -> None:
        tensors = source.tensors
        self._layers = {str(i): layer for i, layer in enumerate(layers)}
        self._names = NameIndex((layer.name, key) for key, layer in self._layers.items())
        self._outputs = NameIndex(
            (tensors[t].name, key) for key, layer in self._layers.items() for t in layer.outputs if t in tensors
        )
        self._positions: Mapping[str, str] = {
            str(layer.index): key for key, layer in self._layers.items() if layer.index is not None
        }

    def find(self, reference: str, where: str) -> Layer:
        """Layer that a reference means.

        Raises:
            InputError: No layer, or more than one, is meant.
        """
        keys = self._keys(reference)
        if len(keys) == 1:
            return self._layers[keys[0]]
        if not keys:
            positions = listing(self._positions)
            hint = f"{self._names.suggestion(reference)} (operator indices: {positions})"
            msg = f"layer {reference!r} not in the model, or not needed for its outputs"
            raise InputError(msg, where=where, hint=hint)
        candidates = listing(f"{self._layers[k].index} ({self._layers[k].type})" for k in keys)
        msg = f"the layer name {reference!r} is ambiguous"
        raise InputError(msg, where=where, hint=f"use an operator index: {candidates}")

    def _keys(self, reference: str) -> list[str]:
        if keys := self._names.keys(reference):
            return keys
        if reference in self._positions:
            return [self._positions[reference]]
        if keys := self._outputs.keys(reference):
            return keys
        return self._keys(reference[1:]) if reference.startswith("@") else []


def is_operator(layer: Layer) -> bool:
    """Whether a layer computes something, rather than standing for a graph input."""
    return layer.type != INPUT_TYPE
