"""Recurrent layers over sequences."""

from __future__ import annotations

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType

GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


@rule(*GATES)
def recurrent(node: Operands) -> list[TensorType]:
    """The outputs of all steps and the last ones: ``(steps, directions, N, units)`` and ``(directions, N, units)``.

    With ``layout`` 1 the batch comes first. An LSTM has its last cell state, too.
    """
    first = node.ranked(0, 3, 3)
    batch_first = node.flag("layout")
    steps, batch = (first.shape[1], first.shape[0]) if batch_first else first.shape[:2]
    directions = DIRECTIONS[node.word("direction", "forward", DIRECTIONS)]
    units = node.ranked(2, 3, 3).shape[2]
    node.require(
        node.integer("hidden_size", units) == units, f"attribute hidden_size is not {units}, as the weights say"
    )
    state = (batch, directions, units) if batch_first else (directions, batch, units)
    _check(node, first.shape[2], directions, units, batch, state)
    every = (batch, steps, directions, units) if batch_first else (steps, directions, batch, units)
    last = TensorType(first.dtype, state)
    return [TensorType(first.dtype, every), last, *([last] if node.op_type == "LSTM" else [])]


def _check(node: Operands, features: int, directions: int, units: int, batch: int, state: tuple[int, ...]) -> None:
    """Shapes of the weights, the bias, the lengths and the first states; an LSTM has peepholes, too."""
    rows = GATES[node.op_type] * units
    node.shaped(1, directions, rows, features)
    node.shaped(2, directions, rows, units)
    node.shaped(3, directions, 2 * rows)
    node.shaped(4, batch)
    for position in (5, 6):
        node.shaped(position, *state)
    node.shaped(7, directions, 3 * units)
