"""Dependencies between layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from synap_core.source import Layer


class LayerGraph:
    """Which layers wait for which; nodes are positions in a list of layers in execution order.

    Args:
        layers: Operators, in execution order.

    Attributes:
        layers: As given.
        predecessors: Layers each one waits for, ascending; several tensors make one edge.
        successors: Layers that wait for each one, ascending.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.predecessors: list[list[int]] = []
        self.successors: list[list[int]] = [[] for _ in layers]
        producer = {tensor: i for i, layer in enumerate(layers) for tensor in layer.outputs}
        last: dict[str, int] = {}
        for i, layer in enumerate(layers):
            before = {producer[tensor] for tensor in layer.inputs if tensor in producer}
            # Reads and writes of a variable keep their order although no tensor connects them.
            before |= {last[variable] for variable in layer.state if variable in last}
            last |= dict.fromkeys(layer.state, i)
            self.predecessors.append(sorted(before - {i}))
            for other in self.predecessors[i]:
                self.successors[other].append(i)

    def __len__(self) -> int:
        return len(self.layers)

    def shared_state(self) -> list[set[int]]:
        """Layers of each variable."""
        members: dict[str, set[int]] = {}
        for i, layer in enumerate(self.layers):
            for variable in layer.state:
                members.setdefault(variable, set()).add(i)
        return list(members.values())

    def between(self, members: Iterable[int]) -> set[int]:
        """The members, and every layer on a path from one of them to another."""
        members = set(members)
        before = reachable(members, self.predecessors.__getitem__)
        behind = reachable(members, self.successors.__getitem__)
        return before & behind


def reachable(starts: Iterable[int], following: Callable[[int], Iterable[int]]) -> set[int]:
    """The starts and all that is reachable from them."""
    found = set(starts)
    pending = list(found)
    while pending:
        fresh = set(following(pending.pop())) - found
        found |= fresh
        pending += fresh
    return found
