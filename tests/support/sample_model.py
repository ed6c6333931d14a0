"""The Sample Model of the user manual: one input, six convolutions, two branches; in both source formats."""

from __future__ import annotations

import numpy as np
import onnx

from tests.support.canonical_models import conv2d_options
from tests.support.onnx_models import F32, model, node, value
from tests.support.tflite_models import ModelBuilder

READS = {"conv1": "input1", "conv2": "conv1", "conv3": "conv2", "conv4": "conv3", "conv5": "conv2", "conv6": "conv5"}
"""What each layer reads."""

LAYERS = ("input1", *READS)
"""All layers, in order."""

OUTPUTS = ("conv4", "conv6")
"""Last layers of the two branches."""

SIZE, CHANNELS = 12, 6
"""Of all images; the input has 3 channels."""


def weights() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Weights ``[out, in, 3, 3]`` and biases of each convolution; they keep values around 1."""
    rng = np.random.default_rng(11)
    found = {}
    for name, source in READS.items():
        fan = 3 if source == "input1" else CHANNELS
        kernel = rng.normal(0, 1 / np.sqrt(9 * fan), (CHANNELS, fan, 3, 3))
        found[name] = kernel.astype(F32), rng.normal(0, 0.2, CHANNELS).astype(F32)
    return found


def onnx_model(*, normalised: bool = False) -> onnx.ModelProto:
    """In ONNX: nodes and their results have the layers' names.

    Args:
        normalised: Put a layer ``conv5`` behind the convolution, which is ``conv5_product`` then: both are one
            operation of the unit.
    """
    nodes, constants = [], {}
    for name, source in READS.items():
        constants[f"{name}_w"], constants[f"{name}_b"] = weights()[name]
        split = normalised and name == "conv5"
        own = "conv5_product" if split else name
        nodes.append(node("Conv", f"{source} {name}_w {name}_b", own, own, pads=[1, 1, 1, 1]))
        if split:
            nodes.append(node("Relu", own, name, name))
    shape = [1, CHANNELS, SIZE, SIZE]
    ends = [value(name, shape) for name in OUTPUTS]
    return model(nodes, [value("input1", [1, 3, SIZE, SIZE])], ends, constants)


def tflite_model() -> bytes:
    """In TensorFlow Lite: the results have the layers' names."""
    build = ModelBuilder()
    tensors = {"input1": build.tensor("input1", [1, SIZE, SIZE, 3])}
    for name, source in READS.items():
        kernel, bias = weights()[name]
        operands = [
            build.constant(f"{name}_w", np.ascontiguousarray(kernel.transpose(0, 2, 3, 1))),
            build.constant(f"{name}_b", bias),
        ]
        tensors[name] = build.tensor(name, [1, SIZE, SIZE, CHANNELS])
        build.operator("CONV_2D", [tensors[source], *operands], [tensors[name]], conv2d_options())
    return build.finish([tensors["input1"]], [tensors[name] for name in OUTPUTS])


def content(suffix: str) -> bytes:
    """The file in the format of a suffix, ``onnx`` or ``tflite``."""
    return tflite_model() if suffix == "tflite" else onnx_model().SerializeToString()


def sample(seed: int, suffix: str) -> np.ndarray:
    """A smooth image, in the layout of the format."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(1, 3, SIZE // 4, SIZE // 4))
    image = (coarse.repeat(4, 2).repeat(4, 3) + rng.normal(0, 0.2, (1, 3, SIZE, SIZE))).astype(F32)
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1)) if suffix == "tflite" else image
