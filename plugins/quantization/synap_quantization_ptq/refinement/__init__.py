"""Refinement of parameters: weights rounded with regard to what they are multiplied with, and corrected biases.

No refinement is safe everywhere, so some samples are held back, and the one that is best on them is kept; none, if none
is clearly better.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from synap_core.api import Observer, Parameters, Plan, Runner
from synap_quantization_ptq.refinement.judge import Judge
from synap_quantization_ptq.refinement.layers import peak_items
from synap_quantization_ptq.refinement.sweep import Material, Recipe, product_means, products, sweep

if TYPE_CHECKING:
    from synap_quantization_ptq.options import Options

log = logging.getLogger("synap_core.quantization.refinement")

FEWEST_SAMPLES = 10
"""With fewer samples, none can be held back, and nothing can be said about what helps."""

HELD_BACK = 5
"""Every fifth sample is held back."""

MOST_HELD_BACK = 20

CLEAR_GAIN_DB = 0.3
"""Gain on the samples that were held back which a refinement must have over what is simpler."""

QUANTIZED_BYTES = 112 << 20
REAL_BYTES = 64 << 20
"""Memory for the values of samples that go through the quantized graph, and the graph of real numbers."""

RECIPES = (
    Recipe(name="rounding"),
    Recipe(name="rounding and bias correction", bias=True),
    Recipe(name="half-corrected rounding and bias correction", bias=True, correction=0.5, damping=0.05),
)
"""From the simplest to the least."""


def refine(
    plan: Plan, parameters: Parameters, observers: Mapping[str, Observer], runner: Runner, options: Options
) -> Parameters:
    """Refine weights and biases as the options allow, and keep what is best on the samples that were held back."""
    del observers
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
    material = _material(plan, runner, fitted)
    if forced:
        return sweep(material, parameters, recipes[0])
    judge = Judge(plan, runner, held)
    best, best_db, name = parameters, judge.sqnr_db(parameters), "none"
    found = [f"none {best_db:.1f}"]
    for recipe in recipes:
        start = time.perf_counter()
        candidate = sweep(material, parameters, recipe)
        ratio = judge.sqnr_db(candidate)
        log.info("%s: %.1f dB on samples held back, %.2f s", recipe.name, ratio, time.perf_counter() - start)
        found.append(f"{recipe.name} {ratio:.1f}")
        if ratio > best_db + CLEAR_GAIN_DB:
            best, best_db, name = candidate, ratio, recipe.name
    note = f"refinement: {name} (outputs in dB on {len(held)} samples held back: {', '.join(found)})"
    return replace(best, notes=(*parameters.notes, note))


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


def _material(plan: Plan, runner: Runner, fitted: Sequence[int]) -> Material:
    """Take as many samples as there is memory for."""
    items = max(1, peak_items(plan))
    width = max((2 if slot.spec.dtype in ("int16", "float16") else 1 for slot in plan.slots.values()), default=1)
    quantized = fitted[: max(1, QUANTIZED_BYTES // (items * width))]
    real = quantized[: max(1, REAL_BYTES // (items * 2))]
    return Material(
        plan=plan, runner=runner, quantized=quantized, real=real, means=product_means(plan, runner, quantized)
    )
