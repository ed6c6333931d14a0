"""Registration of the ``tflite`` frontend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from synap_core.api import Frontend, hookimpl

if TYPE_CHECKING:
    from synap_core.api import ModelRequest, OperatorSupport, SourceModel

FILE_IDENTIFIER = b"TFL3"


def has_file_identifier(head: bytes) -> bool:
    """Tell whether the identifier stands where every TensorFlow Lite file has it."""
    return head[4:8] == FILE_IDENTIFIER


def open_model(request: ModelRequest) -> SourceModel:
    """Open a ``.tflite`` file."""
    from synap_frontend_tflite.model import TfliteModel

    return TfliteModel.open(request)


def operators() -> Sequence[OperatorSupport]:
    """List the operators of the format."""
    from synap_frontend_tflite.importer.registry import operator_table

    return operator_table()


@hookimpl
def synap_frontends() -> Iterable[Frontend]:
    """Offer the frontend."""
    yield Frontend(
        name="tflite",
        summary="TensorFlow Lite models",
        suffixes=(".tflite",),
        sniff=has_file_identifier,
        open=open_model,
        operators=operators,
    )
