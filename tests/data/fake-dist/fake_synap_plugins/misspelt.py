"""Misspells its hook."""

from __future__ import annotations

from synap_core.api import hookimpl


@hookimpl
def synap_frontend() -> list[object]:
    """Would never be called."""
    return []
