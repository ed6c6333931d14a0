"""The example of a compiler for the silicon: a plugin of somebody else in the place of the built-in delegate."""

from __future__ import annotations

import importlib
import shlex
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synap_core.convert import Converted, ConvertRequest, convert, write
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.network import Network
from synap_core.payloads import OutputFormat

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "vendor-compiler"
MODEL = ROOT / "examples" / "digits" / "digits_int8.tflite"
BUILT_IN = {
    "delegate-cpu": "synap_delegate_cpu.plugin",
    "frontend-tflite": "synap_frontend_tflite.plugin",
    "output-nb": "synap_output_nb.plugin",
    "output-synap": "synap_output_synap.plugin",
}

STAND_IN = """
import hashlib, sys
import onnx
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
model = onnx.load(words["--model"])
onnx.checker.check_model(model)
with open(words["--output"], "wb") as file:
    file.write(b"EBGX" + hashlib.sha256(model.SerializeToString() + words["--target"].encode()).digest())
"""

Convert = Callable[[str], Converted]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginHost]:
    """The example and the plugins it works with, without the built-in delegate."""
    monkeypatch.syspath_prepend(EXAMPLE / "src")
    host = PluginHost(group="synap.none")
    target = importlib.import_module("synap_target_synaptics.plugin").vs680
    plugins = {name: importlib.import_module(module) for name, module in BUILT_IN.items()}
    plugins |= {"target-vs680": target, "delegate-npu-vendor": importlib.import_module("synap_vendor_npu.plugin")}
    for name, plugin in plugins.items():
        record = host.register(plugin, name)
        assert record.state == "enabled", record.reason
    yield host
    for name in [name for name in sys.modules if name.partition(".")[0] == "synap_vendor_npu"]:
        del sys.modules[name]


@pytest.fixture
def convert_with(host: PluginHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Convert:
    """Convert the digits model with the text of a stand-in for the compiler."""

    def call(script: str) -> Converted:
        path = tmp_path / "compiler.py"
        path.write_text(script, encoding="utf-8")
        monkeypatch.setenv("VENDOR_NPU_COMPILER", shlex.join([sys.executable, str(path)]))
        return convert(ConvertRequest(model=MODEL, target="VS680"), host)

    return call


def test_bundle_holds_what_the_command_wrote(host: PluginHost, convert_with: Convert, tmp_path: Path) -> None:
    converted = convert_with(STAND_IN)
    (artifact,) = converted.conversion.artifacts
    written = write(converted.conversion, host.find(OutputFormat, "synap"), tmp_path / "out", host)
    with zipfile.ZipFile(written.files[0]) as bundle:
        content = bundle.read("0/model.nb")
    assert content == artifact.model
    assert content.startswith(b"EBGX")
    assert len(content) == 4 + 32


def test_target_reaches_the_command(host: PluginHost, convert_with: Convert) -> None:
    converted = convert_with(STAND_IN.replace('b"EBGX" + hashlib', 'words["--target"].encode() or hashlib', 1))
    assert converted.conversion.artifacts[0].model == b"VS680"
    assert host.targets["VS680"].delegates[0] == "npu"


def test_network_of_such_a_bundle_is_refused(host: PluginHost, convert_with: Convert, tmp_path: Path) -> None:
    written = write(convert_with(STAND_IN).conversion, host.find(OutputFormat, "synap"), tmp_path / "out", host)
    with pytest.raises(InputError, match="only the NPU of a board|chip's own processor"):
        Network(written.files[0])


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("import sys\nsys.exit('line one\\nno licence')", "failed with 1: no licence"),
        ("import sys\nsys.exit(3)", "failed with 3: it printed no reason"),
        ("pass", "the compiler left no 'model.nb'"),
        ("open('model.nb', 'wb').close()", "the compiler left no 'model.nb'"),
    ],
    ids=["says-why", "says-nothing", "writes-nothing", "writes-an-empty-file"],
)
def test_failure_of_the_command_ends_the_conversion_in_one_line(
    convert_with: Convert, script: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        convert_with(script)
    assert "\n" not in str(caught.value)


def test_command_that_hangs_is_ended(convert_with: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("synap_vendor_npu.compiler"), "SECONDS", 1)
    with pytest.raises(InputError, match="took longer than 1 seconds"):
        convert_with("import time\ntime.sleep(60)")


def test_missing_command_says_what_to_set(host: PluginHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VENDOR_NPU_COMPILER", raising=False)
    with pytest.raises(InputError, match="no compiler is set"):
        convert(ConvertRequest(model=MODEL, target="VS680"), host)
    monkeypatch.setenv("VENDOR_NPU_COMPILER", "/nowhere/at-all")
    with pytest.raises(InputError, match="cannot start '/nowhere/at-all'"):
        convert(ConvertRequest(model=MODEL, target="VS680"), host)


def test_both_delegates_of_one_name_are_refused_with_the_way_out(host: PluginHost, convert_with: Convert) -> None:
    host.register(importlib.import_module("synap_delegate_npu.plugin"), "delegate-npu")
    with pytest.raises(Exception, match="delegate-npu"):
        convert_with(STAND_IN)
