"""Divide a model among the delegates of a target, where layers that one refuses go to another without being asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synap_core.canonical.refusals import fallbacks, moved
from synap_core.delegate_rules import Assignment, assign_delegates, check_support, is_canonical
from synap_core.host import PluginHost
from synap_core.partition import Part, partition
from synap_core.payloads import Delegate
from synap_core.request import Opened
from synap_core.restrictions import check_capabilities
from synap_core.source import SourceModel

if TYPE_CHECKING:
    from synap_core.canonical.lowering import Lowering

Lower = Callable[[Sequence[Part], Mapping[int, Delegate]], "Lowering"]
"""Makes graphs for delegates that compile the canonical graph, given all subgraphs and these by position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Subgraphs of a model.

    Attributes:
        parts: The subgraphs, in execution order.
        lowering: The graphs of those that are compiled from the canonical graph; None when there are none.
        moved: A line about each layer that was refused, and where it is instead.
    """

    parts: tuple[Part, ...]
    lowering: Lowering | None
    moved: tuple[str, ...] = ()


def canonical_delegates(parts: Sequence[Part], source: SourceModel, host: PluginHost) -> dict[int, Delegate]:
    """Delegates that compile the canonical graph, by the position of their subgraphs."""
    delegates = {index: host.delegates[part.assignment.delegate] for index, part in enumerate(parts)}
    return {index: item for index, item in delegates.items() if is_canonical(item, source)}


def divide(opened: Opened, host: PluginHost, lower: Lower, *, branch_split: bool = True) -> Division:
    """Assign layers as the metafile says; those that are refused go to what runs everything, if something does.

    Args:
        opened: The model, its metafile and the target.
        host: Where the delegates are.
        lower: Makes the graphs.
        branch_split: Branches on other delegates become subgraphs of their own.

    Raises:
        InputError: The metafile assigns, or asks for, what is not possible.
    """
    source, selection, target = opened.source, opened.selection, opened.target
    assigned: Mapping[int, Assignment] = assign_delegates(source, selection.layers, opened.meta, target, host)
    others = fallbacks(source, target, host)
    lines: list[str] = []
    while True:
        check_capabilities(opened, assigned, host.delegates, profiling=False)
        parts = partition(selection.layers, assigned, selection.inputs, selection.outputs, branch_split=branch_split)
        canonical = canonical_delegates(parts, source, host)
        lowering = lower(parts, canonical) if canonical else None
        # A target lists what it prefers first, and what runs everything last.
        refusals = [] if lowering is None else [r for r in lowering.refusals if r.delegate not in others[-1:]]
        if not refusals or not others:
            return Division(parts=tuple(parts), lowering=lowering, moved=tuple(lines))
        assigned, found = moved(refusals, source, assigned, others[-1])
        check_support(source, selection.layers, assigned, target, host)
        lines += found
