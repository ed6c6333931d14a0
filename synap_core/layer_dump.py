"""Write what the operations of a model gave into a folder: a ``.npy`` file for each tensor, and an index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from numpy.lib import format as npy_format

from synap_core.executor import SubgraphLayers
from synap_core.inspection import quantization_values
from synap_core.staging import publish, staging_folder
from synap_core.subgraphs import LayerOutput

INDEX = "index.json"
MAX_STEM = 100
"""Characters of a layer's name in a file's."""

_OURS = re.compile(r"s[0-9]+_[0-9]{4,}_[A-Za-z0-9._-]{0,120}\.npy")
_UNSAFE = re.compile(r"[^A-Za-z0-9-]+")
_OPTION = "--dump-layers"


def dump_layers(folder: Path, found: Sequence[SubgraphLayers]) -> int:
    """Write the outputs of operations; the folder changes only when all have been written.

    Files of an earlier dump, which the index there lists, are removed.

    Args:
        folder: The folder; made when missing.
        found: What the subgraphs gave.

    Returns:
        Number of tensors.

    Raises:
        InputError: The folder cannot be written.
    """
    with staging_folder(folder, _OPTION) as staging:
        entries = []
        for subgraph, index, output in _numbered(found):
            name = file_name(subgraph, index, output)
            with (staging / name).open("wb") as stream:
                npy_format.write_array(stream, output.items, allow_pickle=False)
            entries.append(_entry(name, subgraph, output))
        subgraphs = [{"model": item.model_name, "shown": item.outputs is not None} for item in found]
        text = json.dumps({"subgraphs": subgraphs, "tensors": entries}, indent=2)
        (staging / INDEX).write_text(text + "\n", encoding="utf-8")
        publish(staging, folder, INDEX, tuple(_earlier(folder)), _OPTION)
    return len(entries)


def file_name(subgraph: int, number: int, output: LayerOutput) -> str:
    """Name of a tensor's file: subgraph, position of the operation, number of the output when not the first, layer.

    >>> import numpy as np
    >>> output = LayerOutput(position=7, layer="../a/b c", type="Conv", name="t", items=np.zeros(1))
    >>> file_name(0, 0, output), file_name(0, 1, output)
    ('s0_0007_a_b_c.npy', 's0_0007_out1_a_b_c.npy')
    """
    layer = _UNSAFE.sub("_", output.layer).strip("_")[:MAX_STEM]
    parts = [f"s{subgraph}", f"{output.position:04d}", f"out{number}" if number else "", layer or "layer"]
    return "_".join(filter(None, parts)) + ".npy"


def _numbered(found: Sequence[SubgraphLayers]) -> Iterator[tuple[int, int, LayerOutput]]:
    """Outputs with the position of their subgraph, and their number among those of the same operation."""
    for subgraph, item in enumerate(found):
        counts: dict[int, int] = {}
        for output in item.outputs or ():
            number = counts.get(output.position, 0)
            counts[output.position] = number + 1
            yield subgraph, number, output


def _entry(name: str, subgraph: int, output: LayerOutput) -> dict[str, object]:
    return {
        "file": name,
        "subgraph": subgraph,
        "position": output.position,
        "layer": output.layer,
        "type": output.type,
        "tensor": output.name,
        "shape": list(output.items.shape),
        "dtype": str(output.items.dtype),
        "quantization": quantization_values(output.quant),
    }


def _earlier(folder: Path) -> Iterator[str]:
    """Files of an earlier dump; an index that is none names nothing."""
    try:
        data = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        names = [entry["file"] for entry in data["tensors"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return
    yield from (name for name in names if isinstance(name, str) and _OURS.fullmatch(name))
