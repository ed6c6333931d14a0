"""Give layers more bits until the outputs are as accurate as wanted, at the least cost."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import onnx_ir as ir

from synap_core.errors import InputError
from synap_core.graph.groups import Group
from synap_core.graph.types import shape_of, type_of
from synap_core.quantization.carrying import carry_over
from synap_core.quantization.interface import Runner
from synap_core.quantization.metrics import Candidate, Comparer, Errors, format_db
from synap_core.quantization.noise import (
    LADDER,
    Layer,
    Raise,
    Source,
    choose,
    outputs_of,
    quantized_alone,
    split_off_constants,
)
from synap_core.quantization.operators import RECURRENT
from synap_core.quantization.parameters import Parameters, annotate
from synap_core.quantization.plan import Plan
from synap_core.tensors import ITEM_SIZES

log = logging.getLogger(__name__)

MAX_SAMPLES_ALONE = 8
"""Samples that choices are made with, which takes most of the time; what is chosen is checked with all of them."""

MAX_ROUNDS = 8
"""Quantizations with layers raised to one data type, before all of them are."""

MAX_REPLACED = 24
"""Layers of a choice that are tried to do without, the most costly ones first."""

LEEWAY_DB = 0.1
"""What is aimed at beyond what the last round fell short of."""

WASTE_DB = 0.5
"""Surplus that is worth another quantization."""

Cost = Callable[[Group], float]


class Quantized(Protocol):
    """A quantized graph; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # of any types

    @property
    def plan(self) -> Plan:
        """What is quantized."""
        ...

    @property
    def parameters(self) -> Parameters:
        """How it is quantized."""
        ...

    @property
    def runner(self) -> Runner:
        """Runs graphs on the samples."""
        ...


Q = TypeVar("Q", bound=Quantized)
Q_co = TypeVar("Q_co", bound=Quantized, covariant=True)


class Quantizer(Protocol[Q_co]):
    """Quantizes one graph of real numbers."""

    def run(self, raised: Mapping[str, str]) -> Q_co:
        """Quantize, with other data types than asked for some layers, by layer id."""
        ...


@dataclass(frozen=True, slots=True)
class Round:
    """One quantization.

    Attributes:
        layers: Number of raised layers.
        sqnr_db: Ratio of the worst output.
    """

    layers: int
    sqnr_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised(Generic[Q]):
    """A quantization that is as accurate as wanted.

    Attributes:
        quantized: The quantized graph.
        raised: Data type of each raised layer, by its id.
        sqnr_db: Ratio of the worst output, on all samples.
        history: The quantizations that were tried, in order; the first one has nothing raised.
    """

    quantized: Q
    raised: Mapping[str, str]
    sqnr_db: float
    history: tuple[Round, ...]


def raise_layers(quantizer: Quantizer[Q], target_db: float, cost: Cost | None = None) -> Raised[Q]:
    """Raise layers to int16, or if that is not enough to float16, until all outputs reach a ratio on the samples.

    Which layers to raise is found with graphs in which raised layers are exact, and the others are as in the first
    quantization; so no layer is calibrated or refined for it. Each choice is then checked by a quantization. Refinement
    comes out a little different each time: where it falls short, the layers that are not raised keep what they had
    before, as the choice took for granted. Only if that is not enough either, another choice is made.

    Args:
        quantizer: Quantizes the graph.
        target_db: Signal to quantization noise ratio that the worst output is to reach.
        cost: Cost of a layer for each byte of its items; by default `group_cost`.

    Raises:
        InputError: No choice reaches the ratio.
    """
    return _Search(quantizer, target_db, cost or group_cost).run()


def group_cost(group: Group) -> float:
    """Products that a layer sums up, and for operators without any, items that it computes."""
    return float(sum(_node_cost(node) for node in group.nodes))


def _node_cost(node: ir.Node) -> int:
    result = sum(type_of(value).size for value in node.outputs if value.shape is not None)
    operands = [() if value is None else shape_of(value) for value in node.inputs]
    if node.domain:
        return result
    match node.op_type:
        case "Conv":
            return result * math.prod(operands[1][1:])
        case "ConvTranspose":
            return math.prod(operands[0]) * math.prod(operands[1][1:])
        case "Gemm":
            return result * operands[0][0 if node.attributes.get_int("transA", 0) else 1]
        case "MatMul":
            return result * operands[0][-1]
        case name if name in RECURRENT:
            return math.prod(operands[0][:2]) * (math.prod(operands[1]) + math.prod(operands[2]))
    return result


