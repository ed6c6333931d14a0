"""The same payload name as the good plugin, and one of its own."""

from __future__ import annotations

from collections.abc import Iterable

from fake_synap_plugins.good import open_model
from synap_core.api import Frontend, hookimpl


@hookimpl
def synap_frontends() -> Iterable[Frontend]:
    """Offer two frontends."""
    for name in ("own", "shared"):
        yield Frontend(name=name, summary="x", suffixes=(f".{name}",), sniff=bool, open=open_model)
