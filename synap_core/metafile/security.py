"""The ``security`` section: switches, and where the four key files are."""

from __future__ import annotations

from pathlib import Path

from synap_core.errors import InputError
from synap_core.metafile.document import load_document
from synap_core.metafile.fields import flag, text
from synap_core.metafile.files import check_regular
from synap_core.metafile.problems import FieldError, clip, inside, unknown_key
from synap_core.metafile.vocabulary import KEY_FILES

SECURITY_FILE = "security file"
_HINT = f"give {', '.join(KEY_FILES)}, here or in a security file named by 'file'"


def read_security(data: dict[str, object], folder: Path) -> dict[str, object]:
    """Find the key files that a section names, itself or through a security file.

    Args:
        data: The section.
        folder: Folder of the metafile.

    Returns:
        The section with the paths of existing files, absolute.

    Raises:
        FieldError: A key is unknown, missing or at the wrong place, or a file is missing.
    """
    data = {key: value for key, value in data.items() if value is not None}
    with inside("secure"):
        if not flag(data.get("secure", True), "secure"):
            return {"secure": False}
    allowed = ("secure", "file") if "file" in data else ("secure", "file", *KEY_FILES)
    _check_keys(data, allowed)
    if "file" not in data:
        return {"secure": True, **_key_files(data, folder)}
    with inside("file"):
        path = folder / _path(data["file"], "file")
        return {"secure": True, "file": path, **_read_file(path)}


def _check_keys(data: dict[str, object], allowed: tuple[str, ...]) -> None:
    for key in data:
        if key not in allowed:
            error = unknown_key(key, "security", allowed)
            if key in KEY_FILES:
                error.hint = "a key file is named here or in the security file, not in both"
            raise error


def _read_file(path: Path) -> dict[str, Path]:
    try:
        document = load_document(path, SECURITY_FILE)
    except InputError as error:
        raise _from_file(error, path) from error
    try:
        for key in document.data:
            if key not in KEY_FILES:
                raise unknown_key(key, f"the {SECURITY_FILE}", KEY_FILES)
        return _key_files(document.data, path.parent)
    except FieldError as error:
        error.where = document.where(error.at, value=not error.key)
        error.at, error.key = (), False
        raise


def _key_files(data: dict[str, object], folder: Path) -> dict[str, Path]:
    missing = [key for key in KEY_FILES if data.get(key) is None]
    if missing:
        msg = f"mandatory security fields are missing: {', '.join(missing)}"
        raise FieldError(msg, hint=_HINT)
    return {key: _key_file(data[key], key, folder) for key in KEY_FILES}


def _key_file(value: object, key: str, folder: Path) -> Path:
    with inside(key):
        path = folder / _path(value, key)
        try:
            check_regular(path, f"{key} file")
        except InputError as error:
            raise _from_file(error, path) from error
        return path


def _path(value: object, key: str) -> str:
    if found := text(value, key):
        return found
    msg = f"{key!r} must be the path of a file, not empty"
    raise FieldError(msg, hint="a relative path starts at the folder of the file that names it")


def _from_file(error: InputError, path: Path) -> FieldError:
    """Keep a place inside the file; an error about the whole file belongs to the field that names it."""
    if error.where != str(path):
        return FieldError(error.message, hint=error.hint, where=error.where)
    return FieldError(f"{error.message}: {clip(str(path))}", hint=error.hint)
