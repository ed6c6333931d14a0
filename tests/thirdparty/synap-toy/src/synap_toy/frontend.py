"""Registration of the ``toy`` frontend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synap_core.api import Frontend, ModelRequest, OperatorSupport, SourceModel, hookimpl


def begins_like_toy(head: bytes) -> bool:
    """Tell whether a file begins like a toy model, of whatever version."""
    return head.startswith(b"toy ")


def open_model(request: ModelRequest) -> SourceModel:
    """Open a ``.toy`` file."""
    from synap_toy.model import ToyModel

    return ToyModel.open(request)


def operators() -> Sequence[OperatorSupport]:
    """List the operators for ``synap ops``."""
    from synap_toy import importer

    return importer.operators()


@hookimpl
def synap_frontends() -> Iterable[Frontend]:
    """Offer the frontend."""
    yield Frontend(
        name="toy",
        summary="Toy models, as text",
        suffixes=(".toy",),
        sniff=begins_like_toy,
        open=open_model,
        operators=operators,
    )
