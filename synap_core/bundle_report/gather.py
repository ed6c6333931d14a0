"""Gather what the page shows of a bundle: its wiring, its programs as their runtimes describe them, and its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from synap_core.bundle_reader import Bundle, BundleSubgraph, load_bundle
from synap_core.errors import InputError
from synap_core.format_string import FormatString
from synap_core.host import PluginHost
from synap_core.inspection import open_member
from synap_core.names import is_operator
from synap_core.program_report import ProgramDescription
from synap_core.programs import describe_program
from synap_core.source import SourceModel

PAIRS = (("model.synap", None), ("model.nb", "model.json"))
"""Files that a folder is looked through for, and their metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgraphReport:
    """A subgraph of a bundle.

    Attributes:
        index: Its number.
        subgraph: Its files and wiring.
        delegate: First word of its delegate string.
        program: What its runtime says of it; None when it says nothing.
        source: Its model, when a frontend opens it and there is no program.
        problem: Why neither is there; empty otherwise.
    """

    index: int
    subgraph: BundleSubgraph
    delegate: str
    program: ProgramDescription | None = None
    source: SourceModel | None = None
    problem: str = ""

    @property
    def operation_count(self) -> int | None:
        """Number of its operations or layers; None when that is not known."""
        if self.program is not None:
            return len(self.program.operations)
        return None if self.source is None else sum(is_operator(layer) for layer in self.source.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleReport:
    """A bundle.

    Attributes:
        name: Name of its file.
        size_bytes: Bytes of the file, without the metadata of a single model.
        bundle: What is in it.
        subgraphs: By index.
    """

    name: str
    size_bytes: int
    bundle: Bundle
    subgraphs: tuple[SubgraphReport, ...]

    @property
    def programs(self) -> Sequence[ProgramDescription]:
        """Those of all subgraphs that have one."""
        return [entry.program for entry in self.subgraphs if entry.program is not None]


def find_model(path: Path, meta: Path | None) -> tuple[Path, Path | None]:
    """The bundle, or the model and its metadata, that a path stands for.

    Args:
        path: A file, or a folder that holds ``model.synap`` or ``model.nb`` and ``model.json``.
        meta: Metadata of a single model, when it was given.

    Raises:
        InputError: There is nothing of that kind in the folder.
    """
    if not path.is_dir():
        beside = path.with_suffix(".json")
        single = path.suffix.lower() != ".synap" and meta is None and beside != path and beside.is_file()
        return path, beside if single else meta
    for name, companion in PAIRS:
        if (path / name).is_file():
            return path / name, path / companion if companion is not None and meta is None else meta
    names = " or ".join(name for name, _ in PAIRS)
    msg = f"there is no {names} in this folder"
    raise InputError(msg, where=path, hint="give the folder that 'synap convert' wrote to, or a file")


def gather(path: Path, meta: Path | None, host: PluginHost) -> BundleReport:
    """Read a bundle, or a single model with its metadata.

    Raises:
        InputError: It is neither, or damaged.
    """
    bundle = load_bundle(path, meta)
    return BundleReport(
        name=_title(path),
        size_bytes=path.stat().st_size,
        bundle=bundle,
        subgraphs=tuple(_subgraph(i, subgraph, host) for i, subgraph in enumerate(bundle.subgraphs)),
    )


def _title(path: Path) -> str:
    """Name of a file; with that of its folder, where conversions give all files the same name."""
    folder = path.resolve().parent.name
    return f"{folder}/{path.name}" if folder and path.name in dict(PAIRS) else path.name


def _subgraph(index: int, subgraph: BundleSubgraph, host: PluginHost) -> SubgraphReport:
    delegate = FormatString.parse(subgraph.meta.delegate).type
    entry = SubgraphReport(index=index, subgraph=subgraph, delegate=delegate)
    program = describe_program(subgraph, host)
    if program is not None:
        return replace(entry, program=program)
    try:
        return replace(entry, source=open_member(subgraph, host))
    except InputError as error:
        missing = "" if delegate in host.runtimes else f"the runtime {delegate!r} is not there"
        # The model was looked at in a temporary file, whose path tells the user nothing.
        return replace(entry, problem=missing or error.message)
