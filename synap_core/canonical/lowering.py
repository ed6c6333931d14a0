"""From the subgraphs of a model to the graphs that their delegates compile."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from synap_core.canonical.boundary import Boundary
from synap_core.canonical.cutting import Piece, cut_out
from synap_core.canonical.grouping import Grouping
from synap_core.canonical.refusals import Refusal
from synap_core.canonical.region import Region, build_region, raw_graph
from synap_core.canonical.types import float32_inputs, operation_type, overflowing_constants, typed, unquantized
from synap_core.describe import Held
from synap_core.errors import InputError
from synap_core.graph.annotations import is_opaque, origins_of, reason_of
from synap_core.graph.groups import Group
from synap_core.host import PluginHost
from synap_core.partition import Part
from synap_core.payloads import Delegate, require_type
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import FLOAT16, FLOAT32
from synap_core.request import ConvertRequest, Opened
from synap_core.subgraphs import Support

if TYPE_CHECKING:
    from synap_core.canonical.calibrating import Calibration
    from synap_core.metafile import Metafile
    from synap_core.quantization.pipeline import Quantizer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """What becomes of the subgraphs that are compiled from the canonical graph.

    Attributes:
        pieces: Graph of each, by its position among all subgraphs.
        held: How boundary tensors are held where it is not as in the model, by id.
        listings: Reports to write beside the result, by file name.
        notes: What was decided without being asked for.
        warnings: What the user should be told.
    """

    pieces: Mapping[int, Piece]
    held: Mapping[str, Held]
    listings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Lowering:
    """Makes the graphs of the subgraphs of canonical delegates.

    Args:
        opened: The model and its metafile.
        parts: All subgraphs.
        canonical: Delegate of those that are compiled from the canonical graph, by position.
        request: What the conversion is asked for.
        host: Where plugins are.
        real_type: Data type of operations on real numbers when the model is not quantized here. With another one than
            float16 there is nothing to `run`: it is what the model would have if it were quantized.

    Attributes:
        refusals: Layers that their delegates do not run, in execution order; with any, there is nothing to `run`.

    Raises:
        InputError: The metafile asks for what is not possible, or the model is damaged.
        PluginError: A delegate broke its contract.
    """

    def __init__(
        self,
        opened: Opened,
        parts: Sequence[Part],
        canonical: Mapping[int, Delegate],
        request: ConvertRequest,
        host: PluginHost,
        *,
        real_type: str = FLOAT16,
    ) -> None:
        self._opened, self._parts, self._delegates = opened, parts, canonical
        self._request, self._host = request, host
        self._quantized = _is_quantized(opened.meta)
        changing = frozenset(index for index, delegate in canonical.items() if delegate.real_type != FLOAT32)
        self._changing = changing
        self._boundary = Boundary(opened.source, opened.selection, opened.meta, parts, changing)
        self._region = self._build()
        self._grouping = Grouping(self._region, canonical, opened.target, host)
        self._calibration: Calibration | None = None
        if self._quantized:
            from synap_core.canonical.calibrating import Calibration
            from synap_core.quantization.pipeline import plan_quantization

            self._calibration = Calibration(
                self._region, self._grouping, self._boundary, opened, canonical, request, host
            )
            self._plan = plan_quantization(self._region.graph, opened, self._calibration.layering)
        else:
            plan = self._unquantized()
            types = {layer: real_type if dtype == FLOAT16 else dtype for layer, dtype in plan.types.items()}
            self._plan = replace(plan, types=types)
        self.refusals: tuple[Refusal, ...] = tuple(self._refusals())

    def run(self) -> Lowered:
        """Choose the parameters of what is quantized, and cut the subgraphs out.

        Raises:
            InputError: The data set cannot be used, or a wanted accuracy cannot be reached.
        """
        plan = self._plan
        if self._calibration is None:
            return replace(self._cut(plan, typed(plan)), warnings=tuple(overflowing_constants(plan)))
        done = self._calibration.run()
        lowered = self._cut(done.plan, done.graph)
        return replace(lowered, listings=done.listings, notes=done.notes, warnings=done.warnings)

    def quantizer(self, samples: Sequence[str] = ()) -> Quantizer | None:
        """What quantizes these graphs, made ready; None when the metafile asks for none. Raises as `run`.

        Args:
            samples: As those of `Quantizer`.
        """
        return None if self._calibration is None else self._calibration.quantizer(samples)

    def operations(self) -> Iterator[tuple[int, Group, str]]:
        """Operations of canonical delegates, in execution order: position of the subgraph, operation, data type."""
        for index, group, _ in self._operations():
            yield index, group, operation_type(group, self._plan.types, self._delegates[index].real_type)

    def _cut(self, plan: Plan, graph: ir.Model) -> Lowered:
        boundary = self._boundary.quantization(self._region, graph)
        pieces = {index: cut_out(self._region, index, graph, plan.groups, boundary) for index in self._delegates}
        held = self._boundary.held(self._region, boundary, calibrated=self._quantized)
        return Lowered(pieces=pieces, held=held)

    def _build(self) -> Region:
        members = set(range(len(self._parts))) if self._quantized else set(self._delegates)
        source, selection = self._opened.source, self._opened.selection
        graph, whole = raw_graph(
            source, selection, (self._parts[i] for i in sorted(members)), all_inputs=self._quantized
        )
        if self._quantized and self._opaque(graph):
            members = self._upstream()
            graph, whole = raw_graph(
                source, selection, (self._parts[i] for i in sorted(members)), all_inputs=self._quantized
            )
            _require_expressed(self._opaque(graph), self._opened.meta)
        parts = {index: self._parts[index] for index in sorted(members)}
        turned = self._boundary.transposed()
        return build_region(graph, whole, parts, outputs=selection.outputs, transposed=turned)

    def _opaque(self, graph: ir.Model) -> list[ir.Node]:
        """Opaque nodes of layers that delegates run which take the source format."""
        native = {layer.index for i, p in enumerate(self._parts) if i not in self._delegates for layer in p.part.layers}
        return [node for node in graph.graph if is_opaque(node) and origins_of(node)[0].index in native]

    def _upstream(self) -> set[int]:
        """Subgraphs that canonical ones get their data from, and these."""
        maker = {tensor: i for i, part in enumerate(self._parts) for tensor in part.part.outputs}
        found: set[int] = set()
        pending = list(self._delegates)
        while pending:
            index = pending.pop()
            if index not in found:
                found.add(index)
                pending += [maker[tensor] for tensor in self._parts[index].part.inputs if tensor in maker]
        return found

    def _unquantized(self) -> Plan:
        graph = self._region.graph.clone()
        groups = self._grouping(graph)
        real = float32_inputs(self._region, self._boundary.native)
        return unquantized(graph, groups, self._is_kept, real)

    def _is_kept(self, group: Group) -> bool:
        return self._grouping.part_of(group) not in self._changing

    def _refusals(self) -> Iterator[Refusal]:
        """One for each layer, in execution order."""
        layers = {layer.index: layer for layer in self._opened.source.layers if layer.index is not None}
        found: dict[int, Refusal] = {}
        for index, group, nodes in self._operations():
            delegate = self._delegates[index]
            opaque = next((node for node in group.nodes if is_opaque(node)), None)
            if opaque is None:
                reason = self._refusal_of(delegate, group)
            else:
                reason = f"it cannot be expressed in ONNX operators: {reason_of(opaque)}"
            if reason is None:
                continue
            own = {layer.index for layer in self._parts[index].part.layers}
            refused = sorted({origin.index for node in nodes for origin in origins_of(node)} & own)
            if not refused:
                msg = f"operation '@{group.layer_id}' of no layer cannot run on {delegate.name} because {reason}"
                raise InputError(msg, hint="give the layers around it another delegate or data type")
            for origin in refused:
                expressed = opaque is None
                refusal = Refusal(layer=layers[origin], delegate=delegate.name, reason=reason, expressed=expressed)
                found.setdefault(origin, refusal)
        yield from (found[index] for index in sorted(found))

    def _operations(self) -> Iterator[tuple[int, Group, Sequence[ir.Node]]]:
        """Operations of canonical delegates: the position of the subgraph, and the nodes whose layers want it."""
        for group in self._plan.groups:
            index = self._grouping.part_of(group)
            if index is not None:
                if index in self._delegates:
                    yield index, group, group.nodes
            elif self._plan.types.get(group.layer_id) != FLOAT32:
                # A conversion is done in each subgraph that reads the result.
                readers: dict[int, list[ir.Node]] = {}
                for use in group.nodes[-1].outputs[0].uses():
                    readers.setdefault(self._region.owner.get(str(use.node.name), -1), []).append(use.node)
                yield from ((reader, group, nodes) for reader, nodes in readers.items() if reader in self._delegates)

    def _refusal_of(self, delegate: Delegate, group: Group) -> str | None:
        if delegate.operations is None:
            msg = f"delegate {delegate.name!r} does not say which operations it runs"
            raise ValueError(msg)
        with self._host.boundary(delegate):
            dtype = operation_type(group, self._plan.types, delegate.real_type)
            support = delegate.operations(group, dtype, self._opened.target)
        require_type(delegate, support, Support)
        return None if support.ok else support.reason or "it does not say why"


def _is_quantized(meta: Metafile) -> bool:
    return meta.quantization is not None and meta.quantization.enabled


def _require_expressed(opaque: Sequence[ir.Node], meta: Metafile) -> None:
    """Check that all that samples pass through is expressed.

    Raises:
        InputError: Some layers are not; names all.
    """
    if opaque:
        listed = "; ".join(f"{origins_of(n)[0].name!r} ({origins_of(n)[0].type}): {reason_of(n)}" for n in opaque[:20])
        msg = f"samples cannot pass through layers in front of those that are to be quantized: {listed}"
        hint = "begin the model behind them, with 'inputs' in the metafile, or remove the 'quantization' section"
        raise InputError(msg, where=meta.where("quantization") or None, hint=hint)
