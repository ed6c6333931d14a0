"""Returns something that is no payload."""

from __future__ import annotations

from synap_core.api import hookimpl


@hookimpl
def synap_frontends() -> list[object]:
    """Offer a dictionary."""
    return [{"name": "x"}]
