"""Registration of the ``caffe`` frontend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from synap_core.api import Frontend, hookimpl
from synap_frontend_caffe.sniff import looks_like_caffe

if TYPE_CHECKING:
    from synap_core.api import ModelRequest, OperatorSupport, SourceModel


def open_model(request: ModelRequest) -> SourceModel:
    """Open a ``.prototxt`` and its ``.caffemodel``."""
    from synap_frontend_caffe.model import CaffeModel

    return CaffeModel.open(request)


def operators() -> Sequence[OperatorSupport]:
    """List the layer types of the format."""
    from synap_frontend_caffe.importer.registry import operator_table

    return operator_table()


@hookimpl
def synap_frontends() -> Iterable[Frontend]:
    """Offer the frontend."""
    yield Frontend(
        name="caffe",
        summary="Caffe 1.0 models",
        suffixes=(".prototxt",),
        sniff=looks_like_caffe,
        open=open_model,
        operators=operators,
    )
