"""Sums of few terms that take few values: one formula in floating point, proved by trying all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_delegate_npu.arithmetic.multiplier import Integers, Reals
from synap_delegate_npu.arithmetic.rescaling import Window
from synap_delegate_npu.program.body import Body

MOST_CASES = 1 << 20
"""Combinations of values to be tried, at the most."""

STRETCHES = {
    np.float32: (0.0, 2.0**-21, -(2.0**-21), 2.0**-18, -(2.0**-18)),
    np.float64: (0.0, 2.0**-44, -(2.0**-44), 2.0**-34, -(2.0**-34), 2.0**-22, -(2.0**-22)),
}
"""By how much the factors may be larger than the real ones: it moves ties away from zero, or towards it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """All that a sum of products can be.

    Attributes:
        terms: All values of each term; they broadcast to all cases.
        factors: What each is multiplied by; they broadcast likewise.
        sides: Integers whose sign may decide to which side ties go; None where it must not.
    """

    terms: Sequence[Integers]
    factors: Sequence[Reals]
    sides: Integers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """``floor(sum(term * factor * (1 + stretch)) + plus + sign(side) * tie)`` in floating point.

    Attributes:
        dtype: float32 or float64: the type of every operand and result.
        stretch: The same for all factors.
        plus: Moves the steps to where results change.
        tie: Moves them further away from zero; from 0 to 1.
    """

    dtype: type[np.float32] | type[np.float64]
    stretch: float
    plus: float = 0.0
    tie: float = 0.0

    def factor(self, real: Reals) -> NDArray[np.floating]:
        """A factor as the formula has it."""
        return self._typed(np.asarray(real, np.float64) * (1.0 + self.stretch))

    def total(self, cases: Cases) -> NDArray[np.floating]:
        """The sum as the operators compute it: every product and every sum is rounded."""
        pairs = zip(cases.terms, cases.factors, strict=True)
        first, *others = [self._typed(term) * self.factor(factor) for term, factor in pairs]
        return reduce(np.add, others, first)

    def __call__(self, cases: Cases) -> NDArray[np.floating]:
        """Evaluate as the operators do."""
        moved = self.total(cases) + self.dtype(self.plus)
        if self.tie and cases.sides is not None:
            moved = moved + np.clip(cases.sides, -np.float32(self.tie), np.float32(self.tie)).astype(np.float32)
        return np.asarray(np.floor(moved))

    def _typed(self, array: Integers | Reals) -> NDArray[np.floating]:
        return np.asarray(array, self.dtype)


def fit(cases: Cases, wanted: Integers, window: Window) -> Steps | None:
    """Find a formula that gives the wanted results in all cases.

    A result is right while what is added to the sum lies between two bounds, which each case narrows; none is left
    when rounding to the type of the formula, or how the definition breaks ties, does not let it be.

    Args:
        cases: What is computed.
        wanted: Results of all cases, counted from the zero point, before they are cut.
        window: Where they are cut.

    Returns:
        The first formula that holds, float32 before float64; None when there is none.
    """
    if wanted.size > MOST_CASES:
        return None
    low, high = window.relative
    cut = np.clip(wanted, low, high)
    for shape in _shapes():
        if any(_vanishes(shape.factor(factor)) for factor in cases.factors):
            continue
        total = shape.total(cases).astype(np.float64)
        least = np.where(cut > low, cut - total, -np.inf)
        most = np.where(cut < high, cut + 1 - total, np.inf)
        for found in _moved(shape, least, most, cases.sides):
            if np.array_equal(np.clip(found(cases), low, high), cut):
                return found
    return None


def _shapes() -> Iterator[Steps]:
    for dtype in (np.float32, np.float64):
        for stretch in STRETCHES[dtype]:
            yield Steps(dtype=dtype, stretch=stretch)


def _vanishes(factor: NDArray[np.floating]) -> bool:
    """Whether ONNX Runtime leaves a product out: its factor is not 1, but is in float32."""
    return factor.size == 1 and np.float32(factor.item()) == 1 != factor.item()


def _moved(shape: Steps, least: Reals, most: Reals, sides: Integers | None) -> Iterator[Steps]:
    """A formula with what is to be added, given the bounds of that in each case."""
    plain = _between(least, most)
    if plain is not None:
        yield replace(shape, plus=plain)
    if sides is None:
        return
    positive, negative = np.broadcast_to(sides > 0, least.shape), np.broadcast_to(sides < 0, least.shape)
    above, below = _between(least[positive], most[positive]), _between(least[negative], most[negative])
    if above is not None and below is not None and 0 < above - below < 2:
        yield replace(shape, plus=(above + below) / 2, tie=(above - below) / 2)


def _between(least: Reals, most: Reals) -> float | None:
    """A number between the bounds of all cases; None when there is none."""
    low, high = float(np.max(least, initial=-np.inf)), float(np.min(most, initial=np.inf))
    if np.isinf(low) or np.isinf(high):
        return min(max(0.5, low + 0.5), high - 0.5)
    return (low + high) / 2 if low < high else None


def lower_steps(
    body: Body,
    values: Sequence[ir.Value],
    factors: Sequence[Reals],
    steps: Steps,
    window: Window,
    side: ir.Value | None = None,
) -> ir.Value:
    """Compute a formula.

    Args:
        body: Where the operators go.
        values: The terms, float32.
        factors: What each is multiplied by, of any shape that broadcasts with it.
        steps: The formula.
        window: Where results are cut.
        side: What decides to which side ties go, float32.

    Returns:
        Results counted from the zero point, float32.
    """
    wide = steps.dtype is np.float64
    products = [
        body.op(
            "Mul",
            body.cast(value, np.float64) if wide else value,
            body.constant(steps.factor(factor), steps.dtype),
        )
        for value, factor in zip(values, factors, strict=True)
    ]
    total = reduce(lambda one, other: body.op("Add", one, other), products)
    moved = body.op("Add", total, body.constant(steps.plus, steps.dtype))
    if steps.tie and side is not None:
        # An integer cut to less than one is its sign times that.
        tie = body.op("Clip", side, *(body.constant(end, np.float32) for end in (-steps.tie, steps.tie)))
        moved = body.op("Add", moved, body.cast(tie, np.float64) if wide else tie)
    result = body.op("Floor", moved)
    return cut_to(body, body.cast(result, np.float32) if wide else result, window)


def cut_to(body: Body, value: ir.Value, window: Window) -> ir.Value:
    """Cut float32 results, counted from the zero point, to a window."""
    low, high = window.relative
    return body.op("Clip", value, body.constant(low, np.float32), body.constant(high, np.float32))
