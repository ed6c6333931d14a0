"""Load a metafile, or say in one line what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from synap_core.errors import InputError
from synap_core.metafile.advice import warnings_for
from synap_core.metafile.document import Document, load_document
from synap_core.metafile.entries import InputEntry, LoadContext, OutputEntry, Preprocess
from synap_core.metafile.model import Metafile, Quantization, Security
from synap_core.metafile.problems import DataPath, FieldError, dotted, unknown_key
from synap_core.metafile.substitute import FileVariables
from synap_core.metafile.vocabulary import ALGORITHMS, PREPROCESS_TYPES

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

METAFILE = "model metafile"

NUMERIC_KEYS: tuple[DataPath, ...] = (("delegate",), ("quantization", "data_type"))
"""Mappings from layers, which may be written as operator indices."""

SECTIONS: dict[tuple[str, ...], tuple[str, ...]] = {
    place: tuple(model.model_fields)
    for place, model in (
        ((), Metafile),
        (("inputs",), InputEntry),
        (("inputs", "preprocess"), Preprocess),
        (("outputs",), OutputEntry),
        (("quantization",), Quantization),
        (("security",), Security),
    )
}
"""Keys of every section, by its place; positions in lists are left out."""


def load_metafile(
    path: Path,
    *,
    delegates: Collection[str],
    algorithms: Collection[str] = ALGORITHMS,
    explain: Callable[[str], str | None] = lambda _: None,
) -> Metafile:
    """Load a metafile.

    Args:
        path: The file.
        delegates: Names of the delegates that may be named in it.
        algorithms: Names of the quantization algorithms that may be named in it.
        explain: Says how to get a quantization algorithm that is not among them, given its name; None when there is
            no way.

    Raises:
        InputError: It is missing or wrong. The message starts with ``file:line:column`` of the first problem, names
            the allowed values and the nearest one, and counts the other problems.
    """
    document = load_document(path, METAFILE, NUMERIC_KEYS)
    folder = path.absolute().parent
    context = LoadContext(
        folder=folder,
        delegates=frozenset(delegates),
        algorithms=tuple(algorithms),
        explain=explain,
        files=FileVariables(folder),
    )
    try:
        metafile = Metafile.model_validate(document.data, context=context)
    except ValidationError as error:
        raise _first_problem(error, document) from error
    metafile.attach(document, warnings_for(metafile, document))
    return metafile


def default_metafile() -> Metafile:
    """Make the metafile that stands for none: every field has its default."""
    return Metafile()


def _first_problem(error: ValidationError, document: Document) -> InputError:
    items = error.errors(include_url=False, include_input=False)
    # A missing key has no place of its own, and a misspelt one explains it better.
    placed = [(item["type"] == "missing", _offset(item, document), item) for item in items]
    item = min(placed, key=lambda entry: entry[:2])[2]
    problem = _problem(item)
    message, hint = problem.message, problem.hint
    if len(items) > 1:
        more = f" (and {len(items) - 1} more)"
        message, hint = (f"{message}{more}", None) if hint is None else (message, f"{hint}{more}")
    path = (*_place(item), *problem.at)
    where = problem.where or document.where(path, value=not problem.key)
    return InputError(message, where=where, hint=hint)


def _place(item: ErrorDetails) -> DataPath:
    """Place of the section or value that was validated; an unknown key adds itself."""
    return item["loc"][:-1] if item["type"] == "extra_forbidden" else item["loc"]


def _offset(item: ErrorDetails, document: Document) -> int:
    problem = _problem(item)
    return document.offset((*_place(item), *problem.at), value=not problem.key)


def _problem(item: ErrorDetails) -> FieldError:
    own = item.get("ctx", {}).get("error")
    if isinstance(own, FieldError):
        return own
    path = item["loc"]
    section = SECTIONS.get(tuple(part for part in path[:-1] if isinstance(part, str)), ())
    if item["type"] == "extra_forbidden":
        return unknown_key(str(path[-1]), dotted(path[:-1]), section, _homes())
    if item["type"] == "missing":
        # A preprocessing type is the only thing that a section cannot do without.
        message = f"mandatory field {path[-1]!r} is missing in {dotted(path[:-1])}"
        return FieldError(message, hint=f"add one of {', '.join(filter(None, PREPROCESS_TYPES))}", key=True)
    return FieldError(f"{dotted(path)}: {item['msg']}")


def _homes() -> dict[str, str]:
    """Name the section that each key belongs to; the outermost when several have it."""
    homes: dict[str, str] = {}
    for place, keys in SECTIONS.items():
        for key in keys:
            homes.setdefault(key, dotted(place))
    return homes
