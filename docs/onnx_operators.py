"""Write the page about ONNX operators: what becomes of each, and what the node tests of the ``onnx`` package say."""

from __future__ import annotations

import importlib.metadata
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synap_frontend_onnx.importer.table import OperatorRow, operator_table

ROOT = Path(__file__).resolve().parents[1]
NOTICE = "<!-- Written by docs/generate.py; do not edit. -->"

INTRODUCTION = """\
What the importer makes of each operator, for all versions that the `onnx` package knows. The canonical graph has the
standard operators of operator set 19.

- *as is*: it means the same there;
- *converted*: other operators, or another use of the same one, take its place;
- *function body*: it is defined by other operators, and these are imported;
- *opaque*: the layer can only run in the model's own format, on cpu or gpu.

A version is the operator set that changed the operator. It may still stay opaque where a model uses it in a way that
has no counterpart, such as element types that came later; `synap ops --model FILE` tells for the layers of a model."""

COUNTS = """\
The last three columns count the node tests of the `onnx` package that use the operator. A test *passes* when the
canonical graph of its model gives the expected numbers in ONNX Runtime. In the tests even axes and sizes are operands;
where a layer needs them constant, they are put in as constants. A test is *refused* when the operator stays opaque, and
*left out* when it is about other than numbers of 8 to 64 bits and truth values, or when ONNX Runtime does not give the
expected numbers for the model itself, either. None gives wrong numbers. {versions}"""


MAX_REASON = 120
"""Characters of a reason."""


@dataclass(slots=True)
class Count:
    """Outcomes of the node tests that use an operator.

    Attributes:
        passed: How many pass.
        refused: How many are refused because of the operator, by reason.
        left_out: How many say nothing about the importer.
    """

    passed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left_out: int = 0


def render() -> str:
    """The page; runs all node tests when they were not run before in this process, which takes half a minute."""
    found = counts()
    rows = [_row(row, found.get(row.name) if last else None) for row, last in _with_last(operator_table())]
    refused = [
        f"- `{name}`: {reason} ({number})"
        for name in sorted(found)
        for reason, number in sorted(found[name].refused.items())
    ]
    heading = ("Operator", "Versions", "Import", "Note", "Passed", "Refused", "Left out")
    table = "\n".join([_line(heading), _line(["---"] * len(heading)), *rows])
    about = COUNTS.format(versions=versions())
    blocks = ["# ONNX operators", NOTICE, INTRODUCTION, about, table, "## Why tests are refused", "\n".join(refused)]
    return "\n\n".join(blocks) + "\n"


def versions() -> str:
    """What the counts depend on: the packages that have the tests and that run them."""
    onnx, runtime = (importlib.metadata.version(name) for name in ("onnx", "onnxruntime"))
    return f"Counted with onnx {onnx} and ONNX Runtime {runtime}."


def counts() -> Mapping[str, Count]:
    """Outcomes of the node tests by operator."""
    if str(ROOT) not in sys.path:  # as a script, this page only sees its own folder
        sys.path.append(str(ROOT))
    from tests.support.onnx_node_tests import PASSED, REFUSED, outcomes

    found: dict[str, Count] = {}
    for outcome in outcomes():
        for name in outcome.operators:
            count = found.setdefault(name, Count())
            if outcome.status == PASSED:
                count.passed += 1
            elif outcome.status != REFUSED:
                count.left_out += 1
        for name in outcome.culprits if outcome.status == REFUSED else ():
            found[name].refused[textwrap.shorten(outcome.reason, MAX_REASON, placeholder=" …")] += 1
    return found


def _with_last(rows: list[OperatorRow]) -> list[tuple[OperatorRow, bool]]:
    """Each row, and whether it is the last one of its operator."""
    following = [*rows[1:], None]
    return [(row, later is None or later.name != row.name) for row, later in zip(rows, following, strict=True)]


def _row(row: OperatorRow, count: Count | None) -> str:
    versions = ", ".join(map(str, row.since))
    numbers = ("", "", "") if count is None else (count.passed, sum(count.refused.values()), count.left_out)
    return _line([f"`{row.name}`", versions, row.how, row.note.replace("|", "\\|"), *map(str, numbers)])


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
