"""Core of the open SyNAP toolkit: hook specifications, conversion pipeline, bundle and host runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synap_core.network import Network

__all__ = ["Network"]


def __getattr__(name: str) -> object:
    """Import ``Network`` on first use: it needs NumPy, and most of the command line does not."""
    if name == "Network":
        from synap_core.network import Network

        return Network
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
