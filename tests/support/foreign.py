"""A frontend for a format that no delegate runs as it is: it reads what others do under a name of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from synap_core.api import Frontend, ModelRequest, SourceModel, hookimpl
from synap_core.host import PluginHost

SUFFIX = ".foreign"
MAGIC = b"FOREIGN:"
"""What such a file begins with; the content of a model follows."""


@dataclass(frozen=True)
class Foreign:
    """A model of another format, said to be ``foreign``."""

    opened: SourceModel
    format: str = "foreign"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.opened, name)

    def slice(self, _: object) -> bytes:
        msg = "nothing runs this format"
        raise AssertionError(msg)


def add_foreign(host: PluginHost) -> PluginHost:
    """Give a host the frontend; behind `MAGIC` it reads ``.tflite`` and ``.onnx`` content."""

    def open_model(request: ModelRequest) -> SourceModel:
        content = request.path.read_bytes().removeprefix(MAGIC)
        name = "tflite" if host.frontends["tflite"].sniff(content[:4096]) else "onnx"
        path = request.path.with_suffix(f".{name}")
        path.write_bytes(content)
        return Foreign(host.frontends[name].open(replace(request, path=path)))

    frontend = Frontend(
        name="foreign",
        summary="Foreign models",
        suffixes=(SUFFIX,),
        sniff=lambda head: head.startswith(MAGIC),
        open=open_model,
    )
    plugin = SimpleNamespace(synap_frontends=hookimpl(specname="synap_frontends")(lambda: [frontend]))
    record = host.register(plugin, "test-foreign")
    assert record.state == "enabled", record.reason
    return host
