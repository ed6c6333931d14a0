"""What becomes of each layer of a model in the canonical graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synap_core.convert import check_file
from synap_core.host import PluginHost
from synap_core.model_files import open_model
from synap_core.source import LayerSupport, ModelRequest


def layer_support(
    host: PluginHost, model: Path, weights: Path | None = None, frontend: str | None = None
) -> Sequence[LayerSupport]:
    """Import a whole model, and say which layers the canonical graph expresses.

    Raises:
        InputError: The model cannot be read.
    """
    for path, what in ((model, "model"), (weights, "weights")):
        if path is not None:
            check_file(path, what)
    return open_model(host, ModelRequest(path=model, weights=weights), frontend).support()
