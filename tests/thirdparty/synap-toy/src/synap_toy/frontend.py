"""Registration of the ``toy`` frontend."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Frontend, ModelRequest, SourceModel, hookimpl


def begins_like_toy(head: bytes) -> bool:
    """Tell whether a file begins like a toy model, of whatever version."""
    return head.startswith(b"toy ")


def open_model(request: ModelRequest) -> SourceModel:
    """Open a ``.toy`` file."""
    from synap_toy.model import ToyModel

    return ToyModel.open(request)


@hookimpl
def synap_frontends() -> Iterable[Frontend]:
    """Offer the frontend."""
    yield Frontend(
        name="toy", summary="Toy models, as text", suffixes=(".toy",), sniff=begins_like_toy, open=open_model
    )
