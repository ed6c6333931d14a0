"""A virtual environment for the tools we compare with, so that they need not be installed beside ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGES = ("onnxruntime", "onnx", "nncf==3.4.*", "pillow")


def peer_python(folder: Path) -> Path:
    """The interpreter of the peers' environment; made, with the packages, when it is not there."""
    python = folder / "bin" / "python"
    ready = folder / "complete"
    if not ready.exists():
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        ready.touch()
    return python


def peer_versions(python: Path) -> str:
    """Names and versions of the peers in an environment."""
    code = "from importlib.metadata import version as v; print('onnxruntime', v('onnxruntime'), 'nncf', v('nncf'))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
