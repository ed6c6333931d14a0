"""Which function imports which operator."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from synap_core.api import OperatorSupport

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_frontend_tensorflow.importer.call import Call

Converter = Callable[["Call"], "ir.Value | Sequence[ir.Value]"]
"""Emits the nodes of one operator and returns its results, in the order of its outputs.

Raises `UnsupportedError` or `GraphError` with a reason: the layer then stays opaque.
"""

CONSTANT = "Const"
"""The one operator without a converter: it is no call, but an operand of others."""

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

    def converter(_: Call) -> Sequence[ir.Value]:
        raise UnsupportedError(reason)

    operator(*types)(converter)
    _REFUSED.update(dict.fromkeys(types, reason))


@functools.cache
def converters() -> Mapping[str, Converter]:
    """All converters by operator; imports the modules that register them."""
    from synap_frontend_tensorflow.importer import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    return _CONVERTERS


def unknown(kind: str) -> str:
    """Why an operator without a converter stays opaque."""
    return f"no importer for the operator {kind}"


def operator_table() -> list[OperatorSupport]:
    """What becomes of every operator that is known, by name."""
    return [_support(name) for name in sorted({*converters(), CONSTANT})]


def _support(name: str) -> OperatorSupport:
    note = _REFUSED.get(name, "")
    return OperatorSupport(name=name, status="opaque" if note else "imported", note=note)
