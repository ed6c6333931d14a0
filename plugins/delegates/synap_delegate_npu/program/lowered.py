"""Functions of operations, kept from one compilation to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator

import onnx_ir as ir

from synap_core.api import Cache
from synap_delegate_npu.program.body import DOMAIN, Attributes, Body
from synap_delegate_npu.program.fingerprint import code_version, of_group, of_tensor
from synap_delegate_npu.program.program import Operation
from synap_delegate_npu.program.protos import FunctionProto


class LoweredFunctions:
    """Lowers operations, or takes what an earlier compilation made of the same ones.

    Args:
        cache: Where functions are kept; None to keep none.
    """

    def __init__(self, cache: Cache | None) -> None:
        self._cache = cache

    def function(self, operation: Operation, overload: str, attributes: Attributes, names: list[str]) -> ir.Function:
        """The function of an operation.

        Args:
            operation: The operation.
            overload: Tells it from other functions of its operator.
            attributes: Attributes that define it.
            names: Names of all attributes of its node.
        """
        if self._cache is None:
            return _lowered(operation, overload, names)
        key = Cache.key(DOMAIN, code_version(), *_parts(operation, attributes))
        stored = self._cache.get(key)
        if stored is not None:
            found = ir.serde.deserialize_function(FunctionProto.FromString(stored))
            return ir.Function(DOMAIN, operation.type, overload, graph=found.graph, attributes=_declared(names))
        made = _lowered(operation, overload, names)
        self._cache.put(key, ir.to_proto(made).SerializeToString(deterministic=True))
        return made


def _lowered(operation: Operation, overload: str, names: list[str]) -> ir.Function:
    body = Body(len(operation.form.inputs))
    outputs = operation.form.lower(body, body.inputs)
    return body.function(operation.type, overload, outputs, names)


def _declared(names: list[str]) -> list[ir.Attr]:
    return [ir.Attr(name, ir.AttributeType.UNDEFINED, None) for name in names]


def _parts(operation: Operation, attributes: Attributes) -> Iterator[str]:
    """All that the function of an operation depends on."""
    defining = {key: list(value) if isinstance(value, tuple) else value for key, value in attributes.items()}
    yield json.dumps([operation.type, operation.exact, defining], sort_keys=True)
    for tensor in (*operation.form.inputs, *operation.outputs):
        yield of_tensor(tensor)
    yield from of_group(operation.group)
