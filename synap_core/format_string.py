"""Format strings, ``<type> [<key>=<value>]...``: the ``data_format`` of tensors and the options of delegates.

The on-board runtime reads them with C string functions, and its rules are kept to the letter: a model must not mean
one thing on the host and another on the device. Reading never fails; what cannot be read counts as zero or as empty.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")

_INT_RANGE = (-(2**31), 2**31 - 1)
_INT_DIGITS = 10
"""A decimal number of more significant digits does not fit in an ``int``."""

_TYPE = re.compile(r"[^ \t=]*")
_KEY = re.compile(r"(?:^| )([^ \t=]+)=")
_DECIMAL = re.compile(r"[ \t\n\v\f\r]*([+-]?)0*([0-9]*)")
_FLOAT = re.compile(
    r"""[ \t\n\v\f\r]*(
        [+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?
      | [+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?
      | [+-]?inf(?:inity)?
      | [+-]?nan
    )""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_LIST_INT = re.compile(r"[ \t\n\v\f\r]*([+-]?)(?:0x([0-9a-f]+)|0([0-7]*)|([1-9][0-9]*))", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class FormatString:
    """A parsed format string.

    Attributes:
        text: The whole string as it was given.

    Example:
        >>> parsed = FormatString.parse("rgb keep_proportions=0 mean=[1, 2.5]")
        >>> parsed.type, parsed.get_int("keep_proportions", 1), parsed.get_list("mean")
        ('rgb', 0, [1.0, 2.5])
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> FormatString:
        """Wrap a text; any text is a format string, at worst one without type and keys."""
        return cls(text)

    @property
    def type(self) -> str:
        """The leading word; empty when the text starts with a blank or directly with a key."""
        word = _TYPE.match(self.text)
        end = word.end() if word else 0
        return "" if self.text[end : end + 1] == "=" else self.text[:end]

    def option_names(self) -> tuple[str, ...]:
        """All keys that a lookup can find, in order of first appearance."""
        return tuple(dict.fromkeys(_KEY.findall(self.text)))

    def get_int(self, key: str, default: int = 0) -> int:
        """Read an integer as C ``atoi`` does.

        Returns:
            The leading decimal digits of the value (0 when there are none), limited to 32 bits; ``default`` when
            the key is absent.
        """
        start = self._find(key)
        return default if start is None else _parse_int(self.text, start)

    def get_float(self, key: str, default: float = 0.0) -> float:
        """Read a number as C ``atof`` does; 0.0 for text that is no number, ``default`` without the key."""
        start = self._find(key)
        if start is None:
            return default
        number = _FLOAT.match(self.text, start)
        return _to_float(number[1]) if number else 0.0

    def get_bool(self, key: str, default: bool = False) -> bool:
        """Read a flag: true for a non-zero integer or a value that starts with ``true`` in lower case."""
        start = self._find(key)
        if start is None:
            return default
        return _parse_int(self.text, start) != 0 or self.text.startswith("true", start)

    def get_str(self, key: str, default: str = "") -> str:
        """Read the text up to the next blank."""
        start = self._find(key)
        if start is None:
            return default
        end = self.text.find(" ", start)
        return self.text[start:] if end < 0 else self.text[start:end]

    def get_list(self, key: str) -> list[float]:
        """Read a list of numbers such as ``[1, 2.5]``; empty when it is absent or malformed."""
        return self._read_list(key, _float_item)

    def get_int_list(self, key: str) -> list[int]:
        """Read a list of integers, where ``0x10`` is hexadecimal and ``010`` octal; empty when malformed."""
        return self._read_list(key, _int_item)

    def get_nested_list(self, key: str) -> list[list[float]]:
        """Read a list of lists of numbers such as ``[[], [10, 20]]``; empty when it is absent or malformed."""
        return self._read_list(key, lambda text, at: _read_items(text, _skip_blanks(text, at), _float_item))

    def _find(self, key: str) -> int | None:
        """Position of the value of a key: behind ``key=`` and the blanks and tabs that follow it."""
        if self.text.startswith(f"{key}="):
            start = len(key) + 1
        else:
            found = self.text.find(f" {key}=")
            if found < 0:
                return None
            start = found + len(key) + 2
        while self.text[start : start + 1] in ("\t", " "):
            start += 1
        return start

    def _read_list(self, key: str, item: _ItemReader[_T]) -> list[_T]:
        start = self._find(key)
        found = None if start is None else _read_items(self.text, start, item)
        return found[0] if found else []


_ItemReader = Callable[[str, int], "tuple[_T, int] | None"]
"""Reads one item of a text at a position: the value and the position behind it, None when there is no such item."""


def _read_items(text: str, at: int, item: _ItemReader[_T]) -> tuple[list[_T], int] | None:
    if text[at : at + 1] != "[":
        return None
    first = _skip_blanks(text, at + 1)
    if text[first : first + 1] == "]":
        return [], first + 1
    items: list[_T] = []
    mark = ","
    while mark == ",":
        found = item(text, at + 1)
        if found is None:
            return None
        items.append(found[0])
        at = _skip_blanks(text, found[1])
        mark = text[at : at + 1]
    return (items, at + 1) if mark == "]" else None


def _float_item(text: str, at: int) -> tuple[float, int] | None:
    number = _FLOAT.match(text, at)
    return (_to_float(number[1]), number.end()) if number else None


def _int_item(text: str, at: int) -> tuple[int, int] | None:
    number = _LIST_INT.match(text, at)
    if number is None:
        return None
    sign, hexadecimal, octal, decimal = number.groups()
    digits, base = (hexadecimal, 16) if hexadecimal else (octal, 8) if octal is not None else (decimal, 10)
    return _limited(sign, digits.lstrip("0"), base), number.end()


def _skip_blanks(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at


def _parse_int(text: str, start: int) -> int:
    number = _DECIMAL.match(text, start)
    return _limited(number[1], number[2], 10) if number else 0


def _limited(sign: str, digits: str, base: int) -> int:
    """Convert digits without leading zeros; Python's ``int`` is slow, then refuses, when there are very many."""
    low, high = _INT_RANGE
    too_long = len(digits) > (_INT_DIGITS if base == 10 else 11)
    magnitude = high + 1 if too_long else int(digits or "0", base)
    return max(low, min(high, -magnitude if sign == "-" else magnitude))


def _to_float(number: str) -> float:
    if "x" not in number.lower():
        return float(number)
    try:
        return float.fromhex(number)
    except OverflowError:
        return math.copysign(math.inf, -1.0 if number.startswith("-") else 1.0)
