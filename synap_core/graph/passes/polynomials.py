"""Arithmetic with numbers, read as a polynomial."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from synap_core.graph.edit import Editor
from synap_core.graph.passes.values import scalar

Coefficients = npt.NDArray[np.float64]

MAX_DEGREE = 3
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Polynomial:
    """A polynomial of a value.

    Attributes:
        coefficients: ``(4,)``, that of power ``i`` at place ``i``.
        nodes: Those that compute it.
    """

    coefficients: Coefficients
    nodes: AbstractSet[ir.Node] = frozenset()


def polynomial_of(
    editor: Editor, value: ir.Value | None, variable: ir.Value, depth: int = MAX_DEPTH
) -> Polynomial | None:
    """Read a value as a polynomial of another one.

    Args:
        editor: Of the graph.
        value: What is computed from ``variable`` and constants of one item by Add, Sub, Mul, Div, Neg and Pow.
        variable: The other value.
        depth: Operators that may lie between them.

    Returns:
        The polynomial; None when it is none, or of more than the third degree.
    """
    if value is variable:
        return Polynomial(np.array([0.0, 1.0, 0.0, 0.0]))
    number = scalar(value)
    if number is not None:
        return Polynomial(np.array([number, 0.0, 0.0, 0.0]))
    node = editor.producer(value, "Add", "Div", "Mul", "Neg", "Pow", "Sub")
    if node is None or depth == 0:
        return None
    operands = []
    for operand in node.inputs:
        found = polynomial_of(editor, operand, variable, depth - 1)
        if found is None:
            return None
        operands.append(found)
    with np.errstate(all="ignore"):
        result = _combined(node.op_type, *(found.coefficients for found in operands))
    nodes = frozenset({node}).union(*(found.nodes for found in operands))
    return None if result is None else Polynomial(result, nodes)


def _combined(op_type: str, first: Coefficients, second: Coefficients | None = None) -> Coefficients | None:
    if second is None:
        return -first
    if op_type in ("Add", "Sub"):
        return first + second if op_type == "Add" else first - second
    constant = not second[1:].any()
    if op_type == "Div":
        return first / second[0] if constant and second[0] else None
    if op_type == "Pow":
        return _power(first, second[0]) if constant else None
    return _product(first, second)


def _power(base: Coefficients, exponent: float) -> Coefficients | None:
    if exponent not in (1, 2, 3):
        return None
    result: Coefficients | None = base
    for _ in range(int(exponent) - 1):
        result = None if result is None else _product(result, base)
    return result


def _product(first: Coefficients, second: Coefficients) -> Coefficients | None:
    full = np.convolve(first, second)
    return None if full[MAX_DEGREE + 1 :].any() else full[: MAX_DEGREE + 1]
