"""Which function imports which layer type."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from synap_core.api import OperatorSupport
from synap_frontend_caffe.inputs import DATA_TYPES, INPUT
from synap_frontend_caffe.network import EVALUATION_TYPES

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_frontend_caffe.importer.call import Call

Converter = Callable[["Call"], "ir.Value | Sequence[ir.Value]"]
"""Emits the nodes of one layer and returns its results, in the order of its tops.

Raises `UnsupportedError` or `GraphError` with a reason: the layer then stays opaque. Raises `InputError` for weights
that are missing or do not fit.
"""

LEFT_OUT = "left out: inference does not need it"
AN_INPUT = "becomes an input of the model"

_CONVERTERS: dict[str, Converter] = {}
_REFUSED: dict[str, str] = {}


class UnsupportedError(Exception):
    """This layer cannot be imported as it is used here; carries the reason."""


def layer(*types: str, least: int = 1, most: int | None = 1) -> Callable[[Converter], Converter]:
    """Register the converter of layer types; a second one for the same type is a mistake.

    Args:
        *types: In the words of Caffe 1.0.
        least: Bottoms that such a layer must have. With fewer or more it stays opaque: variants of Caffe have layers
            of the same type that mean something else then.
        most: Bottoms that it may have; None for any number.
    """

    def register(function: Converter) -> Converter:
        @functools.wraps(function)
        def checked(call: Call) -> ir.Value | Sequence[ir.Value]:
            count = len(call.bottoms)
            if count < least or (most is not None and count > most):
                wanted = f"{least} or more" if most is None else " or ".join(map(str, range(least, most + 1)))
                msg = f"it has {count} bottoms, not {wanted}"
                raise UnsupportedError(msg)
            return function(call)

        _register(checked, types)
        return function

    return register


def _register(converter: Converter, types: Sequence[str]) -> None:
    for name in types:
        if name in _CONVERTERS:
            msg = f"two converters for {name}"
            raise RuntimeError(msg)
        _CONVERTERS[name] = converter


def refuse(reason: str, *types: str) -> None:
    """Register layer types that are known and always stay opaque, and why."""

    def converter(_: Call) -> Sequence[ir.Value]:
        raise UnsupportedError(reason)

    _register(converter, types)
    _REFUSED.update(dict.fromkeys(types, reason))


@functools.cache
def converters() -> Mapping[str, Converter]:
    """All converters by layer type; imports the modules that register them."""
    from synap_frontend_caffe.importer import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    return _CONVERTERS


def unknown(kind: str) -> str:
    """Why a layer without a converter stays opaque."""
    return f"no importer for the layer type {kind}: it is not one of Caffe 1.0"


def operator_table() -> list[OperatorSupport]:
    """What becomes of every layer type that is known, by name."""
    notes = dict.fromkeys(EVALUATION_TYPES, LEFT_OUT) | dict.fromkeys((INPUT, *DATA_TYPES), AN_INPUT)
    found = {name: OperatorSupport(name=name, status="imported", note=note) for name, note in notes.items()}
    found |= {name: _support(name) for name in converters() if name not in notes}
    return [found[name] for name in sorted(found)]


def _support(name: str) -> OperatorSupport:
    note = _REFUSED.get(name, "")
    return OperatorSupport(name=name, status="opaque" if note else "imported", note=note)
