"""Shape of a sum of products in Einstein's notation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from synap_core.graph.rules.registry import Operands, broadcast

_TERM = re.compile(r"([a-zA-Z]*)(\.\.\.)?([a-zA-Z]*)")


def einsum_shape(node: Operands, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Shape of the result of an Einsum.

    Args:
        node: Has the attribute ``equation``.
        shapes: Of the operands.

    Raises:
        GraphError: The equation is malformed, or does not fit the shapes.
    """
    equation = node.text("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    node.require(
        len(terms) == len(shapes), f"equation {equation!r} is of {len(terms)} operands, there are {len(shapes)}"
    )
    sizes: dict[str, int] = {}
    rest: list[tuple[int, ...]] = []
    for term, shape in zip(terms, shapes, strict=True):
        rest += _bind(node, term, shape, sizes)
    others = broadcast(node.op_type, *rest)
    before, ellipsis, after = _parts(node, right if arrow else _implied(left, rest))
    if set(before + after) - set(sizes) or len(set(before + after)) != len(before + after):
        node.refuse(f"equation {equation!r} has a result of unknown or repeated letters")
    middle = others if ellipsis else ()
    return (*(sizes[letter] for letter in before), *middle, *(sizes[letter] for letter in after))


def _bind(node: Operands, term: str, shape: tuple[int, ...], sizes: dict[str, int]) -> list[tuple[int, ...]]:
    """Note the sizes of the letters of an operand; returns the dimensions that its ellipsis stands for."""
    before, ellipsis, after = _parts(node, term)
    free = len(shape) - len(before) - len(after)
    node.require(free >= 0 if ellipsis else free == 0, f"the term {term!r} for a tensor of shape {list(shape)}")
    named = shape[: len(before)] + shape[len(shape) - len(after) :]
    for letter, dim in zip(before + after, named, strict=True):
        known = sizes.setdefault(letter, dim)
        node.require(known == dim, f"{letter!r} is {known} and {dim}")
    return [shape[len(before) : len(before) + free]] if ellipsis else []


def _parts(node: Operands, term: str) -> tuple[str, bool, str]:
    found = _TERM.fullmatch(term)
    if found is None:
        node.refuse(f"the term {term!r}, where letters and one ellipsis belong")
    return found[1], found[2] is not None, found[3]


def _implied(left: str, rest: Sequence[object]) -> str:
    """The result without an arrow: the letters that appear once, in alphabetical order, after an ellipsis."""
    letters = "".join(sorted({letter for letter in left if letter.isalpha() and left.count(letter) == 1}))
    return ("..." if rest else "") + letters
