"""Build small ``.onnx`` models in code, and run models with ONNX Runtime as an oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from synap_core.api import INPUT_TYPE, BoundarySpec, Layer, ModelRequest, Slice
from synap_frontend_onnx.model import OnnxModel

Shape = Sequence[int | str | None] | None
F32 = np.float32


def value(name: str, shape: Shape, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """Describe a graph input or output."""
    return helper.make_tensor_value_info(name, dtype, shape)


def node(kind: str, inputs: str, outputs: str, name: str = "", domain: str = "", **attributes: Any) -> onnx.NodeProto:
    """Make a node; tensors are separated by blanks, and ``-`` stands for one that is absent."""
    ins, outs = (["" if word == "-" else word for word in text.split()] for text in (inputs, outputs))
    return helper.make_node(kind, ins, outs, name=name, domain=domain, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    ir: int = 8,
    imports: Mapping[str, int] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Put a model together; constants are arrays, initializers in their order."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "net", list(inputs), list(outputs), tensors)
    sets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in (imports or {}).items())]
    made = helper.make_model(
        graph, opset_imports=sets, ir_version=ir, functions=list(functions), producer_name="a test"
    )
    helper.set_model_props(made, dict(metadata or {}))
    return made


def conv5(rng: np.random.Generator) -> onnx.ModelProto:
    """Five operators: x -> conv1 -> a -> Relu -> b; b -> conv2 -> c; b -> Sigmoid -> d; c + d -> y; x [1,3,8,8]."""
    nodes = [
        node("Conv", "x w1", "a", "conv1", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b", "relu"),
        node("Conv", "b w2", "c", "conv2", pads=[1, 1, 1, 1]),
        node("Sigmoid", "b", "d", "sigmoid"),
        node("Add", "c d", "y", "add"),
    ]
    weights = {"w1": rng.normal(size=(4, 3, 3, 3)).astype(F32), "w2": rng.normal(size=(4, 4, 3, 3)).astype(F32)}
    return model(nodes, [value("x", [1, 3, 8, 8])], [value("y", [1, 4, 8, 8])], weights, metadata={"origin": "test"})


def googlenet_like(rng: np.random.Generator, batch: int | str = 1) -> onnx.ModelProto:
    """A row of 14 operators with names as in the published GoogLeNet: ``input`` to ``loss3/loss3_Y``."""
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("conv1/7x7_s2", "Conv", {"pads": [1, 1, 1, 1]}),
        ("conv1/relu", "Relu", {}),
        ("pool1", "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("norm1", "LRN", {"size": 3}),
        ("conv2/reduce", "Conv", {}),
        ("conv2/relu_reduce", "Relu", {}),
        ("conv2/3x3", "Conv", {"pads": [1, 1, 1, 1]}),
        ("conv2/relu", "Relu", {}),
        ("norm2", "LRN", {"size": 3}),
        ("pool2", "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("pool5", "GlobalAveragePool", {}),
        ("flatten", "Flatten", {}),
        ("loss3/classifier", "Gemm", {"transB": 1}),
        ("loss3/loss3", "Softmax", {"axis": 1}),
    ]
    shapes = {0: (6, 3, 3, 3), 4: (6, 6, 1, 1), 6: (8, 6, 3, 3), 12: (5, 8)}
    weights = {f"w{i}": (rng.normal(size=shape) / 3).astype(F32) for i, shape in shapes.items()}
    nodes, last = [], "input"
    for i, (name, kind, attributes) in enumerate(kinds):
        out = f"{name}_Y"
        nodes.append(node(kind, f"{last} w{i}" if i in shapes else last, out, name, **attributes))
        last = out
    return model(nodes, [value("input", [batch, 3, 16, 16])], [value(last, [batch, 5])], weights)


def choice(opset: int = 17) -> onnx.ModelProto:
    """Control flow: ``y`` is ``relu(x) * k`` where the sum of ``x`` is positive, else ``relu(x) - x``.

    Both branches read tensors of the main graph, one of them a constant.
    """
    then = helper.make_graph([node("Mul", "r k", "t")], "then", [], [value("t", [1, 4])])
    other = helper.make_graph([node("Sub", "r x", "e")], "else", [], [value("e", [1, 4])])
    nodes = [
        node("Relu", "x", "r", "relu"),
        node("ReduceSum", "x", "s", "sum", keepdims=0),
        node("Greater", "s zero", "positive", "greater"),
        node("If", "positive", "v", "choose", then_branch=then, else_branch=other),
        node("Abs", "v", "y", "abs"),
    ]
    constants = {"k": np.full((1, 4), 3, F32), "zero": np.array(0, F32)}
    return model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], constants, opset=opset)


def called(opset: int = 17, ir: int = 8) -> onnx.ModelProto:
    """Model-local functions: x -> Relu -> outer (which calls inner) -> y; ``unused`` is called by nobody."""
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("mine", 1)]
    make = helper.make_function
    functions = [
        make("mine", "inner", ["p"], ["q"], [node("Tanh", "p", "q")], sets),
        make("mine", "outer", ["p"], ["q"], [node("inner", "p", "m", domain="mine"), node("Neg", "m", "q")], sets),
        make("mine", "unused", ["p"], ["q"], [node("Exp", "p", "q")], sets),
    ]
    nodes = [
        node("Relu", "x", "r", "relu"),
        node("outer", "r", "f", "call", domain="mine"),
        node("Abs", "f", "y", "abs"),
    ]
    ends = [value("x", [1, 4])], [value("y", [1, 4])]
    return model(nodes, *ends, opset=opset, ir=ir, imports={"mine": 1}, functions=functions)


def quantized(rng: np.random.Generator) -> onnx.ModelProto:
    """A convolution between QuantizeLinear and DequantizeLinear, its weights behind a DequantizeLinear of their own."""
    nodes = [
        node("QuantizeLinear", "x sx zx", "xq", "q"),
        node("DequantizeLinear", "xq sx zx", "xd", "dq"),
        node("DequantizeLinear", "wq sw zw", "wd", "dq_weights", axis=0),
        node("Conv", "xd wd", "c", "conv"),
        node("QuantizeLinear", "c sy zy", "cq", "q_out"),
        node("DequantizeLinear", "cq sy zy", "y", "dq_out"),
    ]
    constants = {
        "sx": np.array(0.02, F32),
        "zx": np.array(128, np.uint8),
        "wq": rng.integers(-127, 128, size=(4, 3, 1, 1), dtype=np.int8),
        "sw": np.full(4, 0.01, F32),
        "zw": np.zeros(4, np.int8),
        "sy": np.array(0.05, F32),
        "zy": np.array(100, np.uint8),
    }
    return model(nodes, [value("x", [1, 3, 4, 4])], [value("y", [1, 4, 4, 4])], constants)


def flattened(rng: np.random.Generator, batch: int | str = "N") -> onnx.ModelProto:
    """As PyTorch exports ``x.view(x.size(0), -1)``: the target of the Reshape is computed from the shape of ``x``."""
    nodes = [
        node("Relu", "x", "r", "relu"),
        node("Shape", "x", "shape", "shape"),
        node("Constant", "", "zero", "constant", value=helper.make_tensor("v", TensorProto.INT64, [], [0])),
        node("Gather", "shape zero", "size", "gather", axis=0),
        node("Unsqueeze", "size axes", "sizes", "unsqueeze"),
        node("Concat", "sizes rest", "target", "concat", axis=0),
        node("Reshape", "r target", "flat", "reshape"),
        node("MatMul", "flat w", "y", "dense"),
    ]
    constants = {
        "axes": np.array([0]),
        "rest": np.array([-1]),
        "w": rng.normal(size=(12, 5)).astype(F32),
    }
    return model(nodes, [value("x", [batch, 3, 4])], [value("y", [batch, 5])], constants)


def open_made(folder: Path, made: onnx.ModelProto | bytes, *inputs: BoundarySpec, lenient: bool = False) -> OnnxModel:
    """Write a model and open it, with the metafile's inputs if there are any."""
    path = folder / "net.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return OnnxModel.open(ModelRequest(path=path, inputs=inputs), lenient=lenient)


