"""Fixtures: the model zoo, small models in files, and a host with the built-in plugins."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.register_assert_rewrite(
    "tests.support.canonical", "tests.support.npu_program", "tests.support.single_operator", "tests.support.streaming"
)

from synap_core.cli.main import main  # noqa: E402 - the modules below load those above
from synap_core.host import PluginHost  # noqa: E402
from tests.support.cli import Result, Synap  # noqa: E402
from tests.support.tflite_models import dense3  # noqa: E402

ROOT = Path(__file__).parents[1]


def zoo_root() -> Path:
    """Folder of the model zoo, whether it is there or not."""
    return Path(os.environ.get("SYNAP_ZOO") or ROOT.parent / "shared" / "zoo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the zoo or a lot of time when it is not wanted here."""
    no_zoo = pytest.mark.skip(reason=f"no model zoo at {zoo_root()}; set SYNAP_ZOO")
    no_slow = pytest.mark.skip(reason="slow; set SYNAP_SLOW_TESTS=1")
    for item in items:
        if "zoo" in item.keywords and not (zoo_root() / "models").is_dir():
            item.add_marker(no_zoo)
        if "slow" in item.keywords and os.environ.get("SYNAP_SLOW_TESTS") != "1":
            item.add_marker(no_slow)


@pytest.fixture(autouse=True)
def own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the plugin settings of the machine out of the tests."""
    for name in ("SYNAP_CONFIG", "SYNAP_PLUGINS", "SYNAP_DISABLE_PLUGINS", "SYNAP_ENABLE_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("synap_core.plugin_policy.SYSTEM_CONFIG", tmp_path / "etc" / "synap.toml")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def host() -> PluginHost:
    """The installed plugins."""
    return PluginHost()


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[..., Path]:
    """Write the content of a model to a file."""

    def write(content: bytes, name: str = "net.tflite") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def dense3_file(model_file: Callable[..., Path], rng: np.random.Generator) -> Path:
    """The model of three dense layers."""
    return model_file(dense3(rng))


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Folder of the model zoo."""
    return zoo_root()


@pytest.fixture
def synap(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command in this process."""

    def run(*args: object, entry: Callable[[list[str]], object] = main) -> Result:
        with pytest.raises(SystemExit) as stop:
            entry([str(arg) for arg in args])
        captured = capfd.readouterr()
        return Result(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def converted(synap: Synap, out: Path, model_file: Callable[..., Path]) -> Callable[..., Path]:
    """Convert the content of a model and return the bundle's path."""

    def call(content: bytes, meta: str = "delegate: cpu") -> Path:
        path = out.parent / "meta.yaml"
        path.write_text(meta)
        result = synap(
            "convert", "--model", model_file(content), "--meta", path, "--target", "SL1620", "--out-dir", out
        )
        assert result.code == 0, result.err
        return out / "model.synap"

    return call
