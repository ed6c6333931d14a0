"""Loads together with the good plugin."""

from __future__ import annotations

from fake_synap_plugins.other import synap_frontends

__all__ = ["synap_frontends"]
