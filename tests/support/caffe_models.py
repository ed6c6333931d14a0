"""Write small Caffe models: the text of the network and the bytes of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from synap_core.source import BoundarySpec, ModelRequest
from synap_frontend_caffe.model import CaffeModel
from synap_frontend_caffe.schema import BlobProto, Message, NetParameter, V1LayerParameter


@dataclass(frozen=True)
class Made:
    """A model: what its two files hold."""

    prototxt: str
    caffemodel: bytes


@dataclass(frozen=True)
class MadeLayer:
    """A layer: its text, and its weights."""

    name: str
    type: str
    text: str
    blobs: Sequence[np.ndarray]


def layer(
    name: str,
    kind: str,
    bottoms: str | Sequence[str] = (),
    tops: str | Sequence[str] = (),
    body: str = "",
    blobs: Sequence[np.ndarray] = (),
) -> MadeLayer:
    """A layer ``layer { … }``.

    Args:
        name: Its name.
        kind: Layer type, such as ``Convolution``.
        bottoms: Blobs it reads; a text is split at blanks.
        tops: Blobs it writes.
        body: Its parameters in prototxt notation.
        blobs: Its weights.
    """
    read, written = (field.split() if isinstance(field, str) else field for field in (bottoms, tops))
    lines = [f'name: "{name}"', f'type: "{kind}"', *(f'bottom: "{b}"' for b in read), *(f'top: "{t}"' for t in written)]
    inner = "\n  ".join([*lines, *([body] if body else [])])
    return MadeLayer(name, kind, f"layer {{\n  {inner}\n}}\n", blobs)


def network(layers: Sequence[MadeLayer], **inputs: Sequence[int]) -> Made:
    """A model of layers; the inputs are given by their shapes, batch first."""
    head = ['name: "net"']
    for name, shape in inputs.items():
        dims = " ".join(f"dim: {size}" for size in shape)
        head += [f'input: "{name}"', f"input_shape {{ {dims} }}"]
    return Made("\n".join(head) + "\n" + "".join(item.text for item in layers), weights(layers))


def weights(layers: Sequence[MadeLayer]) -> bytes:
    """The bytes of a ``.caffemodel``."""
    message = NetParameter(name="net")
    for item in layers:
        entry = message.layer.add(name=item.name, type=item.type)
        entry.blobs.extend(blob(array) for array in item.blobs)
    return bytes(message.SerializeToString())


def blob(array: np.ndarray) -> Message:
    """An array as a blob of Caffe 1.0."""
    made = BlobProto(data=np.asarray(array, np.float32).ravel())
    made.shape.dim.extend(array.shape)
    return made


def old_blob(array: np.ndarray) -> Message:
    """An array as a blob of four dimensions, as files had them before."""
    num, channels, height, width = (1,) * (4 - array.ndim) + array.shape
    made = BlobProto(data=np.asarray(array, np.float32).ravel())
    made.num, made.channels, made.height, made.width = num, channels, height, width
    return made


def old_layers(made: Made) -> Made:
    """The same model in the format V1; its layer types must be one word each."""
    text = made.prototxt.replace("layer {", "layers {")
    text = re.sub(r'type: "(\w+)"', lambda match: f"type: {match[1].upper()}", text)
    new, old = NetParameter(), NetParameter(name="net")
    new.ParseFromString(made.caffemodel)
    for item in new.layer:
        entry = old.layers.add(name=item.name, type=V1LayerParameter.LayerType.Value(item.type.upper()))
        entry.blobs.extend(old_blob(np.array(stored.data).reshape(stored.shape.dim)) for stored in item.blobs)
    return Made(text, bytes(old.SerializeToString()))


def save(folder: Path, made: Made, stem: str = "net") -> tuple[Path, Path]:
    """Write the two files of a model."""
    model, data = folder / f"{stem}.prototxt", folder / f"{stem}.caffemodel"
    model.write_text(made.prototxt, encoding="utf-8")
    data.write_bytes(made.caffemodel)
    return model, data


def open_made(
    folder: Path, made: Made, inputs: Sequence[BoundarySpec] = (), outputs: Sequence[BoundarySpec] = ()
) -> CaffeModel:
    """Write a model and open it with the frontend."""
    model, data = save(folder, made)
    return CaffeModel.open(ModelRequest(path=model, weights=data, inputs=tuple(inputs), outputs=tuple(outputs)))


def opencv(made: Made, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
    """What OpenCV's importer computes for some blobs.

    Args:
        made: The model.
        feeds: Inputs by name.
        outputs: Names of layers; OpenCV calls results by the layer that wrote them.
    """
    net = cv2.dnn.readNetFromCaffe(
        np.frombuffer(made.prototxt.encode(), np.uint8), np.frombuffer(made.caffemodel, np.uint8)
    )
    net.enableFusion(False)
    for name, array in feeds.items():
        net.setInput(array, name)
    return [np.array(found) for found in net.forward(list(outputs))]


SMALL_WEIGHTS = (np.linspace(-1, 1, 54, dtype=np.float32).reshape(2, 3, 3, 3), np.zeros(2, np.float32))
SMALL_CONVOLUTION = "convolution_param { num_output: 2 kernel_size: 3 stride: 1 pad: 1 group: 1 dilation: 1 }"


def small() -> Made:
    """A network with the layers whose parameters say most."""
    dense = [np.ones((1, 50), np.float32), np.zeros(1, np.float32)]
    layers = [
        layer("conv", "Convolution", "x", "y", SMALL_CONVOLUTION, SMALL_WEIGHTS),
        layer("bn", "BatchNorm", "y", "y", "", [np.ones(2, np.float32), np.ones(2, np.float32), np.ones(1)]),
        layer("pool", "Pooling", "y", "p", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
        layer("norm", "LRN", "p", "n", "lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 norm_region: WITHIN_CHANNEL }"),
        layer("slice", "Slice", "n", "a b", "slice_param { axis: 1 slice_point: 1 }"),
        layer("tile", "Tile", "a", "t", "tile_param { axis: 1 tiles: 2 }"),
        layer("shape", "Reshape", "t", "r", "reshape_param { shape { dim: 0 dim: -1 dim: 2 } axis: 0 num_axes: -1 }"),
        layer("flat", "Flatten", "r", "f", "flatten_param { axis: 1 end_axis: -1 }"),
        layer("ip", "InnerProduct", "f", "i", "inner_product_param { num_output: 1 axis: 1 }", dense),
        layer("mean", "Reduction", "b", "m", "reduction_param { operation: MEAN axis: 1 coeff: 2 }"),
    ]
    return network(layers, x=(2, 3, 8, 8))


def only_convolution() -> Made:
    """The first layer of `small`, whose type the format V1 has as well."""
    return network([layer("conv", "Convolution", "x", "y", SMALL_CONVOLUTION, SMALL_WEIGHTS)], x=(2, 3, 8, 8))
