"""Quantize a graph as a metafile says: types, plan, calibration, refinement, and what is reused from earlier runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from synap_core.cache import Cache
from synap_core.conversion import Conversion, Converted
from synap_core.errors import InputError
from synap_core.graph.groups import Group, group
from synap_core.host import PluginHost
from synap_core.payloads import QuantizationAlgorithm
from synap_core.quantization.calibrate import calibrate
from synap_core.quantization.data_types import require_float, resolve_types
from synap_core.quantization.dataset import Dataset, open_dataset
from synap_core.quantization.float16 import float16_warnings
from synap_core.quantization.interface import Algorithm, Range, Runner
from synap_core.quantization.mixed_ranges import mixed_ranges
from synap_core.quantization.options import load_options
from synap_core.quantization.parameters import Parameters, annotate, solve
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import make_plan
from synap_core.quantization.raising import raise_layers
from synap_core.quantization.report import quantization_entropy, quantization_info
from synap_core.quantization.runner import GraphRunner, find_engine
from synap_core.quantization.stored import calibration_key, pack, unpack
from synap_core.request import ConvertRequest, Opened

if TYPE_CHECKING:
    from pydantic import BaseModel

    from synap_core.metafile.model import Quantization
    from synap_core.quantization.cluster import DaskShards

log = logging.getLogger(__name__)

INFO_FILE = "quantization_info.yaml"
ENTROPY_FILE = "quantization_entropy.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A quantized graph.

    Attributes:
        plan: What is quantized, and how.
        parameters: The parameters.
        runner: Runs graphs on the samples.
        warnings: What the user should be told.
    """

    plan: Plan
    parameters: Parameters
    runner: Runner
    warnings: tuple[str, ...] = ()


Restrict = Callable[[Sequence[Group], Mapping[str, str], Mapping[str, str]], Mapping[str, str]]
"""Data types of layers, from those that a metafile asks for and those that override them, by layer id."""


def _every_type(_groups: Sequence[Group], types: Mapping[str, str], raised: Mapping[str, str]) -> Mapping[str, str]:
    return {**types, **raised}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layering:
    """What the layers of a graph are, and which data types they may have.

    Attributes:
        groups: Finds the layers of a copy of the graph.
        restrict: Gives each layer the data type that was asked for, or one that is possible.
        arrange: Changes samples, which are read in the model's layout, to those that the graph takes.
    """

    groups: Callable[[ir.Model], Sequence[Group]] = group
    restrict: Restrict = _every_type
    arrange: Callable[[Dataset], Dataset] = lambda dataset: dataset


PLAIN = Layering()
"""Layers as the core groups them, with any types."""


def plan_quantization(
    graph: ir.Model, opened: Opened, layering: Layering = PLAIN, raised: Mapping[str, str] | None = None
) -> Plan:
    """Plan the quantization of a copy of a graph.

    Args:
        graph: The normalised graph of real numbers.
        opened: The model that it stands for, and the metafile; its quantization is enabled.
        layering: Its layers.
        raised: Data types of layers, by layer id, that override those of the metafile.

    Raises:
        InputError: The metafile names layers that are not there.
    """
    settings = opened.meta.quantization
    if settings is None:
        msg = "the metafile has no quantization"
        raise ValueError(msg)
    graph = graph.clone()
    groups = layering.groups(graph)
    types = layering.restrict(groups, resolve_types(opened.meta, groups, graph, opened.source), raised or {})
    return make_plan(graph, groups, types, scheme=settings.scheme, mode=settings.mode)


