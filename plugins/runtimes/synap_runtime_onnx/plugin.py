"""Registration of the runtimes that compute in ONNX Runtime: one entry point, and so one switch, for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synap_core.api import Runtime, hookimpl

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_core.api import Executable, ProgramDescription, RuntimeModel, Session


def load(model: RuntimeModel) -> Executable:
    """Load a model into ONNX Runtime."""
    from synap_runtime_onnx.layer_outputs import InspectableOnnx

    return InspectableOnnx(model)


def open_graph(model: ir.Model) -> Session:
    """Make a graph ready for numeric work in ONNX Runtime."""
    from synap_runtime_onnx.graph_session import GraphSession

    return GraphSession(model)


def load_program(model: RuntimeModel) -> Executable:
    """Load a program for the neural processing unit into ONNX Runtime."""
    from synap_runtime_onnx.program import load_program as load_it

    return load_it(model)


def describe_program(model: RuntimeModel) -> ProgramDescription:
    """Tell what a program for the neural processing unit consists of, without running it."""
    from synap_runtime_onnx.program_description import describe

    return describe(model)


@dataclass(frozen=True, slots=True)
class RuntimePlugin:
    """A plugin that offers one runtime."""

    runtime: Runtime

    @hookimpl
    def synap_runtimes(self) -> Iterable[Runtime]:
        """Offer the runtime."""
        yield self.runtime


onnx = RuntimePlugin(
    Runtime(
        name="onnx",
        summary="ONNX Runtime, on the processor cores of this host",
        load=load,
        open_graph=open_graph,
    )
)
npu = RuntimePlugin(
    Runtime(
        name="npu",
        summary="Programs of the npu delegate, computed on the processor cores of this host",
        load=load_program,
        describe=describe_program,
    )
)
