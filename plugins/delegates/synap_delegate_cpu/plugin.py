"""Registration of the ``cpu`` delegate."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Artifact, Delegate, Layer, SourceModel, Subgraph, Support, Target, hookimpl

RUNTIME_STRINGS = {"tflite": "tflite gpu=0"}
"""What the on-board runtime must be told to run each native format on the cores."""


def support(_layer: Layer, source: SourceModel, _target: Target) -> Support:
    """Any layer of a format that the on-board runtime loads as it is."""
    if source.format in RUNTIME_STRINGS:
        return Support(ok=True, engine="CPU")
    known = ", ".join(sorted(RUNTIME_STRINGS))
    return Support(ok=False, reason=f"it runs the formats {known}, not {source.format}")


def compile_subgraph(subgraph: Subgraph) -> Artifact:
    """Cut the subgraph out in its own format."""
    native = subgraph.source.format
    return Artifact(
        model_file=f"{subgraph.name}.{native}",
        meta_file=f"{subgraph.name}.json",
        model=subgraph.source.slice(subgraph.part),
        inputs=subgraph.inputs,
        outputs=subgraph.outputs,
        delegate=f"{RUNTIME_STRINGS[native]} {subgraph.options}",
    )


@hookimpl
def synap_delegates() -> Iterable[Delegate]:
    """Offer the delegate."""
    yield Delegate(
        name="cpu",
        summary="Processor cores",
        formats=frozenset(RUNTIME_STRINGS),
        support=support,
        compile=compile_subgraph,
    )
