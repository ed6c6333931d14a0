"""Build small ``.tflite`` models in code, with the schema's object API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "float64": schema.TensorType.FLOAT64,
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "uint16": schema.TensorType.UINT16,
    "uint32": schema.TensorType.UINT32,
    "bool": schema.TensorType.BOOL,
    "resource": schema.TensorType.RESOURCE,
}


class ModelBuilder:
    """Collects tensors and operators, then serializes them."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = "built by a test"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.model.subgraphs = []
        self.model.metadata = []
        self.model.signatureDefs = []
        self.graph = self.new_graph("main")

    def new_graph(self, name: str) -> Any:
        """Append a subgraph and make it the current one."""
        self.graph = schema.SubGraphT()
        self.graph.name = name
        self.graph.tensors = []
        self.graph.operators = []
        self.graph.inputs = np.zeros(0, np.int32)
        self.graph.outputs = np.zeros(0, np.int32)
        self.model.subgraphs.append(self.graph)
        return self.graph

    def tensor(
        self,
        name: str | None,
        shape: Sequence[int],
        dtype: str = "float32",
        *,
        data: np.ndarray | None = None,
        scale: float | Sequence[float] | None = None,
        zero_point: int = 0,
        quantized_dimension: int = 0,
        signature: Sequence[int] | None = None,
        variable: bool = False,
    ) -> int:
        """Add a tensor to the current subgraph."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = np.array(shape, np.int32)
        tensor.type = TYPES[dtype]
        tensor.isVariable = variable
        tensor.hasRank = True
        if signature is not None:
            tensor.shapeSignature = np.array(signature, np.int32)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            scales = np.atleast_1d(np.array(scale, np.float32))
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
            tensor.quantization.quantizedDimension = quantized_dimension
        if data is not None:
            tensor.buffer = len(self.model.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: np.ndarray) -> int:
        """Add a constant tensor."""
        return self.tensor(name, values.shape, values.dtype.name, data=values)

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        *,
        custom: str | None = None,
        custom_options: bytes | None = None,
        version: int = 1,
        intermediates: Sequence[int] | None = None,
    ) -> int:
        """Add an operator; ``options`` is an object of the schema such as ``Conv2DOptionsT``."""
        number = schema.BuiltinOperator.CUSTOM if custom else getattr(schema.BuiltinOperator, name)
        code = schema.OperatorCodeT()
        code.builtinCode = number
        code.deprecatedBuiltinCode = min(number, 127)
        code.version = version
        code.customCode = custom
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array(outputs, np.int32)
        if intermediates is not None:
            operator.intermediates = np.array(intermediates, np.int32)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        if custom_options is not None:
            operator.customOptions = np.frombuffer(custom_options, np.uint8)
        self.graph.operators.append(operator)
        return len(self.graph.operators) - 1

    def metadata(self, name: str, content: bytes) -> None:
        """Add a metadata entry."""
        entry = schema.MetadataT()
        entry.name = name
        entry.buffer = len(self.model.buffers)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.model.buffers.append(buffer)
        self.model.metadata.append(entry)

    def signature(self, key: str, inputs: dict[str, int], outputs: dict[str, int], subgraph: int = 0) -> None:
        """Add a signature."""
        signature = schema.SignatureDefT()
        signature.signatureKey = key
        signature.subgraphIndex = subgraph
        signature.inputs = [_tensor_map(name, index) for name, index in inputs.items()]
        signature.outputs = [_tensor_map(name, index) for name, index in outputs.items()]
        self.model.signatureDefs.append(signature)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Set the boundary of the main subgraph and serialize."""
        main = self.model.subgraphs[0]
        main.inputs = np.array(inputs, np.int32)
        main.outputs = np.array(outputs, np.int32)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = index
    return entry


def dense3(rng: np.random.Generator) -> bytes:
    """Float model of three dense layers 1 -> 1 -> 16 -> 1, input and output ``[1, 1]``."""
    builder = ModelBuilder()
    last = builder.tensor("dense_input", [1, 1])
    first = last
    for number, (fan_in, fan_out) in enumerate([(1, 1), (1, 16), (16, 1)]):
        weights = builder.constant(f"w{number}", rng.normal(size=(fan_out, fan_in)).astype(np.float32))
        bias = builder.constant(f"b{number}", rng.normal(size=fan_out).astype(np.float32))
        out = builder.tensor(f"dense_{number}", [1, fan_out])
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU if number < 2 else 0
        builder.operator("FULLY_CONNECTED", [last, weights, bias], [out], options)
        last = out
    return builder.finish([first], [last])


