"""Version of the toolkit."""

from __future__ import annotations

import functools
import importlib.metadata

DISTRIBUTION = "synap-toolkit"


@functools.cache
def toolkit_version() -> str:
    """Version of the installed distribution."""
    return importlib.metadata.version(DISTRIBUTION)
