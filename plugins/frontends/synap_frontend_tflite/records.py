"""What the reader takes from a file: plain records, every index in them checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRecord:
    """A tensor of a subgraph.

    Attributes:
        name: As stored; may be empty or not unique.
        shape: As stored; dimensions of unknown size are 1 (0 is a real size).
        signature: As ``shape`` with -1 for unknown sizes; empty when the file has none.
        type: Name of the element type in the schema, such as ``INT8``.
        constant: It has data.
        variable: It keeps its value from run to run and belongs to the operator that reads it.
        ranked: The file says that an empty shape means a scalar.
        scale: Quantization scales; empty for a tensor that is not quantized, and for constants.
        zero_point: Zero points, as many as scales.
        axis: Dimension that several scales run along.
        custom_quantization: Has quantization details only a custom operator understands.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    type: str
    constant: bool
    variable: bool
    ranked: bool
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int
    custom_quantization: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRecord:
    """An operator of a subgraph.

    Attributes:
        type: Name in the schema, such as ``CONV_2D``; ``CUSTOM:`` and the name for a custom operator.
        inputs: Tensor indices; -1 for an optional input that is absent.
        outputs: Tensor indices.
        subgraphs: Indices of the subgraphs it calls.
        variable: Name of the variable or table that it makes accessible.
    """

    type: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: tuple[int, ...] = ()
    variable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRecord:
    """A subgraph of the file."""

    tensors: tuple[TensorRecord, ...]
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
