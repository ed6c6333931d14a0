"""A user's own settings of a target's delegates, in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.metafile.document import Document, load_document
from synap_core.metafile.problems import dotted, kind, suggestion
from synap_core.payloads import Delegate, Target

if TYPE_CHECKING:
    from pydantic import BaseModel

WHAT = "file with parameters of a target"


def with_parameters(target: Target, path: Path, host: PluginHost) -> Target:
    """A target with other settings for its delegates.

    The file maps names of delegates to their settings. Those of a delegate that it does not name stay. The model of a
    delegate's settings is given what they replace as the context of the validation, so that it can refuse those of
    another chip: a mapping with the name of the ``target`` and its own ``parameters`` for the delegate, which are None
    when there are none.

    Args:
        target: The target.
        path: The file, in YAML.
        host: Where the delegates are.

    Raises:
        InputError: The file cannot be read, or names what the target does not have or the delegate does not take.
    """
    document = load_document(path, WHAT)
    able = [n for n in target.delegates if n in host.delegates and host.delegates[n].parameters_model is not None]
    if not document.data:
        msg = "the file has no parameters"
        raise InputError(msg, where=path, hint=f"begin it with one of: {', '.join(able) or 'none'}")
    for name, values in document.data.items():
        if name not in able:
            msg = f"target {target.name} takes no parameters for {name!r}; allowed: {', '.join(able) or 'none'}"
            raise InputError(msg, where=document.where((name,)), hint=suggestion(name, able))
        if not isinstance(values, dict):
            msg = f"parameters of {name!r} must be a mapping, not {kind(values)}"
            raise InputError(msg, where=document.where((name,), value=True))
        _check(host.delegates[name], document, target, host)
    given: dict[str, Mapping[str, object]] = {name: dict(target.parameters[name]) for name in target.parameters}
    given |= {name: values for name, values in document.data.items() if isinstance(values, dict)}
    return replace(target, parameters=given)


def _check(delegate: Delegate, document: Document, target: Target, host: PluginHost) -> None:
    """Let the delegate's own model check its part of the file."""
    from pydantic import ValidationError

    with host.boundary(delegate):
        model: type[BaseModel] | None = None if delegate.parameters_model is None else delegate.parameters_model()
    if model is None:
        return
    context = {"target": target.name, "parameters": target.parameters.get(delegate.name)}
    try:
        model.model_validate(document.data[delegate.name], context=context)
    except ValidationError as error:
        found = sorted(error.errors(include_url=False), key=lambda item: document.offset((delegate.name, *item["loc"])))
        # A misspelt key explains a missing one.
        first = min(found, key=lambda item: item["type"] == "missing")
        place = (delegate.name, *first["loc"])
        unknown = first["type"] == "extra_forbidden"
        missing = first["type"] == "missing"
        own = first["type"] == "value_error"
        what = "unknown parameter" if unknown else "missing parameter" if missing else first["msg"]
        # What a model says of its own accord names the value where that helps.
        what = what.removeprefix("Value error, ") if own else what
        shown = "" if unknown or missing or own else f", got {str(first['input'])[:60]!r}"
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        hint = suggestion(place[-1], model.model_fields) if unknown else None
        msg = f"{dotted(place)}: {what}{shown}{more}"
        raise InputError(msg, where=document.where(place, value=not unknown), hint=hint) from error
