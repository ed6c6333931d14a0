"""Registration of the ``synap`` output format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.api import OutputFormat, hookimpl

if TYPE_CHECKING:
    from synap_core.api import Conversion

BUNDLE_FILE = "model.synap"
INFO_FILE = "model_info.txt"


def write(conversion: Conversion, out_dir: Path) -> None:
    """Write the bundle and the report."""
    from synap_core.api import pack_bundle, render_model_info

    (out_dir / BUNDLE_FILE).write_bytes(pack_bundle(conversion))
    (out_dir / INFO_FILE).write_text(render_model_info(conversion), encoding="utf-8", newline="\n")
    for name, text in conversion.listings.items():
        (out_dir / name).write_text(text, encoding="utf-8", newline="\n")


@hookimpl
def synap_output_formats() -> Iterable[OutputFormat]:
    """Offer the output format."""
    yield OutputFormat(
        name="synap",
        summary="Bundle for SyNAP 3.x runtimes",
        write=write,
        primary=BUNDLE_FILE,
        reports=(INFO_FILE, "quantization_info.yaml", "quantization_entropy.txt"),
    )
