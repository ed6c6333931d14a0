"""Real Caffe networks in the canonical graph, against the numbers that OpenCV's DNN module gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet

from synap_core.api import ModelRequest, Slice
from synap_frontend_caffe.model import CaffeModel
from synap_frontend_caffe.schema import Message, NetParameter
from tests.support.canonical import opaque_reasons, run, whole

pytestmark = pytest.mark.zoo

MODELS: Mapping[str, tuple[int, tuple[int, ...]]] = {
    "cifar10_full": (13, (1, 3, 32, 32)),
    "lenet_v1proto": (8, (1, 1, 28, 28)),
    "lenet_v2proto": (8, (1, 1, 28, 28)),
    "open_nsfw_resnet50_1by2": (228, (1, 3, 224, 224)),
}
"""Layers of each network, and the shape of its input once the batch is 1."""

TOLERANCE = 1e-5
"""Of outputs that are probabilities: another order of additions makes a difference of about 1e-7."""

FORK_FIELDS = frozenset({"layer.10001", "layer.memory_data_param.10000", "layer.memory_data_param.10001"})
"""What the Caffe that trained open_nsfw had and Caffe 1.0 has not."""


def opened(zoo: Path, name: str) -> CaffeModel:
    path = zoo / "models" / "caffe" / f"{name}.prototxt"
    return CaffeModel.open(ModelRequest(path=path, weights=path.with_suffix(".caffemodel")))


def samples(zoo: Path, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with np.load(zoo / "reference" / f"{name}.caffemodel.npz") as stored:
        count = sum(key.endswith("_input_0") for key in stored)
        for number in range(count):
            yield stored[f"s{number}_input_0"][:1], stored[f"s{number}_output_0"][:1]


def thirds(source: CaffeModel) -> list[Slice]:
    """The layers in three runs."""
    layers = whole(source).layers
    cuts = [0, len(layers) // 3, 2 * len(layers) // 3, len(layers)]
    parts = []
    for start, end in itertools.pairwise(cuts):
        group, rest = layers[start:end], layers[end:]
        made = {name for layer in group for name in layer.outputs}
        read = {name for layer in group for name in layer.inputs} - made
        wanted = {name for layer in rest for name in layer.inputs} | set(source.outputs)
        parts.append(Slice(layers=group, inputs=tuple(sorted(read)), outputs=tuple(sorted(made & wanted))))
    return parts


@pytest.mark.parametrize("name", MODELS)
def test_network_gives_the_reference_numbers(zoo: Path, name: str) -> None:
    source = opened(zoo, name)
    count, shape = MODELS[name]
    assert {item.status for item in source.support()} == {"imported"}
    assert len(source.support()) == count
    assert (source.inputs, source.tensors["data"].shape, source.outputs) == (("data",), shape, ("prob",))
    graph = source.canonical(whole(source))
    assert opaque_reasons(graph) == []
    compared = 0
    for x, expected in samples(zoo, name):
        (found,) = run(graph, [x])
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        assert found.argmax() == expected.argmax()
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize("name", MODELS)
def test_parts_in_a_row_give_the_reference_numbers(zoo: Path, name: str) -> None:
    x, expected = next(samples(zoo, name))
    source = opened(zoo, name)
    tensors = {"data": x}
    for part in thirds(source):
        found = run(source.canonical(part), [tensors[tensor] for tensor in part.inputs])
        tensors |= dict(zip(part.outputs, found, strict=True))
    np.testing.assert_allclose(tensors["prob"], expected, atol=TOLERANCE)


def test_batch_of_64_is_changed_and_noted(zoo: Path) -> None:
    for name in ("lenet_v1proto", "lenet_v2proto"):
        assert opened(zoo, name).notes == ("the fixed batch of 64 was changed to 1",)


@pytest.mark.parametrize("name", MODELS)
def test_schema_knows_the_fields_that_caffe_wrote(zoo: Path, name: str) -> None:
    stored = NetParameter()
    stored.ParseFromString((zoo / "models" / "caffe" / f"{name}.caffemodel").read_bytes())
    assert stored.layer or stored.layers
    assert set(unknown(stored)) <= FORK_FIELDS


def unknown(message: Message, path: str = "") -> Iterator[str]:
    """Fields without a name in a message, as ``field.field.number``."""
    for field in UnknownFieldSet(message):
        yield f"{path}{field.field_number}"
    for descriptor, found in message.ListFields():
        if descriptor.message_type is not None:
            inner: Any = found if hasattr(found, "__len__") else [found]
            for item in inner:
                yield from unknown(item, f"{path}{descriptor.name}.")
