"""Read ``.synap`` bundles; every number and name in them is checked before it is used."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synap_core.bundle_writer import BUNDLE_MEMBER
from synap_core.errors import InputError
from synap_core.metadata import SubgraphMeta, parse_json, read_metadata
from synap_core.tensors import TensorMeta

ZIP_START = b"PK\x03\x04"
MAX_UNPACKED_BYTES = 1 << 31
ALWAYS_UNPACKED_BYTES = 64 << 20
MAX_RATIO = 50
"""Trained weights hardly compress: what unpacks to more than this, and to more than a little, is a bomb."""

MAX_MEMBERS = 10_000
MAX_JSON_BYTES = 64 << 20
EBG_MAGICS = (b"EBGX", b"VPMN")
"""First bytes of the closed formats that only the NPU itself executes."""

SINGLE_SUFFIX, META_SUFFIX = ".nb", ".json"
"""What the names of a single compiled model, and of its metadata, end with."""

Ref = tuple[int, int]
"""Subgraph that produces a tensor (negative: the model's own inputs), and the tensor's index there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSubgraph:
    """A subgraph of a bundle.

    Attributes:
        model_name: Member name of the model.
        model: Content of the model.
        meta: Its metadata.
        inputs: Where each input comes from.
    """

    model_name: str
    model: bytes
    meta: SubgraphMeta
    inputs: tuple[Ref, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose wiring is consistent.

    Attributes:
        subgraphs: By index.
        order: Indices of the subgraphs such that each comes behind those it reads from.
        outputs: Where each model output comes from.
        parallel_limit: Subgraphs that may run at once; 0 for any number.
    """

    subgraphs: tuple[BundleSubgraph, ...]
    order: tuple[int, ...]
    outputs: tuple[Ref, ...]
    parallel_limit: int = 0

    @property
    def input_tensors(self) -> tuple[TensorMeta, ...]:
        """Description of each model input, taken from the first subgraph that reads it."""
        found: dict[int, TensorMeta] = {}
        for subgraph in self.subgraphs:
            for (producer, index), tensor in zip(subgraph.inputs, subgraph.meta.inputs, strict=True):
                if producer < 0:
                    found.setdefault(index, tensor)
        return tuple(found[index] for index in sorted(found))

    @property
    def output_tensors(self) -> tuple[TensorMeta, ...]:
        """Description of each model output."""
        return tuple(self.subgraphs[subgraph].meta.outputs[index] for subgraph, index in self.outputs)


def load_bundle(source: str | Path | bytes, meta: str | Path | None = None) -> Bundle:
    """Load a bundle, or a single model with its metadata.

    Args:
        source: Path of a ``.synap`` file or of a model, or the content of a bundle.
        meta: Path of the metadata of a single model; by default, that of a ``.nb`` is in the ``.json`` file beside it.

    Raises:
        InputError: A file is missing or damaged, or is a single model without its metadata.
    """
    if isinstance(source, bytes):
        return read_bundle(source, "bundle")
    path = Path(source)
    data = _read(path)
    single = is_single_model(path) and not data.startswith(ZIP_START)
    if meta is None and single:
        beside = path.with_suffix(META_SUFFIX)
        meta = beside if beside.is_file() else None
    if meta is not None:
        if path.suffix.lower() == ".synap":
            msg = "a .synap bundle holds its own metadata"
            raise InputError(msg, where=path, hint="leave the metafile out")
        return _single_model(path.name, data, read_metadata(_read(Path(meta)), str(meta)))
    _check_silicon_only(data, str(path))
    if single:
        msg = f"this is a single model, and its metadata, {path.with_suffix(META_SUFFIX).name!r}, is not beside it"
        raise InputError(msg, where=path, hint="copy it there; 'synap convert' wrote both")
    return read_bundle(data, str(path))


def is_single_model(path: Path) -> bool:
    """Whether a file is, by its name, a compiled model whose metadata is in another file."""
    return path.suffix.lower() == SINGLE_SUFFIX


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            msg = "not a regular file"
            raise InputError(msg, where=path, hint="give the path of a file")
        if path.stat().st_size > MAX_UNPACKED_BYTES:
            msg = f"larger than {MAX_UNPACKED_BYTES} bytes"
            raise InputError(msg, where=path)
        return path.read_bytes()
    except FileNotFoundError as error:
        msg = "file not found"
        raise InputError(msg, where=path, hint="check the path") from error
    except OSError as error:
        msg = f"cannot read the file: {error.strerror or error}"
        raise InputError(msg, where=path) from error


def _single_model(name: str, data: bytes, meta: SubgraphMeta) -> Bundle:
    refs = tuple((-1, k) for k in range(len(meta.inputs)))
    subgraph = BundleSubgraph(model_name=name, model=data, meta=meta, inputs=refs)
    return Bundle(subgraphs=(subgraph,), order=(0,), outputs=tuple((0, k) for k in range(len(meta.outputs))))


def check_executable(bundle: Bundle) -> None:
    """Refuse a bundle that only a board can execute.

    Raises:
        InputError: One of its models is compiled for silicon.
    """
    for subgraph in bundle.subgraphs:
        _check_silicon_only(subgraph.model, subgraph.model_name)


def _check_silicon_only(data: bytes, where: str) -> None:
    if data.startswith(EBG_MAGICS):
        msg = "this is a compiled NPU image (EBG); only the NPU of a board can execute it"
        raise InputError(msg, where=where, hint="run it on the board, or convert the source model here")


def read_bundle(data: bytes, where: str) -> Bundle:
    """Read the content of a bundle.

    Args:
        data: The archive.
        where: Its name, for messages.

    Raises:
        InputError: It is damaged, too large, or wired inconsistently.
    """
    archive = _Archive(data, where)
    place = f"{where}: {BUNDLE_MEMBER}"
    root = parse_json(archive.read(BUNDLE_MEMBER, MAX_JSON_BYTES), place)
    graph = root.get("graph") if isinstance(root, dict) else None
    if not isinstance(root, dict) or not isinstance(graph, list) or not graph:
        msg = "'graph' must be a list with at least one subgraph"
        raise InputError(msg, where=place)
    subgraphs = tuple(_subgraph(archive, entry, f"{place}: graph[{i}]") for i, entry in enumerate(graph))
    bundle = Bundle(
        subgraphs=subgraphs,
        order=_execution_order(subgraphs, place),
        outputs=_refs(root.get("outputs", []), f"{place}: outputs"),
        parallel_limit=_integer(root.get("parallel_limit", 0), f"{place}: parallel_limit"),
    )
    _check_wiring(bundle, place)
    return bundle


class _Archive:
    """A ZIP archive that can only be what the on-board reader accepts, within bounds."""

    def __init__(self, data: bytes, where: str) -> None:
        self._where = where
        self._left = min(MAX_UNPACKED_BYTES, max(ALWAYS_UNPACKED_BYTES, MAX_RATIO * len(data)))
        if not data.startswith(ZIP_START):
            msg = "not a .synap bundle (it does not begin like a ZIP archive)"
            raise InputError(msg, where=where, hint="give the model.synap that 'synap convert' wrote")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            msg = f"the archive is damaged: {error}"
            raise InputError(msg, where=where, hint="copy or convert it again") from error
        members = self._zip.infolist()
        if len(members) > MAX_MEMBERS:
            msg = f"the archive has more than {MAX_MEMBERS} members"
            raise InputError(msg, where=where)
        self._members = {info.filename: info for info in reversed(members)}

    def read(self, name: str, limit: int = MAX_UNPACKED_BYTES) -> bytes:
        """Content of a member, checked against its CRC."""
        info = self._members.get(name)
        place = f"{self._where}: {name}"
        if info is None:
            msg = "no such member in the archive"
            raise InputError(msg, where=place)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            msg = f"the compression method {info.compress_type} is not supported; allowed: stored, deflate"
            raise InputError(msg, where=place)
        if info.file_size == 0:
            msg = "the member is empty"
            raise InputError(msg, where=place)
        self._left -= info.file_size
        if info.file_size > limit or self._left < 0:
            msg = f"the member unpacks to {info.file_size} bytes, more than is allowed"
            raise InputError(msg, where=place)
        try:
            with self._zip.open(info) as stream:
                content = stream.read(info.file_size)
                # One more read makes zipfile compare the CRC when the size was a lie.
                complete = stream.read(1) == b"" and len(content) == info.file_size
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            RuntimeError,
            NotImplementedError,
            ValueError,
            OSError,
        ) as error:
            msg = f"the member is damaged or encrypted: {error}"
            raise InputError(msg, where=place) from error
        if not complete:
            msg = "the member does not have the size the archive states"
            raise InputError(msg, where=place)
        return content


def _subgraph(archive: _Archive, entry: object, where: str) -> BundleSubgraph:
    if not isinstance(entry, dict):
        msg = "a subgraph must be an object"
        raise InputError(msg, where=where)
    names = [entry.get(key, "") for key in ("model", "meta")]
    if not all(isinstance(name, str) for name in names):
        msg = "'model' and 'meta' must be member names"
        raise InputError(msg, where=where)
    meta = read_metadata(archive.read(names[1], MAX_JSON_BYTES), names[1])
    if meta.secure:
        msg = "this is a secure model: only the device that has its keys can execute it"
        raise InputError(msg, where=names[1], hint="run it on the board")
    refs = _refs(entry.get("inputs", []), f"{where}.inputs")
    if len(refs) != len(meta.inputs):
        msg = f"{len(refs)} inputs are wired, but {names[1]} describes {len(meta.inputs)}"
        raise InputError(msg, where=where)
    model = archive.read(names[0])
    return BundleSubgraph(model_name=names[0], model=model, meta=meta, inputs=refs)


def _refs(value: object, where: str) -> tuple[Ref, ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        msg = "must be a list of references"
        raise InputError(msg, where=where)
    refs = []
    for item in value:
        # `in` and `out` are synonyms; `out` wins when both are there.
        index = _integer(item.get("out", item.get("in", 0)), where)
        subgraph = _integer(item.get("subgraph", 0), where)
        if index < 0:
            msg = f"the tensor index {index} is negative"
            raise InputError(msg, where=where)
        refs.append((max(subgraph, -1), index))
    return tuple(refs)


def _integer(value: object, where: str) -> int:
    if type(value) is not int:
        msg = f"must be an integer, not {value!r}"
        raise InputError(msg, where=where)
    return value


def _execution_order(subgraphs: Sequence[BundleSubgraph], where: str) -> tuple[int, ...]:
    waiting = {i: {ref[0] for ref in subgraph.inputs if ref[0] >= 0} for i, subgraph in enumerate(subgraphs)}
    beyond = sorted(producer for producers in waiting.values() for producer in producers if producer >= len(subgraphs))
    if beyond:
        msg = f"subgraph {beyond[0]} does not exist; there are {len(subgraphs)}"
        raise InputError(msg, where=where)
    readers: dict[int, list[int]] = {}
    for i, producers in waiting.items():
        for producer in producers:
            readers.setdefault(producer, []).append(i)
    order = [i for i, producers in waiting.items() if not producers]
    for done in order:
        for reader in readers.get(done, []):
            waiting[reader].discard(done)
            if not waiting[reader]:
                order.append(reader)
    if len(order) < len(subgraphs):
        stuck = min(set(range(len(subgraphs))) - set(order))
        msg = f"subgraph {stuck} waits for itself: the graph has a cycle"
        raise InputError(msg, where=where)
    return tuple(order)


def _check_wiring(bundle: Bundle, where: str) -> None:
    inputs: dict[int, TensorMeta] = {}
    for i, subgraph in enumerate(bundle.subgraphs):
        for k, ((producer, index), tensor) in enumerate(zip(subgraph.inputs, subgraph.meta.inputs, strict=True)):
            place = f"{where}: graph[{i}].inputs[{k}]"
            other = inputs.setdefault(index, tensor) if producer < 0 else _output(bundle, (producer, index), place)
            if other.size_bytes != tensor.size_bytes:
                msg = f"{tensor.name!r} has {tensor.size_bytes} bytes but is fed with {other.size_bytes}"
                raise InputError(msg, where=place)
    if sorted(inputs) != list(range(len(inputs))):
        msg = f"the model inputs are numbered {sorted(inputs)}, not 0 to {len(inputs) - 1}"
        raise InputError(msg, where=where)
    for k, ref in enumerate(bundle.outputs):
        _output(bundle, ref, f"{where}: outputs[{k}]")


def _output(bundle: Bundle, ref: Ref, where: str) -> TensorMeta:
    subgraph, index = ref
    if not 0 <= subgraph < len(bundle.subgraphs):
        msg = f"subgraph {subgraph} cannot be the source; there are {len(bundle.subgraphs)}"
        raise InputError(msg, where=where)
    outputs = bundle.subgraphs[subgraph].meta.outputs
    if index >= len(outputs):
        msg = f"subgraph {subgraph} has {len(outputs)} outputs, there is no number {index}"
        raise InputError(msg, where=where)
    return outputs[index]
