"""Registration of the ``GENERIC`` target."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Target, hookimpl


@hookimpl
def synap_targets() -> Iterable[Target]:
    """Offer the target."""
    yield Target(name="GENERIC", summary="Any board, processor cores only", delegates=("cpu",))
