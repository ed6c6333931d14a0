"""Write the page about operators of the neural processing unit, from the table that the delegate decides with."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence

from synap_delegate_npu.fusion import RULES
from synap_delegate_npu.fusion.profile import PUBLISHED, profile_name
from synap_delegate_npu.support import RECORDS, Record, clause
from synap_delegate_npu.support.conditions import real_tensors
from synap_delegate_npu.support.record import Condition
from synap_delegate_npu.support.table import GENERAL, UNLESS_CONVERSION

NOTICE = "<!-- Written by docs/generate.py; do not edit. -->"

INTRODUCTION = """\
Which operators the NPU has, which of its engines runs each with which data type, and which operators of the
[canonical graph](canonical.md) become one. The engines are the convolution cores (NN), the tensor processor (TP) and
the programmable unit (PPU), which profiles call SH. A layer that is no operator of the NPU, or breaks one of the
conditions, cannot run there; the message names the condition and the value that breaks it.

What is marked (E) is concluded, and not published: the manual's tables have no int16 where the NN cores do not run
uint8, but a published run in int16 includes such operators; and an operator that is said to match one of TFLite is
taken to have no more parameters than that. Where there is a choice of engines, the first one is taken. float32 is what
the manual lists; here, data are float16 instead, and only conversions take and give float32."""

ALONE = """\
Where these hold, the NN cores run it alone. Where one does not, TP runs a pool and helps with a convolution, which is
then slower: the engine is `NN+TP`. An activation that follows in the same operation and does more than cut adds its
engine the same way."""

HEADING = ("Operator", "uint8", "int8", "int16", "float16", "float32", "Recognised from", "Needs that")


def render() -> str:
    """The page."""
    recognised = [record for record in RECORDS if record.canonical]
    others = ", ".join(f"`{record.name}`" for record in RECORDS if not record.canonical)
    unless = [f"{text} (conversions do not)" for text in _clauses(UNLESS_CONVERSION)]
    profiled = [(f"`{name}`", engine, f"`{shown}`") for (name, engine), shown in PUBLISHED.items()]
    blocks = [
        "# NPU operators",
        NOTICE,
        INTRODUCTION,
        "Every operator needs that",
        _list([*_clauses(GENERAL), *unless, "its tensors hold real numbers, where the table does not say otherwise"]),
        _table(HEADING, [_row(record) for record in recognised]),
        f"No operator of the canonical graph stands for {others}; what they do is written with several others.",
        "## Convolutions and pools",
        ALONE,
        _table(("Operator", "Alone where"), [_alone(record) for record in RECORDS if record.unaided]),
        "## Networks",
        "8-bit layers of a network are all uint8 or all int8; conversions at its inputs and outputs do not count.",
        "## What becomes one operation",
        (inspect.getdoc(inspect.getmodule(RULES[0])) or "").partition("\n\n")[2],
        *(block for rule in RULES for block in (f"### {rule.name}", _prose(inspect.getdoc(rule) or ""))),
        "## Names in profiles",
        _prose((inspect.getdoc(profile_name) or "").partition("Args:")[0].partition("\n\n")[2]),
        _table(("Operator", "Engine", "Name"), profiled),
    ]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _row(record: Record) -> tuple[str, ...]:
    canonical = ", ".join(f"`{word}`" for word in record.canonical)
    needs = _clauses(condition for condition in record.conditions if condition is not real_tensors)
    return (f"`{record.name}`", *record.engines, canonical, "; ".join(needs))


def _alone(record: Record) -> tuple[str, str]:
    return f"`{record.name}`", "; ".join(_clauses(record.unaided))


def _clauses(conditions: Iterable[Condition]) -> list[str]:
    return [clause(c) + (" (E)" if "(E)" in (inspect.getdoc(c) or "") else "") for c in conditions]


def _prose(text: str) -> str:
    return text.replace("``", "`")


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, ["---"] * len(heading), *rows))
