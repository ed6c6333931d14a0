"""Which function imports which operator, from which version on."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_frontend_onnx.importer.call import Call

MICROSOFT = "com.microsoft"
"""Domain of the operators that ONNX Runtime adds."""

Convert = Callable[["Call"], "ir.Value | Sequence[ir.Value | None]"]
"""Emits the nodes of one operator and returns its results, in the order of its outputs; None for one that is absent.

Raises `UnsupportedError` or `GraphError` with a reason: the layer then stays opaque.
"""


class UnsupportedError(Exception):
    """This operator cannot be imported as it is used here; carries the reason."""


class UnknownOperatorError(UnsupportedError):
    """Nothing is known about this operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What to do with an operator from one version on.

    Attributes:
        since: First version of the operator set.
        convert: Imports it; None when it is emitted as it is, or stays opaque.
        reason: Why it always stays opaque; empty otherwise.
        quantized: The function takes operands that stand for stored integers as the real numbers they are.
    """

    since: int
    convert: Convert | None = None
    reason: str = ""
    quantized: bool = False


_ENTRIES: dict[tuple[str, str], dict[int, Entry]] = {}
"""By domain and name, then by first version."""


def operator(name: str, *, since: int, domain: str = "", quantized: bool = False) -> Callable[[Convert], Convert]:
    """Register the function for an operator from a version on; a second one for it is a mistake."""

    def register(function: Convert) -> Convert:
        _add(domain, name, Entry(since=since, convert=function, quantized=quantized))
        return function

    return register


def as_is(since: int, *names: str) -> None:
    """Say that operators mean from a version on what they mean in operator set 19."""
    for name in names:
        _add("", name, Entry(since=since))


def opaque(reason: str, *names: str, domain: str = "") -> None:
    """Say that operators always stay opaque, and why."""
    for name in names:
        _add(domain, name, Entry(since=1, reason=reason))


def find(domain: str, name: str, version: int) -> Entry | None:
    """The newest entry for an operator of a version; None when there is none."""
    found = entries().get((domain, name), {})
    since = max((first for first in found if first <= version), default=None)
    return None if since is None else found[since]


@functools.cache
def entries() -> Mapping[tuple[str, str], Mapping[int, Entry]]:
    """All entries; imports the modules that register them."""
    from synap_frontend_onnx.importer import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    return _ENTRIES


def _add(domain: str, name: str, entry: Entry) -> None:
    versions = _ENTRIES.setdefault((domain, name), {})
    if entry.since in versions:
        msg = f"two entries for {name} from version {entry.since} on"
        raise RuntimeError(msg)
    versions[entry.since] = entry
