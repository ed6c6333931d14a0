"""Switching plugins by configuration file, environment and option."""

from __future__ import annotations

from pathlib import Path

import pytest

from synap_core import plugin_policy as policy_module
from synap_core.errors import InputError
from synap_core.plugin_policy import PluginPolicy, PolicyLayer, plugin_policy


def layers(*values: PolicyLayer) -> PluginPolicy:
    return PluginPolicy(values)


def test_nothing_is_blocked_by_default() -> None:
    assert PluginPolicy().blocked_by("frontend-tflite") is None


@pytest.mark.parametrize(
    ("stack", "verdict"),
    [
        ((PolicyLayer(source="a", disable=("p",)),), "a"),
        ((PolicyLayer(source="a", disable=("p",)), PolicyLayer(source="b", enable=("p",))), None),
        ((PolicyLayer(source="a", enable=("p",)), PolicyLayer(source="b", disable=("p",))), "b"),
        ((PolicyLayer(source="a", enable=("p",), disable=("p",)),), "a"),
        ((PolicyLayer(source="a", only=("q",)),), "a (not in its list of allowed plugins)"),
        ((PolicyLayer(source="a", only=("p",)),), None),
        ((PolicyLayer(source="a", only=()),), "a (not in its list of allowed plugins)"),
        ((PolicyLayer(source="a", only=("q",)), PolicyLayer(source="b", enable=("p",))), None),
        ((PolicyLayer(source="a", disable=("p",)), PolicyLayer(source="b", only=("p",))), "a"),
    ],
    ids=["disable", "enable later", "disable later", "both", "not allowed", "allowed", "none allowed", "over", "kept"],
)
def test_stronger_layers_override_weaker_ones(stack: tuple[PolicyLayer, ...], verdict: str | None) -> None:
    assert layers(*stack).blocked_by("p") == verdict


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_sources_are_folded_from_the_machine_to_the_command_line(tmp_path: Path) -> None:
    system = write(policy_module.SYSTEM_CONFIG, '[plugins]\ndisable = ["a", "b", "c", "d", "e"]\n')
    user = write(tmp_path / "config/synap/synap.toml", '[plugins]\nenable = ["b"]\n')
    work = tmp_path / "work"
    local = write(work / "synap.toml", '[plugins]\ndisable = ["f"]\n')
    environ = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "SYNAP_ENABLE_PLUGINS": "c",
        "SYNAP_DISABLE_PLUGINS": "g, h",
    }
    policy = plugin_policy(environ, work, PolicyLayer(source="the command line", enable=("d",)))
    verdicts = {name: policy.blocked_by(name) for name in "abcdefgh"}
    assert verdicts == {
        "a": str(system),
        "b": None,
        "c": None,
        "d": None,
        "e": str(system),
        "f": str(local),
        "g": "SYNAP_DISABLE_PLUGINS",
        "h": "SYNAP_DISABLE_PLUGINS",
    }
    assert str(user) in {layer.source for layer in policy.layers}


def test_chosen_configuration_replaces_the_other_files(tmp_path: Path) -> None:
    write(policy_module.SYSTEM_CONFIG, '[plugins]\ndisable = ["a"]\n')
    chosen = write(tmp_path / "chosen.toml", '[plugins]\nonly = ["a"]\n')
    policy = plugin_policy({"SYNAP_CONFIG": str(chosen)}, tmp_path)
    assert policy.blocked_by("a") is None
    assert policy.blocked_by("b") == f"{chosen} (not in its list of allowed plugins)"


def test_empty_allow_list_in_the_environment_allows_nothing(tmp_path: Path) -> None:
    assert plugin_policy({"SYNAP_PLUGINS": ""}, tmp_path).blocked_by("a") is not None


def test_pyproject_of_the_working_folder_may_disable(tmp_path: Path) -> None:
    path = write(tmp_path / "pyproject.toml", '[tool.synap.plugins]\ndisable = ["a"]\n')
    assert plugin_policy({}, tmp_path).blocked_by("a") == str(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("synap.toml", '[plugins]\nenable = ["a"]\n', "may only 'disable'"),
        ("synap.toml", "[plugins]\nonly = []\n", "may only 'disable'"),
        ("pyproject.toml", '[tool.synap.plugins]\nenable = ["a"]\n', "may only 'disable'"),
        ("synap.toml", "[plugins]\ndisabled = []\n", "unknown key 'disabled'.*allowed: disable, enable, only"),
        ("synap.toml", '[plugins]\ndisable = "a"\n', "must be a list of plugin names, not 'a'"),
        ("synap.toml", "[plugins\n", "cannot read this configuration file"),
        ("synap.toml", "plugins = 3\n", "must be a table"),
        ("synap.toml", '[plugin]\ndisable = ["a"]\n', "unknown table 'plugin'; allowed: plugins"),
        ("pyproject.toml", "[tool.synap.plugin]\n", "unknown table 'plugin'; allowed: plugins"),
        ("synap.toml", "a = " + "[" * 10_000, "cannot read this configuration file"),
    ],
)
def test_wrong_configuration_ends_in_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(InputError, match=message) as caught:
        plugin_policy({}, tmp_path)
    assert str(caught.value).startswith(str(path))


def test_missing_chosen_configuration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SYNAP_CONFIG: configuration file '.*nowhere.toml' not found"):
        plugin_policy({"SYNAP_CONFIG": str(tmp_path / "nowhere.toml")}, tmp_path)
