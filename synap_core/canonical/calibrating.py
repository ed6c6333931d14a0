"""Quantize the subgraphs of a region, with samples that pass through all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_core.canonical.boundary import Boundary
from synap_core.canonical.grouping import Grouping
from synap_core.canonical.region import Region
from synap_core.canonical.types import float32_inputs
from synap_core.errors import InputError
from synap_core.graph.groups import Group
from synap_core.host import PluginHost
from synap_core.payloads import Delegate, Target, require_type
from synap_core.quantization.data_types import EVERYTHING, require_float
from synap_core.quantization.dataset import READERS, Dataset, in_order
from synap_core.quantization.parameters import annotate
from synap_core.quantization.pipeline import Layering, Quantizer, quantize_graph
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import FLOAT16, FLOAT32
from synap_core.request import ConvertRequest, Opened
from synap_core.subgraphs import Cost

Array = NDArray[Any]  # any item type: that of the input

CAPABILITY = "quantization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A region with its parameters.

    Attributes:
        plan: What is quantized, and how.
        graph: The graph with its parameters.
        listings: Reports by file name.
        notes: What was decided without being asked for.
        warnings: What the user should be told.
    """

    plan: Plan
    graph: ir.Model
    listings: Mapping[str, str]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


class Calibration:
    """Quantizes a region.

    Args:
        region: The region; all that samples pass through is in it.
        grouping: Its operations.
        boundary: What its boundary tensors are.
        opened: The model and its metafile.
        delegates: Delegates that are quantized for, by the position of their subgraphs.
        request: What the conversion is asked for.
        host: Where plugins are.

    Raises:
        InputError: The model is quantized already.
    """

    def __init__(
        self,
        region: Region,
        grouping: Grouping,
        boundary: Boundary,
        opened: Opened,
        delegates: Mapping[int, Delegate],
        request: ConvertRequest,
        host: PluginHost,
    ) -> None:
        require_float(region.graph, opened.meta)
        self._region, self._grouping, self._opened = region, grouping, opened
        self._delegates, self._request, self._host = delegates, request, host
        self._idle: dict[str, None] = {}
        self._real_inputs = float32_inputs(region, boundary.native)
        turned = {region.values[t]: axes for t, axes in boundary.transposed().items() if t in opened.selection.inputs}
        self.layering = Layering(
            groups=grouping, restrict=self._restrict, arrange=lambda dataset: _arranged(dataset, turned)
        )

    def run(self) -> Calibrated:
        """Quantize.

        Raises:
            InputError: The data set cannot be used, or a wanted accuracy cannot be reached.
        """
        quantizer = self.quantizer()
        accuracy = self._request.target_accuracy
        result = quantize_graph(quantizer, accuracy, None if accuracy is None else self._cost())
        plan, parameters = result.quantized.plan, result.quantized.parameters
        return Calibrated(
            plan=plan,
            graph=annotate(plan, parameters),
            listings=result.listings,
            notes=result.notes,
            warnings=(*self._idle, *result.quantized.warnings),
        )

    def quantizer(self, samples: Sequence[str] = ()) -> Quantizer:
        """Make ready to quantize.

        Args:
            samples: One glob for each input, of samples that are not quantized with but that what is quantized is run
                on.

        Raises:
            InputError: The data set cannot be used, or an option changes what stays as the model says.
        """
        before = self._native_constants()
        made = Quantizer(self._region.graph, self._opened, self._request, self._host, samples, layering=self.layering)
        after = self._native_constants()
        if before.keys() != after.keys() or any(after[name] is not tensor for name, tensor in before.items()):
            msg = "the quantization changes weights of layers that run in the source format, which keep theirs"
            where = self._opened.meta.where("quantization", "options") or None
            raise InputError(msg, where=where, hint="turn off the option that evens out channels of layers")
        return made

    def _restrict(
        self, groups: Sequence[Group], types: Mapping[str, str], raised: Mapping[str, str]
    ) -> Mapping[str, str]:
        result = {**types, **raised}
        for group in groups:
            delegate = self._delegate_of(group)
            if delegate is not None and group.layer_id in raised and not self._runs(delegate, group, raised):
                result[group.layer_id] = types[group.layer_id]
            if delegate is None or delegate.real_type == FLOAT32:
                self._note_idle(group, types[group.layer_id])
                result[group.layer_id] = FLOAT32
            elif CAPABILITY not in delegate.capabilities:
                result[group.layer_id] = FLOAT16
        result |= {layer_id: FLOAT32 for name in self._real_inputs if (layer_id := f"Input_{name}") in result}
        return result

    def _note_idle(self, group: Group, dtype: str) -> None:
        """Note a data type that the metafile has for a layer which stays as it is."""
        settings = self._opened.meta.quantization
        rules = None if settings is None else settings.data_type
        if settings is None or rules is None or isinstance(rules, str):
            return
        if dtype != rules.get(EVERYTHING, settings.base_type):
            where = self._opened.meta.where("quantization", "data_type")
            line = f"{where}: {dtype} has no effect on layer '@{group.layer_id}', which runs as the model says"
            self._idle[line] = None

    def _delegate_of(self, group: Group) -> Delegate | None:
        index = self._grouping.part_of(group)
        return None if index is None else self._delegates.get(index)

    def _runs(self, delegate: Delegate, group: Group, raised: Mapping[str, str]) -> bool:
        """Whether a delegate runs an operation with the type that it is raised to."""
        if delegate.operations is None:
            return True
        with self._host.boundary(delegate):
            return delegate.operations(group, raised[group.layer_id], self._opened.target).ok

    def _native_constants(self) -> dict[str, ir.TensorProtocol]:
        nodes = [n for n in self._region.graph.graph if self._region.owner.get(str(n.name)) not in self._delegates]
        values = [value for node in nodes for value in node.inputs if value is not None]
        return {str(value.name): value.const_value for value in values if value.const_value is not None}

    def _cost(self) -> Callable[[Group], float] | None:
        """What raising an operation costs, as the delegates estimate it; None when one of them cannot tell."""
        target = self._opened.target
        found: dict[str, float] = {}
        for group in self._grouping(self._region.graph.clone()):
            delegate = self._delegate_of(group)
            if delegate is None or CAPABILITY not in delegate.capabilities:
                continue
            seconds = [_seconds(self._host, delegate, group, dtype, target) for dtype in ("uint8", "int16")]
            if None in seconds:
                return None
            low, high = (value or 0.0 for value in seconds)
            found[group.layer_id] = max(high - low, low * 1e-3)
        return lambda group: found.get(group.layer_id, 0.0)


def _seconds(host: PluginHost, delegate: Delegate, group: Group, dtype: str, target: Target) -> float | None:
    if delegate.estimate is None:
        return None
    with host.boundary(delegate):
        cost = delegate.estimate(group, dtype, target)
    if cost is None:
        return None
    require_type(delegate, cost, Cost)
    return cost.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arranged(Dataset):
    """Samples whose inputs are transposed after they are read.

    Attributes:
        turned: How to transpose inputs, by name.
    """

    turned: Mapping[str, Sequence[int]]

    def sample(self, index: int) -> dict[str, Array]:
        read = Dataset.sample(self, index)
        turn = {name: np.ascontiguousarray(read[name].transpose(axes)) for name, axes in self.turned.items()}
        return {**read, **turn}

    def samples(self, indices: Sequence[int]) -> Iterator[dict[str, Array]]:
        return in_order(self.sample, indices, threads=READERS, ahead=READERS)


def _arranged(dataset: Dataset, turned: Mapping[str, Sequence[int]]) -> Dataset:
    if not turned:
        return dataset
    return _Arranged(inputs=dataset.inputs, constant=dataset.constant, turned=turned)
