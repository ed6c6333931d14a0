"""The plugin host: finds plugins, loads those that may be loaded, and indexes what they register."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar, cast

import pluggy

from synap_core.errors import InputError, PluginError, SynapError
from synap_core.hooks import PROJECT, SynapSpec
from synap_core.payloads import (
    Command,
    Delegate,
    Frontend,
    OutputFormat,
    QuantizationAlgorithm,
    Registration,
    Runtime,
    Target,
)
from synap_core.plugin_policy import NOT_ALLOWED, PluginPolicy, plugin_policy
from synap_core.version import DISTRIBUTION

ENTRY_POINT_GROUP = "synap.plugins"

HOOKS: Mapping[str, type[Registration]] = MappingProxyType(
    {
        "synap_frontends": Frontend,
        "synap_delegates": Delegate,
        "synap_runtimes": Runtime,
        "synap_targets": Target,
        "synap_quantization_algorithms": QuantizationAlgorithm,
        "synap_output_formats": OutputFormat,
        "synap_commands": Command,
    }
)

R = TypeVar("R", bound=Registration)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """A plugin that is installed, loaded or not.

    Attributes:
        name: Entry-point name.
        source: Distribution it comes from; None for one that was registered in this process.
        state: ``enabled``, ``disabled`` or ``failed``.
        reason: Who disabled it, or why it failed; empty when enabled.
        provides: (kind, name) of what it registers; empty unless enabled.
    """

    name: str
    state: str
    source: importlib.metadata.Distribution | None = field(default=None, compare=False)
    reason: str = ""
    provides: tuple[tuple[str, str], ...] = ()

    @property
    def distribution(self) -> str:
        """Name of the distribution it comes from."""
        return "" if self.source is None else _about(self.source)[0]

    @property
    def version(self) -> str:
        """Version of that distribution."""
        return "" if self.source is None else _about(self.source)[1]

    @property
    def kind(self) -> str:
        """Kind of its features; for a plugin that is not loaded, the first word of its name."""
        kinds = sorted({kind for kind, _ in self.provides})
        return ", ".join(kinds) if kinds else self.name.partition("-")[0]


class PluginHost:
    """Everything that plugins offer, by kind and name.

    Args:
        policy: Which plugins may be loaded; all by default.
        group: Entry-point group to search.
    """

    def __init__(self, policy: PluginPolicy | None = None, *, group: str = ENTRY_POINT_GROUP) -> None:
        self.policy = policy or PluginPolicy()
        self.records: list[PluginRecord] = []
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(SynapSpec)
        self._found: dict[type[Registration], dict[str, tuple[Registration, str]]] = {t: {} for t in HOOKS.values()}
        self._conflicts: dict[tuple[str, str], tuple[str, str]] = {}
        self._load(group)

    @classmethod
    def from_environment(cls) -> PluginHost:
        """Load what configuration files and environment variables allow.

        Raises:
            InputError: A configuration file is wrong, or names a plugin that is not installed.
        """
        return cls(plugin_policy())

    @property
    def frontends(self) -> dict[str, Frontend]:
        """Model importers."""
        return self._of(Frontend)

    @property
    def delegates(self) -> dict[str, Delegate]:
        """Processing units."""
        return self._of(Delegate)

    @property
    def runtimes(self) -> dict[str, Runtime]:
        """Host engines."""
        return self._of(Runtime)

    @property
    def targets(self) -> dict[str, Target]:
        """Systems on chip."""
        return self._of(Target)

    @property
    def quantization_algorithms(self) -> dict[str, QuantizationAlgorithm]:
        """Ways to choose quantization parameters."""
        return self._of(QuantizationAlgorithm)

    @property
    def output_formats(self) -> dict[str, OutputFormat]:
        """Ways to write a conversion."""
        return self._of(OutputFormat)

    @property
    def commands(self) -> dict[str, Command]:
        """Extra commands."""
        return self._of(Command)

    def find(self, kind: type[R], name: str) -> R:
        """Look a feature up.

        Raises:
            InputError: No enabled plugin offers it; says who disabled it, or what there is instead.
            PluginError: Two plugins offer it.
        """
        found = self._of(kind)
        if name in found:
            return found[name]
        raise self.missing(kind, name, found)

    @contextlib.contextmanager
    def boundary(self, item: Registration) -> Iterator[None]:
        """Turn an unexpected error in a third party's feature into a `PluginError` that names the plugin.

        An error in a feature of this distribution is our own defect and passes as it is.
        """
        try:
            yield
        except SynapError:
            raise
        except Exception as error:  # plugin boundary: a third party's code may raise anything
            record = self._provider(item)
            if record is None or record.distribution == DISTRIBUTION:
                raise
            msg = f"{item.kind} {item.name!r} failed: {_reason(error)}"
            where = f"plugin {record.name!r} of {record.distribution or 'no distribution'} {record.version}".rstrip()
            hint = f"report it to its authors, or go without it: --disable-plugin {record.name}"
            raise PluginError(msg, where=where, hint=hint) from error

    def _provider(self, item: Registration) -> PluginRecord | None:
        _, plugin = self._found[type(item)].get(item.name, (item, ""))
        return next((record for record in self.records if record.name == plugin), None)

    def missing(self, kind: type[Registration], name: str, available: Iterable[str]) -> SynapError:
        """Explain why no feature of this kind and name is there."""
        if both := self._conflicts.get((kind.kind, name)):
            msg = f"{kind.kind} {name!r} comes from both {both[0]!r} and {both[1]!r}"
            return PluginError(msg, hint=f"disable one of them: --disable-plugin {both[1]}")
        listed = ", ".join(available) or "none"
        for record in self.inactive(kind, name):
            return InputError(f"{kind.kind} {name!r} is not available", hint=_how_to_enable(record))
        msg = f"{kind.kind} {name!r} is not installed; installed: {listed}"
        return InputError(msg, hint=self.explain_inactive(kind) or "'synap plugins' lists what is installed")

    def inactive(self, kind: type[Registration], name: str = "") -> list[PluginRecord]:
        """Disabled or failed plugins that offer such features, going by the naming rule ``<kind>-<name>``."""
        prefix = f"{kind.kind.partition(' ')[0]}-{name.lower().replace('_', '-')}"
        inactive = [record for record in self.records if record.state != "enabled"]
        return [r for r in inactive if r.name == prefix or (not name and r.name.startswith(prefix))]

    def explain_inactive(self, kind: type[Registration]) -> str | None:
        """Clauses about the disabled and failed plugins of a kind, to end an error with; None when there are none."""
        return "; ".join(_how_to_enable(record) for record in self.inactive(kind)) or None

    def register(
        self, plugin: object, name: str, source: importlib.metadata.Distribution | None = None
    ) -> PluginRecord:
        """Register one plugin and collect what it offers; a plugin that breaks is recorded as failed."""
        return self._register(plugin, PluginRecord(name=name, source=source, state="enabled"))

    def _register(self, plugin: object, record: PluginRecord) -> PluginRecord:
        name = record.name
        try:
            provides = self._collect(plugin, name)
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 - plugin boundary: a broken plugin must not take the tool down
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            record = replace(record, state="failed", reason=_reason(error))
        else:
            record = replace(record, provides=tuple(provides))
        self.records.append(record)
        return record

    def listing(self) -> list[PluginRecord]:
        """The plugins, with the conflicts between enabled ones as their reason."""
        reasons: dict[str, str] = {}
        for (kind, name), (first, second) in self._conflicts.items():
            reasons[first] = f"{kind} {name!r} also comes from {second!r}"
            reasons[second] = f"{kind} {name!r} also comes from {first!r}"
        return [replace(r, reason=reasons.get(r.name, r.reason)) for r in self.records]

    def _of(self, kind: type[R]) -> dict[str, R]:
        return {name: cast("R", item) for name, (item, _) in sorted(self._found[kind].items())}

    def _load(self, group: str) -> None:
        points = sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name)
        names = [point.name for point in points]
        self._check_spelling(names)
        for point in points:
            record = PluginRecord(name=point.name, source=point.dist, state="enabled")
            if names.count(point.name) > 1:
                self._record_failure(record, "two distributions declare this name; uninstall one of them")
            elif (source := self.policy.blocked_by(point.name)) is not None:
                self._manager.set_blocked(point.name)
                self.records.append(replace(record, state="disabled", reason=source))
            else:
                self._load_point(point, record)

    def _load_point(self, point: importlib.metadata.EntryPoint, record: PluginRecord) -> None:
        try:
            plugin = point.load()
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 - plugin boundary: see `register`
            self._record_failure(record, _reason(error))
        else:
            self._register(plugin, record)

    def _record_failure(self, record: PluginRecord, reason: str) -> None:
        self.records.append(replace(record, state="failed", reason=reason))

    def _check_spelling(self, installed: list[str]) -> None:
        for source, name in self.policy.mentions():
            if name not in installed:
                hint = _nearest(name, installed) or "'synap plugins' lists the names"
                msg = f"no plugin {name!r} is installed"
                raise InputError(msg, where=source, hint=hint)

    def _collect(self, plugin: object, name: str) -> list[tuple[str, str]]:
        if inspect.isclass(plugin):
            msg = "the entry point is a class; it must be a module or an instance"
            raise PluginError(msg)
        self._manager.register(plugin, name=name)
        callers = self._manager.get_hookcallers(plugin) or []
        for caller in callers:
            if caller.name not in HOOKS:
                msg = f"unknown hook {caller.name!r}"
                raise PluginError(msg, hint=_nearest(caller.name, HOOKS))
        items = [item for caller in callers for item in self._call(caller, name)]
        for item in items:
            self._index(item, name)
        return [(item.kind, item.name) for item in items]

    def _call(self, caller: pluggy.HookCaller, name: str) -> list[Registration]:
        expected = HOOKS[caller.name]
        # Only this plugin's implementation is called, so an error is the fault of nobody else.
        implementation = next(impl for impl in caller.get_hookimpls() if impl.plugin_name == name)
        items = list(cast("Iterable[object]", implementation.function()))
        for item in items:
            if not isinstance(item, expected):
                msg = f"{caller.name} returned {item!r}, which is not a {expected.__name__}"
                raise PluginError(msg)
        return cast("list[Registration]", items)

    def _index(self, item: Registration, plugin: str) -> None:
        found = self._found[type(item)]
        if (item.kind, item.name) in self._conflicts:
            return
        if item.name in found:
            self._conflicts[item.kind, item.name] = (found.pop(item.name)[1], plugin)
            return
        found[item.name] = (item, plugin)


@functools.cache
def _about(source: importlib.metadata.Distribution) -> tuple[str, str]:
    """Name and version; the package parses the metadata anew each time it is asked."""
    metadata = source.metadata
    return metadata["Name"], metadata["Version"]


def _nearest(name: str, known: Iterable[str]) -> str | None:
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else None


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, SynapError) else f"{type(error).__name__}: {error}"


def _how_to_enable(record: PluginRecord) -> str:
    if record.state == "failed":
        return f"plugin {record.name!r} failed to load: {record.reason}"
    if record.reason.endswith(NOT_ALLOWED):
        return f"plugin {record.name!r} is disabled by {record.reason}; add it to that list"
    return f"plugin {record.name!r} is disabled by {record.reason}; enable it with --enable-plugin {record.name}"
