"""Which variables each operator touches: what the operators share through them must stay in one file."""

from __future__ import annotations

from collections.abc import Sequence

from synap_frontend_tflite.records import GraphRecord, OperatorRecord


def variables_of_operators(graphs: Sequence[GraphRecord]) -> tuple[frozenset[str], ...]:
    """Names of the variables and tables that each operator of the main subgraph touches.

    An operator touches those it names, those whose handle it reads, and all that the subgraphs it calls touch.
    """
    inside = [_named_in(graphs, index) for index in range(len(graphs))]
    of_tensor: dict[int, frozenset[str]] = {}
    result = []
    for operator in graphs[0].operators:
        names = _named(operator).union(*(inside[i] for i in operator.subgraphs))
        names |= frozenset().union(*(of_tensor.get(t, frozenset()) for t in operator.inputs))
        result.append(names)
        for output in operator.outputs:
            if graphs[0].tensors[output].type == "RESOURCE":
                of_tensor[output] = names
    return tuple(result)


def _named(operator: OperatorRecord) -> frozenset[str]:
    return frozenset() if operator.variable is None else frozenset({operator.variable})


def _named_in(graphs: Sequence[GraphRecord], start: int) -> frozenset[str]:
    names: set[str] = set()
    seen, pending = {start}, [start]
    while pending:
        for operator in graphs[pending.pop()].operators:
            names |= _named(operator)
            fresh = set(operator.subgraphs) - seen
            seen |= fresh
            pending += sorted(fresh)
    return frozenset(names)
