"""The metafile language as a JSON Schema, for editors."""

from __future__ import annotations

import re
from collections.abc import Collection

from synap_core.metafile.delegate import allowed_delegates
from synap_core.metafile.model import Metafile
from synap_core.metafile.vocabulary import ALGORITHMS, DEFAULT_DELEGATE

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NULL = {"type": "null"}
_ABOUT = ("title", "description", "default")
"""What a property says about itself, rather than about its value."""


def metafile_schema(*, delegates: Collection[str], algorithms: Collection[str] = ALGORITHMS) -> dict[str, object]:
    """Describe the metafile language.

    Args:
        delegates: Names of the delegates that exist.
        algorithms: Names of the quantization algorithms that exist.

    Returns:
        A JSON Schema (draft 2020-12). It checks single values and unknown keys; what depends on several fields or on
        other files is left to `load_metafile`.
    """
    schema = Metafile.model_json_schema()
    schema["$defs"].pop("DelegateRule")
    properties = schema["properties"]
    properties["delegate"] = {
        "description": properties["delegate"]["description"],
        "default": DEFAULT_DELEGATE,
        **_delegate_schema(allowed_delegates(delegates)),
    }
    schema["$defs"]["Quantization"]["properties"]["algorithm"]["enum"] = list(algorithms)
    for field in ("inputs", "outputs"):
        properties[field]["items"] = {"anyOf": [properties[field]["items"], _NULL]}
    for section in (schema, *schema["$defs"].values()):
        section["properties"] = {name: _nullable(value) for name, value in section["properties"].items()}
    return {"$schema": DIALECT, **schema}


def _delegate_schema(names: Collection[str]) -> dict[str, object]:
    # A hyphen needs no escape outside brackets, and the dialect's regular expressions do not know one.
    choice = "|".join(re.escape(name).replace(r"\-", "-") for name in names)
    text = {"type": "string", "pattern": rf"^({choice})?( [\s\S]*)?$"}
    rules = {"type": "object", "additionalProperties": {"anyOf": [text, _NULL]}, "propertyNames": {"minLength": 1}}
    return {"anyOf": [text, rules]}


def _nullable(field: dict[str, object]) -> dict[str, object]:
    """Allow null: a key without a value is as good as no key."""
    about = {key: value for key, value in field.items() if key in _ABOUT}
    rest = {key: value for key, value in field.items() if key not in _ABOUT}
    if not rest:
        return field
    choices = rest.get("anyOf", [rest])
    if not isinstance(choices, list) or _NULL in choices:
        return field
    return {**about, "anyOf": [*choices, _NULL]}
