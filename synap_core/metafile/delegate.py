"""The ``delegate`` field: which delegate runs which layers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from synap_core.metafile.problems import DataPath, FieldError, kind, not_allowed, show
from synap_core.metafile.vocabulary import DEFAULT_DELEGATE, EVERY_LAYER

SYNONYMS = {"auto": DEFAULT_DELEGATE}
"""Words that a tutorial uses for a delegate that has another name."""


@dataclass(frozen=True, slots=True)
class DelegateRule:
    """Assigns layers to a delegate.

    Attributes:
        pattern: The layers: a name, an operator index, ``@layerId``, ``name...``, ``INPUTS`` or ``*``.
        type: Name of the delegate; ``default`` lets the target choose.
        options: Text for the runtime, as written.
    """

    pattern: str
    type: str = DEFAULT_DELEGATE
    options: str = ""


DEFAULT_RULES = (DelegateRule(EVERY_LAYER),)


def delegate_rules(value: object, delegates: Collection[str] | None) -> tuple[DelegateRule, ...]:
    """Turn the value of the field into rules, in the order written.

    Args:
        value: Text, or a mapping of patterns to text; None stands for empty text.
        delegates: Names of delegates that are allowed besides ``default``; None allows any.

    Raises:
        FieldError: It is something else, or names another delegate.
    """
    if not isinstance(value, dict):
        return (_rule(EVERY_LAYER, value, delegates, ()),)
    if "" in value:
        msg = "a delegate rule has an empty layer name"
        raise FieldError(msg, hint="write '*' for all layers", at=("",), key=True)
    return tuple(_rule(pattern, text, delegates, (pattern,)) for pattern, text in value.items()) or DEFAULT_RULES


def _rule(pattern: str, text: object, delegates: Collection[str] | None, at: DataPath) -> DelegateRule:
    if text is None:
        return DelegateRule(pattern)
    if not isinstance(text, str):
        msg = f"a delegate must be text, not {kind(text)} {show(text)}"
        raise FieldError(msg, hint=f"allowed: {', '.join(allowed_delegates(delegates or ()))}", at=at)
    # Everything behind the first blank belongs to the runtime, further blanks included.
    name, _, options = text.partition(" ")
    name = name or DEFAULT_DELEGATE
    if delegates is not None and name not in (allowed := allowed_delegates(delegates)):
        error = not_allowed("delegate type", name, allowed, at=at)
        if name in SYNONYMS:
            error.hint = f"did you mean {SYNONYMS[name]!r}?"
        raise error
    return DelegateRule(pattern, name, options)


def allowed_delegates(delegates: Collection[str]) -> tuple[str, ...]:
    """Words that the field allows: ``default``, then the delegates by name."""
    return (DEFAULT_DELEGATE, *sorted(set(delegates) - {DEFAULT_DELEGATE}))
