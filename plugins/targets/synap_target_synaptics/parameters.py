"""Parameters of the chips for their delegates, read from the data files of this package when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files


class ChipParameters(Mapping[str, Mapping[str, object]]):
    """Parameters of one chip, by delegate.

    Listing the delegates reads no file: this is made at every start of the command line.

    Args:
        chip: Name of the chip in the data files.
    """

    def __init__(self, chip: str) -> None:
        self._chip = chip

    def __getitem__(self, delegate: str) -> Mapping[str, object]:
        """What is shared by all chips, and what is this chip's own."""
        if delegate not in DELEGATES:
            raise KeyError(delegate)
        sections = _sections(delegate)
        return {**sections["shared"], **sections[self._chip]}

    def __contains__(self, delegate: object) -> bool:
        """Whether there are parameters for a delegate."""
        return delegate in DELEGATES

    def __iter__(self) -> Iterator[str]:
        """Names of the delegates."""
        return iter(DELEGATES)

    def __len__(self) -> int:
        """Number of delegates."""
        return len(DELEGATES)


DELEGATES = ("npu",)
"""Delegates with a data file, named after them."""


@cache
def _sections(delegate: str) -> dict[str, dict[str, object]]:
    import yaml

    text = files("synap_target_synaptics").joinpath("data", f"{delegate}.yaml").read_text(encoding="utf-8")
    sections: dict[str, dict[str, object]] = yaml.safe_load(text)
    return sections
