"""What becomes of each operator in the canonical graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from synap_core.api import OperatorSupport
from synap_frontend_onnx.importer.definitions import CANONICAL_OPSET, definition
from synap_frontend_onnx.importer.registry import entries, find
from synap_frontend_onnx.protos import Schema, all_schemas, has_body

FIRST_OPSET = 7
"""Older operator sets are imported where their operators mean the same."""

AS_IS, CONVERTED, BODY, OPAQUE = "as is", "converted", "function body", "opaque"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """Versions of an operator that are treated alike.

    Attributes:
        name: The operator, its domain in front when that is not the standard one.
        since: Versions of the operator set that changed its definition.
        how: ``as is``, ``converted``, ``function body`` (it is defined by other operators, which are imported) or
            ``opaque``.
        note: The reason why it is opaque; otherwise what its converter says of it.
    """

    name: str
    since: tuple[int, ...]
    how: str
    note: str = ""


def operator_table() -> list[OperatorRow]:
    """All operators that the ``onnx`` package or the importer knows, by name, older versions first."""
    versions: dict[tuple[str, str], list[Schema]] = {}
    for schema in all_schemas():
        versions.setdefault((schema.domain, schema.name), []).append(schema)
    rows = [row for schemas in versions.values() for row in _rows(schemas)]
    for (domain, name), found in entries().items():
        if (domain, name) not in versions:
            rows += [_row_without_schema(domain, name, since) for since in sorted(found)]
    return sorted(rows, key=lambda row: (row.name, row.since))


def operators() -> Sequence[OperatorSupport]:
    """One entry for each operator: as its newest version."""
    newest = {row.name: row for row in operator_table()}
    return [
        OperatorSupport(
            name=row.name,
            status=OPAQUE if row.how == OPAQUE else "imported",
            note=row.note if row.how == OPAQUE else "",
        )
        for row in newest.values()
    ]


def _rows(schemas: Sequence[Schema]) -> Iterator[OperatorRow]:
    ordered = sorted(schemas, key=lambda schema: schema.since_version)
    # The definition that operator set 7 has may have come before it.
    first = max((s.since_version for s in ordered if s.since_version <= FIRST_OPSET), default=0)
    current = [schema for schema in ordered if schema.since_version >= first or schema.domain]
    for (how, note), group in groupby(current, key=_treatment):
        since = tuple(schema.since_version for schema in group)
        yield OperatorRow(name=_name(schemas[0].domain, schemas[0].name), since=since, how=how, note=note)


def _treatment(schema: Schema) -> tuple[str, str]:
    domain, name = schema.domain, schema.name
    version = schema.since_version if domain else max(schema.since_version, FIRST_OPSET)
    entry = find(domain, name, version)
    if entry is not None and entry.reason:
        return OPAQUE, entry.reason
    if entry is not None and entry.convert is not None:
        return CONVERTED, _first_line(entry.convert.__doc__)
    if not domain and (name == "Constant" or definition(name, version).same):
        return AS_IS, ""
    return (BODY, "") if has_body(schema) else (OPAQUE, f"it has no counterpart in operator set {CANONICAL_OPSET}")


def _row_without_schema(domain: str, name: str, since: int) -> OperatorRow:
    entry = entries()[domain, name][since]
    convert = entry.convert
    how = OPAQUE if entry.reason else CONVERTED
    return OperatorRow(
        name=_name(domain, name), since=(since,), how=how, note=entry.reason or _first_line(convert and convert.__doc__)
    )


def _name(domain: str, name: str) -> str:
    return f"{domain}.{name}" if domain else name


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0].rstrip(".")
