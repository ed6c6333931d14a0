"""What the passes did, and what they refused to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from synap_core.errors import one_line


class Refusal(NamedTuple):
    """A place where a rule would have applied but for a reason.

    Attributes:
        rule: Name of the rule.
        layer: Source layer of the node.
        reason: Why it refused.
    """

    rule: str
    layer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a normalisation did.

    Attributes:
        applied: How often each rule was applied, in the order of the passes; rules that were not are left out.
        refusals: What was refused, each once.
    """

    applied: Mapping[str, int]
    refusals: tuple[Refusal, ...]

    def lines(self) -> list[str]:
        """As text, one line per rule applied and per refusal."""
        counts = [f"{rule}: {count}" for rule, count in self.applied.items()]
        return counts + [one_line(f"{r.rule}: not at layer {r.layer!r}: {r.reason}") for r in self.refusals]
