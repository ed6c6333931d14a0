"""Hashes of all that a program depends on, for the cache."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from synap_core.api import Group, QuantizedTensor, quant_of
from synap_delegate_npu.program.operation import Tensor
from synap_delegate_npu.program.states import states_property

PACKAGE = Path(__file__).parents[1]


@functools.cache
def code_version() -> str:
    """Hash of this package's source, and the versions of what it computes with.

    The version of the toolkit alone would let results outlive a change of the code in an editable installation.
    """
    digest = hashlib.sha256(f"numpy {np.__version__} onnx-ir {ir.__version__}".encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def of_graph(model: ir.Model, groups: Sequence[Group]) -> Iterator[str]:
    """Parts of the hash of an annotated canonical graph and its operations, names included."""
    graph = model.graph
    numbers: dict[ir.Value, int] = {}
    yield f"{graph.name} {[_named(value, numbers) for value in graph.inputs]}"
    for value in graph.initializers.values():
        yield f"{_named(value, numbers)} {_content(value)}"
    places: dict[ir.Node, int] = {}
    for node in graph:
        places[node] = len(places)
        yield f"{node.name} {_annotations(node)} {_node(node, numbers)}"
        yield str([_named(value, numbers) for value in node.outputs])
    yield str([numbers.get(value, value.name) for value in graph.outputs])
    yield str(states_property(model))
    for group in groups:
        yield f"{group.layer_id} {group.origins} {[places[node] for node in group.nodes]}"


def of_group(group: Group) -> Iterator[str]:
    """Parts of the hash of what a group computes; names do not count."""
    numbers: dict[ir.Value, int] = {}
    for node in group.nodes:
        for value in node.inputs:
            if value is not None and value not in numbers:
                numbers[value] = len(numbers)
                yield f"{_type(value)} {_annotation(value)} {_content(value)}"
        yield _node(node, numbers)
        for value in node.outputs:
            yield f"{numbers.setdefault(value, len(numbers))} {_type(value)} {_annotation(value)}"


def of_tensor(tensor: Tensor) -> str:
    """Hash of a tensor of a program, but for its name."""
    content = "" if tensor.constant is None else of_array(tensor.constant)
    return f"{tensor.shape} {tensor.dtype} {tensor.quant!r} {content}"


def of_array(array: np.ndarray) -> str:
    """Hash of an array."""
    if array.dtype == object:  # text; the bytes are those of pointers
        return hashlib.sha256(repr(array.tolist()).encode()).hexdigest()
    return f"{array.dtype} {array.shape} {hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()}"


def _node(node: ir.Node, numbers: dict[ir.Value, int]) -> str:
    read = [None if value is None else numbers.get(value, value.name) for value in node.inputs]
    attributes = [
        ir.serde.serialize_attribute(attribute).SerializeToString(deterministic=True)
        for _, attribute in sorted(node.attributes.items())
        if isinstance(attribute, ir.Attr)
    ]
    return f"{node.domain} {node.op_type} {node.overload} {read} {attributes}"


def _named(value: ir.Value, numbers: dict[ir.Value, int]) -> str:
    numbers.setdefault(value, len(numbers))
    return f"{value.name} {_type(value)} {_annotations(value)}"


def _type(value: ir.Value) -> str:
    return f"{value.dtype} {value.shape}"


def _annotations(item: ir.Value | ir.Node) -> list[str]:
    return sorted(f"{key}={value!r}" for key, value in item.meta.items())


def _annotation(value: ir.Value) -> str:
    """What an operation knows of a value besides its type: its quantization, and whether others read it."""
    return f"{quant_of(value)!r} {value.is_graph_output()}"


def _content(value: ir.Value) -> str:
    stored = value.const_value
    if stored is None:
        return ""
    if isinstance(stored, QuantizedTensor):
        return f"{stored.quant!r} {of_array(stored.integers)}"
    return of_array(stored.numpy())
