"""Write ``.tflite`` files; the one module that uses the schema's object API.

The generated code is untyped: its objects are `Generated` here, and the attribute names are those of the schema.
"""

from __future__ import annotations

import copy
import re
from typing import Any, cast

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from synap_core.api import InputError
from synap_frontend_tflite.plugin import FILE_IDENTIFIER

Generated = Any
"""An object of the generated schema code, which has no types."""

BUFFER_ALIGNMENT = 16
"""Bytes; the schema asks for it, and kernels read weights with aligned loads."""

OBJECT_OVERHEAD_BYTES = 1 << 16
"""Bytes a file may need for tables, besides its arrays."""


def size_limit(data: bytes) -> int:
    """Bytes that the arrays of a model taken from a file may take; twice the file is more than any honest one needs."""
    return 2 * len(data) + OBJECT_OVERHEAD_BYTES


_TYPE_NAMES: dict[int, str] = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
_SUBGRAPH_FIELD = re.compile(r"subgraph(Index|Indices)?$", re.IGNORECASE)


class AlignedBufferT(schema.BufferT):  # type: ignore[misc]  # the schema module has no types
    """A buffer that packs its data aligned, which the generated code forgets."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - overrides generated code
        """Append the buffer to the file and return its offset."""
        vector = None if self.data is None or len(self.data) == 0 else _aligned_vector(builder, self.data)
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return cast("int", schema.BufferEnd(builder))


def _aligned_vector(builder: flatbuffers.Builder, values: np.ndarray) -> int:
    data = np.ascontiguousarray(values, dtype=np.uint8).tobytes()
    builder.StartVector(1, len(data), BUFFER_ALIGNMENT)
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return cast("int", builder.EndVector())


def root_table(data: bytes) -> Generated:
    """Open a file without unpacking it."""
    return schema.Model.GetRootAs(data)


def unpack_model(data: bytes) -> Generated:
    """Unpack a whole file into objects, external weights included; arrays are views of ``data``."""
    model = schema.ModelT.InitFromObj(root_table(data))
    model.buffers = [unpack_buffer(root_table(data), data, i) for i in range(len(model.buffers or []))]
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            _inline_custom_options(operator, data)
    return model


def type_name(number: int) -> str:
    """Name of an element type of the schema, such as ``INT8``."""
    return _TYPE_NAMES.get(number, f"TYPE_{number}")


def unpack_tensor(graph: Generated, index: int) -> Generated:
    """Unpack one tensor of a subgraph."""
    return schema.TensorT.InitFromObj(graph.Tensors(index))


def unpack_operator(graph: Generated, index: int, data: bytes) -> Generated:
    """Unpack one operator of a subgraph, with custom options that lie outside the tables."""
    operator = schema.OperatorT.InitFromObj(graph.Operators(index))
    _inline_custom_options(operator, data)
    return operator


def unpack_buffer(root: Generated, data: bytes, index: int) -> AlignedBufferT:
    """Take a buffer out of a file as a view, also one whose data lies behind the tables."""
    stored = schema.BufferT.InitFromObj(root.Buffers(index))
    buffer = AlignedBufferT()
    buffer.data = stored.data
    if stored.offset > 1 and stored.size > 1:
        buffer.data = np.frombuffer(data, np.uint8, count=stored.size, offset=stored.offset)
    return buffer


def unpack_shell(root: Generated) -> Generated:
    """Unpack what does not grow with the network: version, description, operator codes, metadata, signatures."""
    model = schema.ModelT()
    model.version = root.Version()
    model.description = root.Description()
    model.operatorCodes = [
        schema.OperatorCodeT.InitFromObj(root.OperatorCodes(i)) for i in range(root.OperatorCodesLength())
    ]
    model.metadata = [schema.MetadataT.InitFromObj(root.Metadata(i)) for i in range(root.MetadataLength())]
    model.signatureDefs = [
        schema.SignatureDefT.InitFromObj(root.SignatureDefs(i)) for i in range(root.SignatureDefsLength())
    ]
    return model


def unpack_graph(root: Generated, index: int) -> Generated:
    """Unpack a whole subgraph."""
    return schema.SubGraphT.InitFromObj(root.Subgraphs(index))


def new_graph() -> Generated:
    """Make an empty subgraph."""
    return schema.SubGraphT()


def new_buffer(data: np.ndarray | None = None) -> AlignedBufferT:
    """Make a buffer of bytes."""
    buffer = AlignedBufferT()
    buffer.data = data
    return buffer


def copy_tensor(tensor: Generated) -> Generated:
    """Copy a tensor object; its arrays are shared."""
    return copy.copy(tensor)


def calls_subgraphs(operator: Generated) -> bool:
    """Tell whether the options of an operator name a subgraph."""
    options = (operator.builtinOptions, operator.builtinOptions2)
    return any(_SUBGRAPH_FIELD.search(field) for part in options if part is not None for field in vars(part))


def pack_model(model: Generated, limit: int) -> bytes:
    """Serialize a model.

    Args:
        model: The model.
        limit: Bytes that its arrays may take. Vectors can be shared inside the file the model was taken from, and would
            be written once for every use.

    Raises:
        InputError: They take more.
    """
    operators = [graph.operators for graph in model.subgraphs]
    if _array_bytes([model.buffers, operators]) > limit:
        msg = "the parts of this file overlap"
        raise InputError(msg, hint="it is damaged: export or download it again")
    weights = sum(0 if b.data is None else len(b.data) + BUFFER_ALIGNMENT for b in model.buffers)
    builder = flatbuffers.Builder(weights + OBJECT_OVERHEAD_BYTES)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def _array_bytes(value: object) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, list):
        return sum(_array_bytes(item) for item in value)
    return sum(_array_bytes(item) for item in vars(value).values()) if hasattr(value, "__dict__") else 0


def _inline_custom_options(operator: Generated, data: bytes) -> None:
    offset, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
    if offset > 1 and size > 1:
        operator.customOptions = np.frombuffer(data, np.uint8, count=size, offset=offset)
        operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
