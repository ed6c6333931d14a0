"""``python -m synap_core.cli``: the same as ``synap``."""

from __future__ import annotations

from synap_core.cli.main import main

main()
