"""Functions that no runtime computes exactly: evaluated in float64 and rounded once, nearer than any float32 code.

Two runtimes differ in the last bits of such results, so a folded one may differ from what a runtime would have given by
some units in the last place of float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np

from synap_core.graph.folding.registry import Array, Computed, Constants, computes

MAX_ERF_ITEMS = 1 << 20
"""Items of which the error function is computed: NumPy has none, so each takes a call."""


def _sigmoid(x: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)))


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(0.0, x))


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Exp": np.exp,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Log": np.log,
    "Mish": lambda x: x * np.tanh(_softplus(x)),
    "Sigmoid": _sigmoid,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Softplus": _softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Tan": np.tan,
    "Tanh": np.tanh,
}

SHAPED: dict[str, tuple[dict[str, float], Callable[..., Array]]] = {
    "Celu": ({"alpha": 1.0}, lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))),
    "Elu": ({"alpha": 1.0}, lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))),
    "HardSigmoid": ({"alpha": 0.2, "beta": 0.5}, lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1)),
    "LeakyRelu": ({"alpha": 0.01}, lambda x, alpha: np.where(x < 0, alpha * x, x)),
    "Selu": (
        {"alpha": 1.6732631921768188, "gamma": 1.0507010221481323},
        lambda x, alpha, gamma: gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    ),
    "Shrink": (
        {"bias": 0.0, "lambd": 0.5},
        lambda x, bias, lambd: np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)),
    ),
    "ThresholdedRelu": ({"alpha": 1.0}, lambda x, alpha: np.where(x > alpha, x, 0)),
}
"""Functions with attributes: their defaults, and the function."""


@computes(*FUNCTIONS)
def function(node: Constants) -> Computed:
    """In float64, rounded."""
    return [_rounded(node, FUNCTIONS[node.op_type](_wide(node.items())))]


@computes(*SHAPED)
def shaped(node: Constants) -> Computed:
    """In float64, rounded; files hold attributes as float32."""
    defaults, compute = SHAPED[node.op_type]
    given = {name: float(np.float32(node.number(name, default))) for name, default in defaults.items()}
    return [_rounded(node, compute(_wide(node.items()), **given))]


@computes("Erf")
def erf(node: Constants) -> Computed:
    """The error function."""
    array = node.items()
    if array.size > MAX_ERF_ITEMS:
        return None
    results = np.fromiter(map(math.erf, array.reshape(-1).tolist()), np.float64, array.size)
    return [_rounded(node, results.reshape(array.shape))]


@computes("Mean")
def mean(node: Constants) -> Computed:
    """Of several, in float64, rounded."""
    return [_rounded(node, reduce(np.add, map(_wide, node.all_items())) / len(node.types))]


@computes("Pow")
def power(node: Constants) -> Computed:
    """Integers too, truncated, as long as float64 holds the result exactly."""
    found = np.power(_wide(node.items(0)), _wide(node.items(1)))
    if node.item_type.kind == "f":
        return [_rounded(node, found)]
    limits = np.iinfo(node.item_type)
    most = min(limits.max, 1 << 53)
    if not bool((np.isfinite(found) & (found >= max(limits.min, -most)) & (found <= most)).all()):
        return None
    return [np.trunc(found).astype(node.item_type)]


def _wide(array: Array) -> Array:
    return array.astype(np.float64)


def _rounded(node: Constants, array: Array) -> Array:
    return array.astype(node.item_type)
