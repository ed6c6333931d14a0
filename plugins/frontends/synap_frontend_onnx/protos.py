"""What the frontend uses of the ``onnx`` package: the one module that imports it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
import onnx.checker
import onnx.defs
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference
from google.protobuf.message import DecodeError, Message
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
)

from synap_core.api import InputError

__all__ = [
    "STANDARD_DOMAINS",
    "AttributeProto",
    "AttributeValue",
    "FunctionProto",
    "GraphProto",
    "Message",
    "ModelProto",
    "NodeProto",
    "OperatorSetIdProto",
    "Schema",
    "SparseTensorProto",
    "TensorProto",
    "TypeProto",
    "ValueInfoProto",
    "all_schemas",
    "array_of",
    "attribute_value",
    "attributes",
    "bits_per_item",
    "check_model",
    "default_attributes",
    "dtype_name",
    "evaluate",
    "find_schema",
    "function_body",
    "has_body",
    "infer_shapes",
    "newest_opset",
    "parse_model",
    "serialize",
    "tensor_of",
    "type_text",
]

AttributeValue = Any
"""A number, text, tensor, graph or list of these, as the operator defines."""

Schema = onnx.defs.OpSchema
"""Definition of an operator."""

STANDARD_DOMAINS = ("", "ai.onnx")
"""Names of the domain of the standard operators."""

LIBRARY_ERRORS = (
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    DecodeError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the package raises for a model it refuses."""

_RENAMED = {"UNDEFINED": "unknown", "FLOAT": "float32", "DOUBLE": "float64"}
_BITS = {"string": 0, "bool": 8, "complex64": 64, "complex128": 128, "bfloat16": 16}
_DIGITS = "0123456789"


def parse_model(data: bytes) -> ModelProto:
    """Parse a file.

    Raises:
        InputError: It is damaged, or not of this format.
    """
    try:
        model: ModelProto = ModelProto.FromString(data)
        _check_text(model)
    except DecodeError as error:
        msg = "this ONNX file is truncated or damaged"
        raise InputError(msg, hint="export or download it again") from error
    return model


def serialize(model: ModelProto) -> bytes:
    """Write a model; equal models give equal bytes."""
    return cast("bytes", model.SerializeToString(deterministic=True))


def _check_text(message: Message) -> None:
    """Raise for text that is not UTF-8: the parser lets it pass, as bytes."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for item in [value] if isinstance(value, Message) else value:
                _check_text(item)
        elif field.type == field.TYPE_STRING:
            for item in [value] if isinstance(value, str | bytes) else value:
                if isinstance(item, bytes):
                    raise DecodeError


def dtype_name(elem_type: int) -> str:
    """Name of an element type: NumPy's where it has one, ``unknown`` for a number without meaning."""
    if elem_type not in TensorProto.DataType.values():
        return "unknown"
    name: str = TensorProto.DataType.Name(cast("TensorProto.DataType", elem_type))
    return _RENAMED.get(name, name.lower())


def type_text(value_type: TypeProto) -> str | None:
    """A tensor's type as operator definitions write it, such as ``tensor(float)``; None for other types."""
    if not value_type.HasField("tensor_type"):
        return None
    elem_type = cast("TensorProto.DataType", value_type.tensor_type.elem_type)
    known = elem_type in TensorProto.DataType.values()
    return f"tensor({TensorProto.DataType.Name(elem_type).lower()})" if known else None


def bits_per_item(elem_type: int) -> int:
    """Bits an item takes in raw data; 0 for types that have no raw form."""
    name = dtype_name(elem_type)
    if name in _BITS or name == "unknown":
        return _BITS.get(name, 0)
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyz")
    # float8e4m3fn, int4 and the like: the number in front of any further letter.
    return int(digits[: len(digits) - len(digits.lstrip(_DIGITS))] or 0)


def array_of(tensor: TensorProto) -> np.ndarray:
    """Items of a tensor whose data have been checked."""
    return onnx.numpy_helper.to_array(tensor)


def tensor_of(array: np.ndarray, name: str) -> TensorProto:
    """Store an array."""
    return onnx.numpy_helper.from_array(array, name)


