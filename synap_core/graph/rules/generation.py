"""Operators that make a tensor of its shape or of a few numbers."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64

SINGLE_VALUES = {
    "value_float": (FLOAT, False),
    "value_floats": (FLOAT, True),
    "value_int": (INT64, False),
    "value_ints": (INT64, True),
}
"""Attributes that a Constant may have instead of a tensor: their element type, and whether they are lists."""


@rule("Constant")
def constant(node: Operands) -> list[TensorType]:
    """As the attribute."""
    array = constant_array(node)
    return [TensorType(ir.DataType.from_numpy(array.dtype), array.shape)]


def constant_array(node: Operands) -> np.ndarray:
    """The items of a Constant; its strings and sparse tensors are none of a canonical graph's."""
    array = node.array("value")
    if array is not None:
        return array
    given = [name for name in SINGLE_VALUES if name in node.attributes]
    if given:
        return _single_value(node, given[0], *SINGLE_VALUES[given[0]])
    return node.refuse(
        f"attributes {', '.join(sorted(node.attributes)) or 'missing'}, not one of value, value_float, ..."
    )


def _single_value(node: Operands, name: str, dtype: ir.DataType, many: bool) -> np.ndarray:
    if dtype == INT64:
        return np.asarray(node.integers(name) if many else node.integer(name), np.int64)
    return np.asarray(node.numbers(name) if many else node.number(name, 0.0), np.float32)


@rule("ConstantOfShape")
def constant_of_shape(node: Operands) -> list[TensorType]:
    """The shape given, of the value's element type."""
    wanted = node.known_integers(0)
    value = node.array("value")
    node.require(all(dim >= 0 for dim in wanted), f"shape {list(wanted)} has a negative dimension")
    node.require(value is None or value.size == 1, "its value is not one item")
    return [TensorType(FLOAT if value is None else ir.DataType.from_numpy(value.dtype), wanted)]


@rule("Shape")
def shape(node: Operands) -> list[TensorType]:
    """As many int64 as dimensions are asked for."""
    return [TensorType(INT64, (len(asked_dims(node)),))]


def asked_dims(node: Operands) -> tuple[int, ...]:
    """The dimensions that a Shape gives."""
    found = node.type(0)
    return found.shape[node.integer("start", 0) : node.integer("end", found.rank)]


@rule("Size")
def size(_: Operands) -> list[TensorType]:
    """A single int64."""
    return [TensorType(INT64, ())]


@rule("EyeLike")
def eye_like(node: Operands) -> list[TensorType]:
    """Of the matrix's shape, and of its element type where no other is given."""
    first = node.ranked(0, 2, 2)
    return [TensorType(node.dtype("dtype", first.dtype), first.shape)]


@rule("Range")
def spread(node: Operands) -> list[TensorType]:
    """As many items as there are steps from the start to before the limit."""
    return [TensorType(node.type(0).dtype, (_range_length(node),))]


def _range_length(node: Operands) -> int:
    """Exact for integers; otherwise of a difference in the precision of the operands."""
    operands = [node.known(position) for position in range(3)]
    node.require(all(each.size == 1 for each in operands), "its start, limit and delta must be scalars")
    begin, end, step = (each.item() for each in operands)
    if all(isinstance(each, int) for each in (begin, end, step)) and step:
        return int(max(-((begin - end) // step), 0))
    with np.errstate(all="ignore"):
        steps = ((operands[1] - operands[0]).astype(np.float64) / step).item()
    node.require(math.isfinite(steps), f"from {begin} to {end} by {step}")
    return int(max(math.ceil(steps), 0))


@rule("RandomNormal", "RandomUniform")
def random(node: Operands) -> list[TensorType]:
    """The shape of the attribute."""
    wanted = node.integers("shape")
    if wanted is None or min(wanted, default=0) < 0:
        node.refuse(f"attribute shape is {wanted}, not a list of dimensions")
    return [TensorType(node.dtype("dtype", FLOAT), wanted)]


@rule("Multinomial")
def multinomial(node: Operands) -> list[TensorType]:
    """Samples per row of the input."""
    first = node.ranked(0, 2, 2)
    dtype = node.dtype("dtype", ir.DataType.INT32)
    return [TensorType(dtype, (first.shape[0], node.positive("sample_size", 1)))]


@rule("BlackmanWindow", "HammingWindow", "HannWindow")
def window(node: Operands) -> list[TensorType]:
    """As many items as the size says."""
    return [TensorType(node.dtype("output_datatype", FLOAT), (_count(node, 0),))]


@rule("MelWeightMatrix")
def mel_weights(node: Operands) -> list[TensorType]:
    """Weights of the spectrum's bins for each band."""
    bands, length = _count(node, 0), _count(node, 1)
    for position in range(2, 5):
        node.require(node.type(position).size == 1, f"input {position} is not one item")
    return [TensorType(node.dtype("output_datatype", FLOAT), (length // 2 + 1, bands))]


def _count(node: Operands, position: int) -> int:
    found = node.known_integer(position)
    node.require(found >= 0, f"input {position} is {found}, which is negative")
    return found