def chain(names: Sequence[str], shape: Sequence[int] = (1, 4), dtype: str = "float32") -> bytes:
    """A row of unary operators (ABS), each output tensor with its name; the input is ``x``."""
    builder = ModelBuilder()
    first = last = builder.tensor("x", shape, dtype)
    for name in names:
        out = builder.tensor(name, shape, dtype)
        builder.operator("ABS", [last], [out])
        last = out
    return builder.finish([first], [last])


def six() -> bytes:
    """Six operators c1 -> c2, c2 -> c3 -> c4, c2 -> c5 -> c6 on ``[1, 4]``; outputs of c4 and c6."""
    builder = ModelBuilder()
    tensors = {"x": builder.tensor("x", [1, 4])}
    for name, source in [("c1", "x"), ("c2", "c1"), ("c3", "c2"), ("c4", "c3"), ("c5", "c2"), ("c6", "c5")]:
        tensors[name] = builder.tensor(name, [1, 4])
        builder.operator({"c3": "NEG", "c5": "EXP"}.get(name, "ABS"), [tensors[source]], [tensors[name]])
    return builder.finish([tensors["x"]], [tensors["c4"], tensors["c6"]])


def counter() -> bytes:
    """A streaming model: ``y = x + total``, where the variable ``total`` (set to 10 at first) becomes ``y``."""
    builder = ModelBuilder()
    main = builder.graph
    x = builder.tensor("x", [1, 2])
    handle = builder.tensor("handle", [], "resource")
    old = builder.tensor("old", [1, 2])
    y = builder.tensor("y", [1, 2])
    once = schema.CallOnceOptionsT()
    once.initSubgraphIndex = 1
    builder.operator("CALL_ONCE", [], [], once)
    builder.operator("VAR_HANDLE", [], [handle], _variable("total"))
    builder.operator("READ_VARIABLE", [handle], [old], schema.ReadVariableOptionsT())
    builder.operator("ADD", [x, old], [y], schema.AddOptionsT())
    builder.operator("ASSIGN_VARIABLE", [handle, y], [], schema.AssignVariableOptionsT())
    builder.new_graph("init")
    start = builder.constant("start", np.full((1, 2), 10, np.float32))
    init_handle = builder.tensor("init_handle", [], "resource")
    builder.operator("VAR_HANDLE", [], [init_handle], _variable("total"))
    builder.operator("ASSIGN_VARIABLE", [init_handle, start], [], schema.AssignVariableOptionsT())
    builder.graph = main
    return builder.finish([x], [y])


def _variable(name: str) -> Any:
    options = schema.VarHandleOptionsT()
    options.container = ""
    options.sharedName = name
    return options


def crashes_while_loading() -> bytes:
    """A SPLIT without its options: LiteRT follows the null pointer."""
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 4]), builder.tensor("y", [1, 4])
    builder.operator("SPLIT", [x], [y])
    return builder.finish([x], [y])


def crashes_while_running() -> bytes:
    """A normalisation with a radius of minus a billion: LiteRT computes addresses with it."""
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 2, 2, 4]), builder.tensor("y", [1, 2, 2, 4])
    options = schema.LocalResponseNormalizationOptionsT()
    options.radius = -(10**9)
    builder.operator("LOCAL_RESPONSE_NORMALIZATION", [x], [y], options)
    return builder.finish([x], [y])


def never_ends() -> bytes:
    """A loop whose condition is always true."""
    builder = ModelBuilder()
    main = builder.graph
    x, y = builder.tensor("x", [1]), builder.tensor("y", [1])
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    builder.operator("WHILE", [x], [y], options)
    condition = builder.new_graph("condition")
    a, equal = builder.tensor("a", [1]), builder.tensor("equal", [1], "bool")
    builder.operator("EQUAL", [a, a], [equal], schema.EqualOptionsT())
    condition.inputs, condition.outputs = np.array([a], np.int32), np.array([equal], np.int32)
    body = builder.new_graph("body")
    b, c = builder.tensor("b", [1]), builder.tensor("c", [1])
    builder.operator("ABS", [b], [c])
    body.inputs, body.outputs = np.array([b], np.int32), np.array([c], np.int32)
    builder.graph = main
    return builder.finish([x], [y])