def find_schema(operator: str, version: int, domain: str) -> Schema | None:
    """Definition of an operator in a version of its operator set; None for one that the package does not know."""
    name = "" if domain in STANDARD_DOMAINS else domain
    if not onnx.defs.has(operator, version, name):
        return None
    return onnx.defs.get_schema(operator, version, name)


def all_schemas() -> Sequence[Schema]:
    """Every version of every operator that comes with the package; others may have registered more in this process."""
    known = onnx.defs.get_all_schemas_with_history()
    return [schema for schema in known if not schema.domain or schema.domain.startswith("ai.onnx")]


def default_attributes(domain: str, operator: str, version: int) -> dict[str, AttributeProto]:
    """Attributes that an operator has when they are not given."""
    schema = find_schema(operator, version, domain)
    given = {} if schema is None else schema.attributes
    return {name: item.default_value for name, item in given.items() if item.default_value.name}


def newest_opset() -> int:
    """Newest version of the standard operator set that the package knows."""
    return onnx.defs.onnx_opset_version()


def function_body(model: ModelProto) -> FunctionProto | None:
    """What an operator that is defined by others consists of.

    Args:
        model: A model of this one node, with the types of its operands as graph inputs.

    Returns:
        The body; None for an operator without one. Raises one of `LIBRARY_ERRORS`.
    """
    (node,) = model.graph.node
    versions = {entry.domain: entry.version for entry in model.opset_import}
    # The package's type descriptions leave out what is asked of a definition here.
    schema: Any = find_schema(node.op_type, versions[node.domain], node.domain)
    if schema is None:
        return None
    if schema.has_context_dependent_function:
        types = {value.name: value.type.SerializeToString() for value in model.graph.input}
        operands = [types.get(name, b"") for name in node.input]
        version = max(versions[node.domain], min(schema.context_dependent_function_opset_versions))
        content = schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), operands)
    elif schema.has_function:
        version = max(versions[node.domain], min(schema.function_opset_versions))
        content = schema.get_function_with_opset_version(version)
    else:
        return None
    return FunctionProto.FromString(content) if content else None


def has_body(schema: Schema) -> bool:
    """Whether an operator is defined by others."""
    found: Any = schema
    return bool(found.has_function or found.has_context_dependent_function)


def check_model(model: ModelProto) -> None:
    """Check a model in full; raises one of `LIBRARY_ERRORS`."""
    onnx.checker.check_model(model, full_check=True)


def infer_shapes(model: ModelProto, *, strict: bool) -> ModelProto:
    """Infer the types and shapes of all tensors.

    Args:
        model: The model.
        strict: Raise one of `LIBRARY_ERRORS` for a contradiction, instead of leaving shapes out.
    """
    return onnx.shape_inference.infer_shapes(model, check_type=strict, strict_mode=strict, data_prop=True)


def evaluate(
    node: NodeProto, opset_imports: Iterable[OperatorSetIdProto], values: Mapping[str, np.ndarray]
) -> Sequence[np.ndarray]:
    """Compute one node with the package's reference implementation; raises one of `LIBRARY_ERRORS`."""
    from onnx.reference import ReferenceEvaluator

    names = [name for name in dict.fromkeys(node.input) if name]
    graph = GraphProto(name="node", node=[node])
    graph.input.extend(ValueInfoProto(name=name) for name in names)
    graph.output.extend(ValueInfoProto(name=name) for name in node.output)
    model = ModelProto(ir_version=8, opset_import=list(opset_imports), graph=graph)
    results: Any = ReferenceEvaluator(model).run(None, {name: values[name] for name in names})
    return [np.asarray(result) for result in results]


def attribute_value(attribute: AttributeProto) -> AttributeValue:
    """Value of an attribute that does not refer to one of a function's call."""
    return onnx.helper.get_attribute_value(attribute)


def attributes(node: NodeProto) -> Iterator[tuple[str, AttributeValue]]:
    """Name and value of each attribute of a node; None for one that a function takes from its call."""
    for attribute in node.attribute:
        yield attribute.name, None if attribute.ref_attr_name else onnx.helper.get_attribute_value(attribute)
