"""Delegates that run layers as the model says, by an engine the on-board runtime has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from synap_core.errors import InputError
from synap_core.payloads import EXACT_TYPE, Delegate, Target

if TYPE_CHECKING:
    from synap_core.graph.groups import Group
    from synap_core.source import Layer, SourceModel
    from synap_core.subgraphs import Artifact, Subgraph, Support


def native_delegate(*, name: str, summary: str, runtimes: Mapping[str, str], canonical: str | None = None) -> Delegate:
    """Make a delegate that cuts its subgraphs out as they are.

    Args:
        name: The metafile's word for it.
        summary: One line for listings.
        runtimes: For each source format, the runtime's name and the options that make it use this engine.
        canonical: Which of these formats is that of the canonical graph. Models of all other formats then run, too, in
            float32; None when they do not.
    """

    def support(_layer: Layer, source: SourceModel, _target: Target) -> Support:
        from synap_core.subgraphs import Support

        if source.format in runtimes:
            return Support(ok=True, engine=name)
        return Support(ok=False, reason=f"it runs the formats {', '.join(sorted(runtimes))}, not {source.format}")

    def operations(_group: Group, _dtype: str, _target: Target) -> Support:
        from synap_core.subgraphs import Support

        return Support(ok=True, engine=name)

    def compile_subgraph(subgraph: Subgraph) -> Artifact:
        from synap_core.subgraphs import Artifact

        own = subgraph.graph is None
        native = subgraph.source.format if own else str(canonical)
        _check_options(name, runtimes[native], subgraph.options)
        return Artifact(
            model_file=f"{subgraph.name}.{native}",
            meta_file=f"{subgraph.name}.json",
            model=subgraph.source.slice(subgraph.part) if own else _written(subgraph),
            inputs=subgraph.inputs,
            outputs=subgraph.outputs,
            # Without options one trailing blank remains, as the official toolkit writes it.
            delegate=f"{runtimes[native]} {subgraph.options}",
        )

    return Delegate(
        name=name,
        summary=summary,
        formats=frozenset(runtimes),
        support=support,
        compile=compile_subgraph,
        operations=None if canonical is None else operations,
        real_type=EXACT_TYPE,
    )


def _written(subgraph: Subgraph) -> bytes:
    """The canonical graph of a subgraph as a file."""
    from synap_core.graph.annotations import origins_of, states_of
    from synap_core.graph.qdq import to_qdq
    from synap_core.graph.storage import serialize

    if subgraph.graph is None:
        msg = f"{subgraph.name} has no graph"
        raise ValueError(msg)
    for tensor in (*subgraph.inputs, *subgraph.outputs):
        if not tensor.shape:
            msg = f"tensor {tensor.name!r} has no dimensions (shape is empty), which the boards' runtime refuses"
            raise InputError(msg, hint="cut the model at another tensor with 'inputs'/'outputs'")
    states = states_of(subgraph.graph)
    if states:
        layers = ", ".join(repr(layer.name) for layer in subgraph.part.layers if layer.state)
        msg = f"layers that keep variables cannot run as plain operators: {layers}"
        raise InputError(msg, hint="assign another delegate to them in the metafile's 'delegate' field")
    model = to_qdq(subgraph.graph)
    used: set[str] = set()
    for node in model.graph:
        # A viewer then shows the layers by their names in the model.
        stem = next((origin.name for origin in origins_of(node)), str(node.name))
        node.name = next(name for name in _numbered(stem) if name not in used)
        used.add(node.name)
    return serialize(model)


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}.{number}" for number in itertools.count(2))


def _check_options(name: str, runtime: str, options: str) -> None:
    """Refuse options that the delegate sets itself: the first of two equal keys wins, so they would have no effect."""
    from synap_core.format_string import FormatString

    own = FormatString.parse(runtime).option_names()
    clash = next((key for key in FormatString.parse(f"{name} {options}").option_names() if key in own), None)
    if clash is not None:
        msg = f"option {clash!r} of delegate {name!r} is set by the delegate itself"
        raise InputError(msg, hint="remove it, or choose another delegate")
