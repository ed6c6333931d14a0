"""Where the computations are registered, and what one sees of a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.rules.registry import Operands
from synap_core.graph.types import TensorType

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Constants(Operands):
    """A node whose inputs are all constants.

    Attributes:
        results: Types of its outputs.
    """

    results: tuple[TensorType, ...]

    def items(self, position: int = 0) -> Array:
        """Items of a required input. Raises `GraphError` if it is absent."""
        self.type(position)
        found = self.constant(position)
        return self.refuse(f"input {position} is not constant") if found is None else found

    def all_items(self) -> list[Array]:
        """Items of all inputs of an operator that takes any number."""
        return [self.items(position) for position in range(len(self.types))]

    @property
    def item_type(self) -> np.dtype:
        """NumPy's type of the items of the first output."""
        return self.results[0].dtype.numpy()


Computed = Sequence[Array | QuantizedTensor] | None
Computation = Callable[[Constants], Computed]

COMPUTATIONS: dict[str, Computation] = {}
"""How each operator is computed; it returns None for operands whose result is not the same everywhere."""


ANY_TYPE: set[str] = set()
"""Operators whose computation takes items of any type; those of the others NumPy must be able to count with."""


def computes(*op_types: str, any_type: bool = False) -> Callable[[Computation], Computation]:
    """Register a computation for operators; a second one for the same operator is a mistake."""

    def register(function: Computation) -> Computation:
        for op_type in op_types:
            if op_type in COMPUTATIONS:
                msg = f"two computations of {op_type}"
                raise RuntimeError(msg)
            COMPUTATIONS[op_type] = function
        if any_type:
            ANY_TYPE.update(op_types)
        return function

    return register


def is_plain(dtype: np.dtype) -> bool:
    """Whether a type is one of NumPy's real numbers; those that others add, such as bfloat16, count as they please."""
    return dtype.isbuiltin == 1 and dtype.kind in "biuf"


def has_nan(*arrays: Array) -> bool:
    """Whether an item is not a number: runtimes order such items differently."""
    return any(array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in arrays)
