"""Mistakes of plugins: each is blamed on the plugin that makes it, in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from synap_core.api import Command, Frontend, OutputFormat, Runtime, Target, hookimpl
from synap_core.bundle_report.gather import gather
from synap_core.bundle_writer import pack_bundle
from synap_core.convert import ConvertRequest, convert, write
from synap_core.errors import InputError, PluginError, SynapError
from synap_core.host import PluginHost
from synap_core.layer_support import layer_support
from synap_core.network import Network
from synap_core.payloads import Delegate
from synap_core.plugin_policy import PluginPolicy, PolicyLayer
from tests.support.hosts import stand_in_delegate, without
from tests.support.tflite_models import six
from tests.support.toy_source import six_graph

WriteModel = Callable[..., Path]
FROM_THEM = "plugin 'theirs' of no distribution"


def crash(*_: object) -> Any:
    msg = "oops"
    raise ZeroDivisionError(msg)


def host_with(hook: str, *payloads: object) -> PluginHost:
    """The installed plugins, and one of a third party."""
    host = PluginHost(without(*(f"delegate-{item.name}" for item in payloads if isinstance(item, Delegate))))
    record = host.register(SimpleNamespace(**{hook: hookimpl(specname=hook)(lambda: payloads)}), "theirs")
    assert record.state == "enabled", record.reason
    return host


def toy(**changes: Any) -> Frontend:
    return Frontend(
        **{"name": "toy", "summary": "", "suffixes": (".toy",), "sniff": bool, "open": lambda _: six_graph()} | changes
    )


def convert_toy(host: PluginHost, path: Path) -> object:
    return convert(ConvertRequest(model=path, target="SL1620"), host)


class Lazy:
    """A source model that fails when it is looked at."""

    def __getattr__(self, name: str) -> object:
        return crash()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sniff": crash}, f"{FROM_THEM}: frontend 'toy' failed: ZeroDivisionError: oops; .*--disable-plugin theirs"),
        ({"open": crash}, f"{FROM_THEM}: frontend 'toy' failed: ZeroDivisionError: oops"),
        ({"open": lambda _: None}, f"{FROM_THEM}: frontend 'toy' failed: AttributeError: 'NoneType' object"),
        ({"open": lambda _: Lazy()}, f"{FROM_THEM}: frontend 'toy' failed: ZeroDivisionError"),
        ({"open": lambda _: replace(six_graph(), tensors={})}, "frontend 'toy': tensors lacks 'x'"),
        ({"open": lambda _: replace(six_graph(), layers=[3])}, "frontend 'toy': layers holds something else"),
    ],
)
def test_frontend(model_file: WriteModel, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        convert_toy(host_with("synap_frontends", toy(**changes)), model_file(b"x", "net.toy"))


def test_frontend_that_slices_badly_is_blamed_rather_than_the_delegate(model_file: WriteModel) -> None:
    for broken, message in ((crash, "frontend 'toy' failed: ZeroDivisionError"), (lambda _: None, "slice.. returned")):
        source = six_graph()
        source.slice = broken  # type: ignore[method-assign]  # a model that breaks
        host = host_with("synap_frontends", toy(open=lambda _, source=source: source))
        with pytest.raises(PluginError, match=message):
            convert_toy(host, model_file(b"x", "net.toy"))


@pytest.mark.parametrize(
    ("method", "broken", "message"),
    [
        ("canonical", crash, "frontend 'toy' failed: ZeroDivisionError"),
        ("canonical", lambda _: b"x", "canonical.. returned bytes, not a model"),
        ("support", crash, "frontend 'toy' failed: ZeroDivisionError"),
        ("support", lambda: ["imported"], "support.. lists something else"),
    ],
)
def test_frontend_that_imports_badly_is_blamed(
    model_file: WriteModel, method: str, broken: Callable[..., Any], message: str
) -> None:
    source = six_graph()
    setattr(source, method, broken)
    host = host_with("synap_frontends", toy(open=lambda _: source))
    path = model_file(b"x", "net.toy")
    request = ConvertRequest(model=path, target="SL1620", whole_graph=True)
    asked: dict[str, Callable[[], object]] = {
        "canonical": lambda: convert(request, host),
        "support": lambda: layer_support(host, path),
    }
    with pytest.raises(PluginError, match=message):
        asked[method]()


def test_file_that_a_frontend_cannot_read_is_no_mistake_of_the_frontend(model_file: WriteModel) -> None:
    def unreadable(_: object) -> Any:
        raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match="net.toy: cannot read the model: Input/output error"):
        convert_toy(host_with("synap_frontends", toy(open=unreadable)), model_file(b"x", "net.toy"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"support": crash}, f"{FROM_THEM}: delegate 'npu' failed: ZeroDivisionError"),
        ({"support": lambda *_: None}, "delegate 'npu' returned None, which is not a Support"),
        ({"compile": crash}, f"{FROM_THEM}: delegate 'npu' failed: ZeroDivisionError"),
        ({"compile": lambda _: b"x"}, "delegate 'npu' returned b'x', which is not a Artifact"),
    ],
)
def test_delegate(model_file: WriteModel, changes: dict[str, Any], message: str) -> None:
    delegate: Delegate = replace(stand_in_delegate("npu"), **changes)
    request = ConvertRequest(model=model_file(six()), target="VS680")
    with pytest.raises(PluginError, match=message):
        convert(request, host_with("synap_delegates", delegate))


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (crash, f"{FROM_THEM}: runtime 'toy' failed: ZeroDivisionError"),
        (lambda _: None, f"{FROM_THEM}: runtime 'toy' failed: AttributeError"),
        (lambda _: SimpleNamespace(notes=(), run=crash), f"{FROM_THEM}: runtime 'toy' failed: ZeroDivisionError"),
        (lambda _: SimpleNamespace(notes=(), run=lambda _: None), f"{FROM_THEM}: runtime 'toy' failed: TypeError"),
        (
            lambda _: SimpleNamespace(notes=(), run=lambda _: [1, 2]),
            "runtime 'toy' returned something else than arrays",
        ),
        (lambda _: SimpleNamespace(notes=None, run=crash), f"{FROM_THEM}: runtime 'toy' failed: TypeError"),
    ],
)
def test_runtime(host: PluginHost, model_file: WriteModel, load: Any, message: str) -> None:
    content = pack_bundle(convert(ConvertRequest(model=model_file(six()), target="SL1620"), host).conversion)
    theirs = host_with("synap_runtimes", Runtime(name="toy", summary="", load=load))
    with pytest.raises(PluginError, match=message):
        Network(_on_toy(content), host=theirs, isolate=False).predict([np.zeros((1, 4), np.float32)])


def _on_toy(content: bytes) -> bytes:
    import io
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info).replace(b'"tflite gpu=0 "', b'"toy"'))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("writer", "message"),
    [
        (crash, f"{FROM_THEM}: output format 'toy' failed: ZeroDivisionError"),
        (lambda *_: None, "output format 'toy' did not write its file 'x.txt'"),
    ],
)
def test_output_format(host: PluginHost, model_file: WriteModel, tmp_path: Path, writer: Any, message: str) -> None:
    conversion = convert(ConvertRequest(model=model_file(six()), target="SL1620"), host).conversion
    output = OutputFormat(name="toy", summary="", write=writer, primary="x.txt")
    out = tmp_path / "out"
    with pytest.raises(PluginError, match=message):
        write(conversion, output, out, host_with("synap_output_formats", output))
    assert list(out.iterdir()) == []


def test_command_that_cannot_be_loaded() -> None:
    command = Command(name="bad", summary="", load=crash)
    host = host_with("synap_commands", command)
    with pytest.raises(PluginError, match=f"{FROM_THEM}: command 'bad' failed"), host.boundary(command):
        command.load()


def test_every_inactive_plugin_of_a_kind_is_named() -> None:
    policy = PluginPolicy((PolicyLayer(source="the operator", disable=("target-vs680", "target-vs640")),))
    error: SynapError = PluginHost(policy).missing(Target, "DOLPHIN", ["SL1620"])
    assert "plugin 'target-vs640' is disabled by the operator" in str(error)
    assert "plugin 'target-vs680' is disabled by the operator" in str(error)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (crash, f"{FROM_THEM}: runtime 'theirs' failed: ZeroDivisionError: oops"),
        (lambda _: {"operations": []}, "runtime 'theirs' returned .*, which is not a ProgramDescription"),
    ],
)
def test_runtime_that_describes_badly(tmp_path: Path, broken: Callable[..., Any], message: str) -> None:
    runtime = Runtime(name="theirs", summary="", load=crash, describe=broken)
    (tmp_path / "net.bin").write_bytes(b"x")
    tensor = '{"0": {"name": "x", "shape": [1], "dtype": "int8"}}'
    (tmp_path / "net.json").write_text(f'{{"Inputs": {tensor}, "Outputs": {tensor}, "delegate": "theirs"}}')
    with pytest.raises(PluginError, match=message):
        gather(tmp_path / "net.bin", tmp_path / "net.json", host_with("synap_runtimes", runtime))
