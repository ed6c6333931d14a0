"""The network for inference that a ``.prototxt`` describes: its inputs, layers and outputs."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from synap_core.api import InputError
from synap_frontend_caffe.inputs import INPUT, InputRecord, declared_inputs, inputs_of_layer, is_source, preparation
from synap_frontend_caffe.phases import is_included
from synap_frontend_caffe.schema import Message
from synap_frontend_caffe.upgrade import layers_of

EVALUATION_TYPES = frozenset(
    word
    for line in (
        "Accuracy ContrastiveLoss EuclideanLoss HDF5Output HingeLoss InfogainLoss MultinomialLogisticLoss",
        "SigmoidCrossEntropyLoss SoftmaxWithLoss",
    )
    for word in line.split()
)
"""Layers that compare a result with what it should be, or write it to a file."""

SILENCE = "Silence"
"""Reads blobs so that they are no outputs."""

MAX_LAYERS = 10_000
"""Far above any network: the deepest ones have a few thousand."""

LISTED = 5
"""How many names a note lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """A layer that is kept.

    Attributes:
        name: Its name, unique in the network.
        index: Position among the layers that are kept.
        message: Its ``LayerParameter``.
        occurrence: How many layers before it have the same name in the file.
        bottoms: Ids of the tensors it reads.
        tops: Ids of the tensors it writes.
    """

    name: str
    index: int
    message: Message
    occurrence: int
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]

    @property
    def type(self) -> str:
        """Layer type of Caffe 1.0."""
        return str(self.message.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Layers and the tensors between them. A tensor is one version of a blob, see `_Tensors`.

    Attributes:
        inputs: In the order of the file.
        layers: In execution order.
        outputs: Ids of the tensors that nothing reads, in the order in which Caffe lists them: by name.
        notes: What was dropped.
        warnings: What the data layers did to their samples, and inference has to do itself.
    """

    inputs: tuple[InputRecord, ...]
    layers: tuple[LayerRecord, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def network_of(message: Message) -> Network:
    """The network for inference of a ``NetParameter``.

    Raises:
        InputError: A layer reads a blob that nothing writes, two layers write the same one, or the inputs are declared
            wrongly.
    """
    if len(message.layer) + len(message.layers) > MAX_LAYERS:
        msg = f"the network has {len(message.layer) + len(message.layers)} layers; at most {MAX_LAYERS} are read"
        raise InputError(msg, hint="cut it into several networks")
    found = list(layers_of(message))
    included = [is_included(layer, message.state) for layer in found]
    excluded = [layer for layer, kept in zip(found, included, strict=True) if not kept]
    layers, evaluation = _without_evaluation(itertools.compress(found, included))
    silent = {blob for layer in layers if layer.type == SILENCE for blob in layer.bottom}
    operators = [layer for layer in layers if layer.type != SILENCE and not is_source(layer)]
    sources = [layer for layer in layers if is_source(layer)]
    inputs = [*declared_inputs(message), *(record for layer in sources for record in inputs_of_layer(layer))]
    _check_names(inputs, operators)
    read = {blob for layer in operators for blob in layer.bottom}
    tensors = _Tensors([record for record in inputs if record.name in read], operators)
    records = tensors.layers()
    outputs = tensors.outputs(records, silent)
    if not outputs:
        msg = "the network has no layers for inference whose result is an output"
        raise InputError(msg, hint="give the .prototxt for deployment")
    notes = {
        "dropped layers that 'include' or 'exclude' keep from inference": map(_described, excluded),
        "dropped layers that only evaluate results": map(_described, evaluation),
        "data layers became inputs": (_described(layer) for layer in sources if layer.type != INPUT),
        "dropped inputs that no layer reads": (repr(record.name) for record in inputs if record.name not in read),
    }
    listed = ((what, list(items)) for what, items in notes.items())
    return Network(
        inputs=tensors.inputs,
        layers=records,
        outputs=outputs,
        notes=tuple(f"{what}: {listing(items)}" for what, items in listed if items),
        warnings=tuple(text for layer in sources if (text := preparation(layer))),
    )


def _check_names(inputs: Iterable[InputRecord], operators: Iterable[Message]) -> None:
    """Raise for a layer without a type and for a blob without a name."""
    for record in inputs:
        if not record.name:
            msg = f"{record.origin} declares an input without a name"
            raise InputError(msg, hint='every input needs one, such as "data"')
    for layer in operators:
        if not layer.type:
            msg = f"layer {layer.name!r} has no type"
            raise InputError(msg, hint='every layer needs one, such as type: "Convolution"')
        if "" in layer.top:
            msg = f"layer {layer.name!r} ({layer.type}) has a top without a name"
            raise InputError(msg, hint="every blob needs one")


def needed_layers(layers: Sequence[LayerRecord], inputs: Collection[str], outputs: Collection[str]) -> frozenset[int]:
    """Indices of the layers that compute some tensors from others; of all when a tensor is unknown.

    Args:
        layers: Layers in execution order.
        inputs: Ids of the tensors that are given.
        outputs: Ids of the tensors that are wanted.
    """
    if not {top for layer in layers for top in layer.tops}.issuperset(outputs):
        return frozenset(layer.index for layer in layers)
    wanted, found = set(outputs) - set(inputs), set()
    for layer in reversed(layers):
        if not wanted.isdisjoint(layer.tops):
            found.add(layer.index)
            wanted |= set(layer.bottoms) - set(inputs)
    return frozenset(found)


def listing(items: Sequence[str], separator: str = ", ") -> str:
    """The first of some items, and how many there are behind them."""
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return separator.join(items[:LISTED]) + more


def _described(layer: Message) -> str:
    return f"{layer.name!r} ({layer.type})"


def _without_evaluation(layers: Iterable[Message]) -> tuple[list[Message], list[Message]]:
    """Layers that compute results, and those that evaluate them or need what such a layer gives."""
    kept: list[Message] = []
    dropped: list[Message] = []
    gone: set[str] = set()
    for layer in layers:
        if layer.type in EVALUATION_TYPES or not gone.isdisjoint(layer.bottom):
            dropped.append(layer)
            gone.update(layer.top)
        else:
            kept.append(layer)
            gone.difference_update(layer.top)
    return kept, dropped


class _Tensors:
    """Gives each version of a blob an id.

    A blob that layers write in place has a version for each of them. The last one has the name of the blob, which is
    what the layers behind read; an earlier one is called ``<blob>/<layer that wrote it>``. A graph input keeps the name
    of its blob; then all versions that layers make of it have the other kind of name.
    """

    def __init__(self, inputs: Sequence[InputRecord], operators: Sequence[Message]) -> None:
        self.inputs = tuple(inputs)
        self._operators = operators
        self._names = _unique_names(operators)
        self._current: dict[str, str] = {}
        for record in inputs:
            if record.name in self._current:
                msg = f"the network has two inputs {record.name!r}"
                raise InputError(msg, hint="remove one of them")
            self._current[record.name] = record.name
        self._last = {blob: index for index, layer in enumerate(operators) for blob in layer.top}
        self._used = {*self._current, *self._last}
        self._inputs = frozenset(self._current)
        self._writers = dict.fromkeys(self._current, "the inputs")

    def layers(self) -> tuple[LayerRecord, ...]:
        """The layers with the ids of their tensors."""
        counts: dict[str, int] = {}
        found = []
        for index, layer in enumerate(self._operators):
            bottoms = tuple(self._read(blob, index) for blob in layer.bottom)
            tops = tuple(self._write(blob, position, index) for position, blob in enumerate(layer.top))
            occurrence = counts.setdefault(layer.name, 0)
            counts[layer.name] += 1
            name = self._names[index]
            found.append(
                LayerRecord(name=name, index=index, message=layer, occurrence=occurrence, bottoms=bottoms, tops=tops)
            )
        return tuple(found)

    def outputs(self, layers: Sequence[LayerRecord], silent: Collection[str]) -> tuple[str, ...]:
        """Ids of the tensors that layers write and none reads, sorted by blob, less some blobs."""
        read = {tensor for layer in layers for tensor in layer.bottoms}
        written = {tensor for layer in layers for tensor in layer.tops}
        current = sorted(self._current.items())
        return tuple(tensor for blob, tensor in current if blob not in silent and tensor in written - read)

    def _read(self, blob: str, index: int) -> str:
        if blob not in self._current:
            msg = f"layer {self._names[index]!r} reads the blob {blob!r}, which no layer before it writes"
            raise InputError(msg, hint="layers stand in execution order; is an input not declared?")
        return self._current[blob]

    def _write(self, blob: str, position: int, index: int) -> str:
        layer, writer = self._operators[index], f"layer {self._names[index]!r}"
        in_place = position < len(layer.bottom) and layer.bottom[position] == blob
        if blob in self._writers and (not in_place or self._writers[blob] == writer):
            msg = f"blob {blob!r} is written by {self._writers[blob]} and by {writer}"
            raise InputError(msg, hint="only a layer that works in place may write a blob again")
        last = self._last[blob] == index and blob not in self._inputs
        tensor = blob if last else self._unused(f"{blob}/{self._names[index]}")
        self._writers[blob] = writer
        self._current[blob] = tensor
        return tensor

    def _unused(self, name: str) -> str:
        found, number = name, 1
        while found in self._used:
            number += 1
            found = f"{name}#{number}"
        self._used.add(found)
        return found


def _unique_names(layers: Sequence[Message]) -> list[str]:
    """Names of the layers; one without a name, or with one that a layer before it has, gets its position in it."""
    used = {layer.name for layer in layers}
    seen: set[str] = set()
    found = []
    for index, layer in enumerate(layers):
        name = layer.name or f"{layer.type}_{index}"
        while name in seen or (name != layer.name and name in used):
            name = f"{name}#{index}"
        seen.add(name)
        found.append(name)
    return found
