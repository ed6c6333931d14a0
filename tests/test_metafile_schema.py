"""The JSON Schema of the metafile language."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synap_core.metafile import metafile_schema
from tests.support.metafile_texts import DELEGATES, load, refusal

SECTIONS = ("InputEntry", "OutputEntry", "Preprocess", "Quantization", "Security")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema, after a round trip through JSON text."""
    found: dict[str, Any] = json.loads(json.dumps(metafile_schema(delegates=DELEGATES)))
    return found


def sections(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"Metafile": schema, **schema["$defs"]}


def choices(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a field, nested ones spread out."""
    return [leaf for part in field["anyOf"] for leaf in (choices(part) if "anyOf" in part else [part])]


def accepts(rule: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    """Judge a value as JSON Schema does, for the keywords that occur here; any other one is an error."""
    judges: dict[str, Callable[[Any], bool]] = {
        "anyOf": lambda wanted: any(accepts(part, schema, value) for part in wanted),
        "not": lambda wanted: not accepts(wanted, schema, value),
        "const": lambda wanted: value == wanted and isinstance(value, bool) == isinstance(wanted, bool),
        "enum": lambda wanted: value in wanted,
        "type": lambda wanted: is_type(value, wanted),
        "pattern": lambda wanted: not isinstance(value, str) or re.search(wanted, value) is not None,
        "minLength": lambda wanted: not isinstance(value, str) or len(value) >= wanted,
        "minimum": lambda wanted: not is_type(value, "number") or value >= wanted,
        "maximum": lambda wanted: not is_type(value, "number") or value <= wanted,
        "minItems": lambda wanted: not isinstance(value, list) or len(value) >= wanted,
        "maxItems": lambda wanted: not isinstance(value, list) or len(value) <= wanted,
        "required": lambda wanted: not isinstance(value, dict) or set(wanted) <= set(value),
        "propertyNames": lambda wanted: (
            not isinstance(value, dict) or all(accepts(wanted, schema, key) for key in value)
        ),
        "if": lambda wanted: not accepts(wanted, schema, value) or accepts(rule["then"], schema, value),
        "$ref": lambda wanted: accepts(schema["$defs"][wanted.removeprefix("#/$defs/")], schema, value),
    }
    members = {"properties", "additionalProperties", "prefixItems", "items"}
    about = {"title", "description", "default", "format", "then", "$schema", "$defs"}
    own = all(judges[word](wanted) for word, wanted in rule.items() if word not in members | about)
    return own and all(accepts(part, schema, item) for part, item in member_rules(rule, value))


def member_rules(rule: dict[str, Any], value: Any) -> list[tuple[dict[str, Any], Any]]:
    never: dict[str, Any] = {"not": {}}
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        known, others = rule.get("properties", {}), rule.get("additionalProperties", True)
        pairs = [(known.get(key, others), item) for key, item in value.items()]
    if isinstance(value, list):
        first, rest = rule.get("prefixItems", []), rule.get("items", True)
        pairs = [(first[i] if i < len(first) else rest, item) for i, item in enumerate(value)]
    return [({} if part is True else never if part is False else part, item) for part, item in pairs]


def is_type(value: Any, name: str) -> bool:
    types: dict[str, type | tuple[type, ...]] = {
        "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
        "integer": int, "number": (int, float),
    }  # fmt: skip
    return isinstance(value, types[name]) and (name == "boolean" or not isinstance(value, bool))


def test_dialect_is_2020_12(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["$defs"]) == set(SECTIONS)


def test_every_field_is_described_and_no_other_is_allowed(schema: dict[str, Any]) -> None:
    for name, section in sections(schema).items():
        assert section["additionalProperties"] is False, name
        for key, field in section["properties"].items():
            assert len(field["description"]) > 15, f"{name}.{key}"


def test_only_the_preprocessing_type_is_mandatory(schema: dict[str, Any]) -> None:
    required = {name: section["required"] for name, section in sections(schema).items() if "required" in section}
    assert required == {"Preprocess": ["type"]}


@pytest.mark.parametrize(
    ("section", "field", "words"),
    [
        ("Metafile", "data_layout", ["default", "nchw", "nhwc"]),
        ("InputEntry", "security", ["any", "secure", "non-secure"]),
        ("OutputEntry", "security", ["secure-if-input-secure", "any"]),
        (
            "Preprocess",
            "type",
            ["", "none", "yuv444", "yuv420", "nv12", "nv21", "gray", "rgb", "bgra", "rgb888p", "rgb888p3", "float32"],
        ),
        ("Quantization", "data_type", ["uint8", "int8", "int16", "float16"]),
        (
            "Quantization",
            "scheme",
            ["default", "asymmetric_affine", "dynamic_fixed_point", "perchannel_symmetric_affine"],
        ),
        ("Quantization", "mode", ["standard", "full"]),
        ("Quantization", "algorithm", ["standard", "moving_average", "kl_divergence", "auto"]),
    ],
)
def test_words_are_enumerated(schema: dict[str, Any], section: str, field: str, words: list[str]) -> None:
    assert choices(sections(schema)[section]["properties"][field])[0]["enum"] == words


def test_delegates_follow_what_is_installed() -> None:
    schema = metafile_schema(delegates=["a.b", "x-1"])
    texts = ("", "default", "a.b", "x-1 fast", " fast", "acb", "x-12", "cpu")
    assert [accepts(schema, schema, {"delegate": text}) for text in texts] == [True] * 5 + [False] * 3


# Judged alone: what depends on other fields or files is not the schema's business.
ACCEPTED = (
    "{}",
    '{"delegate": "cpu num_threads=2"}',
    '{"delegate": {"*": "cpu", "1": "gpu cache_dir=/x", "@a": null, "b...": ""}}',
    '{"data_layout": "nhwc", "optimize": false, "dequantize_outputs": true, "custom": [1, {"a": null}]}',
    '{"inputs": [null, {}]}',
    '{"inputs": [{"name": "a", "shape": [-1, 2], "means": [1, 2.5], "scale": -0.5, "format": "rgb"}]}',
    '{"inputs": [{"shape": [1, 2], "means": 0, "scale": null, "custom": 5, "security": "secure"}]}',
    '{"inputs": [{"preprocess": {"type": "nv12", "size": [480, 640], "crop": true}}]}',
    '{"inputs": [{"preprocess": {"type": null, "size": {"h": 480, "w": 640}, "crop": [1, 2, 3, 4]}}]}',
    '{"outputs": [{"name": "a", "shape": [], "dequantize": true, "security": "any"}]}',
    '{"quantization": {"data_type": {"*": "int16", "a": "float16"}, "mode": "full", "options": {"x": [1]}}}',
    '{"quantization": {"data_type": "int8", "dataset": "random", "algorithm": "auto"}}',
    '{"quantization": {"dataset": ["a/*.jpg"]}, "inputs": [null]}',
    '{"security": {"secure": false, "file": "none.yaml"}}',
    '{"delegate": null, "inputs": null, "outputs": null, "quantization": null, "security": null, "optimize": null}',
)

REFUSED = (
    '{"Delegate": "cpu"}',
    '{"delegate": "auto"}',
    '{"delegate": 5}',
    '{"delegate": {"a": "NPU"}}',
    '{"delegate": {"": "cpu"}}',
    '{"data_layout": "hwc"}',
    '{"optimize": "yes"}',
    '{"inputs": {}}',
    '{"inputs": [5]}',
    '{"inputs": [{"mean": 1}]}',
    '{"inputs": [{"name": "a"}]}',
    '{"inputs": [{"name": 5}]}',
    '{"inputs": [{"shape": [1]}]}',
    '{"inputs": [{"shape": [1, 0]}]}',
    '{"inputs": [{"shape": [1, 2.5]}]}',
    '{"inputs": [{"means": []}]}',
    '{"inputs": [{"means": ["a"]}]}',
    '{"inputs": [{"scale": 0}]}',
    '{"inputs": [{"scale": true}]}',
    '{"inputs": [{"preprocess": {}}]}',
    '{"inputs": [{"preprocess": {"type": "NV12"}}]}',
    '{"inputs": [{"preprocess": {"type": "rgb", "size": [1]}}]}',
    '{"inputs": [{"preprocess": {"type": "rgb", "size": {"h": 1}}}]}',
    '{"inputs": [{"preprocess": {"type": "rgb", "crop": [1, 2, 3]}}]}',
    '{"outputs": [{"dequantize": 1}]}',
    '{"outputs": [{"security": "secure"}]}',
    '{"quantization": {"data_type": "float32"}}',
    '{"quantization": {"data_type": {"a": null}}}',
    '{"quantization": {"dataset": [5]}}',
    '{"quantization": {"dataset": ""}}',
    '{"quantization": {"options": []}}',
    '{"security": {"key": "x"}}',
)


@pytest.mark.parametrize("text", ACCEPTED)
def test_schema_and_loader_accept_the_same(tmp_path: Path, schema: dict[str, Any], text: str) -> None:
    assert accepts(schema, schema, json.loads(text))
    assert load(tmp_path, text).where() == f"{tmp_path}/m.yaml:1:1"


@pytest.mark.parametrize("text", REFUSED)
def test_schema_and_loader_refuse_the_same(tmp_path: Path, schema: dict[str, Any], text: str) -> None:
    assert not accepts(schema, schema, json.loads(text))
    assert refusal(tmp_path, text).startswith("m.yaml:1:")
