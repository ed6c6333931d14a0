"""Registration of the ``tensorflow`` frontend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.api import Frontend, InputError, hookimpl
from synap_frontend_tensorflow.sniff import looks_like_graph

if TYPE_CHECKING:
    from synap_core.api import ModelRequest, OperatorSupport, SourceModel

SAVED_MODEL_FILE = "saved_model.pb"
"""What the folder of a SavedModel has in it."""

UNFROZEN_SUFFIXES = (".ckpt", ".meta", ".pbtxt")


def open_model(request: ModelRequest) -> SourceModel:
    """Open a ``.pb`` file."""
    from synap_frontend_tensorflow.model import TensorflowModel

    return TensorflowModel.open(request)


def operators() -> Sequence[OperatorSupport]:
    """List the operators of the format."""
    from synap_frontend_tensorflow.importer.registry import operator_table

    return operator_table()


def advise(path: Path) -> InputError | None:
    """Say what to do with a SavedModel's folder, or a checkpoint's files."""
    if not ((path / SAVED_MODEL_FILE).is_file() or path.suffix.lower() in UNFROZEN_SUFFIXES):
        return None
    from synap_frontend_tensorflow.reader import not_frozen

    return not_frozen("a SavedModel" if path.is_dir() else "a graph that is not frozen")


@hookimpl
def synap_frontends() -> Iterable[Frontend]:
    """Offer the frontend."""
    yield Frontend(
        name="tensorflow",
        summary="Frozen TensorFlow graphs",
        suffixes=(".pb",),
        sniff=looks_like_graph,
        open=open_model,
        operators=operators,
        advise=advise,
    )
