"""Least squares that outliers do not spoil, with numpy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

MOST_STEPS = 200
STEP = 1e-6
"""Step of the numerical derivative."""

PRECISION = 1e-10
"""Relative decrease of the sum of squares at which the search ends."""


def softened(residuals: Reals, scale: float) -> Reals:
    """Residuals whose squares grow like those given up to `scale`, and like their absolute values beyond.

    The square is ``2 scale^2 (sqrt(1 + (r / scale)^2) - 1)``, the loss that is known as soft L1.
    """
    root = np.sqrt(1 + (residuals / scale) ** 2)
    return np.asarray(residuals * np.sqrt(2 / (1 + root)), np.float64)


def least_squares(residuals: Callable[[Reals], Reals], start: Reals) -> Reals:
    """Find a local minimum of a sum of squares.

    Args:
        residuals: ``(n,)`` to ``(m,)``, smooth and finite.
        start: Where the search begins, ``(n,)``.

    Source: Levenberg-Marquardt with damping by the diagonal; Marquardt, "An Algorithm for Least-Squares Estimation of
    Nonlinear Parameters", 1963.
    """
    x, r = start.copy(), residuals(start)
    damping = 1e-3
    for _ in range(MOST_STEPS):
        jacobian = _jacobian(residuals, x, r)
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ r
        diagonal = np.maximum(np.diag(normal), np.finfo(np.float64).tiny)
        while damping < 1e12:
            step = np.linalg.solve(normal + damping * np.diag(diagonal), -gradient)
            tried = residuals(x + step)
            if tried @ tried < r @ r:
                break
            damping *= 10
        else:
            return x
        gain = float(r @ r - tried @ tried)
        x, r, damping = x + step, tried, max(damping / 10, 1e-12)
        if gain <= PRECISION * float(r @ r):
            return x
    return x


def _jacobian(residuals: Callable[[Reals], Reals], x: Reals, r: Reals) -> Reals:
    columns = [(residuals(x + STEP * axis) - r) / STEP for axis in np.eye(len(x))]
    return np.stack(columns, axis=1)
