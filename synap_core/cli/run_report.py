"""What ``synap run`` prints about its predictions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from synap_core.cli.tables import print_table
from synap_core.errors import one_line
from synap_core.tensors import TensorMeta, format_shape

if TYPE_CHECKING:
    import numpy as np

HOST_NOTICE = "executed on this host; times are not those of a device"
MAX_JSON_ITEMS = 10_000
"""Outputs with more items are saved to files rather than printed."""


@dataclass(frozen=True, slots=True)
class Class:
    """A class that a model sees, and how sure it is."""

    index: int
    confidence: float
    label: str


@dataclass(slots=True)
class Measured:
    """What the predictions gave.

    Attributes:
        outputs: Raw items of each output, of the last prediction.
        times_ms: Milliseconds of each prediction.
        subgraph_times_ms: Milliseconds of each subgraph, of the last prediction.
        init_ms: Milliseconds it took to load the model, the last time.
    """

    outputs: tuple[np.ndarray, ...] = ()
    times_ms: list[float] = field(default_factory=list)
    subgraph_times_ms: tuple[float, ...] = ()
    init_ms: float = 0.0

    def timings(self) -> dict[str, float]:
        """Statistics of the times, as the device program prints them but for the time to read the file."""
        ordered = sorted(self.times_ms)
        return {
            "init": self.init_ms,
            "min": ordered[0],
            "median": ordered[len(ordered) // 2],
            "max": ordered[-1],
            "stddev": statistics.pstdev(ordered),
            "mean": statistics.fmean(ordered),
        }


def token_of(tokens: Sequence[str], number: int) -> str:
    """Token that feeds an input; the last one also feeds those behind it."""
    return tokens[min(number, len(tokens) - 1)]


def about(tensor: TensorMeta) -> str:
    """Name, shape and type of a tensor."""
    return f"{one_line(tensor.name)} {format_shape(tensor.shape)} {tensor.dtype}"


def show(measured: Measured, classes: Sequence[Class]) -> None:
    """Print classes and timings."""
    if classes:
        rows = [(str(c.index), f"{c.confidence:.4f}", c.label) for c in classes]
        print_table(("Class", "Confidence", "Description"), rows)
    if len(measured.subgraph_times_ms) > 1:
        parts = "  ".join(f"{k}: {value:.2f}" for k, value in enumerate(measured.subgraph_times_ms))
        click.echo(f"Subgraph times (ms), last prediction:  {parts}")
    timings = "  ".join(f"{name}: {value:.2f}" for name, value in measured.timings().items())
    click.echo(f"Inference timings (ms):  {timings}")


def _values(array: np.ndarray) -> list[object]:
    """Items in a row; JSON has no word for what is not a finite number, so that becomes text."""
    return [value if value - value == 0 else str(value) for value in array.ravel().tolist()]


def as_json(
    header: Mapping[str, object], measured: Measured, tensors: Sequence[TensorMeta], classes: Sequence[Class]
) -> dict[str, object]:
    """Everything as JSON values."""
    outputs = [
        {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "dtype": tensor.dtype,
            "values": _values(array) if array.size <= MAX_JSON_ITEMS else None,
        }
        for tensor, array in zip(tensors, measured.outputs, strict=True)
    ]
    return {
        **header,
        "outputs": outputs,
        "top5": [{"class_index": c.index, "confidence": c.confidence, "label": c.label} for c in classes],
        "times_ms": measured.times_ms,
        "subgraph_times_ms": list(measured.subgraph_times_ms),
        "timings_ms": measured.timings(),
    }
