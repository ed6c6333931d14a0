"""Registration of the delegate; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from synap_core.api import Delegate, hookimpl

if TYPE_CHECKING:
    from synap_core.api import Artifact, Group, Layer, SourceModel, Subgraph, Support, Target


def support(layer: Layer, source: SourceModel, target: Target) -> Support:
    """Never asked: the delegate takes no source format."""
    from synap_core.api import Support

    del layer, source, target
    return Support(ok=True)


def operations(group: Group, dtype: str, target: Target) -> Support:
    """Whether the compiler takes an operation."""
    from synap_vendor_npu.compiler import accepted

    del target
    return accepted(group, dtype)


def compile_subgraph(subgraph: Subgraph) -> Artifact:
    """Run the compiler."""
    from synap_vendor_npu.compiler import compile_subgraph as compile_it

    return compile_it(subgraph)


@hookimpl
def synap_delegates() -> Iterable[Delegate]:
    """Offer the delegate, under the name that targets have for the unit."""
    yield Delegate(
        name="npu",
        summary="Neural processing unit, by an external compiler",
        formats=frozenset(),
        support=support,
        operations=operations,
        compile=compile_subgraph,
        capabilities=frozenset({"quantization", "dequantize", "layout"}),
    )
