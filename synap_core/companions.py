"""Layers that a delegate must run together with others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

from synap_core.describe import boundary_problem
from synap_core.names import is_operator
from synap_core.partition import constant_layers
from synap_core.source import Layer, SourceModel

Link = tuple[str, str]
"""What layers have in common: a variable or a tensor, and its name or id."""


def companions(
    moved: Iterable[Layer], layers: Iterable[Layer], source: SourceModel, settled: Callable[[Layer], bool]
) -> Iterator[tuple[Layer, str]]:
    """Layers that must go along when others get another delegate.

    They share a variable with them, or a tensor that no bundle can describe and that therefore cannot cross from one
    subgraph to another; or they do so with one that goes along.

    Args:
        moved: The layers that move.
        layers: All layers that are converted.
        source: The model.
        settled: Whether a layer is already where those go.

    Yields:
        Each layer once, with the reason, as a clause that fits behind "because".
    """
    operators = [layer for layer in layers if is_operator(layer)]
    # What computes constants is in each subgraph that reads them.
    constant = constant_layers(operators, ())
    produced = {tensor for layer in operators if layer.index not in constant for tensor in layer.outputs}
    sharing: dict[Link, list[Layer]] = {}
    links: dict[int | None, list[Link]] = {}
    for layer in operators:
        found = dict.fromkeys(_links(layer, source, produced))
        links[layer.index] = list(found)
        for link in found:
            sharing.setdefault(link, []).append(layer)
    pending = deque((layer, layer.name) for layer in moved)
    known = {layer.index for layer, _ in pending}
    while pending:
        layer, first = pending.popleft()
        for link in links.get(layer.index, ()):
            for other in sharing.pop(link, ()):
                if other.index in known or settled(other):
                    continue
                known.add(other.index)
                pending.append((other, first))
                yield other, _reason(link, layer, first, source)


def _links(layer: Layer, source: SourceModel, produced: Collection[str]) -> Iterator[Link]:
    yield from (("variable", name) for name in sorted(layer.state))
    for tensor in (*layer.inputs, *layer.outputs):
        # An input of the model that cannot be described is one for every delegate.
        info = source.tensors.get(tensor) if tensor in produced else None
        if info is not None and boundary_problem(info) is not None:
            yield "tensor", tensor


def _reason(link: Link, layer: Layer, first: str, source: SourceModel) -> str:
    kind, key = link
    if kind == "variable":
        return f"it shares a variable with {first!r}"
    info = source.tensors[key]
    return f"it shares the tensor {info.name!r} with {layer.name!r}, whose {boundary_problem(info)}"
