"""The page about programs is what the delegate writes, and its code runs."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs import generate, npu_program
from synap_delegate_npu.arithmetic.multiplier import Multiplier, rescale, rescale_once, rescale_short
from synap_delegate_npu.operators.families import REGISTRY
from synap_delegate_npu.program.names import real_name
from synap_delegate_npu.program.schemas import DESCRIBING, operators
from synap_delegate_npu.support import RECORDS
from tests.support.cli import Synap
from tests.support.npu_files import EXAMPLE

PAGE = Path(__file__).parents[1] / "docs" / "npu-program.md"


def test_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == npu_program.render(), "run python docs/generate.py"
    assert generate.npu_program_page() == npu_program.render()


def test_page_defines_every_operator_with_its_attributes() -> None:
    text = npu_program.render()
    titles = {name for title in re.findall(r"^### (.*)$", text, re.MULTILINE) for name in title.split(", ")}
    assert titles == set(REGISTRY.operators)
    attributes = {key for name in REGISTRY.operators for key in operators()[name]} | set(DESCRIBING)
    assert attributes <= set(re.findall(r"^\| `(\w+)` \| (?:INTS?|FLOATS?|STRING) \| ", text, re.MULTILINE))
    real = text.partition("## Operators of real numbers")[2].partition("## Attributes")[0]
    assert all(name in titles or f"`{name}`" in real for name in map(real_name, (record.name for record in RECORDS)))


def test_code_on_the_page_prints_what_its_comments_say(
    synap: Synap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    command = re.search(r"`synap (convert --model \S+ .*?)`", text)
    assert command is not None
    words = command[1].replace("examples/digits/digits_int8.tflite", str(EXAMPLE)).split()
    assert synap(*words).code == 0
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102 - our own document
    assert printed.getvalue().splitlines() == re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)


@pytest.mark.parametrize(("name", "define"), [("twice", rescale), ("once", rescale_once), ("short", rescale_short)])
@given(x=st.integers(-(1 << 24), 1 << 24), multiplier=st.integers(1 << 30, (1 << 31) - 1), shift=st.integers(-20, 6))
def test_formulas_on_the_page_are_the_definitions(
    *, name: str, define: Callable[[np.ndarray, Multiplier], np.ndarray], x: int, multiplier: int, shift: int
) -> None:
    by = Multiplier(np.array(multiplier), np.array(shift))
    known = {"x": x, "multiplier": multiplier, "shift": shift, "right": max(-shift, 0), "max": max, "min": min}
    formulas = [
        formula
        for formula in re.findall(r"`([^`]*)`", npu_program.ROUNDINGS[name][0])
        if formula not in ("right > 0", "h")
    ]
    for formula in formulas:
        variable, assigned, value = formula.partition(" = ")
        if assigned:
            known[variable] = eval(value, {}, known)  # noqa: S307 - our own document
    last = "h" if name == "twice" and shift >= 0 else formulas[-1]
    assert eval(last, {}, known) == define(np.array(x), by)  # noqa: S307 - our own document
