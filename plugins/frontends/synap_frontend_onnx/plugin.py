"""Registration of the ``onnx`` frontend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from synap_core.api import Frontend, hookimpl
from synap_frontend_onnx.sniff import looks_like_onnx

if TYPE_CHECKING:
    from synap_core.api import ModelRequest, OperatorSupport, SourceModel


def open_model(request: ModelRequest) -> SourceModel:
    """Open an ``.onnx`` file."""
    from synap_frontend_onnx.model import OnnxModel

    return OnnxModel.open(request, lenient=request.inspect)


def operators() -> Sequence[OperatorSupport]:
    """List the operators of the format."""
    from synap_frontend_onnx.importer import table

    return table.operators()


@hookimpl
def synap_frontends() -> Iterable[Frontend]:
    """Offer the frontend."""
    yield Frontend(
        name="onnx",
        summary="ONNX models",
        suffixes=(".onnx",),
        sniff=looks_like_onnx,
        open=open_model,
        operators=operators,
    )
