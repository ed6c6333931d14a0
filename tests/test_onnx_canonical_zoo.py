"""Real ``.onnx`` models in the canonical graph, whole and in parts, against their reference outputs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from synap_core.api import BoundarySpec, ModelRequest, Slice
from synap_frontend_onnx.model import OnnxModel
from tests.support.canonical import checked_proto, opaque_reasons, whole
from tests.support.onnx_models import Oracle

pytestmark = pytest.mark.zoo

MODELS: Mapping[str, int] = {
    "classification/efficientnet-lite0": 111,
    "detection/FastestDet": 211,
    "detection/digits_det_160": 232,
    "ocr/ch_PP-OCRv4_det_infer": 330,
}
"""Nodes of each model's graph: those of shape arithmetic are gone."""

TOLERANCE = 1e-6
"""Of the largest magnitude: the average pooling of operator set 19 adds in another order than that of 11."""


def reference(zoo: Path, name: str, sample: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(zoo / "reference" / f"{Path(name).name}.onnx.npz") as stored:
        return stored[f"s{sample}_input_0"], stored[f"s{sample}_output_0"]


def opened(zoo: Path, name: str, shape: tuple[int, ...]) -> OnnxModel:
    return OnnxModel.open(ModelRequest(path=zoo / "models" / f"{name}.onnx", inputs=(BoundarySpec(shape=shape),)))


def thirds(source: OnnxModel) -> Sequence[Slice]:
    """The layers in three runs, without those that compute constants."""
    layers = [layer for layer in whole(source).layers if set(layer.outputs) - source.slicer.constants]
    cuts = [0, len(layers) // 3, 2 * len(layers) // 3, len(layers)]
    parts = []
    for start, end in itertools.pairwise(cuts):
        group, rest = layers[start:end], layers[end:]
        made = {name for layer in group for name in layer.outputs}
        read = {name for layer in group for name in layer.inputs} - made
        wanted = {name for layer in rest for name in layer.inputs} | set(source.outputs)
        parts.append(Slice(layers=tuple(group), inputs=tuple(sorted(read)), outputs=tuple(sorted(made & wanted))))
    return parts


@pytest.mark.parametrize("name", MODELS)
def test_graph_gives_the_reference_numbers(zoo: Path, name: str) -> None:
    x, expected = reference(zoo, name, 0)
    source = opened(zoo, name, x.shape)
    graph = source.canonical(whole(source))
    assert opaque_reasons(graph) == []
    assert len(graph.graph) == MODELS[name]
    (found,) = Oracle(checked_proto(graph))([x])
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", MODELS)
def test_parts_in_a_row_give_the_reference_numbers(zoo: Path, name: str) -> None:
    x, expected = reference(zoo, name, 1)
    source = opened(zoo, name, x.shape)
    tensors = {source.inputs[0]: x}
    for part in thirds(source):
        oracle = Oracle(checked_proto(source.canonical(part)))
        tensors |= dict(zip(part.outputs, oracle([tensors[n] for n in part.inputs]), strict=True))
    assert np.abs(tensors[source.outputs[0]] - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_is_imported(zoo: Path, name: str) -> None:
    x, _ = reference(zoo, name, 0)
    assert {item.status for item in opened(zoo, name, x.shape).support()} == {"imported"}
