"""Registration of the ``nb`` output format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.api import OutputFormat, hookimpl

if TYPE_CHECKING:
    from synap_core.api import Conversion

MODEL_FILE = "model.nb"
META_FILE = "model.json"
INFO_FILE = "model_info.txt"


def write(conversion: Conversion, out_dir: Path) -> None:
    """Write the model, its metadata and the reports."""
    from synap_output_nb import writer

    writer.write(conversion, out_dir)


@hookimpl
def synap_output_formats() -> Iterable[OutputFormat]:
    """Offer the output format."""
    yield OutputFormat(
        name="nb",
        summary="A single compiled model for SyNAP 2.x and 3.x runtimes",
        write=write,
        primary=MODEL_FILE,
        reports=(META_FILE, INFO_FILE, "quantization_info.yaml", "quantization_entropy.txt"),
    )
