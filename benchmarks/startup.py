"""Compare the start of the command line with that of the packages it cannot do without."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

PAIRS = 15
LIMIT = 1.5
"""Largest ratio that counts as a quick start."""

COMMANDS = (("--help",), ("plugins",))
SYNAP = "from synap_core.cli.main import main; main()"
BASELINE = "import click, pluggy, importlib.metadata as m; m.entry_points(group='synap.plugins')"


def main() -> int:
    """Print the ratio for each command; returns 1 when one is above the limit."""
    slow = False
    for arguments in COMMANDS:
        ours, baseline = measure(arguments)
        ratio = ours / baseline
        slow |= ratio > LIMIT
        name = " ".join(("synap", *arguments))
        print(f"{name}: {1000 * ours:.0f} ms, baseline {1000 * baseline:.0f} ms, ratio {ratio:.2f} (limit {LIMIT})")
    return int(slow)


def measure(arguments: Sequence[str]) -> tuple[float, float]:
    """Median seconds of a command and of the baseline, taken in turns so that both meet the same load."""
    ours, baseline = [], []
    for _ in range(PAIRS):
        ours.append(seconds([sys.executable, "-c", SYNAP, *arguments]))
        baseline.append(seconds([sys.executable, "-c", BASELINE]))
    return statistics.median(ours), statistics.median(baseline)


def seconds(command: Sequence[str]) -> float:
    """Wall-clock time of a process that succeeds.

    Raises:
        subprocess.CalledProcessError: It does not.
    """
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