class _Search(Generic[Q]):
    def __init__(self, quantizer: Quantizer[Q], target_db: float, cost: Cost) -> None:
        self._quantizer = quantizer
        self._target_db = target_db
        self._cost = cost
        self._history: list[Round] = []
        self._tried: set[frozenset[tuple[str, str]]] = set()

    def run(self) -> Raised[Q]:
        best = self._quantize({})
        for dtype in LADDER:
            if best.sqnr_db >= self._target_db:
                break
            best = self._climb(best, dtype)
        if best.sqnr_db >= self._target_db:
            return Raised(
                quantized=best.quantized, raised=best.raised, sqnr_db=best.sqnr_db, history=tuple(self._history)
            )
        reached = max(tried.sqnr_db for tried in self._history)
        msg = (
            f"the outputs do not reach {self._target_db:g} dB on the samples: the best is {format_db(reached)} dB, "
            f"with layers raised as far as {LADDER[-1]}"
        )
        raise InputError(msg, hint=f"ask for at most {math.floor(reached * 10) / 10:g}" if reached > 0 else None)

    def _quantize(self, raised: Mapping[str, str], start: _Tried[Q] | None = None) -> _Tried[Q]:
        """Quantize, and where that falls short, try what the layers that stay as they are had at the start."""
        self._tried.add(frozenset(raised.items()))
        tried = self._measured(self._quantizer.run(raised), raised)
        log.info("%d layers raised: %s dB", len(raised), format_db(tried.sqnr_db))
        if start is not None and tried.sqnr_db < self._target_db:
            one, other = start.quantized, tried.quantized
            parameters = carry_over(one.plan, one.parameters, other.plan, other.parameters)
            kept = self._measured(replace(other, parameters=parameters), raised)
            log.info("with the other layers as before: %s dB", format_db(kept.sqnr_db))
            tried = max(tried, kept, key=lambda each: each.sqnr_db)
        self._history.append(Round(len(raised), tried.sqnr_db))
        return tried

    def _measured(self, quantized: Q, raised: Mapping[str, str]) -> _Tried[Q]:
        comparer = Comparer(quantized.runner, range(quantized.runner.count), quantized.plan.graph)
        model = annotate(quantized.plan, quantized.parameters)
        (errors,) = comparer.measure([Candidate(model=model, names=outputs_of(quantized.plan))])
        return _Tried(quantized=quantized, raised=dict(raised), sqnr_db=_worst(errors))

    def _climb(self, start: _Tried[Q], dtype: str) -> _Tried[Q]:
        """Raise layers to a data type; gives the best try, which has all of them raised if none reaches the target."""
        step = Raise(start.quantized.plan, dtype)
        if not step.candidates:
            return start
        chooser = _Chooser(start, step, self._target_db, self._cost)
        wanted = self._target_db
        for _ in range(MAX_ROUNDS):
            chosen = chooser.choose(wanted)
            if len(chosen) == len(step.candidates):
                break
            tried = self._quantize(start.raised | dict.fromkeys(sorted(chosen), dtype), start)
            if tried.sqnr_db >= self._target_db:
                return self._cheaper(start, chooser, tried, wanted)
            # Beyond what is expected of this choice, so that the next one is another.
            wanted = max(wanted + self._target_db - tried.sqnr_db, chooser.expected_db(chosen)) + LEEWAY_DB
        return self._quantize(start.raised | dict.fromkeys(step.candidates, dtype), start)

    def _cheaper(self, start: _Tried[Q], chooser: _Chooser, best: _Tried[Q], wanted: float) -> _Tried[Q]:
        """Aim lower after a try that is better than need be."""
        surplus = best.sqnr_db - self._target_db
        if surplus < WASTE_DB:
            return best
        chosen = chooser.choose(wanted - surplus)
        raised = start.raised | dict.fromkeys(sorted(chosen), chooser.step.dtype)
        known = frozenset(raised.items()) in self._tried
        if known or chooser.cost(chosen) >= chooser.cost(best.raised.keys() - start.raised.keys()):
            return best
        tried = self._quantize(raised, start)
        return tried if tried.sqnr_db >= self._target_db else best


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried(Generic[Q]):
    quantized: Q
    raised: dict[str, str]
    sqnr_db: float


