"""Which plugins may be loaded: configuration files, environment and options folded into one answer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synap_core.errors import InputError

SYSTEM_CONFIG = Path("/etc/synap/synap.toml")
CONFIG_NAME = "synap.toml"
MAX_CONFIG_BYTES = 1 << 20
NOT_ALLOWED = "(not in its list of allowed plugins)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLayer:
    """What one source says about plugins.

    Attributes:
        source: The source, as the user knows it.
        disable: Plugins it turns off.
        enable: Plugins it turns on again.
        only: The only plugins it allows; None for no such list.
    """

    source: str
    disable: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PluginPolicy:
    """The layers, weakest first."""

    layers: tuple[PolicyLayer, ...] = ()
    _verdicts: dict[str, str | None] = field(default_factory=dict, compare=False, repr=False)

    def blocked_by(self, name: str) -> str | None:
        """Tell which source turned a plugin off; None when it may be loaded.

        A stronger layer overrides a weaker one. Within a layer, disabling wins.
        """
        if name not in self._verdicts:
            self._verdicts[name] = self._fold(name)
        return self._verdicts[name]

    def _fold(self, name: str) -> str | None:
        verdict: str | None = None
        for layer in self.layers:
            if name in layer.enable:
                verdict = None
            if layer.only is not None and name not in layer.only:
                verdict = f"{layer.source} {NOT_ALLOWED}"
            if name in layer.disable:
                verdict = layer.source
        return verdict

    def mentions(self) -> Iterable[tuple[str, str]]:
        """Yield every (source, plugin name) that some layer names, for spell checking."""
        for layer in self.layers:
            for name in (*layer.disable, *layer.enable, *(layer.only or ())):
                yield layer.source, name


def plugin_policy(
    environ: Mapping[str, str] | None = None, folder: Path | None = None, options: PolicyLayer | None = None
) -> PluginPolicy:
    """Fold configuration files < working folder < environment < command-line options.

    Args:
        environ: Environment variables; those of the process by default.
        folder: The working folder; the process's by default.
        options: What the command line says.

    Raises:
        InputError: A configuration file cannot be read or says something it may not say.
    """
    environ = os.environ if environ is None else environ
    layers = [*_file_layers(environ, folder or _working_folder()), *_environment_layers(environ)]
    return PluginPolicy((*layers, options) if options else tuple(layers))


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:  # it was removed: then no file is in it
        return Path("/nonexistent")


def split_names(text: str) -> tuple[str, ...]:
    """Split a list of names at commas and blanks."""
    return tuple(text.replace(",", " ").split())


def _environment_layers(environ: Mapping[str, str]) -> list[PolicyLayer]:
    layers = []
    if disable := split_names(environ.get("SYNAP_DISABLE_PLUGINS", "")):
        layers.append(PolicyLayer(source="SYNAP_DISABLE_PLUGINS", disable=disable))
    if enable := split_names(environ.get("SYNAP_ENABLE_PLUGINS", "")):
        layers.append(PolicyLayer(source="SYNAP_ENABLE_PLUGINS", enable=enable))
    if "SYNAP_PLUGINS" in environ:
        layers.append(PolicyLayer(source="SYNAP_PLUGINS", only=split_names(environ["SYNAP_PLUGINS"])))
    return layers


def _file_layers(environ: Mapping[str, str], folder: Path) -> list[PolicyLayer]:
    if chosen := environ.get("SYNAP_CONFIG"):
        if not Path(chosen).is_file():
            msg = f"configuration file {chosen!r} not found"
            raise InputError(msg, where="SYNAP_CONFIG", hint="unset SYNAP_CONFIG or name an existing file")
        return [_file_layer(Path(chosen), ("plugins",))]
    trusted = [_file_layer(path, ("plugins",)) for path in (SYSTEM_CONFIG, user_config(environ)) if path.is_file()]
    return [*trusted, *_working_folder_layers(folder)]


def user_config(environ: Mapping[str, str]) -> Path:
    """Path of the user's own configuration file, whether it exists or not."""
    home = environ.get("HOME") or environ.get("USERPROFILE") or "/"
    if base := environ.get("XDG_CONFIG_HOME") or environ.get("APPDATA"):
        return Path(base) / "synap" / CONFIG_NAME
    return Path(home) / ".config" / "synap" / CONFIG_NAME


def _working_folder_layers(folder: Path) -> list[PolicyLayer]:
    if (folder / CONFIG_NAME).is_file():
        layer = _file_layer(folder / CONFIG_NAME, ("plugins",))
    elif (folder / "pyproject.toml").is_file():
        layer = _file_layer(folder / "pyproject.toml", ("tool", "synap", "plugins"))
    else:
        return []
    # A folder that was merely downloaded must not switch on what the user or the machine switched off.
    if layer.enable or layer.only is not None:
        msg = "a file in the working folder may only 'disable' plugins, not 'enable' or list the 'only' ones"
        raise InputError(msg, where=layer.source, hint=f"move it to {user_config(os.environ)}")
    return [layer]


def _file_layer(path: Path, table: tuple[str, ...]) -> PolicyLayer:
    import tomllib

    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            msg = f"larger than {MAX_CONFIG_BYTES} bytes"
            raise InputError(msg, where=path)
        node: object = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        msg = f"cannot read this configuration file: {error}"
        raise InputError(msg, where=path) from error
    _check_tables(path, node, table)
    for key in table:
        node = node.get(key, {}) if isinstance(node, dict) else {}
    if not isinstance(node, dict):
        msg = f"[{'.'.join(table)}] must be a table"
        raise InputError(msg, where=path)
    return _layer_from_table(str(path), node)


def _check_tables(path: Path, node: object, table: tuple[str, ...]) -> None:
    """A misspelt table must not leave a plugin on; only a file of our own has to hold nothing else."""
    for key in table[:-1]:
        node = node.get(key, {}) if isinstance(node, dict) else {}
    unknown = next((key for key in node if key != table[-1]), None) if isinstance(node, dict) else None
    if unknown is not None:
        msg = f"unknown table {unknown!r}; allowed: {table[-1]}"
        raise InputError(msg, where=path)


def _layer_from_table(source: str, table: dict[str, object]) -> PolicyLayer:
    lists: dict[str, tuple[str, ...]] = {}
    for key, value in table.items():
        if key not in {"disable", "enable", "only"}:
            msg = f"unknown key {key!r} in [plugins]; allowed: disable, enable, only"
            raise InputError(msg, where=source)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            msg = f"{key!r} in [plugins] must be a list of plugin names, not {value!r}"
            raise InputError(msg, where=source)
        lists[key] = tuple(value)
    return PolicyLayer(
        source=source, disable=lists.get("disable", ()), enable=lists.get("enable", ()), only=lists.get("only")
    )
