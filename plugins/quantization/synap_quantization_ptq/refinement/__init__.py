"""Refinement of parameters: weights rounded with regard to what they are multiplied with, and corrected biases.

No refinement is safe everywhere, so some samples are held back, and the one that is best on them is kept; none, if none
is clearly better.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has none

from synap_core.api import Observer, Parameters, Plan, Runner
from synap_quantization_ptq.refinement.judge import Judge
from synap_quantization_ptq.refinement.layers import peak_items
from synap_quantization_ptq.refinement.ranges import search, with_ranges
from synap_quantization_ptq.refinement.sweep import Material, Recipe, product_means, products, shares_steps, sweep
from synap_quantization_ptq.refinement.workers import Workers

if TYPE_CHECKING:
    from synap_quantization_ptq.options import Options

log = logging.getLogger("synap_core.quantization.refinement")

FEWEST_SAMPLES = 10
"""With fewer samples, none can be held back, and nothing can be said about what helps."""

FEWEST_NUMBERS = 16
"""Numbers that the samples held back must give at the outputs: of fewer, chance decides which are closer."""

HELD_BACK = 5
"""Every fifth sample is held back."""

MOST_HELD_BACK = 20

QUICK_SAMPLES, SEARCH_SAMPLES = 3, 8
"""Samples that tell which slots do most damage, and that their ranges are compared on."""

MOST_FITTED = 40
"""Samples that a refinement is made with; more of them gained nothing, and fewer lose a little."""

CLEAR_GAIN_DB = 0.3
"""Gain on the samples that were held back which a refinement must have over what is simpler."""

QUANTIZED_BYTES = 112 << 20
REAL_BYTES = 64 << 20
"""Memory for the values of samples that go through the quantized graph, and the graph of real numbers."""

FEWEST_QUANTIZED, FEWEST_REAL = 32, 16
"""Samples that go through them whatever the memory: with fewer, chance decides."""

RECIPES = (
    Recipe(name="rounding and bias correction", bias=True),
    Recipe(name="half-corrected rounding and bias correction", bias=True, correction=0.5, damping=0.05),
    Recipe(name="rounding in given steps and bias correction", bias=True, steps=False),
    Recipe(
        name="half-corrected rounding in given steps and bias correction",
        bias=True,
        correction=0.5,
        damping=0.05,
        steps=False,
    ),
    Recipe(name="rounding", is_fallback=True),
)
"""The last one is for graphs whose clipped ranges move the means, so that correcting biases does harm."""

RANGES_MATTER_DB = 6.0
"""Ranges are searched for tensor by tensor where rounding computed tensors alone makes a quarter of the noise."""


def refine(
    plan: Plan, parameters: Parameters, observers: Mapping[str, Observer], runner: Runner, options: Options
) -> Parameters:
    """Refine weights and biases as the options allow, and keep what is best on the samples that were held back."""
    # Threads of the linear algebra wait for more work while threads of our own could do it.
    with threadpool_limits(1, "blas"), Workers(runner.jobs) as workers:
        return _refined(plan, parameters, observers, runner, options, workers)


def _refined(
    plan: Plan,
    parameters: Parameters,
    observers: Mapping[str, Observer],
    runner: Runner,
    options: Options,
    workers: Workers,
) -> Parameters:
    recipes = [recipe for recipe in _allowed(options) if recipe.steps or shares_steps(plan, parameters)]
    if not products(plan) or not recipes:
        return parameters
    forced = options.rounding != "auto" and options.bias_correction != "auto"
    if runner.count < FEWEST_SAMPLES and not forced:
        note = (
            f"weights are rounded to the nearest: refinement takes {FEWEST_SAMPLES} samples, there are {runner.count}"
        )
        return replace(parameters, notes=(*parameters.notes, note))
    held, fitted = _split(runner.count, all_fitted=forced)
    if forced:
        return sweep(_material(plan, runner, _spread(fitted, MOST_FITTED), workers), parameters, recipes[0])
    judge = Judge(plan, runner, held, workers)
    if judge.numbers < FEWEST_NUMBERS:
        note = (
            f"weights are rounded to the nearest: refinement takes {FEWEST_NUMBERS} numbers at the outputs of samples "
            f"held back, there are {judge.numbers} for {len(held)} of {runner.count} samples"
        )
        return replace(parameters, notes=(*parameters.notes, note))
    sqnr_db = judge.ranges_db if options.searches else judge.sqnr_db
    observed = _judged(sqnr_db, "as observed", parameters)
    start = _best_ranges(plan, observed, observers, sqnr_db, options)
    if start is not observed and not _safe(plan, runner, options, workers, observed, start):
        start = observed
    material = _material(plan, runner, _spread(fitted, MOST_FITTED), workers)
    # With constants as they are, ranges are judged by another ratio than refinements.
    plain = _judged(judge.sqnr_db, "none", start.parameters) if options.searches else replace(start, name="none")
    best, found = _best_recipe(material, judge, plain, recipes)
    if options.searches and start.sqnr_db < best.sqnr_db + RANGES_MATTER_DB:
        few = _spread(fitted, SEARCH_SAMPLES)
        quick, careful = Judge(plan, runner, _spread(few, QUICK_SAMPLES), workers), Judge(plan, runner, few, workers)
        other = search(plan, start.parameters, observers, options.searched_ranges, quick, careful)
        searched = _judged(sqnr_db, f"{start.name}, then one by one", other)
        # Ranges that are hardly better by themselves can be refined far better: only the refined ones are compared.
        if _safe(plan, runner, options, workers, start, searched):
            plain = _judged(judge.sqnr_db, "none", searched.parameters)
            again = [recipe for recipe in recipes if recipe.name == best.name] or recipes
            tried, more = _best_recipe(material, judge, plain, again)
            if _better(best, tried) is tried:
                best, start, found = tried, searched, more
    figures = ", ".join(f"{judged.name} {judged.sqnr_db:.1f}" for judged in found)
    note = (
        f"ranges: {start.name}; refinement: {best.name}; {best.sqnr_db:.1f} dB at the outputs on {len(held)} samples "
        f"held back ({figures})"
    )
    return replace(best.parameters, notes=(*parameters.notes, note))


def _safe(plan: Plan, runner: Runner, options: Options, workers: Workers, before: _Judged, tried: _Judged) -> bool:
    """Whether other ranges are not clearly worse on some of all samples: what they leave out may be in few of them."""
    judge = Judge(plan, runner, _spread(range(runner.count), MOST_HELD_BACK), workers)
    sqnr_db = judge.ranges_db if options.searches else judge.sqnr_db
    return sqnr_db(tried.parameters) >= sqnr_db(before.parameters) - CLEAR_GAIN_DB


def _best_ranges(
    plan: Plan,
    observed: _Judged,
    observers: Mapping[str, Observer],
    sqnr_db: Callable[[Parameters], float],
    options: Options,
) -> _Judged:
    """The way to find ranges that is clearly better than the one before it."""
    best, parameters = observed, observed.parameters
    for kind, percentile in options.compared_ranges:
        name = kind if percentile is None else f"{kind} {percentile:g}"
        tried = with_ranges(plan, parameters, observers, (kind, percentile))
        if tried.activations != parameters.activations:
            best = _better(best, _judged(sqnr_db, name, tried))
    return best


def _best_recipe(
    material: Material, judge: Judge, plain: _Judged, recipes: Sequence[Recipe]
) -> tuple[_Judged, list[_Judged]]:
    """The refinement that is clearly better than none and than the one before it, and all that were tried."""
    best, found = plain, [plain]
    for recipe in recipes:
        if recipe.is_fallback and best is not plain:
            continue
        found.append(_judged(judge.sqnr_db, recipe.name, sweep(material, plain.parameters, recipe)))
        best = _better(best, found[-1])
    return best, found


@dataclass(frozen=True, slots=True)
class _Judged:
    """Parameters, and how good they are on the samples held back."""

    name: str
    sqnr_db: float
    parameters: Parameters


def _better(best: _Judged, tried: _Judged) -> _Judged:
    """What was tried if it is clearly better."""
    return tried if tried.sqnr_db > best.sqnr_db + CLEAR_GAIN_DB else best


def _judged(sqnr_db: Callable[[Parameters], float], name: str, parameters: Parameters) -> _Judged:
    judged = _Judged(name, sqnr_db(parameters), parameters)
    log.info("%s: %.1f dB on samples held back", name, judged.sqnr_db)
    return judged


def _allowed(options: Options) -> Iterator[Recipe]:
    """Recipes that the options leave open; without rounding, only the bias correction."""
    if options.rounding == "nearest":
        if options.bias_correction is not False:
            yield Recipe(name="bias correction", rounding=False, bias=True)
        return
    for recipe in RECIPES:
        if options.bias_correction in ("auto", recipe.bias) and (options.searches or recipe.steps):
            yield recipe


def _split(count: int, *, all_fitted: bool) -> tuple[Sequence[int], Sequence[int]]:
    """Samples to hold back, spread evenly, and samples to fit to."""
    if all_fitted:
        return (), range(count)
    held = list(range(HELD_BACK - 1, count, HELD_BACK))
    return held[:MOST_HELD_BACK], [index for index in range(count) if index not in set(held)]


def _spread(indices: Sequence[int], count: int) -> Sequence[int]:
    """Some of the samples, spread evenly."""
    if len(indices) <= count:
        return indices
    return [indices[position * len(indices) // count] for position in range(count)]


def _material(plan: Plan, runner: Runner, fitted: Sequence[int], workers: Workers) -> Material:
    """Take as many samples as there is memory for."""
    items = max(1, peak_items(plan))
    width = max((2 if slot.spec.dtype in ("int16", "float16") else 1 for slot in plan.slots.values()), default=1)
    quantized = fitted[: max(FEWEST_QUANTIZED, QUANTIZED_BYTES // (items * width))]
    real = quantized[: max(FEWEST_REAL, REAL_BYTES // (items * 2))]
    means = product_means(plan, runner, quantized)
    return Material(plan=plan, runner=runner, quantized=quantized, real=real, means=means, workers=workers)
