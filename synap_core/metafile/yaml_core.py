"""YAML 1.2 with the core schema, on top of PyYAML's parser."""

from __future__ import annotations

import re

from yaml.composer import Composer, ComposerError
from yaml.error import MarkedYAMLError
from yaml.nodes import Node
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from synap_core.errors import InputError
from synap_core.metafile.problems import FieldError, clip, show
from synap_core.metafile.substitute import SourceText

MAX_DEPTH = 32
"""How deep mappings and lists may be nested."""

MAX_NODES = 100_000
"""Most values in a file, each counted as often as an alias repeats it."""

MAX_CHARACTERS = 1 << 22
"""Most characters of all values, each counted as often as an alias repeats it."""

MAX_DIGITS = 1000
"""Longest number, in characters."""

TAG = "tag:yaml.org,2002:"

_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_SCALARS = {
    "null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    "int": (re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), list("-+0123456789")),
    "float": (re.compile(rf"(?:{_FLOAT})\Z"), list("-+.0123456789")),
}
"""Pattern of each scalar type, and the characters it can start with (YAML 1.2.2, section 10.3.2)."""


class _CoreLoader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Composes one document; bounded, because PyYAML recurses into nested values."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose a node unless it is too deep or one too many."""
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH or self._nodes > MAX_NODES:
            what = f"nested more than {MAX_DEPTH} deep" if self._depth > MAX_DEPTH else f"more than {MAX_NODES} values"
            event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
            raise ComposerError(None, None, what, event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def scan_to_next_token(self) -> None:
        """Skip tabs inside brackets, too: JSON is often indented with them, and YAML 1.2 allows it."""
        super().scan_to_next_token()
        while self.flow_level and self.peek() == "\t":
            self.forward()
            super().scan_to_next_token()


for _name, (_pattern, _first) in _SCALARS.items():
    _CoreLoader.add_implicit_resolver(TAG + _name, _pattern, _first)


def compose(source: SourceText, what: str) -> Node | None:
    """Parse a text into YAML nodes.

    Args:
        source: The text; its offsets are those of the nodes' marks.
        what: Its part in the conversion, for messages.

    Returns:
        The root; None for an empty text.

    Raises:
        InputError: The text is not YAML, or too deep or too large.
    """
    try:
        loader = _CoreLoader(source.text)
    except ReaderError as error:
        msg = f"Error parsing {what}: character U+{error.character:04X} is not allowed"
        raise InputError(msg, where=source.where(error.position), hint="remove it") from error
    try:
        return loader.get_single_node()
    except MarkedYAMLError as error:
        raise _syntax_error(error, source, what) from error
    except (ValueError, OverflowError) as error:
        # PyYAML converts escapes and version numbers without checking their range.
        msg = f"Error parsing {what}: escape or number out of range"
        raise InputError(msg, where=source.where(loader.index), hint="correct it") from error


def _syntax_error(error: MarkedYAMLError, source: SourceText, what: str) -> InputError:
    mark = error.problem_mark or error.context_mark
    offset = 0 if mark is None else mark.index
    problem = " ".join(part for part in (error.problem, error.context and f"({error.context})") if part)
    hint = _syntax_hint(error, source, offset)
    return InputError(f"Error parsing {what}: {clip(problem)}", where=source.where(offset), hint=hint)


def _syntax_hint(error: MarkedYAMLError, source: SourceText, offset: int) -> str:
    following = source.text[offset : offset + 1]
    if following == "\t":
        return "indent with spaces"
    if error.context == "while scanning an alias" or following in ("*", "@", "`", "%", "&"):
        return "put names that contain special characters in quotes"
    if "single document" in (error.context or ""):
        return "keep one document, remove the line '---'"
    return "check indentation, brackets, colons and quotes"


def scalar(tag: str, text: str) -> bool | int | float | str | None:
    """Convert the text of a scalar to the value its tag stands for.

    Args:
        tag: A full tag.
        text: Text of the scalar, as PyYAML unescapes it.

    Raises:
        FieldError: The tag is unknown, or the text is no such value.
    """
    name = tag.removeprefix(TAG)
    if name == "str":
        return _joined(text)
    if name not in _SCALARS or TAG + name != tag:
        msg = f"unknown tag {show(tag)}; allowed: {', '.join('!!' + word for word in (*_SCALARS, 'str', 'map', 'seq'))}"
        raise FieldError(msg, hint="remove the tag")
    if not _SCALARS[name][0].match(text):
        msg = f"{show(text)} is not a valid {name}"
        raise FieldError(msg, hint="remove the tag")
    if name == "null":
        return None
    if name == "bool":
        return text.lower() == "true"
    if len(text) > MAX_DIGITS:
        msg = f"number with {len(text)} characters; at most {MAX_DIGITS} are allowed"
        raise FieldError(msg, hint="put text in quotes")
    return _integer(text) if name == "int" else float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _joined(text: str) -> str:
    """Join the surrogate pairs that JSON escapes make of characters beyond U+FFFF.

    Raises:
        FieldError: Half a pair, or the character NUL, which no file name can contain.
    """
    if "\0" in text:
        msg = f"character U+0000 is not allowed in {show(text)}"
        raise FieldError(msg, hint="remove it")
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        msg = f"unpaired surrogate escape in {show(text)}"
        raise FieldError(msg, hint="remove it") from error