class _Chooser:
    """Finds layers to raise without quantizing anew.

    A few samples tell which layers; how far the ratio on these is from that on all samples is found with the first
    choice.
    """

    def __init__(self, start: _Tried[Q], step: Raise, target_db: float, cost: Cost) -> None:
        plan, self._parameters = start.quantized.plan, start.quantized.parameters
        self.step = step
        self._names = outputs_of(plan)
        runner = start.quantized.runner
        self._comparer = Comparer(runner, spread(runner.count, MAX_SAMPLES_ALONE), plan.graph)
        self._all_samples = Comparer(runner, range(runner.count), plan.graph)
        self._offset_db: float | None = None if runner.count > MAX_SAMPLES_ALONE else 0.0
        layers = list(step.layers.values())
        alone = quantized_alone(plan, self._parameters, self._comparer, layers)
        allowed = {name: errors.signal / 10 ** (target_db / 10) for name, errors in self._expected(()).items()}
        self._sources = step.sources(split_off_constants(plan, self._parameters, self._comparer, alone, allowed))
        self._costs = {name: self._cost_of(step.layers[name], plan, cost) for name in step.candidates}

    def _cost_of(self, layer: Layer, plan: Plan, cost: Cost) -> float:
        gained = max(1, ITEM_SIZES[self.step.dtype] - ITEM_SIZES[layer.dtype])
        if layer.group is not None:
            return cost(layer.group) * gained
        values = {value.name: value for value in plan.graph.graph.inputs}
        return float(sum(type_of(values[name]).size for name in layer.values) * gained)

    def cost(self, layers: Collection[str]) -> float:
        """Cost of raising layers."""
        return sum(self._costs[name] for name in layers)

    def expected_db(self, raised: Collection[str]) -> float:
        """Ratio that is expected of the worst output on all samples with layers raised."""
        return _worst(self._expected(raised)) - (self._offset_db or 0.0)

    def choose(self, target_db: float) -> frozenset[str]:
        """Layers whose raising is expected to reach a ratio on all samples; all if it is out of reach."""
        chosen = self._chosen(target_db + (self._offset_db or 0.0))
        if self._offset_db is None:
            self._offset_db = self._found_offset(chosen)
            if abs(self._offset_db) > LEEWAY_DB:
                return self._chosen(target_db + self._offset_db)
        return chosen

    def _found_offset(self, raised: Collection[str]) -> float:
        few = _worst(self._expected(raised))
        many = _worst(self._expected(raised, self._all_samples))
        return few - many if math.isfinite(few) and math.isfinite(many) else 0.0

    def _chosen(self, target_db: float) -> frozenset[str]:
        """Layers whose raising is expected to reach a ratio on the few samples; all if it is out of reach."""
        raised = self._reached(frozenset(), target_db)
        if raised is None:
            return frozenset(self.step.candidates)
        for name in sorted(raised, key=lambda layer: (-self._costs[layer], layer))[:MAX_REPLACED]:
            other = self._reached(raised - {name}, target_db, without=name, below=self.cost(raised))
            raised = other if name in raised and other is not None else raised
        return raised

    def _reached(
        self, raised: frozenset[str], target_db: float, *, without: str = "", below: float = math.inf
    ) -> frozenset[str] | None:
        """Raise further layers, except one, until a ratio is reached; None if that fails or costs too much."""
        costs = {name: cost for name, cost in self._costs.items() if name != without}
        ratio = 10 ** (target_db / 10)
        while self.cost(raised) < below:
            errors = self._expected(raised)
            if _worst(errors) >= target_db:
                return raised
            remaining = {name: e.noise for name, e in errors.items()}
            allowed = {name: e.signal / ratio for name, e in errors.items()}
            before = raised
            raised = raised.union(*choose(self._scaled(raised, remaining), costs, allowed, remaining, raised))
            if raised == before:
                break
        return None

    def _scaled(self, raised: Collection[str], remaining: Mapping[str, float]) -> list[Source]:
        """Sources that are left, so scaled that they are together what was measured."""
        left = [source for source in self._sources if not source.owners.issubset(raised)]
        sums = {name: sum(source.noise[name] for source in left) for name in self._names}
        factors = {name: remaining[name] / sums[name] if sums[name] > 0 else 0.0 for name in self._names}
        return [Source(owners=s.owners, noise={n: s.noise[n] * factors[n] for n in self._names}) for s in left]

    def _expected(self, raised: Collection[str], comparer: Comparer | None = None) -> Mapping[str, Errors]:
        model = self.step.model(self._parameters, raised)
        (errors,) = (comparer or self._comparer).measure([Candidate(model=model, names=self._names)])
        return errors


def spread(count: int, most: int) -> list[int]:
    """Numbers below a count, evenly spread; no more of them than given.

    >>> spread(100, 4)
    [0, 25, 50, 75]
    """
    return [i * count // min(count, most) for i in range(min(count, most))]


def _worst(errors: Mapping[str, Errors]) -> float:
    return min(error.sqnr_db for error in errors.values())
