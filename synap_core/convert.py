"""The conversion pipeline: open, cut, assign, partition, describe, compile."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from synap_core.cache import Cache
from synap_core.canonical.division import canonical_delegates
from synap_core.canonical.refusals import check_fallback, moved, refused
from synap_core.conversion import Conversion, Converted
from synap_core.delegate_parameters import delegate_parameters
from synap_core.delegate_rules import Assignment, assign_delegates, check_support
from synap_core.describe import Describer
from synap_core.errors import InputError, PluginError
from synap_core.host import PluginHost
from synap_core.metafile import Metafile, default_metafile, load_metafile
from synap_core.model_files import advice, open_model
from synap_core.partition import Part, partition
from synap_core.payloads import OutputFormat, QuantizationAlgorithm, Target, require_type
from synap_core.request import ConvertRequest, Opened
from synap_core.restrictions import IDLE_ACCURACY, check_capabilities, ineffective_options, partly_ineffective
from synap_core.selection import select
from synap_core.source import BoundarySpec, ModelRequest
from synap_core.staging import make_folder, publish, staging_folder
from synap_core.subgraphs import Artifact, Subgraph
from synap_core.target_parameters import with_parameters
from synap_core.whole_graph import whole_graph

if TYPE_CHECKING:
    from synap_core.canonical.lowering import Lowered, Lowering

__all__ = [
    "CACHE_FOLDER",
    "ConvertRequest",
    "Opened",
    "Written",
    "check_file",
    "convert",
    "find_target",
    "known_delegates",
    "model_request",
    "open_request",
    "prepare_out_dir",
    "read_metafile",
    "write",
]

log = logging.getLogger(__name__)

CACHE_FOLDER = "cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Files of a conversion, the main one first."""

    files: tuple[Path, ...] = field(default_factory=tuple)


def convert(request: ConvertRequest, host: PluginHost) -> Converted:
    """Convert a model; nothing is written.

    Raises:
        InputError: Something the user gave cannot be used.
        PluginError: A plugin broke its contract.
    """
    opened = open_request(request, host)
    if request.whole_graph:
        return whole_graph(opened, request, host)
    return _converted(opened, request, host)


def _converted(opened: Opened, request: ConvertRequest, host: PluginHost) -> Converted:
    source, selection, meta, target = opened.source, opened.selection, opened.meta, opened.target
    if request.fallback is not None:
        check_fallback(request.fallback, source, target, host)
    assigned: Mapping[int, Assignment] = assign_delegates(source, selection.layers, meta, target, host)
    fallen: list[str] = []
    while True:
        check_capabilities(opened, assigned, host.delegates, profiling=request.profiling)
        parts = partition(
            selection.layers, assigned, selection.inputs, selection.outputs, branch_split=request.branch_split
        )
        lowering = _lowering(opened, parts, request, host)
        refusals = () if lowering is None else lowering.refusals
        if not refusals:
            break
        if request.fallback is None or any(item.delegate == request.fallback for item in refusals):
            raise refused(refusals, opened, host)
        assigned, lines = moved(refusals, source, assigned, request.fallback)
        check_support(source, selection.layers, assigned, target, host)
        fallen += lines
    lowered = None if lowering is None else lowering.run()
    conversion = _compile(opened, parts, lowered, request, host)
    warnings = [*source.warnings, *meta.warnings, *fallen, *ineffective_options(meta)]
    warnings += partly_ineffective(opened, assigned, host.delegates)
    if lowered is not None:
        warnings += lowered.warnings
    if request.target_accuracy is not None and (lowered is None or not conversion.listings):
        warnings.append(IDLE_ACCURACY)
    return Converted(conversion=conversion, warnings=tuple(warnings))


def _lowering(opened: Opened, parts: Sequence[Part], request: ConvertRequest, host: PluginHost) -> Lowering | None:
    """What makes the graphs of delegates that compile the canonical graph; None when there are no such delegates."""
    canonical = canonical_delegates(parts, opened.source, host)
    if not canonical:
        return None
    from synap_core.canonical.lowering import Lowering

    return Lowering(opened, parts, canonical, request, host)


def open_request(request: ConvertRequest, host: PluginHost) -> Opened:
    """Open a model and its metafile, and select what is converted.

    Raises:
        InputError: Something the user gave cannot be used.
    """
    target = find_target(host, request.target)
    if request.target_parameters is not None:
        target = with_parameters(target, request.target_parameters, host)
    check_file(request.model, "model", host)
    if request.weights is not None:
        check_file(request.weights, "weights")
    meta = read_metafile(request.meta, host)
    source = open_model(host, model_request(request.model, request.weights, meta), request.frontend)
    log.info("opened %s: %d layers, format %s", request.model, len(source.layers), source.format)
    return Opened(source=source, selection=select(source, meta), meta=meta, target=target)


def write(conversion: Conversion, output: OutputFormat, out_dir: Path, host: PluginHost) -> Written:
    """Write a conversion; ``out_dir`` changes only when everything has been written.

    Raises:
        InputError: The folder cannot be written.
    """
    with staging_folder(out_dir) as folder:
        with host.boundary(output):
            output.write(conversion, folder)
        if not (folder / output.primary).is_file():
            msg = f"output format {output.name!r} did not write its file {output.primary!r}"
            raise PluginError(msg)
        return Written(files=tuple(publish(folder, out_dir, output.primary, output.reports)))


