"""The page about the NPU's operators is what the delegate decides with."""

from __future__ import annotations

from pathlib import Path

from docs import generate, npu_operators
from synap_delegate_npu.support import RECORDS, clause

PAGE = Path(__file__).parents[1] / "docs" / "npu-operators.md"


def test_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == npu_operators.render(), "run python docs/generate.py"


def test_page_is_among_the_generated_ones() -> None:
    assert generate.pages()["npu-operators.md"] == npu_operators.render()


def test_page_has_every_operator_with_its_engines_and_conditions() -> None:
    lines = npu_operators.render().partition("\n## ")[0].splitlines()
    general = {"real_tensors"}  # said once, above the table
    for record in RECORDS:
        rows = [line for line in lines if line.startswith(f"| `{record.name}` | {record.engines[0]} |")]
        assert len(rows) == (1 if record.canonical else 0)
        for row in rows:
            assert " | ".join(record.engines) in row
            assert all(clause(c) in row for c in record.conditions if c.__name__ not in general)
        assert any(f"`{record.name}`" in line for line in lines)
