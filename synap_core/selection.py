"""Cut a model at the tensors the metafile asks for: which operators, inputs and outputs remain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synap_core.errors import InputError
from synap_core.names import NameIndex, find_tensor, is_operator, tensor_index
from synap_core.source import Layer, SourceModel

if TYPE_CHECKING:
    from synap_core.metafile import InputEntry, Metafile, OutputEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The part of a model to convert.

    Attributes:
        layers: Operators to keep, in execution order.
        inputs: Ids of the model inputs, in order.
        outputs: Ids of the model outputs, in order.
        input_entries: Position in the metafile's ``inputs`` of the entry about each input that has one.
        output_entries: The same for outputs.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_entries: Mapping[str, int]
    output_entries: Mapping[str, int]


def select(source: SourceModel, meta: Metafile) -> Selection:
    """Apply the metafile's ``inputs`` and ``outputs`` to a model.

    Raises:
        InputError: A tensor is unknown, not needed or missing, or the cut separates layers that share a variable.
    """
    index = tensor_index(source)
    inputs, input_entries = _boundary(index, source.inputs, meta, "inputs", meta.inputs)
    outputs, output_entries = _boundary(index, source.outputs, meta, "outputs", meta.outputs)
    cut = Cut(source, inputs, outputs)
    layers = cut.needed(keep_state=not _named(meta.inputs) and not _named(meta.outputs))
    cut.check(layers, meta, input_entries if _named(meta.inputs) else {})
    return Selection(
        layers=layers, inputs=inputs, outputs=outputs, input_entries=input_entries, output_entries=output_entries
    )


def _named(entries: Sequence[InputEntry | OutputEntry]) -> bool:
    return any(entry.name is not None for entry in entries)


def _boundary(
    index: NameIndex,
    own: Sequence[str],
    meta: Metafile,
    field: str,
    entries: Sequence[InputEntry | OutputEntry],
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Tensor ids of the requested inputs or outputs, and the entry that belongs to each."""
    if len(entries) > len(own) and not _named(entries):
        msg = f"the model has {len(own)} {field} but {len(entries)} {field} are specified in the metafile"
        raise InputError(msg, where=meta.where(field))
    if not _named(entries):
        return tuple(own), dict(zip(own, range(len(entries)), strict=False))
    found: dict[str, int] = {}
    for position, entry in enumerate(entries):
        where = meta.where(field, position, "name")
        tensor = find_tensor(index, entry.name or "", where)
        if tensor in found:
            msg = f"Duplicate {field[:-1]} name: {entry.name!r} is the same tensor as {entries[found[tensor]].name!r}"
            raise InputError(msg, where=where)
        found[tensor] = position
    return tuple(found), found


class Cut:
    """A cut of a model at some inputs and outputs.

    Args:
        source: The model.
        inputs: Ids of the tensors where it begins.
        outputs: Ids of the tensors where it ends.
    """

    def __init__(self, source: SourceModel, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._source = source
        self._inputs = inputs
        self._outputs = outputs
        self._operators = [layer for layer in source.layers if is_operator(layer)]
        self._producer = {t: i for i, layer in enumerate(self._operators) for t in layer.outputs}
        self._readers: dict[str, list[int]] = {}
        self._sharing: dict[str, list[int]] = {}
        for i, layer in enumerate(self._operators):
            for tensor in layer.inputs:
                self._readers.setdefault(tensor, []).append(i)
            for variable in layer.state:
                self._sharing.setdefault(variable, []).append(i)

    def needed(self, *, keep_state: bool) -> tuple[Layer, ...]:
        """Operators that the outputs need, with all that share a variable with one of them.

        Args:
            keep_state: Keep every operator that touches a variable, even when no output needs it.
        """
        stateful = [i for i, layer in enumerate(self._operators) if layer.state] if keep_state else []
        kept = self._ancestors(stateful, self._outputs, stop=frozenset(self._inputs))
        return tuple(self._operators[i] for i in sorted(kept))

    def check(self, layers: Sequence[Layer], meta: Metafile, requested: Mapping[str, int]) -> None:
        """Raise for inputs that are missing or not needed, and for outputs nothing computes.

        Args:
            layers: The operators that are kept.
            meta: The metafile, for positions.
            requested: Entry of each input that was asked for by name.
        """
        read = {tensor for layer in layers for tensor in layer.inputs}
        for tensor in self._outputs:
            if tensor in self._inputs or tensor not in self._producer:
                msg = f"output {self._name(tensor)!r} is an input of the model: there is nothing to convert"
                raise InputError(msg, where=meta.where("outputs"))
        for tensor, position in requested.items():
            producer = self._producer.get(tensor)
            if producer is not None and self._operators[producer] in layers:
                msg = f"input {self._name(tensor)!r} is computed by a layer that is needed for the requested outputs"
                raise InputError(
                    msg, where=meta.where("inputs", position), hint="request the layer's other outputs as inputs, too"
                )
            if tensor not in read:
                msg = f"input {self._name(tensor)!r} is not needed for the requested outputs"
                raise InputError(msg, where=meta.where("inputs", position), hint="remove this input")
        for tensor in self._source.inputs:
            if tensor in read and tensor not in self._inputs:
                msg = f"input {self._name(tensor)!r} is needed for the requested outputs but not listed in 'inputs'"
                raise InputError(msg, where=meta.where("inputs"), hint="add it")
        self._check_state(meta)

    def _name(self, tensor: str) -> str:
        return self._source.tensors[tensor].name

    def _ancestors(self, seeds: Iterable[int], tensors: Iterable[str], stop: frozenset[str]) -> set[int]:
        pending = [*seeds, *(self._producer[t] for t in tensors if t in self._producer and t not in stop)]
        found: set[int] = set()
        while pending:
            index = pending.pop()
            if index in found:
                continue
            found.add(index)
            layer = self._operators[index]
            pending += [self._producer[t] for t in layer.inputs if t in self._producer and t not in stop]
            pending += [i for variable in layer.state for i in self._sharing[variable]]
        return found

    def _check_state(self, meta: Metafile) -> None:
        """Raise when the cut falls between operators that read and write one variable."""
        if not self._sharing:
            return
        above = {i for t in self._inputs if t in self._producer for i in self._upstream(self._producer[t])}
        below = {i for t in self._inputs for i in self._downstream(t)}
        for variable, members in self._sharing.items():
            first = next((i for i in members if i in above), None)
            second = next((i for i in members if i in below), None)
            if first is not None and second is not None:
                names = f"{self._operators[first].name!r} and {self._operators[second].name!r}"
                msg = f"the cut separates {names}, which share the variable {variable!r}"
                raise InputError(msg, where=meta.where("inputs"), hint="cut before or behind both of them")

    def _upstream(self, start: int) -> set[int]:
        return self._walk(start, lambda layer: [self._producer[t] for t in layer.inputs if t in self._producer])

    def _downstream(self, tensor: str) -> set[int]:
        starts = self._readers.get(tensor, [])
        return set().union(
            *(self._walk(i, lambda layer: [r for t in layer.outputs for r in self._readers.get(t, [])]) for i in starts)
        )

    def _walk(self, start: int, following: Callable[[Layer], Iterable[int]]) -> set[int]:
        found, pending = {start}, [start]
        while pending:
            fresh = set(following(self._operators[pending.pop()])) - found
            found |= fresh
            pending += fresh
        return found
