"""Round weights so that the error of each rounding is made up for by those that follow.

Source: Frantar and others, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022,
in the form of successive rounding: with a triangular factor ``R`` of the covariance of what the columns are multiplied
with, the squared error of a row is the sum over ``j`` of
``(R[j, j] * (e[j] + sum(R[j, k] / R[j, j] * e[k], k > j)))**2``.
So column ``j`` is best rounded after adding what the errors of the columns behind it amount to.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating]
Real32 = NDArray[np.float32]
Real64 = NDArray[np.float64]
Integers = NDArray[np.int32]

POLISHING_MOVES = 100
"""Most moves of a weight in each row after all are rounded."""

LEAST_GAIN = 1e-5
"""Part of the largest gain there can be below which a gain is an error of rounding."""

BLOCK = 64
"""Columns that are rounded before their errors are added to all columns in front of them at once."""

ROUNDED_ITEMS = 1 << 20
"""Items of rows, or of covariances, that are rounded at a time: few large products are faster, and take more memory."""

POLISHED_ITEMS = 1 << 17
"""Items that are polished at a time: with more, the cache does not hold them."""

SMALLEST = 1e-300
"""Stands for a variance of zero."""

FEW_LEFT = 0.75
"""Part of the rows that are polished; when no more of them gain anything, the others are put aside."""


class Rounding:
    """Rounds rows that are multiplied with the same numbers.

    Args:
        covariance: ``(G, K, K)``, of the numbers that the columns are multiplied with; can be inverted, see `damp`.
    """

    def __init__(self, covariance: Real64) -> None:
        # Rounding goes from the last column to the first; those that matter most come last, while many are left behind.
        self._order = np.argsort(np.diagonal(covariance, axis1=1, axis2=2), axis=1, kind="stable")
        groups = np.arange(len(covariance))[:, None, None]
        self._covariance = covariance[groups, self._order[:, :, None], self._order[:, None, :]]
        self._shares = np.empty_like(self._covariance)
        for part in _parts(len(covariance), covariance[0].size, ROUNDED_ITEMS):
            factors = _factor(self._covariance[part])
            factors /= np.diagonal(factors, axis1=1, axis2=2)[:, None, :].copy()
            self._shares[part] = factors.transpose(0, 2, 1)

    def integers(
        self, rows: Real, scale: Real64, zero_point: Real64, limits: tuple[int, int], *, polish: bool = True
    ) -> Integers:
        """Round weights to steps.

        Args:
            rows: ``(G, O, K)``, in groups that are multiplied with other numbers.
            scale: Step of each row, ``(G, O)``.
            zero_point: Integer that stands for zero in each row, ``(G, O)``.
            limits: Smallest and largest integer.
            polish: Look at the end for single weights that are better rounded the other way; takes most of the time.

        Returns:
            Integers, ``(G, O, K)``.
        """
        groups, outputs, columns = rows.shape
        result = np.empty(rows.shape, np.int32)
        for part in _parts(groups, columns * max(columns, outputs), ROUNDED_ITEMS):
            count = len(rows[part])
            for some in _parts(outputs, count * columns, ROUNDED_ITEMS):
                places = np.broadcast_to(self._order[part, None, :], rows[part, some].shape)
                steps = np.take_along_axis(rows[part, some].astype(np.float64), places, axis=2)
                steps /= scale[part, some, None]
                integers, errors = _round_in_order(steps, self._shares[part], zero_point[part, some], limits)
                for few in _parts(integers.shape[1] if polish else 0, count * columns, POLISHED_ITEMS):
                    integers[:, few] = _polished(integers[:, few], errors[:, few], self._covariance[part], limits)
                np.put_along_axis(result[part, some], places, integers, axis=2)
        return result


def _factor(covariance: Real64) -> Real64:
    """Lower triangular factors, ``(G, K, K)``; of the diagonal alone where rounding left no covariance of anything."""
    try:
        return np.asarray(np.linalg.cholesky(covariance), np.float64)
    except np.linalg.LinAlgError:
        if len(covariance) > 1:
            return np.concatenate([_factor(covariance[group : group + 1]) for group in range(len(covariance))])
        variances = np.diagonal(covariance, axis1=1, axis2=2)
        return np.sqrt(np.maximum(variances, SMALLEST))[:, :, None] * np.eye(covariance.shape[1])


def _parts(count: int, items: int, most: int) -> Iterator[slice]:
    """Slices of things with a number of items each, so that each has no more than the most; or one at a time."""
    size = max(1, most // max(1, items))
    return (slice(start, start + size) for start in range(0, count, size))


def _round_in_order(
    steps: Real64, shares: Real64, zero_point: Real64, limits: tuple[int, int]
) -> tuple[Integers, Real64]:
    """Round column by column, from the last one; the integers, and what is left of the steps, ``(G, O, K)``."""
    columns = steps.shape[2]
    # Columns are rows here: what is worked on at a time is then side by side. The steps become the errors.
    errors = np.ascontiguousarray(steps.transpose(0, 2, 1))
    integers = np.empty(errors.shape, np.int32)
    for start in reversed(range(0, columns, BLOCK)):
        stop = min(start + BLOCK, columns)
        owed = shares[:, start:stop, stop:] @ errors[:, stop:]
        for column in reversed(range(start, stop)):
            # No product of matrices: sharing so little work among threads takes longer than doing it.
            near = np.einsum("gk,gko->go", shares[:, column, column + 1 : stop], errors[:, column + 1 : stop])
            wanted = errors[:, column] + owed[:, column - start] + near
            rounded = np.clip(np.rint(wanted) + zero_point, *limits)
            integers[:, column] = rounded
            errors[:, column] -= rounded - zero_point
    return integers.transpose(0, 2, 1), errors.transpose(0, 2, 1)


def _polished(integers: Integers, errors: Real64, covariance: Real64, limits: tuple[int, int]) -> Integers:
    """Move single weights by a step, as long as that lowers the squared error of their rows.

    A move by ``d`` steps of column ``j`` changes it by ``-2 d (C e)[j] + d**2 C[j, j]``.
    """
    groups, outputs, columns = integers.shape
    # Half of the digits are enough to tell which move gains most, and take half of the time.
    slopes = (errors @ covariance).astype(np.float32).reshape(-1, columns)
    whole = np.array(integers).reshape(-1, columns)
    near = covariance.astype(np.float32)
    costs = np.diagonal(near, axis1=1, axis2=2) / 2
    least = LEAST_GAIN * costs.max(axis=1)
    row, group = np.arange(len(whole)), np.repeat(np.arange(groups), outputs)
    gains = np.empty_like(slopes)
    for _ in range(POLISHING_MOVES):
        np.abs(slopes, out=gains)
        gains -= costs if groups == 1 else costs[group]
        best = _possible(gains, slopes, whole, row, limits)
        useful = np.flatnonzero(gains[np.arange(len(best)), best] > least[group])
        if not len(useful):
            break
        # Once a row gains nothing, it never will.
        if len(useful) < FEW_LEFT * len(row):
            slopes, best, gains = slopes[useful], best[useful], gains[: len(useful)]
            row, group = row[useful], group[useful]
            useful = np.arange(len(useful))
        column = best[useful]
        moves = np.sign(slopes[useful, column])
        whole[row[useful], column] += moves.astype(np.int32)
        changes = near[group[useful], column]
        changes *= moves[:, None]
        if len(useful) == len(slopes):
            slopes -= changes
        else:
            slopes[useful] -= changes
    return whole.reshape(integers.shape)


def _possible(
    gains: Real32, slopes: Real32, whole: Integers, row: NDArray[np.int64], limits: tuple[int, int]
) -> NDArray[np.int64]:
    """The column of each row that gains most, of those whose integer can move; the gain of others becomes negative."""
    best = np.asarray(gains.argmax(axis=1))
    number = np.arange(len(best))
    while True:
        at_limit = np.where(slopes[number, best] > 0, limits[1], limits[0]) == whole[row, best]
        stuck = np.flatnonzero(at_limit & (gains[number, best] > 0))
        if not len(stuck):
            return best
        gains[stuck, best[stuck]] = -1.0
        best[stuck] = gains[stuck].argmax(axis=1)


def damp(covariance: Real64, damping: float) -> Real64:
    """Make a covariance one that can be inverted, in place: each variance grows by a share of their mean.

    Args:
        covariance: ``(G, K, K)``.
        damping: The share.

    Returns:
        What the variances grew by, ``(G,)``.
    """
    mean = np.trace(covariance, axis1=1, axis2=2) / covariance.shape[1]
    extra = np.where(mean > 0, damping * mean, 1.0)
    diagonal = np.arange(covariance.shape[1])
    covariance[:, diagonal, diagonal] += extra[:, None]
    return extra
