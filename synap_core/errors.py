"""The errors a user can meet, and the exit code each of them ends the command line with."""

from __future__ import annotations

from pathlib import Path


class SynapError(Exception):
    """Base of every error that is reported to the user in one line.

    Args:
        message: What is wrong, the offending value and what is allowed; no final stop.
        where: File, ``file:line:column`` or layer the message is about; printed in front of it.
        hint: What to type or change next; printed behind it.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | Path | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = str(where) if where else None
        self.hint = hint

    def __str__(self) -> str:
        text = self.message if self.where is None else f"{self.where}: {self.message}"
        text = text if self.hint is None else f"{text}; {self.hint}"
        return one_line(text)


class InputError(SynapError):
    """Something the user gave (a file, a value, a name) cannot be used."""


class ModelExecutionError(InputError):
    """A runtime refused, crashed on or hung in a model."""


class PluginError(SynapError):
    """A plugin broke its contract: it is the plugin's author who can mend it."""

    exit_code = 3


def one_line(text: str) -> str:
    """Fold white space and drop control characters, so that hostile names cannot forge output lines."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
