"""What this runtime uses of the ``onnx`` package: the one module that imports it."""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx.numpy_helper
from google.protobuf.message import DecodeError, EncodeError
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, TensorProto

__all__ = [
    "FLOAT32",
    "PROTO_ERRORS",
    "AttributeProto",
    "FunctionProto",
    "ModelProto",
    "NodeProto",
    "TensorProto",
    "constant_of",
    "integer_of",
    "integer_range",
    "is_external",
    "serialize",
]

PROTO_ERRORS = (DecodeError, EncodeError, TypeError, UnicodeError, ValueError)
"""What the library raises for damaged files, and for text that is none."""

FLOAT32 = int(TensorProto.FLOAT)

_RANGES = {
    int(TensorProto.INT8): (-(1 << 7), (1 << 7) - 1),
    int(TensorProto.UINT8): (0, (1 << 8) - 1),
    int(TensorProto.INT16): (-(1 << 15), (1 << 15) - 1),
    int(TensorProto.UINT16): (0, (1 << 16) - 1),
    int(TensorProto.INT32): (-(1 << 31), (1 << 31) - 1),
}


def integer_range(elem_type: int) -> tuple[int, int] | None:
    """Least and largest number of an integer type of 8 or 16 bits, or of int32; None for another type."""
    return _RANGES.get(elem_type)


def has_texts(model: ModelProto) -> bool:
    """Whether all names of a graph are text; the library gives bytes for what is no UTF-8."""
    graph = model.graph
    names: list[object] = [value.name for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, node.overload, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    return all(isinstance(name, str) for name in names)


def integer_of(node: NodeProto, name: str) -> int | None:
    """An attribute that is an integer; None when the node has none of that name."""
    return next((a.i for a in node.attribute if a.name == name and a.type == AttributeProto.INT), None)


def constant_of(node: NodeProto, largest: int) -> np.ndarray | None:
    """Items of a constant of real numbers.

    Args:
        node: What makes a value.
        largest: Bytes; larger ones are not looked at.

    Returns:
        None when it is not one, or is damaged, which the library that runs it will say.
    """
    if node.op_type != "Constant" or len(node.attribute) != 1 or node.attribute[0].name != "value":
        return None
    tensor = node.attribute[0].t
    if tensor.data_type not in (TensorProto.FLOAT, TensorProto.DOUBLE) or tensor.ByteSize() > largest:
        return None
    if is_external(tensor):
        return None
    try:
        return onnx.numpy_helper.to_array(tensor)
    except PROTO_ERRORS:
        return None


def serialize(model: ModelProto) -> bytes:
    """Write a model."""
    return cast("bytes", model.SerializeToString())


def is_external(tensor: TensorProto) -> bool:
    """Whether the items of a tensor are in another file."""
    return bool(tensor.external_data) or tensor.data_location == TensorProto.EXTERNAL