def operators(source: OnnxModel) -> tuple[Layer, ...]:
    """Layers that compute something."""
    return tuple(layer for layer in source.layers if layer.type != INPUT_TYPE)


def whole(source: OnnxModel) -> onnx.ModelProto:
    """A model, written with all its layers."""
    part = Slice(layers=operators(source), inputs=source.inputs, outputs=source.outputs)
    return onnx.ModelProto.FromString(source.slice(part))


def save_external(made: onnx.ModelProto, path: Path, data_name: str = "net.data") -> Path:
    """Write a model with its weights in another file."""
    onnx.save_model(made, path, save_as_external_data=True, location=data_name, size_threshold=0)
    return path


class Oracle:
    """A model in ONNX Runtime, by itself; graph optimisation is off unless it is asked for."""

    def __init__(self, content: bytes | Path | onnx.ModelProto, *, optimise: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        if not optimise:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        source = content.SerializeToString() if isinstance(content, onnx.ModelProto) else content
        where = str(source) if isinstance(source, Path) else source
        self._session = onnxruntime.InferenceSession(where, options, providers=["CPUExecutionProvider"])
        self.inputs = [item.name for item in self._session.get_inputs()]
        self.outputs = [item.name for item in self._session.get_outputs()]
        self.input_shapes = [item.shape for item in self._session.get_inputs()]

    def __call__(self, inputs: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> list[np.ndarray]:
        feeds = inputs if isinstance(inputs, Mapping) else dict(zip(self.inputs, inputs, strict=True))
        return [np.asarray(array) for array in self._session.run(None, {name: feeds[name] for name in self.inputs})]


def assert_near(got: np.ndarray, expected: np.ndarray) -> None:
    """Graph optimisation reorders sums, which moves results by float rounding: 1e-5 of the largest is allowed."""
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


def run_in_a_row(parts: Sequence[bytes], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run models one after the other, each on the tensors that those before it gave."""
    tensors = dict(feeds)
    for part in parts:
        oracle = Oracle(part)
        tensors |= dict(zip(oracle.outputs, oracle(tensors), strict=True))
    return tensors
