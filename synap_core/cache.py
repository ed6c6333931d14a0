"""A folder of results by the hash of all that they depend on.

Several processes may use one folder at a time: an entry is written beside its place and moved there, and is checked
against its own checksum when it is read. A folder that cannot be used costs time, not the conversion.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from synap_core.version import toolkit_version

log = logging.getLogger(__name__)

MAX_ENTRY_BYTES = 1 << 31
"""Larger entries are neither written nor read."""

_MAGIC = b"synap-cache-1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_HEADER_BYTES = len(_MAGIC) + _DIGEST_BYTES
_TEMPORARY = ".entry-"


class Cache:
    """A content-addressed store in a folder, which is made when the first entry is written.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def key(*parts: bytes | str | Mapping[str, object]) -> str:
        """Hash of all that a result depends on, and of the toolkit's version.

        Args:
            parts: Their order counts, and so does that of the keys of a mapping, which must be fit for JSON.

        Returns:
            64 hexadecimal digits.
        """
        digest = hashlib.sha256()
        for part in (toolkit_version(), *parts):
            kind, data = _encoded(part)
            digest.update(kind + len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()

    def get(self, key: str) -> bytes | None:
        """Read an entry; None when there is none, or it is damaged or cannot be read."""
        path = self._path(key)
        try:
            if path.stat().st_size > MAX_ENTRY_BYTES + _HEADER_BYTES:
                log.warning("%s: the cache entry is too large and is not used", path)
                return None
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s: cannot read the cache entry: %s", path, error.strerror or error)
            return None
        data = content[_HEADER_BYTES:]
        if content[:_HEADER_BYTES] != _MAGIC + _checksum(key, data):
            log.warning("%s: the cache entry is damaged and is made again", path)
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Write an entry, or replace it. What cannot be written is logged and left out."""
        if len(data) > MAX_ENTRY_BYTES:
            log.warning("%s: a result of %d bytes is too large for the cache", self._folder, len(data))
            return
        try:
            self._write(self._path(key), _MAGIC + _checksum(key, data) + data)
        except OSError as error:
            log.warning("%s: cannot write to the cache, going on without: %s", self._folder, error.strerror or error)

    def _write(self, path: Path, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def _path(self, key: str) -> Path:
        return self._folder / key


def _encoded(part: bytes | str | Mapping[str, object]) -> tuple[bytes, bytes]:
    """Kind and bytes of a part, so that no two different parts look alike."""
    if isinstance(part, bytes):
        return b"b", part
    if isinstance(part, str):
        return b"s", part.encode("utf-8", "surrogatepass")
    return b"m", json.dumps(dict(part), separators=(",", ":")).encode()


def _checksum(key: str, data: bytes) -> bytes:
    """Digest of an entry; the key is in it, so that an entry under another name does not count."""
    digest = hashlib.sha256(key.encode())
    digest.update(data)
    return digest.digest()
