"""What becomes of each layer of a model in the canonical graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synap_core.convert import check_file, model_request, read_metafile
from synap_core.host import PluginHost
from synap_core.model_files import open_model
from synap_core.source import LayerSupport


def layer_support(
    host: PluginHost,
    model: Path,
    *,
    weights: Path | None = None,
    meta: Path | None = None,
    frontend: str | None = None,
) -> Sequence[LayerSupport]:
    """Import a whole model, and say which layers the canonical graph expresses.

    Args:
        host: Where the frontends are.
        model: The model.
        weights: Its companion file.
        meta: A metafile, for the shapes of inputs that the model leaves open.
        frontend: Name of the frontend to use; by default the file tells.

    Raises:
        InputError: The model cannot be read, or is of another format than the frontend's.
    """
    check_file(model, "model", host)
    if weights is not None:
        check_file(weights, "weights")
    request = model_request(model, weights, read_metafile(meta, host))
    return open_model(host, request, frontend).support()
