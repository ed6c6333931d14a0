"""Round weights so that the error of each rounding is made up for by those that follow.

Source: Frantar and others, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022,
in the form of successive rounding: with a triangular factor ``R`` of the covariance of what the columns are multiplied
with, the squared error of a row is the sum over ``j`` of
``(R[j, j] * (e[j] + sum(R[j, k] / R[j, j] * e[k], k > j)))**2``.
So column ``j`` is best rounded after adding what the errors of the columns behind it amount to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real64 = NDArray[np.float64]

POLISHING_MOVES = 100
"""Most moves of a weight in each row after all are rounded."""

BLOCK = 64
"""Columns that are rounded before their errors are added to all columns in front of them at once."""


def round_rows(
    rows: Real64, covariance: Real64, scale: Real64, zero_point: Real64, limits: tuple[int, int], damping: float
) -> Real64:
    """Round weights to steps.

    Args:
        rows: ``(G, O, K)``, in groups that are multiplied with other numbers.
        covariance: ``(G, K, K)``, of the numbers that the columns are multiplied with.
        scale: Step of each row, ``(G, O)``.
        zero_point: Integer that stands for zero in each row, ``(G, O)``.
        limits: Smallest and largest integer.
        damping: Share of the mean variance that is added to every variance.

    Returns:
        Integers, ``(G, O, K)``.
    """
    groups, _, columns = rows.shape
    covariance = damped(covariance, damping)
    # Rounding goes from the last column to the first; those that matter most come last, while many are left behind.
    order = np.argsort(np.diagonal(covariance, axis1=1, axis2=2), axis=1, kind="stable")
    pick = np.arange(groups)[:, None, None]
    factor = np.linalg.cholesky(covariance[pick, order[:, :, None], order[:, None, :]]).transpose(0, 2, 1)
    shares = factor / np.diagonal(factor, axis1=1, axis2=2)[:, :, None]
    steps = np.take_along_axis(rows, order[:, None, :], axis=2) / scale[:, :, None]
    integers, errors = np.empty_like(steps), np.empty_like(steps)
    for start in reversed(range(0, columns, BLOCK)):
        stop = min(start + BLOCK, columns)
        owed = errors[:, :, stop:] @ shares[:, start:stop, stop:].transpose(0, 2, 1)
        for column in reversed(range(start, stop)):
            near = errors[:, :, column + 1 : stop] @ shares[:, column, column + 1 : stop, None]
            wanted = steps[:, :, column] + owed[:, :, column - start] + near[:, :, 0]
            rounded = np.clip(np.rint(wanted) + zero_point, *limits)
            integers[:, :, column] = rounded
            errors[:, :, column] = steps[:, :, column] - (rounded - zero_point)
    ordered = covariance[pick, order[:, :, None], order[:, None, :]]
    _polish(integers, errors, ordered, zero_point[:, :, None], limits)
    result = np.empty_like(integers)
    np.put_along_axis(result, np.broadcast_to(order[:, None, :], result.shape), integers, axis=2)
    return result


def _polish(integers: Real64, errors: Real64, covariance: Real64, zero_point: Real64, limits: tuple[int, int]) -> None:
    """Move single weights by a step, as long as that lowers the squared error of their rows; in place.

    A move by ``d`` steps of column ``j`` changes it by ``-2 d (C e)[j] + d**2 C[j, j]``.
    """
    del zero_point
    slopes = errors @ covariance
    curvature = np.diagonal(covariance, axis1=1, axis2=2)[:, None, :]
    group, row = np.meshgrid(*map(np.arange, integers.shape[:2]), indexing="ij")
    for _ in range(POLISHING_MOVES):
        step = np.sign(slopes)
        gains = 2 * np.abs(slopes) - curvature
        moved = integers + step
        gains[(moved < limits[0]) | (moved > limits[1])] = -1.0
        best = gains.argmax(axis=2)
        useful = np.take_along_axis(gains, best[:, :, None], axis=2)[:, :, 0] > 1e-9 * curvature.max()
        if not useful.any():
            return
        chosen = group[useful], row[useful], best[useful]
        moves = step[chosen]
        integers[chosen] += moves
        errors[chosen] -= moves
        slopes[chosen[:2]] -= moves[:, None] * covariance[chosen[0], chosen[2]]


def damped(covariance: Real64, damping: float) -> Real64:
    """A covariance that can be inverted: each variance grows by a share of their mean.

    Args:
        covariance: ``(G, K, K)``.
        damping: The share.
    """
    mean = np.trace(covariance, axis1=1, axis2=2) / covariance.shape[1]
    extra = np.where(mean > 0, damping * mean, 1.0)
    return covariance + extra[:, None, None] * np.eye(covariance.shape[1])
