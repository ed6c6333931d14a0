"""Write a program as an ONNX model whose nodes are hardware operations, each with a function that computes it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.program.body import DOMAIN, OPSET, Attributes
from synap_delegate_npu.program.lowered import LoweredFunctions
from synap_delegate_npu.program.operation import Tensor
from synap_delegate_npu.program.program import Operation, Program

DISTRIBUTION = "synap-toolkit"

VERSION = 1
"""Version of the domain."""

ABOUT = (
    "Program for a neural processing unit: each operation is a function of standard operators, which computes it on"
    " any host; the unit itself executes only what the vendor's compiler makes of this part of the model."
)
"""What a viewer shows of the file."""

IR_VERSION = 10
"""The first that tells functions of one operator apart."""


def write(
    program: Program,
    notes: Mapping[str, Attributes],
    lowered: LoweredFunctions,
    properties: Mapping[str, str] | None = None,
) -> bytes:
    """The file ``model.nb``.

    Args:
        program: The program.
        notes: Attributes of operations that only describe, by layer id.
        lowered: Makes their functions.
        properties: What only describes the program as a whole.
    """
    return bytes(ir.to_proto(model_of(program, notes, lowered, properties)).SerializeToString(deterministic=True))


def model_of(
    program: Program,
    notes: Mapping[str, Attributes],
    lowered: LoweredFunctions,
    properties: Mapping[str, str] | None = None,
) -> ir.Model:
    """The program as a model."""
    values = _Values()
    inputs = [values.of(tensor) for tensor in program.inputs]
    nodes, functions = [], []
    for number, operation in enumerate(program.operations):
        own = described(operation)
        attributes = {**own, **notes.get(operation.layer_id, {})}
        functions.append(lowered.function(operation, str(number), own, sorted(attributes)))
        nodes.append(
            ir.Node(
                DOMAIN,
                operation.type,
                [values.of(tensor) for tensor in operation.form.inputs],
                attributes=[_attribute(key, value) for key, value in attributes.items()],
                overload=str(number),
                outputs=[values.of(tensor) for tensor in operation.outputs],
                name=operation.layer_id,
            )
        )
    graph = ir.Graph(
        inputs,
        [values.of(tensor) for tensor in program.outputs],
        nodes=nodes,
        initializers=values.constants,
        opset_imports={"": OPSET, DOMAIN: VERSION},
        name=program.name,
    )
    return ir.Model(
        graph,
        ir_version=IR_VERSION,
        producer_name="synap",
        producer_version=importlib.metadata.version(DISTRIBUTION),
        doc_string=ABOUT,
        functions=functions,
        metadata_props={**(properties or {}), "format_version": str(VERSION)},
    )


def described(operation: Operation) -> Attributes:
    """Attributes of an operation: those of its form, and the quantization of its tensors."""
    attributes = dict(operation.form.attributes)
    for position, tensor in enumerate(operation.form.inputs):
        attributes.update(_quantization(f"input{position}", tensor))
    for position, tensor in enumerate(operation.outputs):
        attributes.update(_quantization(f"output{position}", tensor))
    return attributes


def _quantization(stem: str, tensor: Tensor) -> Iterator[tuple[str, list[float] | list[int] | int]]:
    if not tensor.is_integer or tensor.quant is None:
        return
    yield f"{stem}_scale", [float(scale) for scale in tensor.scale.reshape(-1)]
    yield f"{stem}_zero_point", [int(point) for point in tensor.zero_point.reshape(-1)]
    if tensor.quant.axis is not None:
        yield f"{stem}_axis", tensor.quant.axis


def _attribute(name: str, value: int | float | str | Sequence[int] | Sequence[float]) -> ir.Attr:
    """An attribute; that a value is no tensor or graph takes the library long to find out."""
    kind = ir.AttributeType
    if isinstance(value, str):
        return ir.Attr(name, kind.STRING, value)
    if isinstance(value, int | np.integer):
        return ir.Attr(name, kind.INT, int(value))
    if isinstance(value, float):
        return ir.Attr(name, kind.FLOAT, float(value))
    if any(isinstance(item, float) for item in value):
        return ir.Attr(name, kind.FLOATS, [float(item) for item in value])
    return ir.Attr(name, kind.INTS, [int(item) for item in value])


class _Values:
    """Values of the model by the tensors of the program that they hold."""

    def __init__(self) -> None:
        self._values: dict[str, ir.Value] = {}

    @property
    def constants(self) -> list[ir.Value]:
        return [value for value in self._values.values() if value.const_value is not None]

    def of(self, tensor: Tensor) -> ir.Value:
        """The value that holds a tensor; another constant of the same name gets a number behind it."""
        name, numbers = tensor.name, count(2)
        while (known := self._values.get(name)) is not None and not _is_same(known, tensor):
            name = f"{tensor.name}/{next(numbers)}"
        if known is None:
            known = self._values[name] = _value(tensor, name)
        return known


def _is_same(value: ir.Value, tensor: Tensor) -> bool:
    stored = value.const_value
    if stored is None or tensor.constant is None:
        return stored is None and tensor.constant is None
    array = stored.numpy()
    return array is tensor.constant or (array.dtype == tensor.constant.dtype and np.array_equal(array, tensor.constant))


def _value(tensor: Tensor, name: str) -> ir.Value:
    dtype = ir.DataType.from_numpy(np.dtype(tensor.dtype))
    stored = None if tensor.constant is None else ir.Tensor(tensor.constant, name=name)
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(tensor.shape), const_value=stored)
