"""Version of the toolkit."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "synap-toolkit"


def toolkit_version() -> str:
    """Version of the installed distribution."""
    return importlib.metadata.version(DISTRIBUTION)