class Quantizer:
    """Quantizes one graph, with the data types of its metafile or with others for some layers.

    Args:
        graph: The normalised graph of real numbers.
        opened: The model that it stands for, and the metafile; its quantization is enabled.
        request: Threads and machines to work with, and the folder of earlier results.
        host: Where algorithms and engines are.
        samples: One glob for each input, of samples that are not quantized with but that what is quantized is run on.
        layering: Its layers.

    Attributes:
        warnings: What the user should be told about how the graph came about.

    Raises:
        InputError: The metafile, the data set or the graph cannot be used.
        PluginError: The algorithm broke its contract.
    """

    def __init__(
        self,
        graph: ir.Model,
        opened: Opened,
        request: ConvertRequest,
        host: PluginHost,
        samples: Sequence[str] = (),
        *,
        layering: Layering = PLAIN,
    ) -> None:
        meta = opened.meta
        if meta.quantization is None:
            msg = "the metafile has no quantization"
            raise ValueError(msg)
        require_float(graph, meta)
        self._graph, self._opened, self._host = graph, opened, host
        self._layering = layering
        self.warnings: tuple[str, ...] = ()
        self._settings: Quantization = meta.quantization
        self._scheduler = request.scheduler
        self._cache = None if request.cache_dir is None else Cache(request.cache_dir)
        self._algorithm = host.find(QuantizationAlgorithm, self._settings.algorithm)
        self._options: BaseModel = load_options(meta, self._algorithm)
        self._dataset = layering.arrange(open_dataset(opened.source, opened.selection, meta, graph))
        engine = find_engine(host)
        self._runner = GraphRunner(engine, self._dataset, request.jobs)
        self._shown = GraphRunner(engine, self._others(samples), request.jobs) if samples else self._runner
        with host.boundary(self._algorithm):
            self._loaded: Algorithm = self._algorithm.load(self._options)
            self._notes = tuple(self._loaded.prepare(graph, self._runner))

    @property
    def runner(self) -> Runner:
        """Runs graphs on the samples to show results on."""
        return self._shown

    def plan(self, raised: Mapping[str, str] | None = None) -> Plan:
        """Plan the quantization of a copy of the graph.

        Args:
            raised: Data types of layers, by layer id, that override those of the metafile.
        """
        return plan_quantization(self._graph, self._opened, self._layering, raised)

    def run(self, raised: Mapping[str, str] | None = None) -> Quantized:
        """Quantize.

        Args:
            raised: Data types of layers, by layer id, that override those of the metafile.
        """
        plan = self.plan(raised)
        key = calibration_key(plan, self._dataset, self._algorithm, self._options, self._host)
        cache = self._cache
        stored = cache.get(key) if cache is not None else None
        found = unpack(stored, plan) if stored is not None else None
        if found is not None:
            log.info("calibration is taken from the cache")
            parameters, warnings = found
        else:
            parameters, warnings = self._calibrated(plan)
            if cache is not None:
                cache.put(key, pack(parameters, warnings))
        return Quantized(
            plan=plan,
            parameters=replace(parameters, notes=(*self._notes, *parameters.notes)),
            runner=self._shown,
            warnings=(*self.warnings, *plan.notes, *warnings),
        )

    def _calibrated(self, plan: Plan) -> tuple[Parameters, tuple[str, ...]]:
        with self._host.boundary(self._algorithm):
            with _timed("observing %d samples", self._runner.count):
                seen = calibrate(plan, self._loaded, self._runner, executor=self._cluster())
            ranges: dict[str, Range] = {key: observer.range() for key, observer in seen.observers.items()}
            with _timed("solving %d parameters", len(ranges)):
                parameters = solve(plan, ranges)
            with _timed("refining"):
                parameters = self._loaded.refine(plan, parameters, seen.observers, self._runner)
        warnings, notes = mixed_ranges(plan, seen.extents, parameters, self._opened.source)
        parameters = replace(parameters, notes=(*parameters.notes, *notes))
        return parameters, (*warnings, *float16_warnings(plan, seen.extents))

    def _others(self, samples: Sequence[str]) -> Dataset:
        """Data set of other samples, read as those of the metafile."""
        settings = self._settings.model_copy(update={"dataset": tuple(samples)})
        meta = self._opened.meta.model_copy(update={"quantization": settings})
        return self._layering.arrange(open_dataset(self._opened.source, self._opened.selection, meta, self._graph))

    def _cluster(self) -> DaskShards | None:
        """What works on the samples elsewhere."""
        address = self._scheduler
        if address is None:
            return None
        from synap_core.quantization.cluster import DaskShards

        options = self._options.model_dump(mode="json", exclude_unset=True)
        return DaskShards(address, self._algorithm.name, options, self._host.policy)


