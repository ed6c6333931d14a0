"""Metafiles from text."""

from __future__ import annotations

from pathlib import Path

from synap_core.metafile import Metafile, load_metafile

DELEGATES = ("cpu", "gpu", "npu")


def metafile(folder: Path, text: str) -> Metafile:
    """Load a metafile with this text; its name is meta.yaml."""
    path = folder / "meta.yaml"
    path.write_text(text, encoding="utf-8")
    return load_metafile(path, delegates=DELEGATES)
