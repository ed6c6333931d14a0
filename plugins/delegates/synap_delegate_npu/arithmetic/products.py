"""Sums of products of integers, computed exactly by floating-point operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_delegate_npu.arithmetic.multiplier import Integers
from synap_delegate_npu.program.body import Body

FLOAT32_BITS = 24

FLOAT32_INTEGERS = 1 << FLOAT32_BITS
"""Sums of integers below this are exact in float32, in any order."""

SPLITS = ((0, 0), (0, 4), (8, 0), (8, 8), (8, 6), (8, 4), (4, 4), (4, 2), (2, 2))
"""Bits of all but the uppermost parts that data and weights may be split into; 0 for no split."""

Apply = Callable[[ir.Value, ir.Value, ir.Value | None], ir.Value]
"""The product: operators that are linear in the data and in the weights, given these and a bias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Integers to be multiplied, counted from their zero points.

    Attributes:
        low: The least number of the data; not above 0.
        high: The largest; not below 0.
        weights: Weights, int64.
        axis: Axis of the weights that tells which sum they belong to.
        bias: One number for each sum; None without.
    """

    low: int
    high: int
    weights: Integers
    axis: int
    bias: Integers | None = None

    def largest_sum(self) -> int:
        """Bound of all sums, that of the bias included."""
        bias = 0 if self.bias is None else int(np.abs(self.bias).max(initial=0))
        return sum_bound(self.weights, self.axis, self.low, self.high) + bias


def sum_bound(weights: Integers, axis: int, low: int, high: int) -> int:
    """The largest size that any partial sum of products can have, whatever the data between two ends."""
    others = tuple(i for i in range(weights.ndim) if i != axis)
    positive = np.maximum(weights, 0).sum(axis=others)
    negative = positive - weights.sum(axis=others)
    up, down = positive * high - negative * low, negative * high - positive * low
    return int(max(up.max(initial=0), down.max(initial=0)))


@dataclass(frozen=True, slots=True)
class Part:
    """Integers that are multiples of a power of two.

    Attributes:
        bits: Logarithm of the power.
        low: The least integer, in units of the power.
        high: The largest.
    """

    bits: int
    low: int
    high: int

    @property
    def size(self) -> int:
        """Bound of the size of the integers, in units of the power."""
        return max(-self.low, self.high)


def exact_product(body: Body, data: ir.Value, weights: ir.Value, factors: Factors, apply: Apply, axes: int) -> ir.Value:
    """Sums of products, exactly.

    Where sums could leave the integers that float32 holds, data and weights are split into parts that are multiples of
    different powers of two. Each pair of parts is multiplied by itself, exactly, and the results are added up in
    float64.

    Args:
        body: Where the operators go.
        data: The data, counted from the zero point, float32.
        weights: The weights, likewise.
        factors: What is known of both.
        apply: The product.
        axes: Axes of the result behind that of the sums' channel.

    Returns:
        The sums, float64, bias included.

    Raises:
        ValueError: No split makes the sums exact: there are more than 2**22 products in one.
    """
    data_bits, weight_bits, pairs = _cheapest(factors)
    bias = factors.bias
    if len(pairs) == 1 and factors.largest_sum() < FLOAT32_INTEGERS:
        term = None if bias is None else body.constant(bias, np.float32)
        return body.cast(apply(data, weights, term), np.float64)
    xs = _split(body, data, data_bits, 1 + max(i for i, _, _ in pairs))
    ws = _split(body, weights, weight_bits, 1 + max(j for _, j, _ in pairs))
    terms = [Term(i * data_bits + j * weight_bits, bound, apply(xs[i], ws[j], None)) for i, j, bound in pairs]
    total = _added(body, terms)
    return total if bias is None else body.op("Add", total, body.constant(bias.reshape(-1, *(1,) * axes), np.float64))


def _cheapest(factors: Factors) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Bits of the split with the fewest products, and among these the fewest units.

    Returns:
        Bits for the data and for the weights, and for each product the places of both parts and the bound of its sums.
    """
    found = []
    for data_bits, weight_bits in SPLITS:
        data_parts, weight_parts = (
            parts_of(factors.low, factors.high, data_bits),
            _divided(factors.weights, weight_bits),
        )
        pairs = [
            (i, j, sum_bound(items, factors.axis, part.low, part.high))
            for (i, part), (j, items) in product(enumerate(data_parts), enumerate(weight_parts))
        ]
        if all(bound < FLOAT32_INTEGERS for _, _, bound in pairs):
            units = {i * data_bits + j * weight_bits for i, j, _ in pairs}
            found.append((len(pairs), len(units), data_bits, weight_bits, pairs))
            if len(pairs) == 1:
                break
    if not found:
        msg = "too many products in one sum"
        raise ValueError(msg)
    _, _, data_bits, weight_bits, pairs = min(found)
    return data_bits, weight_bits, pairs


