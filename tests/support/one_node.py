"""Models of one node: what ONNX Runtime and the shape inference of onnx make of them, and what our rules do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from synap_core.graph.evaluate import evaluate
from synap_core.graph.infer import infer
from synap_core.graph.types import TensorType

Arrays = Sequence[np.ndarray | None]


def model_of(
    op_type: str, inputs: Arrays, attributes: Mapping[str, Any], outputs: int, constants: Sequence[int] = ()
) -> onnx.ModelProto:
    """A model of one node at opset 19; inputs at the positions of ``constants`` are initializers."""
    names = ["" if array is None else f"i{at}" for at, array in enumerate(inputs)]
    given = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in attributes.items()
    }
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for at, (name, array) in enumerate(zip(names, inputs, strict=True))
        if array is not None and at not in constants
    ]
    results = [f"o{at}" for at in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, results, **given)],
        "one",
        values,
        [onnx.ValueInfoProto(name=name) for name in results],
        [
            numpy_helper.from_array(array, names[at])
            for at, array in enumerate(inputs)
            if array is not None and at in constants
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def run_node(op_type: str, inputs: Arrays, attributes: Mapping[str, Any], outputs: int = 1) -> list[np.ndarray]:
    """Results of a node in ONNX Runtime without optimisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    content = model_of(op_type, inputs, attributes, outputs).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {f"i{at}": array for at, array in enumerate(inputs) if array is not None})


def types_by_onnx(
    op_type: str, inputs: Arrays, attributes: Mapping[str, Any], outputs: int, constants: Sequence[int]
) -> list[TensorType]:
    """Types of the results by the shape inference of onnx, which must find them all."""
    model = model_of(op_type, inputs, attributes, outputs, constants)
    found = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    kinds = [value.type.tensor_type for value in found.graph.output]
    return [TensorType(ir.DataType(k.elem_type), tuple(dim.dim_value for dim in k.shape.dim)) for k in kinds]


def type_of_array(array: np.ndarray) -> TensorType:
    return TensorType(ir.DataType.from_numpy(array.dtype), array.shape)


def infer_node(
    op_type: str,
    inputs: Arrays,
    attributes: Mapping[str, Any],
    outputs: int = 1,
    constants: Sequence[int] | None = None,
) -> list[TensorType]:
    """Types of the results by our rules; all inputs are constants unless their positions are given."""
    types = [None if array is None else type_of_array(array) for array in inputs]
    known = range(len(inputs)) if constants is None else constants
    tensors = [None if array is None or at not in known else ir.Tensor(array) for at, array in enumerate(inputs)]
    return infer(op_type, types, attributes, tensors, outputs)


def evaluate_node(
    op_type: str,
    inputs: Sequence[np.ndarray | ir.TensorProtocol | None],
    attributes: Mapping[str, Any],
    outputs: int = 1,
) -> list[ir.TensorProtocol] | None:
    """Results of a node of constants by our folding, with the types that our rules give."""
    tensors = [ir.Tensor(each) if isinstance(each, np.ndarray) else each for each in inputs]
    types = [
        None if each is None else TensorType(each.dtype, tuple(int(dim) for dim in each.shape.numpy()))
        for each in tensors
    ]
    return evaluate(op_type, tensors, attributes, infer(op_type, types, attributes, tensors, outputs))
