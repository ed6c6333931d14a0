"""Refinement of parameters: weights rounded with regard to what they are multiplied with, and corrected biases.

No refinement is safe everywhere, so some samples are held back, and the one that is best on them is kept; none, if none
is clearly better.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from synap_core.api import Observer, Parameters, Plan, Runner
from synap_quantization_ptq.refinement.judge import Judge
from synap_quantization_ptq.refinement.layers import peak_items
from synap_quantization_ptq.refinement.ranges import search, with_ranges
from synap_quantization_ptq.refinement.sweep import Material, Recipe, product_means, products, shares_steps, sweep
from synap_quantization_ptq.refinement.workers import Workers

if TYPE_CHECKING:
    from synap_quantization_ptq.options import Options

Ratio = Callable[[Judge, Parameters], float]
"""A ratio of signal to noise that a judge tells of parameters, in dB."""

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

SOME_GAIN_DB = 0.1
"""Gain below which ranges found one by one are as good as those before: refining them would take long for nothing."""

QUANTIZED_BYTES = 112 << 20
REAL_BYTES = 64 << 20
"""Memory for the values of samples that go through the quantized graph, and the graph of real numbers."""

FEWEST_QUANTIZED, FEWEST_REAL = 32, 16
"""Samples that go through them whatever the memory: with fewer, chance decides."""

RECIPES = (
    Recipe(name="rounding and bias correction", bias=True),
    Recipe(name="half-corrected rounding and bias correction", bias=True, correction=0.5, damping=0.05),
    Recipe(name="rounding", is_fallback=True),
)
"""The last one is for graphs whose clipped ranges move the means, so that correcting biases does harm."""

RANGES_MATTER_DB = 5.0
"""Ranges are searched for tensor by tensor where rounding computed tensors alone makes a third of the noise."""


def refine(
    plan: Plan, parameters: Parameters, observers: Mapping[str, Observer], runner: Runner, options: Options
) -> Parameters:
    """Refine weights and biases as the options allow, and keep what is best on the samples that were held back."""
    # Threads of the linear algebra wait for more work while threads of our own could do it, and what they add up
    # depends on how many they are.
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
    recipes = list(_allowed(options))
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
    material = _material(plan, runner, _spread(fitted, MOST_FITTED), workers)
    trial = _Trial(material=material, observers=observers, options=options, recipes=recipes, fitted=fitted, judge=judge)
    found = trial.searched(parameters) if options.searches else trial.compared(parameters)
    figures = ", ".join(f"{judged.name} {judged.sqnr_db:.1f}" for judged in found.tried)
    note = (
        f"ranges: {found.ranges.name}; refinement: {found.best.name}; {found.best.sqnr_db:.1f} dB at the outputs on "
        f"{len(held)} samples held back ({figures})"
    )
    return replace(found.best.parameters, notes=(*parameters.notes, note))


@dataclass(frozen=True, slots=True)
class _Judged:
    """Parameters, and how good they are on the samples held back."""

    name: str
    sqnr_db: float
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The best refinement with some ranges, and all that were tried with them."""

    ranges: _Judged
    best: _Judged
    tried: Sequence[_Judged]


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """Compares ranges and refinements.

    Attributes:
        material: What refinements work on.
        observers: What was observed.
        options: Say what is tried.
        recipes: Refinements to try.
        fitted: Samples that are not held back.
        judge: Has those that are.
    """

    material: Material
    observers: Mapping[str, Observer]
    options: Options
    recipes: Sequence[Recipe]
    fitted: Sequence[int]
    judge: Judge

    def compared(self, parameters: Parameters) -> _Found:
        """Compare ranges with constants rounded to the nearest, and refine the best."""
        ranges = self._ranges(parameters, Judge.sqnr_db)
        return self._refined(ranges, self.recipes, replace(ranges, name="none"))

    def searched(self, parameters: Parameters) -> _Found:
        """Do that, and what was best again: in the steps as they are, and with ranges that are found in other ways."""
        found = self.compared(parameters)
        again = [recipe for recipe in self.recipes if recipe.name == found.best.name] or self.recipes
        if shares_steps(self.material.plan, parameters):
            given = [replace(recipe, name=f"{recipe.name} in given steps", steps=False) for recipe in again]
            in_given_steps = self._refined(found.ranges, given, found.tried[0])
            if _better_of(found, in_given_steps) is in_given_steps:
                found, again = in_given_steps, given
        start = self._ranges(parameters, Judge.ranges_db)
        if start.parameters.activations != found.ranges.parameters.activations:
            found = _better_of(found, self._refined(start, again, self._plain(start)))
        if start.sqnr_db >= found.best.sqnr_db + RANGES_MATTER_DB:
            return found
        few = _spread(self.fitted, SEARCH_SAMPLES)
        quick, careful = self._judge_of(_spread(few, QUICK_SAMPLES)), self._judge_of(few)
        ways, plan = self.options.searched_ranges, self.material.plan
        other = search(plan, start.parameters, self.observers, ways, quick, careful)
        singly = _judged(self.judge.ranges_db, f"{start.name}, then one by one", other)
        # Ranges that are hardly better by themselves can be refined far better: only the refined ones are compared.
        if singly.sqnr_db < start.sqnr_db + SOME_GAIN_DB:
            return found
        if self._wide_gain_db(start, singly, Judge.ranges_db) < -CLEAR_GAIN_DB:
            return found
        return _better_of(found, self._refined(singly, again, self._plain(singly)))

    def _ranges(self, parameters: Parameters, ratio: Ratio) -> _Judged:
        """The way to find ranges that is clearly better than the one before it, and on all samples than the first."""
        plan = self.material.plan
        observed = best = _judged(partial(ratio, self.judge), "as observed", parameters)
        for kind, percentile in self.options.compared_ranges:
            name = kind if percentile is None else f"{kind} {percentile:g}"
            tried = with_ranges(plan, parameters, self.observers, (kind, percentile))
            if tried.activations == parameters.activations:
                continue
            judged = _judged(partial(ratio, self.judge), name, tried)
            if _better(best, judged) is judged and self._wide_gain_db(observed, judged, ratio) > CLEAR_GAIN_DB:
                best = judged
        return best

    def _wide_gain_db(self, before: _Judged, tried: _Judged, ratio: Ratio) -> float:
        """Gain of ranges on samples from all over: what they leave out may be in a single one."""
        return ratio(self._wide, tried.parameters) - ratio(self._wide, before.parameters)

    @cached_property
    def _wide(self) -> Judge:
        """Judges on samples from all over."""
        return self._judge_of(_spread(range(self.material.runner.count), MOST_HELD_BACK))

    def _plain(self, ranges: _Judged) -> _Judged:
        """Ranges with constants rounded to the nearest."""
        return _judged(self.judge.sqnr_db, "none", ranges.parameters)

    def _refined(self, ranges: _Judged, recipes: Sequence[Recipe], plain: _Judged) -> _Found:
        """The refinement that is clearly better than none and than the one before it."""
        best, tried = plain, [plain]
        for recipe in recipes:
            if recipe.is_fallback and best is not plain:
                continue
            tried.append(_judged(self.judge.sqnr_db, recipe.name, sweep(self.material, plain.parameters, recipe)))
            best = _better(best, tried[-1])
        return _Found(ranges=ranges, best=best, tried=tried)

    def _judge_of(self, indices: Sequence[int]) -> Judge:
        return Judge(self.material.plan, self.material.runner, indices, self.material.workers)


def _better_of(found: _Found, other: _Found) -> _Found:
    """The other one if it is clearly better."""
    return other if _better(found.best, other.best) is other.best else found


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
        if options.bias_correction in ("auto", recipe.bias):
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
