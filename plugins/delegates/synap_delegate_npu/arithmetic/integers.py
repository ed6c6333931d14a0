"""Rescaling of the integers of whole tensors: the operators that compute it exactly, the cheapest first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.multiplier import Integers, Multiplier, Reals, Rounding, multiplier_of
from synap_delegate_npu.arithmetic.pairs import MOST_CASES, Cases, cut_to, fit, lower_steps
from synap_delegate_npu.arithmetic.products import FLOAT32_INTEGERS
from synap_delegate_npu.arithmetic.rescaling import (
    Floors,
    Sums,
    Window,
    floors,
    is_exact,
    lower_integer_rescaling,
    lower_rescaling,
)
from synap_delegate_npu.arithmetic.tables import looked_up
from synap_delegate_npu.program.body import Body

WORD = 1 << 31
"""Numbers are smaller than this where they are multiplied."""

ALL = Window(zero_point=0, low=-WORD, high=WORD - 1)
"""The window of results that are not cut."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What integers are multiplied by, and how the products are rounded.

    Attributes:
        by: The multiplier, of rank 0.
        rounding: How.
    """

    by: Multiplier
    rounding: Rounding

    def __call__(self, values: Integers) -> Integers:
        """The definition."""
        return self.rounding.define(values, self.by)

    @property
    def real(self) -> Reals:
        """The number that the multiplier stands for."""
        return self.by.real

    @property
    def opposite(self) -> Scaling:
        """The same with the other sign."""
        return Scaling(Multiplier(-self.by.multiplier, self.by.shift), self.rounding)


def scaling_of(real: float, largest: int, rounding: Rounding) -> Scaling | None:
    """The scaling by the fixed-point multiplier nearest to a real one, of any sign.

    Args:
        real: The number.
        largest: Bound of the integers that are multiplied.
        rounding: How products are rounded.

    Returns:
        None where an integer, shifted to the left as the multiplier says, leaves 32 bits: the reference kernels
        overflow there.
    """
    if not np.isfinite(real) or real == 0:
        return None
    by = multiplier_of(abs(real))
    if largest << max(int(by.shift), 0) >= WORD:
        return None
    found = Scaling(by, rounding)
    return found if real > 0 else found.opposite


def lower_scaled(body: Body, value: ir.Value, values: Integers, scaling: Scaling, window: Window) -> ir.Value:
    """Rescale the integers of a tensor.

    Args:
        body: Where the operators go.
        value: The integers, float32.
        values: All that they can be.
        scaling: By what, positive.
        window: Where results are cut.

    Returns:
        Results counted from the zero point, float32.
    """
    if scaling.real == 1:
        low, high = window.relative
        inside = low <= values.min(initial=0) and values.max(initial=0) <= high
        return value if inside else cut_to(body, value, window)
    steps = fit(Cases(terms=[values], factors=[scaling.real], sides=values), scaling(values), window)
    if steps is not None:
        return lower_steps(body, [value], [scaling.real], steps, window, value)
    return lower_total(body, body.cast(value, np.float64), scaling, window)


def lower_products(
    body: Body, factors: tuple[ir.Value, ir.Value], values: tuple[Integers, Integers], scaling: Scaling, window: Window
) -> ir.Value:
    """Rescale the products of two tensors of integers of 16 bits; as `lower_scaled`.

    Args:
        body: Where the operators go.
        factors: The integers, float32.
        values: All that they can be.
        scaling: By what, positive.
        window: Where results are cut.
    """
    one, other = factors
    first, second = values
    if first.size * second.size <= MOST_CASES:
        products = np.unique(np.multiply.outer(first, second))
        if np.abs(products).max(initial=0) < FLOAT32_INTEGERS:
            return lower_scaled(body, body.op("Mul", one, other), products, scaling, window)
    wide = body.op("Mul", body.cast(one, np.float64), body.cast(other, np.float64))
    return lower_total(body, wide, scaling, window)


def lower_total(body: Body, total: ir.Value, scaling: Scaling, window: Window) -> ir.Value:
    """Rescale float64 integers of 32 bits whatever they are, and cut them; as `lower_scaled`."""
    by = scaling.by
    if _is_exact(int(by.multiplier), int(by.shift), window, scaling.rounding):
        return lower_rescaling(body, total, floors(by, window, scaling.rounding), window, Sums())
    return lower_integer_rescaling(body, total, by, window, 0, scaling.rounding)


@lru_cache(maxsize=256)
def _is_exact(multiplier: int, shift: int, window: Window, rounding: Rounding) -> bool:
    """Whether float64 is enough; a network that is written out step by step asks again and again."""
    by = Multiplier(np.asarray(multiplier), np.asarray(shift))
    return is_exact(floors(by, window, rounding), by, window, rounding)


def lower_shifted(
    body: Body, value: ir.Value, values: Integers, scaling: Scaling, left: int, shape: tuple[int, ...]
) -> ir.Value:
    """Shift the integers of a tensor to the left and rescale them, without a cut.

    Args:
        body: Where the operators go.
        value: The integers, float32.
        values: All that they can be: successive ones.
        scaling: By what.
        left: Bits.
        shape: Shape of the tensor.

    Returns:
        Results, float64.
    """
    wanted = scaling(values << left)
    plain = floors(scaling.by, ALL, scaling.rounding)
    formula = Floors(np.ldexp(plain.factor, left), plain.plus, plain.tie)
    if not np.array_equal(formula(values), wanted):
        place = body.op("Sub", value, body.constant(values.min(), np.float32))
        return looked_up(body, body.constant(wanted, np.float64), place, shape)
    wide = body.cast(value, np.float64)
    addend = body.constant(formula.plus, np.float64)
    if np.any(formula.tie):
        signed = body.op("Mul", body.op("Sign", wide), body.constant(formula.tie, np.float64))
        addend = body.op("Add", signed, addend)
    scaled = body.op("Mul", wide, body.constant(formula.factor, np.float64))
    return body.op("Floor", body.op("Add", scaled, addend))
