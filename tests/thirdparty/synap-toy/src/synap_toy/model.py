"""The `SourceModel` of a ``.toy`` file; ids, names of tensors and names of layers are the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.api import INPUT_TYPE, InputError, Layer, LayerSupport, ModelRequest, Slice, TensorInfo
from synap_toy.text import FORMAT, MAX_FILE_BYTES, OPERATORS, Operation, TensorType, ToyText, parse, render

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyModel:
    """An opened ``.toy`` file with batch 1.

    Attributes:
        text: What the file says.
        layers: Inputs, then operations.
        tensors: All tensors; one with four dimensions counts as an image, NHWC.
        notes: What was changed.
        warnings: Layers that may run nowhere.
    """

    text: ToyText
    layers: tuple[Layer, ...]
    tensors: Mapping[str, TensorInfo]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def open(cls, request: ModelRequest) -> ToyModel:
        """Read and check a file.

        Raises:
            InputError: It cannot be read, or is not a toy model.
        """
        text = parse(_read(request.path), str(request.path))
        inputs = [Layer(name=name, type=INPUT_TYPE, index=None, inputs=(), outputs=(name,)) for name in text.inputs]
        return cls(
            text=text,
            layers=(*inputs, *(_layer(i, step) for i, step in enumerate(text.operations))),
            tensors={name: _tensor_info(name, kind) for name, kind in text.tensors.items()},
            notes=tuple(
                f"batch of input {name!r} changed from {text.tensors[name].shape[0]} to 1"
                for name in text.inputs
                if text.tensors[name].shape[0] != 1
            ),
            warnings=tuple(
                f"layer {step.name!r} has the operator {step.operator!r}, which the toy format does not define"
                for step in text.operations
                if step.operator not in OPERATORS
            ),
        )

    @property
    def format(self) -> str:
        """Name of the format."""
        return FORMAT

    @property
    def layout(self) -> str:
        """Native layout of the format."""
        return "nhwc"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self.text.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.text.outputs

    def slice(self, part: Slice) -> bytes:
        """Cut a part out; it keeps no anchors, for nothing in it reads them."""
        types = {name: TensorType(info.shape, info.dtype) for name, info in self.tensors.items()}
        kept = {layer.index for layer in part.layers}
        steps = tuple(step for i, step in enumerate(self.text.operations) if i in kept)
        return render(ToyText(inputs=part.inputs, operations=steps, outputs=part.outputs, tensors=types))

    def canonical(self, part: Slice) -> ir.Model:
        """Build the canonical graph of a part."""
        from synap_toy.importer import import_part

        return import_part(self.text, part)

    def support(self) -> list[LayerSupport]:
        """Say which layers have an operator that the format defines."""
        from synap_toy.importer import layer_support

        return [layer_support(layer) for layer in self.layers if layer.index is not None]

    def anchors(self) -> tuple[float, ...]:
        """Numbers of the ``anchors`` line."""
        return self.text.anchors


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        msg = f"cannot read the model: {error.strerror or error}"
        raise InputError(msg, where=path) from error


def _layer(index: int, step: Operation) -> Layer:
    return Layer(
        name=step.name,
        type=step.operator,
        index=index,
        inputs=tuple(dict.fromkeys(step.operands)),
        outputs=(step.name,),
        state=frozenset({step.name}) if step.operator == "accumulate" else frozenset(),
    )


def _tensor_info(name: str, kind: TensorType) -> TensorInfo:
    layout = "nhwc" if len(kind.shape) == 4 else "none"
    return TensorInfo(id=name, name=name, shape=(1, *kind.shape[1:]), dtype=kind.dtype, layout=layout)
