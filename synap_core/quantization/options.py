"""Validate the ``options`` of a quantization with the model that its algorithm brings along."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel, ValidationError

from synap_core.errors import InputError, PluginError
from synap_core.metafile.problems import dotted, show, suggestion, unknown_key
from synap_core.payloads import QuantizationAlgorithm

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from synap_core.metafile import Metafile

PLACE = ("quantization", "options")

_OUR_WORDS = (("Input should", "it should"), ("be an object", "be a mapping"), ("a valid array", "a list"))
"""Words of the validator, which thinks that it reads JSON, and those of the metafile."""

Path = tuple[str | int, ...]


def load_options(meta: Metafile, algorithm: QuantizationAlgorithm) -> BaseModel:
    """Options of an algorithm, as a metafile gives them; a key without a value is as good as no key.

    Raises:
        InputError: An option is unknown or has a value that is not allowed. The message starts with
            ``file:line:column`` of the first problem, says what is allowed, and counts the other problems.
        PluginError: The algorithm's model lets unknown keys pass.
    """
    model = algorithm.options_model()
    if model.model_config.get("extra") != "forbid":
        msg = f"{algorithm.kind} {algorithm.name!r} has a model of its options that does not refuse unknown keys"
        raise PluginError(msg)
    given = {} if meta.quantization is None else _without_nulls(meta.quantization.options)
    try:
        # As JSON, so that nothing but lists and numbers changes its type: text is no boolean.
        return model.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise _problem(error, meta, algorithm, model, given) from error


def _without_nulls(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def _problem(
    error: ValidationError, meta: Metafile, algorithm: QuantizationAlgorithm, model: type[BaseModel], given: object
) -> InputError:
    items = error.errors(include_url=False)
    # An unknown key explains a missing one, and no kind of a value that may be of several kinds.
    item = min(items, key=lambda item: (item["type"] == "missing", len(_given_path(item, given)) == 0))
    path = _given_path(item, given)
    message, hint = _words(item, path, algorithm, model)
    if others := len({_given_path(other, given) for other in items} - {path}):
        more = f" (and {others} more)"
        message, hint = (f"{message}{more}", None) if hint is None else (message, f"{hint}{more}")
    return InputError(message, where=meta.where(*PLACE, *path) or None, hint=hint)


def _given_path(item: ErrorDetails, given: object) -> Path:
    """Place of a problem in the options; the validator's names of alternatives in it are left out."""
    path: list[str | int] = []
    for part in item["loc"]:
        inner = _item(given, part)
        if inner is not None:
            given = inner
            path.append(part)
    return tuple(path)


def _item(value: object, key: str | int) -> object:
    if isinstance(value, Mapping):
        return value.get(key)
    return value[key] if isinstance(value, list) and isinstance(key, int) else None


def _words(
    item: ErrorDetails, path: Path, algorithm: QuantizationAlgorithm, model: type[BaseModel]
) -> tuple[str, str | None]:
    """Message and hint."""
    place = dotted((*PLACE, *path))
    if item["type"] == "extra_forbidden":
        error = unknown_key(str(path[-1]), dotted((*PLACE, *path[:-1])), _keys(model, path[:-1]))
        return f"{error.message} (with algorithm {algorithm.name!r})", error.hint
    if item["type"] == "missing":
        return f"mandatory field {item['loc'][-1]!r} is missing in {place}", None
    own = item.get("ctx", {}).get("error")
    rule = str(own) if isinstance(own, ValueError) else item["msg"]
    for word, ours in _OUR_WORDS:
        rule = rule.replace(word, ours, 1)
    allowed = re.findall(r"'([^']*)'", rule) if item["type"] in ("literal_error", "enum") else ()
    return f"invalid {place} {show(item['input'])}: {rule}", suggestion(item["input"], allowed)


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> tuple[str, ...]:
    """Keys of the section at a place in the options."""
    sections = [model]
    for part in path:
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        sections = [found for field in fields for found in _models(field.annotation)] if fields else sections
    return tuple(dict.fromkeys(key for section in sections for key in section.model_fields))


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """Models in an annotation such as ``Section | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