def exact_matrix_product(
    body: Body,
    factors: tuple[ir.Value, ir.Value],
    ends: tuple[tuple[int, int], tuple[int, int]],
    count: int,
    multiply: Callable[[ir.Value, ir.Value], ir.Value],
) -> ir.Value:
    """Sums of products of computed integers, exactly; as `exact_product`.

    Args:
        body: Where the operators go.
        factors: Both tensors, counted from their zero points, float32.
        ends: The least and the largest integer of each; they include 0.
        count: Products in one sum.
        multiply: The operators, which are linear in both.

    Returns:
        The sums, float64.

    Raises:
        ValueError: No split makes the sums exact.
    """
    for bits in SPLITS:
        one, other = (parts_of(*pair, number) for pair, number in zip(ends, bits, strict=True))
        if count * max(part.size for part in one) * max(part.size for part in other) < FLOAT32_INTEGERS:
            break
    else:
        msg = "too many products in one sum"
        raise ValueError(msg)
    xs, ys = (
        list(zip(parts, _split(body, value, number, len(parts)), strict=True))
        for parts, value, number in zip((one, other), factors, bits, strict=True)
    )
    terms = [Term(a.bits + b.bits, count * a.size * b.size, multiply(x, y)) for (a, x), (b, y) in product(xs, ys)]
    return _added(body, terms)


@dataclass(frozen=True, slots=True)
class Term:
    """Sums of products of parts, float32.

    Attributes:
        bits: They are multiples of this power of two.
        bound: Of their size, in units of the power.
        value: They.
    """

    bits: int
    bound: int
    value: ir.Value


def _added(body: Body, terms: Sequence[Term]) -> ir.Value:
    """The sum in float64. Terms of the same unit are added in float32 before, as long as that holds the result."""
    joined: list[Term] = []
    for term in sorted(terms, key=lambda term: term.bits):
        last = joined[-1] if joined else None
        if last is not None and last.bits == term.bits and last.bound + term.bound < FLOAT32_INTEGERS:
            both = body.op("Add", last.value, term.value)
            joined[-1] = Term(term.bits, last.bound + term.bound, both)
        else:
            joined.append(term)
    wide = [body.cast(term.value, np.float64) for term in joined]
    return reduce(lambda total, value: body.op("Add", total, value), wide)


def _split(body: Body, value: ir.Value, bits: int, count: int) -> Sequence[ir.Value]:
    """Parts whose sum is a value; each is a multiple of a power of two that is ``bits`` larger than the one before.

    Adding and taking away a number of which a unit in the last place is the power rounds to its multiples.
    """
    parts = []
    for place in range(1, count):
        large = body.constant(1.5 * 2.0 ** (FLOAT32_BITS - 1 + place * bits), np.float32)
        upper = body.op("Sub", body.op("Add", value, large), large)
        parts.append(body.op("Sub", value, upper))
        value = upper
    return [*parts, value]


def _divided(array: Integers, bits: int) -> list[Integers]:
    """What `_split` makes of an array; each part in units of its power."""
    parts = []
    half = 1 << bits >> 1
    while bits and np.abs(array).max(initial=0) > half:
        upper = np.rint(array / (1 << bits)).astype(np.int64)
        parts.append(array - (upper << bits))
        array = upper
    return [*parts, array]


def parts_of(low: int, high: int, bits: int) -> list[Part]:
    """What `_split` makes of integers between two ends, which include 0."""
    *lower, ends = _divided(np.asarray([low, high], np.int64), bits)
    half = 1 << bits >> 1
    parts = [Part(place * bits, -half, half) for place in range(len(lower))]
    return [*parts, Part(len(lower) * bits, int(ends[0]), int(ends[1]))]


def centred(stored: NDArray[np.integer], zero_point: Integers, axis: int | None) -> Integers:
    """Stored integers counted from their zero points, int64."""
    shape = [1] * stored.ndim
    if axis is not None and zero_point.ndim:
        shape[axis] = -1
    return np.asarray(stored.astype(np.int64) - zero_point.reshape(shape if zero_point.ndim else ()))
