"""Hosts with stand-ins for features that are not part of this distribution yet, or that a test controls."""

from __future__ import annotations

from types import SimpleNamespace

from synap_core.api import Delegate, hookimpl, native_delegate
from synap_core.host import PluginHost
from synap_core.plugin_policy import PluginPolicy, PolicyLayer


def stand_in_delegate(name: str) -> Delegate:
    """A delegate that runs anything natively, under a name that targets know."""
    return native_delegate(name=name, summary="stand-in", runtimes={"tflite": "tflite"})


def without(*plugins: str) -> PluginPolicy:
    """A policy by which some plugins are not loaded."""
    return PluginPolicy((PolicyLayer(source="the test", disable=plugins),))


def host_with(*delegates: Delegate) -> PluginHost:
    """The installed plugins and some delegates, in the place of those that have their names."""
    host = PluginHost(without(*(f"delegate-{delegate.name}" for delegate in delegates)))
    hook = hookimpl(specname="synap_delegates")(lambda: list(delegates))
    record = host.register(SimpleNamespace(synap_delegates=hook), "test-delegates")
    assert record.state == "enabled", record.reason
    return host
