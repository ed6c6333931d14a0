"""How far a quantized graph is from the graph of real numbers: figures, and the runs that collect them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_core.quantization.dataset import in_order
from synap_core.quantization.interface import Runner, Session

BLOCK = 32_768
"""Items that are compared at a time: what is computed in float64 stays in the cache."""

EXACT = "exact"
"""What is shown for the ratio of a signal to no noise at all."""

T = TypeVar("T")
U = TypeVar("U")

Feeds = Mapping[str, np.ndarray]
Reals = NDArray[np.float64]


@dataclass(slots=True)
class Errors:
    """Sums over pairs of tensors, from which all figures follow; of a size that does not depend on the data.

    Items that are the same in both tensors, infinite ones and NaN included, count as right. Any other item that is
    not finite makes the noise infinite. Only finite items of the reference count as signal.

    Attributes:
        signal: Sum of the squares of the reference.
        noise: Sum of the squares of the differences.
        other: Sum of the squares of what is compared with the reference.
        product: Sum of the products of both.
        max_error: Largest difference.
    """

    signal: float = 0.0
    noise: float = 0.0
    other: float = 0.0
    product: float = 0.0
    max_error: float = 0.0

    @classmethod
    def between(cls, reference: np.ndarray, values: np.ndarray) -> Errors:
        """Errors of one tensor.

        Args:
            reference: Of any shape and numeric type.
            values: Of the same shape.
        """
        expected, found = np.ravel(reference), np.ravel(values)
        errors = cls()
        for start in range(0, expected.size, BLOCK):
            part = slice(start, start + BLOCK)
            errors._add_block(expected[part].astype(np.float64), found[part].astype(np.float64))
        return errors

    def _add_block(self, expected: Reals, found: Reals) -> None:
        if not (np.isfinite(expected).all() and np.isfinite(found).all()):
            same = (expected == found) | (np.isnan(expected) & np.isnan(found))
            finite = np.isfinite(expected) & np.isfinite(found)
            if np.any(~same & ~finite):
                self.noise = self.max_error = math.inf
            expected, found = expected[finite], found[finite]
        difference = expected - found
        self.signal += _inner_product(expected, expected)
        self.noise += _inner_product(difference, difference)
        self.other += _inner_product(found, found)
        self.product += _inner_product(expected, found)
        self.max_error = max(self.max_error, float(np.max(np.abs(difference), initial=0.0)))

    def add(self, errors: Errors) -> None:
        """Take in the errors of further tensors."""
        self.signal += errors.signal
        self.noise += errors.noise
        self.other += errors.other
        self.product += errors.product
        self.max_error = max(self.max_error, errors.max_error)

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise ratio, ``10 log10(sum y^2 / sum (y - q)^2)``, in dB.

        Infinite without noise, whatever the signal; minus infinity for noise without a signal.
        """
        if self.noise == 0:
            return math.inf
        if self.signal == 0 or not math.isfinite(self.noise):
            return -math.inf
        return 10 * (math.log10(self.signal) - math.log10(self.noise))

    @property
    def cosine(self) -> float:
        """Cosine of the angle between all items of the reference and of the other, each taken as one vector.

        1 when both are zero, 0 when only one of them is. NaN when the noise is infinite: there is no angle then.
        """
        if not math.isfinite(self.noise):
            return math.nan
        if self.signal == 0 or self.other == 0:
            return 1.0 if self.signal == self.other else 0.0
        cosine = self.product / (math.sqrt(self.signal) * math.sqrt(self.other))
        return max(-1.0, min(1.0, cosine))

    def figures(self) -> Figures:
        """The figures so far."""
        return Figures(cosine=self.cosine, sqnr_db=self.sqnr_db, max_error=self.max_error)


def _inner_product(one: Reals, other: Reals) -> float:
    """Without the linear algebra library, whose own threads would take the cores from those that run graphs."""
    return float(np.einsum("i,i->", one, other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How close a tensor is to its reference.

    Attributes:
        cosine: From -1 to 1; 1 means that only the size may differ. NaN when infinities or NaN came or went.
        sqnr_db: Signal to quantization noise ratio; infinite when nothing differs.
        max_error: Largest difference of two items.
    """

    cosine: float
    sqnr_db: float
    max_error: float


def format_db(value: float) -> str:
    """Write a ratio with one decimal; ``exact`` for an infinite one."""
    return EXACT if value == math.inf else f"{value:.1f}"


def figures_as_text(figures: Figures) -> tuple[str, str, str]:
    """Cosine, ratio and largest error for a table; ``nan`` for the cosine of what has no angle."""
    return f"{figures.cosine:.5f}", format_db(figures.sqnr_db), f"{figures.max_error:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A graph to compare.

    Attributes:
        model: Takes the same inputs as the reference.
        names: Values that both have, and that are compared.
    """

    model: ir.Model
    names: tuple[str, ...]


class Comparer:
    """Runs graphs beside a reference, sample by sample; keeps sums, but no tensors.

    Args:
        runner: Runs graphs on the samples.
        indices: Samples to use.
        reference: What the others are compared with.
    """

    def __init__(self, runner: Runner, indices: Sequence[int], reference: ir.Model) -> None:
        self.runner = runner
        self.indices = tuple(indices)
        self._reference = reference
        self._opened: tuple[tuple[str, ...], Session] | None = None

    def measure(self, candidates: Sequence[Candidate]) -> list[dict[str, Errors]]:
        """Run candidates on all samples; all of them are in memory at the same time.

        Returns:
            For each candidate, the errors of each of its values, by name.
        """
        names = tuple(dict.fromkeys(name for candidate in candidates for name in candidate.names))
        exact = self._session(names)
        sessions = [self.runner.open(candidate.model, candidate.names) for candidate in candidates]

        def run(feeds: Feeds) -> list[list[Errors]]:
            expected = dict(zip(names, exact.run(feeds), strict=True))
            return [
                [Errors.between(expected[n], found) for n, found in zip(c.names, session.run(feeds), strict=True)]
                for c, session in zip(candidates, sessions, strict=True)
            ]

        totals = [{name: Errors() for name in candidate.names} for candidate in candidates]
        for found in in_order(
            run, self.runner.samples(self.indices), threads=self.runner.jobs, ahead=self.runner.jobs - 1
        ):
            for total, errors in zip(totals, found, strict=True):
                for name, error in zip(total, errors, strict=True):
                    total[name].add(error)
        return totals

    def _session(self, names: tuple[str, ...]) -> Session:
        """The reference with some outputs; the last one is kept, because it is often asked for again."""
        if self._opened is None or self._opened[0] != names:
            self._opened = None
            self._opened = names, self.runner.open(self._reference, names)
        return self._opened[1]
