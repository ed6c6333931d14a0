"""Accuracy analysis: how much each layer of a quantized graph loses, and which ones deserve more bits."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from synap_core.graph.types import type_of
from synap_core.quantization.interface import Runner
from synap_core.quantization.metrics import Candidate, Comparer, Errors, Figures, format_db
from synap_core.quantization.noise import (
    LADDER,
    Alone,
    Layer,
    Raise,
    choose,
    layers_of,
    outputs_of,
    quantized_alone,
    split_off_constants,
)
from synap_core.quantization.parameters import Parameters, annotate
from synap_core.quantization.plan import Plan

MAX_ITEMS_AT_A_TIME = 1 << 25
"""Items of the tensors of one sample that are in memory at the same time, for each thread; twice as many in fact."""

WANTED_GAIN_DB = 6.0
"""What a suggestion aims at: a quarter of the noise."""

WORTHWHILE_GAIN_DB = 1.0
"""A suggestion that gains less is not worth its cost."""

MAX_SUGGESTED = 12
"""More layers than these are not a few layers that stand out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFigures:
    """What a layer loses.

    Attributes:
        layer_id: Its id; ``Input_<name>`` for a graph input.
        dtype: Its data type.
        position: Place in execution order, from 0; graph inputs come first.
        conversion: It only changes the data type.
        accumulated: Its tensors in the quantized graph against those in the graph of real numbers.
        alone: The same when its inputs are exact; None when not measured.
        damage: Outputs of the graph when this layer is quantized and nothing else; None when not measured.
    """

    layer_id: str
    dtype: str
    position: int
    conversion: bool
    accumulated: Figures
    alone: Figures | None = None
    damage: Mapping[str, Figures] | None = None

    @property
    def damage_db(self) -> float | None:
        """Signal to noise ratio of the output that suffers most from this layer."""
        return None if self.damage is None else min(figures.sqnr_db for figures in self.damage.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Layers to raise.

    Attributes:
        layers: Data type for each of them, by layer id, those first that gain most.
        metafile: Lines for the metafile.
        expected_db: Ratio of the worst output to expect; conversions may make it a little less.
    """

    layers: Mapping[str, str]
    metafile: str
    expected_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """How close a quantized graph is to the graph of real numbers.

    Attributes:
        layers: Those that lose most first: by damage where measured, otherwise by what has accumulated.
        outputs: The outputs of the graph, by name.
        samples: Number of samples that were used.
        suggestion: Layers to raise; None when it was not looked for, or no few layers stand out.
    """

    layers: tuple[LayerFigures, ...]
    outputs: Mapping[str, Figures]
    samples: int
    suggestion: Suggestion | None = None

    @property
    def worst_db(self) -> float:
        """Ratio of the output that is furthest from its reference."""
        return min(figures.sqnr_db for figures in self.outputs.values())


def analyse(
    plan: Plan, parameters: Parameters, runner: Runner, indices: Sequence[int], *, alone: bool = True
) -> Analysis:
    """Compare a quantized graph with the graph of real numbers, layer by layer.

    Args:
        plan: What is quantized.
        parameters: How it is quantized.
        runner: Runs graphs on the samples.
        indices: Samples to use; at least one.
        alone: Also quantize each layer alone, which takes one or two runs of the graph for each layer and sample.
    """
    comparer = Comparer(runner, indices, plan.graph)
    layers = layers_of(plan)
    accumulated, outputs = _accumulated(plan, parameters, comparer, layers)
    each = quantized_alone(plan, parameters, comparer, layers) if alone else {}
    found = [
        LayerFigures(
            layer_id=layer.layer_id,
            dtype=layer.dtype,
            position=position,
            conversion=layer.conversion,
            accumulated=accumulated[layer.layer_id].figures(),
            alone=each[layer.layer_id].local.figures() if alone else None,
            damage={n: e.figures() for n, e in each[layer.layer_id].damage.items()} if alone else None,
        )
        for position, layer in enumerate(layers)
    ]
    found.sort(key=lambda f: (f.accumulated.sqnr_db if f.damage_db is None else f.damage_db, f.position))
    return Analysis(
        layers=tuple(found),
        outputs={name: errors.figures() for name, errors in outputs.items()},
        samples=len(comparer.indices),
        suggestion=suggest(plan, parameters, comparer, each, outputs) if alone else None,
    )


def suggest(
    plan: Plan, parameters: Parameters, comparer: Comparer, alone: Mapping[str, Alone], outputs: Mapping[str, Errors]
) -> Suggestion | None:
    """Find a few layers whose raising takes most noise away.

    Args:
        plan: What is quantized.
        parameters: How it is quantized.
        comparer: Its reference is the graph of the plan.
        alone: What each layer does alone, by its id.
        outputs: Errors of the outputs of the quantized graph, by name.
    """
    now = min(errors.sqnr_db for errors in outputs.values())
    if not math.isfinite(now):
        return None
    target = 10 ** ((now + WANTED_GAIN_DB) / 10)
    allowed = {name: errors.signal / target for name, errors in outputs.items()}
    remaining = {name: errors.noise for name, errors in outputs.items()}
    split = split_off_constants(plan, parameters, comparer, alone, allowed)
    for dtype in LADDER:
        step = Raise(plan, dtype)
        raised = _few_layers(step, split, allowed, remaining)
        if not raised:
            continue
        candidate = Candidate(model=step.model(parameters, raised), names=outputs_of(plan))
        (errors,) = comparer.measure([candidate])
        expected = min(e.sqnr_db for e in errors.values())
        if expected >= now + WORTHWHILE_GAIN_DB:
            types = dict.fromkeys(raised, dtype)
            return Suggestion(layers=types, metafile=metafile_lines(plan, types), expected_db=expected)
    return None


def _few_layers(
    step: Raise, alone: Mapping[str, Alone], allowed: Mapping[str, float], remaining: Mapping[str, float]
) -> list[str]:
    found: list[str] = []
    for layers in choose(step.sources(alone), dict.fromkeys(step.candidates, 1.0), allowed, remaining):
        if len(found) + len(layers) > MAX_SUGGESTED:
            break
        found += sorted(layers, key=step.candidates.index)
    return found


def metafile_lines(plan: Plan, raised: Mapping[str, str]) -> str:
    """Lines of a metafile that give the layers of a plan their data types, but for some that are raised.

    Args:
        plan: The plan.
        raised: Data type of each raised layer, by its id.
    """
    # What the plan leaves in float16 gets there without being named.
    types = {
        layer.layer_id: layer.dtype
        for layer in layers_of(plan)
        if not (layer.conversion or layer.layer_id in plan.left)
    }
    base = Counter(types.values()).most_common(1)[0][0] if types else next(iter(raised.values()))
    others = {layer_id: dtype for layer_id, dtype in (types | dict(raised)).items() if dtype != base}
    lines = ["quantization:", "  data_type:", f"    '*': {base}"]
    return "\n".join([*lines, *(f"    {_yaml_text(f'@{layer_id}')}: {dtype}" for layer_id, dtype in others.items())])


def _yaml_text(text: str) -> str:
    """Quote a text for YAML; JSON's quotes are YAML's, too."""
    return "'" + text.replace("'", "''") + "'" if text.isprintable() else json.dumps(text)


def _accumulated(
    plan: Plan, parameters: Parameters, comparer: Comparer, layers: Sequence[Layer]
) -> tuple[dict[str, Errors], dict[str, Errors]]:
    """Errors of each layer, by its id, and of each output, by its name, in the whole quantized graph."""
    model = annotate(plan, parameters)
    sizes = {str(value.name): type_of(value).size for value in model.graph.inputs}
    sizes |= {str(v.name): type_of(v).size for node in model.graph for v in node.outputs if v.name in plan.slot_of}
    outputs = outputs_of(plan)
    found: dict[str, Errors] = {}
    errors: dict[str, Errors] = {}
    for some in _portions(layers, sizes):
        names = (name for layer in some for name in layer.values)
        candidate = Candidate(model=model, names=tuple(dict.fromkeys((*names, *outputs))))
        (errors,) = comparer.measure([candidate])
        for layer in some:
            total = found[layer.layer_id] = Errors()
            for name in layer.values:
                total.add(errors[name])
    if not layers:
        (errors,) = comparer.measure([Candidate(model=model, names=outputs)])
    return found, {name: errors[name] for name in outputs}


def _portions(layers: Sequence[Layer], sizes: Mapping[str, int]) -> Iterator[list[Layer]]:
    """Layers whose tensors fit into memory together."""
    portion: list[Layer] = []
    items = 0
    for layer in layers:
        own = sum(sizes[name] for name in layer.values)
        if portion and items + own > MAX_ITEMS_AT_A_TIME:
            yield portion
            portion, items = [], 0
        portion.append(layer)
        items += own
    if portion:
        yield portion


def analysis_as_json(analysis: Analysis) -> dict[str, object]:
    """Everything as JSON values; an infinite ratio is the text ``inf`` or ``-inf``, a cosine of no angle ``nan``."""
    suggestion = analysis.suggestion
    return {
        "samples": analysis.samples,
        "outputs": [{"name": name, **_figures(figures)} for name, figures in analysis.outputs.items()],
        "layers": [_layer(layer) for layer in analysis.layers],
        "suggestion": None
        if suggestion is None
        else {
            "layers": dict(suggestion.layers),
            "metafile": suggestion.metafile,
            "expected_sqnr_db": _number(suggestion.expected_db),
        },
    }


def _layer(layer: LayerFigures) -> dict[str, object]:
    damage = layer.damage_db
    return {
        "layer_id": layer.layer_id,
        "data_type": layer.dtype,
        "position": layer.position,
        "conversion": layer.conversion,
        "accumulated": _figures(layer.accumulated),
        "alone": None if layer.alone is None else _figures(layer.alone),
        "damage_sqnr_db": None if damage is None else _number(damage),
        "damage": None if layer.damage is None else {name: _figures(f) for name, f in layer.damage.items()},
    }


def _figures(figures: Figures) -> dict[str, object]:
    return {
        "cosine": _number(figures.cosine),
        "sqnr_db": _number(figures.sqnr_db),
        "max_error": _number(figures.max_error),
    }


def _number(value: float) -> float | str:
    """A number, or the text of one that JSON has no word for."""
    return value if math.isfinite(value) else str(value)


def advice(analysis: Analysis) -> str:
    """What to do, in one sentence."""
    if analysis.suggestion is not None:
        count = len(analysis.suggestion.layers)
        return (
            f"Giving {count} {'layer' if count == 1 else 'layers'} more bits is expected to bring the worst output "
            f"from {format_db(analysis.worst_db)} dB to about {format_db(analysis.suggestion.expected_db)} dB"
        )
    if any(layer.damage is not None for layer in analysis.layers):
        return "No few layers stand out: nothing is suggested"
    return "Layers were not quantized alone, so nothing can be suggested"
