"""A plugin as it should be."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Frontend, ModelRequest, SourceModel, hookimpl


def open_model(request: ModelRequest) -> SourceModel:
    """Never called."""
    raise NotImplementedError(request)


class AClass:
    """An entry point must not be a class."""


@hookimpl
def synap_frontends() -> Iterable[Frontend]:
    """Offer a frontend."""
    yield Frontend(
        name="good", summary="Good", suffixes=(".good",), sniff=lambda head: head.startswith(b"good"), open=open_model
    )
