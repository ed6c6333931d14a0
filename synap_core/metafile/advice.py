"""What a metafile may say but its author probably does not mean."""

from __future__ import annotations

from collections.abc import Iterator

from synap_core.errors import one_line
from synap_core.metafile.document import Document
from synap_core.metafile.model import Metafile
from synap_core.metafile.problems import DataPath
from synap_core.metafile.vocabulary import INPUT_POLICIES, OUTPUT_POLICIES, VIDEO_TYPES


def warnings_for(metafile: Metafile, document: Document) -> tuple[str, ...]:
    """List what deserves a warning, in the order of the checks, each with its place."""
    found = (*_upright_images(metafile, document), *_idle_policies(metafile))
    return tuple(one_line(f"{document.where(path)}: {text}") for path, text in found)


def _upright_images(metafile: Metafile, document: Document) -> Iterator[tuple[DataPath, str]]:
    for i, entry in enumerate(metafile.inputs):
        preprocess, path = entry.preprocess, ("inputs", i, "preprocess", "size")
        if preprocess is None or preprocess.size is None or preprocess.type not in VIDEO_TYPES:
            continue
        height, width = preprocess.size
        # Written as {h:, w:} the order is certain.
        if height > width and document.has((*path, 0)):
            yield path, f"preprocess size [{height}, {width}] is height {height}, width {width}; is the order right?"


def _idle_policies(metafile: Metafile) -> Iterator[tuple[DataPath, str]]:
    if metafile.security is not None and metafile.security.secure:
        return
    policies = [("inputs", i, entry.security, INPUT_POLICIES[0]) for i, entry in enumerate(metafile.inputs)]
    policies += [("outputs", i, entry.security, OUTPUT_POLICIES[0]) for i, entry in enumerate(metafile.outputs)]
    for field, i, policy, default in policies:
        if policy != default:
            yield (field, i, "security"), f"security {policy!r} has no effect: the model is not secure"
