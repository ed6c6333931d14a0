"""The samples a metafile names: what each input of a graph takes, sample by sample."""

from __future__ import annotations

import collections
import glob
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from synap_core.assign import assign, dequantize, effective_normalisation, raw_dtype
from synap_core.describe import Describer
from synap_core.errors import InputError
from synap_core.format_string import FormatString
from synap_core.imaging import Image, decode_any_image
from synap_core.metafile.vocabulary import RANDOM_DATASET
from synap_core.npy_files import read_npy
from synap_core.run_inputs import fitted, is_image
from synap_core.selection import Selection
from synap_core.source import SourceModel
from synap_core.tensors import BOUNDARY_DTYPES, TensorMeta, format_shape

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_core.metafile import InputEntry, Metafile

Array = NDArray[Any]  # any item type: that of the input
Item = TypeVar("Item")
Result = TypeVar("Result")

ARRAY_SUFFIX = ".npy"
READERS = 2
"""Threads that read samples ahead of one reader: decoding is much faster than running a network."""

_SEED = 20
_LUMA = np.array((299, 587, 114), np.uint32)
"""Thousandths of red, green and blue in a gray value (ITU-R BT.601)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleInput:
    """Where the samples of one input come from.

    Attributes:
        name: Name of the input in the graph.
        tensor: The input as the source model and the metafile describe it.
        files: Sample files, in order; empty for an input of random numbers.
        arrays: The files are arrays, not images.
    """

    name: str
    tensor: TensorMeta
    files: tuple[Path, ...]
    arrays: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples for the inputs of a graph; they are read when they are asked for.

    Attributes:
        inputs: What the samples of each input are.
        constant: What further inputs always take: the first values of variables.
        count: Number of samples.
    """

    inputs: tuple[SampleInput, ...]
    constant: Mapping[str, Array] = field(default_factory=dict)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", max((len(item.files) for item in self.inputs), default=0) or 1)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the graph's inputs, those of variables last."""
        return (*(item.name for item in self.inputs), *self.constant)

    def sample(self, index: int) -> dict[str, Array]:
        """Read one sample.

        Args:
            index: From 0 to less than ``count``.

        Returns:
            Value of each input by name, in the input's shape and the type that the graph has for it.

        Raises:
            InputError: A file cannot be read or does not fit; names it.
        """
        random = np.random.default_rng(_SEED)
        read = {item.name: _read(item, index, random) for item in self.inputs}
        return {**read, **self.constant}

    def samples(self, indices: Sequence[int]) -> Iterator[dict[str, Array]]:
        """Read samples in the given order, a few of them ahead. Closing the iterator ends the reading."""
        return in_order(self.sample, indices, threads=READERS, ahead=READERS)

    def describe(self, index: int) -> str:
        """Name the files of a sample, for messages."""
        files = [str(item.files[index]) for item in self.inputs if item.files]
        return ", ".join(files) or f"the {RANDOM_DATASET} sample"

    def fingerprint(self) -> bytes:
        """Digest of the content of all files and of what is done with it; names do not count.

        Raises:
            InputError: A file cannot be read.
        """
        digest = hashlib.sha256(json.dumps([_recipe(item) for item in self.inputs]).encode())
        files = [path for item in self.inputs for path in item.files]
        for part in in_order(_file_digest, files, threads=READERS, ahead=2 * READERS):
            digest.update(part)
        for name, array in self.constant.items():
            digest.update(json.dumps([name, str(array.dtype), array.shape]).encode() + array.tobytes())
        return digest.digest()


class SampleFilesError(InputError):
    """The patterns of a data set do not fit the inputs of a model.

    Args:
        error: What is wrong, in the words for a metafile.
        globs: The patterns.
        inputs: Number of inputs.
    """

    def __init__(self, error: InputError, globs: Sequence[str], inputs: int) -> None:
        super().__init__(error.message, where=error.where, hint=error.hint)
        self.globs = tuple(globs)
        self.inputs = inputs


