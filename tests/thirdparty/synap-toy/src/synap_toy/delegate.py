"""Registration of the ``dsp`` delegate."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Artifact, Delegate, Layer, SourceModel, Subgraph, Support, Target, hookimpl
from synap_toy.text import FORMAT, OPERATORS


def support(layer: Layer, source: SourceModel, _target: Target) -> Support:
    """Any layer of a toy model with an operator that the format defines."""
    if source.format != FORMAT:
        return Support(ok=False, reason=f"it runs the format {FORMAT}, not {source.format}")
    if layer.type not in OPERATORS:
        return Support(ok=False, reason=f"it knows the operators {', '.join(sorted(OPERATORS))} only")
    return Support(ok=True, engine="DSP")


def compile_subgraph(subgraph: Subgraph) -> Artifact:
    """Cut the subgraph out: the processor reads the text as it is."""
    model = subgraph.source.slice(subgraph.part)
    return Artifact(
        model_file=f"{subgraph.name}.{FORMAT}",
        meta_file=f"{subgraph.name}.json",
        model=model,
        inputs=subgraph.inputs,
        outputs=subgraph.outputs,
        delegate=f"{FORMAT} {subgraph.options}".rstrip(),
        listings={f"Program of {subgraph.name}": model.decode()},
    )


@hookimpl
def synap_delegates() -> Iterable[Delegate]:
    """Offer the delegate."""
    yield Delegate(
        name="dsp", summary="Signal processor", formats=frozenset({FORMAT}), support=support, compile=compile_subgraph
    )