def prepare_out_dir(out_dir: Path, cache_dir: Path | None = None) -> None:
    """Make the output and cache folders, so that a folder that cannot be written is found out before the work.

    Raises:
        InputError: One of them cannot be made.
    """
    make_folder(out_dir)
    make_folder(cache_dir or out_dir / CACHE_FOLDER)


def find_target(host: PluginHost, name: str) -> Target:
    """Look a target up by name or alias, in any case.

    Raises:
        InputError: There is no such target; lists all.
    """
    word = name.upper()
    for target in host.targets.values():
        if word in (target.name, *target.aliases):
            return target
    names = [*host.targets, *(f"{a} (= {t.name})" for t in host.targets.values() for a in t.aliases)]
    raise host.missing(Target, word, names)


def check_file(path: Path, what: str, host: PluginHost | None = None) -> None:
    """Raise when a file is missing or is not a file.

    Args:
        path: The file.
        what: What it was to be.
        host: Where the frontends are, for a model: one of them may know what a folder is.

    Raises:
        InputError: Says what the file was to be.
    """
    if path.is_dir():
        advised = None if host is None else advice(host, path)
        if advised is not None:
            raise advised
        msg = f"this {what} is a folder"
        raise InputError(msg, where=path, hint="give the file inside it")
    if not path.exists():
        msg = f"{what} file not found"
        raise InputError(msg, where=path, hint="check the path")
    if not path.is_file():
        msg = f"this {what} is not a regular file"
        raise InputError(msg, where=path, hint="give the path of a file")


def read_metafile(path: Path | None, host: PluginHost) -> Metafile:
    """Load the metafile, allowing the delegates and algorithms that targets and plugins know."""
    if path is None:
        return default_metafile()

    def explain(name: str) -> str | None:
        """Say how to enable the plugin of an algorithm."""
        inactive = host.inactive(QuantizationAlgorithm, name)
        return host.missing(QuantizationAlgorithm, name, ()).hint if inactive else None

    algorithms = host.quantization_algorithms
    return load_metafile(path, delegates=known_delegates(host), algorithms=algorithms, explain=explain)


def model_request(model: Path, weights: Path | None, meta: Metafile) -> ModelRequest:
    """What to ask a frontend for: the files, and what the metafile says about inputs and outputs."""
    return ModelRequest(
        path=model,
        weights=weights,
        inputs=tuple(BoundarySpec(name=entry.name, shape=entry.shape) for entry in meta.inputs),
        outputs=tuple(BoundarySpec(name=entry.name, shape=entry.shape) for entry in meta.outputs),
    )


def known_delegates(host: PluginHost) -> list[str]:
    """Names of delegates that some target or plugin has."""
    named = {delegate for target in host.targets.values() for delegate in target.delegates}
    return sorted(named | set(host.delegates))


def _compile(
    opened: Opened, parts: Sequence[Part], lowered: Lowered | None, request: ConvertRequest, host: PluginHost
) -> Conversion:
    if not parts:
        msg = "the model has no operator: there is nothing to convert"
        raise InputError(msg)
    log.debug("partitioned into %d subgraphs", len(parts))
    source, selection, target = opened.source, opened.selection, opened.target
    describer = Describer(source, opened.meta, selection, {} if lowered is None else lowered.held)
    inputs = tuple(describer.input(tensor) for tensor in selection.inputs)
    outputs = tuple(describer.output(tensor) for tensor in selection.outputs)
    cache = None if request.cache_dir is None else Cache(request.cache_dir)
    subgraphs, artifacts = [], []
    for index, part in enumerate(parts):
        delegate = host.delegates[part.assignment.delegate]
        piece = None if lowered is None else lowered.pieces.get(index)
        subgraph = Subgraph(
            index=index,
            source=source,
            part=part.part,
            inputs=tuple(describer.input(tensor) for tensor in part.part.inputs),
            outputs=tuple(describer.output(tensor) for tensor in part.part.outputs),
            options=part.assignment.options,
            target=target,
            graph=None if piece is None else piece.graph,
            groups=() if piece is None else piece.groups,
            parameters=delegate_parameters(delegate, target, host),
            cache=cache,
            profiling=request.profiling,
        )
        subgraphs.append(subgraph)
    for part, subgraph in zip(parts, subgraphs, strict=True):
        log.info("%s: %d layers on %s", subgraph.name, len(subgraph.part.layers), part.assignment.delegate)
        delegate = host.delegates[part.assignment.delegate]
        with host.boundary(delegate):
            artifact = delegate.compile(subgraph)
        require_type(delegate, artifact, Artifact)
        artifacts.append(artifact)
    return Conversion(
        source=source,
        target=target,
        inputs=inputs,
        outputs=outputs,
        subgraphs=tuple(subgraphs),
        artifacts=tuple(artifacts),
        delegates=tuple(part.assignment.delegate for part in parts),
        listings={} if lowered is None else lowered.listings,
        notes=(*source.notes, *describer.notes, *(() if lowered is None else lowered.notes)),
    )
