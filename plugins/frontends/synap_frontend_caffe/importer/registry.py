"""Which function imports which layer type."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from synap_core.api import OperatorSupport
from synap_frontend_caffe.inputs import DATA_TYPES, INPUT
from synap_frontend_caffe.network import EVALUATION_TYPES, SILENCE

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_frontend_caffe.importer.call import Call

Converter = Callable[["Call"], "ir.Value | Sequence[ir.Value]"]
"""Emits the nodes of one layer and returns its results, in the order of its tops.

Raises `UnsupportedError` or `GraphError` with a reason: the layer then stays opaque. Raises `InputError` for weights
that are missing or do not fit.
"""

MAX_ITEMS = 1 << 28
"""Items of one tensor, 1 GiB: more than any board can hold, and a small file can ask for any number."""

LEFT_OUT = "left out: inference does not need it"
AN_INPUT = "becomes an input of the model"

_CONVERTERS: dict[str, Converter] = {}
_REFUSED: dict[str, str] = {}


class UnsupportedError(Exception):
    """This layer cannot be imported as it is used here; carries the reason."""


class MissingOperandError(UnsupportedError):
    """This layer cannot be imported because one before it cannot."""


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

        for name in types:
            _check_new(name)
            _CONVERTERS[name] = checked
        return function

    return register


def refuse(reason: str, *types: str) -> None:
    """Register layer types that are known and always stay opaque, and why."""
    for name in types:
        _check_new(name)
        _REFUSED[name] = reason


def _check_new(name: str) -> None:
    if name in _CONVERTERS or name in _REFUSED:
        msg = f"{name} is registered twice"
        raise RuntimeError(msg)


@functools.cache
def _load() -> None:
    """Import the modules that register layer types."""
    from synap_frontend_caffe.importer import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")


def is_known(kind: str) -> bool:
    """Tell whether a layer type is imported, or refused by name."""
    _load()
    return kind in _CONVERTERS or kind in _REFUSED


def converter_of(kind: str) -> Converter:
    """The converter of a layer type.

    Raises:
        UnsupportedError: There is none, or the type always stays opaque.
    """
    _load()
    found = _CONVERTERS.get(kind)
    if found is None:
        raise UnsupportedError(_REFUSED.get(kind, f"no importer for the layer type {kind}: it is not one of Caffe 1.0"))
    return found


def operator_table() -> list[OperatorSupport]:
    """What becomes of every layer type that is known, by name."""
    notes = dict.fromkeys((SILENCE, *EVALUATION_TYPES), LEFT_OUT) | dict.fromkeys((INPUT, *DATA_TYPES), AN_INPUT)
    found = {name: OperatorSupport(name=name, status="imported", note=note) for name, note in notes.items()}
    _load()
    found |= {name: OperatorSupport(name=name, status="imported") for name in _CONVERTERS}
    found |= {name: OperatorSupport(name=name, status="opaque", note=reason) for name, reason in _REFUSED.items()}
    return [found[name] for name in sorted(found)]
