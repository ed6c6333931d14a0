"""Feed 100,000 damaged files of each kind to the parsers: ``python benchmarks/fuzz.py [COUNT]``.

Prints, for each kind, how many were refused and the peak memory, and ends with 1 when one was not handled in one line,
within 10 seconds and 1 GiB. Takes some minutes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KINDS = ("bundle", "metafile", "tflite", "onnx", "caffe", "pb")
PORTION = 5000


def main() -> int:
    """Run every kind in portions, each in a process of its own with a seed of its own."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    failures = 0
    for kind in KINDS:
        for seed in range(-(-count // PORTION)):
            command = [sys.executable, "-m", "tests.support.fuzzing", kind, str(seed), str(min(PORTION, count))]
            failures += subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
