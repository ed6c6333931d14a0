"""Put finished files in place all at once, so that a conversion that fails leaves the previous result as it was."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from synap_core.errors import InputError

STAGING_PREFIX = ".synap-"
OUT_DIR = "--out-dir"


def make_folder(path: Path, option: str = OUT_DIR) -> None:
    """Make an output folder and its parents.

    Args:
        path: The folder.
        option: The option that names it, for messages.

    Raises:
        InputError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the folder: {error.strerror or error}"
        raise InputError(msg, where=path, hint=f"choose another folder with {option}") from error


@contextlib.contextmanager
def staging_folder(out_dir: Path, option: str = OUT_DIR) -> Iterator[Path]:
    """Give a new folder inside ``out_dir``, removed at the end whatever happens.

    Args:
        out_dir: The folder; made when missing.
        option: The option that names it, for messages.

    Raises:
        InputError: ``out_dir`` cannot be written, or the disk fills up while the folder is in use.
    """
    make_folder(out_dir, option)
    try:
        folder = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=out_dir))
    except OSError as error:
        msg = f"cannot write to the output folder: {error.strerror or error}"
        raise InputError(msg, where=out_dir, hint=f"choose another folder with {option}") from error
    try:
        yield folder
    except OSError as error:
        if Path(error.filename or "").is_relative_to(folder) or error.filename is None:
            msg = f"cannot write the output: {error.strerror or error}"
            hint = f"nothing was changed there; free space or choose another {option}"
            raise InputError(msg, where=out_dir, hint=hint) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, out_dir: Path, primary: str, reports: tuple[str, ...], option: str = OUT_DIR) -> list[Path]:
    """Move the files of a staging folder into ``out_dir``, the primary one last.

    Args:
        folder: The staging folder; on the same file system, so each move is atomic.
        out_dir: Where the files go. Other files there are left alone.
        primary: Name of the main file.
        reports: Names of other files; those that are in ``out_dir`` but were not written this time are removed.
        option: The option that names the folder, for messages.

    Returns:
        The published files, primary one first.
    """
    written = sorted(path.name for path in folder.iterdir())
    for name in (*written, *reports):
        if (out_dir / name).is_dir():
            msg = "a folder stands where a result has to go"
            raise InputError(msg, where=out_dir / name, hint=f"move it away or choose another {option}")
    with _interrupts_held_back():
        for name in (name for name in written if name != primary):
            (folder / name).replace(out_dir / name)
        for name in set(reports) - set(written):
            (out_dir / name).unlink(missing_ok=True)
        (folder / primary).replace(out_dir / primary)
    return [out_dir / primary, *(out_dir / name for name in written if name != primary)]


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C and a termination request wait until all moves are done: half of them would mix two conversions."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    previous = {
        number: signal.signal(number, lambda number, frame: held.append((number, frame)))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    for first, frame in held[:1]:
        handler = previous[signal.Signals(first)]
        if callable(handler):
            handler(first, frame)