def open_dataset(source: SourceModel, selection: Selection, meta: Metafile, graph: ir.Model | None = None) -> Dataset:
    """Find the sample files that a metafile names.

    Args:
        source: The model.
        selection: Its inputs.
        meta: The metafile; its ``quantization`` has a data set.
        graph: Canonical graph of the selection, for the names of its inputs and the first values of its variables;
            without it the inputs are named as in the model.

    Raises:
        SampleFilesError: There are no files, or not as many for each input, or their kind does not fit their input.
        InputError: The metafile does not fit the model.
    """
    globs = () if meta.quantization is None else meta.quantization.dataset
    tensors = selection.inputs
    _check_entries(len(tensors), meta)
    names = [source.tensors[tensor].name for tensor in tensors]
    constant: dict[str, Array] = {}
    if graph is not None:
        names, constant = _of_graph(graph, len(tensors))
    describer = Describer(source, meta, selection)
    described = [_described(describer, tensor) for tensor in tensors]
    try:
        inputs = _sample_inputs(names, described, globs, meta)
    except InputError as error:
        raise SampleFilesError(error, globs, len(tensors)) from error
    return Dataset(inputs=inputs, constant=constant)


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Result]:
    """Apply a function to items on several threads, and yield the results in the order of the items.

    Args:
        function: May be called from any thread.
        items: Taken one by one, from the calling thread.
        threads: Number of threads.
        ahead: Results that may be under way or wait, besides the one that is asked for.

    Yields:
        The results. An error ends the work; so does closing the iterator, but for the calls under way.
    """
    rest = iter(items)
    pending: collections.deque[Future[Result]] = collections.deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="synap")
    try:
        pending.extend(pool.submit(function, item) for item in itertools.islice(rest, ahead + 1))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in itertools.islice(rest, 1))
            yield result
            del result
    finally:
        # The garbage collector may close this where threads begin or end; waiting for them there would never end.
        pool.shutdown(wait=False, cancel_futures=True)


def _check_entries(inputs: int, meta: Metafile) -> None:
    if meta.inputs and len(meta.inputs) != inputs:
        msg = f"the model has {inputs} input(s) but the metafile has {len(meta.inputs)}"
        raise InputError(
            msg, where=meta.where("inputs") or None, hint="quantization needs an entry for each, '- ' will do"
        )


def _sample_inputs(
    names: Sequence[str], tensors: Sequence[TensorMeta], globs: Sequence[str], meta: Metafile
) -> tuple[SampleInput, ...]:
    if len(globs) != len(tensors):
        msg = f"the model has {len(tensors)} input(s) but there are {len(globs)} quantization dataset(s)"
        where = meta.where("quantization", "dataset") or None
        hint = "give one dataset for each input"
        if len(globs) > len(tensors):
            hint += "; a single glob takes as many files as you like"
        raise InputError(msg, where=where, hint=hint)
    inputs = tuple(
        _sample_input(name, tensor, position, pattern, meta)
        for position, (name, tensor, pattern) in enumerate(zip(names, tensors, globs, strict=True))
    )
    _check_equal_numbers(inputs, globs, meta)
    return inputs


def _of_graph(graph: ir.Model, inputs: int) -> tuple[list[str], dict[str, Array]]:
    from synap_core.graph.annotations import states_of

    names = [str(value.name) for value in graph.graph.inputs[:inputs]]
    return names, {state.input: np.asarray(state.initial.numpy()) for state in states_of(graph)}


def _described(describer: Describer, tensor: str) -> TensorMeta:
    info = describer.source.tensors[tensor]
    if info.dtype in BOUNDARY_DTYPES:
        return describer.input(tensor)
    # Token ids and masks, which a bundle does not know: they need no more than this.
    return TensorMeta(label=info.id, name=info.name, shape=info.shape, dtype=info.dtype)


def _sample_input(name: str, tensor: TensorMeta, position: int, pattern: str, meta: Metafile) -> SampleInput:
    if pattern == RANDOM_DATASET:
        return SampleInput(name=name, tensor=tensor, files=())
    where = meta.where("quantization", "dataset", position) or None
    arrays = pattern.lower().endswith(ARRAY_SUFFIX)
    if arrays and meta.inputs and _normalises(meta.inputs[position]):
        msg = f"'means' and 'scale' of input {tensor.name!r} cannot be used with .npy files: they hold what it takes"
        raise InputError(msg, where=where, hint="remove them, and normalise the arrays when they are written")
    if not arrays and not is_image(tensor):
        msg = f"input {tensor.name!r} ({format_shape(tensor.shape)}) takes no images: they are 1xHxWxC or 1xCxHxW"
        raise InputError(msg, where=where, hint="give .npy files, with a glob that ends with .npy")
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - a pattern may be absolute
    files = tuple(path for path in map(Path, found) if not path.is_dir())
    if not files:
        msg = f"Quantization dataset is empty: no file matches {pattern!r}"
        hint = f"it is a folder: write '{pattern}/*'" if found else "relative names start at the folder of the metafile"
        raise InputError(msg, where=where, hint=hint)
    return SampleInput(name=name, tensor=tensor, files=files, arrays=arrays)


