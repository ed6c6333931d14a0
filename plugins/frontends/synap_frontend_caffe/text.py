"""Words of a file that may be no text."""

from __future__ import annotations


def text_of(word: str | bytes) -> str:
    """A name as text: ``protobuf`` gives the bytes of one that is not UTF-8."""
    return word if isinstance(word, str) else bytes(word).decode("utf-8", "replace")
