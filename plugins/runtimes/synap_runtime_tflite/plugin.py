"""Registration of the ``tflite`` runtime."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from synap_core.api import Runtime, hookimpl

if TYPE_CHECKING:
    from synap_core.api import Executable, RuntimeModel


def load(model: RuntimeModel) -> Executable:
    """Load a model into LiteRT."""
    from synap_runtime_tflite.litert import LitertExecutable

    return LitertExecutable(model)


@hookimpl
def synap_runtimes() -> Iterable[Runtime]:
    """Offer the runtime."""
    yield Runtime(name="tflite", summary="LiteRT, on the processor cores of this host", load=load)
