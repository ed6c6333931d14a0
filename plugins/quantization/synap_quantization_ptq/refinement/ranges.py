"""Other ranges of computed tensors than the ones to begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from synap_core.api import Observer, Parameters, Plan, Range, params_of, solve
from synap_quantization_ptq.observers import HistogramObserver
from synap_quantization_ptq.options import Ranges

SEARCHED_SLOTS = 24
"""Slots whose ranges are searched for one by one: those that the ways to find ranges disagree most about."""

GAIN_DB = 0.05
"""Gain for which the range of one slot is changed: less is chance."""


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
    sqnr_db: Callable[[Parameters], float],
) -> Parameters:
    """Change the range of one slot after the other where that is better.

    Args:
        plan: The plan.
        parameters: Parameters to begin with.
        observers: What was observed.
        ways: How ranges are found.
        sqnr_db: Tells how good parameters are.

    Returns:
        Parameters with constants rounded to the nearest step.
    """
    found = [_ranges(plan, observers, way) for way in ways]
    best, best_db = solve(plan, parameters.ranges), sqnr_db(solve(plan, parameters.ranges))
    for key in _most_disputed(found):
        for ranges in _different(plan, key, best, found):
            tried = solve(plan, {**best.ranges, key: ranges})
            tried_db = sqnr_db(tried)
            if tried_db > best_db + GAIN_DB:
                best, best_db = tried, tried_db
    return replace(best, notes=parameters.notes)


def _ranges(plan: Plan, observers: Mapping[str, Observer], way: Ranges) -> dict[str, Range]:
    kind, percentile = way
    return {
        key: observer.range_of(kind, percentile)
        for key, observer in observers.items()
        if key in plan.slots and isinstance(observer, HistogramObserver)
    }


def _most_disputed(found: Sequence[Mapping[str, Range]]) -> list[str]:
    """Slots by how much wider their widest range is than their narrowest; those first where it is most."""
    widths = {
        key: [float(ranges[key].high - ranges[key].low) for ranges in found] for key in (found[0] if found else ())
    }
    ratio = {key: max(values) / max(min(values), 1e-30) for key, values in widths.items() if max(values) > 0}
    return sorted(ratio, key=lambda key: -ratio[key])[:SEARCHED_SLOTS]


def _different(plan: Plan, key: str, best: Parameters, found: Sequence[Mapping[str, Range]]) -> Iterator[Range]:
    """Ranges of a slot that give other parameters than it has, each once."""
    spec, known = plan.slots[key].spec, {best.activations[key]}
    for ranges in found:
        quant = params_of(spec, ranges[key])
        if quant not in known:
            known.add(quant)
            yield ranges[key]
