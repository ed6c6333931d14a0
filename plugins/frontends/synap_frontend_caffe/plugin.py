"""Registration of the ``caffe`` frontend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.api import Frontend, InputError, hookimpl
from synap_frontend_caffe.sniff import looks_like_caffe

if TYPE_CHECKING:
    from synap_core.api import ModelRequest, OperatorSupport, SourceModel

WEIGHTS_SUFFIX = ".caffemodel"


def open_model(request: ModelRequest) -> SourceModel:
    """Open a ``.prototxt`` and its ``.caffemodel``."""
    from synap_frontend_caffe.model import CaffeModel

    return CaffeModel.open(request)


def operators() -> Sequence[OperatorSupport]:
    """List the layer types of the format."""
    from synap_frontend_caffe.importer.registry import operator_table

    return operator_table()


def advise(path: Path) -> InputError | None:
    """Say that weights are only one of the two files of a model."""
    if path.suffix.lower() != WEIGHTS_SUFFIX:
        return None
    msg = "these are the weights of a Caffe model; its layers are in another file"
    return InputError(msg, hint=f"give --model {path.with_suffix('.prototxt').name} --weights {path.name}")


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
        advise=advise,
    )
