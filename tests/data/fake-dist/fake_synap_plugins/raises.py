"""Fails when it is asked."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Frontend, hookimpl


@hookimpl
def synap_frontends() -> Iterable[Frontend]:
    """Fail."""
    msg = "no licence found"
    raise RuntimeError(msg)
    yield
