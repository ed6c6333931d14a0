"""What the parts may know of each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "synap_core").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))

CONCRETE = re.compile(
    r"tflite|litert|xnnpack|onnxruntime|caffe|tensorflow|kl_divergence|moving_average|VS6[48]0|SL16[248]0|DVF120",
    re.IGNORECASE,
)
"""Source formats, runtimes, algorithms and chips: what only plugins know."""

METAFILE_WORDS = "synap_core/metafile/vocabulary.py"
"""The words of the metafile language are the user's, whatever is installed."""


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_knows_nothing_concrete(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() != METAFILE_WORDS:
        assert CONCRETE.findall(path.read_text(encoding="utf-8")) == []
    assert not {name for name in imports(path) if re.match(r"synap_(?!core)", name)}


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.parent.name + "/" + path.name)
def test_plugin_uses_the_public_interface_and_no_other_plugin(path: Path) -> None:
    own = next(part for part in path.parts if part.startswith("synap_"))
    foreign = {name for name in imports(path) if name.startswith("synap_") and name.partition(".")[0] != own}
    assert foreign <= {"synap_core.api"}


def test_only_one_module_of_a_package_uses_an_untyped_library() -> None:
    users: dict[str, set[str]] = {}
    for path in (*CORE, *PLUGINS):
        package = next(part for part in path.parts if part.startswith("synap_"))
        for name in imports(path):
            library = "onnx" if name.partition(".")[0] == "onnx" else name
            if library in ("tflite", "ai_edge_litert.interpreter", "ai_edge_litert", "onnx", "onnxruntime"):
                inside = path.relative_to(next(p for p in path.parents if p.name == package))
                users.setdefault(library, set()).add(f"{package}/{inside.as_posix()}")
    assert users == {
        "onnx": {
            "synap_delegate_npu/program/protos.py",
            "synap_frontend_onnx/protos.py",
            "synap_runtime_onnx/protos.py",
        },
        "onnxruntime": {"synap_runtime_onnx/session.py"},
        "tflite": {"synap_frontend_tflite/reader.py"},
        "ai_edge_litert": {"synap_frontend_tflite/flatbuffer.py"},
        "ai_edge_litert.interpreter": {"synap_runtime_tflite/litert.py"},
    }


def test_every_package_is_typed() -> None:
    packages = {path.parent for path in (*CORE, *PLUGINS) if path.name == "__init__.py"}
    top = {package for package in packages if not (package.parent / "__init__.py").exists()}
    assert {package.name for package in top if not (package / "py.typed").exists()} == set()


POSIX_ONLY = re.compile(
    r"^(?:import|from) (?:fcntl|grp|pwd|resource|termios|tty)\b|\bos\.(?:fork|kill|getuid|setsid)\b", re.MULTILINE
)
"""At module level; a function may use such a module behind a check that the system has it."""


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=lambda path: path.parent.name + "/" + path.name)
def test_nothing_needs_a_posix_system(path: Path) -> None:
    assert POSIX_ONLY.findall(path.read_text(encoding="utf-8")) == []
