"""Write the outputs of a model to files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from synap_core.assign import dequantize
from synap_core.errors import InputError
from synap_core.tensors import TensorMeta


@contextlib.contextmanager
def replacing(path: Path, what: str = "outputs") -> Iterator[Path]:
    """Give a new file to write that takes the place of ``path`` when it is complete.

    Args:
        path: The file.
        what: What is written, for messages.

    Raises:
        InputError: The file cannot be written, or something else than a regular file is there.
    """
    partial: Path | None = None
    try:
        if path.exists() and not path.is_file():
            msg = "this is not a regular file; it is not replaced"
            raise InputError(msg, where=path, hint="choose another name")
        # A name of its own: somebody else may have put a link where a fixed one would point.
        handle, name = tempfile.mkstemp(prefix=".synap-", dir=path.parent)
        os.close(handle)
        partial = Path(name)
        yield partial
        partial.replace(path)
    except OSError as error:
        msg = f"cannot save the {what}: {error.strerror or error}"
        raise InputError(msg, where=path, hint="choose another folder") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def save_npz(path: Path, outputs: Sequence[np.ndarray], tensors: Sequence[TensorMeta]) -> None:
    """Write raw items under the names of the outputs, in model order; ``name#1`` for a duplicate.

    Not with ``np.savez``: its own argument names cannot be used as keys.

    Raises:
        InputError: The file cannot be written.
    """
    seen: dict[str, int] = {}
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for tensor, array in zip(tensors, outputs, strict=True):
            number = seen[tensor.name] = seen.get(tensor.name, -1) + 1
            key = tensor.name if number == 0 else f"{tensor.name}#{number}"
            with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as member:
                npy_format.write_array(member, array, allow_pickle=False)


def dump_items(outputs: Sequence[np.ndarray]) -> None:
    """Write the raw items of each output to ``output_raw_<i>.dat`` in the working folder.

    Raises:
        InputError: A file cannot be written.
    """
    for number, array in enumerate(outputs):
        with replacing(Path(f"output_raw_{number}.dat")) as partial:
            partial.write_bytes(array.tobytes())


def dump_floats(outputs: Sequence[np.ndarray], tensors: Sequence[TensorMeta]) -> None:
    """Write each output, dequantized to float32, to ``output_float_<i>.dat`` in the working folder.

    Raises:
        InputError: A file cannot be written, or an output cannot be dequantized.
    """
    for number, (array, tensor) in enumerate(zip(outputs, tensors, strict=True)):
        with replacing(Path(f"output_float_{number}.dat")) as partial:
            partial.write_bytes(dequantize(array, tensor).astype("<f4").tobytes())
