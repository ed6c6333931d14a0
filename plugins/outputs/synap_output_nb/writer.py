"""Write the only subgraph of a conversion as a model file with its metadata beside it."""

from __future__ import annotations

import json
from pathlib import Path

from synap_core.api import Conversion, InputError, render_model_info, subgraph_metadata
from synap_output_nb.plugin import INFO_FILE, META_FILE, MODEL_FILE

INDENT = 4
"""As the official toolkit writes the metadata of compiled models."""

BUNDLE = "choose --out-format synap, which holds subgraphs of any kind"


def write(conversion: Conversion, out_dir: Path) -> None:
    """Write ``model.nb``, ``model.json`` and the reports.

    Raises:
        InputError: There are several subgraphs, or the delegate makes other models than these runtimes load.
    """
    if len(conversion.artifacts) != 1:
        delegates = ", ".join(conversion.delegates)
        msg = f"the model became {len(conversion.artifacts)} subgraphs ({delegates}); --out-format nb holds only one"
        raise InputError(msg, hint=f"assign all layers to one delegate in the metafile, or {BUNDLE}")
    artifact = conversion.artifacts[0]
    if artifact.model_file != MODEL_FILE:
        delegate = conversion.delegates[0]
        msg = f"delegate {delegate!r} makes {artifact.model_file!r}; --out-format nb holds only a {MODEL_FILE!r}"
        able = "assign all layers to a delegate that makes one, such as npu on targets that have it"
        raise InputError(msg, hint=f"{able}, or {BUNDLE}")
    (out_dir / MODEL_FILE).write_bytes(artifact.model)
    (out_dir / META_FILE).write_text(_metadata(conversion), encoding="utf-8", newline="\n")
    (out_dir / INFO_FILE).write_text(render_model_info(conversion), encoding="utf-8", newline="\n")
    for name, text in conversion.listings.items():
        (out_dir / name).write_text(text, encoding="utf-8", newline="\n")


def _metadata(conversion: Conversion) -> str:
    found = subgraph_metadata(conversion.artifacts[0])
    tensors = {key: found.pop(key) for key in ("Inputs", "Outputs")}
    # Runtimes do not read the connections, but what the official compiler writes has them.
    data = {**tensors, "Recurrent_connections": {}, **found}
    return json.dumps(data, indent=INDENT, ensure_ascii=False, allow_nan=False)
