"""Write npu-results.md: what the programs of the zoo's quantized models compute, beside LiteRT's reference kernels.

Run it as ``python -m docs.npu_results``, with the model zoo where the tests look for it: converting and running all
models takes about a minute.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parent / "npu-results.md"

TARGETS = ("VS680", "VS640")

INTRODUCTION = """\
# Results of the npu delegate

<!-- Written by docs/npu_results.py; do not edit. -->

Every quantized `.tflite` model of the model zoo, converted without a metafile. Its program is run on the two or three
real inputs of the zoo and on {random} random ones over the whole range of their type, and the result of every operation
that is a tensor of the model is compared with the same tensor in LiteRT's reference kernels. An operation gets what the
program itself computed before, not what LiteRT did. Differences are in units of the integers.

`person_detect` says something about its biases that LiteRT refuses; the reference runs it with that put right. The
programs of both targets compute the same, so only the prediction differs. It is that of
[the cost model](npu-cost-model.md), in milliseconds, for an inference.
"""

PER_TYPE = """\
## By operator

The same values by the operator of the program. `Softmax` may differ by one unit, because LiteRT's kernels approximate
exponential functions; nothing else may.
"""

PREDICTED = re.compile(r"Predicted time of an inference: ([\d.]+) ms")


def page(zoo: Path) -> str:
    """The text of the page.

    Args:
        zoo: Folder of the model zoo.
    """
    from tests.support.npu_zoo import QUANTIZED, RANDOM_INPUTS, conversion, measured

    rows: list[Sequence[str]] = []
    totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name in QUANTIZED:
        found = measured(zoo, name)
        times = [_predicted(conversion(zoo, name, target).artifacts[0].listings["Layer table"]) for target in TARGETS]
        values = sum(layer.values for layer in found.layers)
        differing = sum(layer.differing for layer in found.layers)
        largest = max(layer.largest for layer in found.layers)
        outputs = f"{found.outputs.differing:,} of {found.outputs.values:,}, {found.outputs.largest}"
        stem = f"`{Path(name).name}`"
        rows.append((stem, f"{found.operations}", f"{values:,}", f"{differing:,}", f"{largest}", outputs, *times))
        for layer in found.layers:
            total = totals[layer.type]
            total[:3] = total[0] + 1, total[1] + layer.values, total[2] + layer.differing
            total[3] = max(total[3], layer.largest)
    by_type = [(name, *(f"{number:,}" for number in total)) for name, total in sorted(totals.items())]
    heads = ("Model", "Operations", "Values", "Differing", "Largest", "Outputs: differing, largest", *TARGETS)
    parts = [INTRODUCTION.format(random=RANDOM_INPUTS), _table(heads, rows), PER_TYPE]
    parts.append(_table(("Operator", "Operations", "Values", "Differing", "Largest"), by_type))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _predicted(layer_table: str) -> str:
    """Milliseconds, from the report of a conversion."""
    found = PREDICTED.search(layer_table)
    return "-" if found is None else found[1]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def lines() -> Iterator[str]:
        yield f"| {' | '.join(heads)} |"
        yield f"|---|{'---:|' * (len(heads) - 1)}"
        for row in rows:
            yield f"| {' | '.join(row)} |"

    return "\n".join(lines())


def main() -> None:
    """Write the page."""
    from tests.conftest import zoo_root

    PAGE.write_text(page(zoo_root()), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
