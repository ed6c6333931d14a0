"""Gather what ``synap info`` shows about a bundle or a model file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from synap_core.bundle_reader import Bundle, BundleSubgraph, is_single_model, load_bundle
from synap_core.drawing import draw_bundle
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.model_files import open_model
from synap_core.program_report import OperationRow
from synap_core.programs import describe_program
from synap_core.source import ModelRequest, SourceModel
from synap_core.tensors import QuantParams, TensorInfo, TensorMeta

Json = dict[str, object]

BUNDLE_SUFFIX = ".synap"


def inspect_file(path: Path, host: PluginHost) -> Json:
    """Describe a bundle, a compiled model with its metadata beside it, or a model, as JSON values.

    Raises:
        InputError: It is neither, or damaged.
    """
    if path.suffix.lower() == BUNDLE_SUFFIX:
        return _bundle(path, "bundle", load_bundle(path), host)
    if is_single_model(path):
        return _bundle(path, "compiled model", load_bundle(path), host)
    source = open_model(host, ModelRequest(path=path, inspect=True))
    native = sorted(d.name for d in host.delegates.values() if source.format in d.formats)
    return {
        "file": str(path),
        "kind": source.format,
        "size_bytes": path.stat().st_size,
        "inputs": [_tensor(source.tensors[t]) for t in source.inputs],
        "outputs": [_tensor(source.tensors[t]) for t in source.outputs],
        "delegates": native,
        "notes": list(source.notes),
        "warnings": list(source.warnings),
        "layers": layers(source),
    }


def _bundle(path: Path, kind: str, bundle: Bundle, host: PluginHost) -> Json:
    return {
        "file": str(path),
        "kind": kind,
        "size_bytes": path.stat().st_size,
        "inputs": [_tensor(t) for t in bundle.input_tensors],
        "outputs": [_tensor(t) for t in bundle.output_tensors],
        "parallel_limit": bundle.parallel_limit,
        "subgraphs": [_subgraph(i, subgraph, host) for i, subgraph in enumerate(bundle.subgraphs)],
        "output_sources": [{"subgraph": s, "out": k} for s, k in bundle.outputs],
    }


def _subgraph(index: int, subgraph: BundleSubgraph, host: PluginHost) -> Json:
    data: Json = {
        "index": index,
        "model": subgraph.model_name,
        "delegate": subgraph.meta.delegate.strip(),
        "size_bytes": len(subgraph.model),
        "inputs": [
            _tensor(tensor) | {"source": {"subgraph": s, "out": k}}
            for tensor, (s, k) in zip(subgraph.meta.inputs, subgraph.inputs, strict=True)
        ],
        "outputs": [_tensor(tensor) for tensor in subgraph.meta.outputs],
    }
    try:
        program = describe_program(subgraph, host)
        if program is None:
            data["layers"] = layers(open_member(subgraph, host))
        else:
            data |= {"layers": [_operation(row) for row in program.operations], "notes": list(program.notes)}
    except InputError as error:
        # The model was looked at in a temporary file, whose path tells the user nothing.
        data |= {"layers": None, "layers_missing": error.message}
    return data


def _operation(row: OperationRow) -> Json:
    return {
        "name": row.layer_id,
        "index": row.index,
        "type": row.type,
        "engine": row.engine,
        "inputs": [tensor.name for tensor in row.inputs],
        "outputs": [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype} for t in row.outputs],
    }


def draw_file(path: Path, host: PluginHost) -> str:
    """Draw a bundle in the DOT language of Graphviz.

    Raises:
        InputError: It is not a bundle, or damaged.
    """
    bundle = load_bundle(path)
    return draw_bundle(bundle, [_open_or_none(subgraph, host) for subgraph in bundle.subgraphs])


def _open_or_none(subgraph: BundleSubgraph, host: PluginHost) -> SourceModel | None:
    try:
        return open_member(subgraph, host)
    except InputError:
        return None


def open_member(subgraph: BundleSubgraph, host: PluginHost) -> SourceModel:
    """Open the model of a subgraph.

    Raises:
        InputError: No frontend reads it, or it is damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        suffix = Path(subgraph.model_name).suffix.lower()
        known = {item for frontend in host.frontends.values() for item in frontend.suffixes}
        path = Path(folder) / f"model{suffix if suffix in known else ''}"
        path.write_bytes(subgraph.model)
        return open_model(host, ModelRequest(path=path, inspect=True))


def layers(source: SourceModel) -> list[Json]:
    """Describe the layers of a model."""
    return [
        {
            "name": layer.name,
            "index": layer.index,
            "type": layer.type,
            "inputs": _names(source, layer.inputs),
            "outputs": [_tensor(source.tensors[t]) for t in layer.outputs if t in source.tensors],
        }
        for layer in source.layers
    ]


def _names(source: SourceModel, tensors: Iterable[str]) -> list[str]:
    return [source.tensors[t].name for t in tensors]


def _tensor(tensor: TensorInfo | TensorMeta) -> Json:
    unknown = isinstance(tensor, TensorInfo) and not tensor.static and not tensor.shape
    data: Json = {
        "name": tensor.name,
        "shape": None if unknown else list(tensor.shape),
        "dtype": tensor.dtype,
        "layout": tensor.layout,
        "quantization": quantization_values(tensor.quant),
    }
    if isinstance(tensor, TensorMeta):
        mean = None if tensor.mean is None else list(tensor.mean)
        data |= {"data_format": tensor.data_format, "mean": mean, "scale": tensor.scale, "security": tensor.security}
    return data


def quantization_values(quant: QuantParams | None) -> Json | None:
    """Describe a quantization; None when there is none."""
    if quant is None:
        return None
    data: Json = {"scheme": quant.scheme, "scale": list(quant.scale), "zero_point": list(quant.zero_point)}
    if quant.axis is not None:
        data["axis"] = quant.axis
    if quant.fractional_length is not None:
        data["fractional_length"] = quant.fractional_length
    return data
