"""Whether an operator means in one operator set what it means in operator set 19."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from synap_frontend_onnx.opsets import MAX_OPSETS, ONLY_OPTIONS_ADDED, REVIEWED_OPSETS, signature
from synap_frontend_onnx.protos import Schema, find_schema

CANONICAL_OPSET = MAX_OPSETS[""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A version of a standard operator against that of operator set 19.

    Attributes:
        since: Version that it came with; 0 for an operator that is not known.
        same: It means the same, as long as `attributes` are all that is given, and the types are admitted.
        attributes: Those of operator set 19.
        inputs: Element types that operator set 19 admits for each operand, as operator definitions write them.
        variadic: The last operand may be repeated.
    """

    since: int
    same: bool = False
    attributes: frozenset[str] = frozenset()
    inputs: tuple[frozenset[str], ...] = ()
    variadic: bool = False

    def obstacle(self, op_type: str, given: Collection[str], dtypes: Sequence[ir.DataType | None]) -> str | None:
        """Why a node cannot be emitted as it is; None when it can.

        Args:
            op_type: The operator.
            given: Names of the node's attributes.
            dtypes: Element types of its operands; None for an absent one.
        """
        if not self.same:
            return f"{op_type} of operator set {self.since} has no counterpart in operator set {CANONICAL_OPSET}"
        extra = sorted(set(given) - self.attributes)
        if extra:
            return f"{op_type} has no attribute {extra[0]!r} in operator set {CANONICAL_OPSET}"
        for position, dtype in enumerate(dtypes):
            if dtype is not None and not self._admits(position, dtype):
                return f"{op_type} of {dtype.name.lower()} needs operator set {self.since}"
        return None

    def _admits(self, position: int, dtype: ir.DataType) -> bool:
        if position >= len(self.inputs) and not self.variadic:
            return False
        allowed = self.inputs[min(position, len(self.inputs) - 1)]
        return f"tensor({dtype.name.lower()})" in allowed


@functools.cache
def definition(op_type: str, version: int) -> Definition:
    """Compare an operator of some version of the standard operator set with that of operator set 19."""
    found, canonical = find_schema(op_type, version, ""), find_schema(op_type, CANONICAL_OPSET, "")
    if found is None:
        return Definition(since=0)
    if canonical is None or canonical.deprecated:
        return Definition(since=found.since_version)
    allowed = {c.type_param_str: frozenset(c.allowed_type_strs) for c in canonical.type_constraints}
    formals = canonical.inputs
    return Definition(
        since=found.since_version,
        same=_means_the_same(op_type, found, canonical),
        attributes=frozenset(canonical.attributes),
        inputs=tuple(allowed.get(formal.type_str, frozenset({formal.type_str})) for formal in formals),
        variadic=bool(formals) and _option(formals[-1]) == "Variadic",
    )


def _means_the_same(op_type: str, found: Schema, canonical: Schema) -> bool:
    if found.since_version == canonical.since_version:
        return True
    if found.since_version < canonical.since_version:
        return _is_part_of(found, canonical)
    if found.since_version > REVIEWED_OPSETS[""]:
        return False
    return op_type in ONLY_OPTIONS_ADDED or signature(found) == signature(canonical)


def _is_part_of(older: Schema, newer: Schema) -> bool:
    """Whether the newer definition only adds what may be left out.

    Where it changed the meaning all the same, a converter is registered for the older one.
    """
    return (
        _are_extended(older.inputs, newer.inputs)
        and _are_extended(older.outputs, newer.outputs)
        and _attributes(older).items() <= _attributes(newer).items()
        and not any(newer.attributes[name].required for name in newer.attributes.keys() - older.attributes.keys())
    )


def _are_extended(older: Sequence[Schema.FormalParameter], newer: Sequence[Schema.FormalParameter]) -> bool:
    if len(older) > len(newer) or any(_option(formal) == "Single" for formal in newer[len(older) :]):
        return False
    pairs = zip(older, newer, strict=False)
    return all(_option(new) in (_option(old), "Optional") for old, new in pairs)


def _option(formal: Schema.FormalParameter) -> str:
    return str(formal.option).rpartition(".")[2]


def _attributes(schema: Schema) -> Mapping[str, tuple[str, str]]:
    return {name: (str(item.type), str(item.default_value)) for name, item in schema.attributes.items()}
