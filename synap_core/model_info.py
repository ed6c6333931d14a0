"""Write ``model_info.txt``: the tensors, subgraphs and layers of a converted model, for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from synap_core.columns import align_columns, short_name
from synap_core.conversion import Conversion
from synap_core.errors import one_line
from synap_core.subgraphs import Artifact, Subgraph
from synap_core.tensors import TensorMeta, format_shape
from synap_core.version import toolkit_version

RULE = "=" * 100


def render_model_info(conversion: Conversion) -> str:
    """Render the report (bundle format, section 9), with a layer table and the notes behind the details."""
    lines = [f"Model converted with SyNAP toolkit {toolkit_version()}", ""]
    lines += ["inputs:", *_tensors(conversion.inputs), "outputs:", *_tensors(conversion.outputs)]
    lines += ["", f"subgraphs: {len(conversion.artifacts)}", "", ""]
    for subgraph, artifact in zip(conversion.subgraphs, conversion.artifacts, strict=True):
        lines += [RULE, f"Detailed input/output information for {subgraph.name}:", "", _details(artifact)]
        lines += [RULE, f"Detailed graph information for {subgraph.name}:", "", *_layer_table(subgraph), ""]
        for title, listing in artifact.listings.items():
            lines += [f"{title}:", "", listing, ""]
    if conversion.notes:
        lines += [RULE, "Notes:", "", *(f"- {note}" for note in conversion.notes), ""]
    return "\n".join(lines)


def _tensors(tensors: Iterable[TensorMeta]) -> Iterator[str]:
    for tensor in tensors:
        yield f"  - name: {one_line(tensor.name)}"
        yield f"    shape: {list(tensor.shape)}"
        yield f"    type: {tensor.dtype}{' quantized' if tensor.quant else ''}"


def _details(artifact: Artifact) -> str:
    import yaml

    details = {
        "inputs": [_describe(tensor) for tensor in artifact.inputs],
        "outputs": [_describe(tensor) for tensor in artifact.outputs],
        "secure": False,
        "delegate": artifact.delegate.strip(),
    }
    return str(yaml.safe_dump(details, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100))


def _describe(tensor: TensorMeta) -> dict[str, object]:
    data: dict[str, object] = {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "layout": tensor.layout,
        "format": tensor.data_format,
        "type": tensor.dtype,
    }
    if (quant := tensor.quant) is not None:
        values: dict[str, object] = {"scheme": quant.scheme}
        if quant.fractional_length is not None:
            values["fractional_length"] = quant.fractional_length
        else:
            values |= {"scale": quant.scale[0], "zero_point": quant.zero_point[0]}
        data["quantization"] = values
    if tensor.mean is not None:
        data["mean"] = list(tensor.mean)
    if tensor.scale is not None:
        data["scale"] = tensor.scale
    data["security"] = tensor.security
    return data


def _layer_table(subgraph: Subgraph) -> Iterator[str]:
    tensors = subgraph.source.tensors
    rows = [("index", "type", "output", "name")]
    for layer in subgraph.part.layers:
        outputs = [tensors[t] for t in layer.outputs if t in tensors]
        shapes = ", ".join(f"{format_shape(t.shape)} {t.dtype}" for t in outputs)
        rows.append((str(layer.index), layer.type, shapes, one_line(short_name(layer.name))))
    yield from align_columns(rows)
