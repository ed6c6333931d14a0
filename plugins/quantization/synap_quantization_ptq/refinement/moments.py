"""Second moments of what the rows of products are multiplied with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from synap_core.api import QuantParams, scale_and_zero_point
from synap_quantization_ptq.refinement.layers import Stream
from synap_quantization_ptq.refinement.products import Product
from synap_quantization_ptq.refinement.rounding import damp

Real32 = NDArray[np.float32]
Real64 = NDArray[np.float64]

FEWEST_POSITIONS = 24
ROWS_PER_TERM = 16
"""Positions of each sample, and of all samples for each term of a sum, at which the terms are looked at.

Where a sample has fewer of them, weights are only rounded, and not corrected."""

SCARCE = 0.05
"""Damping where there are as many terms as positions."""

BLOCK_ITEMS = 1 << 20
"""Items of the terms of all samples that one thread works on: large products are faster, and take more memory."""

FEWEST_BLOCKS = 8
"""Parts of the samples, however small they are: there is work for a few threads then.

The parts must not depend on how many there are, as sums of floating-point numbers depend on the order."""


LARGE_RESULT = 1 << 22
"""Items of products of terms with terms from which on there is one part."""


class Seen:
    """What the rows of a product are multiplied with: means of all, and second moments at some positions.

    Args:
        product: The product.
        quantized: The samples in the quantized graph.
        real: Some of them, the first ones, as real numbers.
        positions: Most positions of each sample that moments are taken at; 0 if only the means are wanted.

    Attributes:
        means: Means of the terms; see `Product.term_means`.
    """

    def __init__(self, product: Product, quantized: Stream, real: Stream | None, positions: int) -> None:
        self._product = product
        self._terms = terms = product.term_count()
        self._count = product.position_count()
        samples = quantized.count if real is None else real.count
        wanted = max(FEWEST_POSITIONS, -(-ROWS_PER_TERM * terms // samples))
        self._positions = min(self._count, positions, wanted)
        self._steps = _steps(quantized.quant(product.data))
        self._own = quantized.reader(product.data)
        self._paired, self._real = 0, self._own
        # With fewer positions for each term, most of what they say of it is chance.
        if real is not None and self._positions * real.count >= ROWS_PER_TERM * terms:
            self._paired, self._real = real.count, real.reader(product.data)
        # Products of numbers far from zero would hide how they vary: they are counted from near their mean.
        self._origin, self._real_origin = self._middle(self._own), self._middle(self._real)
        # Of samples with real numbers beside the quantized ones, of the others, and of real with quantized numbers.
        self._moments = _Moments(), _Moments(), _Moments()
        self.means = self._take(quantized)

    @property
    def paired(self) -> bool:
        """Whether real numbers were seen beside the quantized ones."""
        return self._paired > 0

    def covariance(self) -> Real64:
        """Covariance of the terms, ``(G, K, K)``; can be asked for once, as nothing is kept that takes much memory."""
        paired, alone, _ = self._moments
        self._moments = _Moments(), _Moments(), _Moments()
        return _covariance([moments for moments in (paired, alone) if moments.count], self._steps[0] ** 2)

    def damping(self, least: float) -> float:
        """Damping for covariances of so few positions: with fewer than terms, most of what they say is chance."""
        paired, alone, _ = self._moments
        return max(least, SCARCE * self._terms / max(paired.count or alone.count, 1))

    def corrected(self, rows: NDArray[np.floating], damping: float) -> Real64:
        """Rows that give the real product of the quantized terms, as well as rows can: ``W C(real, q) C(q, q)^-1``."""
        scale = self._steps[0]
        paired, _, crossed = self._moments
        own = _covariance([paired], scale * scale)
        extra = damp(own, damping)
        cross = _covariance([crossed], scale)
        # Damped alike, so that rows stay what they are where both see the same.
        diagonal = np.arange(cross.shape[1])
        cross[:, diagonal, diagonal] += extra[:, None]
        product = rows @ cross
        del cross
        try:
            solved = np.linalg.solve(own, product.transpose(0, 2, 1))
        except np.linalg.LinAlgError:  # rounding left nothing that can be solved
            return rows.astype(np.float64)
        return np.asarray(solved.transpose(0, 2, 1), np.float64)

    def _take(self, quantized: Stream) -> Real64:
        """Take the moments of all samples, and give the means of the terms."""
        count = quantized.count
        items = self._terms * self._product.groups * max(1, self._positions)
        size = max(1, min(BLOCK_ITEMS // items, -(-count // FEWEST_BLOCKS)))
        if self._positions and self._product.groups * self._terms**2 > LARGE_RESULT:
            size = count  # what comes of a part takes more memory than the part
        parts = ((0, self._paired), (self._paired, count))
        blocks = [range(begin, min(begin + size, end)) for start, end in parts for begin in range(start, end, size)]
        paired, alone, crossed = self._moments
        total: Real64 = np.zeros(())
        for block, (sums, own, cross) in zip(blocks, quantized.workers.each(self._block, blocks, ahead=1), strict=True):
            total = total + sums
            if own is not None:
                (paired if block.start < self._paired else alone).add(own)
            if cross is not None:
                crossed.add(cross)
        return total * (self._steps[0] / count)

    def _block(self, samples: range) -> tuple[Real64, _Block | None, _Block | None]:
        """Sum over some samples of the means of their terms, and the moments, in steps."""
        total: Real64 = np.zeros(())
        own, real = [], []
        for sample in samples:
            array = self._own(sample)
            total = total + self._product.term_means(array, self._steps[1])
            if not self._positions:
                continue
            own.append(self._picked(sample, array, self._steps[1]))
            if sample < self._paired:
                real.append(self._picked(sample, self._real(sample), 0))
        if not own:
            return total, None, None
        terms = _joined(own, self._origin)
        return total, _Block.of(terms, terms), _Block.of(_joined(real, self._real_origin), terms) if real else None

    def _picked(self, sample: int, array: np.ndarray, zero: int) -> np.ndarray:
        """Terms at some positions of a sample."""
        positions = np.random.default_rng(sample).choice(self._count, self._positions, replace=False)
        return self._product.terms(array, positions, zero)

    def _middle(self, values: Callable[[int], np.ndarray]) -> Real32:
        """About the mean of each term, ``(G, K, 1)``: that of the first sample, as an integer where they are some."""
        if not self._positions:
            return np.zeros((1, 1, 1), np.float32)
        terms = self._picked(0, values(0), self._steps[1] if values is self._own else 0)
        mean = terms.mean(axis=2, keepdims=True, dtype=np.float64)
        return np.asarray(np.rint(mean) if terms.dtype.kind in "iu" else mean, np.float32)


class _Moments:
    """Sums and products of two sets of variables, in steps.

    Attributes:
        count: How often they were seen.
        sums: Sum of each variable of both sets, ``(2, G, K)``.
        products: Sum of the products, ``(G, K, K)``.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: Real64 = np.zeros(())
        self.products: Real64 = np.zeros(())

    def add(self, block: _Block) -> None:
        """Take a block."""
        self.count += block.count
        self.sums = self.sums + block.sums
        if not self.count - block.count:
            self.products = np.zeros(block.products.shape)
        self.products += block.products


