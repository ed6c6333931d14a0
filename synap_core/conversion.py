"""The result of a conversion, as output formats get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synap_core.payloads import Target
from synap_core.source import SourceModel
from synap_core.subgraphs import Artifact, Subgraph
from synap_core.tensors import TensorMeta

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A converted model, ready to be written.

    Attributes:
        source: The model it was made of.
        target: The system on chip.
        inputs: Description of the model inputs, in order.
        outputs: Description of the model outputs, in order.
        subgraphs: The parts, in execution order.
        artifacts: What the delegates made of them.
        delegates: Name of the delegate of each part.
        graph: The canonical graph of the whole model, for output formats that write it; they get no subgraphs.
        real_boundary: The graph was quantized here, so its inputs and outputs take and give real numbers; a model that
            came quantized keeps the integers of its own.
        listings: Reports to write beside the result, by file name.
        notes: What was decided or changed without being asked for.
    """

    source: SourceModel
    target: Target
    inputs: tuple[TensorMeta, ...]
    outputs: tuple[TensorMeta, ...]
    subgraphs: tuple[Subgraph, ...]
    artifacts: tuple[Artifact, ...]
    delegates: tuple[str, ...]
    graph: ir.Model | None = None
    real_boundary: bool = False
    listings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A conversion and what the user should be told about it."""

    conversion: Conversion
    warnings: tuple[str, ...] = ()
