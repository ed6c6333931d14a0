"""What can be wrong with a field, worded for the person who wrote it."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

_KINDS = {
    "bool": "a boolean",
    "dict": "a mapping",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "NoneType": "nothing",
    "str": "text",
}

DataPath = tuple[str | int, ...]
"""Place of a value in the data: keys of mappings and positions in lists, outermost first."""

MAX_SUGGESTED = 64
"""Longest word that a suggestion is sought for; comparing words takes time quadratic in their length."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60
_REPR.maxlevel = 2


class FieldError(ValueError):
    """A value that the metafile language does not allow.

    Args:
        message: What is wrong, the offending value and what is allowed.
        hint: What to write instead.
        at: Place of the offending part within the field being validated.
        where: Its ``file:line:column`` when that is in another file than the field.
        key: The key is wrong, rather than its value.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, at: DataPath = (), where: str | None = None, key: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.at = at
        self.where = where
        self.key = key


@contextmanager
def inside(*path: str | int) -> Iterator[None]:
    """Add the place of a value to the errors that are found in it."""
    try:
        yield
    except FieldError as error:
        error.at = (*path, *error.at)
        raise


def show(value: object) -> str:
    """Write a value as Python would (booleans and nothing as YAML would), cut to fit in a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _REPR.repr(value)


def clip(text: str, limit: int = 200) -> str:
    """Cut a text to a length that fits in a message."""
    return text if len(text) <= limit else f"{text[:limit]}..."


def kind(value: object) -> str:
    """Name the kind of a value as a user would: ``a list``, ``a mapping``."""
    return _KINDS.get(type(value).__name__, "something else")


def dotted(path: Sequence[str | int]) -> str:
    """Write a place in the data as ``inputs[0].means``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{clip(part, 60)}" for part in path)
    return text.lstrip(".") or "the metafile"


def suggestion(word: object, allowed: Iterable[str]) -> str | None:
    """Ask whether the nearest allowed word was meant; None when none is near.

    Case and the difference between ``-`` and ``_`` do not count.
    """
    if not isinstance(word, str) or len(word) > MAX_SUGGESTED:
        return None
    folded = {_fold(candidate): candidate for candidate in allowed if candidate}
    close = difflib.get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    return f"did you mean {folded[close[0]]!r}?" if close else None


def _fold(word: str) -> str:
    return word.strip().casefold().replace("-", "_")


def not_allowed(what: str, value: object, allowed: Sequence[str], *, at: DataPath = ()) -> FieldError:
    """Make the error for a word that is not in a closed list."""
    words = ", ".join(word or "''" for word in allowed)
    return FieldError(f"invalid {what} {show(value)}; allowed: {words}", hint=suggestion(value, allowed), at=at)


def unknown_key(key: str, place: str, allowed: Sequence[str], elsewhere: Mapping[str, str] | None = None) -> FieldError:
    """Make the error for a key that a section does not have.

    Args:
        key: The key.
        place: The section, as the user knows it.
        allowed: Keys that the section has.
        elsewhere: Section that each key of the other sections belongs to.
    """
    home = (elsewhere or {}).get(key)
    hint = suggestion(key, allowed) if home is None else f"{key!r} belongs in {home}"
    message = f"Invalid field(s): unknown key {show(key)} in {place}; allowed: {', '.join(allowed)}"
    return FieldError(message, hint=hint, at=(key,), key=True)
