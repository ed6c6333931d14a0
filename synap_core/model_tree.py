"""Conventions of trees of models, in which metafiles lie beside or above the models they are for."""

from __future__ import annotations

from pathlib import Path

from synap_core.errors import InputError

SHARED_METAFILE = "model_metafile.yaml"
LEVELS_UP = 3
METAFILE_SUFFIX = ".yaml"
PROFILING_SUFFIX = "_profiling.yaml"

NOT_CONVERTED = ("*_float.*", "*_disabled*")
"""Models of a tree that are there for comparison or set aside, and have no metafile."""


def find_metafiles(model: Path) -> list[Path]:
    """Find the metafiles of a model by where they lie.

    For ``dir/m.ext``: ``dir/m.yaml``; else every ``.yaml`` file in ``dir/m/``, sorted; else the nearest
    ``model_metafile.yaml`` in ``dir`` or up to three folders above.

    Returns:
        The metafiles; none for a model that is not to be converted, or that has none.
    """
    if any(model.match(pattern) for pattern in NOT_CONVERTED):
        return []
    own = model.with_suffix(METAFILE_SUFFIX)
    if own.is_file():
        return [own]
    if several := sorted(model.with_suffix("").glob(f"*{METAFILE_SUFFIX}")):
        return several
    folder = model.absolute().parent
    shared = (place / SHARED_METAFILE for place in (folder, *folder.parents[:LEVELS_UP]))
    return [path for path in shared if path.is_file()][:1]


def the_metafile(model: Path) -> Path:
    """The one metafile of a model.

    Raises:
        InputError: There is none, or there are several.
    """
    found = find_metafiles(model)
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"there are {len(found)} metafiles for this model: {', '.join(path.name for path in found)}"
        raise InputError(msg, where=model, hint=f"choose one with --meta {found[0]}")
    if any(model.match(pattern) for pattern in NOT_CONVERTED):
        msg = f"models named {' or '.join(NOT_CONVERTED)} have no metafile"
        raise InputError(msg, where=model, hint="give one with --meta, or leave --find-meta out")
    own = model.with_suffix(METAFILE_SUFFIX).name
    msg = f"no {own}, no .yaml file in {model.stem}/ and no {SHARED_METAFILE} up to {LEVELS_UP} folders above"
    raise InputError(msg, where=model, hint="give one with --meta, or leave --find-meta out")


def implies_profiling(metafile: Path) -> bool:
    """Whether the name of a metafile asks for a model that can be profiled."""
    return metafile.name.endswith(PROFILING_SUFFIX)
