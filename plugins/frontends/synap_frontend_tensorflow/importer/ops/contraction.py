"""Sums of products in Einstein's notation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import REAL, operands, shaped
from synap_frontend_tensorflow.importer.ops.convolution import rearranged
from synap_frontend_tensorflow.importer.registry import operator

PRODUCT = re.compile(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]*)")


@operator("Einsum")
def einsum(call: Call) -> ir.Value:
    """A sum of products as an equation says; written out as a product of matrices where it is one."""
    values = operands(call, REAL, *range(max(len(call.inputs), 1)))
    equation = call.text("equation").replace(" ", "")
    found = PRODUCT.fullmatch(equation)
    if found and len(values) == 2 and _is_product(found.groups(), [shape_of(value) for value in values]):
        return _product(call, values, found.groups())
    return call.emit("Einsum", *values, equation=equation)


def _is_product(terms: Sequence[str], shapes: Sequence[Sequence[int]]) -> bool:
    """Whether each letter is in two of three terms or in all, once, and has one length throughout."""
    if any(len(set(term)) != len(term) for term in terms) or any(
        len(term) != len(shape) for term, shape in zip(terms, shapes, strict=False)
    ):
        return False
    pairs = [pair for term, shape in zip(terms, shapes, strict=False) for pair in zip(term, shape, strict=True)]
    lengths = dict(pairs)
    twice = all(sum(letter in term for term in terms) > 1 for letter in {*lengths, *terms[2]})
    return twice and all(lengths[letter] == length for letter, length in pairs)


def _product(call: Call, values: Sequence[ir.Value], terms: Sequence[str]) -> ir.Value:
    """Letters of all terms count matrices, those of both operands alone are summed over."""
    left, right, result = terms
    lengths = dict(zip(left + right, [*shape_of(values[0]), *shape_of(values[1])], strict=True))
    counts, summed = (
        [letter for letter in left if letter in right and (letter in result) is kept] for kept in (True, False)
    )
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]

    def matrices(value: ir.Value, term: str, *groups: list[str]) -> ir.Value:
        """An operand as a matrix, or as many as are counted."""
        order = [letter for group in groups for letter in group]
        turned = rearranged(call, value, [term.index(letter) for letter in order])
        groups = groups if counts else groups[1:]
        return shaped(call, turned, [math.prod(lengths[letter] for letter in group) for group in groups])

    found = call.emit(
        "MatMul", matrices(values[0], left, counts, rows, summed), matrices(values[1], right, counts, summed, columns)
    )
    order = [*counts, *rows, *columns]
    whole = shaped(call, found, [lengths[letter] for letter in order])
    return rearranged(call, whole, [order.index(letter) for letter in result])
