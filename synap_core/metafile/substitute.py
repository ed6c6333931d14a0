"""Variables in metafiles: ``${ENV:name}`` in the raw text and ``${FILE:path}`` in format strings."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from synap_core.errors import InputError
from synap_core.metafile.files import line_and_column, line_starts, read_text
from synap_core.metafile.problems import FieldError, clip, show

MAX_TEXT = 1 << 20
"""Most bytes of a metafile, and most characters when its variables are replaced."""

MAX_FORMAT = 1 << 24
"""Most characters of all format strings that files are inserted in."""

MAX_ROUNDS = 32
"""How deep variables may be nested; only a variable that contains itself gets there."""

MAX_SUBSTITUTIONS = 1000
"""Most variables that are replaced in a text, or in all format strings of a metafile."""

_LIMIT_HINT = "does a variable contain itself?"

_ENV = re.compile(r"\$\{ENV:([^{}\n]*)\}")
_FILE = re.compile(r"\$\{FILE:([^{}\n]*)\}")
_PLACEHOLDER = re.compile(r"(\$\{[^{}\n]*\})")


@dataclass(frozen=True, slots=True)
class _Edit:
    """Where the pieces of a text come from, after one round of replacing.

    Attributes:
        starts: Offset of each piece.
        origins: Offset of its source in the text before.
        copied: Whether the piece is a copy of its source, rather than a variable's value.
    """

    starts: tuple[int, ...]
    origins: tuple[int, ...]
    copied: tuple[bool, ...]

    def origin(self, offset: int) -> int:
        """Offset in the text before of what now stands at an offset."""
        piece = bisect_right(self.starts, offset) - 1
        return self.origins[piece] + (offset - self.starts[piece] if self.copied[piece] else 0)


@dataclass(frozen=True, slots=True)
class SourceText:
    """A text with its variables replaced, that remembers where it was written.

    Attributes:
        name: The file, as the user knows it.
        text: The text with all variables replaced.
    """

    name: str
    text: str
    _edits: tuple[_Edit, ...]
    _line_starts: tuple[int, ...]

    def where(self, offset: int) -> str:
        """``file:line:column`` in the file as written, for an offset in `text`."""
        for edit in reversed(self._edits):
            offset = edit.origin(offset)
        line, column = line_and_column(self._line_starts, offset)
        return f"{self.name}:{line}:{column}"


def expand_environment(original: str, name: str, environ: Mapping[str, str] | None = None) -> SourceText:
    """Replace every ``${ENV:name}``, also those that values contain; an undefined variable is empty.

    Args:
        original: Text of a metafile or security file.
        name: The file, for messages.
        environ: The variables; those of the process by default.

    Raises:
        InputError: A variable contains itself, or the result is too large.
    """
    variables = os.environ if environ is None else environ
    expansion = _Expansion(_ENV, lambda variable: variables.get(variable, ""), MAX_TEXT)
    try:
        text = expansion.run(original)
    except _LimitError as error:
        where = SourceText(name, "", tuple(expansion.edits), line_starts(original)).where(error.offset)
        raise InputError(str(error), where=where, hint=_LIMIT_HINT) from error
    return SourceText(name, text, tuple(expansion.edits), line_starts(original))


class FileVariables:
    """Replaces ``${FILE:path}`` in the format strings of one metafile, which share the limits.

    Args:
        folder: What relative paths are relative to, at every depth.
    """

    def __init__(self, folder: Path) -> None:
        self._expansion = _Expansion(_FILE, lambda path: _read(path, folder), MAX_FORMAT)
        self._failed = False

    def expand(self, text: str) -> str:
        """Replace every variable by the content of its file, also those that contents contain.

        After the first failure texts are returned as they are: the metafile is refused anyway, and files that cannot
        be used need not be read again for every entry that names them.

        Raises:
            FieldError: A file cannot be read, contains itself, or too much is inserted.
        """
        if self._failed:
            return text
        self._failed = True
        try:
            expanded = self._expansion.run(text)
        except _LimitError as error:
            raise FieldError(str(error), hint=_LIMIT_HINT) from error
        self._failed = False
        return expanded


def lower_text(text: str) -> str:
    """Write a format string in lower case, except for its placeholders."""
    return "".join(part if i % 2 else part.lower() for i, part in enumerate(_PLACEHOLDER.split(text)))


def _read(path: str, folder: Path) -> str:
    try:
        return read_text(folder / path, "file", MAX_FORMAT)
    except InputError as error:
        message = f"${{FILE:{clip(path)}}}: {error.message} ({clip(str(error.where))})"
        raise FieldError(message, hint="a relative path starts at the folder of the metafile") from error


class _LimitError(Exception):
    """Variables expand to too much; ``offset`` is the place in the text of the last finished round."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class _Expansion:
    """Replaces the matches of a pattern, round by round, until none is left. All runs share the limits.

    Attributes:
        edits: One per finished round of the last run.
    """

    def __init__(self, pattern: re.Pattern[str], lookup: Callable[[str], str], limit: int) -> None:
        self._pattern = pattern
        self._lookup = lookup
        self._limit = limit
        self._left = limit
        self._count = 0
        self.edits: list[_Edit] = []

    def run(self, text: str) -> str:
        """Replace everything in a text.

        Raises:
            _LimitError: A limit is reached.
        """
        self.edits = []
        while matches := list(self._pattern.finditer(text)):
            match = matches[-1]
            self._count += len(matches)
            if len(self.edits) == MAX_ROUNDS:
                msg = f"{show(match[0])} contains itself, or variables are nested more than {MAX_ROUNDS} deep"
                raise _LimitError(msg, match.start())
            if self._count > MAX_SUBSTITUTIONS:
                msg = f"more than {MAX_SUBSTITUTIONS} variables are replaced, the last one {show(match[0])}"
                raise _LimitError(msg, match.start())
            text = self._round(text, matches)
        self._left -= len(text) if self.edits else 0
        return text

    def _round(self, text: str, matches: list[re.Match[str]]) -> str:
        parts: list[str] = []
        pieces: list[tuple[int, int, bool]] = []
        size = done = 0
        for match in matches:
            for part, origin, copied in (
                (text[done : match.start()], done, True),
                (self._lookup(match[1]), match.start(), False),
            ):
                pieces.append((size, origin, copied))
                parts.append(part)
                size += len(part)
            done = match.end()
            if size + len(text) - done > self._left:
                msg = f"text grows to more than {self._limit} characters with {show(match[0])}"
                raise _LimitError(msg, match.start())
        pieces.append((size, done, True))
        self.edits.append(_Edit(*zip(*pieces, strict=True)))
        return "".join((*parts, text[done:]))
