"""Registration of the ``npu`` delegate."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from synap_core.api import Delegate, hookimpl

if TYPE_CHECKING:
    import onnx_ir as ir
    from pydantic import BaseModel

    from synap_core.api import Artifact, Cost, Group, Layer, Overhead, SourceModel, Subgraph, Support, Target


def support(layer: Layer, source: SourceModel, target: Target) -> Support:
    """Accept every layer: the operations of the canonical graph decide."""
    from synap_core.api import Support

    del layer, source, target
    return Support(ok=True, engine="npu")


def operations(group: Group, dtype: str, target: Target) -> Support:
    """Whether the unit runs an operation."""
    from synap_delegate_npu.support import check

    del target
    return check(group, dtype)


def group(model: ir.Model, groups: Sequence[Group], target: Target, keep: Collection[str]) -> Sequence[Group]:
    """Join and divide operations so that each is one of the hardware."""
    from synap_delegate_npu.fusion import fuse

    del target
    return fuse(model, groups, keep)


def estimate(group: Group, dtype: str, target: Target) -> Cost | None:
    """Predict what an operation costs."""
    from synap_delegate_npu.estimates import estimate_group

    return estimate_group(group, dtype, target)


def overhead(target: Target) -> Overhead | None:
    """Predict what an inference costs besides its operations."""
    from synap_delegate_npu.estimates import inference_overhead

    return inference_overhead(target)


def compile_subgraph(subgraph: Subgraph) -> Artifact:
    """Compile a subgraph to a program."""
    from synap_delegate_npu.compiler import compile_subgraph as compile_it

    return compile_it(subgraph)


def parameters_model() -> type[BaseModel]:
    """Import the model of the parameters of a unit."""
    from synap_delegate_npu.cost.parameters import NpuParameters

    return NpuParameters


@hookimpl
def synap_delegates() -> Iterable[Delegate]:
    """Offer the delegate."""
    yield Delegate(
        name="npu",
        summary="Neural processing unit: an open program, executed on the host and costed for the chip",
        formats=frozenset(),
        support=support,
        compile=compile_subgraph,
        capabilities=frozenset({"quantization", "dequantize", "layout", "profiling"}),
        operations=operations,
        group=group,
        estimate=estimate,
        overhead=overhead,
        parameters_model=parameters_model,
    )
