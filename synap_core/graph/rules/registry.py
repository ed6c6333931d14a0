"""Where the type rules are registered, and what a rule sees of a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.graph.rules.attributes import MAX_LIST, Attributes, shortened
from synap_core.graph.types import GraphError, TensorType


@dataclass(frozen=True, slots=True)
class Operands(Attributes):
    """What a rule sees of a node.

    Attributes:
        op_type: The operator.
        types: Types of the inputs; None for an absent one.
        attributes: As given to the builder; defaults are not filled in.
        constants: The inputs that are constants, None for the others; see `constant`.
        outputs: How many outputs the node has.
    """

    op_type: str
    types: Sequence[TensorType | None]
    attributes: Mapping[str, object]
    constants: Sequence[ir.TensorProtocol | None]
    outputs: int

    def has(self, position: int) -> bool:
        """Whether an optional input is there."""
        return position < len(self.types) and self.types[position] is not None

    def type(self, position: int) -> TensorType:
        """Type of a required input.

        Raises:
            GraphError: It is absent.
        """
        found = self.types[position] if position < len(self.types) else None
        if found is None:
            msg = f"{self.op_type} has no input {position}"
            raise GraphError(msg)
        return found

    def all_types(self) -> list[TensorType]:
        """Types of the inputs of an operator that takes any number, at least one.

        Raises:
            GraphError: One is absent, or all are.
        """
        return [self.type(position) for position in range(max(len(self.types), 1))]

    def constant(self, position: int) -> np.ndarray | None:
        """Items of an input that is a constant; None for another or an absent one.

        Loads them, so a rule asks only for what a type can depend on.
        """
        found = self.constants[position] if position < len(self.constants) else None
        return None if found is None else found.numpy()

    def needed(self, position: int) -> np.ndarray:
        """Items of an input that the shape of the result depends on.

        Raises:
            GraphError: It is absent or not constant.
        """
        self.type(position)
        found = self.constant(position)
        if found is None:
            self.refuse(f"the shape of its result depends on data, for input {position} is not constant")
        return found

    def known(self, position: int) -> np.ndarray:
        """Items of a list that the shape of the result depends on, ``(n,)``; a scalar is one item.

        Raises:
            GraphError: It is absent, not constant, or no short list.
        """
        wanted = self.type(position)
        if wanted.rank > 1 or wanted.size > MAX_LIST:
            self.refuse(f"input {position} of shape {list(wanted.shape)} where a short list belongs")
        return self.needed(position).reshape(-1)

    def known_integers(self, position: int) -> tuple[int, ...]:
        """Items of an input of integers, ``(n,)``, that the shape of the result depends on.

        Raises:
            GraphError: It is absent, not constant, or no short list.
        """
        self.ranked(position, 1, 1)
        return tuple(map(int, self.known(position)))

    def known_integer(self, position: int) -> int:
        """The one item of an input of integers that the shape of the result depends on.

        Raises:
            GraphError: It is absent, not constant, or not one item.
        """
        found = self.known(position)
        if found.size != 1:
            self.refuse(f"input {position} has {found.size} items where one belongs")
        return int(found[0])

    def ranked(self, position: int, least: int, most: int | None = None) -> TensorType:
        """Type of a required input whose rank has bounds; ``most`` None stands for none above.

        Raises:
            GraphError: It is absent or of another rank.
        """
        found = self.type(position)
        if found.rank < least or (most is not None and found.rank > most):
            wanted = str(least) if most == least else f"at least {least}" if most is None else f"{least} to {most}"
            self.refuse(f"input {position} of shape {list(found.shape)}, which must have {wanted} dimensions")
        return found

    def shaped(self, position: int, *wanted: int) -> None:
        """Refuse an input unless it is absent or of some shape."""
        if self.has(position) and self.type(position).shape != wanted:
            found = list(self.type(position).shape)
            self.refuse(f"input {position} of shape {found}, which must be {list(wanted)}")

    def spread(self, position: int, shape: tuple[int, ...]) -> None:
        """Refuse an input unless it is absent or broadcasts to some shape."""
        if self.has(position):
            found = self.type(position).shape
            if len(found) > len(shape) or any(d not in (1, s) for d, s in zip(found[::-1], shape[::-1], strict=False)):
                self.refuse(f"input {position} of shape {list(found)}, which does not broadcast to {list(shape)}")


Rule = Callable[[Operands], list[TensorType]]

RULES: dict[str, Rule] = {}
"""The rule of each operator."""


def rule(*op_types: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators; a second one for the same operator is a mistake."""

    def register(function: Rule) -> Rule:
        for op_type in op_types:
            if op_type in RULES:
                msg = f"two rules for {op_type}"
                raise RuntimeError(msg)
            RULES[op_type] = function
        return function

    return register


def broadcast(op_type: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Shape that shapes broadcast to.

    Raises:
        GraphError: They do not.
    """
    rank = max(map(len, shapes), default=0)
    result = []
    for dims in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        wide = set(dims) - {1}
        if len(wide) > 1:
            msg = f"{op_type} of the shapes {', '.join(map(str, map(list, shapes)))}, which do not broadcast"
            raise GraphError(shortened(msg))
        result.append(wide.pop() if wide else 1)
    return tuple(result)
