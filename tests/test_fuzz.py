"""Damaged files in bulk; `benchmarks/fuzz.py` feeds more of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FILES = 5000


@pytest.mark.skipif(os.name != "posix", reason="limits time and memory with POSIX calls")
@pytest.mark.parametrize("kind", ["bundle", "caffe", "metafile", "onnx", "pb", "tflite"])
def test_damaged_files_end_in_one_line_in_bounded_time_and_memory(kind: str) -> None:
    command = [sys.executable, "-m", "tests.support.fuzzing", kind, "2024", str(FILES)]
    root = Path(__file__).parents[1]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    counts = re.fullmatch(rf"{kind}: {FILES} files, (\d+) refused, peak (\d+) MiB\n", result.stdout)
    assert counts is not None
    assert 0 < int(counts[1]) < FILES  # some are refused, and not all: the damage is not just at the surface
    assert int(counts[2]) < 1024
