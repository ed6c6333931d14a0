"""Registration of the ``onnx`` runtime."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from synap_core.api import Runtime, hookimpl

if TYPE_CHECKING:
    from synap_core.api import Executable, RuntimeModel


def load(model: RuntimeModel) -> Executable:
    """Load a model into ONNX Runtime."""
    from synap_runtime_onnx.session import OnnxExecutable

    return OnnxExecutable(model)


@hookimpl
def synap_runtimes() -> Iterable[Runtime]:
    """Offer the runtime."""
    yield Runtime(name="onnx", summary="ONNX Runtime, on the processor cores of this host", load=load)
