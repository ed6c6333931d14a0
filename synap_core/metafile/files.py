"""Read small text files that may be anything, and count their lines."""

from __future__ import annotations

import codecs
import re
import stat
from bisect import bisect_right
from pathlib import Path

from synap_core.errors import InputError

_LINE_END = re.compile(r"\r\n|\r|\n")


def check_regular(path: Path, what: str) -> None:
    """Make sure that a path leads to a regular file; a pipe or a device could keep the reader waiting for ever.

    Args:
        path: The file.
        what: Its part in the conversion, for messages.

    Raises:
        InputError: It is missing, out of reach, a folder or a special file.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{what} not found"
        raise InputError(msg, where=path, hint="check the path") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, what, error) from error
    if stat.S_ISDIR(mode):
        msg = f"{what} is a folder"
        raise InputError(msg, where=path, hint="give a file inside it")
    if not stat.S_ISREG(mode):
        msg = f"{what} is not a regular file"
        raise InputError(msg, where=path, hint="copy its content to a file")


def read_text(path: Path, what: str, limit: int) -> str:
    """Read a UTF-8 file; a byte order mark is dropped, line ends stay as they are.

    Args:
        path: The file.
        what: Its part in the conversion, for messages.
        limit: Most bytes it may have.

    Raises:
        InputError: It cannot be read, is too large or is not UTF-8.
    """
    check_regular(path, what)
    try:
        with path.open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, what, error) from error
    if len(content) > limit:
        msg = f"{what} is larger than {limit} bytes"
        raise InputError(msg, where=path, hint="check that this is the right file")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        line, column = line_and_column(line_starts(before), len(before))
        msg = f"{what} is not UTF-8 text: byte 0x{content[error.start]:02x}"
        raise InputError(msg, where=f"{path}:{line}:{column}", hint="save it with the encoding UTF-8") from error


def _unreadable(path: Path, what: str, error: OSError | ValueError) -> InputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"{what} cannot be read: {reason}", where=path, hint="check the path and its permissions")


def line_starts(text: str) -> tuple[int, ...]:
    """Offset of the first character of every line; lines end as in a text editor (LF, CR LF or CR)."""
    return (0, *(end.end() for end in _LINE_END.finditer(text)))


def line_and_column(starts: tuple[int, ...], offset: int) -> tuple[int, int]:
    """Line and column, counted from 1, of a character offset in the text that `line_starts` was asked about."""
    line = bisect_right(starts, offset)
    return line, offset - starts[line - 1] + 1