def open_quantizer(request: ConvertRequest, host: PluginHost, *, samples: Sequence[str] = ()) -> Quantizer:
    """Open, cut and normalise a model, and make it ready to be quantized as its metafile says.

    What delegates of the target quantize, in their layers and with their types, is quantized as a conversion would;
    where there is nothing of that, the whole graph with the layers of the core.

    Args:
        request: The model, its metafile, and what to work with.
        host: Where plugins are.
        samples: One glob for each input, of samples that are not quantized with but that what is quantized is run on.

    Raises:
        InputError: Something the user gave cannot be used, or the metafile asks for no quantization.
    """
    from synap_core.convert import open_request
    from synap_core.whole_graph import canonical_graph

    opened = open_request(request, host)
    if opened.meta.quantization is None or not opened.meta.quantization.enabled:
        msg = "the metafile asks for no quantization: it has no 'dataset' under 'quantization'"
        raise InputError(msg, where=request.meta, hint="add 'quantization: {dataset: samples/*.jpg}'")
    found = _for_delegates(opened, request, host, samples)
    return found or Quantizer(canonical_graph(opened), opened, request, host, samples)


def _for_delegates(
    opened: Opened, request: ConvertRequest, host: PluginHost, samples: Sequence[str]
) -> Quantizer | None:
    """Quantizer of a model as it is divided among the delegates of the target; None when none of them quantizes."""
    from synap_core.canonical.division import divide
    from synap_core.canonical.lowering import Lowering

    known = [host.delegates[name] for name in opened.target.delegates if name in host.delegates]
    able = {delegate.name for delegate in known if "quantization" in delegate.capabilities}
    if not able:
        return None
    division = divide(opened, host, lambda parts, canonical: Lowering(opened, parts, canonical, request, host))
    used = {part.assignment.delegate for part in division.parts}
    quantizer = division.lowering.quantizer(samples) if division.lowering is not None and used & able else None
    if quantizer is not None:
        quantizer.warnings += division.moved
    return quantizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A quantized graph, and what is to be said about it.

    Attributes:
        quantized: The graph.
        listings: Reports by file name.
        notes: What was decided without being asked for.
    """

    quantized: Quantized
    listings: Mapping[str, str]
    notes: tuple[str, ...]


def quantize_graph(
    quantizer: Quantizer, target_accuracy: float | None, cost: Callable[[Group], float] | None = None
) -> Result:
    """Quantize a graph as its metafile says, or more finely for a wanted accuracy.

    Args:
        quantizer: Quantizes it.
        target_accuracy: Signal to noise ratio in dB that the outputs must reach; None for any.
        cost: What it costs to raise a layer; by default what it computes.

    Raises:
        InputError: The wanted accuracy cannot be reached.
    """
    notes: list[str] = []
    if target_accuracy is None:
        quantized = quantizer.run()
    else:
        raised = raise_layers(quantizer, target_accuracy, cost)
        quantized = raised.quantized
        notes = [f"the outputs reach {raised.sqnr_db:.1f} dB on the samples"]
        types = quantized.plan.types
        reached = [(layer, dtype) for layer, dtype in raised.raised.items() if types.get(layer) == dtype]
        notes += [f"layer '@{layer}' is raised to {dtype}" for layer, dtype in reached]
    listings = {INFO_FILE: quantization_info(quantized.plan, quantized.parameters)}
    entropy = quantization_entropy(quantized.plan, quantized.parameters)
    if entropy:
        listings[ENTROPY_FILE] = entropy
    return Result(quantized=quantized, listings=listings, notes=(*quantized.parameters.notes, *notes))


def quantize_conversion(
    conversion: Conversion, warnings: Sequence[str], opened: Opened, request: ConvertRequest, host: PluginHost
) -> Converted:
    """Quantize the graph of a conversion as the metafile says, or more finely for a wanted accuracy.

    Raises:
        InputError: The metafile or the data set cannot be used, or the wanted accuracy cannot be reached.
    """
    if conversion.graph is None:
        msg = "the conversion has no graph"
        raise ValueError(msg)
    result = quantize_graph(Quantizer(conversion.graph, opened, request, host), request.target_accuracy)
    return Converted(
        conversion=replace(
            conversion,
            graph=annotate(result.quantized.plan, result.quantized.parameters),
            real_boundary=True,
            listings=result.listings,
            notes=(*conversion.notes, *result.notes),
        ),
        warnings=(*warnings, *result.quantized.warnings),
    )


@contextmanager
def _timed(text: str, *values: object) -> Iterator[None]:
    start = time.perf_counter()
    yield
    log.info(f"{text}: %.2f s", *values, time.perf_counter() - start)
