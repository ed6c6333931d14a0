"""Choose the frontend for a model file and open it."""

from __future__ import annotations

from pathlib import Path

from synap_core.errors import InputError
from synap_core.guarded_source import GuardedSource
from synap_core.host import PluginHost
from synap_core.payloads import Frontend
from synap_core.source import ModelRequest, SourceModel

SNIFF_BYTES = 4096
GIT_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"


def open_model(host: PluginHost, request: ModelRequest, frontend: str | None = None) -> SourceModel:
    """Open a model with the frontend for it.

    Args:
        host: Where the frontends are.
        request: The file, which exists, and what is wanted of it.
        frontend: Name of the frontend to use, whatever the file is called.

    Raises:
        InputError: No frontend, or more than one, reads the file; or the file is wrong, or not of the format of the
            frontend that was named.
    """
    head = read_head(request.path)
    if head.startswith(GIT_LFS_POINTER):
        msg = "this is a git-lfs pointer, not the model itself"
        raise InputError(msg, where=request.path, hint="run 'git lfs pull' to get the file")
    if frontend is None:
        chosen = choose_frontend(host, request.path, head)
    else:
        chosen = host.find(Frontend, frontend)
        _check_format(host, request.path, head, chosen)
    with host.boundary(chosen):
        try:
            opened = chosen.open(request)
        except OSError as error:
            msg = f"cannot read the model: {error.strerror or error}"
            raise InputError(msg, where=request.path) from error
    return GuardedSource(opened, chosen, host)


def read_head(path: Path) -> bytes:
    """First bytes of a file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(SNIFF_BYTES)
    except OSError as error:
        msg = f"cannot read the file: {error.strerror or error}"
        raise InputError(msg, where=path) from error


def choose_frontend(host: PluginHost, path: Path, head: bytes) -> Frontend:
    """Choose by suffix and content.

    Raises:
        InputError: No frontend, or more than one, claims the file.
    """
    suffix = path.suffix.lower()
    readers = [item for item in host.frontends.values() if suffix in item.suffixes]
    fitting = [item for item in readers if _sniffs(host, item, head)]
    if len(fitting) == 1:
        return fitting[0]
    if len(fitting) > 1:
        names = " and ".join(item.name for item in fitting)
        msg = f"the frontends {names} all read this file"
        raise InputError(msg, where=path, hint=f"choose one with --frontend {fitting[0].name}")
    if not readers:
        advised = advice(host, path)
        if advised is not None:
            raise advised
        known = sorted({s for item in host.frontends.values() for s in item.suffixes})
        msg = f"unknown network format {suffix!r}; supported: {', '.join(known) or 'none'}"
        raise InputError(msg, where=path, hint=host.explain_inactive(Frontend))
    others = [item for item in host.frontends.values() if item not in readers and _sniffs(host, item, head)]
    hint = f"it looks like {others[0].name}: rename it to {path.stem}{others[0].suffixes[0]}" if others else None
    msg = f"not a {readers[0].name} model, although its name ends in {suffix!r}"
    raise InputError(msg, where=path, hint=hint or "give the model file itself, or rename it to what it is")


def advice(host: PluginHost, path: Path) -> InputError | None:
    """What a frontend says about a folder, or a file that none of them reads; None when all are silent."""
    for item in host.frontends.values():
        if item.advise is not None:
            with host.boundary(item):
                found = item.advise(path)
            if found is not None:
                return InputError(found.message, where=path, hint=found.hint)
    return None


def _check_format(host: PluginHost, path: Path, head: bytes, chosen: Frontend) -> None:
    """Refuse a frontend that does not know the format of a file, where another one does."""
    if _sniffs(host, chosen, head):
        return
    fitting = [item.name for item in host.frontends.values() if item is not chosen and _sniffs(host, item, head)]
    if fitting:
        msg = f"this is no {chosen.name} file: it looks like {' or '.join(fitting)}"
        raise InputError(msg, where=path, hint=f"leave --frontend out, or give --frontend {fitting[0]}")


def _sniffs(host: PluginHost, frontend: Frontend, head: bytes) -> bool:
    with host.boundary(frontend):
        return frontend.sniff(head)
