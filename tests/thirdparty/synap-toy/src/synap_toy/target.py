"""Registration of the ``TOY1`` target."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Target, hookimpl


@hookimpl
def synap_targets() -> Iterable[Target]:
    """Offer the target."""
    yield Target(name="TOY1", summary="Toy board", delegates=("dsp", "cpu"), aliases=("TOYBOARD",))
