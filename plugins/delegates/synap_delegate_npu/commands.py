"""Registration of the command that the delegate adds, with a switch of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from synap_core.api import Command, hookimpl

if TYPE_CHECKING:
    import click


def load_calibrate() -> click.Command:
    """Import the command."""
    from synap_delegate_npu.calibrate_command import command

    return command


@hookimpl
def synap_commands() -> Iterable[Command]:
    """Offer the command."""
    yield Command(
        name="calibrate-target",
        summary="Adapt the cost model of a target to a profile from a board.",
        load=load_calibrate,
    )
