"""Write ``.synap`` bundles: ZIP archives that hold the subgraphs and the wiring between them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from synap_core.conversion import Conversion
from synap_core.errors import PluginError
from synap_core.subgraphs import Artifact
from synap_core.tensors import ASYMMETRIC_AFFINE, DYNAMIC_FIXED_POINT, TensorMeta

BUNDLE_MEMBER = "bundle.json"
MODEL_INPUT = -1
"""Subgraph index that stands for the inputs of the whole model."""

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_MODE = 0o600 << 16

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """A subgraph in a bundle.

    Attributes:
        model_member: Full member name of its model.
        model: Content of its model.
        meta_member: Full member name of its metadata.
        meta: Metadata, in the order it is written.
        inputs: For each input, (producing subgraph or `MODEL_INPUT`, tensor index).
    """

    model_member: str
    model: bytes
    meta_member: str
    meta: Json
    inputs: tuple[tuple[int, int], ...]


def pack_bundle(conversion: Conversion) -> bytes:
    """Pack a conversion: the same conversion always gives the same bytes.

    Raises:
        PluginError: A delegate returned tensors that do not connect.
    """
    from synap_core.bundle_reader import read_bundle

    entries, outputs = wire(conversion)
    content = write_archive(entries, outputs)
    read_bundle(content, "the new bundle")  # what the reader refuses is not written
    return content


def wire(conversion: Conversion) -> tuple[list[BundleEntry], list[tuple[int, int]]]:
    """Connect the subgraphs by the ids of their boundary tensors.

    Returns:
        The entries, and (subgraph, tensor index) of each model output.
    """
    produced: dict[str, tuple[int, int]] = {}
    described = {tensor.label: tensor for tensor in conversion.inputs}
    for index, artifact in enumerate(conversion.artifacts):
        for position, tensor in enumerate(artifact.outputs):
            produced[tensor.label] = (index, position)
    # Model inputs are entered last: they replace a producer of the same tensor.
    produced |= {tensor.label: (MODEL_INPUT, k) for k, tensor in enumerate(conversion.inputs)}
    entries = []
    for index, artifact in enumerate(conversion.artifacts):
        _check_artifact(artifact, produced, described)
        described |= {tensor.label: tensor for tensor in artifact.outputs}
        entries.append(
            BundleEntry(
                model_member=f"{index}/{artifact.model_file}",
                model=artifact.model,
                meta_member=f"{index}/{artifact.meta_file}",
                meta=subgraph_metadata(artifact),
                inputs=tuple(produced[tensor.label] for tensor in artifact.inputs),
            )
        )
    return entries, [produced[tensor.label] for tensor in conversion.outputs]


def _check_artifact(artifact: Artifact, produced: dict[str, tuple[int, int]], described: dict[str, TensorMeta]) -> None:
    for tensor in artifact.inputs:
        other = described.get(tensor.label)
        if tensor.label not in produced or other is None:
            msg = f"input {tensor.name!r} of {artifact.model_file!r} is computed by no earlier subgraph"
            raise PluginError(msg)
        kinds = [(end.dtype, end.shape, end.layout, end.quant) for end in (other, tensor)]
        if kinds[0] != kinds[1]:
            msg = f"tensor {tensor.name!r} is registered with two different types or shapes"
            raise PluginError(msg)


def write_archive(entries: Sequence[BundleEntry], outputs: Sequence[tuple[int, int]]) -> bytes:
    """Write the archive: ``bundle.json``, then model and metadata of each subgraph, all stored."""
    graph = [
        {"inputs": [_ref(ref) for ref in entry.inputs], "model": entry.model_member, "meta": entry.meta_member}
        for entry in entries
    ]
    bundle = {"graph": graph, "outputs": [_ref(ref) for ref in outputs]}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, BUNDLE_MEMBER, _dump(bundle))
        for entry in entries:
            _add(archive, entry.model_member, entry.model)
            _add(archive, entry.meta_member, _dump(entry.meta))
    return stream.getvalue()


def _ref(ref: tuple[int, int]) -> dict[str, int]:
    return {"subgraph": ref[0], "out": ref[1]}


def _dump(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode("utf-8", errors="replace")


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # A header of its own per member: helpers that take a file name would stamp times and the host system.
    header = zipfile.ZipInfo(name, _TIMESTAMP)
    header.create_system = _UNIX
    header.external_attr = _MODE
    header.compress_type = zipfile.ZIP_STORED
    archive.writestr(header, content)


def subgraph_metadata(artifact: Artifact) -> Json:
    """Metadata of a subgraph, keys in the order the official toolkit writes them."""
    return {
        "Inputs": {tensor.label: tensor_metadata(tensor) for tensor in artifact.inputs},
        "Outputs": {tensor.label: tensor_metadata(tensor) for tensor in artifact.outputs},
        "secure": False,
        "delegate": artifact.delegate,
    }


def tensor_metadata(tensor: TensorMeta) -> Json:
    """Metadata of one tensor (bundle format, section 5.4)."""
    data: Json = {"shape": list(tensor.shape), "format": tensor.layout}
    quant = tensor.quant
    if quant is None:
        data["dtype"] = tensor.dtype
    else:
        data["quantizer"] = quant.scheme
        values: Json = {"qtype": quant.dtype, "max_value": 0.0, "min_value": 0.0}
        if quant.scheme == DYNAMIC_FIXED_POINT:
            values["fl"] = quant.fractional_length or 0
        elif quant.scheme == ASYMMETRIC_AFFINE:
            values |= {"scale": quant.scale[0], "zero_point": quant.zero_point[0]}
        data["quantize"] = values
    data |= {"name": tensor.name, "data_format": tensor.data_format, "security": tensor.security}
    if tensor.mean is not None:
        data["mean"] = list(tensor.mean)
    if tensor.scale is not None:
        data["scale"] = tensor.scale
    return data
