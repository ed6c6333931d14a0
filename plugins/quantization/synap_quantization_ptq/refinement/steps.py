"""Choose smaller steps for weights where what is gained by them outweighs that the largest weights are cut off.

Where steps are powers of two, up to half of the integers are unused, and the next smaller step may cut off next to
nothing. Where they are not, one step for a whole tensor is set by a few weights of it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synap_core.api import QuantParams, integer_limits
from synap_quantization_ptq.refinement.rounding import Rounding

Real64 = NDArray[np.float64]

MOST_HALVINGS = 2

SHARES = (1.0, 0.9, 0.8, 0.7)
"""Steps that are tried, as shares of the one that covers all weights."""

MOST_ROWS = 64
"""Rows of each group that are rounded to compare steps: as many with the largest weights as of the others."""


def fitted_steps(quant: QuantParams, rows: Real64, covariance: Real64) -> QuantParams:
    """Fixed-point parameters with the steps that have the least squared error of the product, weights rounded singly.

    Args:
        quant: Parameters that cover all weights, of dynamic fixed point.
        rows: Weights, ``(G, O, K)``.
        covariance: Of what they are multiplied with, ``(G, K, K)``.
    """
    first = quant.fractional_length or 0
    low, high = integer_limits(quant.dtype, quant.scheme)
    costs = []
    for length in range(first, first + MOST_HALVINGS + 1):
        steps = rows * math.ldexp(1.0, length)
        errors = (steps - np.clip(np.rint(steps), low, high)) * math.ldexp(1.0, -length)
        costs.append(float(np.sum(errors @ covariance * errors)))
    return replace(quant, fractional_length=first + int(np.argmin(costs)))


def shared_step(quant: QuantParams, rows: Real64, covariance: Real64, rounding: Rounding) -> QuantParams:
    """Affine parameters with the step that has the least squared error of the product, weights rounded together.

    Args:
        quant: Parameters that cover all weights, one scale for all.
        rows: Weights, ``(G, O, K)``.
        covariance: Of what they are multiplied with, ``(G, K, K)``.
        rounding: Rounds rows with regard to it.
    """
    some, counts = _sampled(rows)
    tried = [_scaled(quant, share) for share in SHARES]
    # All of them at once: fewer and larger operations are faster.
    scale = np.broadcast_to(
        np.repeat([found.scale[0] for found in tried], some.shape[1]), (len(some), len(tried) * some.shape[1])
    )
    zero_point = np.full(scale.shape, float(quant.zero_point[0]))
    all_rows = np.tile(some, (1, len(tried), 1))
    integers = rounding.integers(all_rows, scale, zero_point, integer_limits(quant.dtype, quant.scheme), polish=False)
    errors = all_rows - (integers - zero_point[:, :, None]) * scale[:, :, None]
    costs = np.sum(errors @ covariance * errors, axis=2).sum(axis=0).reshape(len(tried), -1) @ counts
    return tried[int(np.argmin(costs))]


def has_shared_step(quant: QuantParams) -> bool:
    """Whether all weights have one step, which may be any number."""
    return quant.axis is None and quant.fractional_length is None and quant.dtype != "int16"


def _scaled(quant: QuantParams, share: float) -> QuantParams:
    return replace(
        quant, scale=tuple(float(np.float32(scale * share)) if share != 1 else scale for scale in quant.scale)
    )


def _sampled(rows: Real64) -> tuple[Real64, Real64]:
    """Rows to compare steps with, ``(G, n, K)``, and how many rows each stands for, ``(n,)``."""
    count = rows.shape[1]
    if count <= MOST_ROWS:
        return rows, np.ones(count)
    # Only rows with large weights are cut off, and they are few: chance must not leave them out.
    order = np.argsort(-np.abs(rows).max(axis=(0, 2)), kind="stable")
    half = MOST_ROWS // 2
    others = order[np.linspace(half, count - 1, half).round().astype(np.int64)]
    return rows[:, np.append(order[:half], others)], np.repeat([1.0, (count - half) / half], half)
