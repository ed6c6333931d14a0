"""The `SourceModel` of a Caffe network and its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synap_core.api import INPUT_TYPE, InputError, Layer, LayerSupport, ModelRequest, Slice, TensorInfo
from synap_frontend_caffe.batch import adapted, check_batch, with_batch_one
from synap_frontend_caffe.importer.driver import Importer, Source
from synap_frontend_caffe.inputs import InputRecord, is_name_of, require_shapes, with_shapes
from synap_frontend_caffe.network import LayerRecord, listing, needed_layers, network_of
from synap_frontend_caffe.reading import read_network, read_weights
from synap_frontend_caffe.schema import Message
from synap_frontend_caffe.upgrade import layers_of
from synap_frontend_caffe.weights import Weights

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, slots=True, kw_only=True)
class CaffeModel:
    """An opened Caffe model with batch 1.

    Attributes:
        path: The ``.prototxt``, for messages.
        source: Its layers, weights and tensors.
        layers: Input layers, then those of the network that inference has.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        failures: Status and reason of the layers that the canonical graph cannot express, by index.
        notes: What was changed or dropped.
        warnings: What was ignored.
    """

    path: Path
    source: Source
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    failures: Mapping[int, tuple[str, str]]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """Name of the format."""
        return "caffe"

    @property
    def layout(self) -> str:
        """Native layout of the format."""
        return "nchw"

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Inputs and results of layers, by id."""
        return self.source.tensors

    @classmethod
    def open(cls, request: ModelRequest) -> CaffeModel:
        """Read and check a network and its weights.

        Raises:
            InputError: A file is damaged, weights are missing or do not fit, an input has no shape, or the batch cannot
                become 1.
        """
        with _located(request.path):
            message, warnings = read_network(request.path)
            opener = _Opener(request, message, warnings)
            return opener.open()

    def slice(self, part: Slice) -> bytes:
        """Refuse: nothing runs the format as it is.

        Raises:
            InputError: Always.
        """
        msg = f"{len(part.layers)} layers are asked for as a Caffe model, and nothing runs such models as they are"
        raise InputError(msg, where=self.path, hint="use a delegate that takes the canonical graph")

    def canonical(self, part: Slice) -> ir.Model:
        """Build the canonical graph of a part; layers that it cannot express are opaque nodes with a reason.

        Raises:
            InputError: Weights do not fit, or a tensor at the boundary has no known shape.
        """
        with _located(self.path):
            return Importer(self.source, part).run()

    def support(self) -> list[LayerSupport]:
        """What becomes of each layer in the canonical graph: ``imported``, ``opaque`` or ``unknown``."""
        found = []
        for layer in self.layers:
            if layer.index is not None:
                status, reason = self.failures.get(layer.index, ("imported", ""))
                found.append(LayerSupport(layer=layer, status=status, reason=reason))
        return found

    def anchors(self) -> tuple[float, ...]:
        """No anchors: Caffe 1.0 has no detection layer."""
        return ()


