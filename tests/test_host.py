"""The plugin host: loading, failing, disabling, conflicts."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from pydantic import BaseModel

from synap_core.api import (
    Command,
    Delegate,
    Frontend,
    OutputFormat,
    QuantizationAlgorithm,
    Runtime,
    Support,
    Target,
    hookimpl,
)
from synap_core.errors import InputError, PluginError
from synap_core.host import HOOKS, PluginHost, PluginRecord
from synap_core.plugin_policy import PluginPolicy, PolicyLayer

FAKE_GROUP = "synap.fake"


def empty_host() -> PluginHost:
    return PluginHost(group="synap.none")


def plugin(hook: str, *payloads: object) -> object:
    """A plugin object with one hook that returns the payloads."""
    return SimpleNamespace(**{hook: hookimpl(specname=hook)(lambda: list(payloads))})


def frontend(name: str, suffix: str = ".x") -> Frontend:
    return Frontend(name=name, summary=name, suffixes=(suffix,), sniff=bool, open=lambda request: request)  # type: ignore[arg-type, return-value]  # never opened


class TheirDistribution:
    """As much of a distribution as the host looks at."""

    metadata: ClassVar = {"Name": "their-dist", "Version": "2.0"}


def fail(error: Exception) -> None:
    raise error


def fake_records(policy: PluginPolicy | None = None) -> dict[str, PluginRecord]:
    return {record.name: record for record in PluginHost(policy, group=FAKE_GROUP).records}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("frontend-broken-import", "ModuleNotFoundError: No module named 'a_package_that_does_not_exist'"),
        ("frontend-class", "the entry point is a class; it must be a module or an instance"),
        ("frontend-exits", "SystemExit: 3"),
        ("frontend-misspelt", "unknown hook 'synap_frontend'; did you mean 'synap_frontends'?"),
        ("frontend-missing", "ModuleNotFoundError: No module named 'fake_synap_plugins.nowhere'"),
        ("frontend-raises", "RuntimeError: no licence found"),
        ("frontend-wrong-payload", "synap_frontends returned {'name': 'x'}, which is not a Frontend"),
    ],
)
def test_broken_plugin_is_listed_as_failed_with_the_reason(name: str, reason: str) -> None:
    record = fake_records()[name]
    assert (record.state, record.reason) == ("failed", reason)


def test_good_plugins_work_beside_broken_ones() -> None:
    host = PluginHost(group=FAKE_GROUP)
    assert set(host.frontends) == {"good", "own", "shared"}
    record = fake_records()["frontend-good"]
    assert record.distribution == "fake-synap"
    assert record.version == "1.0"
    assert record.provides == (("frontend", "good"),)


def test_disabled_plugin_is_not_imported_and_says_who_disabled_it() -> None:
    policy = PluginPolicy((PolicyLayer(source="SYNAP_DISABLE_PLUGINS", disable=("frontend-exits", "frontend-good")),))
    host = PluginHost(policy, group=FAKE_GROUP)
    record = next(record for record in host.records if record.name == "frontend-good")
    assert (record.state, record.reason) == ("disabled", "SYNAP_DISABLE_PLUGINS")
    match = "frontend 'good' is not available; plugin 'frontend-good' is disabled by SYNAP_DISABLE_PLUGINS"
    with pytest.raises(InputError, match=match):
        host.find(Frontend, "good")


def test_misspelt_plugin_name_in_the_policy_is_an_error() -> None:
    policy = PluginPolicy((PolicyLayer(source="the command line", disable=("frontend-god",)),))
    with pytest.raises(InputError, match="the command line: no plugin 'frontend-god'.*did you mean 'frontend-good'"):
        PluginHost(policy, group=FAKE_GROUP)


def test_missing_feature_lists_what_is_installed() -> None:
    with pytest.raises(InputError, match="frontend 'onyx' is not installed; installed: good, own, shared"):
        PluginHost(group=FAKE_GROUP).find(Frontend, "onyx")


def test_failed_plugin_explains_a_missing_feature() -> None:
    with pytest.raises(InputError, match="plugin 'frontend-raises' failed to load: RuntimeError: no licence found"):
        PluginHost(group=FAKE_GROUP).find(Frontend, "raises")


def test_two_plugins_with_one_feature_name_are_both_refused_it() -> None:
    host = empty_host()
    for name in ("a", "b", "c"):
        host.register(plugin("synap_frontends", frontend("twice"), frontend(f"only-{name}")), name)
    assert set(host.frontends) == {"only-a", "only-b", "only-c"}
    with pytest.raises(PluginError, match="frontend 'twice' comes from both 'a' and 'b'.*--disable-plugin b"):
        host.find(Frontend, "twice")


def test_conflict_is_shown_in_the_listing() -> None:
    host = empty_host()
    host.register(plugin("synap_frontends", frontend("twice")), "a")
    host.register(plugin("synap_frontends", frontend("twice")), "b")
    assert {record.name: record.reason for record in host.listing()} == {
        "a": "frontend 'twice' also comes from 'b'",
        "b": "frontend 'twice' also comes from 'a'",
    }


def test_two_distributions_with_one_entry_point_name_are_both_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("frontend-x", "fake_synap_plugins.good", FAKE_GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point, point])  # noqa: ARG005
    host = PluginHost(group=FAKE_GROUP)
    assert [record.state for record in host.records] == ["failed", "failed"]
    assert "two distributions declare this name" in host.records[0].reason


def test_interrupt_while_loading_is_not_swallowed() -> None:
    def interrupted() -> Iterable[object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        empty_host().register(SimpleNamespace(synap_frontends=hookimpl(specname="synap_frontends")(interrupted)), "p")


@pytest.mark.parametrize(
    ("hook", "payload"),
    [
        ("synap_frontends", frontend("f")),
        (
            "synap_delegates",
            Delegate(
                name="d",
                summary="",
                formats=frozenset(),
                support=lambda *_: Support(ok=True),
                compile=lambda _: None,  # type: ignore[arg-type, return-value]  # never called
            ),
        ),
        ("synap_runtimes", Runtime(name="r", summary="", load=lambda _: None)),  # type: ignore[arg-type, return-value]
        ("synap_targets", Target(name="T", summary="", delegates=("d",))),
        (
            "synap_quantization_algorithms",
            QuantizationAlgorithm(name="q", summary="", options_model=lambda: BaseModel, load=lambda _: None),  # type: ignore[arg-type, return-value]  # never called
        ),
        ("synap_output_formats", OutputFormat(name="o", summary="", write=lambda *_: None, primary="x")),
        ("synap_commands", Command(name="c", summary="", load=lambda: None)),  # type: ignore[arg-type, return-value]
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_hook_reaches_its_registry(hook: str, payload: object) -> None:
    host = empty_host()
    record = host.register(plugin(hook, payload), "p")
    assert record.state == "enabled", record.reason
    assert host.find(HOOKS[hook], payload.name) is payload  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: frontend("has blank"), "other characters"),
        (lambda: frontend("f", "x"), "lower-case suffixes"),
        (lambda: frontend("f", ".X"), "lower-case suffixes"),
        (lambda: Target(name="T", summary="", delegates=()), "has no delegate"),
        (lambda: Target(name="low", summary="", delegates=("cpu",)), "upper-case"),
    ],
    ids=["blank", "no dot", "upper suffix", "no delegates", "lower target"],
)
def test_payload_is_validated_when_it_is_built(build: object, problem: str) -> None:
    with pytest.raises(PluginError, match=problem):
        build()  # type: ignore[operator]


def test_unknown_capability_is_refused() -> None:
    with pytest.raises(PluginError, match="unknown capabilities: levitation"):
        Delegate(
            name="d",
            summary="",
            formats=frozenset(),
            support=lambda *_: Support(ok=True),
            compile=lambda _: None,  # type: ignore[arg-type, return-value]  # never called
            capabilities=frozenset({"levitation"}),
        )


def test_unexpected_error_of_a_third_party_names_the_plugin() -> None:
    host = empty_host()
    item = frontend("f")
    host.register(plugin("synap_frontends", item), "frontend-f", TheirDistribution())  # type: ignore[arg-type]  # enough
    match = "plugin 'frontend-f' of their-dist 2.0: frontend 'f' failed: KeyError: 'x'; .*--disable-plugin frontend-f"
    with pytest.raises(PluginError, match=match), host.boundary(item):
        fail(KeyError("x"))
    with pytest.raises(InputError, match="^x$"), host.boundary(item):
        fail(InputError("x"))


def test_unexpected_error_of_our_own_is_not_disguised(host: PluginHost) -> None:
    with pytest.raises(KeyError, match="x"), host.boundary(host.frontends["tflite"]):
        fail(KeyError("x"))


def test_every_built_in_plugin_loads(host: PluginHost) -> None:
    assert [record for record in host.records if record.state != "enabled"] == []
    assert {"GENERIC", "SL1620", "DVF120", "VS640", "VS680", "SL1640", "SL1680"} <= set(host.targets)


def test_plugin_folders_all_have_an_entry_point() -> None:
    import tomllib

    root = Path(__file__).parents[1]
    points = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]["synap.plugins"]
    used = {value.partition(".")[0] for value in points.values()}
    folders = {path.name for path in (root / "plugins").glob("*/synap_*") if path.is_dir()}
    assert used == folders
