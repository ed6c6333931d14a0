"""Registration of the ``onnx`` runtime."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from synap_core.api import Runtime, hookimpl

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_core.api import Executable, RuntimeModel, Session


def load(model: RuntimeModel) -> Executable:
    """Load a model into ONNX Runtime."""
    from synap_runtime_onnx.session import OnnxExecutable

    return OnnxExecutable(model)


def open_graph(model: ir.Model) -> Session:
    """Make a graph ready for numeric work in ONNX Runtime."""
    from synap_runtime_onnx.graph_session import GraphSession

    return GraphSession(model)


@hookimpl
def synap_runtimes() -> Iterable[Runtime]:
    """Offer the runtime."""
    summary = "ONNX Runtime, on the processor cores of this host"
    yield Runtime(name="onnx", summary=summary, load=load, open_graph=open_graph)
