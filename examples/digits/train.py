"""Train a small convolutional network on scikit-learn's digits and write it as float .tflite, int8 .tflite and .onnx.

Usage: ``python examples/digits/train.py [--out DIR]``. Two runs on one machine write the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from onnx import helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tflite_writer import ModelBuilder, Quantization, asymmetric_int8
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Parameters = dict[str, Floats]

SHAPES = {
    "image": (1, 8, 8, 1),
    "conv1": (1, 8, 8, 16),
    "pool1": (1, 4, 4, 16),
    "conv2": (1, 4, 4, 32),
    "pool2": (1, 2, 2, 32),
    "flatten": (1, 128),
    "logits": (1, 10),
    "probabilities": (1, 10),
}
"""Activations in NHWC, in execution order."""

FAN_IN = {"conv1": 9 * 1, "conv2": 9 * 16, "logits": 128}
"""Inputs that each output value of a layer with weights depends on; convolutions see 3x3 pixels."""

EPOCHS, BATCH, LEARNING_RATE, MOMENTUM = 60, 32, 0.1, 0.9
SAMPLE_DIGITS = (0, 3, 4, 6, 7)


class Split(NamedTuple):
    """Images ``(N, 8, 8, 1) uint8`` and labels ``(N,)``, for training and for the test."""

    train_images: Bytes
    test_images: Bytes
    train_labels: Labels
    test_labels: Labels


def load_split() -> Split:
    """Load the 1,797 digits and keep a quarter of each class for the test; pixels 0..16 become 0..255."""
    digits = load_digits()
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., np.newaxis]
    return Split(*train_test_split(images, digits.target, test_size=0.25, stratify=digits.target, random_state=0))


def normalise(images: Bytes) -> Floats:
    """Map bytes to 0..1, as the means and the scale of digits.yaml do."""
    return images.astype(np.float32) / np.float32(255)


def patches(images: Floats) -> Floats:
    """Lay the 3x3 surroundings of each pixel side by side: ``(N, H, W, C)`` to ``(N, H, W, 9 * C)``."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.concatenate(taps, axis=-1)


