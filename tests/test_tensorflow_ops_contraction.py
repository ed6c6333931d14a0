"""Sums of products of TensorFlow graphs in the canonical graph, against NumPy's own: OpenCV's importer has none."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.support.tensorflow_operator import Fixed, Inner, Operand, agrees, refusal, single

LENGTHS = {"n": 1, "a": 2, "b": 3, "c": 4, "d": 5, "e": 6}


def operand(rng: np.random.Generator, term: str) -> np.ndarray:
    """An array with the lengths of its letters; an ellipsis stands for two dimensions."""
    letters = term.replace("...", "na")
    return rng.normal(size=[LENGTHS[letter] for letter in letters]).astype(np.float32)


@pytest.mark.parametrize("fixed", [False, True], ids=["computed", "weights"])
@pytest.mark.parametrize(
    ("equation", "operators"),
    [
        ("nab,bcd->nacd", {"MatMul"}),
        ("nacb,ncde->nadeb", {"MatMul"}),
        ("nabc,nadc->nabd", {"MatMul"}),
        ("ncab,nbad->ncda", {"MatMul"}),
        ("nacd,cde->nae", {"MatMul"}),
        ("na,b->nab", {"MatMul"}),
        ("nab,nab->n", {"MatMul"}),
        ("nab , nab -> nab", {"MatMul"}),
        ("na,a->", set()),
        ("nab,bc->ac", set()),
        ("...b,bc->...c", set()),
        ("nab,bc", set()),
    ],
)
def test_sums_of_two(equation: str, operators: set[str], rng: np.random.Generator, *, fixed: bool) -> None:
    terms = re.split(r",|->", equation.replace(" ", ""))
    x, y = operand(rng, terms[0]), operand(rng, terms[1])
    other = Fixed(y) if fixed else y if terms[1][0] == "n" else Inner(y)
    made = single("Einsum", x, other, equation=equation, N=2)
    found = {node.op_type for node in made.model.graph} & {"Einsum", "MatMul"}
    assert found == (operators or {"Einsum"})
    agrees(made, np.asarray(np.einsum(equation, x, y), np.float32))


@pytest.mark.parametrize("equation", ["naa->na", "nab->nba", "nab->n"])
def test_sums_of_one(equation: str, rng: np.random.Generator) -> None:
    x = operand(rng, equation.partition("->")[0])
    agrees(single("Einsum", x, equation=equation, N=1), np.einsum(equation, x))


def test_sums_of_three(rng: np.random.Generator) -> None:
    operands: list[Operand] = [operand(rng, "nab"), Fixed(operand(rng, "bc")), Fixed(operand(rng, "cd"))]
    arrays = [one.array if isinstance(one, Fixed) else one for one in operands]
    made = single("Einsum", *operands, equation="nab,bc,cd->nad", N=3)
    agrees(made, np.einsum("nab,bc,cd->nad", *arrays))  # type: ignore[arg-type] - no operand is `Inner`


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("nab,bc->nad", "unknown or repeated letters"),
        ("nab,ac->nbc", "'a' is 2 and 3"),
        ("nab->nb", "is of 1 operands, there are 2"),
        ("na,bc->nabc", r"the term 'na' for a tensor of shape \[1, 2, 3\]"),
        ("n(a)b,bc->nac", "where letters and one ellipsis belong"),
        ("", "is of 1 operands, there are 2"),
    ],
)
def test_malformed_equations_are_refused(equation: str, message: str, rng: np.random.Generator) -> None:
    operands = operand(rng, "nab"), Fixed(operand(rng, "bc"))
    assert re.search(message, refusal("Einsum", *operands, equation=equation, N=2))
