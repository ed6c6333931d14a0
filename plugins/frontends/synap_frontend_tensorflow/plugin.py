"""Registration of the ``tensorflow`` frontend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from synap_core.api import Frontend, hookimpl
from synap_frontend_tensorflow.sniff import looks_like_graph

if TYPE_CHECKING:
    from synap_core.api import ModelRequest, OperatorSupport, SourceModel


def open_model(request: ModelRequest) -> SourceModel:
    """Open a ``.pb`` file."""
    from synap_frontend_tensorflow.model import TensorflowModel

    return TensorflowModel.open(request)


def operators() -> Sequence[OperatorSupport]:
    """List the operators of the format."""
    from synap_frontend_tensorflow.importer.registry import operator_table

    return operator_table()


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
    )
