"""What the compiler accepts, and how it is called."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import onnx_ir as ir

from synap_core.api import Artifact, Group, InputError, Subgraph, Support, is_opaque, reason_of, to_qdq

COMMAND = "VENDOR_NPU_COMPILER"
"""Environment variable with the command, and options that always go with it."""

SECONDS = 600
"""Time that the command has for a subgraph."""

UNSUPPORTED = frozenset({"NonMaxSuppression", "TopK"})
"""Operators that this compiler does not take."""


def accepted(group: Group, dtype: str) -> Support:
    """Whether the compiler takes an operation of the canonical graph."""
    del dtype
    for node in group.nodes:
        if is_opaque(node):
            return Support(ok=False, reason=reason_of(node))
        if node.op_type in UNSUPPORTED:
            return Support(ok=False, reason=f"the compiler has no {node.op_type}")
    return Support(ok=True, engine="npu")


def compile_subgraph(subgraph: Subgraph) -> Artifact:
    """Run the command on a subgraph.

    Raises:
        InputError: There is no command, or it fails, takes too long, or leaves no file.
    """
    if subgraph.graph is None:
        msg = "needs a canonical graph"
        raise ValueError(msg)
    with tempfile.TemporaryDirectory(prefix="synap-vendor-") as name:
        folder = Path(name)
        ir.save(to_qdq(subgraph.graph), folder / "model.onnx")
        _run([*_command(), "--model", "model.onnx", "--target", subgraph.target.name, "--output", "model.nb"], folder)
        model = _result(folder / "model.nb")
    return Artifact(
        model_file="model.nb",
        meta_file="model.json",
        model=model,
        inputs=subgraph.inputs,
        outputs=subgraph.outputs,
        delegate="npu",
    )


def _command() -> list[str]:
    words = shlex.split(os.environ.get(COMMAND, ""))
    if not words:
        msg = "no compiler is set"
        raise InputError(msg, where=COMMAND, hint=f"set it: export {COMMAND}=/path/of/the/compiler")
    return words


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except OSError as error:
        msg = f"cannot start {command[0]!r}: {error.strerror or error}"
        raise InputError(msg, where=COMMAND, hint="give the path of the compiler") from error
    except subprocess.TimeoutExpired as error:
        msg = f"{command[0]!r} took longer than {SECONDS} seconds"
        raise InputError(msg, where=COMMAND) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it printed no reason"])[-1]
        msg = f"{command[0]!r} failed with {done.returncode}: {last}"
        raise InputError(msg, where=COMMAND)


def _result(path: Path) -> bytes:
    content = path.read_bytes() if path.is_file() else b""
    if not content:
        msg = f"the compiler left no {path.name!r}"
        raise InputError(msg, where=COMMAND)
    return content
