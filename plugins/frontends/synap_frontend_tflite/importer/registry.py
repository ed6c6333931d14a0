"""Which function imports which operator."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from synap_core.api import OperatorSupport
from synap_frontend_tflite.reader import operator_names

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_frontend_tflite.importer.operator import Operator

Result = "ir.Value | Sequence[ir.Value]"
Converter = Callable[["Operator"], "ir.Value | Sequence[ir.Value]"]
"""Emits the nodes of one operator and returns its results, in the order of its outputs.

Raises `UnsupportedError` or `GraphError` with a reason: the layer then stays opaque.
"""

CUSTOM = "CUSTOM:"
"""What the type of a custom operator begins with; its name follows."""

_CONVERTERS: dict[str, Converter] = {}


_REFUSED: dict[str, str] = {}


class UnsupportedError(Exception):
    """This operator cannot be imported as it is used here; carries the reason."""


def operator(*types: str) -> Callable[[Converter], Converter]:
    """Register the converter of operators; a second one for the same operator is a mistake."""

    def register(function: Converter) -> Converter:
        for name in types:
            if name in _CONVERTERS:
                msg = f"two converters for {name}"
                raise RuntimeError(msg)
            _CONVERTERS[name] = function
        return function

    return register


def refuse(reason: str, *types: str) -> None:
    """Register operators that are known and always stay opaque, and why."""

    def converter(_: Operator) -> Sequence[ir.Value]:
        raise UnsupportedError(reason)

    operator(*types)(converter)
    _REFUSED.update(dict.fromkeys(types, reason))


def converters() -> Mapping[str, Converter]:
    """All converters by operator type; imports the modules that register them."""
    from synap_frontend_tflite.importer import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    return _CONVERTERS


def unknown(kind: str) -> str:
    """Why an operator without a converter stays opaque."""
    if kind.startswith(CUSTOM):
        return f"custom operator {kind.removeprefix(CUSTOM)!r} is known to no importer"
    return f"no importer for the operator {kind}"


def operator_table() -> list[OperatorSupport]:
    """What becomes of every builtin operator of the schema, by name; then of the custom operators that are known."""
    known = converters()
    names = sorted(operator_names() | set(known), key=lambda name: (name.startswith(CUSTOM), name))
    return [_support(name, name in known) for name in names]


def _support(name: str, known: bool) -> OperatorSupport:
    if not known:
        return OperatorSupport(name=name, status="unknown", note=unknown(name))
    note = _REFUSED.get(name, "")
    return OperatorSupport(name=name, status="opaque" if note else "imported", note=note)
