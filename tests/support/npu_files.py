"""Programs of the npu delegate as files, made from models by a whole conversion or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from synap_core.convert import ConvertRequest, convert
from synap_core.host import PluginHost

DOMAIN = "synap.npu"
EXAMPLE = Path(__file__).parents[2] / "examples" / "digits" / "digits_int8.tflite"

ZOO = (
    "audio/micro_speech_quantized.tflite",
    "classification/mobilenet_v1_0.25_128_quant.tflite",
    "classification/tf2_mobilenet_v2_1.0_224_ptq.tflite",
    "misc/hello_world_int8.tflite",
    "misc/keras_lstm_mnist_ptq.tflite",
    "misc/person_detect.tflite",
    "mlperf_tiny/ad01_int8.tflite",
    "mlperf_tiny/kws_ref_model.tflite",
    "mlperf_tiny/pretrainedResnet_quant.tflite",
    "mlperf_tiny/vww_96_int8.tflite",
)
"""Quantized models that run on the unit as a whole."""


def programs(model: Path, cache: Path | None = None, target: str = "SL1680") -> list[bytes]:
    """The programs of all subgraphs of a model that the delegate runs."""
    made = convert(ConvertRequest(model=model, target=target, cache_dir=cache), PluginHost())
    return [artifact.model for artifact in made.conversion.artifacts if artifact.delegate == "npu"]


def session(content: bytes) -> ort.InferenceSession:
    """A session of one thread."""
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def feeds(model: ort.InferenceSession, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random inputs: any integer, or real numbers around zero."""
    found = {}
    for value in model.get_inputs():
        word = value.type.removeprefix("tensor(").removesuffix(")")
        if word in ("float", "float16"):
            real = rng.normal(0, 10.0 ** rng.integers(-2, 3), value.shape)
            found[value.name] = real.astype("float32" if word == "float" else word)
        else:
            info = np.iinfo(word)
            found[value.name] = rng.integers(info.min, info.max + 1, value.shape).astype(word)
    return found


def constant(name: str, value: object, dtype: str = "float32") -> onnx.NodeProto:
    """A node that makes a constant."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value, dtype)))


def function(
    nodes: Sequence[onnx.NodeProto],
    name: str = "Step",
    overload: str = "",
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    version: int = 19,
) -> onnx.FunctionProto:
    """A function of standard operators."""
    made = helper.make_function(DOMAIN, name, inputs, outputs, nodes, [helper.make_opsetid("", version)])
    made.overload = overload
    return made


def program(
    functions: Sequence[onnx.FunctionProto], nodes: Sequence[onnx.NodeProto] | None = None, version: int = 1
) -> onnx.ModelProto:
    """A program with an input and an output of 2,000 real numbers; without nodes, it calls all functions in a row."""
    if nodes is None:
        names = ["input", *(f"t{number}" for number in range(1, len(functions))), "output"]
        nodes = [call(f.name, names[i], names[i + 1], f.overload) for i, f in enumerate(functions)]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [2000])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [2000])],
    )
    imports = [helper.make_opsetid("", 19), helper.make_opsetid(DOMAIN, version)]
    return helper.make_model(graph, functions=functions, opset_imports=imports, ir_version=10)


def call(name: str, source: str, target: str, overload: str = "", domain: str = DOMAIN) -> onnx.NodeProto:
    """An operation with one input and one output."""
    return helper.make_node(name, [source], [target], domain=domain, overload=overload, name=f"layer {target}")
