"""What the table of operators consists of."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

from synap_delegate_npu.support.operation import Operation

DTYPES = ("uint8", "int8", "int16", "float16", "float32")
"""Data types, in the order of the table's columns."""

Condition = Callable[[Operation], str | None]
"""Gives the offending value of an operation, None when it fulfils the condition. Its docstring is the condition in
words; the first sentence goes into messages."""

ESTIMATED = " (E)"
"""Behind an engine or a condition: not published, but concluded from what is."""

NONE = "-"
"""In the place of an engine: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An operator of the hardware.

    Attributes:
        name: As the manual calls it.
        engines: Cell of each of `DTYPES` in the manual's table, such as ``NN or PPU``.
        canonical: Operators of the canonical graph it is recognised from; several with ``+`` between them are one
            operation. Empty when none stands for it.
        conditions: What it needs, besides what all operators need.
        unaided: Needed for the NN cores to run it alone. Otherwise the tensor processor runs it where the cell names
            it, too, and helps where it does not.
        moves: It only moves numbers.
    """

    name: str
    engines: tuple[str, str, str, str, str]
    canonical: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = field(default=())
    unaided: tuple[Condition, ...] = field(default=())
    moves: bool = False

    def choices(self, dtype: str) -> tuple[str, ...]:
        """Engines that run it with a data type, the first one preferably; empty when none does."""
        cell = self.engines[DTYPES.index(dtype)].removesuffix(ESTIMATED)
        return () if cell == NONE else tuple(cell.split(" or "))

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Data types that an engine runs it with."""
        return tuple(dtype for dtype in DTYPES if self.choices(dtype))


def clause(condition: Condition) -> str:
    """A condition in words that fit behind "that".

    >>> def even(operation):
    ...     '''The size is even. Details.'''
    >>> clause(even)
    'the size is even'
    """
    sentence = (
        " ".join((inspect.getdoc(condition) or "").split()).partition(". ")[0].rstrip(".").removesuffix(ESTIMATED)
    )
    return sentence[:1].lower() + sentence[1:]
