"""Registration of the ``names`` output format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from synap_core.api import Conversion, OutputFormat, hookimpl

LIST_FILE = "names.txt"


def write(conversion: Conversion, out_dir: Path) -> None:
    """Write a line for each model file: its name and its delegate string."""
    lines = [f"{artifact.model_file} {artifact.delegate}\n" for artifact in conversion.artifacts]
    (out_dir / LIST_FILE).write_text("".join(lines), encoding="utf-8", newline="\n")


@hookimpl
def synap_output_formats() -> Iterable[OutputFormat]:
    """Offer the output format."""
    yield OutputFormat(name="names", summary="List of model files", write=write, primary=LIST_FILE)
