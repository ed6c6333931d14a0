"""Hosts with stand-ins for features that are not part of this distribution yet, or that a test controls."""

from __future__ import annotations

from types import SimpleNamespace

from synap_core.api import Artifact, Delegate, Subgraph, Support, hookimpl
from synap_core.host import PluginHost


def compile_natively(subgraph: Subgraph) -> Artifact:
    """Cut the subgraph out in the source's own format, to be run by LiteRT."""
    return Artifact(
        model_file=f"{subgraph.name}.{subgraph.source.format}",
        meta_file=f"{subgraph.name}.json",
        model=subgraph.source.slice(subgraph.part),
        inputs=subgraph.inputs,
        outputs=subgraph.outputs,
        delegate=f"tflite {subgraph.options}",
    )


def stand_in_delegate(name: str) -> Delegate:
    """A delegate that runs anything natively, under a name that targets know."""
    return Delegate(
        name=name,
        summary="stand-in",
        formats=frozenset({"tflite"}),
        support=lambda *_: Support(ok=True),
        compile=compile_natively,
    )


def host_with(*delegates: Delegate) -> PluginHost:
    """The installed plugins and some delegates."""
    host = PluginHost()
    hook = hookimpl(specname="synap_delegates")(lambda: list(delegates))
    record = host.register(SimpleNamespace(synap_delegates=hook), "test-delegates")
    assert record.state == "enabled", record.reason
    return host
