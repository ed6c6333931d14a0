"""The messages of frozen graphs: the one module that uses the ``protobuf`` package.

The schema holds what this frontend reads, under the public field numbers, and mostly names, of ``graph.proto``,
``node_def.proto``, ``attr_value.proto``, ``tensor.proto``, ``tensor_shape.proto``, ``types.proto``, ``function.proto``,
``versions.proto``, ``meta_graph.proto`` and ``saved_model.proto``. Fields that it leaves out are unknown fields to the
parser, which tolerates them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

Message = Any
"""An instance of one of the `MESSAGES`; the parser makes their classes at run time."""

PACKAGE = "synap.tensorflow"
"""A name of our own, in a pool of our own: another package may have registered the original in the same process."""

MESSAGES: dict[str, str] = {
    "GraphDef": "node 1 *NodeDef, functions 2 FunctionDefLibrary, version 3 int32, versions 4 VersionDef",
    "NodeDef": "name 1 string, op 2 string, input 3 *string, device 4 string, attr 5 {AttrValue",
    "AttrValue": "list 1 |ListValue, s 2 |bytes, i 3 |int64, f 4 |float, b 5 |bool, type 6 |int32, "
    "shape 7 |TensorShapeProto, tensor 8 |TensorProto, placeholder 9 |string, func 10 |NameAttrList",
    "ListValue": "s 2 *bytes, i 3 *int64, f 4 *float, b 5 *bool, type 6 *int32, shape 7 *TensorShapeProto, "
    "tensor 8 *TensorProto, func 9 *NameAttrList",
    "NameAttrList": "name 1 string",
    "TensorShapeProto": "dim 2 *Dim, unknown_rank 3 bool",
    "Dim": "size 1 int64, name 2 string",
    "TensorProto": "dtype 1 int32, tensor_shape 2 TensorShapeProto, version_number 3 int32, tensor_content 4 bytes, "
    "float_val 5 *float, double_val 6 *double, int_val 7 *int32, string_val 8 *bytes, scomplex_val 9 *float, "
    "int64_val 10 *int64, bool_val 11 *bool, dcomplex_val 12 *double, half_val 13 *int32, uint32_val 16 *uint32, "
    "uint64_val 17 *uint64",
    "FunctionDefLibrary": "function 1 *FunctionDef",
    "FunctionDef": "signature 1 OpDef",
    "OpDef": "name 1 string",
    "VersionDef": "producer 1 int32, min_consumer 2 int32, bad_consumers 3 *int32",
    "SavedModel": "saved_model_schema_version 1 int64, meta_graphs 2 *MetaGraphDef",
    "MetaGraphDef": "meta_info_def 1 MetaInfoDef, graph_def 2 GraphDef",
    "MetaInfoDef": "meta_graph_version 1 string, tags 4 *string, tensorflow_version 5 string, "
    "tensorflow_git_version 6 string",
}
"""Fields by message: name, number and type; ``*`` is repeated, ``|`` a member of the oneof ``value`` and ``{`` a map
from strings. Enumerations are their numbers."""

FLOAT, DOUBLE, INT32, UINT8, INT16, INT8, STRING, COMPLEX64, INT64, BOOL = range(1, 11)
QINT8, QUINT8, QINT32, BFLOAT16, QINT16, QUINT16, UINT16, COMPLEX128, HALF, RESOURCE, VARIANT = range(11, 22)
UINT32, UINT64 = 22, 23
REFERENCE = 100
"""Added to the number of an element type where an operator hands out a variable itself."""

DTYPE_NAMES: dict[int, str] = {
    FLOAT: "float32",
    DOUBLE: "float64",
    INT32: "int32",
    UINT8: "uint8",
    INT16: "int16",
    INT8: "int8",
    STRING: "string",
    COMPLEX64: "complex64",
    INT64: "int64",
    BOOL: "bool",
    QINT8: "qint8",
    QUINT8: "quint8",
    QINT32: "qint32",
    BFLOAT16: "bfloat16",
    QINT16: "qint16",
    QUINT16: "quint16",
    UINT16: "uint16",
    COMPLEX128: "complex128",
    HALF: "float16",
    RESOURCE: "resource",
    VARIANT: "variant",
    UINT32: "uint32",
    UINT64: "uint64",
}
"""Names of element types: NumPy's where it has one."""


def dtype_name(number: int) -> str:
    """Name of an element type; ``unknown`` for a number without meaning."""
    return DTYPE_NAMES.get(number - REFERENCE if number > REFERENCE else number, "unknown")


def new(message: str) -> Message:
    """An empty message of one of the `MESSAGES`."""
    return _classes()[message]()


def parse(message: str, data: bytes) -> Message | None:
    """Read a message; None when the bytes are none."""
    try:
        return _classes()[message].FromString(data)
    except (DecodeError, MemoryError):
        return None


def serialize(message: Message) -> bytes:
    """Write a message; equal messages give equal bytes."""
    return cast("bytes", message.SerializeToString(deterministic=True))


@functools.cache
def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="synap_tensorflow.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        _describe(file.message_type.add(name=name), fields)
    pool.AddSerializedFile(file.SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def _describe(message: Message, fields: str) -> None:
    for name, number, kind in _split(fields):
        field = message.field.add(name=name, number=number)
        field.label = field.LABEL_REPEATED if kind[0] in "*{" else field.LABEL_OPTIONAL
        if kind[0] == "|":
            if not message.oneof_decl:
                message.oneof_decl.add(name="value")
            field.oneof_index = 0
        if kind[0] == "{":
            entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
            entry.options.map_entry = True
            _describe(entry, f"key 1 string, value 2 {kind[1:]}")
            _set_type(field, f"{message.name}.{entry.name}")
        else:
            _set_type(field, kind.lstrip("*|"))


def _set_type(field: Message, kind: str) -> None:
    if kind[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")


def _split(fields: str) -> Iterator[tuple[str, int, str]]:
    for field in fields.split(", "):
        name, number, kind = field.split(" ")
        yield name, int(number), kind
