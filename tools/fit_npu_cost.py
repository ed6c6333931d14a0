"""Fit the NPU cost model to the published timings; write the target's data file and the tables of the documentation.

Run it without arguments to write them, and with ``--check`` to learn whether they are what the fit gives and whether
the model is as accurate as it has to be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.npu_cost.result import Result

ROOT = Path(__file__).resolve().parents[1]

LIMITS = {"VS640": 13.1, "VS680": 11.7}
"""Largest mean error, percent, of predictions for families that were left out of the fit."""

TOLERANCE = 0.01
"""Relative difference of parameters that does not matter: timings are published with two or three digits."""


TABLE_STEP = 0.101
"""Step of the figures in the tables, where rounding may turn a tiny difference into one."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]\d+)?")


def main(arguments: list[str]) -> int:
    """Write the files, or check them; returns the exit status."""
    if arguments not in ([], ["--check"]):
        print(f"unknown arguments {arguments}; allowed: --check")
        return 2
    _make_importable()
    from tools.npu_cost.fitting import Priors
    from tools.npu_cost.result import DATA, PAGE, Result, accuracy_table

    result = Result.compute(Priors.read())
    print(accuracy_table(result))
    problems = [*too_inaccurate(result)]
    if arguments:
        problems += stale(result)
    elif not problems:
        DATA.parent.mkdir(exist_ok=True)
        DATA.write_text(result.data_file(), encoding="utf-8", newline="\n")
        PAGE.write_text(page(result), encoding="utf-8", newline="\n")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def too_inaccurate(result: Result) -> Iterator[str]:
    """Chips for which predictions of families that were left out are off by more than the limit."""
    from tools.npu_cost.result import mean_error, select

    for chip, limit in LIMITS.items():
        error = mean_error(select(result.left_out, chip))
        if error > limit:
            yield f"{chip}: mean error of families left out is {error:.2f} %, at most {limit} % is allowed"


def stale(result: Result) -> Iterator[str]:
    """Files that are not what the fit gives."""
    import yaml

    from tools.npu_cost.result import DATA, PAGE

    stored = yaml.safe_load(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    different = sorted(_differences(result.data, stored))
    if different:
        yield f"{DATA.relative_to(ROOT)} is stale ({', '.join(different)}): run python tools/fit_npu_cost.py"
    elif not _same_text(page(result), PAGE.read_text(encoding="utf-8")):
        yield f"{PAGE.relative_to(ROOT)} is stale: run python tools/fit_npu_cost.py"


def _differences(expected: Mapping[str, object], stored: object, prefix: str = "") -> Iterator[str]:
    """Names of values that differ by more than the tolerance, or are missing or unknown."""
    if not isinstance(stored, Mapping):
        yield prefix.rstrip(".") or "everything"
        return
    for name in expected.keys() | stored.keys():
        new, old = expected.get(name), stored.get(name)
        if isinstance(new, Mapping):
            yield from _differences(new, old, f"{prefix}{name}.")
        elif isinstance(new, float) and isinstance(old, float):
            if abs(new - old) > TOLERANCE * abs(new):
                yield f"{prefix}{name}"
        elif new != old:
            yield f"{prefix}{name}"


def page(result: Result) -> str:
    """The page of the documentation with its tables written anew."""
    from docs.generate import with_part
    from tools.npu_cost.result import PAGE, accuracy_table, parameter_table

    return with_part(
        PAGE, "fit", f"### Errors\n\n{accuracy_table(result)}\n\n### Parameters\n\n{parameter_table(result)}\n"
    )


def _same_text(new: str, old: str) -> bool:
    """Whether two texts are the same but for small differences of their numbers."""
    numbers = [[float(number) for number in _NUMBER.findall(text)] for text in (new, old)]
    if _NUMBER.sub("", new) != _NUMBER.sub("", old):
        return False
    return all(abs(a - b) <= TOLERANCE * abs(a) + TABLE_STEP for a, b in zip(*numbers, strict=True))


def _make_importable() -> None:
    """Make packages of the repository importable: as a script, this one only sees what lies beside it."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
