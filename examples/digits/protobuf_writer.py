"""Write the digits network as Caffe and TensorFlow models: ``python examples/digits/protobuf_writer.py``.

Reads the weights of ``digits.onnx``. Both formats are protocol buffers; the few fields that they need are encoded here,
by their public numbers.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper

Floats = npt.NDArray[np.float32]

VARINT, BYTES = 0, 2
"""Wire types of protocol buffers."""

FLOAT, INT32 = 1, 3
"""Element types of TensorFlow's ``DataType``."""

PROTOTXT = """\
name: "digits"
layer { name: "image" type: "Input" top: "image" input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }
layer { name: "conv1" type: "Convolution" bottom: "image" top: "conv1"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 32 kernel_size: 3 pad: 1 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "logits" type: "InnerProduct" bottom: "pool2" top: "logits" inner_product_param { num_output: 10 } }
layer { name: "probabilities" type: "Softmax" bottom: "logits" top: "probabilities" }
"""


def number(field: int, value: int) -> bytes:
    """A field that holds an integer."""
    return _varint(field << 3 | VARINT) + _varint(value)


def block(field: int, content: bytes | str) -> bytes:
    """A field that holds text, bytes, a message or packed numbers."""
    data = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def caffe_weights(weights: Mapping[str, Floats]) -> bytes:
    """A ``NetParameter`` with the blobs of the layers that have some."""
    found = block(1, "digits")
    for name, kind in (("conv1", "Convolution"), ("conv2", "Convolution"), ("logits", "InnerProduct")):
        blobs = [weights[f"{name}/weights"], weights[f"{name}/bias"]]
        layer = block(1, name) + block(2, kind)
        found += block(100, layer + b"".join(block(7, _blob(blob)) for blob in blobs))
    return found


def _blob(values: Floats) -> bytes:
    shape = block(1, b"".join(_varint(size) for size in values.shape))
    return block(5, values.astype("<f4").tobytes()) + block(7, shape)


def tensorflow_graph(weights: Mapping[str, Floats]) -> bytes:
    """A frozen ``GraphDef``: channels last, and so the dense layer's weights in another order."""
    dense = weights["logits/weights"].reshape(10, 32, 2, 2).transpose(2, 3, 1, 0).reshape(128, 10)
    window = {"ksize": _ints(1, 2, 2, 1), "strides": _ints(1, 2, 2, 1), "padding": block(2, "VALID")}
    step = {"strides": _ints(1, 1, 1, 1), "padding": block(2, "SAME")}
    image = {"dtype": number(6, FLOAT), "shape": block(7, b"".join(block(2, number(1, n)) for n in (1, 8, 8, 1)))}
    nodes = [_node("image", "Placeholder", [], image)]
    source = "image"
    for layer in ("1", "2"):
        conv, relu, pool = f"conv{layer}", f"relu{layer}", f"pool{layer}"
        nodes += _constant(f"{conv}/weights", weights[f"{conv}/weights"].transpose(2, 3, 1, 0))
        nodes += _constant(f"{conv}/bias", weights[f"{conv}/bias"])
        nodes.append(_node(conv, "Conv2D", [source, f"{conv}/weights/read"], {**_type(), **step}))
        nodes.append(_node(f"{conv}/BiasAdd", "BiasAdd", [conv, f"{conv}/bias/read"], _type()))
        nodes.append(_node(relu, "Relu", [f"{conv}/BiasAdd"], _type()))
        nodes.append(_node(pool, "MaxPool", [relu], {**_type(), **window}))
        source = pool
    nodes.append(_node("flatten/shape", "Const", [], _const(np.array([-1, 128], np.int32))))
    nodes.append(_node("flatten", "Reshape", [source, "flatten/shape"], _type()))
    nodes += _constant("logits/weights", dense)
    nodes += _constant("logits/bias", weights["logits/bias"])
    nodes.append(_node("logits/MatMul", "MatMul", ["flatten", "logits/weights/read"], _type()))
    nodes.append(_node("logits", "BiasAdd", ["logits/MatMul", "logits/bias/read"], _type()))
    nodes.append(_node("probabilities", "Softmax", ["logits"], _type()))
    return b"".join(nodes) + block(4, number(1, 27))


def _node(name: str, op: str, inputs: Sequence[str], attributes: Mapping[str, bytes]) -> bytes:
    attrs = (block(5, block(1, key) + block(2, value)) for key, value in sorted(attributes.items()))
    return block(1, block(1, name) + block(2, op) + b"".join(block(3, i) for i in inputs) + b"".join(attrs))


def _constant(name: str, values: Floats) -> list[bytes]:
    """A constant and the operator that reads it, as freezing leaves them."""
    return [_node(name, "Const", [], _const(values)), _node(f"{name}/read", "Identity", [name], _type())]


def _const(values: npt.NDArray[np.float32] | npt.NDArray[np.int32]) -> dict[str, bytes]:
    dtype = INT32 if values.dtype == np.int32 else FLOAT
    shape = b"".join(block(2, number(1, size)) for size in values.shape)
    stored = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    return {"dtype": number(6, dtype), "value": block(8, number(1, dtype) + block(2, shape) + block(4, stored))}


def _type() -> dict[str, bytes]:
    return {"T": number(6, FLOAT)}


def _ints(*values: int) -> bytes:
    return block(1, block(3, b"".join(_varint(value) for value in values)))


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here, help="folder to write to")
    folder: Path = parser.parse_args().out
    model = onnx.load(here / "digits.onnx")
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (folder / "digits.prototxt").write_text(PROTOTXT, encoding="utf-8")
    (folder / "digits.caffemodel").write_bytes(caffe_weights(weights))
    (folder / "digits.pb").write_bytes(tensorflow_graph(weights))


if __name__ == "__main__":
    main()
