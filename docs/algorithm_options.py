"""Tables of the options of quantization algorithms, from the pydantic models that they are validated with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

Row = tuple[str, ...]
Models = Mapping[str, type[BaseModel]]

LIMITS = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below"))
"""Words of JSON Schema for the ends of a range, and those of a page."""


def tables(models: Models, path: str = "options") -> Iterator[tuple[Row, list[Row]]]:
    """Yield a table of the keys at a place in the metafile, and one for each mapping among them.

    Args:
        models: What each algorithm takes there, by its name.
        path: The place.

    Yields:
        The headers and the rows; keys that several algorithms share are one row.
    """
    found: dict[Row, list[str]] = {}
    mappings: dict[str, dict[str, type[BaseModel]]] = {}
    for algorithm, model in models.items():
        for name, schema in model.model_json_schema()["properties"].items():
            kind = model.model_fields[name].annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                mappings.setdefault(name, {})[algorithm] = kind
            else:
                row = (name, allowed(schema), shown(schema.get("default")), schema.get("description", ""))
                found.setdefault(row, []).append(algorithm)
    rows: list[Row] = [
        (f"`{name}`", ", ".join(f"`{algorithm}`" for algorithm in algorithms), *cells)
        for (name, *cells), algorithms in sorted(found.items(), key=lambda item: item[0][0])
    ]
    if all(len(algorithms) == len(models) for algorithms in found.values()):
        yield (f"Key of `{path}`", "Value", "Default", "Meaning"), [(row[0], *row[2:]) for row in rows]
    else:
        yield (f"Key of `{path}`", "With", "Value", "Default", "Meaning"), rows
    for name, inner in mappings.items():
        yield from tables(inner, f"{path}: {name}")


def allowed(schema: Mapping[str, Any]) -> str:
    """Values that the JSON Schema of an option allows, in words.

    >>> allowed({"anyOf": [{"type": "boolean"}, {"const": "auto"}]})
    '`true`, `false`, `auto`'
    >>> allowed({"type": "number", "exclusiveMinimum": 50, "maximum": 100})
    'number above 50 to 100'
    """
    if "anyOf" in schema:
        return ", ".join(allowed(part) for part in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(map(shown, schema.get("enum", [schema.get("const")])))
    if schema["type"] == "boolean":
        return "`true`, `false`"
    limits = "".join(f" {word} {schema[key]:,g}" for key, word in LIMITS if key in schema)
    return f"{schema['type']}{limits}"


def shown(value: object) -> str:
    """A value as a metafile has it.

    >>> shown(True), shown("mse"), shown(8192)
    ('`true`', '`mse`', '`8192`')
    """
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