@dataclass(frozen=True, slots=True)
class _Block:
    """The same of some samples, as they are multiplied."""

    count: int
    sums: Real32
    products: Real32

    @classmethod
    def of(cls, one: Real32, other: Real32) -> Self:
        """Multiply ``(G, K, n)`` of both sets."""
        ones = np.ones(one.shape[2], np.float32)
        # They are numbers around zero: float32 is enough, and a product is faster than a sum.
        sums = [array @ ones for array in ((one,) if one is other else (one, other))]
        return cls(one.shape[2], np.stack([sums[0], sums[-1]]), one @ other.transpose(0, 2, 1))


def _steps(quant: QuantParams | None) -> tuple[float, int]:
    """Scale and zero point of what is kept as integers, or as real numbers."""
    if quant is None:
        return 1.0, 0
    scale, zero_point = scale_and_zero_point(quant, 0)
    return float(scale.item()), int(zero_point.item())


def _joined(pieces: Sequence[np.ndarray], origin: Real32) -> Real32:
    """Terms of several samples, counted from an origin: what they vary with each other does not depend on it."""
    joined = np.concatenate(pieces, axis=2, dtype=np.float32)
    joined -= origin
    return joined


def _covariance(parts: Sequence[_Moments], scale: float) -> Real64:
    """Mean of the products less the product of the means, ``(G, K, K)``, times a scale."""
    count = sum(part.count for part in parts)
    first, second = np.sum([part.sums for part in parts], axis=0) / count
    found = parts[0].products / count
    for part in parts[1:]:
        found += part.products / count
    found -= first[:, :, None] * second[:, None, :]
    found *= scale
    return found