class _Opener:
    """Makes the model of a network.

    Args:
        request: The files, and the shapes that the metafile gives.
        message: The ``NetParameter`` of the network.
        warnings: What was ignored when it was read.
    """

    def __init__(self, request: ModelRequest, message: Message, warnings: Sequence[str]) -> None:
        self._request = request
        self._message = message
        self._network = network_of(message)
        self._notes = list(self._network.notes)
        self._warnings = [*warnings, *self._network.warnings]

    def open(self) -> CaffeModel:
        """See `CaffeModel.open`."""
        inputs, batch = self._inputs()
        records = self._network.layers
        optional = self._optional(records)
        if batch is not None:
            records = tuple(r if r.index in optional else adapted(r, batch) for r in records)
            self._notes.append(f"the fixed batch of {batch} was changed to 1")
        layers = tuple(_layers(inputs, records))
        survey = Importer(
            Source(layers=records, tensors=self._known(inputs, records), blobs=self._blobs(records)),
            Slice(
                layers=tuple(layer for layer in layers if layer.index is not None),
                inputs=tuple(record.name for record in inputs if record.shape is not None),
                outputs=(),
            ),
            optional=optional,
        )
        with self._weights_named():
            survey.run_layers()
        shapes: dict[str, tuple[int, ...] | None] = {record.name: record.shape for record in inputs}
        for record in records:
            shapes |= {top: survey.types[top].shape if top in survey.types else None for top in record.tops}
        if batch is not None:
            ranks = {name: len(shape) for name, shape in shapes.items() if shape is not None}
            check_batch([record for record in records if record.index not in optional], ranks, batch)
        self._note_order()
        tensors = {name: _tensor(name, shape) for name, shape in shapes.items()}
        return CaffeModel(
            path=self._request.path,
            source=replace(survey.source, tensors=tensors),
            layers=layers,
            inputs=tuple(record.name for record in inputs),
            outputs=self._network.outputs,
            failures=survey.failures,
            notes=tuple(self._notes),
            warnings=tuple(self._warnings),
        )

    def _inputs(self) -> tuple[list[InputRecord], int | None]:
        """The inputs with the shapes they have in the model, and the batch when it was changed."""
        inputs = with_shapes(self._network.inputs, self._request.inputs)
        if self._request.inspect:
            return inputs, None
        require_shapes(inputs, self._request.inputs)
        return with_batch_one(inputs)

    def _note_order(self) -> None:
        """Tell when the metafile lists outputs of the model in another order than the model does."""
        own = self._network.outputs
        asked = [name for spec in self._request.outputs for name in own if is_name_of(spec.name, name)]
        kept = [name for name in own if name in asked]
        if asked != kept:
            told = f"{listing(list(map(repr, asked)))}; that of the model is {listing(list(map(repr, kept)))}"
            self._notes.append(f"the outputs are in the order of the metafile: {told}")

    def _known(self, inputs: Sequence[InputRecord], records: Sequence[LayerRecord]) -> dict[str, TensorInfo]:
        """The inputs, and results of layers that the metafile gives a shape, for where nothing else tells it."""
        tops = {top for record in records for top in record.tops}
        asked = {spec.name: spec.shape for spec in self._request.inputs if spec.name in tops and spec.shape is not None}
        given = {name: (1, *shape[1:]) for name, shape in asked.items() if name is not None}
        return {name: _tensor(name, shape) for name, shape in given.items()} | {
            record.name: _tensor(record.name, record.shape) for record in inputs
        }

    def _blobs(self, records: Sequence[LayerRecord]) -> Callable[[LayerRecord], Sequence[np.ndarray]] | None:
        """Where the weights of a layer are from; None to show a network without them."""
        if self._request.weights is None:
            return None if self._request.inspect else lambda _: ()
        weights = Weights(read_weights(self._request.weights), records)
        unused = weights.unused({layer.name for layer in layers_of(self._message)})
        if unused:
            listed = listing([repr(name) for name in unused])
            self._notes.append(f"the weights of layers that the network lacks were not used: {listed}")
        return weights.blobs

    def _optional(self, records: Sequence[LayerRecord]) -> frozenset[int]:
        """Layers that the metafile's inputs and outputs cut away."""
        inputs, outputs = (
            {spec.name for spec in specs if spec.name is not None}
            for specs in (self._request.inputs, self._request.outputs)
        )
        needed = needed_layers(records, inputs, outputs or self._network.outputs)
        return frozenset(record.index for record in records) - needed

    @contextmanager
    def _weights_named(self) -> Iterator[None]:
        """Say how to give the weights when they were not."""
        try:
            yield
        except InputError as error:
            if self._request.weights is not None:
                raise
            beside = self._request.path.with_suffix(".caffemodel")
            name = str(beside) if beside.is_file() else "FILE.caffemodel"
            raise InputError(error.message, hint=f"give the weights with --weights {name}") from error


def _layers(inputs: Sequence[InputRecord], records: Sequence[LayerRecord]) -> Iterator[Layer]:
    for record in inputs:
        yield Layer(name=record.name, type=INPUT_TYPE, index=None, inputs=(), outputs=(record.name,))
    for layer in records:
        yield Layer(
            name=layer.name,
            type=layer.type,
            index=layer.index,
            inputs=tuple(dict.fromkeys(layer.bottoms)),
            outputs=layer.tops,
        )


def _tensor(name: str, shape: tuple[int, ...] | None) -> TensorInfo:
    return TensorInfo(id=name, name=name, shape=shape or (), static=shape is not None, dtype="float32", layout="nchw")


@contextmanager
def _located(path: Path) -> Iterator[None]:
    """Put the file in front of errors that do not name one."""
    try:
        yield
    except InputError as error:
        raise InputError(error.message, where=error.where or path, hint=error.hint) from error
