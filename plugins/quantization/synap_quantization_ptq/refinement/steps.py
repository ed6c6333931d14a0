"""Choose smaller steps for weights where what is gained by them outweighs that the largest weights are cut off.

With any scale nothing is gained by it, for the largest weights count most. Where steps are powers of two, however, up
to half of the integers are unused, and the next smaller step may cut off next to nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synap_core.api import QuantParams, integer_limits

Real64 = NDArray[np.float64]

MOST_HALVINGS = 2


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
