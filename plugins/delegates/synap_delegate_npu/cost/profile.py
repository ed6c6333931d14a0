"""Reads what a board measured: the layer table of a network that was compiled for profiling.

The official command line copies it from the kernel's ``network_profile``: a line about the network, then a table with
one row for each layer, whose values are sums over its operations. Older drivers have no column for the unit.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

from synap_core.api import InputError

MAX_BYTES = 1 << 22
"""Largest file that is read."""

MAX_NAME = 1000
"""Longest name of a layer, characters."""

NUMBERS = ("lyr", "cycle", "time_us", "byte_rd", "byte_wr")
HEADERS = {(*NUMBERS, "ot", "name"): True, (*NUMBERS, "type"): False}
"""Titles of the columns that drivers write, and whether the unit is among them."""

UNITS = ("--", "SH", "NN", "TP", "SW", "SC", "END", "INI", "N/A")
"""Units that run a layer; ``SH`` is the programmable unit, ``--`` stands for a layer that was optimized away."""

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileLine:
    """What a board measured of a layer.

    Attributes:
        layer: Index of the layer.
        cycles: Cycles of the unit's clock.
        microseconds: Time; on boards, it comes in steps of some 50 us, and start and stop are in it.
        bytes_read: Bytes read.
        bytes_written: Bytes written.
        unit: One of `UNITS`, or None when the driver does not tell.
        name: Name of the layer's kind.
    """

    layer: int
    cycles: int
    microseconds: int
    bytes_read: int
    bytes_written: int
    unit: str | None
    name: str

    def seconds(self, clock_hz: float) -> float:
        """Time that the layer took, from its cycles; 0 for a layer that was optimized away."""
        return self.cycles / clock_hz


def read_profile(path: Path) -> tuple[ProfileLine, ...]:
    """Read the layer table of one network.

    Raises:
        InputError: The file cannot be read, is no such table, or has none or several of them.
    """
    lines: list[ProfileLine] = []
    has_unit: bool | None = None
    networks = 0
    for number, text in enumerate(_read(path).split("\n"), 1):
        where, row = f"{path}:{number}", text.strip()
        if row.startswith("pid:"):
            networks += 1
            if networks > 1:
                msg = "the profile has a second network, only one is allowed"
                raise InputError(msg, where=where, hint="keep the lines of one network")
        elif row.startswith("|") and has_unit is None:
            has_unit = _header(row, where)
        elif row.startswith("|") and has_unit is not None:
            lines.append(_line(row, where, has_unit=has_unit, after=lines[-1].layer if lines else -1))
        elif row:
            msg = f"{_shown(row)} is neither a line about a network ('pid: ...') nor a row of a table ('| ...')"
            raise InputError(msg, where=where, hint="give the file that synap_cli --profiling writes")
    if not lines:
        msg = "the profile has no layers"
        raise InputError(msg, where=path, hint="run a model that was converted with --profiling")
    return tuple(lines)


def _read(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            msg = "the profile is not a regular file"
            raise InputError(msg, where=path, hint="give the file that synap_cli --profiling writes")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        msg = f"the profile cannot be read: {reason}"
        raise InputError(msg, where=path, hint="check the path and its permissions") from error
    if len(content) > MAX_BYTES:
        msg = f"the profile is larger than {MAX_BYTES} bytes"
        raise InputError(msg, where=path, hint="check that this is the right file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f"the profile is not UTF-8 text: byte 0x{content[error.start]:02x}"
        raise InputError(msg, where=f"{path}:{line}", hint="check that this is the right file") from error


def _header(row: str, where: str) -> bool:
    titles = tuple(cell.strip() for cell in row.strip("|").split("|"))
    if titles not in HEADERS:
        allowed = " or ".join("'| " + " | ".join(header) + "'" for header in HEADERS)
        msg = f"the table begins with {_shown(row)} and not with {allowed}"
        raise InputError(msg, where=where, hint="give the file that synap_cli --profiling writes")
    return HEADERS[titles]


def _line(row: str, where: str, *, has_unit: bool, after: int) -> ProfileLine:
    count = len(NUMBERS) + 1 + has_unit
    cells = [cell.strip() for cell in row[1:].split("|", count - 1)]
    if len(cells) != count:
        msg = f"the row has {len(cells)} columns, {count} are expected"
        raise InputError(msg, where=where, hint="check that the file is complete")
    numbers = [_number(cell, title, where) for cell, title in zip(cells, NUMBERS, strict=False)]
    if numbers[0] <= after:
        msg = f"layer {numbers[0]} comes after layer {after}; indices must grow"
        raise InputError(msg, where=where, hint="keep the rows of one run")
    unit, name = cells[len(NUMBERS)] if has_unit else None, cells[-1]
    if unit is not None and unit not in UNITS:
        msg = f"unit {_shown(unit)} is not one of {', '.join(UNITS)}"
        raise InputError(msg, where=where, hint="check that the file is complete")
    if not name or len(name) > MAX_NAME or not name.isprintable():
        msg = f"name {_shown(name)} is not 1 to {MAX_NAME} printable characters"
        raise InputError(msg, where=where, hint="check that the file is complete")
    return ProfileLine(
        layer=numbers[0],
        cycles=numbers[1],
        microseconds=numbers[2],
        bytes_read=numbers[3],
        bytes_written=numbers[4],
        unit=unit,
        name=name,
    )


def _number(cell: str, title: str, where: str) -> int:
    if not _NUMBER.fullmatch(cell):
        msg = f"{title} is {_shown(cell)} and not a whole number of up to 18 digits"
        raise InputError(msg, where=where, hint="check that the file is complete")
    return int(cell)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