def add_patches(gradient: Floats) -> Floats:
    """Adjoint of ``patches``: add every patch back to where it was cut from."""
    count, height, width, depth = gradient.shape
    padded = np.zeros((count, height + 2, width + 2, depth // 9), np.float32)
    for index, tap in enumerate(np.split(gradient, 9, axis=-1)):
        y, x = divmod(index, 3)
        padded[:, y : y + height, x : x + width] += tap
    return padded[:, 1:-1, 1:-1]


def max_pool(values: Floats) -> Floats:
    """Take the maximum of each 2x2 window of ``(N, H, W, C)``."""
    count, height, width, channels = values.shape
    pooled: Floats = values.reshape(count, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    return pooled


def enlarge(values: Floats) -> Floats:
    """Repeat every pixel in a 2x2 window."""
    return values.repeat(2, axis=1).repeat(2, axis=2)


def forward(parameters: Parameters, images: Floats) -> dict[str, Floats]:
    """Compute all activations but the probabilities, for ``(N, 8, 8, 1)`` images in 0..1."""
    values = {"image": images}
    for source, conv, pool in (("image", "conv1", "pool1"), ("pool1", "conv2", "pool2")):
        sums = patches(values[source]) @ parameters[f"{conv}/weights"] + parameters[f"{conv}/bias"]
        values[conv] = np.maximum(sums, 0)
        values[pool] = max_pool(values[conv])
    values["flatten"] = values["pool2"].reshape(len(images), -1)
    values["logits"] = values["flatten"] @ parameters["logits/weights"] + parameters["logits/bias"]
    return values


def softmax(logits: Floats) -> Floats:
    """Turn ``(N, 10)`` logits into probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def gradients(parameters: Parameters, values: dict[str, Floats], labels: Labels) -> Parameters:
    """Derive the mean cross-entropy of a batch by every parameter; ``values`` come from ``forward``."""
    error: Floats = (softmax(values["logits"]) - np.eye(10, dtype=np.float32)[labels]) / np.float32(len(labels))
    found = {"logits/weights": values["flatten"].T @ error, "logits/bias": error.sum(axis=0)}
    error = (error @ parameters["logits/weights"].T).reshape(values["pool2"].shape)
    for source, conv, pool in (("pool1", "conv2", "pool2"), ("image", "conv1", "pool1")):
        is_maximum = (values[conv] == enlarge(values[pool])) & (values[conv] > 0)
        error = enlarge(error) * is_maximum
        columns = patches(values[source])
        found[f"{conv}/weights"] = np.tensordot(columns, error, axes=((0, 1, 2), (0, 1, 2)))
        found[f"{conv}/bias"] = error.sum(axis=(0, 1, 2))
        error = add_patches(error @ parameters[f"{conv}/weights"].T)
    return found


def train(images: Floats, labels: Labels) -> Parameters:
    """Fit the network by stochastic gradient descent with momentum; the step falls linearly to 0.

    Weights are matrices ``(fan in, channels)``.
    """
    random = np.random.default_rng(0)
    parameters: Parameters = {}
    for layer, fan_in in FAN_IN.items():
        channels = SHAPES[layer][-1]
        weights = random.standard_normal((fan_in, channels)) * np.sqrt(2 / fan_in)
        parameters[f"{layer}/weights"] = weights.astype(np.float32)
        parameters[f"{layer}/bias"] = np.zeros(channels, np.float32)
    velocity = {name: np.zeros_like(values) for name, values in parameters.items()}
    for epoch in range(EPOCHS):
        step = np.float32(LEARNING_RATE * (1 - epoch / EPOCHS))
        for batch in np.array_split(random.permutation(len(images)), len(images) // BATCH):
            found = gradients(parameters, forward(parameters, images[batch]), labels[batch])
            for name in parameters:
                velocity[name] = np.float32(MOMENTUM) * velocity[name] - step * found[name]
                parameters[name] = parameters[name] + velocity[name]
    return parameters


def calibrate(parameters: Parameters, images: Floats) -> dict[str, Quantization]:
    """Choose the int8 parameters of all activations from the extremes that ``images`` reach."""
    values = forward(parameters, images)
    found = {name: asymmetric_int8(float(values[name].min()), float(values[name].max())) for name in values}
    found["image"] = Quantization(np.array([1 / 255], np.float32), -128)
    found["pool1"] = found["conv1"]
    found["pool2"] = found["flatten"] = found["conv2"]
    found["probabilities"] = Quantization(np.array([1 / 256], np.float32), -128)
    return found


def tflite_model(parameters: Parameters, activations: dict[str, Quantization] | None = None) -> bytes:
    """Write the network as .tflite: in float32, or in int8 when ``activations`` say how to quantize it."""
    model = ModelBuilder(f"Handwritten digits, {'int8' if activations else 'float32'}", quantized=bool(activations))
    tensors = {name: model.activation(name, shape, (activations or {}).get(name)) for name, shape in SHAPES.items()}
    for source, conv, pool in (("image", "conv1", "pool1"), ("pool1", "conv2", "pool2")):
        kernels = parameters[f"{conv}/weights"].T.reshape(-1, 3, 3, SHAPES[source][-1])
        model.conv2d_relu(tensors[source], kernels, parameters[f"{conv}/bias"], tensors[conv])
        model.max_pool_2x2(tensors[conv], tensors[pool])
    model.reshape(tensors["pool2"], tensors["flatten"])
    dense = parameters["logits/weights"].T
    model.fully_connected(tensors["flatten"], dense, parameters["logits/bias"], tensors["logits"])
    model.softmax(tensors["logits"], tensors["probabilities"])
    return model.pack([tensors["image"]], [tensors["probabilities"]])


def onnx_parameters(parameters: Parameters) -> Parameters:
    """Reorder the weights for NCHW: kernels ``(out, in, 3, 3)``; the dense layer reads channels before pixels."""
    found = dict(parameters)
    for conv in ("conv1", "conv2"):
        depth = FAN_IN[conv] // 9
        found[f"{conv}/weights"] = parameters[f"{conv}/weights"].reshape(3, 3, depth, -1).transpose(3, 2, 0, 1)
    dense = parameters["logits/weights"].reshape(*SHAPES["pool2"][1:], -1)
    found["logits/weights"] = dense.transpose(3, 2, 0, 1).reshape(-1, FAN_IN["logits"])
    return found


def onnx_model(parameters: Parameters) -> bytes:
    """Write the float network as .onnx (opset 17, IR 8) with an input of ``(1, 1, 8, 8)``."""
    nodes = []
    for source, index in (("image", 1), ("pool1", 2)):
        conv, relu, pool = f"conv{index}", f"relu{index}", f"pool{index}"
        inputs = [source, f"{conv}/weights", f"{conv}/bias"]
        nodes += [
            helper.make_node("Conv", inputs, [conv], conv, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [conv], [relu], relu),
            helper.make_node("MaxPool", [relu], [pool], pool, kernel_shape=[2, 2], strides=[2, 2]),
        ]
    nodes += [
        helper.make_node("Flatten", ["pool2"], ["flatten"], "flatten", axis=1),
        helper.make_node("Gemm", ["flatten", "logits/weights", "logits/bias"], ["logits"], "logits", transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "probabilities", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 1, 8, 8))],
        [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, SHAPES["probabilities"])],
        [numpy_helper.from_array(values, name) for name, values in onnx_parameters(parameters).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def run_litert(path: Path, images: Bytes) -> npt.NDArray[Any]:
    """Run a .tflite over ``(N, 8, 8, 1)`` images and return its raw outputs ``(N, 10)``."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    source, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    integer = source["dtype"] == np.int8
    # The int8 input has scale 1/255 and zero point -128, so that quantizing a byte is a subtraction.
    inputs = (images.astype(np.int16) - 128).astype(np.int8) if integer else normalise(images)
    rows = []
    for image in inputs:
        interpreter.set_tensor(source["index"], image[np.newaxis])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(output["index"])[0])
    return np.stack(rows)


def run_onnx(path: Path, images: Bytes) -> Floats:
    """Run the .onnx over ``(N, 8, 8, 1)`` images and return its outputs ``(N, 10)``."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    inputs = normalise(images).transpose(0, 3, 1, 2)
    return np.stack([session.run(None, {"image": image[np.newaxis]})[0][0] for image in inputs])


def write_samples(folder: Path, images: Bytes, labels: Labels) -> None:
    """Write the first image of some digits as a grey 8x8 PNG named after the digit."""
    for digit in SAMPLE_DIGITS:
        first = int(np.flatnonzero(labels == digit)[0])
        Image.fromarray(images[first, :, :, 0]).save(folder / f"{digit}.png")


def main() -> None:
    """Train, write all files and print the accuracies on the test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    split = load_split()
    images = normalise(split.train_images)
    with threadpool_limits(1):  # sums split over threads would depend on how many processors there are
        parameters = train(images, split.train_labels)
        activations = calibrate(parameters, images)
    (folder / "digits_float.tflite").write_bytes(tflite_model(parameters))
    (folder / "digits_int8.tflite").write_bytes(tflite_model(parameters, activations))
    (folder / "digits.onnx").write_bytes(onnx_model(parameters))
    write_samples(folder, split.test_images, split.test_labels)
    for name, run in (
        ("digits_float.tflite", run_litert),
        ("digits_int8.tflite", run_litert),
        ("digits.onnx", run_onnx),
    ):
        found = run(folder / name, split.test_images).argmax(axis=1)
        print(f"{name}: {100 * np.mean(found == split.test_labels):.2f} % of {len(found)} test images")


if __name__ == "__main__":
    main()
