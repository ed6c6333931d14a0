"""What becomes of each layer of a model in the canonical graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synap_core.convert import check_file, model_request, read_metafile
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.model_files import open_model, read_head
from synap_core.payloads import Frontend
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
    for path, what in ((model, "model"), (weights, "weights")):
        if path is not None:
            check_file(path, what)
    if frontend is not None:
        _check_frontend(host, model, frontend)
    request = model_request(model, weights, read_metafile(meta, host))
    return open_model(host, request, frontend).support()


def _check_frontend(host: PluginHost, model: Path, name: str) -> None:
    """Refuse a frontend that does not know the format of a file, where another one does."""
    chosen, head = host.find(Frontend, name), read_head(model)
    fitting = [item.name for item in host.frontends.values() if _sniffs(host, item, head)]
    if fitting and chosen.name not in fitting:
        msg = f"this is no {name} file: it looks like {' or '.join(fitting)}"
        raise InputError(msg, where=model, hint=f"leave --frontend out, or give --frontend {fitting[0]}")


def _sniffs(host: PluginHost, frontend: Frontend, head: bytes) -> bool:
    with host.boundary(frontend):
        return frontend.sniff(head)
