"""Registration of the ``onnx`` output format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.api import OutputFormat, hookimpl

if TYPE_CHECKING:
    from synap_core.api import Conversion


def write(conversion: Conversion, out_dir: Path) -> None:
    """Write the model."""
    from synap_output_onnx import writer

    writer.write(conversion, out_dir)


@hookimpl
def synap_output_formats() -> Iterable[OutputFormat]:
    """Offer the output format."""
    yield OutputFormat(
        name="onnx",
        summary="One ONNX model of everything, for any ONNX runtime",
        write=write,
        primary="model.onnx",
        whole_graph=True,
        reports=("model_state.npz", "quantization_info.yaml", "quantization_entropy.txt"),
    )