def _normalises(entry: InputEntry) -> bool:
    means = entry.means if isinstance(entry.means, tuple) else (entry.means or 0.0,)
    return any(means) or entry.scale not in (None, 1.0)


def _check_equal_numbers(inputs: Sequence[SampleInput], globs: Sequence[str], meta: Metafile) -> None:
    numbers = {len(item.files) for item in inputs if item.files}
    if len(numbers) > 1:
        listed = ", ".join(f"{len(item.files)} for {pattern!r}" for item, pattern in zip(inputs, globs, strict=True))
        msg = f"the inputs have different numbers of samples: {listed}"
        where = meta.where("quantization", "dataset") or None
        raise InputError(msg, where=where, hint="sample k of each input is its file k: give as many files for each")


def _read(item: SampleInput, index: int, random: np.random.Generator) -> Array:
    dtype = _graph_dtype(item.tensor)
    if not item.files:
        return random.random(item.tensor.shape, np.float32).astype(dtype)
    path = item.files[index]
    try:
        values = _array(path, item.tensor) if item.arrays else _image(path, item.tensor)
    except InputError as error:
        if error.where is not None:
            raise
        raise InputError(error.message, where=path, hint=error.hint) from error
    return values.astype(dtype, copy=False)


def _graph_dtype(tensor: TensorMeta) -> np.dtype[Any]:
    """Type of an input in the canonical graph: real numbers stand for those of a quantized tensor."""
    return np.dtype(np.float32) if tensor.quant is not None else raw_dtype(tensor)


def _array(path: Path, tensor: TensorMeta) -> Array:
    array = read_npy(path, tensor)
    if tensor.quant is not None and array.dtype == raw_dtype(tensor):
        return dequantize(array, tensor)
    if array.dtype.kind == "f" and raw_dtype(tensor).kind != "f" and tensor.quant is None:
        msg = f"the array is {array.dtype}; input {tensor.name!r} takes {tensor.dtype}"
        raise InputError(msg, where=path, hint="convert it with NumPy's astype")
    return array


def _image(path: Path, tensor: TensorMeta) -> Array:
    image = fitted(_with_channels(decode_any_image(path), tensor), tensor)
    pixels = image.pixels
    if tensor.channels > 2 and FormatString.parse(tensor.data_format).type.startswith("bgr"):
        pixels = pixels[..., [2, 1, 0, *range(3, tensor.channels)]]
    pixels = pixels.transpose(2, 0, 1) if tensor.layout == "nchw" else pixels
    if tensor.quant is None and raw_dtype(tensor).kind != "f":
        return assign(pixels, tensor)
    means, scale = effective_normalisation(tensor)
    return assign(pixels, replace(tensor, dtype="float32", quant=None, mean=means, scale=scale))


def _with_channels(image: Image, tensor: TensorMeta) -> Image:
    """Make an image gray, coloured or opaque where the input asks for it."""
    pixels, channels = image.pixels, tensor.channels
    if pixels.shape[2] == 4 and channels < 4:
        pixels = pixels[..., :3]
    if pixels.shape[2] == 1 and channels == 3:
        pixels = np.repeat(pixels, 3, axis=2)
    elif pixels.shape[2] == 3 and channels == 1:
        pixels = ((pixels @ _LUMA + 500) // 1000).astype(np.uint8)[..., np.newaxis]
    if pixels.shape[2] != channels:
        msg = f"an image with {pixels.shape[2]} channels does not fit input {tensor.name!r}, which has {channels}"
        raise InputError(msg, hint=f"give images with {channels} channels, or .npy files")
    return replace(image, pixels=pixels)


def _recipe(item: SampleInput) -> list[object]:
    """All that decides, besides the files' content, what an input takes."""
    tensor = item.tensor
    means, scale = effective_normalisation(tensor) if tensor.quant is None or tensor.quant.axis is None else ((), 1.0)
    numbers = [list(tensor.shape), tensor.dtype, tensor.layout, list(means), scale]
    return [item.name, item.arrays, len(item.files), tensor.data_format, *numbers]


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        msg = f"cannot read the file: {error.strerror or error}"
        raise InputError(msg, where=path) from error
