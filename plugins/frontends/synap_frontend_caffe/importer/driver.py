"""Import the layers of a part of a network in execution order."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.api import (
    GraphBuilder,
    GraphError,
    InputError,
    Origin,
    Slice,
    TensorInfo,
    TensorType,
    is_opaque,
    origins_of,
    type_of,
)
from synap_frontend_caffe.importer.call import Call
from synap_frontend_caffe.importer.registry import (
    MAX_ITEMS,
    MissingOperandError,
    UnsupportedError,
    converter_of,
    is_known,
)
from synap_frontend_caffe.network import LayerRecord, listing

MAX_PLACEHOLDER_ITEMS = 1 << 29
"""Items of all weights of a network that is only looked at."""

HINT = "cut the model with 'inputs' or 'outputs' in the metafile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the importer reads.

    Attributes:
        layers: Layers of the network.
        tensors: Tensors of the network; a missing or open one has an unknown shape.
        blobs: Weights of a layer; None to look at a network without any.
    """

    layers: Sequence[LayerRecord]
    tensors: Mapping[str, TensorInfo]
    blobs: Callable[[LayerRecord], Sequence[np.ndarray]] | None


class Importer:
    """Builds the canonical graph of one part.

    Args:
        source: The model.
        part: Its layers, inputs and outputs.
        optional: Layers whose weights may be missing, by index: they are opaque then.

    Attributes:
        source: The model.
        failures: Status and reason of the layers that are not imported, by index.
        types: Type of each tensor that was imported, by id.
    """

    def __init__(self, source: Source, part: Slice, optional: Collection[int] = ()) -> None:
        self.failures: dict[int, tuple[str, str]] = {}
        self.types: dict[str, TensorType] = {}
        self.source = source
        self._part = part
        self._optional = optional
        self._build = GraphBuilder("canonical", [*part.inputs, *(t for layer in source.layers for t in layer.tops)])
        self._values: dict[str, ir.Value] = {}
        self._placeholder_items = 0
        self._causes: dict[int, frozenset[int]] = {}  # of each layer that failed: those with a reason of their own
        self._makers = {tensor: layer for layer in source.layers for tensor in layer.tops}

    def run(self) -> ir.Model:
        """Import the layers and finish the graph.

        Raises:
            InputError: Weights are missing or do not fit, or a tensor at the boundary of the part has no known shape.
        """
        self.run_layers()
        taken: set[int] = set()
        model = self._build.finish([self._output(tensor, taken) for tensor in self._part.outputs])
        self._remove_attempts(model)
        return model

    def run_layers(self) -> None:
        """Import the layers. Raises as `run`."""
        for tensor in self._part.inputs:
            kind = self._known(tensor)
            if kind is None:
                msg = f"the shape of blob {tensor!r} is not known"
                raise InputError(msg, hint="give it in the metafile")
            self._bind(tensor, self._build.input(tensor, kind.dtype, kind.shape, source=tensor))
        for index in [layer.index for layer in self._part.layers if layer.index is not None]:
            layer = self.source.layers[index]
            with self._build.layer(Origin(layer.name, layer.type, index)):
                try:
                    self._layer(layer)
                except GraphError as error:  # not even an opaque node is possible
                    msg = f"layer {layer.name!r} cannot be imported: {error}"
                    raise InputError(msg, hint=HINT) from error

    def _layer(self, layer: LayerRecord) -> None:
        try:
            values = self._converted(layer)
        except MissingOperandError as error:
            values = self._opaque(layer, str(error), own=False)
        except (UnsupportedError, GraphError) as error:
            values = self._opaque(layer, str(error))
        except InputError as error:
            if layer.index not in self._optional:
                raise
            values = self._opaque(layer, error.message)
        for tensor, value in values.items():
            self._bind(tensor, self._build.name_value(value, tensor, tensor))

    def _opaque(self, layer: LayerRecord, reason: str, *, own: bool = True) -> dict[str, ir.Value]:
        self.failures[layer.index] = "opaque" if is_known(layer.type) else "unknown", reason
        missing = [self._makers[t].index for t in layer.bottoms if t not in self._values and t in self._makers]
        causes = [self._causes.get(index, frozenset()) for index in missing]
        self._causes[layer.index] = frozenset([layer.index] if own else []).union(*causes)
        operands = [self._values.get(tensor) for tensor in layer.bottoms]
        results = {tensor: kind for tensor in layer.tops if (kind := self._known(tensor)) is not None}
        values = self._build.opaque(layer.type, operands, list(results.values()), reason)
        return dict(zip(results, values, strict=True))

    def _converted(self, layer: LayerRecord) -> dict[str, ir.Value]:
        converter = converter_of(layer.type)
        call = Call(
            build=self._build,
            name=layer.name,
            type=layer.type,
            layer=layer.message,
            bottoms=tuple(self._operand(tensor) for tensor in layer.bottoms),
            blobs=() if self.source.blobs is None else self.source.blobs(layer),
            tops=len(layer.tops),
            placeholder=self._placeholder if self.source.blobs is None else None,
        )
        found = converter(call)
        values = [found] if isinstance(found, ir.Value) else list(found)
        if len(values) != len(layer.tops):
            msg = f"it has {len(layer.tops)} tops; {len(values)} are computed"
            raise UnsupportedError(msg)
        for value in values:
            if type_of(value).size > MAX_ITEMS:
                msg = f"a result of the shape {list(type_of(value).shape)}; at most {MAX_ITEMS} items are imported"
                raise UnsupportedError(msg)
        return dict(zip(layer.tops, values, strict=True))

    def _operand(self, tensor: str) -> ir.Value:
        value = self._values.get(tensor)
        if value is None:
            maker = self._makers.get(tensor)
            if maker is None:
                msg = f"it needs the blob {tensor!r}, whose shape is not known"
                raise UnsupportedError(msg)
            msg = f"it needs the result of layer {maker.name!r}, which cannot be imported"
            raise MissingOperandError(msg)
        return value

    def _placeholder(self, shape: Sequence[int]) -> np.ndarray:
        self._placeholder_items += math.prod(shape)
        if self._placeholder_items > MAX_PLACEHOLDER_ITEMS:
            msg = f"the weights up to it have more than {MAX_PLACEHOLDER_ITEMS} items"
            raise UnsupportedError(msg)
        return np.zeros(tuple(shape), np.float32)

    def _known(self, tensor: str) -> TensorType | None:
        info = self.source.tensors.get(tensor)
        return TensorType(ir.DataType.FLOAT, info.shape) if info is not None and info.static else None

    def _bind(self, tensor: str, value: ir.Value) -> None:
        self._values[tensor] = value
        self.types[tensor] = type_of(value)

    def _output(self, tensor: str, taken: set[int]) -> ir.Value:
        """Value of an output; one that is an input or another output already gets a copy with a name of its own."""
        value = self._values.get(tensor)
        if value is None:
            msg = f"blob {tensor!r} cannot be an output: {self._why(self._makers[tensor])}"
            raise InputError(msg, hint=HINT)
        if (value.producer() is None and value.const_value is None) or id(value) in taken:
            value = self._build.alias(value, self._build.unused_name(f"{tensor}/output"))
        taken.add(id(value))
        return value

    def _why(self, maker: LayerRecord) -> str:
        """Why a layer was not imported: all layers that are a cause, those with one reason together."""
        groups: dict[str, dict[str, list[str]]] = {}
        for index in sorted(self._causes.get(maker.index, ())):
            layer = self.source.layers[index]
            types = groups.setdefault(self.failures[index][1], {})
            types.setdefault(layer.type, []).append(layer.name)
        if not groups:
            return f"layer {maker.name!r} ({maker.type}) is no part of what is converted"
        found = [f"{_listed(types)} cannot be imported: {reason}" for reason, types in groups.items()]
        return listing(found, "; ")

    def _remove_attempts(self, model: ir.Model) -> None:
        """Remove what layers that turned out to be opaque half way have left."""
        for node in reversed(model.graph):
            failed = not is_opaque(node) and any(origin.index in self.failures for origin in origins_of(node))
            if failed and not any(value.uses() or value.is_graph_output() for value in node.outputs):
                model.graph.remove(node, safe=True)
        for name, value in tuple(model.graph.initializers.items()):
            if not (value.uses() or value.is_graph_output()):
                model.graph.initializers.pop(name)


def _listed(types: Mapping[str, Sequence[str]]) -> str:
    """Layers by type: the name of the first one of each, and how many there are behind it."""
    found = []
    for kind, names in types.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        found.append(f"{names[0]!r} ({kind}){more}")
    return f"layer{'s' if sum(map(len, types.values())) > 1 else ''} {listing(found)}"
