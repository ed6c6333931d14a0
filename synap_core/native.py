"""Delegates that run layers in the source model's own format, by an engine the on-board runtime has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from synap_core.errors import InputError
from synap_core.payloads import Delegate, Target

if TYPE_CHECKING:
    from synap_core.source import Layer, SourceModel
    from synap_core.subgraphs import Artifact, Subgraph, Support


def native_delegate(*, name: str, summary: str, runtimes: Mapping[str, str]) -> Delegate:
    """Make a delegate that cuts its subgraphs out as they are.

    Args:
        name: The metafile's word for it.
        summary: One line for listings.
        runtimes: For each source format, the runtime's name and the options that make it use this engine.
    """

    def support(_layer: Layer, source: SourceModel, _target: Target) -> Support:
        from synap_core.subgraphs import Support

        if source.format in runtimes:
            return Support(ok=True, engine=name)
        return Support(ok=False, reason=f"it runs the formats {', '.join(sorted(runtimes))}, not {source.format}")

    def compile_subgraph(subgraph: Subgraph) -> Artifact:
        from synap_core.subgraphs import Artifact

        native = subgraph.source.format
        _check_options(name, runtimes[native], subgraph.options)
        return Artifact(
            model_file=f"{subgraph.name}.{native}",
            meta_file=f"{subgraph.name}.json",
            model=subgraph.source.slice(subgraph.part),
            inputs=subgraph.inputs,
            outputs=subgraph.outputs,
            # Without options one trailing blank remains, as the official toolkit writes it.
            delegate=f"{runtimes[native]} {subgraph.options}",
        )

    return Delegate(name=name, summary=summary, formats=frozenset(runtimes), support=support, compile=compile_subgraph)


def _check_options(name: str, runtime: str, options: str) -> None:
    """Refuse options that the delegate sets itself: the first of two equal keys wins, so they would have no effect."""
    from synap_core.format_string import FormatString

    own = FormatString.parse(runtime).option_names()
    clash = next((key for key in FormatString.parse(f"{name} {options}").option_names() if key in own), None)
    if clash is not None:
        msg = f"option {clash!r} of delegate {name!r} is set by the delegate itself"
        raise InputError(msg, hint="remove it, or choose another delegate")
