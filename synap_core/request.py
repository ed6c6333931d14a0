"""What a conversion is asked for, and the model and metafile that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.payloads import Target
from synap_core.selection import Selection
from synap_core.source import SourceModel

if TYPE_CHECKING:
    from synap_core.metafile import Metafile


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertRequest:
    """What to convert.

    Attributes:
        model: The model file.
        target: Name or alias of the system on chip, in any case.
        weights: Companion file of the model.
        meta: The metafile.
        frontend: Name of the frontend to use; by default the file tells.
        profiling: Ask for layer-by-layer profiling.
        branch_split: Keep branches apart that can run in parallel on different delegates.
        whole_graph: Build the canonical graph of the whole model instead of subgraphs.
        cache_dir: Folder for results that later conversions can use again; without it none are kept.
        jobs: Threads that quantization may use; as many as there are cores by default.
        scheduler: Address of a Dask scheduler whose workers observe the samples of a quantization.
        target_accuracy: Signal to quantization noise ratio in dB that the outputs of a quantized model must reach;
            layers are raised to larger types until they do.
        fallback: Delegate that takes the layers which the delegate they are assigned to does not run; without it they
            end the conversion.
        target_parameters: File with settings of delegates that take the place of the target's own.
    """

    model: Path
    target: str
    weights: Path | None = None
    meta: Path | None = None
    frontend: str | None = None
    profiling: bool = False
    branch_split: bool = True
    whole_graph: bool = False
    cache_dir: Path | None = None
    jobs: int | None = None
    scheduler: str | None = None
    target_accuracy: float | None = None
    fallback: str | None = None
    target_parameters: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model and what a metafile says of it.

    Attributes:
        source: The model.
        selection: What of it is converted.
        meta: The metafile.
        target: The system on chip.
    """

    source: SourceModel
    selection: Selection
    meta: Metafile
    target: Target
