"""Arithmetic that is exact: integers that wrap, and floating-point operations that IEEE 754 rounds correctly."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from synap_core.graph.folding.registry import Array, Computed, Constants, computes, has_nan

UNARY: dict[str, Callable[[Array], Array]] = {
    "Abs": np.abs,
    "BitwiseNot": np.invert,
    "Ceil": np.ceil,
    "Floor": np.floor,
    "IsNaN": np.isnan,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Reciprocal": lambda x: np.divide(x.dtype.type(1), x),
    "Round": np.rint,
    "Sqrt": np.sqrt,
}

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "And": np.logical_and,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Mul": np.multiply,
    "Or": np.logical_or,
    "Sub": np.subtract,
    "Xor": np.logical_xor,
}


@computes(*UNARY)
def unary(node: Constants) -> Computed:
    """One item at a time."""
    return [UNARY[node.op_type](node.items())]


@computes(*BINARY)
def binary(node: Constants) -> Computed:
    """Two items at a time."""
    return [BINARY[node.op_type](node.items(0), node.items(1))]


@computes("Sign")
def sign(node: Constants) -> Computed:
    """-1, 0 or 1."""
    return None if has_nan(node.items()) else [np.sign(node.items())]


@computes("Relu")
def relu(node: Constants) -> Computed:
    """No less than 0."""
    return None if has_nan(node.items()) else [np.maximum(node.items(), node.items().dtype.type(0))]


@computes("Max", "Min")
def extreme(node: Constants) -> Computed:
    """The greatest or least of several."""
    if has_nan(*node.all_items()):
        return None
    return [reduce(np.maximum if node.op_type == "Max" else np.minimum, node.all_items())]


@computes("Clip")
def clip(node: Constants) -> Computed:
    """Between two limits, the upper one decides if they are crossed."""
    limits = [node.items(position) if node.has(position) else None for position in (1, 2)]
    array = node.items()
    if has_nan(array, *(limit for limit in limits if limit is not None)):
        return None
    array = array if limits[0] is None else np.maximum(array, limits[0])
    return [array if limits[1] is None else np.minimum(array, limits[1])]


@computes("Sum")
def total(node: Constants) -> Computed:
    """Sum of several, one after the other."""
    return [reduce(np.add, node.all_items())]


@computes("Div")
def divide(node: Constants) -> Computed:
    """Integers are truncated towards zero."""
    left, right = node.items(0), node.items(1)
    if left.dtype.kind == "f":
        return [np.divide(left, right)]
    if _undefined(left, right):
        return None
    quotient = np.floor_divide(left, right)
    inexact = (quotient * right != left) & ((left < 0) != (right < 0))
    return [quotient + inexact.astype(left.dtype)]


@computes("Mod")
def modulo(node: Constants) -> Computed:
    """With the divisor's sign, or with the dividend's (``fmod``), which real numbers need."""
    left, right = node.items(0), node.items(1)
    like_c = node.flag("fmod")
    if left.dtype.kind == "f":
        return [np.fmod(left, right)] if like_c else None
    return None if _undefined(left, right) else [(np.fmod if like_c else np.mod)(left, right)]


def _undefined(left: Array, right: Array) -> bool:
    """Whether an integer division has no result: by zero, or one that does not fit."""
    lowest = np.iinfo(left.dtype).min
    overflows = lowest < 0 and bool((left == lowest).any()) and bool((right == -1).any())
    return overflows or bool((right == 0).any())


@computes("BitShift")
def shift(node: Constants) -> Computed:
    """Left or right; by less than the number of bits."""
    left, right = node.items(0), node.items(1)
    direction = node.word("direction", None, ("LEFT", "RIGHT"))
    if bool((right >= left.dtype.itemsize * 8).any()):
        return None
    return [(np.left_shift if direction == "LEFT" else np.right_shift)(left, right)]


@computes("IsInf")
def is_infinite(node: Constants) -> Computed:
    """Of the signs asked for."""
    array = node.items()
    negative = np.isneginf(array) & node.flag("detect_negative", 1)
    return [negative | (np.isposinf(array) & node.flag("detect_positive", 1))]


@computes("Where", any_type=True)
def where(node: Constants) -> Computed:
    """One or the other."""
    return [np.where(node.items(0), node.items(1), node.items(2))]


@computes("PRelu")
def prelu(node: Constants) -> Computed:
    """Negative items times the slope."""
    array, slope = node.items(0), node.items(1)
    return [np.where(array < 0, array * slope, array)]
