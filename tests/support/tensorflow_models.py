"""Compose frozen TensorFlow graphs in code, and compare what becomes of them with OpenCV's importer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from synap_core.source import BoundarySpec, ModelRequest
from synap_frontend_tensorflow import schema
from synap_frontend_tensorflow.model import TensorflowModel
from tests.support.canonical import opaque_reasons, run, whole

NUMBERS = {name: number for number, name in schema.DTYPE_NAMES.items()}
"""Element types by NumPy's names."""


class Shape(tuple[int, ...]):
    """A shape as an attribute: a plain tuple is a list of integers."""

    __slots__ = ()


class GraphComposer:
    """Collects nodes, then serializes them.

    Attributes:
        graph: The ``GraphDef``, to be changed at will.
    """

    def __init__(self) -> None:
        self.graph: Any = schema.new("GraphDef")
        self.graph.versions.producer = 27

    def node(self, op: str, inputs: Sequence[str] = (), name: str | None = None, **attributes: Any) -> str:
        """Add a node.

        Args:
            op: Its operator.
            inputs: ``name``, ``name:1`` or ``^name``.
            name: By default the operator and the number of the node.
            attributes: Python values: bool, int, float, str, bytes, a NumPy type, `Shape`, an array or lists of these.
                ``T`` is float32 by default; None leaves an attribute out.

        Returns:
            Its name.
        """
        node = self.graph.node.add(name=name or f"{op}_{len(self.graph.node)}", op=op, input=list(inputs))
        for key, value in {"T": np.float32, **attributes}.items():
            if value is not None:
                set_attribute(node.attr[key], value)
        return str(node.name)

    def placeholder(self, name: str, shape: Sequence[int] | None, dtype: str = "float32") -> str:
        """Add an input; -1 for open dimensions, None for a shape that is not known."""
        given = None if shape is None else Shape(shape)
        return self.node("Placeholder", name=name, dtype=np.dtype(dtype), shape=given, T=None)

    def constant(self, value: Any, name: str | None = None, dtype: str | None = None) -> str:
        """Add a constant; Python integers are int32, real numbers float32."""
        array = np.asarray(value, dtype)
        if dtype is None and not isinstance(value, np.ndarray | np.generic):
            array = array.astype({"i": np.int32, "f": np.float32}.get(array.dtype.kind, array.dtype))
        return self.node("Const", name=name, dtype=array.dtype, value=array, T=None)

    def tensor(self, name: str, dtype: int, shape: Sequence[int], **fields: Any) -> str:
        """Add a constant whose ``TensorProto`` has just these fields."""
        node = self.graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = dtype
        proto = node.attr["value"].tensor
        proto.dtype = dtype
        for size in shape:
            proto.tensor_shape.dim.add(size=size)
        for field, value in fields.items():
            if isinstance(value, bytes):
                setattr(proto, field, value)
            else:
                getattr(proto, field).extend(value)
        return name

    def serialize(self) -> bytes:
        """The file."""
        return schema.serialize(self.graph)


def set_attribute(attribute: Any, value: Any) -> None:
    """Write a Python value as an attribute."""
    if isinstance(value, Shape):
        attribute.shape.SetInParent()
        for size in value:
            attribute.shape.dim.add(size=size)
    elif isinstance(value, list | tuple):
        _set_list(attribute.list, value)
    elif isinstance(value, bool | int | float):
        setattr(attribute, {bool: "b", int: "i", float: "f"}[type(value)], value)
    elif isinstance(value, str | bytes):
        attribute.s = value.encode() if isinstance(value, str) else value
    elif isinstance(value, np.ndarray):
        set_tensor(attribute.tensor, value)
    else:
        attribute.type = NUMBERS[np.dtype(value).name]


def _set_list(target: Any, values: Sequence[Any]) -> None:
    target.SetInParent()
    for value in values:
        single = schema.new("AttrValue")
        set_attribute(single, value)
        # A list has its items under the names that single values have.
        field = str(single.WhichOneof("value"))
        getattr(target, field).extend([getattr(single, field)])


def set_tensor(proto: Any, array: np.ndarray) -> None:
    """Write an array as ``tensor_content``."""
    proto.dtype = NUMBERS[array.dtype.name]
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_content = np.ascontiguousarray(array).tobytes()


def boundary(entries: Mapping[str, Sequence[int] | None] | Sequence[str]) -> tuple[BoundarySpec, ...]:
    """Entries of a metafile: names, with shapes where there are any."""
    shapes = entries if isinstance(entries, Mapping) else dict.fromkeys(entries)
    return tuple(BoundarySpec(name=name, shape=shape and tuple(shape)) for name, shape in shapes.items())


def opened(
    data: bytes, inputs: Mapping[str, Sequence[int] | None] | Sequence[str], outputs: Sequence[str]
) -> TensorflowModel:
    """Open a graph with these inputs and outputs in the metafile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.pb"
        path.write_bytes(data)
        return TensorflowModel.open(ModelRequest(path=path, inputs=boundary(inputs), outputs=boundary(outputs)))


def canonical(data: bytes, inputs: Mapping[str, Sequence[int]], outputs: Sequence[str]) -> ir.Model:
    """The canonical graph of a model of which every layer can be imported."""
    source = opened(data, inputs, outputs)
    model = source.canonical(whole(source))
    assert opaque_reasons(model) == []
    return model


def computed(data: bytes, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
    """Outputs of the canonical graph in ONNX Runtime."""
    model = canonical(data, {name: array.shape for name, array in inputs.items()}, outputs)
    return run(model, list(inputs.values()))


def reason(data: bytes, inputs: Mapping[str, Sequence[int]], outputs: Sequence[str]) -> str:
    """Why the one layer that cannot be imported cannot."""
    (found,) = [item.reason for item in opened(data, inputs, outputs).support() if item.status != "imported"]
    return found


def opencv(data: bytes, inputs: Mapping[str, np.ndarray], output: str) -> np.ndarray:
    """One output of a graph in OpenCV's importer; images in the layout of the model, NHWC."""
    import cv2

    net = cv2.dnn.readNetFromTensorflow(np.frombuffer(data, np.uint8))
    for name, array in inputs.items():
        net.setInput(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array, name)
    found = np.asarray(net.forward(output))
    return found.transpose(0, 2, 3, 1) if found.ndim == 4 else found
