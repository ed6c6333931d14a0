"""Other ranges of computed tensors than the ones to begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from synap_core.api import Observer, Parameters, Plan, Range, params_of, solve
from synap_quantization_ptq.observers import HistogramObserver
from synap_quantization_ptq.options import Ranges
from synap_quantization_ptq.refinement.judge import Judge

SEARCHED_SLOTS = 10
"""Most slots whose ranges are searched for: those that do most damage."""

LEAST_SHARE = 0.02
"""Share of the whole damage below which nothing is to be gained from a slot."""

LESS_NOISE = 0.85
"""Part of its noise that a slot may have left with another range: more is chance."""


def with_ranges(plan: Plan, parameters: Parameters, observers: Mapping[str, Observer], way: Ranges) -> Parameters:
    """Parameters with ranges of all computed tensors found in another way, constants rounded to the nearest step.

    Args:
        plan: The plan.
        parameters: Parameters to begin with.
        observers: What was observed.
        way: How the ranges are found, where there are histograms.
    """
    return solve(plan, {**parameters.ranges, **_ranges(plan, observers, way)})


def search(
    plan: Plan,
    parameters: Parameters,
    observers: Mapping[str, Observer],
    ways: Sequence[Ranges],
    quick: Judge,
    judge: Judge,
) -> Parameters:
    """Find, for the slots that do most damage, the range that does least.

    Each slot is rounded alone, and everything else is left as it is. How near its own numbers come says little: what
    matters may be channels with small numbers, while the few large ones are saturated further on. And in a graph that
    is quantized as a whole, what one range does is lost in the noise of all the others.

    Args:
        plan: The plan.
        parameters: Parameters to begin with.
        observers: What was observed.
        ways: How ranges are found.
        quick: Tells which slots do most damage; a few samples are enough for that.
        judge: Compares ranges of these.

    Returns:
        Parameters with constants rounded to the nearest step.
    """
    found = [_ranges(plan, observers, way) for way in ways]
    damage = {key: quick.damage(key, parameters.activations[key]) for key in (found[0] if found else ())}
    least = LEAST_SHARE * sum(damage.values())
    worst = sorted((key for key in damage if damage[key] > least), key=lambda key: -damage[key])
    ranges = dict(parameters.ranges)
    for key in worst[:SEARCHED_SLOTS]:
        spec, now = plan.slots[key].spec, judge.damage(key, parameters.activations[key])
        tried = [(judge.damage(key, params_of(spec, other)), other) for other in _others(plan, key, parameters, found)]
        best = min(tried, key=lambda pair: pair[0], default=None)
        if best is not None and best[0] < LESS_NOISE * now:
            ranges[key] = best[1]
    return solve(plan, ranges)


def _ranges(plan: Plan, observers: Mapping[str, Observer], way: Ranges) -> dict[str, Range]:
    kind, percentile = way
    return {
        key: observer.range_of(kind, percentile)
        for key, observer in observers.items()
        if key in plan.slots and isinstance(observer, HistogramObserver)
    }


def _others(plan: Plan, key: str, parameters: Parameters, found: Sequence[Mapping[str, Range]]) -> Iterator[Range]:
    """Ranges of a slot that give other parameters than it has, each once."""
    spec, known = plan.slots[key].spec, {parameters.activations[key]}
    for ranges in found:
        quant = params_of(spec, ranges[key])
        if quant not in known:
            known.add(quant)
            yield ranges[key]
