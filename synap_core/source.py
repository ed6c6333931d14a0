"""What a frontend shows of a model: layers and tensors in the model's own terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from synap_core.tensors import TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir

INPUT_TYPE = "Input"
"""Type of the layer that stands for a graph input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An operator of the source model, or one of its graph inputs.

    Attributes:
        name: As a model viewer shows it; metafiles refer to it.
        type: Operator type in the source format's words, `INPUT_TYPE` for a graph input.
        index: Position among the operators of the model file; None for a graph input.
        inputs: Ids of the dynamic tensors it reads; constants are not listed.
        outputs: Ids of the tensors it writes.
        state: Names of the variables it touches. Layers that share one only work together, so they
            are kept or dropped together and never fall in different subgraphs.
    """

    name: str
    type: str
    index: int | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    state: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundarySpec:
    """An entry of the metafile's ``inputs`` or ``outputs`` that a frontend may need to open a model.

    Attributes:
        name: Requested tensor; None means "by position".
        shape: Requested shape in the model's own layout, batch first; None when not given.
    """

    name: str | None = None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """What a frontend is asked to open.

    Attributes:
        path: The model file; exists and is readable.
        weights: Companion file for formats that keep the weights apart.
        inputs: Entries of the metafile's ``inputs``.
        outputs: Entries of the metafile's ``outputs``.
        inspect: The model is only to be looked at: show it as it is, and what is open in it as open, rather than
            prepare it for a conversion or refuse it.
    """

    path: Path
    weights: Path | None = None
    inputs: tuple[BoundarySpec, ...] = ()
    outputs: tuple[BoundarySpec, ...] = ()
    inspect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part of a source model, to be cut out as a model of its own.

    Attributes:
        layers: The operators to keep, in execution order; no `INPUT_TYPE` layers.
        inputs: Ids of the tensors the part reads, in the order its model lists them.
        outputs: Ids of the tensors it hands out, in the order its model lists them.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSupport:
    """Whether the canonical graph can express a layer of a model.

    Attributes:
        layer: The layer.
        status: ``imported``, ``opaque`` (known, but not expressed) or ``unknown`` (no importer has heard of it).
        reason: Why it is not imported; empty for an imported one.
    """

    layer: Layer
    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSupport:
    """Whether a frontend imports an operator of its format.

    Attributes:
        name: Operator type in the source format's words.
        status: As `LayerSupport.status`.
        note: What the user should know about it; may be empty.
    """

    name: str
    status: str
    note: str = ""


class SourceModel(Protocol):
    """An opened model file; immutable."""

    @property
    def format(self) -> str:
        """Name of the format that `slice` returns, which delegates declare to run natively."""
        ...

    @property
    def layout(self) -> str:
        """Native memory layout of the format's tensors: ``nhwc``, ``nchw`` or ``none``."""
        ...

    @property
    def layers(self) -> Sequence[Layer]:
        """One `INPUT_TYPE` layer per graph input, then every operator in execution order."""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every dynamic tensor by id."""
        ...

    @property
    def inputs(self) -> Sequence[str]:
        """Ids of the graph inputs, in the model's order."""
        ...

    @property
    def outputs(self) -> Sequence[str]:
        """Ids of the graph outputs, in the model's order."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """One line for each thing that was changed when the model was opened."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """One line for each reason why a part of the model may not work on the device."""
        ...

    def slice(self, part: Slice) -> bytes:
        """Cut a part out as a model file of the source format.

        Raises:
            InputError: The format cannot express this part; names the layer.
        """
        ...

    def canonical(self, part: Slice) -> ir.Model:
        """Build the canonical graph of a part: see `synap_core.graph`.

        Its inputs and outputs are those of the part, in order, followed by those of variables. Layers that the graph
        cannot express are opaque nodes with a reason.

        Raises:
            InputError: The model is damaged, or a tensor at the boundary has a type the graph does not know.
        """
        ...

    def support(self) -> Sequence[LayerSupport]:
        """Say what becomes of each operator in the canonical graph, in execution order.

        Raises:
            InputError: The model is damaged.
        """
        ...

    def anchors(self) -> tuple[float, ...]:
        """Anchor boxes of a detection post-process layer, flattened; empty when the model has none."""
        ...
