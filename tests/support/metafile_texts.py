"""Load metafiles from text, and say where in a text a message points."""

from __future__ import annotations

from pathlib import Path

from synap_core.errors import InputError
from synap_core.metafile import Metafile, load_metafile

DELEGATES = ("npu", "gpu", "cpu")
MARK = "§"


def load(folder: Path, text: str | bytes, name: str = "m.yaml") -> Metafile:
    """Write a metafile and load it."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_metafile(path, delegates=DELEGATES)


def refusal(folder: Path, text: str | bytes) -> str:
    """The message that a metafile is refused with, with paths relative to its folder."""
    try:
        load(folder, text)
    except InputError as error:
        return str(error).replace(f"{folder}/", "")
    msg = f"{text!r} was accepted"
    raise AssertionError(msg)


def marked(text: str, name: str = "m.yaml") -> tuple[str, str]:
    """Split a text with one mark in it into the text and ``file:line:column`` of what stood behind the mark."""
    before, after = text.split(MARK)
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return before + after, f"{name}:{line}:{column}"
