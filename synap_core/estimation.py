"""Predict what a model costs on a target, from its shapes alone: nothing is quantized or compiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from synap_core.canonical.division import canonical_delegates, divide
from synap_core.canonical.refusals import Refusal
from synap_core.convert import open_request
from synap_core.errors import InputError, PluginError
from synap_core.host import PluginHost
from synap_core.partition import Part
from synap_core.payloads import Delegate, QuantizationAlgorithm, Target, require_type
from synap_core.request import ConvertRequest, Opened
from synap_core.subgraphs import Cost, Support

if TYPE_CHECKING:
    from synap_core.canonical.lowering import Lowering
    from synap_core.graph.groups import Group

DATA_TYPES = ("uint8", "int8", "int16", "float16")
UNQUANTIZED = "float16"

ASSUMED = "Real numbers are taken as float16, as without quantization; --data-type int8 predicts a quantized model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """What an inference costs besides its operations, and what to expect of the estimates of a delegate.

    Attributes:
        seconds: Time to start an inference of a subgraph.
        cycles: Clock cycles that is.
        notes: Lines on where estimates come from, and how far off they are.
    """

    seconds: float
    cycles: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= number < math.inf for number in (self.seconds, self.cycles)):
            msg = f"the overhead of an inference must be numbers that are not negative: {self}"
            raise PluginError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatedOperation:
    """An operation, and what it is predicted to cost.

    Attributes:
        subgraph: Position of its subgraph.
        group: The operation.
        dtype: Data type of its result.
        engine: Which engine of the delegate runs it; empty when it is refused.
        cost: What it costs; None when that is not known, or it is refused.
        refusal: Why the delegate does not run it; empty when it does.
    """

    subgraph: int
    group: Group
    dtype: str
    engine: str
    cost: Cost | None
    refusal: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its first result."""
        from synap_core.graph.types import shape_of

        return shape_of(self.group.nodes[-1].outputs[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a model is predicted to cost.

    Attributes:
        target: The SoC.
        parts: Delegate of each subgraph and the number of its layers, in execution order.
        operations: Operations of the subgraphs whose delegate estimates them, in execution order.
        overheads: What an inference of each of these subgraphs costs besides its operations.
        moved: A line about each layer that a delegate refuses, and where it would run instead.
        refused: A line about each layer that nothing of the target runs.
        notes: What estimates are worth, and what was assumed.
    """

    target: Target
    parts: tuple[tuple[str, int], ...]
    operations: tuple[EstimatedOperation, ...]
    overheads: Mapping[int, Overhead]
    moved: tuple[str, ...]
    refused: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def start_seconds(self) -> float:
        """Time to start an inference of all subgraphs."""
        return sum(overhead.seconds for overhead in self.overheads.values())

    @property
    def seconds(self) -> float:
        """Time of an inference of all subgraphs that are estimated."""
        return self.start_seconds + sum(op.cost.seconds for op in self.operations if op.cost is not None)

    @property
    def engine_seconds(self) -> dict[str, float]:
        """Time of the operations of each engine; of several joined by ``+`` the first one counts."""
        found: dict[str, float] = {}
        for op in self.operations:
            if op.cost is not None:
                name = op.engine.partition("+")[0]
                found[name] = found.get(name, 0.0) + op.cost.seconds
        return found


def estimate_model(request: ConvertRequest, host: PluginHost, data_type: str | None = None) -> Estimate:
    """Predict what a model costs.

    Layers are assigned as the metafile says; those that their delegate refuses go to the delegate of the target that
    runs the model's format, as with ``--fallback``.

    Args:
        request: The model and the target.
        host: Where plugins are.
        data_type: One of `DATA_TYPES`, of what is not stored as integers in the model; by default that of the
            metafile's quantization, or float16 as without one.

    Raises:
        InputError: Something the user gave cannot be used, or no delegate of the target predicts costs.
    """
    opened = open_request(request, host)
    estimating = [name for name in opened.target.delegates if _estimates(host.delegates.get(name))]
    if not estimating:
        able = [t.name for t in host.targets.values() if any(_estimates(host.delegates.get(d)) for d in t.delegates)]
        msg = f"no installed delegate of target {opened.target.name} predicts costs"
        raise InputError(msg, hint=f"targets that have one: {', '.join(able)}" if able else "install one")
    others = tuple(name for name in opened.target.delegates if name != estimating[0])
    target = replace(opened.target, delegates=(estimating[0], *others))
    dtype, notes = _data_type(opened, data_type)
    estimator = _Estimator(replace(opened, target=target), request, host, dtype or UNQUANTIZED)
    found = estimator.run([*notes, *([] if dtype else [ASSUMED])])
    idle = None if data_type is None else _idle_type(found, data_type)
    return found if idle is None else replace(found, notes=(idle, *found.notes))


def _idle_type(found: Estimate, data_type: str) -> str | None:
    """A line on a data type that was asked for, when nothing has it."""
    types = {op.dtype for op in found.operations}
    if not types or data_type in types:
        return None
    stored = ", ".join(sorted(types))
    return f"--data-type {data_type} has no effect: what is predicted has its types from the model already: {stored}"


def _line(refusal: Refusal) -> str:
    return f"layer {refusal.layer.name!r} ({refusal.layer.type}) runs nowhere, because {refusal.reason}"


def _estimates(delegate: Delegate | None) -> bool:
    return delegate is not None and delegate.estimate is not None


def _data_type(opened: Opened, given: str | None) -> tuple[str | None, list[str]]:
    """Type of what is not stored as integers, None where nothing tells; and a line on what is not exact about it."""
    section = opened.meta.quantization
    if given is not None or section is None or not section.enabled:
        return given, []
    if isinstance(section.data_type, str):
        return section.data_type, []
    where = opened.meta.where("quantization", "data_type")
    return section.base_type, [f"{where}: {section.base_type} is taken for all layers, whatever the rules say"]


class _Estimator:
    def __init__(self, opened: Opened, request: ConvertRequest, host: PluginHost, dtype: str) -> None:
        self._given, self._request, self._host, self._dtype = opened, request, host, dtype
        # The samples of a quantization are not needed, and need not be there.
        self._opened = replace(opened, meta=opened.meta.model_copy(update={"quantization": None}))

    def run(self, notes: list[str]) -> Estimate:
        opened = self._opened
        division = divide(self._given, self._host, self._lowering, branch_split=self._request.branch_split)
        parts, lowering, lines = division.parts, division.lowering, division.moved
        self._check_quantization(parts)
        operations = () if lowering is None else tuple(self._operations(parts, lowering))
        names = [part.assignment.delegate for part in parts]
        own = {index: self._host.delegates[name] for index, name in enumerate(names)}
        overheads = {i: found for i, d in own.items() if (found := self._overhead(d)) is not None}
        if all(op.dtype != UNQUANTIZED for op in operations):
            notes = [note for note in notes if note != ASSUMED]
        expected = dict.fromkeys(note for overhead in overheads.values() for note in overhead.notes)
        refusals = () if lowering is None else lowering.refusals
        return Estimate(
            target=opened.target,
            parts=tuple((part.assignment.delegate, len(part.part.layers)) for part in parts),
            operations=operations,
            overheads=overheads,
            moved=tuple(lines),
            refused=tuple(_line(refusal) for refusal in refusals),
            notes=(*notes, *expected),
        )

    def _check_quantization(self, parts: Sequence[Part]) -> None:
        """Refuse a quantization that a conversion refuses before it reads samples.

        Raises:
            InputError: The model is quantized already, or the metafile names layers, types or options that are not
                possible.
        """
        section = self._given.meta.quantization
        canonical = canonical_delegates(parts, self._opened.source, self._host)
        if section is None or not section.enabled or not canonical:
            return
        from synap_core.canonical.lowering import Lowering
        from synap_core.quantization.options import load_options

        load_options(self._given.meta, self._host.find(QuantizationAlgorithm, section.algorithm))
        Lowering(self._given, parts, canonical, self._request, self._host)

    def _lowering(self, parts: Sequence[Part], canonical: Mapping[int, Delegate]) -> Lowering:
        from synap_core.canonical.lowering import Lowering

        return Lowering(self._opened, parts, canonical, self._request, self._host, real_type=self._dtype)

    def _operations(self, parts: Sequence[Part], lowering: Lowering) -> Iterator[EstimatedOperation]:
        target = self._opened.target
        for index, group, dtype in lowering.operations():
            delegate = self._host.delegates[parts[index].assignment.delegate]
            if delegate.operations is None or delegate.estimate is None:
                continue
            support = self._asked(delegate, delegate.operations, group, dtype)
            require_type(delegate, support, Support)
            with self._host.boundary(delegate):
                cost = delegate.estimate(group, dtype, target) if support.ok else None
            if cost is not None:
                require_type(delegate, cost, Cost)
            engine = support.engine if support.ok else ""
            yield EstimatedOperation(
                subgraph=index, group=group, dtype=dtype, engine=engine, cost=cost, refusal=support.reason
            )

    def _asked(
        self, delegate: Delegate, ask: Callable[[Group, str, Target], Support], group: Group, dtype: str
    ) -> Support:
        from synap_core.graph.annotations import is_opaque, reason_of

        opaque = next((node for node in group.nodes if is_opaque(node)), None)
        if opaque is not None:
            return Support(ok=False, reason=f"it cannot be expressed in ONNX operators: {reason_of(opaque)}")
        with self._host.boundary(delegate):
            return ask(group, dtype, self._opened.target)

    def _overhead(self, delegate: Delegate) -> Overhead | None:
        if delegate.overhead is None:
            return None
        with self._host.boundary(delegate):
            found = delegate.overhead(self._opened.target)
        if found is not None:
            require_type(delegate, found, Overhead)
        return found
