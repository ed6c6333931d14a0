"""Equal constants and equal nodes, of which one is enough."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import quant_of
from synap_core.graph.edit import Editor, is_operator
from synap_core.graph.passes.rule import ANY, Rule
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.types import shape_of

SAMPLE_ITEMS = 16

RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


class ShareConstants(Rule[tuple[ir.Node, int, ir.Value]]):
    """Equal constants become one.

    Bytes are compared by a digest, of those constants alone that agree in all else, and once.

    Not when type, shape or quantization differ; not a constant that is a graph output or a cut.
    """

    name: ClassVar[str] = "share-constants"
    op_types: ClassVar[frozenset[str]] = ANY

    def __init__(self) -> None:
        self._lone: dict[Hashable, ir.Value] = {}
        self._equal: dict[Hashable, ir.Value] = {}
        self._first: dict[ir.Value, ir.Value] = {}
        self._digests: dict[ir.Value, bytes] = {}

    def match(self, node: ir.Node, editor: Editor) -> tuple[ir.Node, int, ir.Value] | None:
        """A node, and the position of a constant and the one to use."""
        for position, value in enumerate(node.inputs):
            if value is not None and value.const_value is not None and not editor.is_pinned(value):
                first = self._first.get(value) or self._find(value)
                if first is not value:
                    return node, position, first
        return None

    def rewrite(self, found: tuple[ir.Node, int, ir.Value], editor: Editor) -> None:
        """Use the first of the equal ones."""
        node, position, first = found
        editor.replace_input(node, position, first)

    def _find(self, value: ir.Value) -> ir.Value:
        kind = _kind(value)
        lone = self._lone.setdefault(kind, value)
        if lone is not value:
            self._equal.setdefault((kind, self._digest(lone)), lone)
            lone = self._equal.setdefault((kind, self._digest(value)), value)
        self._first[value] = lone
        return lone

    def _digest(self, value: ir.Value) -> bytes:
        if value not in self._digests:
            self._digests[value] = hashlib.blake2b(_content(value)).digest()
        return self._digests[value]


def _kind(value: ir.Value) -> Hashable:
    """All that must agree besides the items."""
    tensor = value.const_value
    if value.dtype == ir.DataType.STRING:
        return id(value)
    stored = (tensor.integers.dtype, tensor.quant) if isinstance(tensor, QuantizedTensor) else None
    # Weights of one shape are many and large; their first items tell nearly all apart.
    return value.dtype, shape_of(value), quant_of(value), stored, _items(value).reshape(-1)[:SAMPLE_ITEMS].tobytes()


def _content(value: ir.Value) -> bytes:
    return _items(value).tobytes()


def _items(value: ir.Value) -> np.ndarray:
    tensor = value.const_value
    if isinstance(tensor, QuantizedTensor):
        return tensor.integers
    return np.zeros(0) if tensor is None else tensor.numpy()


class ShareNodes(Rule[tuple[ir.Node, ir.Node]]):
    """Nodes of the same operator with the same operands and attributes become one, from the layers of all of them.

    Not opaque nodes, whose meaning is not known, and operators that draw random numbers; not when a result is
    quantized in another way; not when a result is a cut, or both are graph outputs.

    A pass of its own: nodes must be seen in execution order, and none may come in between.
    """

    name: ClassVar[str] = "share-nodes"
    op_types: ClassVar[frozenset[str]] = ANY

    def __init__(self) -> None:
        self._first: dict[Hashable, ir.Node] = {}

    def match(self, node: ir.Node, editor: Editor) -> tuple[ir.Node, ir.Node] | None:  # noqa: ARG002 - as the base class has it
        """A node and the first one that is equal; the pass goes through them in execution order."""
        if not is_operator(node) or node.op_type in RANDOM:
            return None
        first = self._first.setdefault(_key(node), node)
        return None if first is node else (node, first)

    def check(self, found: tuple[ir.Node, ir.Node], editor: Editor) -> str | None:
        """Whether the results of the first can stand for the others."""
        for old, new in zip(found[0].outputs, found[1].outputs, strict=True):
            if editor.is_kept(old) or editor.is_kept(new):
                return "a result is a cut"
            reason = editor.merge_refusal(old, new)
            if reason is not None:
                return reason
        return None

    def rewrite(self, found: tuple[ir.Node, ir.Node], editor: Editor) -> None:
        """Use the results of the first."""
        node, first = found
        editor.inherit(first, [node])
        for old, new in zip(tuple(node.outputs), first.outputs, strict=True):
            editor.merge(old, new)


def _key(node: ir.Node) -> Hashable:
    attributes = tuple(sorted((name, _attribute(attribute)) for name, attribute in node.attributes.items()))
    quants = tuple(quant_of(value) for value in node.outputs)
    return node.op_type, node.inputs, attributes, quants


def _attribute(attribute: ir.Attr) -> Hashable:
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return tensor.dtype, tuple(tensor.shape.numpy()), tensor.tobytes()
    return attribute.type, repr(attribute.value)
